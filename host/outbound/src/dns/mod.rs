//! Where a domain's mail goes: its mail exchangers and their addresses (RFC 5321 §5.1).

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use basin_core::reply::Reply;

/// Who is asked for names, and how long that may take.
#[derive(Debug, Clone)]
pub struct DnsOptions {
    /// The servers asked; where there are none, those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// How answers are proved.
    pub dnssec: Dnssec,
    /// Longest wait for one answer of one server.
    pub query_timeout: Duration,
    /// How often a question is asked again where no answer came.
    pub retries: usize,
    /// Longest wait for all that one domain needs: its exchangers and their addresses.
    pub total_timeout: Duration,
    /// Answers kept in memory, each until its time to live is over.
    pub cache_entries: u64,
    /// Which addresses are asked for.
    pub families: Families,
    /// This server's names: an exchanger of that name, and all that are no better, are not used (RFC 5321 §5.1).
    pub own_names: Vec<String>,
    /// This server's addresses, for the same rule; never those of a private network that others use too.
    pub own_addresses: Vec<IpAddr>,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            dnssec: Dnssec::Off,
            query_timeout: Duration::from_secs(5),
            retries: 1,
            total_timeout: Duration::from_secs(30),
            cache_entries: 16_384,
            families: Families::Both,
            own_names: Vec::new(),
            own_addresses: Vec::new(),
        }
    }
}

/// How answers are proved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Dnssec {
    /// Not at all: no answer is secure, and there is no DANE.
    #[default]
    Off,
    /// By their signatures, up to a trust anchor. The servers asked must pass signatures on.
    Validate {
        /// File of DNSKEY records in the form of a zone file; without it, the keys of the root.
        anchor: Option<PathBuf>,
    },
}

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Families {
    /// IPv6 and IPv4, in turns, IPv6 first.
    #[default]
    Both,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// Nobody can be asked to take mail for a domain, or for that exchanger of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reply}")]
pub struct RouteFailure {
    /// What the sender is told: 4yz where another attempt may help, 5yz where none will.
    pub reply: Reply,
}

/// The servers that take a domain's mail, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchangers {
    /// The domain, or the address literal, in lower case.
    pub domain: String,
    /// At least one; those of equal preference are shuffled.
    pub hosts: Vec<Exchanger>,
    /// Whether the list itself is proved by DNSSEC.
    pub is_secure: bool,
    /// Whether there is no MX record, so that the domain is its own exchanger (RFC 5321 §5.1).
    pub is_implicit: bool,
}

/// One server of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanger {
    /// Its name as the list has it, ASCII, in lower case, without a dot at the end; or an address as text.
    pub name: String,
    /// Lower ones are tried first.
    pub preference: u16,
    /// Its addresses in the order in which they are tried, never none; or why there are none.
    pub addresses: Result<Vec<IpAddr>, RouteFailure>,
    /// Whether the addresses are proved by DNSSEC.
    pub is_secure: bool,
    /// Where its name is an alias: the name that it stands for (RFC 7672 §2.2.2).
    pub canonical: Option<String>,
}

/// Asks the domain name system. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Resolver {
    options: std::sync::Arc<DnsOptions>,
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
pub enum DnsSetupError {
    /// `/etc/resolv.conf` cannot be used.
    #[error("cannot read the system's name servers: {0}")]
    System(String),
    /// The trust anchor cannot be used.
    #[error("cannot read the trust anchor {path}: {why}")]
    Anchor {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

impl Resolver {
    /// Makes a resolver; nothing is asked yet.
    pub fn new(options: DnsOptions) -> Result<Self, DnsSetupError> {
        Ok(Self { options: std::sync::Arc::new(options) })
    }

    /// The servers that take mail for a domain, given in ASCII or as an address literal (`[192.0.2.1]`).
    ///
    /// `random` shuffles what is equally good. A domain that says it takes no mail (RFC 7505), does not exist,
    /// or has nobody but this server left is a failure.
    pub async fn exchangers(&self, domain: &str, random: u64) -> Result<Exchangers, RouteFailure> {
        let _ = (domain, random, &self.options);
        Err(RouteFailure { reply: Reply::with(451, 4, 3, "not there yet") })
    }

    /// The one server of that name or address (`192.0.2.1`, `2001:db8::1`), without a look at MX records.
    pub async fn host(&self, name: &str) -> Exchanger {
        Exchanger {
            name: name.to_owned(),
            preference: 0,
            addresses: Err(RouteFailure { reply: Reply::with(451, 4, 3, "not there yet") }),
            is_secure: false,
            canonical: None,
        }
    }
}
