//! Says `next` to everything: the base against which the others are compared.

use basin_sink::prelude::*;

fn nothing(_call: &Call) -> Result<()> {
    Ok(())
}

hostile_common::misbehave!(nothing);
