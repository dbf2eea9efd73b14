//! Every message of the queue in memory, small enough that there may be a million.
//!
//! The spool knows where each message lies; this index knows what an operator asks about: sender, recipients,
//! age, size, where it stands, what the other side said last. The shell puts a [`Row`] in wherever it stores or
//! saves a message, and takes it out where it removes one. Questions are answered in slices
//! ([`Index::scan`]): whoever holds the lock holds it for some thousand rows, never for the whole queue.

mod filter;
mod pack;
mod query;
mod row;
mod tally;
mod texts;

use std::collections::BTreeMap;
use std::collections::VecDeque;

pub use filter::{Filter, FilterError, parse_time};
pub use query::{Closed, Query, Selected};
pub use row::{Row, RowRecipient, Standing, Waits};
pub use tally::{AGE_BOUNDS, Group, GroupBy, Tally};

use crate::mail::MessageId;
use pack::{Key, Packed};
use texts::Texts;

/// Changes that are kept for those who watch; who asks too late is told that some are missing.
const CHANGES_KEPT: usize = 4_096;

/// Rows of a block of memory. Rows live in blocks so that a growing index never copies what it has.
const BLOCK_ROWS: usize = 1_024;

/// What happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new in the queue.
    Came,
    /// Something of it is different.
    Changed,
    /// It left the queue.
    Left,
}

/// The rows of all messages in the queue, the oldest first.
#[derive(Debug, Default)]
pub struct Index {
    order: BTreeMap<Key, u32>,
    blocks: Vec<Vec<Option<Packed>>>,
    free: Vec<u32>,
    texts: Texts,
    octets: u64,
    changes: VecDeque<(MessageId, Change)>,
    changes_before: u64,
}

/// What one slice of a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<T> {
    /// What was found.
    pub found: Vec<T>,
    /// Where the next slice begins; `None` at the end.
    pub next: Option<MessageId>,
}

impl Index {
    /// Puts a message in, or what is new of it.
    pub fn put(&mut self, row: &Row) {
        let packed = Packed::new(row, &mut self.texts);
        let is_new = self.take(&row.id).is_none();
        self.octets += row.size;
        let place = self.store(packed);
        let key = self.new_key(&row.id);
        self.order.insert(key, place);
        self.note(row.id.clone(), if is_new { Change::Came } else { Change::Changed });
    }

    /// Takes a message out and says whether it was in.
    pub fn remove(&mut self, id: &MessageId) -> bool {
        let was_in = self.take(id).is_some();
        if was_in {
            self.note(id.clone(), Change::Left);
        }
        was_in
    }

    /// The row of a message.
    pub fn row(&self, id: &MessageId) -> Option<Row> {
        let place = self.order.get(&self.key(id)?).copied()?;
        Some(self.packed(place)?.row(id.clone(), &self.texts))
    }

    /// Whether a message is in.
    pub fn contains(&self, id: &MessageId) -> bool {
        self.key(id).is_some()
    }

    /// Messages.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Octets of all messages.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Different texts that rows share.
    pub fn texts(&self) -> usize {
        self.texts.len()
    }

    /// The rows that a query selects among the next `rows_max` behind `after`, in order.
    pub fn scan(&self, query: &mut Query, after: Option<&MessageId>, rows_max: usize) -> Slice<Selected> {
        self.walk(after, rows_max, |key, packed, found| {
            if let Some(recipients) = query.select(key, packed, &self.texts) {
                let row = packed.row(self.id(key)?, &self.texts);
                let standing = query.standing(packed, &self.texts);
                found.push(Selected { row: Row { standing, ..row }, recipients });
            }
            Some(())
        })
    }

    /// The row of a message, where a query selects it.
    pub fn select(&self, query: &mut Query, id: &MessageId) -> Option<Selected> {
        let key = self.key(id)?;
        let packed = self.packed(*self.order.get(&key)?)?;
        let recipients = query.select(&key, packed, &self.texts)?;
        let standing = query.standing(packed, &self.texts);
        Some(Selected { row: Row { standing, ..packed.row(id.clone(), &self.texts) }, recipients })
    }

    /// Counts the rows that a query selects among the next `rows_max` behind `after`; the slice has no rows.
    pub fn tally(
        &self,
        query: &mut Query,
        after: Option<&MessageId>,
        rows_max: usize,
        tally: &mut Tally,
    ) -> Slice<Selected> {
        self.walk(after, rows_max, |key, packed, _| {
            if let Some(chosen) = query.select(key, packed, &self.texts) {
                tally.count(packed, chosen.as_deref(), query, &self.texts);
            }
            Some(())
        })
    }

