//! The running server, as the control socket sees it.

use std::io;
use std::sync::Arc;

use basin_core::event::TimerFacts;
use basin_core::mail::{Message, MessageId};
use basin_core::time::Timestamp;
use basin_core::transport::{Destination, RouteTable, State};
use basin_spool::{Spool, SpoolFault};

use crate::clock;
use crate::control::queue::destinations::DestinationRow;
use crate::control::{Activity, QueueState, ServerState, Soon};
use crate::registry::Loaded;
use crate::services::Services;
use crate::sink_tables::SinkTables;
use crate::timer::{self, Ran, RunRefused};
use crate::transport::{Action, Done, LiveIndex, Meant};

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

impl QueueState for Running {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn spool(&self) -> &Spool {
        &self.services.spool
    }

    fn index(&self) -> &LiveIndex {
        self.services.queue.index()
    }

    fn routes(&self) -> Arc<RouteTable> {
        self.services.queue.routes()
    }

    fn act<'a>(&'a self, id: MessageId, action: &'a Action, meant: &'a Meant, by: &'a str) -> Soon<'a, Done> {
        Box::pin(self.services.queue.act(id, action, meant, by))
    }

    fn destinations(&self) -> Vec<DestinationRow> {
        self.services.queue.destinations().into_iter().map(DestinationRow::from).collect()
    }

    fn closed(&self) -> Vec<DestinationRow> {
        self.services.queue.closed().into_iter().map(DestinationRow::from).collect()
    }

    fn hold_destination(&self, destination: &Destination, is_held: bool) -> io::Result<bool> {
        let is_new = self.services.queue.hold_destination(destination, is_held)?;
        tracing::info!(%destination, is_held, "a destination was held or let go by an operator");
        Ok(is_new)
    }

    fn import<'a>(&'a self, message: Message, state: State, by: &'a str) -> Soon<'a, Result<bool, SpoolFault>> {
        Box::pin(self.services.queue.import(message, state, by))
    }
}

impl ServerState for Running {
    fn loaded(&self) -> Arc<Loaded> {
        self.services.ask.loaded()
    }

    fn activity(&self) -> &Activity {
        self.services.ask.activity()
    }

    fn timer(&self, binding: &str) -> Option<TimerFacts> {
        self.services.timers.facts(binding)
    }

    fn run_timer<'a>(&'a self, binding: &'a str) -> Soon<'a, Result<Ran, RunRefused>> {
        Box::pin(timer::run_now(&self.services, binding))
    }

    fn look_at_registry(&self) -> Soon<'_, bool> {
        Box::pin(self.services.registry.look())
    }

    fn tables(&self) -> &SinkTables {
        &self.services.tables
    }
}
