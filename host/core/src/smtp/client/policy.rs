//! What this server wants of a connection to another one.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::limits;
use crate::smtp::client::hearing::Hearing;
use crate::transport::{Protocol, TlsDemand};

/// How one connection is to be used. It never changes while the connection lasts.
#[derive(Debug, Clone)]
pub struct ClientPolicy {
    /// What this server calls itself in EHLO (RFC 5321 §4.1.4). Checked to be a domain by whoever reads the
    /// configuration.
    pub helo_name: String,
    /// What the other server speaks.
    pub protocol: Protocol,
    /// The least TLS. Where the next host must prove who it is (DANE, MTA-STS), this is
    /// [`TlsDemand::Verified`], whatever the route says.
    pub tls: TlsDemand,
    /// With what to log in, before any mail.
    pub credentials: Option<Credentials>,
    /// When to send content with BDAT.
    pub chunking: Chunking,
    /// Octets of one chunk of BDAT.
    pub chunk_bytes: u64,
    /// Chunks that may wait for their replies at a time; more than one needs PIPELINING there.
    pub chunks_in_flight: u32,
    /// How long to wait for what.
    pub timeouts: ClientTimeouts,
    /// What sinks hear of the session; `None` where nobody is bound to anything of it.
    pub hearing: Option<Arc<Hearing>>,
}

impl ClientPolicy {
    /// Makes a policy with the defaults of [`limits`]: SMTP, TLS where it is offered, no login.
    pub fn new(helo_name: impl Into<String>) -> Self {
        Self {
            helo_name: helo_name.into(),
            protocol: Protocol::Smtp,
            tls: TlsDemand::Opportunistic,
            credentials: None,
            chunking: Chunking::default(),
            chunk_bytes: limits::CHUNK_BYTES_DEFAULT,
            chunks_in_flight: limits::CHUNKS_IN_FLIGHT_DEFAULT,
            timeouts: ClientTimeouts::default(),
            hearing: None,
        }
    }
}

/// When content goes out with BDAT (RFC 3030) instead of DATA; both need the other server's offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chunking {
    /// Never: binary content is refused everywhere.
    Never,
    /// Only for binary content, which DATA cannot carry. DATA is what servers are tested with.
    #[default]
    ForBinary,
    /// Wherever it is offered.
    Preferred,
}

/// User, secret and how to show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password, or the bearer token of [`Mechanism::XOAuth2`].
    pub secret: String,
    /// What may be used, the best first; the first that the server offers is taken.
    pub mechanisms: Vec<Mechanism>,
    /// Whether they may be sent without TLS. A passive listener has them then.
    pub may_go_unencrypted: bool,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret must not get into a log with the policy around it.
        write!(f, "Credentials(user {:?}, {:?})", self.user, self.mechanisms)
    }
}

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// User and password in two answers; older than PLAIN and still all that some servers have.
    Login,
    /// A bearer token of OAuth 2.0 in place of a password.
    XOAuth2,
}

impl Mechanism {
    /// The name that servers list it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::XOAuth2 => "XOAUTH2",
        }
    }
}

/// How long to wait for each thing (RFC 5321 §4.5.3.2). Each is for a whole reply, so that a server that sends
/// one octet now and then gains nothing.
#[derive(Debug, Clone)]
pub struct ClientTimeouts {
    /// The greeting.
    pub greeting: Duration,
    /// The reply to MAIL, RCPT and every command that has no time of its own.
    pub command: Duration,
    /// The reply to DATA.
    pub data: Duration,
    /// One block of content, until the other server took it, and the reply to a chunk that is not the last.
    pub block: Duration,
    /// The reply to the final dot or the last chunk.
    pub end: Duration,
    /// The reply to QUIT.
    pub quit: Duration,
    /// One transaction, from MAIL to the last octet of content.
    pub transaction: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            greeting: limits::CLIENT_GREETING_TIMEOUT,
            command: limits::CLIENT_COMMAND_TIMEOUT,
            data: limits::CLIENT_DATA_TIMEOUT,
            block: limits::CLIENT_BLOCK_TIMEOUT,
            end: limits::CLIENT_END_TIMEOUT,
            quit: limits::CLIENT_QUIT_TIMEOUT,
            transaction: limits::CLIENT_TRANSACTION_TIMEOUT,
        }
    }
}

/// What TLS came to on a connection; the shell knows it after the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// Version, as in "TLSv1.3".
    pub version: String,
    /// Cipher suite.
    pub cipher: String,
    /// How the server proved that it is the one that was meant.
    pub proof: TlsProof,
}

impl TlsFacts {
    /// Whether the server proved who it is.
    pub fn is_verified(&self) -> bool {
        self.proof != TlsProof::None
    }
}

/// How a server proved that it is the one that was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsProof {
    /// Not at all: the connection is encrypted, with whomever.
    None,
    /// A certificate of a trusted authority, for the expected name.
    Authority,
    /// A TLSA record (RFC 7672).
    Dane,
}

impl TlsProof {
    /// The word for logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Authority => "authority",
            Self::Dane => "dane",
        }
    }
}
