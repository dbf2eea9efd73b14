//! Where a sink sends mail next.

use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::limits::HOPS_MAX;
use crate::reply::Reply;
use crate::transport::{HostPort, TlsDemand};

/// A hop that a sink chose for a destination; kept with the message until the destination has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// The server.
    pub next: HopTarget,
    /// The least TLS; what the operator's policy demands can raise it and is never lowered by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsDemand>,
    /// Name of the credentials to log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// Name of the addresses to connect from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// What a hop leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HopTarget {
    /// The mail exchangers of that ASCII domain (RFC 5321 §5.1).
    Mx(String),
    /// That server; no MX is asked for.
    Host(HostPort),
    /// The LMTP server (RFC 2033) that the configuration gives this name.
    Lmtp(String),
    /// Mailboxes of this server.
    Local,
}

impl Hop {
    /// A hop about which nothing more is said.
    pub fn to(next: HopTarget) -> Self {
        Self { next, tls: None, credentials: None, source: None }
    }
}

/// For people, and for the sink that is told of its failure.
impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.next {
            HopTarget::Mx(domain) => write!(f, "mx {domain}"),
            HopTarget::Host(host) => write!(f, "host {host}"),
            HopTarget::Lmtp(name) => write!(f, "lmtp {name}"),
            HopTarget::Local => f.write_str("local"),
        }
    }
}

/// How the mail of one destination goes, as the sinks at `on-route` said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Way {
    /// What is left of the hops, the one in use first; none where the server routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
    /// What was tried and failed, newest first, with the reply or one that was made of the failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<(String, Reply)>,
    /// Everything failed: the sinks are asked again.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_spent: bool,
}

impl Way {
    /// The hop in use failed; `own` is its name where the server had routed.
    pub(super) fn failed(&mut self, own: &str, reply: Reply) {
        let name = if self.hops.is_empty() { own.to_owned() } else { self.hops.remove(0).to_string() };
        self.failures.insert(0, (name, reply));
        self.failures.truncate(HOPS_MAX);
        self.is_spent = self.hops.is_empty();
    }

    /// The sinks answered.
    pub(super) fn answered(&mut self, mut hops: Vec<Hop>) {
        hops.truncate(HOPS_MAX);
        self.hops = hops;
        self.is_spent = false;
    }
}

/// A host and where it is, as a sink answers in place of DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// Name to greet and to verify the certificate of.
    pub name: String,
    /// Its addresses, tried in this order.
    pub addresses: Vec<IpAddr>,
}
