//! Where mail goes that is not for a mailbox here.

use core::borrow::Borrow;
use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{CONNECTIONS_PER_DESTINATION, SMTP_PORT};
use crate::transport::{Hop, HopTarget};

/// How the destination of an LMTP server with a name begins; no domain has a colon.
const LMTP_PREFIX: &str = "lmtp:";

/// What mail is queued for: a domain, or the next hop that a route names. All jobs of one destination share
/// its connections, its throttle and its fate.
///
/// The text is an ASCII domain in lower case, or `[host]:port` for a next hop.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination(Arc<str>);

impl Destination {
    /// The destination of a domain's own mail servers.
    pub fn domain(ascii: &str) -> Self {
        Self(ascii.to_ascii_lowercase().into())
    }

    /// The destination of a next hop.
    pub fn hop(hop: &HostPort) -> Self {
        Self(format!("[{}]:{}", hop.host.to_ascii_lowercase(), hop.port).into())
    }

    /// The destination of a hop that a sink chose. What the sink demands is part of it, so that no connection to the
    /// same server that promises less is shared with it.
    pub fn of_hop(hop: &Hop) -> Self {
        let plain = match &hop.next {
            HopTarget::Mx(domain) => domain.to_ascii_lowercase(),
            HopTarget::Host(host) => Self::hop(host).0.to_string(),
            HopTarget::Lmtp(name) => format!("{LMTP_PREFIX}{name}"),
            HopTarget::Local => String::new(),
        };
        let tls = hop.tls.map(|tls| format!("?tls={}", tls.word())).unwrap_or_default();
        let login = hop.credentials.as_ref().map(|name| format!("?login={name}")).unwrap_or_default();
        let source = hop.source.as_ref().map(|name| format!("?source={name}")).unwrap_or_default();
        Self(format!("{plain}{tls}{login}{source}").into())
    }

    // The hop that the text stands for; `None` where a sink had no hand in it.
    fn chosen(&self) -> Option<Hop> {
        let mut parts = self.0.split('?');
        let plain = parts.next().unwrap_or_default();
        let next = match (plain.strip_prefix(LMTP_PREFIX), HostPort::parse(plain)) {
            (Some(name), _) => HopTarget::Lmtp(name.to_owned()),
            (None, Some(host)) => HopTarget::Host(host),
            (None, None) => HopTarget::Mx(plain.to_owned()),
        };
        let mut hop = Hop::to(next);
        for part in parts {
            match part.split_once('=') {
                Some(("tls", word)) => hop.tls = TlsDemand::parse(word),
                Some(("login", name)) => hop.credentials = Some(name.to_owned()),
                Some(("source", name)) => hop.source = Some(name.to_owned()),
                Some(_) | None => return None,
            }
        }
        (self.0.contains('?') || matches!(hop.next, HopTarget::Lmtp(_))).then_some(hop)
    }

    /// The text, for people, logs and filters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a set of destinations can be asked by name: equality and hash are those of the text.
impl Borrow<str> for Destination {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server by name or address, and its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// Name, or an address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl HostPort {
    /// Reads `[host]:port`; `None` for any other text, an address literal without a port among them.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.strip_prefix('[')?.rsplit_once("]:")?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let is_host =
            !host.is_empty() && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-:_".contains(&octet));
        is_host.then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The servers that a route leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// The mail exchangers of that ASCII domain, or of that address literal (RFC 5321 §5.1). In a rule of a
    /// [`RouteTable`] the empty text stands for the domain that is routed.
    Mx(String),
    /// These, in this order; no MX is asked for.
    Hosts(Vec<HostPort>),
}

/// What is spoken there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033: one reply for each recipient after the final dot.
    Lmtp,
}

/// How much TLS a route demands, before DANE, MTA-STS and REQUIRETLS demand more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsDemand {
    /// Plain text, whatever the server offers.
    Never,
    /// TLS where the server offers it, with any certificate; plain text where it fails (RFC 7435).
    #[default]
    Opportunistic,
    /// TLS with any certificate, or no delivery.
    Required,
    /// TLS with a certificate that a trusted authority gave to that name, or no delivery.
    Verified,
}

impl TlsDemand {
    /// Every demand, the least first.
    pub const ALL: [Self; 4] = [Self::Never, Self::Opportunistic, Self::Required, Self::Verified];

    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Verified => "verified",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|demand| demand.word() == word)
    }
}

/// How hard a destination may be used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DestinationLimits {
    /// Connections at a time.
    pub connections_max: u32,
    /// Messages over one connection; then it is closed and another destination has a turn.
    pub messages_per_connection: u32,
    /// Messages in a minute; `None` is no limit.
    pub messages_per_minute: Option<u32>,
}

