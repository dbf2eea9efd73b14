//! The thread that writes: what waits goes into one transaction.

use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use basin_core::event::receipt::RECEIPTS;
use basin_core::event::{Receipt, TableEdit, TableEdits, TableEntry};
use basin_core::limits::{RECEIPT_LARGE_BYTES, RECEIPTS_BYTES_MAX, TABLES_BYTES_MAX};

use crate::file::{File, OpenTables, guarded};
use crate::{Committed, StateError};

/// Longest time that a count is in memory alone.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How often entries whose life is over are looked for.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Entries that are swept in one transaction; others wait for it.
const SWEEP_SLICE: usize = 500;

/// Changes that wait to be written. Each is a call or a chain that waits, so more than this means that the disk
/// stands still.
const WAITING_MAX: usize = 1_024;

/// Changes in one transaction.
const BATCH_MAX: usize = 256;

type Done<T> = Box<dyn FnOnce(Result<T, StateError>) + Send>;

/// Something to write, and whom to tell.
pub(crate) enum Job {
    Increment { sink: String, key: String, by: i64, life: u32, now: u64, done: Done<i64> },
    Commit { edits: TableEdits, raising: Option<String>, now: u64, done: Done<Committed> },
    TakeBack { raising: String, now: u64, done: Done<()> },
    Forget { raisings: Vec<String> },
}

impl Job {
    /// Tells that it was not done.
    pub(crate) fn fail(self, error: &StateError) {
        match self {
            Self::Increment { done, .. } => done(Err(error.clone())),
            Self::Commit { done, .. } => done(Err(error.clone())),
            Self::TakeBack { done, .. } => done(Err(error.clone())),
            // What is left over is taken away at the next start.
            Self::Forget { .. } => {}
        }
    }

    /// Whether who waits may go on only when it is on disk.
    fn is_synced(&self) -> bool {
        match self {
            // What is taken back and lost is there to be taken back once more.
            Self::Increment { .. } | Self::TakeBack { .. } | Self::Forget { .. } => false,
            Self::Commit { .. } => true,
        }
    }

    /// Changes the tables; what is returned tells what came of it once the transaction is committed.
    fn work(&self, tables: &mut OpenTables<'_>) -> Result<Outcome, StateError> {
        match self {
            Self::Increment { sink, key, by, life, now, .. } => {
                match increment(tables, (sink, key), (*by, *life), *now) {
                    // A fault of the storage ends the transaction; what is wrong with the value ends this alone.
                    Err(error @ StateError::Unavailable(_)) => Err(error),
                    answer => Ok(Outcome::Sum(answer)),
                }
            }
            Self::Commit { edits, raising, now, .. } => commit(tables, edits, raising.as_deref(), *now),
            Self::TakeBack { raising, now, .. } => take_back(tables, raising, *now).map(|()| Outcome::Done),
            Self::Forget { raisings } => {
                raisings.iter().try_for_each(|raising| tables.put(RECEIPTS, raising, None)).map(|()| Outcome::Done)
            }
        }
    }

    fn tell(self, outcome: Outcome) {
        match (self, outcome) {
            (Self::Increment { done, .. }, Outcome::Sum(sum)) => done(sum),
            (Self::Commit { done, .. }, Outcome::Committed(committed)) => done(Ok(committed)),
            (Self::TakeBack { done, .. }, Outcome::Done) => done(Ok(())),
            (Self::Forget { .. }, Outcome::Done) => {}
            (job, Outcome::Refused(error)) => job.fail(&error),
            (job, _) => job.fail(&StateError::unavailable("the answer is another's")),
        }
    }
}

enum Outcome {
    Sum(Result<i64, StateError>),
    Committed(Committed),
    /// This job alone is not done; nothing of it is in the transaction.
    Refused(StateError),
    Done,
}

/// The thread; dropping it waits for its end.
pub(crate) struct Writer(Option<JoinHandle<()>>);

impl Drop for Writer {
    fn drop(&mut self) {
        // It has logged nothing and holds nothing that its panic could leave behind.
        self.0.take().map(JoinHandle::join).and_then(Result::ok).unwrap_or_default();
    }
}

