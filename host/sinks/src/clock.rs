//! How long a call has been running, without the time in which it waited.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

/// Sums the time in which the call is polled: the sink's code, and the host's on its behalf.
///
/// A busy server makes calls wait for each other; that wait is nobody's fault, so the deadline looks at this sum,
/// and a second, longer limit bounds the wait.
#[derive(Debug, Clone)]
pub(crate) struct OwnTime {
    start: Instant,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    // Nanoseconds of finished polls.
    spent: AtomicU64,
    // Nanoseconds from `start` to the beginning of the poll that runs.
    resumed: AtomicU64,
}

impl OwnTime {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), shared: Arc::default() }
    }

    /// The call begins to be polled.
    pub(crate) fn resume(&self) {
        self.shared.resumed.store(self.now(), Ordering::Relaxed);
    }

    /// The poll has ended.
    pub(crate) fn pause(&self) {
        let spent = self.now().saturating_sub(self.shared.resumed.load(Ordering::Relaxed));
        self.shared.spent.fetch_add(spent, Ordering::Relaxed);
    }

    /// Time in finished polls.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.shared.spent.load(Ordering::Relaxed))
    }

    /// The same, with the poll that is running; called from within it.
    pub(crate) fn spent_so_far(&self) -> Duration {
        let running = self.now().saturating_sub(self.shared.resumed.load(Ordering::Relaxed));
        self.spent() + Duration::from_nanos(running)
    }

    /// Time since the call began, waiting included.
    pub(crate) fn wall(&self) -> Duration {
        self.start.elapsed()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
