//! The tables that sinks keep: values with a life, under a quota, changed whole or not at all.
//!
//! One file holds the tables of all sinks (redb: copy-on-write trees with checksums). [`Tables`] is the handle:
//! it reads on the thread that asks, and hands what is to be written to one thread that writes for everybody.
//! That thread takes all that waits into one transaction, so a hundred sessions share one sync.
//!
//! What a decided chain set ([`Tables::commit`]) is synced before the answer comes. A count
//! ([`Tables::increment`]) is visible at once and synced with the next such batch, at the latest after
//! [`SYNC_INTERVAL`]: a rate limit asks thousands of times a second and can stand to lose a second of counts in
//! a power cut.

mod file;
mod tables;
mod writer;

pub use tables::{Committed, StateError, Tables};
pub use writer::{SWEEP_INTERVAL, SYNC_INTERVAL};

#[cfg(test)]
mod tests;
