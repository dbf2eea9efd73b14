//! What sessions and workers share; made once, in `app`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use basin_core::transport::Directory;
use basin_outbound::Outbound;
use basin_spool::Spool;

use crate::ask::Ask;
use crate::audit::Audit;
use crate::clock::Randomness;
use crate::net::Guard;
use crate::registry::Prompt;
use crate::shutdown::Stopper;
use crate::sink_tables::SinkTables;
use crate::telemetry::Metrics;
use crate::timer::Desk;
use crate::tracking::Tracking;
use crate::transport::Queue;

/// The parts of a running server that everybody uses.
pub struct Services {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Sinks.
    pub ask: Arc<Ask>,
    /// Storage.
    pub spool: Spool,
    /// What happens to stored messages.
    pub queue: Queue,
    /// Steps of messages.
    pub tracking: Tracking,
    /// Who did what.
    pub audit: Audit,
    /// How far stopping has come.
    pub stopper: Arc<Stopper>,
    /// Random numbers.
    pub randomness: Randomness,
    /// What keeps clients from using the server up.
    pub guard: Guard,
    /// The way out, which verifies messages too; changes when the configuration is read again.
    pub outbound: Arc<ArcSwap<Outbound>>,
    /// Has the registry looked at.
    pub registry: Prompt,
    /// What is known of the timers of sinks.
    pub timers: Arc<Desk>,
    /// What sinks keep.
    pub tables: SinkTables,
    /// Who lives here; changes when the configuration is read again.
    pub directory: Arc<ArcSwap<Directory>>,
}
