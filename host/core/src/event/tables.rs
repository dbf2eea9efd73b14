//! What the sinks of a chain set in their tables, before it is written.

use core::ops::Bound;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Decision, EventKind, Later, Question, Verdict};
use crate::limits::{STORAGE_RETRY_AFTER, TABLE_EDITS_BYTES_MAX};
use crate::reply::{Enhanced, Reply};

/// Octets that an entry counts beside its key and value, in quotas: what the storage keeps about it.
pub const ENTRY_OVERHEAD_BYTES: u64 = 32;

/// A value, and how long it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableValue {
    /// The value.
    pub octets: Arc<[u8]>,
    /// Its life in seconds from the moment it is written; 0 is for ever.
    pub life: u32,
}

/// What a chain wants to become of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEdit {
    /// The new value; `None` removes the key.
    pub value: Option<TableValue>,
    /// What has to be stored when it is written, where somebody swapped; the inner `None` is no value at all.
    pub expected: Option<Option<Arc<[u8]>>>,
}

impl TableEdit {
    fn bytes(&self) -> usize {
        let value = self.value.as_ref().map_or(0, |value| value.octets.len());
        value + self.expected.iter().flatten().map(|octets| octets.len()).sum::<usize>()
    }
}

/// The changes of one chain to the tables of its sinks, by name of the sink and key.
///
/// They are part of the overlay: a call that fails leaves none, a chain that refuses or defers leaves none, and
/// a sink that is called twice in a chain finds its own. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableEdits(Arc<BTreeMap<(String, String), TableEdit>>);

/// The changes of one chain hold more than `TABLE_EDITS_BYTES_MAX` octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sinks of one event change at most {TABLE_EDITS_BYTES_MAX} octets of their tables")]
pub struct TooManyTableEdits;

impl TableEdits {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All changes: sink, key and what becomes of it, in the order of sinks and keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &TableEdit)> {
        self.0.iter().map(|((sink, key), edit)| (sink.as_str(), key.as_str(), edit))
    }

    /// What this chain did to a key, if it did anything.
    pub fn of(&self, sink: &str, key: &str) -> Option<&TableEdit> {
        self.0.get(&(sink.to_owned(), key.to_owned()))
    }

    /// The changes to the keys of one sink that begin with `prefix` and follow `after`, in their order.
    pub fn keys<'a>(
        &'a self,
        sink: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, &'a TableEdit)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded((sink.to_owned(), after.to_owned())),
            Some(_) | None => Bound::Included((sink.to_owned(), prefix.to_owned())),
        };
        let range = self.0.range((from, Bound::Unbounded));
        let is_ours = move |(owner, key): &(String, String)| owner == sink && key.starts_with(prefix);
        range.take_while(move |(name, _)| is_ours(name)).map(|((_, key), edit)| (key.as_str(), edit))
    }

    /// Octets by which the changes raise what a sink has stored, as quotas count it, if none of its keys is there yet.
    pub fn growth(&self, sink: &str) -> u64 {
        let octets = |(key, edit): (&str, &TableEdit)| {
            let value = edit.value.as_ref()?;
            Some((key.len() + value.octets.len()) as u64 + ENTRY_OVERHEAD_BYTES)
        };
        self.keys(sink, "", None).filter_map(octets).sum()
    }

    /// Sets a key, or removes it. `expected` is what a swap found stored; a condition that the chain has
    /// already made about the key stays, because what the later one saw was the chain's own value.
    ///
    /// # Errors
    /// The chain holds too much; nothing changed.
    pub fn set(
        &mut self,
        sink: &str,
        key: &str,
        value: Option<TableValue>,
        expected: Option<Option<Arc<[u8]>>>,
    ) -> Result<(), TooManyTableEdits> {
        let name = (sink.to_owned(), key.to_owned());
        let before = self.0.get(&name);
        // A value that the chain had set without a condition needs none: it replaces whatever is stored.
        let expected = if let Some(before) = before { before.expected.clone() } else { expected };
        let edit = TableEdit { value, expected };
        let held: usize = self.0.iter().map(|((_, key), edit)| key.len() + edit.bytes()).sum();
        let replaced = before.map_or(0, |before| key.len() + before.bytes());
        if held - replaced + key.len() + edit.bytes() > TABLE_EDITS_BYTES_MAX {
            return Err(TooManyTableEdits);
        }
        Arc::make_mut(&mut self.0).insert(name, edit);
        Ok(())
    }
}

