//! What the values that a chain sets and the record of its message say of each other after a crash.
//!
//! They are two files. The values are written first, with a receipt: what was there before, under the key of the event
//! ([`Question::raising`]). The receipt goes when the record of the message says that the event has passed. Where it is
//! still there when the same event is raised again, a crash came between the two, and what the run before it set is
//! taken back: the repetition sees what that run saw. A key that somebody has changed since is left as it is, because
//! what was built upon it cannot be taken back; of this one the write of the first run counts, and that of the repetition
//! is left out. A value whose life ended meanwhile is gone by itself, and nobody's doing: that counts as if it were there.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::event::{Decision, EventKind, Question, TableEdits, Verdict};
use crate::mail::MessageId;

/// Whose table the receipts are in; no sink has a name like that.
pub const RECEIPTS: &str = "*raised";

/// A value as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// The second since 1970 in which it ends; 0 is never.
    pub ends: u64,
    /// The value.
    pub octets: Arc<[u8]>,
}

impl TableEntry {
    /// Whether its life is over.
    pub fn is_over(&self, now: u64) -> bool {
        self.ends != 0 && self.ends <= now
    }

    fn fingerprint(&self) -> Fingerprint {
        Sha256::new().chain_update(self.ends.to_le_bytes()).chain_update(&self.octets).finalize().into()
    }
}

/// Stands for what a chain has set: only whether it is still there is asked.
type Fingerprint = [u8; 32];

/// What one event wrote in the tables of its sinks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt(Vec<Row>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    sink: String,
    key: String,
    /// What the chain made of it; `None` where it removed it.
    after: Option<Fingerprint>,
    /// The second in which that ends; 0 is never, and where there is nothing that could end.
    ends: u64,
    /// What was there; `None` once somebody has built upon `after`.
    before: Option<Option<TableEntry>>,
}

impl Row {
    /// Whether the key holds what the chain made of it, or would if that had not ended by itself. What somebody else has
    /// put there or taken away since, and would be gone by now too, cannot be told from that and need not be.
    fn is_untouched(&self, present: Option<&TableEntry>, now: u64) -> bool {
        let has_ended = self.ends != 0 && self.ends <= now;
        present.map(TableEntry::fingerprint) == self.after || (present.is_none() && has_ended)
    }
}

/// A key of a sink, and what it is to hold again.
pub type Restored = (String, String, Option<TableEntry>);

impl Receipt {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes what becomes of a key.
    pub fn note(&mut self, sink: &str, key: &str, before: Option<TableEntry>, after: Option<&TableEntry>) {
        let (after, ends) = (after.map(TableEntry::fingerprint), after.map_or(0, |after| after.ends));
        match self.0.iter_mut().find(|row| row.sink == sink && row.key == key) {
            // What was there at first is what there is to go back to.
            Some(row) => (row.after, row.ends) = (after, ends),
            None => self.0.push(Row { sink: sink.to_owned(), key: key.to_owned(), after, ends, before: Some(before) }),
        }
    }

    /// Whether the write to a key counts that was made before the crash, and not the one of the repetition.
    pub fn is_built_upon(&self, sink: &str, key: &str) -> bool {
        self.0.iter().any(|row| row.before.is_none() && row.sink == sink && row.key == key)
    }

    /// Says what has to be put back so that the event can be raised again; what is left of the receipt is what cannot
    /// be. `live` tells what a key holds now; what was there before and would have ended by now is not put back.
    ///
    /// # Errors
    /// Those of `live`.
    pub fn take_back<E>(
        &mut self,
        now: u64,
        mut live: impl FnMut(&str, &str) -> Result<Option<TableEntry>, E>,
    ) -> Result<Vec<Restored>, E> {
        let mut restored = Vec::new();
        let mut left = Vec::new();
        for mut row in core::mem::take(&mut self.0) {
            let present = live(&row.sink, &row.key)?;
            match row.before.take() {
                Some(before) if row.is_untouched(present.as_ref(), now) => {
                    restored.push((row.sink, row.key, before.filter(|before| !before.is_over(now))));
                }
                Some(_) | None => left.push(row),
            }
        }
        self.0 = left;
        Ok(restored)
    }

