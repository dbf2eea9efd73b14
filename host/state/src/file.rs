//! The file: entries, when they end, and how much each sink has stored.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use basin_core::event::TableEntry;
use basin_core::event::tables::ENTRY_OVERHEAD_BYTES;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::StateError;

/// `SINK NUL KEY` to the second in which the entry ends (0: never), little-endian, and the value. Names of
/// sinks have no NUL, so the first one parts the two.
const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries-1");

/// The second in which an entry ends, and its name in `ENTRIES`.
const ENDS: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("ends-1");

/// Octets and entries of each sink.
const USES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("uses-1");

/// Pages of the file that are kept in memory, in octets. What is not there is in the page cache of the system.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// The open file.
#[derive(Debug)]
pub(crate) struct File(Database);

fn read(stored: &[u8]) -> Result<TableEntry, StateError> {
    let (ends, octets) = stored.split_first_chunk().ok_or_else(|| StateError::unavailable("an entry is cut off"))?;
    Ok(TableEntry { ends: u64::from_le_bytes(*ends), octets: octets.into() })
}

/// The name of an entry.
pub(crate) fn name(sink: &str, key: &str) -> Vec<u8> {
    [sink.as_bytes(), b"\0", key.as_bytes()].concat()
}

fn weight(name: &[u8], sink: &str, octets: usize) -> u64 {
    (name.len() - sink.len() - 1 + octets) as u64 + ENTRY_OVERHEAD_BYTES
}

/// Runs an operation of the storage, which must not take a thread with it: the library checks much with
/// assertions, and a file can change under a running server.
pub(crate) fn guarded<T>(operation: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|_| Err(StateError::unavailable("the file is damaged")))
}

impl File {
    /// Opens the file or makes it. The whole of it is checked first: a damaged one is refused here and not in the
    /// middle of a call.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        guarded(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
            let file = Self(builder.create(path)?);
            // Reading a table that nobody has made is an error.
            let writing = file.write(true)?;
            drop(writing.open()?);
            writing.commit()?;
            Ok(file)
        })
    }

    /// The entry of a key, even where its life is over.
    pub(crate) fn entry(&self, sink: &str, key: &str) -> Result<Option<TableEntry>, StateError> {
        let table = self.0.begin_read()?.open_table(ENTRIES)?;
        let found = table.get(name(sink, key).as_slice())?;
        found.map(|found| read(found.value())).transpose()
    }

    /// Keys of a sink with that prefix that live, after `after`, until `take` has seen enough.
    pub(crate) fn keys(
        &self,
        (sink, prefix, after): (&str, &str, Option<&str>),
        now: u64,
        mut take: impl FnMut(&str) -> bool,
    ) -> Result<(), StateError> {
        let table = self.0.begin_read()?.open_table(ENTRIES)?;
        let (start, owner) = (name(sink, prefix), sink.len() + 1);
        let from = after.map_or(start.clone(), |after| name(sink, after).max(start.clone()));
        for found in table.range(from.as_slice()..)? {
            let (name, stored) = found?;
            let name = name.value();
            if !name.starts_with(&start) {
                return Ok(());
            }
            let key = name.get(owner..).and_then(|key| core::str::from_utf8(key).ok());
            let key = key.ok_or_else(|| StateError::unavailable("a key is no text"))?;
            if after.is_some_and(|after| key <= after) || read(stored.value())?.is_over(now) {
                continue;
            }
            if !take(key) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Octets of a sink, in the measure of its quota; what is over and not swept counts.
    pub(crate) fn used(&self, sink: &str) -> Result<u64, StateError> {
        let table = self.0.begin_read()?.open_table(USES)?;
        Ok(table.get(sink)?.map_or(0, |used| used.value().0))
    }

    /// Begins to write. Nothing is there until it is committed; what is dropped before leaves no trace.
    pub(crate) fn write(&self, is_synced: bool) -> Result<Writing, StateError> {
        let mut transaction = self.0.begin_write()?;
        let durability = if is_synced { Durability::Immediate } else { Durability::None };
        transaction.set_durability(durability).map_err(StateError::unavailable)?;
        Ok(Writing(transaction))
    }
}

/// A transaction of the file.
pub(crate) struct Writing(WriteTransaction);

impl Writing {
    /// The tables, to change.
    pub(crate) fn open(&self) -> Result<OpenTables<'_>, StateError> {
        Ok(OpenTables {
            entries: self.0.open_table(ENTRIES)?,
            ends: self.0.open_table(ENDS)?,
            uses: self.0.open_table(USES)?,
        })
    }

    /// Makes it all true at once.
    pub(crate) fn commit(self) -> Result<(), StateError> {
        Ok(self.0.commit()?)
    }
}

