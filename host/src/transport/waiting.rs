//! Which stored messages wait for a worker, for a time, or for an operator.

use std::collections::{HashSet, VecDeque};

use basin_core::mail::{Message, MessageId};
use basin_core::queue::Schedule;
use basin_core::time::Timestamp;
use basin_core::transport::{Repeat, State};

/// Octets of messages kept in memory while they wait for a worker; later ones are loaded from the spool when
/// their turn comes. A backlog lives on disk, not in memory.
const KEPT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How a worker takes a message up.
pub(super) enum Start {
    /// It came a moment ago and is still in memory.
    Fresh(Box<(Message, State)>),
    /// Load it. It may have been worked on before.
    Load,
    /// Load it and release it.
    Release,
    /// The machine is kept: the storage failed in the middle.
    Repeat(Box<Repeat>),
}

/// What comes after a worker.
pub(super) enum After {
    /// Nothing, or nothing before an operator acts.
    Nothing,
    /// The same again at that time, from the spool.
    Wait(Timestamp),
    /// This machine goes on at that time.
    Repeat(Box<Repeat>, Timestamp),
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
    schedule: Schedule,
    repeats: Vec<(Timestamp, Box<Repeat>)>,
}

/// Why an operator cannot have a message now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IsBusy;

impl Waiting {
    /// Puts a message that was just stored at the end of the line. One that is known already stays where it is.
    pub(super) fn stored(&mut self, message: Message, state: State) {
        let (id, size) = (message.id.clone(), message.size());
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
        let due = self.ready.pop_front()?;
        self.queued.remove(&due.id);
        if let Start::Fresh(kept) = &due.start {
            self.kept_bytes = self.kept_bytes.saturating_sub(kept.0.size());
        }
        self.busy.insert(due.id.clone());
        Some(due)
    }

    /// A worker is done with a message for now.
    pub(super) fn done(&mut self, id: &MessageId, after: After) {
        self.busy.remove(id);
        match after {
            After::Nothing => {}
            After::Wait(until) => self.schedule.insert(id.clone(), until),
            After::Repeat(repeat, at) => self.repeats.push((at, repeat)),
        }
    }

    /// Moves what is due to the line and says when to look again.
    pub(super) fn wake(&mut self, now: Timestamp) -> Option<Timestamp> {
        while let Some(id) = self.schedule.pop_due(now) {
            self.found(id);
        }
        let (due, later): (Vec<_>, Vec<_>) = self.repeats.drain(..).partition(|(at, _)| *at <= now);
        self.repeats = later;
        for (_, repeat) in due {
            self.push(repeat.id().clone(), Start::Repeat(repeat));
        }
        let repeats = self.repeats.iter().map(|(at, _)| *at);
        repeats.chain(self.schedule.next_due()).min()
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
        !self.ready.is_empty()
    }

    /// Messages that a worker has.
    pub(super) fn busy(&self) -> usize {
        self.busy.len()
    }

    fn withdraw(&mut self, id: &MessageId) -> Result<(), IsBusy> {
        // A machine that is kept knows of deliveries that are not written yet, so it is not taken away either.
        if self.busy.contains(id) || self.repeats.iter().any(|(_, repeat)| repeat.id() == id) {
            return Err(IsBusy);
        }
        self.schedule.remove(id);
        if self.queued.remove(id) {
            self.ready.retain(|due| due.id != *id);
        }
        Ok(())
    }

    fn is_known(&self, id: &MessageId) -> bool {
        self.queued.contains(id) || self.busy.contains(id) || self.repeats.iter().any(|(_, repeat)| repeat.id() == id)
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
        let large = usize::try_from(KEPT_BYTES_MAX).expect("fits") - 100;
        waiting.stored(message(1, large), State::default());
        waiting.stored(message(2, 1_000), State::default());
        assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Fresh(_))));
        assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Load)));
        waiting.stored(message(3, 1_000), State::default());
        assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Fresh(_))), "there is room again");
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
