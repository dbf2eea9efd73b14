//! Why a call failed, in the words of the operator.

use basin_core::event::{Budget, Failure, FailureKind};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::{I32Exit, ResourceTableError};

use crate::ended::Ended;
use crate::state::WASI_HANDLES_MAX;
use crate::text;

/// Longest detail of a failure, in octets.
const DETAIL_BYTES_MAX: usize = 1_024;

/// Frames of a backtrace in a failure.
const FRAMES_MAX: usize = 20;

/// Longest line of a backtrace, in octets; names of generic functions can fill pages.
const FRAME_BYTES_MAX: usize = 256;

/// Last octets of standard error in a failure.
const STDERR_BYTES_MAX: usize = 4_096;

/// Makes the report of a call that wasmtime ended.
pub(crate) fn of(error: &wasmtime::Error, budget: &Budget, fuel: u64, stderr: &str) -> Failure {
    let (kind, detail) = classify(error, budget);
    Failure {
        kind,
        detail: text::line(&detail, DETAIL_BYTES_MAX),
        backtrace: backtrace(error),
        stderr: tail(stderr),
        fuel,
    }
}

/// Makes the report of a call that ended without an error of wasmtime.
pub(crate) fn plain(kind: FailureKind, detail: &str, fuel: u64, stderr: &str) -> Failure {
    let detail = text::line(detail, DETAIL_BYTES_MAX);
    Failure { kind, detail, backtrace: Vec::new(), stderr: tail(stderr), fuel }
}

fn classify(error: &wasmtime::Error, budget: &Budget) -> (FailureKind, String) {
    if let Some(ended) = find::<Ended>(error) {
        return (ended.kind, ended.detail.clone());
    }
    if let Some(exit) = find::<I32Exit>(error) {
        return (FailureKind::Exit, format!("it called exit with status {}", exit.0));
    }
    if let Some(trap) = find::<Trap>(error) {
        return trapped(*trap, budget);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return (FailureKind::Busy, "the pool of instances is full".to_owned());
    }
    if let Some(ResourceTableError::Full) = find::<ResourceTableError>(error) {
        return (FailureKind::Quota, format!("it holds more than {WASI_HANDLES_MAX} handles of WASI"));
    }
    // wasmtime has no types for these.
    let said = format!("{error:#}");
    if said.contains("fuel allocated for hostcalls has been exhausted") {
        let limit = budget.host_call_bytes;
        return (FailureKind::Quota, format!("it passed more than {limit} octets to the host in one call"));
    }
    if said.contains("store handle limit exceeded") {
        return (FailureKind::Quota, format!("it holds more than {} handles", budget.handles));
    }
    if said.contains("resource limit exceeded") || said.contains("when growing memory") {
        let what = error.root_cause().to_string();
        return (FailureKind::Memory, format!("{what}; the limit is {} instances", budget.instances));
    }
    (FailureKind::Trap, error.root_cause().to_string())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with WebAssembly, and what is new is a trap too")]
fn trapped(trap: Trap, budget: &Budget) -> (FailureKind, String) {
    match trap {
        Trap::OutOfFuel => {
            (FailureKind::Fuel, format!("it used up its {} units of fuel (--fuel raises it)", budget.fuel))
        }
        Trap::Interrupt => (
            FailureKind::Deadline,
            format!("it ran for more than {} ms (--deadline raises it)", budget.time.as_millis()),
        ),
        Trap::StackOverflow => (FailureKind::Stack, "its stack overflowed; the limit is 512 KiB".to_owned()),
        Trap::UnreachableCodeReached => (
            FailureKind::Panic,
            "its own code gave up (unreachable code reached); its standard error may say why".to_owned(),
        ),
        // Rust and C keep a second stack in memory, at its beginning: running over it looks like this.
        Trap::MemoryOutOfBounds => {
            (FailureKind::Trap, "out of bounds memory access; a recursion without end looks like this too".to_owned())
        }
        // Non-exhaustive, and all the same to an operator: the sink did what WebAssembly forbids.
        other => (FailureKind::Trap, other.to_string()),
    }
}

fn find<T: core::error::Error + Send + Sync + 'static>(error: &wasmtime::Error) -> Option<&T> {
    error.downcast_ref::<T>().or_else(|| error.chain().find_map(|cause| cause.downcast_ref::<T>()))
}

// Display demangles the names and adds file and line where the component has them. Its first line is a heading,
// a line that begins with "at" belongs to the frame before it.
fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let shown = backtrace.to_string();
    let mut frames: Vec<String> = Vec::new();
    for line in shown.lines().skip(1).map(str::trim) {
        match (line.strip_prefix("at "), frames.last_mut()) {
            (Some(place), Some(frame)) => *frame = text::line(&format!("{frame} at {place}"), 2 * FRAME_BYTES_MAX),
            (Some(_), None) | (None, _) => frames.push(text::line(line, FRAME_BYTES_MAX)),
        }
    }
    frames.truncate(FRAMES_MAX);
    frames
}

fn tail(stderr: &str) -> String {
    let from = stderr.len().saturating_sub(STDERR_BYTES_MAX);
    let start = (from..=stderr.len()).find(|&start| stderr.is_char_boundary(start)).unwrap_or(stderr.len());
    stderr.get(start..).unwrap_or_default().to_owned()
}
