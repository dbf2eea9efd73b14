//! Where a domain's mail goes: its mail exchangers and their addresses (RFC 5321 §5.1).

mod exchangers;
mod lookup;
mod query;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use basin_core::reply::Reply;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;

pub(crate) use exchangers::refusal;
pub(crate) use lookup::LookupError;
use lookup::{Answer, Lookups};
pub use query::QueryError;

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

/// Asks the domain name system. Cheap to clone; clones share what is known.
#[derive(Clone)]
pub struct Resolver {
    options: Arc<DnsOptions>,
    lookups: Lookups,
}

impl Resolver {
    /// Makes a resolver; nothing is asked yet.
    pub fn new(options: DnsOptions) -> Result<Self, DnsSetupError> {
        Ok(Self { lookups: Lookups::new(&options)?, options: Arc::new(options) })
    }

    /// The servers that take mail for a domain, given in ASCII or as an address literal (`[192.0.2.1]`).
    ///
    /// `random` shuffles what is equally good. A domain that says it takes no mail (RFC 7505), does not exist,
    /// or has nobody but this server left is a failure. What is known costs no question.
    pub async fn exchangers(&self, domain: &str, random: u64) -> Result<Exchangers, RouteFailure> {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        match tokio::time::timeout(self.options.total_timeout, self.find_exchangers(&domain, random)).await {
            Ok(found) => found,
            Err(_) => Err(refusal(451, 4, 3, format!("looking up the mail exchangers of {domain} took too long"))),
        }
    }

    async fn find_exchangers(&self, domain: &str, random: u64) -> Result<Exchangers, RouteFailure> {
        if let Some(address) = exchangers::literal(domain) {
            return self.literal(domain, address);
        }
        let Some(name) = mail_name(domain) else {
            return Err(refusal(550, 1, 2, format!("{domain} is no domain that mail can be sent to")));
        };
        let answer = self.lookups.ask(&name, RecordType::MX).await;
        let is_unproved = answer.as_ref().is_err_and(|error| *error == LookupError::Unproved);
        let (listed, is_secure, is_implicit) = match answer {
            Ok(answer) => (listed(domain, &answer.data)?, answer.is_secure, false),
            // RFC 5321 §5.1: without an MX record the domain is its own exchanger. Whether that is proved is
            // seen by its addresses: nobody can deny a record of a signed zone without a signature.
            Err(LookupError::NoRecord | LookupError::Unproved) => (vec![(0, domain.to_owned())], true, true),
            Err(error) => return Err(no_answer(domain, &error)),
        };
        let mut hosts = self.resolve(exchangers::in_order(listed, random)).await;
        // Where the zone turns out to be signed, it could have proved that it has no MX record.
        if is_unproved && hosts.iter().any(|host| host.is_secure) {
            return Err(no_answer(domain, &LookupError::Bogus));
        }
        let was_self = exchangers::without_self(&mut hosts, |host| self.is_self(host));
        if was_self && hosts.is_empty() {
            return Err(loops(domain));
        }
        if hosts.iter().all(|host| host.addresses.is_err()) {
            return Err(exchangers::nobody_left(domain, &hosts));
        }
        Ok(Exchangers { domain: domain.to_owned(), hosts, is_secure, is_implicit })
    }

    fn literal(&self, domain: &str, address: Option<IpAddr>) -> Result<Exchangers, RouteFailure> {
        let address =
            address.ok_or_else(|| refusal(550, 1, 2, format!("{domain} is no address that mail can be sent to")))?;
        let host = given(&address.to_string(), address);
        if self.is_self(&host) {
            return Err(loops(domain));
        }
        Ok(Exchangers { domain: domain.to_owned(), hosts: vec![host], is_secure: false, is_implicit: true })
    }

    /// The one server of that name or address (`192.0.2.1`, `2001:db8::1`), without a look at MX records. It may
    /// be this server itself: who names a host means it.
    pub async fn host(&self, name: &str) -> Exchanger {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = name.parse() {
            return given(&name, address);
        }
        match tokio::time::timeout(self.options.total_timeout, self.exchanger(0, name.clone())).await {
            Ok(found) => found,
            Err(_) => {
                let failure = refusal(451, 4, 3, format!("looking up the address of {name} took too long"));
                Exchanger { name, preference: 0, addresses: Err(failure), is_secure: false, canonical: None }
            }
        }
    }

    /// The text records of a name, each put together from its parts; octets that are no text are replaced.
    pub(crate) async fn texts(&self, name: &str) -> Result<Vec<String>, LookupError> {
        let name = mail_name(name).ok_or(LookupError::NoName)?;
        let answer = self.records(&name, RecordType::TXT).await?;
        let text = |record: &RData| {
            let RData::TXT(parts) = record else { return None };
            Some(String::from_utf8_lossy(&parts.txt_data.concat()).into_owned())
        };
        Ok(answer.data.iter().filter_map(text).collect())
    }

    /// The records of one kind that a name has, within the time for one destination.
    pub(crate) async fn records(&self, name: &Name, kind: RecordType) -> Result<Answer, LookupError> {
        match tokio::time::timeout(self.options.total_timeout, self.lookups.ask(name, kind)).await {
            Ok(found) => found,
            Err(_) => Err(LookupError::Failed("no name server answered in time".to_owned())),
        }
    }

