//! A server in memory, with the names and signatures of the generated bindings.
//!
//! It keeps what the contract says for messages, sessions, commands, replies, configuration, state, logs and
//! metrics. What others say (DNS, message authentication, HTTP) is what the test told it.

mod envelope;
mod header;
mod mime;
mod network;
mod services;
mod session;
mod world;

#[cfg(feature = "http")]
pub(crate) mod http;
pub(crate) mod message;
pub(crate) mod outbound;
pub(crate) mod state;
pub(crate) mod transport;

pub(crate) use network::{dns, message_auth};
pub(crate) use services::{config, log, metrics, server};
pub(crate) use session::{inbound, types};
pub(crate) use world::{Access, AuthState, MessageState, RecipientState, StateValue, World, run};
