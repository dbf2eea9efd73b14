//! The tasks that carry mail to other servers.
//!
//! `runner` asks the schedule what is due and starts a task for each visit; `feed` hands the messages of a
//! destination to `basin_outbound`, one after the other, and works what came of each into the queue; `sinks` asks
//! whoever is bound to the dialogue. `reports` sends
//! what domains want to know about TLS.

mod feed;
pub(crate) mod reports;
mod runner;
mod sinks;

pub(crate) use feed::Taken;
pub use runner::{Carrier, run};
