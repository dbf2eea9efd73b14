//! Waits without computing: no fuel is burnt, only the deadline can end it.

use basin_sink::prelude::*;
use std::thread::sleep;
use std::time::Duration;

/// Longer than anybody waits.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn wait(_call: &Call) -> Result<()> {
    loop {
        sleep(A_DAY);
    }
}

hostile_common::misbehave!(wait);
