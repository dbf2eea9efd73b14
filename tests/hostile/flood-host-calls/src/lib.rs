//! Calls the server without end: long lines for the log, names of metrics, reads of the configuration.

use basin_sink::prelude::*;

/// Longest line that one call can carry is 1 MiB; this is under it, so that the quotas and not that limit bite.
const LINE_OCTETS: usize = 512 * 1024;

fn flood(call: &Call) -> Result<()> {
    let line = "x".repeat(LINE_OCTETS);
    for turn in 0_u64.. {
        log::write(log::Level::Info, &line);
        metrics::add(&format!("flood-{turn}"), turn);
        drop(config::keys());
        drop(call.idempotency_key());
    }
    Ok(())
}

hostile_common::misbehave!(flood);
