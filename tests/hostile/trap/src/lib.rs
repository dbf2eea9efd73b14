//! Panics with a message, which the server is to find in the last lines of stderr.

use basin_sink::prelude::*;
use std::hint::black_box;

fn panic_on_purpose(call: &Call) -> Result<()> {
    assert!(black_box(false), "this sink panics on purpose, raised {} times before", call.raised());
    Ok(())
}

hostile_common::misbehave!(panic_on_purpose);
