//! The thread that writes a journal, and the buffer before it.

use core::time::Duration;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::files::Files;
use super::{JournalOptions, Kind};
use basin_core::time::Timestamp;

/// Octets that wait to be written at most: some seconds of a busy server. What comes while it is full is dropped.
pub(crate) const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long the thread lets lines gather: one write for all of them, and nobody has to wake it meanwhile.
const GATHER: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Waiting {
    octets: Vec<u8>,
    lines: u64,
    // Dropped since the last line of the log that says so, and why.
    missing: u64,
    why: String,
    lost: u64,
    is_writing: bool,
    is_asleep: bool,
    is_hurried: bool,
    is_closed: bool,
}

impl Waiting {
    fn drop_lines(&mut self, lines: u64, why: &str) {
        self.missing += lines;
        self.lost += lines;
        if self.why != why {
            self.why.replace_range(.., why);
        }
    }
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    done: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The buffer's end that takes lines.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The directory cannot be made or read, or there is no thread to be had.
    pub(crate) fn start(options: JournalOptions, kind: Kind, clock: fn() -> Timestamp) -> io::Result<Self> {
        let files = Files::open(options)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name(kind.name.into()).spawn(move || run(&theirs, files, kind, clock))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Takes a line, its end included. Never blocks on the disk.
    pub(crate) fn push(&self, octets: &[u8]) {
        let mut waiting = self.shared.lock();
        if waiting.is_closed {
            return waiting.drop_lines(1, "the log is closed");
        }
        if waiting.octets.len() + octets.len() > WAITING_BYTES_MAX {
            return waiting.drop_lines(1, "the disk cannot keep up");
        }
        waiting.octets.extend_from_slice(octets);
        waiting.lines += 1;
        if std::mem::take(&mut waiting.is_asleep) {
            drop(waiting);
            self.shared.changed.notify_one();
        }
    }

    /// Lines that were dropped since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lock().lost
    }

    /// Waits until all that was pushed before is written, or dropped. Blocks.
    pub(crate) fn flush(&self) {
        let mut waiting = self.shared.lock();
        waiting.is_hurried = true;
        self.shared.changed.notify_one();
        while waiting.is_writing || !(waiting.octets.is_empty() || waiting.is_closed) {
            waiting = self.shared.done.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes what is there, makes it durable and ends the thread. What comes later is dropped. Blocks.
    pub(crate) fn close(&self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread was reported by the hook.
        drop(thread.map(JoinHandle::join));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the thread writes next.
struct Batch {
    octets: Vec<u8>,
    lines: u64,
    // Lines that are missing before these, and why.
    missing: u64,
    why: String,
}

fn run(shared: &Shared, mut files: Files, kind: Kind, clock: fn() -> Timestamp) {
    let mut is_failing = false;
    while let Some(batch) = take(shared) {
        let now = clock();
        // Together, so that the line that says what is missing stands where it is missing, or neither is there.
        let mut octets = if batch.missing > 0 { (kind.lost)(now, batch.missing, &batch.why) } else { Vec::new() };
        octets.extend_from_slice(&batch.octets);
        let result = files.append(&octets, now);
        let mut waiting = shared.lock();
        waiting.is_writing = false;
        match &result {
            Ok(()) => waiting.missing = waiting.missing.saturating_sub(batch.missing),
            Err(error) => waiting.drop_lines(batch.lines, &error.to_string()),
        }
        drop(waiting);
        shared.done.notify_all();
        if let Err(error) = &result
            && !is_failing
        {
            tracing::error!(%error, "the {} log cannot be written; mail goes on, its lines are lost", kind.name);
        }
        is_failing = result.is_err();
    }
    let (missing, why) = {
        let waiting = shared.lock();
        (waiting.missing, waiting.why.clone())
    };
    let marked = if missing > 0 { files.append(&(kind.lost)(clock(), missing, &why), clock()) } else { Ok(()) };
    if let Err(error) = marked.and_then(|()| files.sync()) {
        tracing::error!(%error, "the end of the {} log is not on disk", kind.name);
    }
    shared.done.notify_all();
}

// All that waits, as soon as there is something; `None` at the end.
fn take(shared: &Shared) -> Option<Batch> {
    let mut waiting = shared.lock();
    while waiting.octets.is_empty() && !waiting.is_closed {
        waiting.is_asleep = true;
        waiting.is_hurried = false;
        waiting = shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
    }
    waiting.is_asleep = false;
    if waiting.octets.is_empty() {
        return None;
    }
    let is_patient = |waiting: &mut Waiting| {
        !(waiting.is_hurried || waiting.is_closed) && waiting.octets.len() < WAITING_BYTES_MAX / 2
    };
    let gathered = shared.changed.wait_timeout_while(waiting, GATHER, is_patient);
    let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
    waiting.is_hurried = false;
    waiting.is_writing = true;
    Some(Batch {
        octets: std::mem::take(&mut waiting.octets),
        lines: std::mem::take(&mut waiting.lines),
        missing: waiting.missing,
        why: waiting.why.clone(),
    })
}