    /// What happened since the change of that number, and the number of the next one; the first are missing
    /// where more happened than is kept.
    pub fn changes(&self, since: u64) -> (Vec<(MessageId, Change)>, u64) {
        let skip = usize::try_from(since.saturating_sub(self.changes_before)).unwrap_or(usize::MAX);
        let next = self.changes_before + self.changes.len() as u64;
        (self.changes.iter().skip(skip).cloned().collect(), next)
    }

    fn walk<T>(
        &self,
        after: Option<&MessageId>,
        rows_max: usize,
        mut visit: impl FnMut(&Key, &Packed, &mut Vec<T>) -> Option<()>,
    ) -> Slice<T> {
        let mut found = Vec::new();
        let mut next = None;
        let mut rows = 0;
        for (key, place) in self.order.range((self.behind(after), core::ops::Bound::Unbounded)) {
            if let Some(packed) = self.packed(*place) {
                visit(key, packed, &mut found);
            }
            rows += 1;
            if rows >= rows_max {
                next = self.id(key);
                break;
            }
        }
        Slice { found, next }
    }

    // The message after which a slice begins may be gone; its place in the order is not. Of ids that have the same
    // numbers, the order is that of the texts behind them as they were seen first; where one of them is gone, the
    // others come again rather than not at all.
    fn behind(&self, after: Option<&MessageId>) -> core::ops::Bound<Key> {
        let Some(id) = after else { return core::ops::Bound::Unbounded };
        match self.key(id) {
            Some(key) => core::ops::Bound::Excluded(key),
            None => core::ops::Bound::Excluded(Key::first(pack::split(id))),
        }
    }

    fn id(&self, key: &Key) -> Option<MessageId> {
        let mut text = String::with_capacity(MessageId::BYTES_MAX);
        key.write(&self.texts, &mut text);
        MessageId::parse(&text)
    }

    // The key of a message that is in. Few ids share their numbers: a message and its notifications.
    fn key(&self, id: &MessageId) -> Option<Key> {
        let parts = pack::split(id);
        let suffix = if parts.2.is_empty() { Some(0) } else { self.texts.find(parts.2) };
        let key = Key::new(parts, suffix?);
        self.order.contains_key(&key).then_some(key)
    }

    fn new_key(&mut self, id: &MessageId) -> Key {
        let parts = pack::split(id);
        let suffix = self.texts.take(parts.2);
        Key::new(parts, suffix)
    }

    fn take(&mut self, id: &MessageId) -> Option<Packed> {
        let key = self.key(id)?;
        let place = self.order.remove(&key)?;
        self.texts.give_back(key.suffix());
        let packed = self.slot_mut(place)?.take()?;
        self.free.push(place);
        packed.forget(&mut self.texts);
        self.octets = self.octets.saturating_sub(packed.size);
        Some(packed)
    }

    fn store(&mut self, packed: Packed) -> u32 {
        if let Some(place) = self.free.pop() {
            if let Some(slot) = self.slot_mut(place) {
                *slot = Some(packed);
            }
            return place;
        }
        let is_full = self.blocks.last().is_none_or(|block| block.len() >= BLOCK_ROWS);
        if is_full {
            self.blocks.push(Vec::with_capacity(BLOCK_ROWS));
        }
        let before = self.blocks.len().saturating_sub(1) * BLOCK_ROWS;
        let Some(block) = self.blocks.last_mut() else { return u32::MAX };
        block.push(Some(packed));
        u32::try_from(before + block.len() - 1).unwrap_or(u32::MAX)
    }

    fn packed(&self, place: u32) -> Option<&Packed> {
        let place = usize::try_from(place).ok()?;
        self.blocks.get(place / BLOCK_ROWS)?.get(place % BLOCK_ROWS)?.as_ref()
    }

    fn slot_mut(&mut self, place: u32) -> Option<&mut Option<Packed>> {
        let place = usize::try_from(place).ok()?;
        self.blocks.get_mut(place / BLOCK_ROWS)?.get_mut(place % BLOCK_ROWS)
    }

    fn note(&mut self, id: MessageId, change: Change) {
        if self.changes.len() >= CHANGES_KEPT {
            self.changes.pop_front();
            self.changes_before += 1;
        }
        self.changes.push_back((id, change));
    }
}

#[cfg(test)]
mod tests;
