//! Which stored messages wait for a worker, for a time, or for an operator.

use std::collections::{HashSet, VecDeque};

use basin_core::mail::{Message, MessageId};
use basin_core::queue::Timetable;
use basin_core::time::Timestamp;
use basin_core::transport::{End, Repeat, State};

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
    /// Load it and release it.
    Release,
    /// The storage failed in the middle.
    Again(Again),
}

/// What is kept in memory because the storage failed: it knows of things that are not written.
pub(super) enum Again {
    /// The machine goes on.
    Machine(Box<Repeat>),
    /// The message is at its end and could not be removed.
    Removal(MessageId, End),
}

impl Again {
    fn id(&self) -> &MessageId {
        match self {
            Self::Machine(repeat) => repeat.id(),
            Self::Removal(id, _) => id,
        }
    }
}

/// What comes after a worker.
pub(super) enum After {
    /// Nothing, or nothing before an operator acts.
    Nothing,
    /// The same again at that time, from the spool.
    Wait(Timestamp),
    /// This goes on at that time.
    Again(Again, Timestamp),
}

/// A message whose turn it is.
pub(super) struct Due {
    pub(super) id: MessageId,
    pub(super) start: Start,
}

/// The lists. Every message is on one of them at most, or is busy, or waits for an operator.
#[derive(Default)]
pub(super) struct Waiting {
    ready: VecDeque<Due>,
    /// What is in `ready`.
    queued: HashSet<MessageId>,
    kept_bytes: u64,
    busy: HashSet<MessageId>,
    schedule: Timetable,
    repetitions: Vec<(Timestamp, Again)>,
}

/// Why an operator cannot have a message now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IsBusy;

impl Waiting {
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
    pub(super) fn done(&mut self, id: &MessageId, after: After) {
        self.busy.remove(id);
        match after {
            After::Nothing => {}
            After::Wait(until) => self.schedule.insert(id.clone(), until),
            After::Again(again, at) => self.repetitions.push((at, again)),
        }
    }

