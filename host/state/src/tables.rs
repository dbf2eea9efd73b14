//! The handle: reading, and handing over what is to be written.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use basin_core::event::TableEdits;
use basin_core::limits::TABLES_BYTES_MAX;
use thiserror::Error;

use crate::file::{File, guarded};
use crate::writer::{self, Job, Writer};

/// Why a table does not answer, or takes no change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StateError {
    /// The storage failed, or is behind with its work; another attempt may help.
    #[error("the tables of sinks cannot be used: {0}")]
    Unavailable(String),
    /// The sink would have more stored than its quota.
    #[error("a sink stores at most {TABLES_BYTES_MAX} octets")]
    Full,
    /// The value is no number in decimal.
    #[error("the value is no number")]
    NoNumber,
    /// The sum is too large or too small for 64 bits.
    #[error("the sum does not fit")]
    Overflow,
}

impl StateError {
    pub(crate) fn unavailable(why: impl ToString) -> Self {
        Self::Unavailable(why.to_string())
    }
}

/// Every failure of the storage is the same to a sink: come back later.
macro_rules! storage_errors {
    ($( $error:ident ),*) => { $( impl From<redb::$error> for StateError {
        fn from(error: redb::$error) -> Self {
            Self::Unavailable(error.to_string())
        }
    } )* };
}

storage_errors!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// What came of the changes of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// All of them are on disk.
    Written,
    /// None: the named sink's key is no longer what a swap found, or others have used up its quota. The event has
    /// to be raised again.
    Conflict {
        /// Name of the sink.
        sink: String,
        /// The key.
        key: String,
    },
}

/// The tables of all sinks. Cheap to clone; the file is closed with the last one.
///
/// Seconds since 1970 come from the caller: the clock of a sink is that of its event.
#[derive(Clone)]
pub struct Tables {
    file: Arc<File>,
    jobs: SyncSender<Job>,
    // The thread ends when the last sender is gone; dropped after `jobs`, it is waited for then.
    _writer: Arc<Writer>,
}

impl Tables {
    /// Opens the file, or makes it, and starts the thread that writes and, by `clock` (seconds since 1970), removes
    /// what is over.
    ///
    /// # Errors
    /// It cannot be read or made, somebody else has it open, or it is damaged: then nothing of it is used, and
    /// nothing of it is changed.
    pub fn open(path: &Path, clock: fn() -> u64) -> Result<Self, StateError> {
        let file = Arc::new(File::open(path)?);
        let (jobs, writer) = writer::start(file.clone(), clock).map_err(StateError::unavailable)?;
        Ok(Self { file, jobs, _writer: Arc::new(writer) })
    }

    /// The value of a key, unless there is none or its life is over.
    pub fn get(&self, sink: &str, key: &str, now: u64) -> Result<Option<Arc<[u8]>>, StateError> {
        let entry = guarded(|| self.file.entry(sink, key))?;
        Ok(entry.filter(|entry| !entry.is_over(now)).map(|entry| entry.octets))
    }

    /// Keys of a sink with that prefix, sorted, after that key; at most so many.
    pub fn keys(
        &self,
        sink: &str,
        prefix: &str,
        after: Option<&str>,
        at_most: usize,
        now: u64,
    ) -> Result<Vec<String>, StateError> {
        let mut keys = Vec::new();
        let take = |key: &str| {
            keys.push(key.to_owned());
            keys.len() < at_most
        };
        guarded(|| self.file.keys((sink, prefix, after), now, take))?;
        Ok(keys)
    }

    /// Octets of a sink, in the measure of the quota; entries whose life is over count until they are swept.
    pub fn used(&self, sink: &str) -> Result<u64, StateError> {
        guarded(|| self.file.used(sink))
    }

    /// Adds to a number, 0 where there is none; `done` gets the sum. The life begins with the first addition.
    pub fn increment(
        &self,
        sink: &str,
        key: &str,
        (by, life): (i64, u32),
        now: u64,
        done: impl FnOnce(Result<i64, StateError>) + Send + 'static,
    ) {
        let (sink, key) = (sink.to_owned(), key.to_owned());
        self.hand_over(Job::Increment { sink, key, by, life, now, done: Box::new(done) });
    }

    /// Writes the changes of a decided chain: all of them, or none. They are on disk when `done` is called.
    pub fn commit(
        &self,
        edits: TableEdits,
        now: u64,
        done: impl FnOnce(Result<Committed, StateError>) + Send + 'static,
    ) {
        self.hand_over(Job::Commit { edits, now, done: Box::new(done) });
    }

    // Never waits: who finds the queue full is told so, because it may be a thread that serves clients.
    fn hand_over(&self, job: Job) {
        if let Err(error) = self.jobs.try_send(job) {
            let (std::sync::mpsc::TrySendError::Full(job) | std::sync::mpsc::TrySendError::Disconnected(job)) = error;
            job.fail(&StateError::unavailable("too much waits to be written"));
        }
    }
}
