#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod bindings;
mod call;
pub mod config;
mod content;
mod error;
pub mod events;
mod glue;
mod headers;
#[cfg(feature = "http")]
pub mod http;
pub mod log;
mod message;
mod outbound;
mod recipient;
mod services;
mod session;
mod transport;
mod values;
mod verdict;

// On WebAssembly the handles are the server's. Elsewhere they belong to a server in memory, so that
// `cargo test` runs the same sink code natively.
#[cfg(target_family = "wasm")]
use bindings::basin::sink as raw;
#[cfg(not(target_family = "wasm"))]
#[path = "fake/mod.rs"]
mod raw;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use call::Call;
pub use content::{BodyWriter, NewMessage, Part, Parts, Reader};
pub use error::{Error, Failure, Result};
pub use events::*;
pub use headers::{Headers, HeadersMut};
pub use message::Message;
pub use outbound::{OutCommand, OutSession, ServerResponse};
pub use recipient::Recipient;
pub use services::{dns, message_auth, metrics, server, state};
pub use session::{Command, Session};
pub use transport::{Destination, NextHop, Tls, TrackRecord};
pub use values::{Datetime, Endpoint, Header, HostAddress, Later, OutState, Position, Reply};
pub use verdict::{
    CanDefer, CanRefuse, CommandVerdict, ConnectVerdict, DataVerdict, Delivery, DnsVerdict, MessageVerdict,
    NotificationVerdict, OutVerdict, Resolution, ResponseVerdict, RouteVerdict, SizeVerdict, defer, refuse,
};

/// Everything that a sink names, in one `use`.
pub mod prelude {
    pub use crate::events::*;
    pub use crate::{
        BodyWriter, Call, Command, CommandVerdict, ConnectVerdict, DataVerdict, Datetime, Delivery, Destination,
        DnsVerdict, Endpoint, Error, Failure, Header, HostAddress, Later, Message, MessageVerdict, NewMessage, NextHop,
        NotificationVerdict, OutCommand, OutSession, OutState, OutVerdict, Part, Reader, Recipient, Reply, Resolution,
        ResponseVerdict, Result, RouteVerdict, ServerResponse, Session, SizeVerdict, Tls, TrackRecord, config, defer,
        dns, log, message_auth, metrics, refuse, server, state,
    };
}
