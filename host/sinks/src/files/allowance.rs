//! What one call may do with files.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::fstatvfs;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// Octets that one call writes at least, whatever the largest message is: an index, a report.
const WRITTEN_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Copies of the largest message that one call may write: the one before and the one after an edit.
const COPIES_MAX: u64 = 2;

/// Files, directories and links that one call may make: one for each recipient of a message with the most of them.
const NAMES_MAX: u64 = 1_000;

/// Octets that sinks leave free on a disk. Twice what the spool keeps for the mail that is here: a sink that fills the
/// disk is told so before the server has to refuse mail.
const FREE_BYTES_MIN: u64 = 128 * 1024 * 1024;

/// What is left of what a call may write, and what it has not paid for yet. Streams hold it too, and may outlive the
/// call with their instance; the next call's allowance is theirs then.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    octets: AtomicU64,
    names: AtomicU64,
    unpaid_octets: AtomicU64,
    unpaid_operations: AtomicU64,
    denials: Mutex<Vec<String>>,
}

/// What a call owes for its files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bill {
    pub(crate) operations: u64,
    pub(crate) octets: u64,
    /// Why something was denied.
    pub(crate) denials: Vec<String>,
}

impl Allowance {
    /// Begins a call, on a server whose largest message has so many octets.
    pub(crate) fn renew(&self, message_bytes_max: u64) {
        let octets = message_bytes_max.saturating_mul(COPIES_MAX).max(WRITTEN_BYTES_MIN);
        self.octets.store(octets, Ordering::Relaxed);
        self.names.store(NAMES_MAX, Ordering::Relaxed);
        drop(self.bill());
    }

    /// Notes an operation.
    pub(crate) fn operate(&self) {
        self.unpaid_operations.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes octets that went between the sink and a file.
    pub(crate) fn moved(&self, octets: usize) {
        self.unpaid_octets.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// Takes what is to be written.
    pub(crate) fn write(&self, octets: u64) -> Result<(), ErrorCode> {
        take(&self.octets, octets)
    }

    /// Takes a file, directory or link that is to be made.
    pub(crate) fn make(&self) -> Result<(), ErrorCode> {
        take(&self.names, 1)
    }

    /// Notes that something was denied.
    pub(crate) fn deny(&self, why: String) {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).push(why);
    }

    /// What was used since it was last asked.
    pub(crate) fn bill(&self) -> Bill {
        Bill {
            operations: self.unpaid_operations.swap(0, Ordering::Relaxed),
            octets: self.unpaid_octets.swap(0, Ordering::Relaxed),
            denials: core::mem::take(&mut *self.denials.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

fn take(left: &AtomicU64, wanted: u64) -> Result<(), ErrorCode> {
    let less = |left: u64| left.checked_sub(wanted);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map(drop).map_err(|_| ErrorCode::Quota)
}

/// Whether the disk on which `file` lies has room for so much more. Asks the system: not for an async thread.
pub(crate) fn has_room(file: &File, octets: u64) -> Result<(), ErrorCode> {
    let facts = fstatvfs(file).map_err(|error| ErrorCode::from(std::io::Error::from(error)))?;
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    if free < FREE_BYTES_MIN.saturating_add(octets) { Err(ErrorCode::InsufficientSpace) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_is_answered_with_quota_until_the_next_call() {
        let allowance = Allowance::default();
        allowance.renew(0);
        assert_eq!(allowance.write(WRITTEN_BYTES_MIN), Ok(()));
        assert_eq!(allowance.write(1), Err(ErrorCode::Quota));
        assert_eq!(allowance.write(0), Ok(()));
        assert!((0..NAMES_MAX).all(|_| allowance.make().is_ok()));
        assert_eq!(allowance.make(), Err(ErrorCode::Quota));
        allowance.renew(100 * 1024 * 1024);
        assert_eq!(allowance.write(150 * 1024 * 1024), Ok(()));
        assert_eq!((allowance.make(), allowance.write(u64::MAX)), (Ok(()), Err(ErrorCode::Quota)));
    }

    #[test]
    fn a_bill_is_paid_once() {
        let allowance = Allowance::default();
        allowance.renew(0);
        allowance.operate();
        allowance.moved(7);
        allowance.deny("no".to_owned());
        let bill = allowance.bill();
        assert_eq!((bill.operations, bill.octets, bill.denials.len()), (1, 7, 1));
        assert_eq!(allowance.bill(), Bill::default());
    }

    #[test]
    fn a_disk_that_is_all_but_full_has_no_room() {
        let file = File::open("/").expect("there is a root");
        assert_eq!(has_room(&file, u64::MAX), Err(ErrorCode::InsufficientSpace));
    }
}