    /// The form in which it is stored.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for row in &self.0 {
            put(&mut octets, row.sink.as_bytes());
            put(&mut octets, row.key.as_bytes());
            // The end is there where there is one.
            let ends = Some(row.ends.to_le_bytes()).filter(|_| row.ends != 0);
            let after = [row.after.as_ref().map(Fingerprint::as_slice), ends.as_ref().map(<[u8; 8]>::as_slice)];
            put(&mut octets, &after.map(Option::unwrap_or_default).concat());
            match &row.before {
                None => octets.push(BUILT_UPON),
                Some(None) => octets.push(NOTHING_BEFORE),
                Some(Some(entry)) => {
                    octets.push(SOMETHING_BEFORE);
                    octets.extend_from_slice(&entry.ends.to_le_bytes());
                    put(&mut octets, &entry.octets);
                }
            }
        }
        octets
    }

    /// Reads what was stored; `None` where it is something else.
    pub fn parse(mut octets: &[u8]) -> Option<Self> {
        let mut rows = Vec::new();
        while !octets.is_empty() {
            let (sink, key) = (take_text(&mut octets)?, take_text(&mut octets)?);
            let (after, ends) = match take(&mut octets)? {
                [] => (None, 0),
                after => {
                    let (fingerprint, ends) = after.split_first_chunk()?;
                    let ends = if ends.is_empty() { 0 } else { u64::from_le_bytes(ends.try_into().ok()?) };
                    (Some(*fingerprint), ends)
                }
            };
            let (what, rest) = octets.split_first()?;
            octets = rest;
            let before = match *what {
                BUILT_UPON => None,
                NOTHING_BEFORE => Some(None),
                SOMETHING_BEFORE => {
                    let (ends, rest) = octets.split_first_chunk()?;
                    octets = rest;
                    Some(Some(TableEntry { ends: u64::from_le_bytes(*ends), octets: take(&mut octets)?.into() }))
                }
                _ => return None,
            };
            rows.push(Row { sink, key, after, ends, before });
        }
        Some(Self(rows))
    }
}

const BUILT_UPON: u8 = 0;
const NOTHING_BEFORE: u8 = 1;
const SOMETHING_BEFORE: u8 = 2;

// A length in four octets, and what is so long.
fn put(octets: &mut Vec<u8>, part: &[u8]) {
    octets.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    octets.extend_from_slice(part);
}

fn take<'a>(octets: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = octets.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    *octets = rest;
    Some(part)
}

fn take_text(octets: &mut &[u8]) -> Option<String> {
    core::str::from_utf8(take(octets)?).ok().map(str::to_owned)
}

impl Question {
    /// The key of the receipt for what the chain sets, at the events that a record of a stored message comes after;
    /// `None` at the others. It is the same when the event is raised again because that record was not written.
    pub fn raising(&self) -> Option<&str> {
        let has_record = matches!(
            self.occasion.event,
            EventKind::OnSubmission
                | EventKind::OnPreCategorize
                | EventKind::OnCategorize
                | EventKind::OnPostCategorize
                | EventKind::OnRoute
                | EventKind::OnLocalDelivery
                | EventKind::OnNotification
        );
        has_record.then_some(self.occasion.idempotency_key.as_str())
    }
}

/// How the keys of all receipts begin that belong to a message.
pub fn receipts_of(message: &MessageId) -> String {
    format!("{message}/")
}

impl Decision {
    /// Takes out what the chain set, as far as it is to be written.
    ///
    /// Where a sink fails and its message is held for that, nobody has judged the message yet: on release its sinks are
    /// asked again, all of them, and set again what they set.
    pub fn take_tables(&mut self, event: EventKind) -> TableEdits {
        let edits = core::mem::take(&mut self.overlay.tables);
        let is_stage =
            matches!(event, EventKind::OnSubmission | EventKind::OnPreCategorize | EventKind::OnPostCategorize);
        let is_asked_again = is_stage && matches!(self.verdict, Verdict::Hold(_)) && self.is_by_failure();
        if is_asked_again { TableEdits::default() } else { edits }
    }

    /// Whether the binding that decided did so because its sink failed.
    pub fn is_by_failure(&self) -> bool {
        self.by.as_ref().is_some_and(|by| self.failures.iter().any(|(binding, _)| binding == by))
    }
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;
    use std::collections::BTreeMap;

    use super::*;

    fn entry(text: &str) -> TableEntry {
        TableEntry { ends: 7, octets: text.as_bytes().into() }
    }

