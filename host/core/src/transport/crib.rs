//! What a start of the server makes of messages that came out of others.
//!
//! A child is on disk before the record of its parent that says so. Where that record does not know of its batch, a
//! crash cut off the run that made it: it goes before its parent comes to the same point again.

use std::collections::{HashMap, HashSet};

use super::{Parent, State};
use crate::mail::MessageId;

/// Messages that came out of others, until all records are read. Nobody takes them up before.
#[derive(Debug, Default)]
pub struct Crib {
    children: Vec<(MessageId, Parent)>,
    /// How many batches of children the records of messages know of, where it is any.
    batches: HashMap<MessageId, u32>,
    /// Messages whose record is damaged.
    unreadable: HashSet<MessageId>,
}

/// What is known of a parent whose record named no batch while everything was read: it had none, was written anew
/// meanwhile, is gone, or is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is gone, which it is only after its children were let go.
    Gone,
    /// Its record, or the mark of the timer, knows of so many batches.
    Batches(u32),
    /// It cannot be read.
    Nothing,
}

/// What becomes of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes its way.
    SetsOut,
    /// It never came to be: it is removed.
    Unborn,
    /// Nobody knows. It stays where it is until its parent can be read.
    Stays,
}

impl Crib {
    /// Takes in a record that was read. True where it is a child's, which nobody may take up yet.
    pub fn takes(&mut self, id: &MessageId, state: &State) -> bool {
        if state.batches > 0 {
            self.batches.insert(id.clone(), state.batches);
        }
        if let Some(parent) = &state.parent {
            self.children.push((id.clone(), parent.clone()));
        }
        state.parent.is_some()
    }

    /// Takes in a record that is damaged.
    pub fn takes_unreadable(&mut self, id: MessageId) {
        self.unreadable.insert(id);
    }

    /// Says what becomes of each child, in the order in which they were read. `known` is asked about parents of which
    /// nothing was read.
    pub fn judge(self, mut known: impl FnMut(&MessageId) -> Known) -> Vec<(MessageId, Fate)> {
        let Self { children, batches, unreadable } = self;
        let mut fate = |parent: &Parent| {
            if unreadable.contains(&parent.id) {
                return Fate::Stays;
            }
            let batches = match batches.get(&parent.id) {
                Some(batches) => Some(*batches),
                None => match known(&parent.id) {
                    Known::Gone => None,
                    Known::Batches(batches) => Some(batches),
                    Known::Nothing => return Fate::Stays,
                },
            };
            if parent.lets_go(batches) { Fate::SetsOut } else { Fate::Unborn }
        };
        children.into_iter().map(|(id, parent)| (id, fate(&parent))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn id(number: u64) -> MessageId {
        MessageId::new(Timestamp::default(), number)
    }

    fn child_of(parent: u64, batch: u32) -> State {
        State { parent: Some(Parent { id: id(parent), batch }), ..State::default() }
    }

    #[test]
    fn a_child_sets_out_where_the_record_of_its_parent_knows_of_it() {
        let mut crib = Crib::default();
        assert!(!crib.takes(&id(1), &State { batches: 2, ..State::default() }));
        for (number, parent, batch) in [(11, 1, 2), (12, 1, 3), (13, 2, 1), (14, 3, 1), (15, 4, 1), (16, 5, 1)] {
            assert!(crib.takes(&id(number), &child_of(parent, batch)));
        }
        crib.takes_unreadable(id(4));
        let known = |parent: &MessageId| match parent {
            parent if *parent == id(2) => Known::Gone,
            // Its record was written anew while the others were read.
            parent if *parent == id(3) => Known::Batches(1),
            parent if *parent == id(5) => Known::Nothing,
            _ => Known::Batches(0),
        };
        let fates: Vec<Fate> = crib.judge(known).into_iter().map(|(_, fate)| fate).collect();
        assert_eq!(fates, [Fate::SetsOut, Fate::Unborn, Fate::SetsOut, Fate::SetsOut, Fate::Stays, Fate::Stays]);
    }
}
