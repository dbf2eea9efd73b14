//! What is written of timers, in the tables of sinks: with what a call set, so that both are there or neither.

use std::sync::Arc;

use basin_core::event::timers::{MARKS, timer_id};
use basin_core::event::{Binding, Mark, TableEdits};
use basin_core::limits::TABLE_CONFLICTS_MAX;
use basin_core::mail::MessageId;
use basin_core::time::Timestamp;
use basin_state::{Committed, StateError};

use crate::clock::now;
use crate::sink_tables::{SinkTables, seconds};

/// The mark of a timer; `None` where there is none.
///
/// # Errors
/// The tables cannot be read.
pub(crate) fn find(tables: &SinkTables, timer: &MessageId) -> Result<Option<Mark>, StateError> {
    Ok(stored(tables, timer)?.and_then(|octets| Mark::parse(&octets)))
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
    let (timer, schedule) = (timer_id(&binding.name), Mark::schedule_of(binding));
    // A call of a binding of this name that is gone may end in between, and its mark knows of more.
    for _ in 0..=TABLE_CONFLICTS_MAX {
        let stored = stored(tables, &timer)?;
        let before = stored.as_deref().and_then(Mark::parse);
        if let Some(mark) = before.as_ref().filter(|mark| is_start && mark.schedule == schedule) {
            return Ok(Some(mark.at));
        }
        let batches = before.map_or(0, |mark| mark.batches);
        let mut edits = TableEdits::default();
        Mark { at, batches, schedule: schedule.clone() }.join_after(&timer, Some(stored), &mut edits);
        match tables.commit(&edits, None).await? {
            Committed::Written => return Ok(None),
            Committed::Conflict { .. } => {}
        }
    }
    // Each time a call ended: there is a mark, and it is newer than this one.
    Ok(None)
}

fn stored(tables: &SinkTables, timer: &MessageId) -> Result<Option<Arc<[u8]>>, StateError> {
    tables.get()?.get(MARKS, timer.as_str(), seconds(now()))
}
