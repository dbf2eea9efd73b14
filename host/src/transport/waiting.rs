//! Which stored messages wait for a worker, for a time, for another server, or for an operator.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use basin_core::mail::{Message, MessageId};
use basin_core::queue::{Job, Lease, Schedule, SchedulePolicy, Timetable};
use basin_core::time::Timestamp;
use basin_core::transport::{Change, End, Repeat, State};
use tokio::sync::oneshot;

use super::recent::Recent;

/// Octets of messages kept in memory while they wait for a worker; later ones are loaded from the spool when
/// their turn comes. A backlog lives on disk, not in memory.
const KEPT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most repetitions kept in memory. While the storage is out of order every message that is taken up becomes
/// one; from this many on the others stay on disk until it is mended.
const REPETITIONS_MAX: usize = 256;

/// How a worker takes a message up.
pub(super) enum Start {
    /// It came a moment ago and is still in memory.
    Fresh(Box<(Message, State)>),
    /// Load it. It may have been worked on before.
    Load,
    /// Something happened to it.
    Change(Change),
    /// The storage failed in the middle.
    Again(Again),
}

/// What is kept in memory because the storage failed: it knows of things that are not written.
pub(super) enum Again {
    /// The machine goes on.
    Machine(Box<Repeat>),
    /// The message could not be loaded for what happened to it.
    Change(MessageId, Change),
    /// The message is at its end and could not be removed.
    Removal(Box<Message>, End),
}

impl Again {
    fn id(&self) -> &MessageId {
        match self {
            Self::Machine(repeat) => repeat.id(),
            Self::Change(id, _) => id,
            Self::Removal(message, _) => &message.id,
        }
    }
}

/// What comes after a worker.
pub(super) enum After {
    /// Nothing, or nothing before an operator acts.
    Nothing,
    /// Nothing before the next start: a mistake stopped the work, and nobody knows how far it had come.
    Broken,
    /// The same again at that time, from the spool.
    Wait(Timestamp),
    /// It goes to other servers, and is taken up again at that time, if one is given.
    Queue(Queued),
    /// This goes on at that time.
    Again(Again, Timestamp),
}

/// What is left of a message that goes to other servers.
pub(super) struct Queued {
    pub(super) jobs: Vec<Job>,
    pub(super) again: Option<Timestamp>,
    /// The message, where it was in memory all the time.
    pub(super) kept: Option<Box<(Message, State)>>,
}

/// A message whose turn it is.
pub(super) struct Due {
    pub(super) id: MessageId,
    pub(super) start: Start,
}

/// The lists. Every message is on one of them at most, or is busy, or waits for an operator; one that waits for
/// other servers may wait for a time as well.
pub(super) struct Waiting {
    ready: VecDeque<Due>,
    /// What is in `ready`.
    queued: HashSet<MessageId>,
    kept_bytes: u64,
    busy: HashSet<MessageId>,
    timetable: Timetable,
    repetitions: Vec<(Timestamp, Again)>,
    /// Mail to other servers.
    pub(super) schedule: Schedule,
    /// Messages on their way there that are still in memory.
    pub(super) recent: Recent,
    /// Leases on messages that somebody works on; given back when the message rests.
    leases: HashMap<MessageId, Vec<Lease>>,
    /// Who waits for a message that somebody works on.
    claims: HashMap<MessageId, VecDeque<oneshot::Sender<()>>>,
    /// Notifications that set out when the message that they are about rests.
    announced: HashMap<MessageId, Vec<MessageId>>,
    /// What was worked on while the spool is read at the start: its record may be older. `None` afterwards.
    touched: Option<HashSet<MessageId>>,
    /// Whether it is not known yet what of the spool came out of runs that a crash cut off.
    pub(super) is_judging: bool,
}

impl Default for Waiting {
    fn default() -> Self {
        Self::new(SchedulePolicy::new(Arc::default()))
    }
}

/// Why an operator cannot have a message now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IsBusy;

impl Waiting {
    /// Empty lists.
    pub(super) fn new(policy: SchedulePolicy) -> Self {
        Self {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            kept_bytes: 0,
            busy: HashSet::new(),
            timetable: Timetable::default(),
            repetitions: Vec::new(),
            schedule: Schedule::new(policy),
            recent: Recent::default(),
            leases: HashMap::new(),
            claims: HashMap::new(),
            announced: HashMap::new(),
            touched: Some(HashSet::new()),
            is_judging: false,
        }
    }

