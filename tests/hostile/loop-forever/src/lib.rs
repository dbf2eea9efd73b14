//! Computes without end and without a call of the server: only fuel or the epoch can stop it.

use basin_sink::prelude::*;
use std::hint::black_box;

fn spin(_call: &Call) -> Result<()> {
    let mut turns: u64 = 0;
    while black_box(turns) < u64::MAX {
        turns = turns.wrapping_add(1);
    }
    Ok(())
}

hostile_common::misbehave!(spin);
