//! What the way out is made of: every setting that the configuration has for it.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use basin_core::limits::SMTP_PORT;
use basin_core::smtp::client::{Chunking, ClientTimeouts, Credentials};
use basin_core::transport::Route;

use crate::dns::DnsOptions;
use crate::mta_sts::MtaStsOptions;
use crate::tls_report::TlsReports;

/// Hosts that one visit tries at most. RFC 5321 §5.1 asks for two addresses at least; a domain with a
/// thousand exchangers gets no more.
const HOSTS_MAX: usize = 5;

/// Addresses of one host that one visit tries at most.
const ADDRESSES_PER_HOST_MAX: usize = 4;

/// Wait for a connection. Postfix has the same; the kernel alone would take over two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Wait for a whole TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Wait for all connections, handshakes and greetings of one visit together, until a server is ready for mail.
const REACH_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest visit. Half an hour sends a message of 50 MB at 28 kB/s; then the others of the queue have a turn.
const VISIT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Which authorities may vouch for a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TrustStore {
    /// Those of the operating system.
    #[default]
    System,
    /// Those in these PEM files, and no others.
    Files(Vec<PathBuf>),
}

/// The certificate that this server shows to servers that ask for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file with the certificate and those between it and its authority.
    pub chain: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

/// What bounds one visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitLimits {
    /// Hosts tried.
    pub hosts_max: usize,
    /// Addresses tried of each host.
    pub addresses_per_host_max: usize,
    /// Wait for one connection.
    pub connect: Duration,
    /// Wait for one TLS handshake.
    pub handshake: Duration,
    /// Wait for everything until a server is ready for mail.
    pub reach: Duration,
    /// The whole visit, but for the reply to content that has left: that one has its own time.
    pub visit: Duration,
}

impl Default for VisitLimits {
    fn default() -> Self {
        Self {
            hosts_max: HOSTS_MAX,
            addresses_per_host_max: ADDRESSES_PER_HOST_MAX,
            connect: CONNECT_TIMEOUT,
            handshake: HANDSHAKE_TIMEOUT,
            reach: REACH_TIMEOUT,
            visit: VISIT_TIMEOUT,
        }
    }
}

/// Everything that the way out needs to know.
#[derive(Clone)]
pub struct OutboundOptions {
    /// Name of this server, for EHLO and to find itself among a domain's exchangers.
    pub host_name: String,
    /// Addresses to connect from: the first of the family that the server's address has; empty lets the system
    /// choose. A family that is missing from a list with addresses is not used.
    pub source_addresses: Vec<IpAddr>,
    /// Addresses to connect from in place of those, by the name that routes use.
    pub sources: HashMap<String, Vec<IpAddr>>,
    /// Where this server itself takes mail: no visit goes there. An unspecified address stands for every
    /// address of this machine.
    pub listeners: Vec<SocketAddr>,
    /// Secrets by the name that routes use.
    pub credentials: HashMap<String, Credentials>,
    /// Who may vouch for servers.
    pub trust: TrustStore,
    /// What this server shows to servers that ask who it is.
    pub client_certificate: Option<ClientCertificate>,
    /// What bounds a visit.
    pub limits: VisitLimits,
    /// How long the dialogue waits for each reply.
    pub timeouts: ClientTimeouts,
    /// When content leaves in chunks (RFC 3030).
    pub chunking: Chunking,
    /// Who is asked for names.
    pub dns: DnsOptions,
    /// Whether TLSA records are obeyed (RFC 7672); it takes a resolver that validates.
    pub is_dane: bool,
    /// Where MTA-STS policies come from (RFC 8461); `None` obeys none.
    pub mta_sts: Option<MtaStsOptions>,
    /// Who counts what TLS came to, for reports to the domains (RFC 8460).
    pub reports: Option<Arc<TlsReports>>,
    /// Port of mail exchangers. RFC 5321 knows 25 and no other; a closed network may have its own.
    pub mx_port: u16,
    /// Randomness that starts the order of equal exchangers.
    pub random: u64,
}

impl OutboundOptions {
    /// The addresses that a route connects from. A name that the configuration no longer has stands for the usual ones:
    /// mail that was queued for it still leaves.
    pub(crate) fn sources_of(&self, route: &Route) -> &[IpAddr] {
        let named = route.source.as_ref().and_then(|name| self.sources.get(name));
        named.unwrap_or(&self.source_addresses)
    }
}

impl Default for OutboundOptions {
    fn default() -> Self {
        Self {
            host_name: "localhost".to_owned(),
            source_addresses: Vec::new(),
            sources: HashMap::new(),
            listeners: Vec::new(),
            credentials: HashMap::new(),
            trust: TrustStore::default(),
            client_certificate: None,
            limits: VisitLimits::default(),
            timeouts: ClientTimeouts::default(),
            chunking: Chunking::default(),
            dns: DnsOptions::default(),
            is_dane: true,
            mta_sts: Some(MtaStsOptions::default()),
            reports: None,
            mx_port: SMTP_PORT,
            random: 0,
        }
    }
}

impl fmt::Debug for OutboundOptions {
    // Secrets must not reach a log by way of a debug print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundOptions")
            .field("host_name", &self.host_name)
            .field("source_addresses", &self.source_addresses)
            .field("sources", &self.sources)
            .field("listeners", &self.listeners)
            .field("credentials", &self.credentials.keys().collect::<Vec<_>>())
            .field("trust", &self.trust)
            .field("client_certificate", &self.client_certificate)
            .field("limits", &self.limits)
            .field("dns", &self.dns)
            .field("is_dane", &self.is_dane)
            .field("mta_sts", &self.mta_sts)
            .finish_non_exhaustive()
    }
}