impl Default for DestinationLimits {
    fn default() -> Self {
        Self { connections_max: CONNECTIONS_PER_DESTINATION, messages_per_connection: 100, messages_per_minute: None }
    }
}

/// How mail for one destination leaves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// What it is queued for.
    pub destination: Destination,
    /// The servers.
    pub next: NextHop,
    /// What they speak.
    pub protocol: Protocol,
    /// The least TLS.
    pub tls: TlsDemand,
    /// Whether TLS begins with the connection (RFC 8314), instead of after STARTTLS.
    pub is_tls_implicit: bool,
    /// Name of the credentials to log in with; the shell has the secret.
    pub credentials: Option<String>,
    /// Name of the addresses to connect from; the shell has the addresses.
    pub source: Option<String>,
    /// How hard it may be used.
    pub limits: DestinationLimits,
}

impl Route {
    /// The route of a domain that no configuration mentions: its own mail exchangers, TLS where they offer it.
    pub fn mx(domain: &str) -> Self {
        Self {
            destination: Destination::domain(domain),
            next: NextHop::Mx(domain.to_ascii_lowercase()),
            protocol: Protocol::Smtp,
            tls: TlsDemand::Opportunistic,
            is_tls_implicit: false,
            credentials: None,
            source: None,
            limits: DestinationLimits::default(),
        }
    }

    /// The same route to the mail exchangers of a domain.
    pub fn towards(&self, domain: &str) -> Self {
        let next = NextHop::Mx(domain.to_ascii_lowercase());
        Self { destination: Destination::domain(domain), next, ..self.clone() }
    }

    /// The port where nothing else is said.
    pub const PORT: u16 = SMTP_PORT;
}

/// Which route a domain's mail takes: the first rule that names it, else its own mail exchangers.
#[derive(Debug, Clone)]
pub struct RouteTable {
    rules: Vec<(Vec<DomainPattern>, Arc<Route>)>,
    usual: Arc<Route>,
    /// Servers that the configuration gives names, for sinks that route.
    named: BTreeMap<String, Arc<Route>>,
}

impl Default for RouteTable {
    fn default() -> Self {
        Self { rules: Vec::new(), usual: Arc::new(Route::mx("")), named: BTreeMap::new() }
    }
}

/// Which domains a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainPattern {
    /// Every domain.
    All,
    /// That domain, in lower case.
    Exact(String),
    /// Every domain below that one, in lower case; written `*.example.org`.
    Below(String),
}

impl DomainPattern {
    /// Reads `*`, `example.org` or `*.example.org`.
    pub fn parse(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        match text.strip_prefix("*.") {
            _ if text == "*" => Self::All,
            Some(parent) => Self::Below(parent.to_owned()),
            None => Self::Exact(text),
        }
    }

    fn covers(&self, domain: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => exact == domain,
            Self::Below(parent) => {
                domain.strip_suffix(parent).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Exact(domain) => f.write_str(domain),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// For people: the servers and what is spoken there.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.next {
            NextHop::Mx(own) if own.is_empty() => f.write_str("mail exchangers of the domain")?,
            NextHop::Mx(domain) => write!(f, "mail exchangers of {domain}")?,
            NextHop::Hosts(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
                f.write_str(&hosts.join(", "))?;
            }
        }
        let protocol = if self.protocol == Protocol::Lmtp { "LMTP" } else { "SMTP" };
        let tls = match self.tls {
            TlsDemand::Never => "no TLS",
            TlsDemand::Opportunistic => "TLS where offered",
            TlsDemand::Required => "TLS required",
            TlsDemand::Verified => "TLS verified",
        };
        write!(f, " ({protocol}, {tls}")?;
        if let Some(name) = &self.credentials {
            write!(f, ", logged in as {name}")?;
        }
        if let Some(name) = &self.source {
            write!(f, ", from {name}")?;
        }
        f.write_str(")")
    }
}

impl RouteTable {
    /// A table of rules, the first of which that covers a domain is taken.
    pub fn new(rules: Vec<(Vec<DomainPattern>, Arc<Route>)>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// The same table with another route for domains that no rule covers.
    pub fn with_usual(self, usual: Route) -> Self {
        Self { usual: Arc::new(usual), ..self }
    }

    /// The same table with servers that sinks can name.
    pub fn with_named(self, named: BTreeMap<String, Arc<Route>>) -> Self {
        Self { named, ..self }
    }

    /// The servers that the configuration names, by their names.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Arc<Route>)> {
        self.named.iter().map(|(name, route)| (name.as_str(), route))
    }

    /// The server that the configuration gives that name.
    pub fn named(&self, name: &str) -> Option<&Arc<Route>> {
        self.named.get(name)
    }

