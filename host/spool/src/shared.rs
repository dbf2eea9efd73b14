//! What the handles of a spool and its writer have in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::SpoolFault;
use crate::index::Index;
use crate::layout::Layout;
use crate::queue::Queue;
use crate::statistics::{Counters, Statistics};
use crate::storage::{Lock, Storage};

/// Numbers that an operator or a test may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Length at which a segment is closed and the next one begun, in octets.
    ///
    /// Large enough that a segment is rarely begun, small enough that it is soon free again.
    pub segment_bytes: u64,
    /// Messages are refused while less than this is free on the disk, in octets. What is left is for the
    /// records that move mail out: a full disk must still be able to drain.
    pub free_bytes_min: u64,
    /// Largest body kept in a record, and in memory while it arrives, in octets.
    pub inline_bytes_max: usize,
    /// Segments that must be newer before a segment is rewritten for the little that is live in it. A queue
    /// that drains in order empties a segment soon by itself.
    pub rewrite_age_segments: u64,
    /// How long remove records may wait for a sync of their own when no message comes along. A power cut before
    /// means mail that is delivered twice.
    pub idle_sync: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            free_bytes_min: 64 * 1024 * 1024,
            inline_bytes_max: basin_core::limits::DRAFT_MEMORY_BYTES_MAX,
            rewrite_age_segments: 4,
            idle_sync: Duration::from_secs(1),
        }
    }
}

pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) layout: Layout,
    pub(crate) options: Options,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
    next_file: AtomicU64,
    // How many copy the files now. Whoever removes a file holds the lock.
    pins: Mutex<u64>,
    index: Mutex<Index>,
    last_fault: Mutex<Option<String>>,
    // Released with the last handle.
    _lock: Box<dyn Lock>,
}

impl Shared {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        layout: Layout,
        options: Options,
        index: Index,
        next_file: u64,
        lock: Box<dyn Lock>,
    ) -> Self {
        Self {
            storage,
            layout,
            options,
            queue: Queue::default(),
            counters: Counters::default(),
            next_file: AtomicU64::new(next_file),
            pins: Mutex::new(0),
            index: Mutex::new(index),
            last_fault: Mutex::new(None),
            _lock: lock,
        }
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        // Nothing that holds the index can panic half way; were it so, reading on is better than losing mail.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many keep the files of the spool from being removed.
    pub(crate) fn pins(&self) -> MutexGuard<'_, u64> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no draft or body file has or had.
    pub(crate) fn file_number(&self) -> u64 {
        self.next_file.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes a fault for the statistics and hands it on.
    pub(crate) fn note(&self, fault: SpoolFault) -> SpoolFault {
        self.counters.faults.fetch_add(1, Ordering::Relaxed);
        if matches!(fault, SpoolFault::Damaged { .. }) {
            self.counters.damaged.fetch_add(1, Ordering::Relaxed);
        }
        *self.last_fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault.to_string());
        fault
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let last_fault = self.last_fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.counters.read(&self.index(), last_fault)
    }
}
