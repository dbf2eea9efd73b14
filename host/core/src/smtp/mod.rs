//! The SMTP protocol: commands, extensions, message text, the server session, the client.
//!
//! [`Session`] is a machine: each step consumes it and returns a [`Step`] that says what it wants next, with
//! the state that goes on from there. A pipelined command cannot overtake a verdict, because while one is
//! awaited there is no `Session` to give it to; 250 after the final dot needs a [`ProofOfStorage`].
//!
//! The way of a command: octets -> [`command`] (form) -> `intent` (sequence, policy: what the server would do
//! and answer) -> `paused` (sinks) -> `carry_out`. The way of a text: [`data`] or [`chunk`] -> `incoming` ->
//! [`receiving`] -> `arrived` -> `paused` (sinks) -> [`examining`] -> [`storing`]. What a command needs beyond its line, the response to a
//! challenge of [`auth`] or what a sink asked for, is [`awaiting`]; the handshake of TLS is [`starttls`]. The other direction, mail that leaves, is [`client`].

mod arrived;
mod assemble;
pub mod auth;
pub mod awaiting;
mod carry_out;
pub mod chunk;
pub mod client;
pub mod command;
pub mod data;
mod disagreement;
pub mod examining;
mod extension;
mod incoming;
mod intent;
mod live;
mod mailing;
pub mod outbox;
mod pace;
mod parameters;
pub mod paused;
pub mod policy;
pub mod receiving;
pub mod session;
pub mod starttls;
pub mod storing;
mod verdicts;
mod xclient;

pub use auth::{Accounts, AuthPolicy, Login, Mechanism, StoredKeys, Verified, Verifying};
pub use awaiting::{Awaiting, Wanted};
pub use chunk::ChunkDecoder;
pub use command::{CommandError, Request};
pub use data::{DataDecoder, Faults, Fed, TextLimits};
pub use disagreement::{Disagreement, Disagreements};
pub use examining::{Examining, Wanting};
pub use outbox::{FailedLogin, Outbox, Refusal};
pub use parameters::Parameters;
pub use paused::Paused;
pub use policy::{
    AuthCheck, Connection, Extensions, ListenerPolicy, MessageAuthPolicy, OwnDomains, SenderTable, TlsPolicy,
};
pub use receiving::{Receiving, Wants};
pub use session::{Ended, Session, Step};
pub use starttls::{Channel, Secured, Securing};
pub use storing::{Disposition, ProofOfStorage, Storing};
