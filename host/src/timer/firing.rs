//! One call of a timer, and what it came to.
//!
//! What the sink sets and what it sends are in two places, so their order matters: its messages are written first and
//! wait; then what it set is written with the mark of the timer, which knows of the batch; then they set out. A crash
//! before the mark takes them away at the next start and the call is made up for, a crash after it loses nothing.

use std::sync::Arc;

use basin_core::event::timers::timer_id;
use basin_core::event::{Answer, Binding, EventKind, Mark, Occasion, Overlay, TableEdits};
use basin_core::limits::TABLE_CONFLICTS_MAX;
use basin_core::mail::MessageId;
use basin_core::time::Timestamp;
use basin_core::transport::Parent;
use basin_spool::SpoolFault;
use basin_state::{Committed, StateError};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::marks;
use crate::registry::Loaded;
use crate::services::Services;
use crate::telemetry::timers::TimerUnwritten;

/// A call that is due.
pub(super) struct Firing {
    pub(super) services: Arc<Services>,
    pub(super) loaded: Arc<Loaded>,
    pub(super) binding: Arc<Binding>,
    /// When it was due.
    pub(super) due: Timestamp,
    /// When it was taken up.
    pub(super) at: Timestamp,
}

/// What came of a call.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Messages that set out.
    pub(super) messages: usize,
    /// Why the sink failed, where it did.
    pub(super) failure: Option<String>,
}

/// Why nothing of a call holds.
#[derive(Debug, Error)]
pub(super) enum FiringError {
    /// What sinks keep cannot be read or written.
    #[error(transparent)]
    Tables(#[from] StateError),
    /// Its messages cannot be written.
    #[error("cannot store what the sink sends: {0}")]
    Spool(#[from] SpoolFault),
    /// Other calls were faster each time.
    #[error("other calls changed the same values each time it was called")]
    Conflict,
    /// What an earlier call made is still there and may not set out.
    #[error("messages of an earlier call that came to nothing cannot be removed")]
    Unborn,
}

/// Says that the call ended, however that comes about.
struct Running<'a>(&'a Firing);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.services.timers.lock().ended(&self.0.binding.name);
    }
}

impl Firing {
    /// Makes the call in its turn.
    pub(super) async fn run_in_turn(self, places: Arc<Semaphore>) {
        // The semaphore is never closed. Who waits for a place counts as running: nobody begins it twice.
        let _place = places.acquire_owned().await;
        // What came of it is logged.
        self.run().await.ok();
    }

    /// Makes the call.
    ///
    /// # Errors
    /// Nothing of it could be written.
    pub(super) async fn run(self) -> Result<Outcome, FiringError> {
        let _running = Running(&self);
        let outcome = self.attempt().await;
        if let Err(error) = &outcome {
            TimerUnwritten { binding: &self.binding, error: &error.to_string() }.record(&self.services.metrics);
        }
        outcome
    }

    async fn attempt(&self) -> Result<Outcome, FiringError> {
        let (tables, binding) = (&self.services.tables, &*self.binding);
        let timer = timer_id(&binding.name);
        let before = match marks::find(tables, &timer)? {
            Some(mark) => mark,
            None => marks::make(tables, binding, self.at).await?,
        };
        self.bury().await?;
        let parent = Parent { id: timer, batch: before.batches.saturating_add(1) };
        let mark = Mark { at: self.at, batches: parent.batch, schedule: marks::schedule(binding) };
        for raised in 0..=TABLE_CONFLICTS_MAX {
            let (overlay, failure) = self.call(&mark, &parent, raised).await;
            let Overlay { tables: edits, submissions, .. } = overlay;
            let messages = submissions.into_iter().map(|submission| submission.message).collect();
            let born = match self.services.queue.bear(messages, &parent).await {
                Ok(born) => born,
                Err((fault, ids)) => {
                    self.give_up(ids).await?;
                    return Err(fault.into());
                }
            };
            match tables.commit(&edits, None).await {
                Ok(Committed::Written) => {
                    let messages = born.len();
                    self.services.queue.set_out(born);
                    return Ok(Outcome { messages, failure });
                }
                // Another call changed what this one had read: it is made again.
                Ok(Committed::Conflict { .. }) => self.give_up(ids_of(&born)).await?,
                Err(error) => {
                    self.give_up(ids_of(&born)).await?;
                    return Err(error.into());
                }
            }
        }
        Err(FiringError::Conflict)
    }

    // What the call wants; after a failure that is the mark alone.
    async fn call(&self, mark: &Mark, parent: &Parent, raised: u32) -> (Overlay, Option<String>) {
        let mut edits = TableEdits::default();
        mark.join(&parent.id, &mut edits);
        let event = EventKind::OnTimer;
        let occasion = Occasion {
            raised,
            idempotency_key: format!("{}/{}/{event}", parent.id, self.due.to_rfc3339()),
            ..Occasion::of(event, self.at)
        };
        let overlay = Overlay { tables: edits.clone(), ..Overlay::default() };
        match self.services.ask.call_timer(&self.loaded, &self.binding, &Arc::new(occasion), overlay).await {
            Answer::Verdict(_, overlay) => (*overlay, None),
            Answer::Failed(failure) => {
                let why = format!("{}: {}", failure.kind.word(), failure.detail);
                (Overlay { tables: edits, ..Overlay::default() }, Some(why))
            }
        }
    }

    // A batch that came to nothing has the number of the next one, so what is left of it must not be there any more
    // when that is let go.
    async fn give_up(&self, ids: Vec<MessageId>) -> Result<(), FiringError> {
        let left = self.services.queue.withdraw(ids).await;
        if left.is_empty() {
            return Ok(());
        }
        self.services.timers.unborn().entry(self.binding.name.clone()).or_default().extend(left);
        Err(FiringError::Unborn)
    }

    async fn bury(&self) -> Result<(), FiringError> {
        let ids = self.services.timers.unborn().remove(&self.binding.name).unwrap_or_default();
        self.give_up(ids).await
    }
}

fn ids_of(born: &crate::transport::Born) -> Vec<MessageId> {
    born.iter().map(|(message, _)| message.id.clone()).collect()
}
