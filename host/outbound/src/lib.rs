//! Basin's way out: where a domain's mail goes, how to get there, and how to prove who sent it.
//!
//! The dialogue itself is `basin_core::smtp::client`, which does no I/O; this crate has the sockets, the names,
//! the certificates and the keys. It knows neither the spool nor the sinks.
//!
//! [`Outbound::visit`] is one visit to one destination: it finds the servers, reaches one of them, and hands it
//! messages out of a [`Feed`] until there are none.

mod connect;
mod converse;
mod course;
pub mod dane;
pub mod dns;
mod facts;
mod https;
pub mod mta_sts;
mod options;
mod reach;
pub mod sign;
mod tls;
pub mod tls_policy;
pub mod tls_report;
pub mod verify;
mod visit;
#[cfg(test)]
mod web_tests;
mod wire;

pub use facts::{Feed, HopAttempt, HopFacts, Visit, is_tls_optional};
pub use options::{ClientCertificate, OutboundOptions, TrustStore, VisitLimits};
pub use reach::{ReachError, Reached};
pub use tls::client_config;
pub use visit::{Outbound, OutboundError};
