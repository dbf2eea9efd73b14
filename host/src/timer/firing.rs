//! One call of a timer, as the machine in `basin_core::event::timers::firing` wants it done.

use std::sync::Arc;

use basin_core::event::timers::{Fired, Firing as Machine, FiringStep, Unwritten, timer_id};
use basin_core::event::{Binding, Occasion, Overlay, TableEdits};
use basin_core::mail::{Message, MessageId};
use basin_core::time::Timestamp;
use basin_core::transport::State;
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

/// What the storage said last, for whoever is told why nothing of a call holds.
#[derive(Default)]
struct Faults {
    spool: Option<SpoolFault>,
    tables: Option<StateError>,
}

impl Faults {
    fn error(self, why: Unwritten) -> FiringError {
        let unknown = || StateError::Unavailable("the reason is not known".to_owned());
        match why {
            Unwritten::Messages => self.spool.unwrap_or(SpoolFault::Closed).into(),
            Unwritten::Tables => self.tables.unwrap_or_else(unknown).into(),
            Unwritten::Conflict => FiringError::Conflict,
            Unwritten::Unborn => FiringError::Unborn,
        }
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
        let (tables, name) = (&self.services.tables, &self.binding.name);
        let mark = marks::find(tables, &timer_id(name))?;
        let left = self.services.timers.lock().unborn(name);
        let mut faults = Faults::default();
        let mut step = Machine::begin(&self.binding, (self.due, self.at), mark.as_ref(), left);
        let fired = loop {
            step = match step {
                FiringStep::Remove(removing, ids) => removing.removed(self.services.queue.withdraw(ids).await),
                FiringStep::Write(writing, edits) => match self.write(&edits, &mut faults).await {
                    Some(Committed::Written) => writing.written(),
                    Some(Committed::Conflict { .. }) => writing.conflict(),
                    None => writing.failed(),
                },
                FiringStep::Call(calling, occasion, overlay) => {
                    calling.answered(self.call(Arc::new(*occasion), *overlay).await)
                }
                FiringStep::Bear(bearing, born) => match self.bear(&born).await {
                    Ok(()) => bearing.born(),
                    Err(fault) => {
                        faults.spool = Some(fault);
                        bearing.not_born()
                    }
                },
                FiringStep::Over(fired) => break fired,
            };
        };
        match fired {
            Fired::Written { born, failure } => {
                self.services.timers.lock().keep_unborn(name, Vec::new());
                let messages = born.len();
                self.services.queue.set_out(born);
                Ok(Outcome { messages, failure })
            }
            Fired::Unwritten { why, left } => {
                self.services.timers.lock().keep_unborn(name, left);
                Err(faults.error(why))
            }
        }
    }

    async fn call(&self, occasion: Arc<Occasion>, overlay: Overlay) -> basin_core::event::Answer {
        self.services.ask.call_timer(&self.loaded, &self.binding, &occasion, overlay).await
    }

    async fn write(&self, edits: &TableEdits, faults: &mut Faults) -> Option<Committed> {
        let committed = self.services.tables.commit(edits, None).await;
        committed.map_err(|error| faults.tables = Some(error)).ok()
    }

    // Noted before the first of them is written: whatever interrupts the call from here on, the next one begins with
    // removing them.
    async fn bear(&self, born: &[(Message, State)]) -> Result<(), SpoolFault> {
        let ids: Vec<MessageId> = born.iter().map(|(message, _)| message.id.clone()).collect();
        self.services.timers.lock().keep_unborn(&self.binding.name, ids);
        self.services.queue.bear(born).await
    }
}
