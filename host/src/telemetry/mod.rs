//! Everything that is logged or counted: one struct for each occurrence, one `record()`.
//!
//! [`records`] has the occurrences of the server, [`clients`] what clients prove of themselves, [`relay`] those of mail to other servers, [`signing`] those of
//! signatures and of the pickup directory, [`sinks`] those of sinks, [`metrics`] what they count into,
//! [`log`] how lines are written.

pub mod clients;
pub mod log;
pub mod metrics;
pub mod records;
pub mod relay;
pub mod signing;
pub mod sinks;
pub mod timers;

pub use metrics::Metrics;