/// Starts the thread. It ends when nobody can send any more, with everything on disk.
pub(crate) fn start(file: Arc<File>, clock: fn() -> u64) -> io::Result<(SyncSender<Job>, Writer)> {
    let (sender, jobs) = sync_channel(WAITING_MAX);
    let thread = std::thread::Builder::new().name("basin-state".to_owned()).spawn(move || run(&file, &jobs, clock))?;
    Ok((sender, Writer(Some(thread))))
}

fn run(file: &File, jobs: &Receiver<Job>, clock: fn() -> u64) {
    let mut unsynced: Option<Instant> = None;
    let mut sweep_at = Instant::now() + SWEEP_INTERVAL;
    loop {
        let patience = sweep_at.saturating_duration_since(Instant::now());
        let patience = unsynced.map_or(patience, |since| patience.min(SYNC_INTERVAL.saturating_sub(since.elapsed())));
        let first = match jobs.recv_timeout(patience) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let batch: Vec<Job> = first.into_iter().chain(jobs.try_iter().take(BATCH_MAX - 1)).collect();
        let is_due = unsynced.is_some_and(|since| since.elapsed() >= SYNC_INTERVAL);
        let is_synced = is_due || batch.iter().any(Job::is_synced);
        let sweep = (Instant::now() >= sweep_at).then(clock);
        if batch.is_empty() && !is_due && sweep.is_none() {
            continue;
        }
        let written = write(file, batch, is_synced, sweep);
        if sweep.is_some() {
            // A full slice means that there is more: the next transaction goes on with it.
            let is_more = written.as_ref().is_ok_and(|found| *found == SWEEP_SLICE);
            sweep_at = Instant::now() + if is_more { Duration::ZERO } else { SWEEP_INTERVAL };
        }
        if written.is_err() {
            continue;
        }
        unsynced = if is_synced { None } else { unsynced.or_else(|| Some(Instant::now())) };
    }
    // The last counts; who could be told of a failure is gone.
    drop(write(file, Vec::new(), true, None));
}

/// One transaction for all of them; says how many entries were swept. Where it fails, nothing of it is true, and
/// everybody is told so.
fn write(file: &File, batch: Vec<Job>, is_synced: bool, sweep: Option<u64>) -> Result<usize, StateError> {
    let worked = guarded(|| {
        let writing = file.write(is_synced)?;
        let mut tables = writing.open()?;
        let outcomes = batch.iter().map(|job| job.work(&mut tables)).collect::<Result<Vec<_>, _>>()?;
        let swept = sweep.map(|now| tables.sweep(now, SWEEP_SLICE)).transpose()?;
        drop(tables);
        writing.commit()?;
        Ok((outcomes, swept.unwrap_or(0)))
    });
    match worked {
        Ok((outcomes, swept)) => {
            batch.into_iter().zip(outcomes).for_each(|(job, outcome)| job.tell(outcome));
            Ok(swept)
        }
        Err(error) => {
            batch.into_iter().for_each(|job| job.fail(&error));
            Err(error)
        }
    }
}

fn end_of(life: u32, now: u64) -> u64 {
    if life == 0 { 0 } else { now.saturating_add(u64::from(life)) }
}

fn increment(
    tables: &mut OpenTables<'_>,
    (sink, key): (&str, &str),
    (by, life): (i64, u32),
    now: u64,
) -> Result<i64, StateError> {
    let present = tables.live(sink, key, now)?;
    let (sum, ends) = match &present {
        Some(entry) => {
            let number = core::str::from_utf8(&entry.octets).ok().and_then(|text| text.parse::<i64>().ok());
            (number.ok_or(StateError::NoNumber)?.checked_add(by).ok_or(StateError::Overflow)?, entry.ends)
        }
        None => (by, end_of(life, now)),
    };
    let entry = TableEntry { ends, octets: sum.to_string().into_bytes().into() };
    let before = tables.used(sink)?;
    tables.put(sink, key, Some(&entry))?;
    if is_over_quota(tables, sink, before, now)? {
        tables.put(sink, key, present.as_ref())?;
        return Err(StateError::Full);
    }
    Ok(sum)
}

