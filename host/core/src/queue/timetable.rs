//! The list of what is to be taken up when.

use std::collections::{BTreeSet, HashMap};

use crate::mail::MessageId;
use crate::time::Timestamp;

/// Messages that wait for a time, the earliest first.
///
/// It holds one time for each message, never the message: what is due is loaded from the spool. It is
/// made new at every start, from what the spool has.
#[derive(Debug, Clone, Default)]
pub struct Timetable {
    order: BTreeSet<(Timestamp, MessageId)>,
    times: HashMap<MessageId, Timestamp>,
}

impl Timetable {
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
        let mut timetable = Timetable::default();
        [("c", 30), ("a", 10), ("b", 20)].into_iter().for_each(|(name, time)| timetable.insert(id(name), at(time)));
        assert_eq!(timetable.next_due(), Some(at(10)));
        assert_eq!(timetable.pop_due(at(9)), None);
        assert_eq!(timetable.pop_due(at(20)), Some(id("a")));
        assert_eq!(timetable.pop_due(at(20)), Some(id("b")));
        assert_eq!(timetable.pop_due(at(20)), None);
        assert_eq!(timetable.len(), 1);
    }

    #[test]
    fn a_message_stands_on_the_list_once() {
        let mut timetable = Timetable::default();
        timetable.insert(id("a"), at(10));
        timetable.insert(id("a"), at(5));
        assert_eq!((timetable.len(), timetable.due(&id("a"))), (1, Some(at(5))));
        assert!(timetable.remove(&id("a")));
        assert!(!timetable.remove(&id("a")));
        assert!(timetable.is_empty());
        assert_eq!(timetable.next_due(), None);
    }
}
