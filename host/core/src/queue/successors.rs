//! Messages that take the place of earlier ones of the same sink (`mail-msg.set-supersede-key`).

use std::collections::{BTreeSet, HashMap};

use crate::mail::{MessageId, Supersedes};
use crate::time::Timestamp;

/// The latest queued message of each key, with what was split off from it.
///
/// Its size is bounded by the queue: a message that is gone is forgotten.
#[derive(Debug, Default)]
pub struct Successors {
    latest: HashMap<Key, Family>,
    keys: HashMap<MessageId, Key>,
}

/// Name of the sink, and its key.
type Key = (String, String);

#[derive(Debug)]
struct Family {
    arrived: Timestamp,
    of: MessageId,
    members: BTreeSet<MessageId>,
}

impl Successors {
    /// Takes note of a queued message that has a key, and says which messages are to be dropped for it: those that had
    /// the key, or this very one where they arrived later. Noted again, nothing is dropped, and the parts of one message
    /// stay beside each other.
    pub fn note(&mut self, id: &MessageId, supersedes: &Supersedes, arrived: Timestamp) -> Vec<MessageId> {
        let key = (supersedes.sink.clone(), supersedes.key.clone());
        if self.keys.get(id).is_some_and(|before| *before != key) {
            self.forget(id);
        }
        let of = supersedes.family.clone().unwrap_or_else(|| id.clone());
        let dropped = match self.latest.get_mut(&key) {
            Some(family) if family.of == of => {
                family.members.insert(id.clone());
                Vec::new()
            }
            // What arrived in the same moment is told apart by its id, so that the order is the same after a restart.
            Some(family) if (family.arrived, &family.of) > (arrived, &of) => return vec![id.clone()],
            Some(_) | None => {
                let members = [id.clone()].into_iter().collect();
                let before = self.latest.insert(key.clone(), Family { arrived, of, members });
                before.map(|family| family.members.into_iter().collect()).unwrap_or_default()
            }
        };
        dropped.iter().for_each(|gone: &MessageId| drop(self.keys.remove(gone)));
        self.keys.insert(id.clone(), key);
        dropped
    }

    /// A message is gone.
    pub fn forget(&mut self, id: &MessageId) {
        let Some(key) = self.keys.remove(id) else { return };
        if let Some(family) = self.latest.get_mut(&key) {
            family.members.remove(id);
            if family.members.is_empty() {
                self.latest.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> MessageId {
        MessageId::parse(text).expect("an id")
    }

    fn key(sink: &str, key: &str) -> Supersedes {
        Supersedes { sink: sink.to_owned(), key: key.to_owned(), family: None }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn the_later_message_takes_the_place_of_the_earlier_whichever_is_noted_first() {
        let status = key("one", "status");
        let mut queue = Successors::default();
        assert_eq!(queue.note(&id("a"), &status, at(1)), []);
        assert_eq!(queue.note(&id("b"), &status, at(2)), [id("a")]);
        let mut queue = Successors::default();
        assert_eq!(queue.note(&id("b"), &status, at(2)), []);
        assert_eq!(queue.note(&id("a"), &status, at(1)), [id("a")]);
        assert_eq!(queue.note(&id("b"), &status, at(2)), [], "it is noted at each of its records");
        assert_eq!(queue.note(&id("c"), &status, at(2)), [id("b")], "of the same moment the larger id stays");
    }

    #[test]
    fn the_parts_of_one_message_stay_together_and_go_together() {
        let status = key("one", "status");
        let part = status.of_part(&id("a"));
        assert_eq!(part.of_part(&id("a-f1")), part, "a part of a part is one of the first");
        let mut queue = Successors::default();
        for name in ["a-f2", "a", "a-f1"] {
            let key = if name == "a" { &status } else { &part };
            assert_eq!(queue.note(&id(name), key, at(1)), []);
        }
        assert_eq!(queue.note(&id("old"), &status, at(0)), [id("old")]);
        queue.forget(&id("a"));
        assert_eq!(queue.note(&id("b"), &status, at(2)), [id("a-f1"), id("a-f2")]);
        assert_eq!(queue.note(&id("a-f1"), &part, at(1)), [id("a-f1")], "it was written once more meanwhile");
        queue.forget(&id("b"));
        assert!(queue.latest.is_empty() && queue.keys.is_empty());
    }

    #[test]
    fn keys_of_other_sinks_and_other_keys_do_not_meet() {
        let mut queue = Successors::default();
        for (name, key) in [("a", key("one", "x")), ("b", key("two", "x")), ("c", key("one", "y"))] {
            assert_eq!(queue.note(&id(name), &key, at(1)), []);
        }
    }

    #[test]
    fn a_message_that_is_gone_leaves_its_key_and_nothing_in_memory() {
        let status = key("one", "status");
        let mut queue = Successors::default();
        queue.note(&id("a"), &status, at(1));
        queue.forget(&id("a"));
        assert_eq!(queue.note(&id("b"), &status, at(0)), []);
        queue.forget(&id("a"));
        assert_eq!(queue.note(&id("c"), &status, at(3)), [id("b")]);
        queue.forget(&id("b"));
        assert_eq!(queue.note(&id("d"), &status, at(4)), [id("c")], "who was dropped takes no key along");
        queue.forget(&id("d"));
        assert!(queue.latest.is_empty() && queue.keys.is_empty());
    }

    #[test]
    fn a_message_whose_sink_gave_it_another_key_leaves_the_first() {
        let mut queue = Successors::default();
        queue.note(&id("a"), &key("one", "x"), at(1));
        assert_eq!(queue.note(&id("a"), &key("one", "y"), at(1)), []);
        assert_eq!(queue.note(&id("b"), &key("one", "x"), at(2)), []);
        assert_eq!(queue.note(&id("c"), &key("one", "y"), at(2)), [id("a")]);
    }
}
