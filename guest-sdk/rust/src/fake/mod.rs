//! A server in memory, with the names and signatures of the generated bindings.
//!
//! It keeps what the contract says for messages, sessions, commands, replies, configuration, state, logs and
//! metrics. What it does not have (DNS, message authentication) ends the test with a message that says so,
//! instead of an answer that no server would give.

mod envelope;
mod header;
mod mime;
mod services;
mod session;
mod world;

pub(crate) mod message;
pub(crate) mod outbound;
pub(crate) mod transport;

pub(crate) use services::{config, dns, log, message_auth, metrics, server, state};
pub(crate) use session::{inbound, types};
pub(crate) use world::{Access, MessageState, RecipientState, World, run};
