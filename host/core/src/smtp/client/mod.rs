//! The client: one connection to another server, over which messages leave.
//!
//! A machine like the server's session: every transition consumes a state and returns a [`ClientStep`] that says
//! what is wanted next. It neither reads nor writes; octets that are to leave are appended to `wire`, and the
//! shell writes them out *completely* before it hands over anything that arrived, or takes the next slice of
//! content. That order is what makes a reply that came too early visible. The loop of the shell:
//!
//! ```text
//! let mut step = client::start(policy, tls_if_it_began_with_the_connection, now);
//! loop {
//!     // before anything else in each turn: write out `wire` whole, then clear it
//!     step = match step {
//!         // wait reading.patience(now) for octets: reading.feed(octets, now, wire); none in time:
//!         // reading.timed_out(); end of stream or error: reading.lost(text)
//!         ClientStep::Read(reading) => ..,
//!         // handshake: upgrading.secured(facts, now, wire), or upgrading.not_secured(text)
//!         ClientStep::StartTls(upgrading) => ..,
//!         // the connection is free: idle.transact(outgoing, now, wire), or idle.quit(now, wire);
//!         // octets that arrive meanwhile: idle.feed(octets), end of stream: idle.lost(text)
//!         ClientStep::Idle(idle) => ..,
//!         // content: sending.more(now, wire) appends a slice; write it out within sending.patience(now) and
//!         // come back; octets that arrive meanwhile: sending.feed(octets, now)
//!         ClientStep::Send(sending) => ..,
//!         // results of a transaction: record them, then reported.go_on(now, wire)
//!         ClientStep::Sent(sent, reported) => ..,
//!         // sinks are asked: asking.decided(decision, now, wire) within asking.patience(now), else
//!         // asking.timed_out(now, wire); octets that arrive meanwhile: asking.feed(octets). `wire` may wait
//!         ClientStep::Ask(asking, question) => ..,
//!         // over: write out `wire`, close the connection
//!         ClientStep::Close(closed) => break closed,
//!     };
//! }
//! ```
//!
//! Where sinks are bound ([`ClientPolicy::hearing`]) they are asked about commands before these leave, a group of
//! them at a time, and about replies before anybody acts on them. With nobody bound none of this costs anything.
//!
//! The way of a message: [`Outgoing`] -> `plan` (what the other server can take; what it cannot is refused here,
//! never changed) -> `transaction` (MAIL, RCPT, DATA) -> `sending` (content) -> [`Sent`]. A recipient counts as
//! taken by one thing alone: a 2yz reply to the end of the content that came after its last octet left.

mod asking;
mod greeting;
mod group;
mod hearing;
mod listen;
mod live;
mod login;
mod offered;
mod outgoing;
mod own;
mod plan;
mod policy;
mod reading;
mod sending;
mod sent;
mod settling;
mod step;
mod stuffing;
mod transaction;

pub use asking::Asking;
pub use hearing::Hearing;
pub use offered::Offered;
pub use outgoing::{BodyType, ContentReader, Outgoing, OutgoingRecipient, Ret};
pub use policy::{Chunking, ClientPolicy, ClientTimeouts, Credentials, Mechanism, TlsFacts, TlsProof};
pub use sending::Sending;
pub use sent::{Accepted, Closed, Sent, Why};
pub use step::{ClientStep, Idle, Reading, Reported, Upgrading, start};
