//! Allocates and touches memory without end; when no more is given it panics, as Rust does.

use basin_sink::prelude::*;
use std::hint::black_box;

/// Octets asked for at a time: enough that the memory limit is met long before the fuel is.
const BLOCK_OCTETS: usize = 1 << 20;

fn eat(_call: &Call) -> Result<()> {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut block = vec![0; BLOCK_OCTETS];
        // One octet in each page of 4 KiB makes the memory real and costs little fuel.
        block.iter_mut().step_by(4096).for_each(|octet| *octet = 1);
        eaten.push(block);
        black_box(&eaten);
    }
}

hostile_common::misbehave!(eat);
