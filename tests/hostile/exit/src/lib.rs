//! Calls the exit of its program, which ends the whole process where a filter runs inside the server.

use basin_sink::prelude::*;

/// What an operator is to find in the failure report; WASI 0.2 knows no failure but this one.
const STATUS: i32 = 1;

fn leave(_call: &Call) -> Result<()> {
    std::process::exit(STATUS)
}

hostile_common::misbehave!(leave);
