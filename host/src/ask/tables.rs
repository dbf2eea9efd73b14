//! What a decided chain set in the tables of its sinks is written before anybody acts on the decision.

use std::sync::Arc;

use basin_core::event::{Decision, EventKind, Question, TableEdits};
use basin_core::limits::TABLE_CONFLICTS_MAX;
use basin_state::Committed;

use super::Ask;

/// Whether a decision holds.
pub(super) enum Written {
    /// It does.
    Decided(Decision),
    /// Somebody was faster with a value that its sinks swapped: the event is raised again.
    Again(Question),
}

impl Ask {
    /// Writes what a chain set. `again` is the question as it was before the chain, `conflicts` how often it lost.
    ///
    /// Where it cannot be written the chain's effects are gone, all of them, and the event is deferred: an edit
    /// without the memory of it, or the memory without the edit, is what no sink can deal with.
    pub(super) async fn write_tables(&self, mut decision: Decision, again: Question, conflicts: u32) -> Written {
        decision.overlay.arrived = None;
        let event = again.occasion.event;
        let edits = decision.take_tables(event);
        if edits.is_empty() {
            return Written::Decided(decision);
        }
        match self.tables.commit(&edits, again.raising()).await {
            Ok(Committed::Written) => return Written::Decided(decision),
            Ok(Committed::Conflict { sink, key }) if conflicts < TABLE_CONFLICTS_MAX => {
                tracing::debug!(%event, sink, key, conflicts, "another call was faster; the event is raised again");
                let mut again = again;
                Arc::make_mut(&mut again.occasion).raised += 1;
                return Written::Again(again);
            }
            Ok(Committed::Conflict { sink, key }) => {
                tracing::warn!(%event, sink, key, conflicts, "other calls were faster each time; the event is deferred");
            }
            Err(error) => report(event, &edits, &error),
        }
        Written::Decided(Decision { failures: decision.failures, ..Decision::unwritten(&again) })
    }
}

impl Ask {
    /// Takes back what this event set when it was raised before and its message's record was not written. False where
    /// that cannot be done: nobody may be asked then, or what the sinks see would be half of what was.
    pub(super) async fn begins_anew(&self, question: &Question) -> bool {
        let Some(raising) = question.raising() else { return true };
        let taken_back = self.tables.take_back(raising).await;
        if let Err(error) = &taken_back {
            tracing::error!(%raising, %error, "what an event set before a crash is not taken back; it is deferred");
        }
        taken_back.is_ok()
    }
}

fn report(event: EventKind, edits: &TableEdits, error: &basin_state::StateError) {
    let sink = edits.iter().next().map_or("", |(sink, _, _)| sink);
    tracing::error!(%event, sink, %error, "what sinks set in their tables is not written; the event is deferred");
}