    /// The rules in their order.
    pub fn rules(&self) -> &[(Vec<DomainPattern>, Arc<Route>)] {
        &self.rules
    }

    /// The route of a domain, given in ASCII or as an address literal.
    pub fn route(&self, domain: &str) -> Arc<Route> {
        let domain = domain.to_ascii_lowercase();
        let rule = self.rules.iter().find(|(patterns, _)| patterns.iter().any(|pattern| pattern.covers(&domain)));
        let route = rule.map_or(&self.usual, |(_, route)| route);
        match &route.next {
            NextHop::Mx(own) if own.is_empty() => Arc::new(route.towards(&domain)),
            NextHop::Mx(_) | NextHop::Hosts(_) => route.clone(),
        }
    }

    /// The route of a destination that was queued for: that of the rule which leads there, else of the domain
    /// or next hop that its text names.
    pub fn of(&self, destination: &Destination) -> Arc<Route> {
        if let Some(route) = destination.chosen().and_then(|hop| self.of_hop(&hop)) {
            return route;
        }
        // Of what a sink chose and nobody knows any more, the server is left.
        let text = destination.as_str().split('?').next().unwrap_or_default();
        let rule = self.rules.iter().find(|(_, route)| route.destination == *destination && !text.is_empty());
        match (rule, HostPort::parse(text)) {
            (Some((_, route)), _) => route.clone(),
            (None, Some(hop)) => Arc::new(Route {
                destination: destination.clone(),
                next: NextHop::Hosts(vec![hop]),
                ..Route::clone(&self.usual)
            }),
            (None, None) => {
                let route = self.route(text);
                // The rules changed since: what was queued for a domain goes to the exchangers of that domain.
                if route.destination == *destination { route } else { Arc::new(self.usual.towards(text)) }
            }
        }
    }

    /// The route of a hop that a sink chose; `None` for mailboxes here and for a name that the configuration does not
    /// have. What the operator demands of TLS there is raised by the sink and never lowered.
    pub fn of_hop(&self, hop: &Hop) -> Option<Arc<Route>> {
        let base = match &hop.next {
            HopTarget::Mx(domain) => Arc::new(self.exchangers(domain)),
            HopTarget::Host(host) => self.of(&Destination::hop(host)),
            HopTarget::Lmtp(name) => self.named(name)?.clone(),
            HopTarget::Local => return None,
        };
        if *hop == Hop::to(hop.next.clone()) && base.destination == Destination::of_hop(hop) {
            return Some(base);
        }
        // Who logs in shows a secret: to a server that an operator logs in at with it, and that is proved to be it.
        let credentials = hop.credentials.as_ref().filter(|name| self.logs_in(name, &hop.next)).cloned();
        let least = if credentials.is_some() { TlsDemand::Verified } else { TlsDemand::Never };
        Some(Arc::new(Route {
            destination: Destination::of_hop(hop),
            tls: hop.tls.map_or(base.tls, |tls| tls.max(base.tls)).max(least),
            credentials: credentials.or_else(|| base.credentials.clone()),
            source: hop.source.clone().or_else(|| base.source.clone()),
            ..Route::clone(&base)
        }))
    }

    /// Whether some route of the configuration logs in there with these credentials: sinks name them for servers that
    /// the operator gave them for, and for no other.
    pub fn logs_in(&self, credentials: &str, there: &HopTarget) -> bool {
        let mut routes = self.rules.iter().map(|(_, route)| route);
        routes.any(|route| {
            let is_there = match there {
                HopTarget::Host(host) => matches!(&route.next, NextHop::Hosts(hosts) if hosts.contains(host)),
                HopTarget::Lmtp(name) => self.named.get(name) == Some(route),
                HopTarget::Mx(_) | HopTarget::Local => false,
            };
            is_there && route.credentials.as_deref() == Some(credentials)
        })
    }

    // The mail exchangers of a domain, whatever servers its rule names: what is for those (a login, their protocol) is
    // for nobody else, and the least TLS is the operator's word on the domain.
    fn exchangers(&self, domain: &str) -> Route {
        let rule = self.route(domain);
        match &rule.next {
            NextHop::Mx(_) => rule.towards(domain),
            NextHop::Hosts(_) => {
                let usual = self.usual.towards(domain);
                Route { tls: usual.tls.max(rule.tls), ..usual }
            }
        }
    }

    /// The route of a recipient that was sent another way: to a domain, or to `[host]:port`.
    pub fn by_way_of(&self, text: &str) -> Arc<Route> {
        match HostPort::parse(text) {
            Some(hop) => self.of(&Destination::hop(&hop)),
            None => self.route(text),
        }
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
