//! Messages that take the place of earlier ones of the same sink (`mail-msg.set-supersede-key`).

use std::collections::HashMap;

use crate::mail::{MessageId, Supersedes};
use crate::time::Timestamp;

/// The latest queued message of each key.
///
/// Its size is bounded by the queue: a message that is gone is forgotten.
#[derive(Debug, Default)]
pub struct Successors {
    latest: HashMap<Supersedes, (Timestamp, MessageId)>,
    keys: HashMap<MessageId, Supersedes>,
}

impl Successors {
    /// Takes note of a queued message that has a key, and says which message is to be dropped for it: the one that
    /// had the key, or this very one where the other arrived later. Noted again, nothing is dropped.
    pub fn note(&mut self, id: &MessageId, key: &Supersedes, arrived: Timestamp) -> Option<MessageId> {
        if self.keys.get(id).is_some_and(|before| before != key) {
            self.forget(id);
        }
        match self.latest.get(key) {
            Some((_, holder)) if holder == id => None,
            // What arrived in the same moment is told apart by its id, so that the order is the same after a restart.
            Some((since, holder)) if (*since, holder) > (arrived, id) => Some(id.clone()),
            Some((_, holder)) => {
                let dropped = holder.clone();
                self.keys.remove(&dropped);
                self.take(id, key, arrived);
                Some(dropped)
            }
            None => {
                self.take(id, key, arrived);
                None
            }
        }
    }

    /// A message is gone.
    pub fn forget(&mut self, id: &MessageId) {
        if let Some(key) = self.keys.remove(id) {
            self.latest.remove(&key);
        }
    }

    fn take(&mut self, id: &MessageId, key: &Supersedes, arrived: Timestamp) {
        self.latest.insert(key.clone(), (arrived, id.clone()));
        self.keys.insert(id.clone(), key.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> MessageId {
        MessageId::parse(text).expect("an id")
    }

    fn key(sink: &str, key: &str) -> Supersedes {
        Supersedes { sink: sink.to_owned(), key: key.to_owned() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn the_later_message_takes_the_place_of_the_earlier_whichever_is_noted_first() {
        let status = key("one", "status");
        let mut queue = Successors::default();
        assert_eq!(queue.note(&id("a"), &status, at(1)), None);
        assert_eq!(queue.note(&id("b"), &status, at(2)), Some(id("a")));
        let mut queue = Successors::default();
        assert_eq!(queue.note(&id("b"), &status, at(2)), None);
        assert_eq!(queue.note(&id("a"), &status, at(1)), Some(id("a")));
        assert_eq!(queue.note(&id("b"), &status, at(2)), None, "it is noted at each of its records");
        assert_eq!(queue.note(&id("c"), &status, at(2)), Some(id("b")), "of the same moment the larger id stays");
    }

    #[test]
    fn keys_of_other_sinks_and_other_keys_do_not_meet() {
        let mut queue = Successors::default();
        for (name, key) in [("a", key("one", "x")), ("b", key("two", "x")), ("c", key("one", "y"))] {
            assert_eq!(queue.note(&id(name), &key, at(1)), None);
        }
    }

    #[test]
    fn a_message_that_is_gone_leaves_its_key_and_nothing_in_memory() {
        let status = key("one", "status");
        let mut queue = Successors::default();
        queue.note(&id("a"), &status, at(1));
        queue.forget(&id("a"));
        assert_eq!(queue.note(&id("b"), &status, at(0)), None);
        queue.forget(&id("a"));
        assert_eq!(queue.note(&id("c"), &status, at(3)), Some(id("b")));
        queue.forget(&id("b"));
        assert_eq!(queue.note(&id("d"), &status, at(4)), Some(id("c")), "who was dropped takes no key along");
        queue.forget(&id("d"));
        assert!(queue.latest.is_empty() && queue.keys.is_empty());
    }

    #[test]
    fn a_message_whose_sink_gave_it_another_key_leaves_the_first() {
        let mut queue = Successors::default();
        queue.note(&id("a"), &key("one", "x"), at(1));
        assert_eq!(queue.note(&id("a"), &key("one", "y"), at(1)), None);
        assert_eq!(queue.note(&id("b"), &key("one", "x"), at(2)), None);
        assert_eq!(queue.note(&id("c"), &key("one", "y"), at(2)), Some(id("a")));
    }
}