/// Checks every condition first and changes only then, so that a conflict leaves the others' transaction clean.
fn commit(
    tables: &mut OpenTables<'_>,
    edits: &TableEdits,
    raising: Option<&str>,
    now: u64,
) -> Result<Outcome, StateError> {
    let conflict = |sink: &str, key: &str| {
        Ok(Outcome::Committed(Committed::Conflict { sink: sink.to_owned(), key: key.to_owned() }))
    };
    let mut receipt = raising.map(|raising| receipt(tables, raising)).transpose()?.unwrap_or_default();
    // Of what somebody built upon the write of before counts; on the others it is the first.
    let edits: Vec<_> = edits.iter().filter(|(sink, key, _)| !receipt.is_built_upon(sink, key)).collect();
    let mut changes = Vec::new();
    for (sink, key, edit) in edits {
        if !holds(tables, (sink, key), edit, now)? {
            return conflict(sink, key);
        }
        let entry = edit.value.as_ref();
        let entry = entry.map(|value| TableEntry { ends: end_of(value.life, now), octets: value.octets.clone() });
        let before = tables.live(sink, key, now)?;
        receipt.note(sink, key, before.clone(), entry.as_ref());
        changes.push((sink, key, entry, before));
    }
    let receipt = raising.and_then(|raising| Some((raising, stored(&receipt)?)));
    if let Some((_, receipt)) = &receipt
        && !has_room(tables, receipt)?
    {
        return Ok(Outcome::Refused(StateError::unavailable(
            "what events set waits for the records of their messages",
        )));
    }
    for (place, (sink, key, entry, _)) in changes.iter().enumerate() {
        let used = tables.used(sink)?;
        tables.put(sink, key, entry.as_ref())?;
        if is_over_quota(tables, sink, used, now)? {
            for (sink, key, _, before) in changes.iter().take(place + 1).rev() {
                tables.put(sink, key, before.as_ref())?;
            }
            return conflict(sink, key);
        }
    }
    if let Some((raising, receipt)) = &receipt {
        tables.put(RECEIPTS, raising, Some(receipt))?;
    }
    Ok(Outcome::Committed(Committed::Written))
}

/// Whether the receipts that are there leave room for another one. Its own size does not count, so that each has its turn
/// when the others are gone.
fn has_room(tables: &OpenTables<'_>, receipt: &TableEntry) -> Result<bool, StateError> {
    let is_large = receipt.octets.len() as u64 >= RECEIPT_LARGE_BYTES;
    let at_most = if is_large { RECEIPTS_BYTES_MAX / 2 } else { RECEIPTS_BYTES_MAX };
    Ok(tables.used(RECEIPTS)? <= at_most)
}

fn take_back(tables: &mut OpenTables<'_>, raising: &str, now: u64) -> Result<(), StateError> {
    let mut receipt = receipt(tables, raising)?;
    for (sink, key, before) in receipt.take_back(now, |sink, key| tables.live(sink, key, now))? {
        tables.put(&sink, &key, before.as_ref())?;
    }
    put_receipt(tables, raising, &receipt)
}

fn receipt(tables: &OpenTables<'_>, raising: &str) -> Result<Receipt, StateError> {
    let stored = tables.live(RECEIPTS, raising, 0)?;
    let receipt = stored.map(|stored| Receipt::parse(&stored.octets).ok_or("a receipt cannot be read"));
    receipt.transpose().map_err(StateError::unavailable).map(Option::unwrap_or_default)
}

fn put_receipt(tables: &mut OpenTables<'_>, raising: &str, receipt: &Receipt) -> Result<(), StateError> {
    tables.put(RECEIPTS, raising, stored(receipt).as_ref())
}

fn stored(receipt: &Receipt) -> Option<TableEntry> {
    (!receipt.is_empty()).then(|| TableEntry { ends: 0, octets: receipt.to_octets().into() })
}

fn holds(tables: &OpenTables<'_>, (sink, key): (&str, &str), edit: &TableEdit, now: u64) -> Result<bool, StateError> {
    let Some(expected) = &edit.expected else { return Ok(true) };
    Ok(tables.live(sink, key, now)?.map(|entry| entry.octets) == *expected)
}

/// Whether a sink that grew has too much; what is over is swept before anybody is told so. A sink whose quota
/// was lowered may still replace and shrink.
fn is_over_quota(tables: &mut OpenTables<'_>, sink: &str, before: u64, now: u64) -> Result<bool, StateError> {
    loop {
        let used = tables.used(sink)?;
        if used <= TABLES_BYTES_MAX || used <= before {
            return Ok(false);
        }
        if tables.sweep(now, SWEEP_SLICE)? == 0 {
            return Ok(true);
        }
    }
}
