//! Messages that are on their way out and were in memory anyhow, so that sending them reads nothing.

use std::collections::{HashMap, VecDeque};

use basin_core::mail::{Message, MessageId};
use basin_core::transport::State;

/// Octets kept. A message that comes and leaves at once is in memory for a moment; what waits for a destination
/// is on disk, and makes room here for what comes later.
const KEPT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The latest messages, each as it is on disk.
#[derive(Default)]
pub(super) struct Recent {
    messages: HashMap<MessageId, Box<(Message, State)>>,
    /// Oldest first; holds ids that are gone as well, until their turn comes.
    order: VecDeque<MessageId>,
    bytes: u64,
}

impl Recent {
    /// Keeps this in place of what is kept of the message; `None` keeps nothing of it.
    pub(super) fn replace(&mut self, id: &MessageId, kept: Option<Box<(Message, State)>>) {
        if let Some(old) = self.messages.remove(id) {
            self.bytes = self.bytes.saturating_sub(old.0.memory_bytes());
        }
        let Some(kept) = kept.filter(|kept| kept.0.memory_bytes() <= KEPT_BYTES_MAX) else { return };
        self.bytes += kept.0.memory_bytes();
        self.messages.insert(id.clone(), kept);
        self.order.push_back(id.clone());
        self.shrink();
    }

    /// The message, where it is kept.
    pub(super) fn get(&self, id: &MessageId) -> Option<(Message, State)> {
        self.messages.get(id).map(|kept| kept.as_ref().clone())
    }

    fn shrink(&mut self) {
        // Ids that are gone are dropped when they are more than those that are there.
        while self.bytes > KEPT_BYTES_MAX || self.order.len() > 2 * self.messages.len() + 16 {
            let Some(oldest) = self.order.pop_front() else { return };
            if self.bytes > KEPT_BYTES_MAX {
                if let Some(old) = self.messages.remove(&oldest) {
                    self.bytes = self.bytes.saturating_sub(old.0.memory_bytes());
                }
            } else if self.messages.contains_key(&oldest) {
                self.order.push_back(oldest);
                // Everything behind it may be there too: one look for each call keeps this cheap.
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::waiting::tests::message;

    #[test]
    fn the_oldest_make_room_for_the_latest() {
        let mut recent = Recent::default();
        let large = usize::try_from(KEPT_BYTES_MAX / 3).expect("fits");
        let messages: Vec<Message> = (0..4).map(|number| message(number, large)).collect();
        for one in &messages {
            recent.replace(&one.id, Some(Box::new((one.clone(), State::default()))));
        }
        let kept: Vec<bool> = messages.iter().map(|one| recent.get(&one.id).is_some()).collect();
        assert_eq!(kept, [false, false, true, true], "a message counts for more than its octets");
        recent.replace(&messages[3].id, None);
        assert!(recent.get(&messages[3].id).is_none());
    }

    #[test]
    fn what_came_and_left_leaves_nothing() {
        let mut recent = Recent::default();
        for number in 0..10_000 {
            let one = message(number, 10);
            recent.replace(&one.id, Some(Box::new((one.clone(), State::default()))));
            recent.replace(&one.id, None);
        }
        assert_eq!((recent.bytes, recent.messages.len()), (0, 0));
        assert!(recent.order.len() < 100, "{} ids are left", recent.order.len());
    }
}
