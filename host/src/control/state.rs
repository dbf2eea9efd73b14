//! What the control socket needs of the running server; the shell implements it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use basin_core::event::TimerFacts;
use basin_core::mail::{Message, MessageId};
use basin_core::time::Timestamp;
use basin_core::transport::{Destination, RouteTable, State};
use basin_spool::{Spool, SpoolFault};

use crate::control::Activity;
use crate::control::queue::destinations::DestinationRow;
use crate::registry::Loaded;
use crate::sink_tables::SinkTables;
use crate::timer::{Ran, RunRefused};
use crate::transport::{Action, Done, LiveIndex, Meant};

/// Something that takes its time.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A queue, as operators see it: that of the running server, or a spool that the command line opened.
pub trait QueueState: Send + Sync + 'static {
    /// The clock.
    fn now(&self) -> Timestamp;

    /// The spool.
    fn spool(&self) -> &Spool;

    /// What is known of each message.
    fn index(&self) -> &LiveIndex;

    /// The routes in force.
    fn routes(&self) -> Arc<RouteTable>;

    /// Does to one message what an operator wants, where it is meant; who that is goes into the log.
    fn act<'a>(&'a self, id: MessageId, action: &'a Action, meant: &'a Meant, by: &'a str) -> Soon<'a, Done>;

    /// Where mail goes, as far as that is known here.
    fn destinations(&self) -> Vec<DestinationRow>;

    /// Those of them where mail does not go now.
    fn closed(&self) -> Vec<DestinationRow> {
        let mut rows = self.destinations();
        rows.retain(|row| !row.is_up());
        rows
    }

    /// Holds a destination or lets it go, and says whether that is new. It blocks for a short write.
    ///
    /// # Errors
    /// It cannot be written down; then nothing is changed.
    fn hold_destination(&self, destination: &Destination, is_held: bool) -> io::Result<bool>;

    /// Takes in a message of another queue and says whether it is new here.
    fn import<'a>(&'a self, message: Message, state: State, by: &'a str) -> Soon<'a, Result<bool, SpoolFault>>;
}

/// The running server, as the control socket sees it.
pub trait ServerState: QueueState {
    /// The registry in force.
    fn loaded(&self) -> Arc<Loaded>;

    /// What the bindings did.
    fn activity(&self) -> &Activity;

    /// What is known of the timer of a binding; `None` where it has none.
    fn timer(&self, binding: &str) -> Option<TimerFacts>;

    /// Calls the sink of a binding of `on-timer` now.
    fn run_timer<'a>(&'a self, binding: &'a str) -> Soon<'a, Result<Ran, RunRefused>>;

    /// Has the registry on disk looked at now; false where nobody watches it.
    fn look_at_registry(&self) -> Soon<'_, bool>;

    /// What sinks keep.
    fn tables(&self) -> &SinkTables;
}
