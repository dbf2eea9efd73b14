//! What is written of timers, in the tables of sinks: with what a call set, so that both are there or neither.

use basin_core::event::timers::{MARKS, timer_id};
use basin_core::event::{Binding, Mark, TableEdits};
use basin_core::mail::MessageId;
use basin_core::time::Timestamp;
use basin_state::StateError;

use crate::clock::now;
use crate::sink_tables::{SinkTables, seconds};

/// The mark of a timer; `None` where there is none.
///
/// # Errors
/// The tables cannot be read.
pub(crate) fn find(tables: &SinkTables, timer: &MessageId) -> Result<Option<Mark>, StateError> {
    let octets = tables.get()?.get(MARKS, timer.as_str(), seconds(now()))?;
    Ok(octets.and_then(|octets| Mark::parse(&octets)))
}

/// Writes the first mark of a timer: from then on it is known that nothing which it makes may set out yet.
///
/// # Errors
/// It is not on disk.
pub(super) async fn make(tables: &SinkTables, binding: &Binding, at: Timestamp) -> Result<Mark, StateError> {
    renew(tables, binding, at, 0).await
}

/// Begins a timer that was not known, and says when it ran last, which is where it goes on after a start of the server
/// if its schedule is the one that it had.
///
/// # Errors
/// The tables cannot be read or written.
pub(super) async fn begin(
    tables: &SinkTables,
    binding: &Binding,
    at: Timestamp,
    is_start: bool,
) -> Result<Option<Timestamp>, StateError> {
    match find(tables, &timer_id(&binding.name))? {
        Some(mark) if is_start && mark.schedule == schedule(binding) => Ok(Some(mark.at)),
        Some(mark) => renew(tables, binding, at, mark.batches).await.map(|_| None),
        None => make(tables, binding, at).await.map(|_| None),
    }
}

/// The schedule of a binding as a mark has it.
pub(super) fn schedule(binding: &Binding) -> String {
    binding.schedule.as_ref().map(ToString::to_string).unwrap_or_default()
}

async fn renew(tables: &SinkTables, binding: &Binding, at: Timestamp, batches: u32) -> Result<Mark, StateError> {
    let mark = Mark { at, batches, schedule: schedule(binding) };
    let mut edits = TableEdits::default();
    mark.join(&timer_id(&binding.name), &mut edits);
    // Nobody makes a condition about it, so there is no conflict.
    tables.commit(&edits, None).await.map(|_| mark)
}
