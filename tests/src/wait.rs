//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// Wait for anything that the server does by itself. A test that reaches it has found a fault.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at a condition; short beside what is waited for, long beside what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[allow(clippy::disallowed_methods, reason = "the one place that pauses between two looks at a condition")]
fn pause() {
    thread::sleep(LOOK_EVERY);
}

/// Looks again and again until `condition` gives a value; `None` when `limit` has passed first.
pub fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        pause();
    }
}

/// The same for a plain yes or no.
pub fn until_true(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    until(limit, || condition().then_some(())).is_some()
}

/// Lets a time pass in which something runs under load: how long is then the choice of the run's seed.
#[allow(clippy::disallowed_methods, reason = "the moment of a kill is drawn from a seed, so no condition can tell it")]
pub fn let_pass(time: Duration) {
    thread::sleep(time);
}
