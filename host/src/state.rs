//! The running server, as the control socket sees it.

use std::sync::Arc;

use basin_core::mail::MessageId;
use basin_core::time::Timestamp;
use basin_spool::Spool;

use crate::clock;
use crate::control::{Activity, Changing, ServerState};
use crate::registry::Loaded;
use crate::services::Services;

/// Answers for the server to `basin queue` and `basin sink`.
pub struct Running {
    services: Arc<Services>,
}

impl Running {
    /// Answers out of these.
    pub fn new(services: Arc<Services>) -> Self {
        Self { services }
    }
}

impl ServerState for Running {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn loaded(&self) -> Arc<Loaded> {
        self.services.ask.loaded()
    }

    fn activity(&self) -> &Activity {
        self.services.ask.activity()
    }

    fn spool(&self) -> &Spool {
        &self.services.spool
    }

    fn release(&self, id: MessageId) -> Changing<'_> {
        Box::pin(async move { self.services.queue.release(id) })
    }

    fn delete(&self, id: MessageId) -> Changing<'_> {
        Box::pin(self.services.queue.delete(id))
    }
}