    // All at once: what is slow for one is slow for all, and the first that answers is not always the best.
    async fn resolve(&self, listed: Vec<(u16, String)>) -> Vec<Exchanger> {
        if let [(preference, name)] = listed.as_slice() {
            return vec![self.exchanger(*preference, name.clone()).await];
        }
        let mut tasks = JoinSet::new();
        for (place, (preference, name)) in listed.into_iter().enumerate() {
            let resolver = self.clone();
            tasks.spawn(async move { (place, resolver.exchanger(preference, name).await) });
        }
        let mut hosts = tasks.join_all().await;
        hosts.sort_by_key(|(place, _)| *place);
        hosts.into_iter().map(|(_, host)| host).collect()
    }

    async fn exchanger(&self, preference: u16, name: String) -> Exchanger {
        let failed = |name: String, failure| Exchanger {
            name,
            preference,
            addresses: Err(failure),
            is_secure: false,
            canonical: None,
        };
        let Some(asked) = mail_name(&name) else {
            let failure = refusal(550, 4, 4, format!("the mail exchanger {name} has a name that no host can have"));
            return failed(name, failure);
        };
        let families = self.options.families;
        let (v6, v4) = tokio::join!(
            async {
                if families == Families::V4 { None } else { Some(self.lookups.ask(&asked, RecordType::AAAA).await) }
            },
            async { if families == Families::V6 { None } else { Some(self.lookups.ask(&asked, RecordType::A).await) } },
        );
        let answers = [v6, v4].map(|answer| answer.unwrap_or(Err(LookupError::NoRecord)));
        let is_secure = answers.iter().flatten().all(|answer| answer.is_secure);
        let canonical = answers.iter().flatten().find_map(|answer| answer.canonical.as_ref()).map(text_of);
        let [v6, v4] = answers.each_ref().map(|answer| answer.as_ref().map_or_else(|_| Vec::new(), addresses));
        let addresses = exchangers::in_turns(v6, v4);
        if addresses.is_empty() {
            let failure = no_address(&name, &answers);
            return failed(name, failure);
        }
        Exchanger { name, preference, addresses: Ok(addresses), is_secure, canonical }
    }

    fn is_self(&self, host: &Exchanger) -> bool {
        let own = |address: &IpAddr| self.options.own_addresses.contains(&address.to_canonical());
        let is_own_name = self.options.own_names.iter().any(|name| name.eq_ignore_ascii_case(&host.name));
        is_own_name || host.addresses.iter().flatten().any(own)
    }
}

/// An exchanger whose address was given, not looked up.
fn given(name: &str, address: IpAddr) -> Exchanger {
    let name = name.to_owned();
    Exchanger { name, preference: 0, addresses: Ok(vec![address]), is_secure: false, canonical: None }
}

/// The exchangers of an answer, as preference and name.
fn listed(domain: &str, data: &[RData]) -> Result<Vec<(u16, String)>, RouteFailure> {
    let records = data.iter().filter_map(|record| if let RData::MX(mx) = record { Some(mx) } else { None });
    let named: Vec<_> =
        records.filter(|mx| !mx.exchange.is_root()).map(|mx| (mx.preference, text_of(&mx.exchange))).collect();
    // RFC 7505 §3: one record with an empty name says that the domain takes no mail. Beside other records it
    // says nothing.
    if named.is_empty() {
        return Err(refusal(556, 1, 10, format!("{domain} takes no mail: it has a null MX record")));
    }
    Ok(named)
}

fn addresses(answer: &Answer) -> Vec<IpAddr> {
    let address = |record: &RData| {
        if let RData::A(v4) = record {
            Some(IpAddr::V4(v4.0))
        } else if let RData::AAAA(v6) = record {
            Some(IpAddr::V6(v6.0))
        } else {
            None
        }
    };
    answer.data.iter().filter_map(address).filter(exchangers::is_usable).take(exchangers::ADDRESSES_MAX).collect()
}

/// A name that a host or a mail domain can have, fully qualified: letters, digits, hyphens and underscores.
pub(crate) fn mail_name(text: &str) -> Option<Name> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let mut name = Name::from_ascii(text).ok().filter(|_| !text.is_empty() && text.bytes().all(is_plain))?;
    name.set_fqdn(true);
    Some(name)
}

/// A name as text: lower case, no dot at its end.
pub(crate) fn text_of(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn loops(domain: &str) -> RouteFailure {
    refusal(554, 4, 6, format!("mail for {domain} would come back here: this server is its best mail exchanger"))
}

/// What is said where a domain's MX records cannot be had.
fn no_answer(domain: &str, error: &LookupError) -> RouteFailure {
    match error {
        LookupError::NoName => refusal(550, 1, 2, format!("the domain {domain} does not exist")),
        LookupError::NoRecord => refusal(550, 4, 4, format!("{domain} has no mail exchanger")),
        LookupError::Unproved | LookupError::Bogus | LookupError::Failed(_) => {
            refusal(451, 4, 3, format!("cannot look up the mail exchangers of {domain}: {error}"))
        }
    }
}

/// What is said where a host has no address: another attempt may help where a look-up failed.
fn no_address(name: &str, answers: &[Result<Answer, LookupError>]) -> RouteFailure {
    let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
    let passing = errors().find(|error| matches!(error, LookupError::Bogus | LookupError::Failed(_)));
    match passing {
        Some(error) => refusal(451, 4, 3, format!("cannot look up the address of {name}: {error}")),
        None if errors().any(|error| *error == LookupError::NoName) => {
            refusal(550, 4, 4, format!("the host {name} does not exist"))
        }
        None => refusal(550, 4, 4, format!("{name} has no address that can be used")),
    }
}
