//! Destinations, next hops and tracking records.

#[cfg(target_family = "wasm")]
use crate::Error;
use crate::raw::transport as raw;
use crate::{Datetime, Endpoint, Reply};

/// Where mail goes next, for [`RouteVerdict::UseHops`](crate::RouteVerdict::UseHops).
///
/// It is a plain value; the server checks it when the verdict is returned, and names that it does not know
/// then count as a failure of the sink.
///
/// ```
/// use basin_sink::prelude::*;
///
/// let verdict = RouteVerdict::UseHops(vec![
///     NextHop::host("smarthost.example", 587).tls(Tls::Verified).credentials("smarthost"),
///     NextHop::mx("backup.example"),
/// ]);
/// # drop(verdict);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    to: Hop,
    tls: Option<Tls>,
    credentials: Option<String>,
    source: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hop {
    Mx(String),
    Host(String, u16),
    Lmtp(String),
    Local,
}

/// How much TLS a hop must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// None, even where it is offered.
    None,
    /// Where it is offered.
    Opportunistic,
    /// Always, whatever the certificate.
    Required,
    /// Always, with a certificate that verifies for the host.
    Verified,
}

impl Tls {
    #[cfg(target_family = "wasm")]
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Verified => "verified",
        }
    }
}

impl NextHop {
    fn to(to: Hop) -> Self {
        Self { to, tls: None, credentials: None, source: None }
    }
    /// The MX hosts of that domain (RFC 5321 §5.1).
    #[must_use]
    pub fn mx(domain: impl Into<String>) -> Self {
        Self::to(Hop::Mx(domain.into()))
    }
    /// That host without an MX lookup; an address literal is allowed.
    #[must_use]
    pub fn host(name: impl Into<String>, port: u16) -> Self {
        Self::to(Hop::Host(name.into(), port))
    }
    /// An LMTP server, by the name that the configuration gives it.
    #[must_use]
    pub fn lmtp(name: impl Into<String>) -> Self {
        Self::to(Hop::Lmtp(name.into()))
    }
    /// Delivery on this server.
    #[must_use]
    pub fn local() -> Self {
        Self::to(Hop::Local)
    }
    /// The same hop with this much TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }
    /// The same hop with credentials, by the name that the configuration gives them.
    #[must_use]
    pub fn credentials(mut self, name: impl Into<String>) -> Self {
        self.credentials = Some(name.into());
        self
    }
    /// The same hop from a source address, by the name that the configuration gives it.
    #[must_use]
    pub fn source(mut self, name: impl Into<String>) -> Self {
        self.source = Some(name.into());
        self
    }

    #[cfg(target_family = "wasm")]
    pub(crate) fn make(self) -> Result<raw::NextHop, Error> {
        let hop = match self.to {
            Hop::Mx(domain) => raw::NextHop::mx(&domain)?,
            Hop::Host(name, port) => raw::NextHop::host(&name, port)?,
            Hop::Lmtp(name) => raw::NextHop::lmtp(&name)?,
            Hop::Local => raw::NextHop::local(),
        };
        if let Some(tls) = self.tls {
            hop.set_tls(tls.word())?;
        }
        if let Some(name) = self.credentials {
            hop.set_credentials(&name)?;
        }
        if let Some(name) = self.source {
            hop.set_source(&name)?;
        }
        Ok(hop)
    }
}

/// A destination to route or to resolve.
#[derive(Debug)]
pub struct Destination {
    raw: raw::Destination,
}

impl Destination {
    /// The domain that mail is for.
    pub fn domain(&self) -> String {
        self.raw.domain()
    }
    /// Hops tried before that failed, newest first, with the reply.
    pub fn failures(&self) -> Vec<(String, Reply)> {
        self.raw.failures()
    }
}

/// One line of the tracking log.
#[derive(Debug)]
pub struct TrackRecord {
    raw: raw::TrackRecord,
}

impl TrackRecord {
    /// What happened: "accepted", "refused", "delivered", "deferred", "failed" and so on; others may come.
    pub fn kind(&self) -> String {
        self.raw.kind()
    }
    /// When it happened.
    pub fn at(&self) -> Datetime {
        self.raw.at()
    }
    /// The server's id of the message.
    pub fn message_id(&self) -> String {
        self.raw.message_id()
    }
    /// Reverse path of the message; empty for the null path.
    pub fn sender(&self) -> String {
        self.raw.sender()
    }
    /// The recipient, where it is about one.
    pub fn recipient(&self) -> Option<String> {
        self.raw.recipient()
    }
    /// The other end of the connection, where there was one.
    pub fn remote(&self) -> Option<Endpoint> {
        self.raw.remote()
    }
    /// The reply that was given or got.
    pub fn reply(&self) -> Option<Reply> {
        self.raw.reply()
    }
    /// Octets of the message.
    pub fn size(&self) -> u64 {
        self.raw.size()
    }
    /// Milliseconds since the message arrived.
    pub fn elapsed_ms(&self) -> u64 {
        self.raw.elapsed_ms()
    }
}

crate::glue::wraps!(Destination: raw::Destination, TrackRecord: raw::TrackRecord);