    /// Whether a message waits for another one to rest, or somebody has it or had it since the spool is read.
    pub(super) fn is_spoken_for(&self, id: &MessageId) -> bool {
        self.is_touched(id) || self.announced.values().flatten().any(|announced| announced == id)
    }

    /// Puts a message that was just stored at the end of the line. One that is known already stays where it is.
    pub(super) fn stored(&mut self, message: Message, state: State) {
        let (id, size) = (message.id.clone(), message.memory_bytes());
        if self.is_known(&id) {
            return;
        }
        let fits = self.kept_bytes + size <= KEPT_BYTES_MAX;
        let start = if fits { Start::Fresh(Box::new((message, state))) } else { Start::Load };
        self.kept_bytes += if fits { size } else { 0 };
        self.push(id, start);
    }

    /// Puts a message that the spool has at the end of the line.
    pub(super) fn found(&mut self, id: MessageId) {
        if !self.is_known(&id) {
            self.push(id, Start::Load);
        }
    }

    /// Whether the record of a message that is read at the start is not what counts: somebody has it, or had it.
    pub(super) fn is_touched(&self, id: &MessageId) -> bool {
        self.is_known(id) || self.touched.as_ref().is_some_and(|touched| touched.contains(id))
    }

    /// The spool is read from here on.
    pub(super) fn begin_to_read(&mut self) {
        self.touched.get_or_insert_default();
    }

    /// Keeps a notification back until the message that it is about rests: what is saved of that message says by
    /// then that its sender was told, so a crash does not make the notification again after it has arrived.
    pub(super) fn announce(&mut self, about: MessageId, notification: MessageId) {
        let announced = self.announced.entry(about).or_default();
        if !announced.contains(&notification) {
            announced.push(notification);
        }
    }

    /// Everything that the spool had was read: what nobody works on rests.
    pub(super) fn all_read(&mut self) {
        self.touched = None;
        self.is_judging = false;
        let about: Vec<MessageId> = self.announced.keys().filter(|id| !self.is_known(id)).cloned().collect();
        about.iter().for_each(|id| self.set_out(id));
    }

    // The notifications about a message that rests set out.
    fn set_out(&mut self, about: &MessageId) {
        self.announced.remove(about).into_iter().flatten().for_each(|notification| self.found(notification));
    }

    /// The next message; it is busy until [`Waiting::done`].
    pub(super) fn take(&mut self) -> Option<Due> {
        if !self.has_ready() {
            return None;
        }
        let due = self.ready.pop_front()?;
        self.forget(&due);
        self.busy.insert(due.id.clone());
        Some(due)
    }

    /// A worker is done with a message for now.
    pub(super) fn done(&mut self, id: &MessageId, after: After, now: Timestamp) {
        let (jobs, again) = match after {
            After::Nothing => (Vec::new(), None),
            After::Broken => {
                // No record says that what came out of it may set out. The next start, which reads the records, judges it.
                self.announced.remove(id);
                (Vec::new(), None)
            }
            After::Wait(until) => (Vec::new(), Some(until)),
            After::Queue(queued) => {
                self.recent.replace(id, queued.kept);
                (queued.jobs, queued.again)
            }
            After::Again(again, at) => {
                // It does not rest: what it knows is nowhere else.
                self.busy.remove(id);
                self.repetitions.push((at, again));
                return;
            }
        };
        if jobs.is_empty() {
            self.recent.replace(id, None);
        }
        self.rest(id, &jobs, again, now);
        for lease in self.leases.remove(id).unwrap_or_default() {
            self.schedule.finish(lease, now);
        }
        self.set_out(id);
        if !self.hand_on(id) {
            self.busy.remove(id);
        }
    }

    /// Puts a message where it waits: at other servers, for a time, or for an operator.
    pub(super) fn rest(&mut self, id: &MessageId, jobs: &[Job], again: Option<Timestamp>, now: Timestamp) {
        if let Some(touched) = &mut self.touched {
            touched.insert(id.clone());
        }
        self.schedule.put(id, jobs, now);
        match again {
            Some(again) => self.timetable.insert(id.clone(), again),
            None => drop(self.timetable.remove(id)),
        }
    }

    // Gives a message to the next who waits for it; false where nobody does.
    fn hand_on(&mut self, id: &MessageId) -> bool {
        let Some(claims) = self.claims.get_mut(id) else { return false };
        while let Some(claim) = claims.pop_front() {
            if claim.send(()).is_ok() {
                return true;
            }
        }
        self.claims.remove(id);
        false
    }