    /// A moment at which the entries of these tests live.
    const NOW: u64 = 6;

    fn taken_back(receipt: &mut Receipt, tables: &BTreeMap<&str, TableEntry>) -> Vec<Restored> {
        let live = |_: &str, key: &str| Ok::<_, Infallible>(tables.get(key).cloned());
        receipt.take_back(NOW, live).unwrap_or_default()
    }

    fn receipt() -> Receipt {
        let mut receipt = Receipt::default();
        receipt.note("a", "new", None, Some(&entry("1")));
        receipt.note("a", "changed", Some(entry("5")), Some(&entry("6")));
        receipt.note("a", "gone", Some(entry("x")), None);
        receipt
    }

    #[test]
    fn what_nobody_touched_goes_back_to_what_it_was() {
        let mut receipt = receipt();
        let tables = BTreeMap::from([("new", entry("1")), ("changed", entry("6"))]);
        let restored = taken_back(&mut receipt, &tables);
        let own = |key: &str, before| ("a".to_owned(), key.to_owned(), before);
        assert_eq!(restored, [own("new", None), own("changed", Some(entry("5"))), own("gone", Some(entry("x")))]);
        assert!(receipt.is_empty());
    }

    #[test]
    fn what_somebody_built_upon_stays_and_is_not_written_again() {
        let mut receipt = receipt();
        let tables = BTreeMap::from([("new", entry("1")), ("changed", entry("7"))]);
        assert_eq!(taken_back(&mut receipt, &tables).len(), 2);
        assert!(receipt.is_built_upon("a", "changed") && !receipt.is_built_upon("a", "new"));
        // Even if it comes to be what it was: that is somebody else's doing.
        let tables = BTreeMap::from([("changed", entry("6"))]);
        assert!(taken_back(&mut receipt, &tables).is_empty());
        assert!(receipt.is_built_upon("a", "changed"));
    }

    #[test]
    fn what_ended_by_itself_is_nobodys_doing_and_what_would_have_ended_before_it_stays_away() {
        let live = |_: &str, _: &str| Ok::<_, Infallible>(None);
        let mut receipt = Receipt::default();
        let ever = TableEntry { ends: 0, ..entry("ever") };
        receipt.note("a", "k", Some(ever.clone()), Some(&entry("1")));
        receipt.note("a", "short", Some(entry("5")), Some(&entry("6")));
        // Somebody took this one away: it has no end.
        receipt.note("a", "removed", None, Some(&ever));
        let mut stored = Receipt::parse(&receipt.to_octets()).expect("a receipt");
        let restored = stored.take_back(7, live).unwrap_or_default();
        assert_eq!(restored, [("a".into(), "k".into(), Some(ever)), ("a".into(), "short".into(), None)]);
        assert!(stored.is_built_upon("a", "removed") && !stored.is_built_upon("a", "k"));
        // A second earlier all of it would have to be there.
        assert!(receipt.take_back(NOW, live).unwrap_or_default().is_empty());
        assert!(receipt.is_built_upon("a", "k"));
    }

    #[test]
    fn a_second_note_keeps_what_was_there_at_first() {
        let mut receipt = receipt();
        receipt.note("a", "changed", Some(entry("6")), Some(&entry("8")));
        let tables = BTreeMap::from([("changed", entry("8"))]);
        let restored = taken_back(&mut receipt, &tables);
        assert!(restored.contains(&("a".to_owned(), "changed".to_owned(), Some(entry("5")))), "{restored:?}");
    }

    #[test]
    fn a_receipt_is_read_as_it_was_written_and_nothing_else_is_one() {
        let mut receipt = receipt();
        assert_eq!(Receipt::parse(&receipt.to_octets()), Some(receipt.clone()));
        taken_back(&mut receipt, &BTreeMap::from([("gone", entry("y"))]));
        let octets = receipt.to_octets();
        assert_eq!(Receipt::parse(&octets), Some(receipt));
        let whole = |end: &usize| octets.get(..*end).and_then(Receipt::parse).is_some();
        let ends: Vec<usize> = (1..octets.len()).filter(whole).collect();
        assert!(ends.len() < 3, "only the ends of rows are ends: {ends:?}");
        assert_eq!(Receipt::parse(b"something else, and longer"), None);
    }
}
