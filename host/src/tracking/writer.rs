//! The thread that writes the tracking log, and the buffer before it.

use core::time::Duration;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use basin_core::time::Timestamp;
use serde::Serialize;

use super::files::Files;
use super::{Step, TrackingOptions, show_time};

/// Octets that wait to be written at most: some seconds of a busy server. What comes while it is full is dropped.
pub(super) const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

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
pub(super) struct Writer {
    shared: Arc<Shared>,
    clock: fn() -> Timestamp,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(options: TrackingOptions, clock: fn() -> Timestamp) -> io::Result<Self> {
        let files = Files::open(options)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("tracking".into()).spawn(move || run(&theirs, files, clock))?;
        Ok(Self { shared, clock, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn push(&self, id: &str, step: &Step<'_>) {
        let octets = encode((self.clock)(), id, step);
        let mut waiting = self.shared.lock();
        if waiting.is_closed {
            return waiting.drop_lines(1, "the log is closed");
        }
        if waiting.octets.len() + octets.len() > WAITING_BYTES_MAX {
            return waiting.drop_lines(1, "the disk cannot keep up");
        }
        waiting.octets.extend_from_slice(&octets);
        waiting.lines += 1;
        if std::mem::take(&mut waiting.is_asleep) {
            drop(waiting);
            self.shared.changed.notify_one();
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.shared.lock().lost
    }

    pub(super) fn flush(&self) {
        let mut waiting = self.shared.lock();
        waiting.is_hurried = true;
        self.shared.changed.notify_one();
        while waiting.is_writing || !(waiting.octets.is_empty() || waiting.is_closed) {
            waiting = self.shared.done.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn close(&self) {
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

/// A line on its way out; [`super::Line`] is the same on its way in.
#[derive(Serialize)]
struct Written<'a> {
    at: String,
    id: &'a str,
    #[serde(flatten)]
    step: &'a Step<'a>,
}

fn encode(at: Timestamp, id: &str, step: &Step<'_>) -> Vec<u8> {
    let mut octets = Vec::with_capacity(512);
    // Writing to memory does not fail, and no key of a line is anything but text.
    if serde_json::to_writer(&mut octets, &Written { at: show_time(at), id, step }).is_err() {
        octets.clear();
    }
    octets.push(b'\n');
    octets
}

fn marker(at: Timestamp, missing: u64, why: &str) -> Vec<u8> {
    encode(at, "", &Step::Lost { lines: missing, why: why.into() })
}

/// What the thread writes next.
struct Batch {
    octets: Vec<u8>,
    lines: u64,
    // Lines that are missing before these, and why.
    missing: u64,
    why: String,
}

fn run(shared: &Shared, mut files: Files, clock: fn() -> Timestamp) {
    let mut is_failing = false;
    while let Some(batch) = take(shared) {
        let now = clock();
        // Together, so that the line that says what is missing stands where it is missing, or neither is there.
        let mut octets = if batch.missing > 0 { marker(now, batch.missing, &batch.why) } else { Vec::new() };
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
            tracing::error!(%error, "the tracking log cannot be written; mail goes on, its steps are not taken down");
        }
        is_failing = result.is_err();
    }
    let (missing, why) = {
        let waiting = shared.lock();
        (waiting.missing, waiting.why.clone())
    };
    let marked = if missing > 0 { files.append(&marker(clock(), missing, &why), clock()) } else { Ok(()) };
    if let Err(error) = marked.and_then(|()| files.sync()) {
        tracing::error!(%error, "the end of the tracking log is not on disk");
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
