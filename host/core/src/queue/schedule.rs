//! The list of what is due when, and how long to wait after a failure.

use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use crate::mail::MessageId;
use crate::time::Timestamp;

/// Waits after the first attempts, in minutes.
///
/// RFC 5321 §4.5.4.1 wants at least 30 minutes between attempts in general and allows more in the first
/// hour; what fails here is a local mailbox (a full disk, a lock), which often heals within minutes.
const FIRST_WAITS_MINUTES: [u64; 5] = [1, 2, 5, 10, 30];

/// Wait between the attempts after those, in minutes.
const WAIT_MINUTES: u64 = 30;

/// From this attempt on, some six hours after the first, an hour is soon enough.
const SLOW_FROM_ATTEMPT: u32 = 16;

/// Wait between those late attempts, in minutes.
const SLOW_WAIT_MINUTES: u64 = 60;

/// How far jitter moves a wait, in thousandths of it, so that what failed together is not tried together.
const JITTER_THOUSANDTHS: u64 = 100;

/// How long to wait after attempt number `attempt`, the first of which is 1; `random` moves it by up to a tenth.
pub fn retry_after(attempt: u32, random: u64) -> Duration {
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let late = if attempt < SLOW_FROM_ATTEMPT { WAIT_MINUTES } else { SLOW_WAIT_MINUTES };
    let minutes = FIRST_WAITS_MINUTES.get(index).copied().unwrap_or(late);
    let thousandths = 1_000 - JITTER_THOUSANDTHS + random % (2 * JITTER_THOUSANDTHS + 1);
    Duration::from_millis(minutes * 60 * thousandths)
}

/// Messages that wait for a time, the earliest first.
///
/// It holds one time for each message, never the message: what is due is loaded from the spool. It is
/// made new at every start, from what the spool has.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    order: BTreeSet<(Timestamp, MessageId)>,
    times: HashMap<MessageId, Timestamp>,
}

impl Schedule {
    /// Puts a message on the list; where it stands there already, the new time replaces the old.
    pub fn insert(&mut self, id: MessageId, due: Timestamp) {
        self.remove(&id);
        self.order.insert((due, id.clone()));
        self.times.insert(id, due);
    }

    /// Takes a message off the list and says whether it was on it.
    pub fn remove(&mut self, id: &MessageId) -> bool {
        match self.times.remove(id) {
            Some(due) => self.order.remove(&(due, id.clone())),
            None => false,
        }
    }

    /// The time of the earliest message.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.order.first().map(|(due, _)| *due)
    }

    /// Takes the earliest message off the list, where it is due; call it until there is none.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<MessageId> {
        if self.next_due()? > now {
            return None;
        }
        let (_, id) = self.order.pop_first()?;
        self.times.remove(&id);
        Some(id)
    }

    /// When a message is due, where it is on the list.
    pub fn due(&self, id: &MessageId) -> Option<Timestamp> {
        self.times.get(id).copied()
    }

    /// Messages on the list.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nothing is on the list.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> MessageId {
        MessageId::parse(text).expect("an id")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn what_is_due_comes_out_in_the_order_of_its_time() {
        let mut schedule = Schedule::default();
        [("c", 30), ("a", 10), ("b", 20)].into_iter().for_each(|(name, time)| schedule.insert(id(name), at(time)));
        assert_eq!(schedule.next_due(), Some(at(10)));
        assert_eq!(schedule.pop_due(at(9)), None);
        assert_eq!(schedule.pop_due(at(20)), Some(id("a")));
        assert_eq!(schedule.pop_due(at(20)), Some(id("b")));
        assert_eq!(schedule.pop_due(at(20)), None);
        assert_eq!(schedule.len(), 1);
    }

    #[test]
    fn a_message_stands_on_the_list_once() {
        let mut schedule = Schedule::default();
        schedule.insert(id("a"), at(10));
        schedule.insert(id("a"), at(5));
        assert_eq!((schedule.len(), schedule.due(&id("a"))), (1, Some(at(5))));
        assert!(schedule.remove(&id("a")));
        assert!(!schedule.remove(&id("a")));
        assert!(schedule.is_empty());
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn waits_grow_to_an_hour_and_never_shrink() {
        // The middle of the jitter is no jitter.
        let minutes: Vec<_> = (1..=20).map(|attempt| retry_after(attempt, 100).as_secs() / 60).collect();
        assert_eq!(minutes.get(..7), Some(&[1, 2, 5, 10, 30, 30, 30][..]));
        assert_eq!(minutes.last(), Some(&60));
        assert!(minutes.is_sorted());
        assert_eq!(retry_after(u32::MAX, 100), Duration::from_secs(3_600));
        assert_eq!(retry_after(0, 100), Duration::from_secs(60));
    }

    #[test]
    fn jitter_moves_a_wait_by_a_tenth_at_most() {
        for random in 0..1_000 {
            let wait = retry_after(4, random).as_millis();
            assert!((540_000..=660_000).contains(&wait), "{wait}");
        }
        assert_eq!(retry_after(4, 0).as_millis(), 540_000);
        assert_eq!(retry_after(4, 200).as_millis(), 660_000);
    }
}
