//! Basin's way out: where a domain's mail goes, how to get there, and how to prove who sent it.
//!
//! The dialogue itself is `basin_core::smtp::client`, which does no I/O; this crate has the sockets, the names,
//! the certificates and the keys. It knows neither the spool nor the sinks.

pub mod dns;
pub mod tls_policy;
