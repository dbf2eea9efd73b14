//! The shell of Basin: everything that touches a socket, a file, a clock or a person.
//!
//! The machines in `basin-core` decide; this package does what they ask and hands back the result. Only
//! `app` wires the parts together, only `config` reads the configuration file, only `net::wire` reads client
//! sockets.

pub mod admin;
pub mod app;
pub mod ask;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod delivery;
mod effects;
#[cfg(test)]
mod harness;
pub mod journal;
pub mod net;
pub mod pickup;
pub mod privileges;
pub mod registry;
pub mod services;
pub mod shutdown;
pub mod signing;
pub mod sink_host;
pub mod sink_tables;
pub mod state;
pub mod telemetry;
pub mod timer;
pub mod tls;
pub mod tracking;
pub mod transport;
