//! The handle: reading, and handing over what is to be written.

use core::ops::Bound;
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basin_core::event::TableEdits;
use basin_core::event::receipt::RECEIPTS;
use basin_core::limits::{RECEIPTS_BYTES_MAX, TABLES_BYTES_MAX};
use thiserror::Error;

use crate::file::{File, guarded};
use crate::writer::{self, Job, Writer};

/// Seconds after which a message that was removed does not come up again with a power cut: removals are synced within a
/// second, and within a minute by a disk that fails now and then.
const REMOVAL_SECONDS: u64 = 130;

/// The same where receipts take much room, in which a disk that fails is not waited for: where it does, and the power is cut
/// then, an event of a message that is delivered already is raised with what it set before still there.
const REMOVAL_SECONDS_PRESSED: u64 = 2;

/// Octets of receipts that are much room: a quarter, long before events have to be deferred.
const PRESSED_BYTES: u64 = RECEIPTS_BYTES_MAX / 4;

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

/// Keys of receipts, see [`basin_core::event::receipt`].
#[derive(Debug, Default)]
struct Raisings {
    keys: BTreeSet<String>,
    /// Those that an earlier process left, until their events are raised again: a record that is written meanwhile need
    /// not know of them.
    cut_off: BTreeSet<String>,
    /// How the keys begin whose messages were removed, and when.
    leaving: VecDeque<(u64, String)>,
}

impl Raisings {
    fn of<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a String> {
        let from = self.keys.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |key| key.starts_with(prefix))
    }

    fn remove(&mut self, passed: Vec<String>) -> Option<Job> {
        for key in &passed {
            self.keys.remove(key);
            self.cut_off.remove(key);
        }
        if passed.is_empty() { None } else { Some(Job::Forget { raisings: passed }) }
    }
}

/// The tables of all sinks. Cheap to clone; the file is closed with the last one.
///
/// Seconds since 1970 come from the caller: the clock of a sink is that of its event.
#[derive(Clone)]
pub struct Tables {
    file: Arc<File>,
    jobs: SyncSender<Job>,
    /// Keys of the receipts that may be in the file, see [`basin_core::event::receipt`].
    raisings: Arc<Mutex<Raisings>>,
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
        let tables = Self { file, jobs, raisings: Arc::default(), _writer: Arc::new(writer) };
        let left = tables.keys(RECEIPTS, "", None, usize::MAX, 0)?;
        let mut raisings = tables.raisings();
        raisings.cut_off.extend(left.clone());
        raisings.keys.extend(left);
        drop(raisings);
        Ok(tables)
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

    /// Writes the changes of a decided chain: all of them, or none. They are on disk when `done` is called. With
    /// `raising` a receipt is written with them, by which [`Tables::take_back`] knows them; where there is no room for it
    /// the storage is `Unavailable`, until records of other messages have been written.
    pub fn commit(
        &self,
        edits: TableEdits,
        raising: Option<&str>,
        now: u64,
        done: impl FnOnce(Result<Committed, StateError>) + Send + 'static,
    ) {
        let raising = raising.map(str::to_owned);
        if raising.is_some() {
            self.forget_passed(now);
        }
        self.raisings().keys.extend(raising.clone());
        self.hand_over(Job::Commit { edits, raising, now, done: Box::new(done) });
    }

    /// Whether there may be a receipt of that key.
    pub fn is_raised(&self, raising: &str) -> bool {
        self.raisings().keys.contains(raising)
    }

    /// Takes back what the receipt of that key says, because its event is raised again; what others have changed since
    /// stays.
    pub fn take_back(&self, raising: &str, now: u64, done: impl FnOnce(Result<(), StateError>) + Send + 'static) {
        self.raisings().cut_off.remove(raising);
        self.hand_over(Job::TakeBack { raising: raising.to_owned(), now, done: Box::new(done) });
    }

    /// Forgets the receipts whose keys begin so, but for those in `unrecorded` and those of events that were cut off and
    /// not raised again: what they are about has passed.
    pub fn forget(&self, prefix: &str, unrecorded: &[String]) {
        let mut raisings = self.raisings();
        let is_passed = |raising: &&String| !unrecorded.contains(raising) && !raisings.cut_off.contains(*raising);
        let passed = raisings.of(prefix).filter(is_passed).cloned().collect();
        let job = raisings.remove(passed);
        drop(raisings);
        job.into_iter().for_each(|job| self.hand_over(job));
    }

    /// Forgets the receipts whose keys begin so, as soon as what they are about cannot come up again; and those of which
    /// that is true now.
    pub fn forget_later(&self, prefix: &str, now: u64) {
        let mut raisings = self.raisings();
        if raisings.of(prefix).next().is_some() {
            raisings.leaving.push_back((now, prefix.to_owned()));
        }
        drop(raisings);
        self.forget_passed(now);
    }

    fn forget_passed(&self, now: u64) {
        let is_pressed = self.used(RECEIPTS).is_ok_and(|used| used > PRESSED_BYTES);
        let patience = if is_pressed { REMOVAL_SECONDS_PRESSED } else { REMOVAL_SECONDS };
        let mut raisings = self.raisings();
        let mut passed = Vec::new();
        let has_passed = |(since, _): &mut (u64, String)| since.saturating_add(patience) <= now;
        while let Some((_, prefix)) = raisings.leaving.pop_front_if(has_passed) {
            passed.extend(raisings.of(&prefix).cloned());
        }
        let job = raisings.remove(passed);
        drop(raisings);
        job.into_iter().for_each(|job| self.hand_over(job));
    }

    /// What stands in front of the first `/` in the keys of the receipts, each once.
    pub fn raised_by(&self) -> BTreeSet<String> {
        let raisings = self.raisings();
        raisings.keys.iter().filter_map(|raising| raising.split_once('/')).map(|(by, _)| by.to_owned()).collect()
    }

    // Nothing that is done with the set panics in the middle.
    fn raisings(&self) -> MutexGuard<'_, Raisings> {
        self.raisings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Never waits: who finds the queue full is told so, because it may be a thread that serves clients.
    fn hand_over(&self, job: Job) {
        if let Err(error) = self.jobs.try_send(job) {
            let (std::sync::mpsc::TrySendError::Full(job) | std::sync::mpsc::TrySendError::Disconnected(job)) = error;
            job.fail(&StateError::unavailable("too much waits to be written"));
        }
    }
}
