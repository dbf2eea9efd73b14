//! The way out as it is meant: queue, connections, routes, credentials.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::PathBuf;

use basin_core::addr::Address;
use basin_core::smtp::client::Chunking;
use basin_core::transport::{DestinationLimits, TlsDemand};

/// How long and how often mail is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// How long a message is tried.
    pub lifetime: Duration,
    /// How long a notification is tried.
    pub bounce_lifetime: Duration,
    /// When a sender is told that a message is late; `None` is never.
    pub delay_notice: Option<Duration>,
    /// Waits after the first attempts; one at least.
    pub first_waits: Vec<Duration>,
    /// Longest wait between two attempts.
    pub longest_wait: Duration,
    /// Most messages in the spool.
    pub messages_max: u64,
}

/// How mail leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Most connections at once; 0 sends nothing.
    pub connections: usize,
    /// How hard a destination may be used that no route says more about.
    pub limits: DestinationLimits,
    /// Name in EHLO.
    pub helo_name: String,
    /// Addresses that connections start from; empty where the system chooses.
    pub source_addresses: Vec<IpAddr>,
    /// Others, by name.
    pub sources: BTreeMap<String, Vec<IpAddr>>,
    /// The least TLS where no route says more.
    pub tls: TlsDemand,
    /// When BDAT is used.
    pub chunking: Chunking,
    /// The port of mail exchangers.
    pub mx_port: u16,
    /// Wait for a connection.
    pub connect_timeout: Duration,
    /// Wait for the reply to a command.
    pub command_timeout: Duration,
    /// Wait for the reply to the end of a message.
    pub final_timeout: Duration,
}

/// A name and a password for other servers.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// What routes call them.
    pub name: String,
    /// The name to log in with.
    pub user: String,
    /// The secret.
    pub password: String,
    /// The file that it was in.
    pub file: PathBuf,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where names are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// Resolvers; empty where the system's are asked.
    pub servers: Vec<SocketAddr>,
    /// Whether answers are validated.
    pub is_validated: bool,
    /// A file with the keys that validation begins with; `None` is the root's.
    pub trust_anchor: Option<PathBuf>,
}

/// Which certificates are trusted, and what domains may demand of their own servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// A PEM file with authorities; `None` where the system's are trusted.
    pub roots: Option<PathBuf>,
    /// Whether TLSA records are obeyed.
    pub is_dane: bool,
    /// Whether MTA-STS policies are obeyed.
    pub is_mta_sts: bool,
    /// Who TLS reports are from; `None` sends none.
    pub reports_from: Option<Address>,
}
