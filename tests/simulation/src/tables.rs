//! The tables of sinks: a file of its own beside the spool. What a decided chain sets is on disk when it is decided;
//! what is taken back or forgotten may be lost with the power.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basin_core::event::{Receipt, TableEdits, TableEntry};
use basin_core::time::Timestamp;

use crate::sinks::{COUNT, SINKS};

/// How long a power cut may bring a message back that was removed.
const REMOVAL: Duration = Duration::from_secs(130);

/// What is in the file.
#[derive(Debug, Clone, Default)]
struct Content {
    entries: BTreeMap<(String, String), TableEntry>,
    receipts: BTreeMap<String, Receipt>,
    /// Sinks and events whose count could not be taken back, because others had counted on, and was not made again.
    surplus: BTreeSet<(String, String)>,
}

/// The tables of a world.
#[derive(Debug, Default)]
pub(crate) struct SinkTables {
    content: Content,
    /// What a power cut may leave, where that is not everything.
    synced: Option<Content>,
    /// How often something was taken back.
    pub(crate) taken_back: u64,
    /// Receipts that outlived a power cut and whose events have not been raised again.
    cut_off: BTreeSet<String>,
    /// How the keys of receipts begin whose messages were removed, and when they are forgotten.
    leaving: Vec<(Timestamp, String)>,
}

impl SinkTables {
    pub(crate) fn get(&self, sink: &str, key: &str) -> Option<Arc<[u8]>> {
        self.content.entry(sink, key).map(|entry| entry.octets)
    }

    /// Keys and values of a sink.
    pub(crate) fn of<'a>(&'a self, sink: &'a str) -> impl Iterator<Item = (&'a str, &'a TableEntry)> {
        let own = self.content.entries.iter().filter(move |((owner, _), _)| owner == sink);
        own.map(|((_, key), entry)| (key.as_str(), entry))
    }

    /// Writes what a chain set; nobody swaps in these worlds.
    pub(crate) fn commit(&mut self, edits: &TableEdits, raising: Option<&str>) {
        let content = &mut self.content;
        let mut receipt = raising.and_then(|raising| content.receipts.remove(raising)).unwrap_or_default();
        for (sink, key, edit) in edits.iter() {
            if receipt.is_built_upon(sink, key) {
                let of_event = raising.map(|raising| (sink.to_owned(), raising.to_owned()));
                of_event.iter().for_each(|one| drop(content.surplus.take(one)));
                continue;
            }
            let entry = edit.value.as_ref().map(|value| TableEntry { ends: 0, octets: value.octets.clone() });
            receipt.note(sink, key, content.entry(sink, key), entry.as_ref());
            content.put(sink, key, entry);
        }
        if let Some(raising) = raising {
            content.keep(raising, receipt);
        }
        self.synced = None;
    }

    /// Takes back what a run wrote that a crash has cut off.
    pub(crate) fn take_back(&mut self, raising: &str, now: u64) {
        self.cut_off.remove(raising);
        let Some(mut receipt) = self.content.receipts.get(raising).cloned() else { return };
        self.taken_back += 1;
        self.unsynced();
        let content = &mut self.content;
        let live = |sink: &str, key: &str| Ok::<_, core::convert::Infallible>(content.entry(sink, key));
        for (sink, key, before) in receipt.take_back(now, live).unwrap_or_default() {
            content.put(&sink, &key, before);
        }
        let counts_on = SINKS.into_iter().filter(|sink| receipt.is_built_upon(sink, COUNT));
        content.surplus.extend(counts_on.map(|sink| (sink.to_owned(), raising.to_owned())));
        content.keep(raising, receipt);
    }

    /// Forgets the receipts of that prefix but for those in `unrecorded`, and of events that were cut off and not raised
    /// again.
    pub(crate) fn forget(&mut self, prefix: &str, unrecorded: &[String]) {
        let cut_off = &self.cut_off;
        let is_passed = |raising: &String| {
            raising.starts_with(prefix) && !unrecorded.contains(raising) && !cut_off.contains(raising)
        };
        if self.content.receipts.keys().any(is_passed) {
            self.synced.get_or_insert_with(|| self.content.clone());
            self.content.receipts.retain(|raising, _| !is_passed(raising));
        }
    }

    /// Forgets the receipts of a message that was removed when it cannot come back any more.
    pub(crate) fn forget_later(&mut self, prefix: String, now: Timestamp) {
        self.leaving.push((now.plus(REMOVAL), prefix));
        let (passed, leaving): (Vec<_>, _) = self.leaving.drain(..).partition(|(from, _)| *from <= now);
        self.leaving = leaving;
        for (_, prefix) in passed {
            self.cut_off.retain(|raising| !raising.starts_with(&prefix));
            self.forget(&prefix, &[]);
        }
    }

    /// Forgets the receipts of messages that are gone.
    pub(crate) fn forget_gone(&mut self, is_there: impl Fn(&str) -> bool) {
        let is_of_one = |raising: &String| raising.split_once('/').is_some_and(|(id, _)| is_there(id));
        self.content.receipts.retain(|raising, _| is_of_one(raising));
    }

    /// How much more than its events a sink has counted because they were decided otherwise when they were repeated.
    pub(crate) fn surplus(&self, of: &str) -> usize {
        self.content.surplus.iter().filter(|(sink, _)| sink == of).count()
    }

    /// Keys of all receipts.
    pub(crate) fn receipts(&self) -> impl Iterator<Item = &str> {
        self.content.receipts.keys().map(String::as_str)
    }

    /// The power is cut; `is_lucky` where everything had reached the disk by itself.
    pub(crate) fn power_cut(&mut self, is_lucky: bool) {
        if let Some(synced) = self.synced.take().filter(|_| !is_lucky) {
            self.content = synced;
        }
        self.leaving.clear();
        self.cut_off = self.content.receipts.keys().cloned().collect();
    }

    fn unsynced(&mut self) {
        self.synced.get_or_insert_with(|| self.content.clone());
    }
}

impl Content {
    fn entry(&self, sink: &str, key: &str) -> Option<TableEntry> {
        self.entries.get(&(sink.to_owned(), key.to_owned())).cloned()
    }

    fn put(&mut self, sink: &str, key: &str, entry: Option<TableEntry>) {
        let name = (sink.to_owned(), key.to_owned());
        match entry {
            Some(entry) => drop(self.entries.insert(name, entry)),
            None => drop(self.entries.remove(&name)),
        }
    }

    fn keep(&mut self, raising: &str, receipt: Receipt) {
        if receipt.is_empty() {
            self.receipts.remove(raising);
        } else {
            self.receipts.insert(raising.to_owned(), receipt);
        }
    }
}