/// The three tables, which are always changed together.
pub(crate) struct OpenTables<'a> {
    entries: Table<'a, &'static [u8], &'static [u8]>,
    ends: Table<'a, (u64, &'static [u8]), ()>,
    uses: Table<'a, &'static str, (u64, u64)>,
}

impl OpenTables<'_> {
    /// The entry of a key, where it lives.
    pub(crate) fn live(&self, sink: &str, key: &str, now: u64) -> Result<Option<TableEntry>, StateError> {
        let found = self.entries.get(name(sink, key).as_slice())?;
        let entry = found.map(|found| read(found.value())).transpose()?;
        Ok(entry.filter(|entry| !entry.is_over(now)))
    }

    /// Octets of a sink, in the measure of its quota.
    pub(crate) fn used(&self, sink: &str) -> Result<u64, StateError> {
        Ok(self.uses.get(sink)?.map_or(0, |used| used.value().0))
    }

    /// Replaces or removes an entry, with its end and what it counts.
    pub(crate) fn put(&mut self, sink: &str, key: &str, entry: Option<&TableEntry>) -> Result<(), StateError> {
        self.put_named(sink, &name(sink, key), entry)
    }

    fn put_named(&mut self, sink: &str, name: &[u8], entry: Option<&TableEntry>) -> Result<(), StateError> {
        let stored = entry.map(|entry| [&entry.ends.to_le_bytes(), entry.octets.as_ref()].concat());
        let before = match &stored {
            Some(stored) => self.entries.insert(name, stored.as_slice())?,
            None => self.entries.remove(name)?,
        };
        let before = before.map(|before| read(before.value())).transpose()?;
        let (mut octets, mut entries) = self.uses.get(sink)?.map_or((0, 0), |used| used.value());
        if let Some(before) = &before {
            octets = octets.saturating_sub(weight(name, sink, before.octets.len()));
            entries = entries.saturating_sub(1);
            if before.ends != 0 {
                self.ends.remove((before.ends, name))?;
            }
        }
        if let Some(entry) = entry {
            octets += weight(name, sink, entry.octets.len());
            entries += 1;
            if entry.ends != 0 {
                self.ends.insert((entry.ends, name), ())?;
            }
        }
        if entries == 0 {
            self.uses.remove(sink)?;
        } else {
            self.uses.insert(sink, (octets, entries))?;
        }
        Ok(())
    }

    /// Removes entries whose life is over, the longest dead first, at most so many; says how many there were.
    pub(crate) fn sweep(&mut self, now: u64, at_most: usize) -> Result<usize, StateError> {
        let mut names = Vec::new();
        for found in self.ends.range((0, [].as_slice())..(now.saturating_add(1), [].as_slice()))?.take(at_most) {
            names.push(found?.0.value().1.to_vec());
        }
        for name in &names {
            let sink = name.split(|octet| *octet == 0).next().unwrap_or_default();
            let sink = core::str::from_utf8(sink).map_err(StateError::unavailable)?;
            self.put_named(sink, name, None)?;
        }
        Ok(names.len())
    }
}
