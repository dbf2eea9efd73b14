//! Journals: lines of JSON in files by day, kept for a while, never more of them than a limit says.
//!
//! The tracking log and the audit log are such journals. `files` is how the lines lie on disk, `writer` who writes them.
//!
//! Mail never waits for one. Lines go into a buffer of bounded size that one thread empties; what does not fit, or cannot
//! be written because the disk is full, is dropped and counted, and a line says how many are missing at that place
//! (docs/decisions/0015).

pub(crate) mod files;
pub(crate) mod writer;

use std::path::PathBuf;

use basin_core::time::Timestamp;

/// Where the lines go, and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalOptions {
    /// The directory of the files; made where it is missing.
    pub directory: PathBuf,
    /// Days for which files are kept.
    pub days_max: u32,
    /// Octets of all files together; the oldest go first. Never exceeded.
    pub total_bytes_max: u64,
    /// Nothing is written while less than this is free on the disk, in octets: what is left is for mail.
    pub free_bytes_min: u64,
}

/// What tells one journal from another.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// Its name: "tracking", "audit".
    pub(crate) name: &'static str,
    /// The line that stands for a number of lines that are missing, and why they are.
    pub(crate) lost: fn(Timestamp, u64, &str) -> Vec<u8>,
}