impl Decision {
    /// What becomes of an event whose chain was decided and could not be written: nothing of it holds, and whoever
    /// waits may come back. Where nobody can be told so, it is as if no sink had been there.
    pub fn unwritten(question: &Question) -> Self {
        let event = question.occasion.event;
        let later = Reply::with(451, 3, 0, "this server cannot remember what its filters say, try again later");
        let verdict = if event == EventKind::OnConnect {
            Verdict::Refuse(Reply::new(421, Some(Enhanced::new(3, 0)), "try again later"))
        } else if event.is_outbound() {
            Verdict::DropSession(later)
        } else if event.is_transport() {
            Verdict::Defer(Later { reply: later, after: STORAGE_RETRY_AFTER })
        } else {
            Verdict::Refuse(later)
        };
        let verdict = if question.can_fail && event.allows(&verdict) { verdict } else { Verdict::Next };
        Self { verdict, by: None, overlay: question.overlay.clone(), failures: Vec::new(), is_heard: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<TableValue> {
        Some(TableValue { octets: text.as_bytes().into(), life: 0 })
    }

    #[test]
    fn keys_are_those_of_one_sink_with_the_prefix_and_behind_the_last_one() {
        let mut edits = TableEdits::default();
        for (sink, key) in [("a", "x1"), ("a", "x2"), ("a", "y"), ("b", "x3")] {
            edits.set(sink, key, value("v"), None).expect("small");
        }
        let keys = |prefix, after| edits.keys("a", prefix, after).map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys("x", None), ["x1", "x2"]);
        assert_eq!(keys("x", Some("x1")), ["x2"]);
        assert_eq!(keys("x", Some("a")), ["x1", "x2"], "a place before the prefix leaves nothing out");
        assert!(keys("x", Some("y")).is_empty());
        assert_eq!(edits.growth("a"), 2 * (3 + ENTRY_OVERHEAD_BYTES) + 2 + ENTRY_OVERHEAD_BYTES);
    }

    #[test]
    fn the_first_condition_about_a_key_stays() {
        let mut edits = TableEdits::default();
        edits.set("a", "k", value("1"), Some(None)).expect("small");
        edits.set("a", "k", value("2"), Some(Some(b"1".as_slice().into()))).expect("small");
        let edit = edits.of("a", "k").expect("set");
        assert_eq!((edit.value.clone(), edit.expected.clone()), (value("2"), Some(None)));
        let mut edits = TableEdits::default();
        edits.set("a", "k", value("1"), None).expect("small");
        edits.set("a", "k", None, Some(Some(b"1".as_slice().into()))).expect("small");
        assert_eq!(edits.of("a", "k").expect("set").expected, None, "what the chain set itself is no condition");
    }

    #[test]
    fn a_chain_holds_a_bounded_amount_and_a_refused_change_changes_nothing() {
        let mut edits = TableEdits::default();
        let large = TableValue { octets: vec![0; TABLE_EDITS_BYTES_MAX - 1].into(), life: 0 };
        edits.set("a", "k", Some(large.clone()), None).expect("fits to the octet");
        assert_eq!(edits.set("a", "l", None, None), Err(TooManyTableEdits));
        edits.set("a", "k", Some(large), None).expect("what is replaced makes room");
        assert_eq!(edits.iter().count(), 1);
    }
}
