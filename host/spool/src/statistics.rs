//! Counts of what the spool did.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::index::Index;

/// What the spool did since it was opened, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Messages stored.
    pub commits: u64,
    /// Messages saved again.
    pub saves: u64,
    /// Messages removed.
    pub removes: u64,
    /// Times that a file or directory was made durable.
    pub syncs: u64,
    /// Groups of operations written together.
    pub batches: u64,
    /// Octets written to the log.
    pub bytes: u64,
    /// Octets of these that moved live messages out of old segments.
    pub moved_bytes: u64,
    /// Messages and pieces found damaged, at the start and since.
    pub damaged: u64,
    /// Operations that failed.
    pub faults: u64,
    /// Messages that are there.
    pub live_messages: u64,
    /// Octets in the log that they need.
    pub live_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Octets of memory that the table of all messages takes.
    pub index_bytes: u64,
    /// What failed last.
    pub last_fault: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) saves: AtomicU64,
    pub(crate) removes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) moved_bytes: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) faults: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, index: &Index, last_fault: Option<String>) -> Statistics {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            commits: count(&self.commits),
            saves: count(&self.saves),
            removes: count(&self.removes),
            syncs: count(&self.syncs),
            batches: count(&self.batches),
            bytes: count(&self.bytes),
            moved_bytes: count(&self.moved_bytes),
            damaged: count(&self.damaged),
            faults: count(&self.faults),
            live_messages: index.messages.len() as u64,
            live_bytes: index.live_bytes(),
            segments: index.segments.len() as u64,
            index_bytes: index.messages.memory_bytes(),
            last_fault,
        }
    }
}