    /// Moves what is due to the line and says when to look again.
    pub(super) fn wake(&mut self, now: Timestamp) -> Option<Timestamp> {
        while let Some(id) = self.schedule.pop_due(now) {
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
        repetitions.chain(self.schedule.next_due()).min()
    }

    /// Takes a message off the lists for an operator, to be released.
    pub(super) fn release(&mut self, id: MessageId) -> Result<(), IsBusy> {
        self.withdraw(&id)?;
        self.push(id, Start::Release);
        Ok(())
    }

    /// Takes a message off the lists for an operator; it is busy until [`Waiting::done`].
    pub(super) fn seize(&mut self, id: &MessageId) -> Result<(), IsBusy> {
        self.withdraw(id)?;
        self.busy.insert(id.clone());
        Ok(())
    }

    /// Whether somebody could take a message.
    pub(super) fn has_ready(&self) -> bool {
        let is_possible = |due: &Due| {
            self.repetitions.len() < REPETITIONS_MAX || matches!(due.start, Start::Again(_) | Start::Release)
        };
        self.ready.front().is_some_and(is_possible)
    }

    /// Messages that a worker has.
    pub(super) fn busy(&self) -> usize {
        self.busy.len()
    }

    fn withdraw(&mut self, id: &MessageId) -> Result<(), IsBusy> {
        // A machine that is kept knows of deliveries that are not written yet, so it is not taken away either.
        let is_kept = |due: &Due| due.id == *id && matches!(due.start, Start::Again(_));
        if self.busy.contains(id)
            || self.is_repetition(id)
            || self.queued.contains(id) && self.ready.iter().any(is_kept)
        {
            return Err(IsBusy);
        }
        self.schedule.remove(id);
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
mod tests {
    use basin_core::mail::{Arrival, Body, Envelope, Origin};

    use super::*;

    fn message(number: u64, size: usize) -> Message {
        let arrival = Arrival {
            origin: Origin::Smtp,
            at: Timestamp::from_seconds(0),
            listener: String::new(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: true,
            session: None,
            depth: 0,
        };
        let id = MessageId::new(Timestamp::from_seconds(0), number);
        let mut message = Message::new(id, arrival, Envelope::new(None));
        message.body = Body::from_bytes(vec![0; size]);
        message
    }

    #[test]
    fn a_backlog_is_not_kept_in_memory() {
        let mut waiting = Waiting::default();
        let large = usize::try_from(KEPT_BYTES_MAX).expect("fits") - 3_000;
        waiting.stored(message(1, large), State::default());
        waiting.stored(message(2, 1_000), State::default());
        assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Fresh(_))));
        assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Load)));
        waiting.stored(message(3, 1_000), State::default());
        assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Fresh(_))), "there is room again");
    }

    #[test]
    fn small_messages_count_for_more_than_their_octets() {
        let mut waiting = Waiting::default();
        (0..20_000).for_each(|number| waiting.stored(message(number, 10), State::default()));
        let kept = std::iter::from_fn(|| waiting.take()).filter(|due| matches!(due.start, Start::Fresh(_))).count();
        assert!((1_000..10_000).contains(&kept), "{kept} were kept");
    }

    #[test]
    fn an_operator_who_takes_a_message_gives_its_memory_back() {
        let mut waiting = Waiting::default();
        let kept = message(1, 1_000);
        waiting.stored(kept.clone(), State::default());
        assert_eq!(waiting.seize(&kept.id), Ok(()));
        assert_eq!((waiting.kept_bytes, waiting.has_ready(), waiting.busy()), (0, false, 1));
    }

    #[test]
    fn while_the_storage_is_out_of_order_the_backlog_stays_on_disk() {
        let mut waiting = Waiting::default();
        let count = u64::try_from(REPETITIONS_MAX).expect("fits") + 10;
        (0..count).for_each(|number| waiting.found(message(number, 0).id));
        let later = Timestamp::from_seconds(30);
        while let Some(due) = waiting.take() {
            waiting.done(&due.id, After::Again(Again::Removal(due.id.clone(), End::Delivered), later));
        }
        assert_eq!(waiting.repetitions.len(), REPETITIONS_MAX);
        assert_eq!(waiting.seize(&message(0, 0).id), Err(IsBusy));
        waiting.wake(later);
        assert_eq!(waiting.seize(&message(0, 0).id), Err(IsBusy), "nor is it taken away while it stands in line");
        let rest = std::iter::from_fn(|| waiting.take()).map(|due| matches!(due.start, Start::Again(_)));
        let rest: Vec<bool> = rest.collect();
        assert_eq!(rest.iter().filter(|is_again| **is_again).count(), REPETITIONS_MAX);
        assert_eq!(rest.len() as u64, count, "those that waited on disk come behind them");
        assert!(rest.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn a_message_is_never_with_two_workers() {
        let mut waiting = Waiting::default();
        let (one, id) = (message(1, 0), message(1, 0).id);
        waiting.stored(one.clone(), State::default());
        waiting.found(id.clone());
        assert!(waiting.take().is_some());
        waiting.found(id.clone());
        waiting.stored(one, State::default());
        assert!(waiting.take().is_none());
        assert_eq!(waiting.release(id.clone()), Err(IsBusy));
        waiting.done(&id, After::Nothing);
        assert_eq!(waiting.release(id), Ok(()));
        assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Release)));
    }

    #[test]
    fn what_waits_for_a_time_comes_back_then() {
        let mut waiting = Waiting::default();
        let id = message(1, 0).id;
        waiting.done(&id, After::Wait(Timestamp::from_seconds(10)));
        assert_eq!(waiting.wake(Timestamp::from_seconds(9)), Some(Timestamp::from_seconds(10)));
        assert!(!waiting.has_ready());
        assert_eq!(waiting.wake(Timestamp::from_seconds(10)), None);
        assert_eq!(waiting.take().map(|due| due.id), Some(id));
    }
}