    /// Moves what is due to the line and says when to look again.
    pub(super) fn wake(&mut self, now: Timestamp) -> Option<Timestamp> {
        while let Some(id) = self.timetable.pop_due(now) {
            self.found(id);
        }
        let (due, later): (Vec<_>, Vec<_>) = self.repetitions.drain(..).partition(|(at, _)| *at <= now);
        self.repetitions = later;
        for (_, again) in due {
            let id = again.id().clone();
            self.queued.insert(id.clone());
            // Before the others: these are what memory is short of.
            self.ready.push_front(Due { id, start: Start::Again(again) });
        }
        let repetitions = self.repetitions.iter().map(|(at, _)| *at);
        repetitions.chain(self.timetable.next_due()).min()
    }

    /// Takes a message off the lists for an operator; it is busy until [`Waiting::done`].
    pub(super) fn seize(&mut self, id: &MessageId) -> Result<(), IsBusy> {
        self.withdraw(id)?;
        self.busy.insert(id.clone());
        Ok(())
    }

    /// Takes a message for what came of a lease; where somebody has it, the receiver says when it is free. Then it
    /// is busy until [`Waiting::done`], with which the lease is given back.
    pub(super) fn claim(&mut self, id: &MessageId) -> Option<oneshot::Receiver<()>> {
        if self.seize(id).is_ok() {
            return None;
        }
        let (claim, turn) = oneshot::channel();
        self.claims.entry(id.clone()).or_default().push_back(claim);
        Some(turn)
    }

    /// Keeps a lease until its message rests.
    pub(super) fn keep_lease(&mut self, lease: Lease) {
        self.leases.entry(lease.message().clone()).or_default().push(lease);
    }

    /// Whether somebody could take a message.
    pub(super) fn has_ready(&self) -> bool {
        let is_possible = |due: &Due| self.repetitions.len() < REPETITIONS_MAX || matches!(due.start, Start::Again(_));
        self.ready.front().is_some_and(is_possible)
    }

    /// Whether so much could not be written that nothing more may leave: what came of it would be known in memory
    /// alone, and a crash would send it again.
    pub(super) fn is_storage_failing(&self) -> bool {
        // What is tried again now stands at the front of the line.
        let retried = self.ready.iter().take_while(|due| matches!(due.start, Start::Again(_)));
        self.repetitions.len() + retried.take(REPETITIONS_MAX).count() >= REPETITIONS_MAX
    }

    /// Messages that a worker has.
    pub(super) fn busy(&self) -> usize {
        self.busy.len()
    }

    /// Messages that wait for a worker, for a time, and for the storage.
    pub(super) fn lengths(&self) -> (usize, usize, usize) {
        (self.ready.len(), self.timetable.len(), self.repetitions.len())
    }

    fn withdraw(&mut self, id: &MessageId) -> Result<(), IsBusy> {
        // A machine that is kept knows of deliveries that are not written yet, so it is not taken away either; and
        // what an operator asked for is not forgotten.
        let is_kept = |due: &Due| due.id == *id && matches!(due.start, Start::Again(_) | Start::Change(_));
        if self.busy.contains(id)
            || self.is_repetition(id)
            || self.queued.contains(id) && self.ready.iter().any(is_kept)
        {
            return Err(IsBusy);
        }
        self.timetable.remove(id);
        if self.queued.contains(id)
            && let Some(place) = self.ready.iter().position(|due| due.id == *id)
            && let Some(due) = self.ready.remove(place)
        {
            self.forget(&due);
        }
        Ok(())
    }

    fn is_known(&self, id: &MessageId) -> bool {
        self.queued.contains(id) || self.busy.contains(id) || self.is_repetition(id)
    }

    fn is_repetition(&self, id: &MessageId) -> bool {
        self.repetitions.iter().any(|(_, again)| again.id() == id)
    }

    // It is no longer in the line.
    fn forget(&mut self, due: &Due) {
        self.queued.remove(&due.id);
        if let Start::Fresh(kept) = &due.start {
            self.kept_bytes = self.kept_bytes.saturating_sub(kept.0.memory_bytes());
        }
    }

    fn push(&mut self, id: MessageId, start: Start) {
        self.queued.insert(id.clone());
        self.ready.push_back(Due { id, start });
    }
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
pub(super) mod tests;
