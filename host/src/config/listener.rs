//! Listeners, certificates and users, as they are meant.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;

use basin_core::network::{Network, Prefixes};
use basin_core::smtp::{Extensions, Mechanism};

use super::raw::{write_size, write_time};
use crate::tls::ClientCertificates;

/// A port that takes mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name.
    pub name: String,
    /// Address and port.
    pub address: SocketAddr,
    /// Name of this host to its clients; that of the server where nothing is written.
    pub host_name: Option<String>,
    /// Text of the banner behind the host name.
    pub banner: String,
    /// Whether mail programs submit here.
    pub is_submission: bool,
    /// Local domains that it takes mail for; `None` is all of them.
    pub domains: Option<Vec<String>>,
    /// TLS towards clients.
    pub tls: ListenerTls,
    /// How clients log in; `None` where they cannot.
    pub auth: Option<ListenerAuth>,
    /// Clients that may send to any domain; those of the server where nothing is written.
    pub relay_clients: Option<Vec<Network>>,
    /// Proxies, which say for whom they speak.
    pub proxies: Vec<Network>,
    /// Who may use XCLIENT.
    pub xclient_from: Vec<Network>,
    /// How long the banner waits, and whoever speaks before it is turned away.
    pub greet_delay: Duration,
    /// Whether the names of clients are looked up.
    pub has_client_names: bool,
    /// Largest message, in octets.
    pub message_bytes_max: u64,
    /// Largest message that a sink may let through, in octets.
    pub message_bytes_hard_max: Option<u64>,
    /// What is offered beyond RFC 5321.
    pub extensions: Extensions,
    /// Most recipients of one message.
    pub recipients_max: usize,
    /// Most messages of one session.
    pub mails_max: Option<u32>,
    /// Longest time for which a message is held back at its sender's wish; `None` where it is not.
    pub hold_max: Option<Duration>,
    /// Shortest time in which a message may be demanded to arrive.
    pub deliver_by_min: Duration,
    /// Wait for a command.
    pub command_timeout: Duration,
    /// Wait for a block of a message.
    pub data_timeout: Duration,
    /// Time for a whole message.
    pub data_total: Duration,
    /// Fewest octets of a message in a second; 0 is any number.
    pub data_rate_min: u64,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most connections of one client at once.
    pub connections_per_client_max: usize,
    /// What one client may do in a minute.
    pub rates: Rates,
    /// How much of an address is one client.
    pub prefixes: Prefixes,
    /// Protocol errors before the session is closed.
    pub errors_max: u32,
    /// Commands without use for any mail before the session is closed.
    pub idle_commands_max: u32,
}

/// What one client may do in a minute; `None` is as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Connections.
    pub connections: Option<u32>,
    /// Messages.
    pub messages: Option<u32>,
    /// Recipients.
    pub recipients: Option<u32>,
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// When.
    pub mode: TlsMode,
    /// Places of its certificates in [`Config::certificates`](super::Config).
    pub certificates: Vec<usize>,
    /// Certificates of clients, where they are asked for.
    pub clients: Option<ClientCertificates>,
}

/// When a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// Where the client says STARTTLS.
    StartTls,
    /// The same, and without it no mail is taken.
    Required,
    /// From the first octet on.
    Implicit,
}

impl TlsMode {
    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::StartTls => "starttls",
            Self::Required => "required",
            Self::Implicit => "implicit",
        }
    }
}

/// How clients of a listener log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerAuth {
    /// Whether nobody sends mail without.
    pub is_required: bool,
    /// Mechanisms of the server's own.
    pub mechanisms: Vec<Mechanism>,
    /// Whether a connection has to be encrypted first.
    pub needs_tls: bool,
    /// Failed logins of one session.
    pub attempts_max: u32,
    /// The file of users; without it there is nobody but whom sinks know.
    pub users: Option<PathBuf>,
}

/// Files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// What listeners call it.
    pub name: String,
    /// The certificate and those between it and the authority.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Listener {
    /// What it is, for `basin check`.
    pub(super) fn describe(&self, certificates: &[CertificateFiles]) -> String {
        let mut text = format!(
            "listener     {} on {}: messages up to {}, {} recipients, {} connections ({} from one client), waits {} for commands and {} for data\n",
            self.name,
            self.address,
            write_size(self.message_bytes_max),
            self.recipients_max,
            self.connections_max,
            self.connections_per_client_max,
            write_time(self.command_timeout),
            write_time(self.data_timeout),
        );
        let names = self.tls.certificates.iter().filter_map(|place| certificates.get(*place));
        let names: Vec<&str> = names.map(|certificate| certificate.name.as_str()).collect();
        if self.tls.mode != TlsMode::Off {
            text.push_str(&format!("  tls        {} with {}\n", self.tls.mode.word(), names.join(", ")));
        }
        if let Some(auth) = &self.auth {
            let mechanisms: Vec<&str> = auth.mechanisms.iter().map(|mechanism| mechanism.name()).collect();
            let users = auth.users.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
            let plain = if auth.needs_tls { "" } else { ", also without TLS" };
            let required = if auth.is_required { ", nobody sends without" } else { "" };
            text.push_str(&format!("  logins     {} ({users}){plain}{required}\n", mechanisms.join(", ")));
        }
        if let Some(domains) = &self.domains {
            text.push_str(&format!("  domains    {}\n", domains.join(", ")));
        }
        text
    }
}
