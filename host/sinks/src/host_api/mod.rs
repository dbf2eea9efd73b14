//! What sinks can ask and do: the host's side of `wit/`, one file for each subject.
//!
//! Rules of every function: check the grant first, clamp before allocating, note the octets that are copied, never
//! panic on an argument, change everything or nothing.

#![allow(
    unreachable_pub,
    reason = "the generated modules re-export the handles, so they are pub in a private crate room"
)]

mod authentication;
mod body;
mod content;
mod decode;
mod dns;
mod field;
mod header;
mod inbound;
mod message;
mod mime;
mod outbound;
mod part;
mod recipient;
mod services;
mod signature;
mod submission;
mod tables;
mod transport;
mod types;
mod wait;
mod weight;
mod which;

use core::fmt::Display;

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::basin::sink as wit;
use crate::ended::Ended;
use crate::state::State;
use crate::wasi;

pub(crate) use authentication::AuthResults;
pub(crate) use body::Writers;
pub(crate) use part::Parts;
pub(crate) use submission::Drafts;
pub(crate) use transport::{Hops, host_name};
pub(crate) use wait::Waited;
pub(crate) use which::{MAIN, Others};

/// Handles of things of which a call has one; their number is 0.
macro_rules! single {
    ($( $(#[$doc:meta])* $name:ident, )*) => { $( $(#[$doc])* #[derive(Debug)] pub struct $name; )* };
}

/// Handles of things that this version never hands out, so that none can exist.
macro_rules! never {
    ($( $(#[$doc:meta])* $name:ident, )*) => { $( $(#[$doc])* #[derive(Debug)] pub enum $name {} )* };
}

single! {
    /// The occasion of the call.
    Call,
    /// A message; the number says which (`which`).
    MailMsg,
    /// A recipient; the number is its id, or a place in `Others`.
    Recipient,
    /// A part; the number is its place among the parts, or a place in `Others`.
    Part,
    /// A body under construction; the number is its place in `Writers`.
    BodyWriter,
    /// The client's session.
    Session,
    /// The command.
    Command,
    /// A message in the making; the number is its place in `Drafts`.
    NewMessage,
    /// The session in which this server is the client.
    OutSession,
    /// A command of such a session.
    OutCommand,
    /// A reply in such a session.
    ServerResponse,
    /// Where mail goes next; the number is its place in `Hops`.
    NextHop,
    /// The destination to route or to resolve.
    Destination,
    /// The line of the tracking log.
    TrackRecord,
    /// A result of SPF, DKIM, DMARC or ARC; the number is its place among those that the call asked for.
    AuthResult,
}

never! {
    /// What later versions add to a verdict.
    Action,
}

/// Why a function answers with an error that the sink can handle; `types.error` of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ErrorValue {
    Denied(String),
    NotFound,
    Invalid(String),
    Duplicate,
    Limit(String),
    ReadOnly,
    Unavailable(String),
}

/// What a function of the contract that answers `result<_, error>` can end with.
#[derive(Debug)]
pub enum Refused {
    /// An error value; the sink goes on.
    Answer(ErrorBox),
    /// The end of the call.
    End(wasmtime::Error),
}

/// An error value, opaque outside this crate.
#[derive(Debug)]
pub struct ErrorBox(pub(crate) ErrorValue);

impl From<ErrorValue> for Refused {
    fn from(value: ErrorValue) -> Self {
        Self::Answer(ErrorBox(value))
    }
}

impl From<wasmtime::Error> for Refused {
    fn from(error: wasmtime::Error) -> Self {
        Self::End(error)
    }
}

impl From<Ended> for Refused {
    fn from(ended: Ended) -> Self {
        Self::End(ended.into())
    }
}

/// An answer `invalid` with the reason of a parser.
fn invalid(why: impl Display) -> Refused {
    ErrorValue::Invalid(why.to_string()).into()
}

/// Everything that a sink can import.
///
/// All of it is linked for every sink: what is not granted denies. Toolchains import whole worlds, and a missing
/// import would keep a sink from loading that never calls it.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    let all = &mut linker;
    wit::types::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::message::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::inbound::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::outbound::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::transport::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::log::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::config::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::metrics::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::server::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::state::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::dns::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wit::message_auth::add_to_linker::<_, HasSelf<_>>(all, State::counted)?;
    wasi::link(all)?;
    Ok(linker)
}
