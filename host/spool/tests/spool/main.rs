//! Tests of the spool through its public face.
#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

mod damage;
mod faults;
mod life;
mod order;
mod scan;
mod support;
mod upkeep;
