//! Checks of what the way out is made of.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use basin_core::addr::{Address, check_domain};
use basin_core::limits::{CONNECTIONS_PER_DESTINATION, LMTP_PORT, SMTP_PORT};
use basin_core::network::Network;
use basin_core::smtp::client::Chunking;
use basin_core::transport::{
    Destination, DestinationLimits, DomainPattern, HostPort, NextHop, Protocol, Route, RouteTable, TlsDemand,
};

use super::Check;
use crate::config::open_to_all;
use crate::config::outgoing::{Credentials, Dns, Outbound, Queue, Tls};
use crate::config::raw::{self, Span};

/// The port of a resolver (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// Most connections to other servers: each takes a descriptor, and a body where it is on disk another one.
const CONNECTIONS_MAX: usize = 2_000;

/// Shortest wait after an attempt: a queue that tries without a pause is an attack.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// Most servers of a route, and most waits of a list. More is a mistake.
const LIST_MAX: usize = 32;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Check<'_> {
    pub(super) fn relay(&mut self, raw: &raw::Relay) -> Vec<Network> {
        let usual = || ["127.0.0.0/8", "::1"].map(str::to_owned).to_vec();
        self.relay_networks("relay.clients", &raw.clients.clone().unwrap_or_else(usual))
    }

    /// Networks of clients that may send to any domain.
    pub(super) fn relay_networks(&mut self, key: &str, written: &[String]) -> Vec<Network> {
        let mut clients = Vec::new();
        for (number, text) in written.iter().enumerate() {
            let key = format!("{key}[{number}]");
            match Network::parse(text) {
                Some(everybody) if everybody.is_everybody() => {
                    self.wrong(&key, format!("{text:?} is everybody: that makes this server an open relay"));
                }
                Some(network) => clients.push(network),
                None => self.wrong(&key, format!("expected 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32, found {text:?}")),
            }
        }
        clients
    }

    pub(super) fn queue(&mut self, raw: &raw::Queue) -> Queue {
        let time = |written: Option<Span>, default: Duration| written.map_or(default, |span| span.0);
        let lifetime = time(raw.lifetime, 5 * DAY);
        if lifetime < 4 * DAY {
            self.warn(
                "queue.lifetime",
                "RFC 5321 §4.5.4.1 asks for \"4d\" at least; a server may be down over a weekend",
            );
        }
        let delay_notice = match raw.delay_notice.as_deref() {
            None => Some(4 * HOUR),
            Some("off") => None,
            Some(text) => match Span::parse(text) {
                Some(span) => Some(span.0),
                None => {
                    self.wrong(
                        "queue.delay-notice",
                        format!("expected a time such as \"4h\", or \"off\", found {text:?}"),
                    );
                    None
                }
            },
        };
        let usual = || [5, 10, 20, 30].map(|minutes| Span(minutes * MINUTE)).to_vec();
        let first_waits: Vec<Duration> =
            raw.first_waits.clone().unwrap_or_else(usual).iter().map(|span| span.0).collect();
        if !(1..=LIST_MAX).contains(&first_waits.len()) || first_waits.iter().any(|wait| *wait < WAIT_MIN) {
            self.wrong("queue.first-waits", format!("expected 1 to {LIST_MAX} times of \"1s\" or more"));
        }
        let longest_wait = time(raw.longest_wait, 2 * HOUR);
        if longest_wait < first_waits.last().copied().unwrap_or(WAIT_MIN).max(WAIT_MIN) {
            self.wrong("queue.longest-wait", "this is shorter than the last of `first-waits`");
        }
        let messages_max = raw.max_messages.unwrap_or(1_000_000);
        if messages_max == 0 {
            self.wrong("queue.max-messages", "0 would take no mail; leave the key out for the default");
        }
        let bounce_lifetime = time(raw.bounce_lifetime, DAY).min(lifetime);
        Queue { lifetime, bounce_lifetime, delay_notice, first_waits, longest_wait, messages_max }
    }

    pub(super) fn outbound(
        &mut self,
        raw: &raw::Outbound,
        sources: BTreeMap<String, Vec<IpAddr>>,
        host_name: Option<&String>,
    ) -> Outbound {
        let connections = raw.connections.unwrap_or(200);
        if connections > CONNECTIONS_MAX {
            self.wrong("outbound.connections", format!("expected 0 to {CONNECTIONS_MAX}"));
        }
        if connections == 0 {
            self.warn("outbound.connections", "0 sends nothing: mail for other domains stays in the spool");
        }
        let limits = DestinationLimits {
            connections_max: raw.connections_per_destination.unwrap_or(CONNECTIONS_PER_DESTINATION),
            messages_per_connection: raw.messages_per_connection.unwrap_or(100),
            messages_per_minute: raw.messages_per_minute,
        };
        self.destination_limits("outbound", "connections-per-destination", &limits);
        let helo_name = raw.helo_name.clone().or_else(|| host_name.cloned()).unwrap_or_default();
        if raw.helo_name.is_some() && check_domain(&helo_name).is_err() {
            self.wrong("outbound.helo-name", format!("{helo_name:?} is no domain name"));
        }
        let source_addresses = self.own_addresses("outbound.source-addresses", &raw.source_addresses);
        let time = |written: Option<Span>, default: Duration| written.map_or(default, |span| span.0);
        let (command_timeout, final_timeout) =
            (time(raw.command_timeout, 5 * MINUTE), time(raw.final_timeout, 10 * MINUTE));
        if command_timeout < 5 * MINUTE {
            self.warn(
                "outbound.command-timeout",
                "RFC 5321 §4.5.3.2 asks for \"5m\" at least; slow servers will be given up",
            );
        }
        if final_timeout < 10 * MINUTE {
            self.warn(
                "outbound.final-timeout",
                "RFC 5321 §4.5.3.2.6 asks for \"10m\"; who gives up earlier sends messages twice",
            );
        }
        Outbound {
            connections,
            limits,
            helo_name,
            source_addresses,
            sources,
            tls: self.tls_demand("outbound.tls", raw.tls.as_deref()).unwrap_or_default(),
            chunking: self.chunking(raw.chunking.as_deref()),
            mx_port: raw.mx_port.unwrap_or(SMTP_PORT),
            connect_timeout: time(raw.connect_timeout, Duration::from_secs(30)),
            command_timeout,
            final_timeout,
        }
    }

    fn chunking(&mut self, written: Option<&str>) -> Chunking {
        match written.unwrap_or("binary") {
            "never" => Chunking::Never,
            "binary" => Chunking::ForBinary,
            "preferred" => Chunking::Preferred,
            other => {
                self.wrong(
                    "outbound.chunking",
                    format!("expected \"never\", \"binary\" or \"preferred\", found {other:?}"),
                );
                Chunking::default()
            }
        }
    }

    fn destination_limits(&mut self, table: &str, connections: &str, limits: &DestinationLimits) {
        let values = [
            (connections, Some(limits.connections_max)),
            ("messages-per-connection", Some(limits.messages_per_connection)),
            ("messages-per-minute", limits.messages_per_minute),
        ];
        for (name, _) in values.iter().filter(|(_, value)| *value == Some(0)) {
            self.wrong(&format!("{table}.{name}"), "0 would send nothing; leave the key out for the default");
        }
    }

    // The default where nothing or nothing right is written.
    fn tls_demand(&mut self, key: &str, written: Option<&str>) -> Option<TlsDemand> {
        match written? {
            "never" => Some(TlsDemand::Never),
            "opportunistic" => Some(TlsDemand::Opportunistic),
            "required" => Some(TlsDemand::Required),
            "verified" => Some(TlsDemand::Verified),
            other => {
                let text =
                    format!("expected \"never\", \"opportunistic\", \"required\" or \"verified\", found {other:?}");
                self.wrong(key, text);
                None
            }
        }
    }

    pub(super) fn credentials(&mut self, written: Vec<raw::Credentials>) -> Vec<Credentials> {
        let mut credentials: Vec<Credentials> = Vec::new();
        for (index, raw) in written.into_iter().enumerate() {
            let at = |name: &str| format!("credentials[{index}].{name}");
            let (Some(name), Some(user), Some(file)) = (raw.name, raw.user, raw.password_file) else {
                self.wrong(&format!("credentials[{index}]"), "credentials need `name`, `user` and `password-file`");
                continue;
            };
            if credentials.iter().any(|other| other.name == name) {
                self.wrong(&at("name"), format!("two credentials are named {name:?}"));
            }
            let password = self.password(&at("password-file"), &file);
            credentials.push(Credentials { name, user, password, file: self.folder.join(file) });
        }
        credentials
    }

    fn password(&mut self, key: &str, file: &str) -> String {
        let path = self.folder.join(file);
        if let Some(warning) = open_to_all(&path) {
            self.warn(key, warning);
        }
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                self.wrong(key, format!("cannot read {}: {error}", path.display()));
                return String::new();
            }
        };
        let password = text.lines().next().unwrap_or_default().to_owned();
        if password.is_empty() {
            self.wrong(key, format!("the first line of {} is empty; it is the password", path.display()));
        }
        password
    }

    pub(super) fn routes(
        &mut self,
        written: Vec<raw::Route>,
        outbound: &Outbound,
        known: &[Credentials],
    ) -> RouteTable {
        let mut rules: Vec<(Vec<DomainPattern>, Arc<Route>)> = Vec::new();
        let mut named = BTreeMap::new();
        for (index, mut raw) in written.into_iter().enumerate() {
            let key = format!("route[{index}]");
            let name = raw.name.take();
            let patterns = self.patterns(&key, &raw.domains, name.is_some());
            let Some(route) = self.route(&key, raw, outbound, known).map(Arc::new) else { continue };
            self.agrees_with(&key, &route, &rules);
            if let Some(name) = name {
                self.name_of_route(&key, &name, &route, &named);
                named.insert(name, route.clone());
            }
            rules.push((patterns, route));
        }
        let usual = Route { tls: outbound.tls, limits: outbound.limits.clone(), ..Route::mx("") };
        RouteTable::new(rules).with_usual(usual).with_named(named)
    }

    // All mail for one next hop shares its connections, and with them the TLS and the login of whichever route is
    // found first: mail that demands TLS could leave without it, or under another's name.
    fn agrees_with(&mut self, key: &str, route: &Route, rules: &[(Vec<DomainPattern>, Arc<Route>)]) {
        let differs = |(_, other): &(_, Arc<Route>)| other.destination == route.destination && **other != *route;
        if matches!(route.next, NextHop::Hosts(_)) && rules.iter().any(differs) {
            let advice = "leads to the same server in another way; give both the same keys, or the server another name";
            self.wrong(&format!("{key}.hosts"), format!("an earlier route {advice}"));
        }
    }

    fn patterns(&mut self, key: &str, domains: &[String], has_name: bool) -> Vec<DomainPattern> {
        if domains.is_empty() && !has_name {
            self.wrong(&format!("{key}.domains"), "a route needs the domains that it is for; `[\"*\"]` is all of them");
        }
        let is_wrong = |text: &&String| {
            let bare = text.strip_prefix("*.").unwrap_or(text);
            text.as_str() != "*" && check_domain(bare).is_err()
        };
        for text in domains.iter().filter(is_wrong) {
            let advice = "expected a domain, \"*.domain\" or \"*\"";
            self.wrong(&format!("{key}.domains"), format!("{advice}, found {text:?}"));
        }
        domains.iter().map(|text| DomainPattern::parse(text)).collect()
    }

    fn route(&mut self, key: &str, raw: raw::Route, outbound: &Outbound, known: &[Credentials]) -> Option<Route> {
        let protocol = match raw.protocol.as_deref().unwrap_or("smtp") {
            "smtp" => Protocol::Smtp,
            "lmtp" => Protocol::Lmtp,
            other => {
                self.wrong(&format!("{key}.protocol"), format!("expected \"smtp\" or \"lmtp\", found {other:?}"));
                return None;
            }
        };
        let hosts = self.hosts(&format!("{key}.hosts"), &raw.hosts, protocol);
        let needs_hosts = |is_written: bool, name: &str, check: &mut Self| {
            if is_written && raw.hosts.is_empty() {
                check.wrong(&format!("{key}.{name}"), "this needs `hosts`: other servers are not asked for it");
            }
        };
        needs_hosts(protocol == Protocol::Lmtp, "protocol", self);
        needs_hosts(raw.credentials.is_some(), "credentials", self);
        needs_hosts(raw.implicit_tls == Some(true), "implicit-tls", self);
        let usual = if raw.credentials.is_some() { TlsDemand::Verified } else { outbound.tls };
        let tls = self.tls_demand(&format!("{key}.tls"), raw.tls.as_deref()).unwrap_or(usual);
        if let Some(name) = &raw.credentials {
            self.login(key, name, tls, raw.implicit_tls == Some(true), &hosts, known);
        }
        if let Some(name) = &raw.source {
            self.source(key, name, &outbound.sources);
        }
        let limits = DestinationLimits {
            connections_max: raw.connections.unwrap_or(outbound.limits.connections_max),
            messages_per_connection: raw.messages_per_connection.unwrap_or(outbound.limits.messages_per_connection),
            messages_per_minute: raw.messages_per_minute.or(outbound.limits.messages_per_minute),
        };
        self.destination_limits(key, "connections", &limits);
        let (destination, next) = match hosts.first() {
            Some(first) => (Destination::hop(first), NextHop::Hosts(hosts)),
            None => (Destination::domain(""), NextHop::Mx(String::new())),
        };
        let is_tls_implicit = raw.implicit_tls.unwrap_or(false);
        let raw::Route { credentials, source, .. } = raw;
        Some(Route { destination, next, protocol, tls, is_tls_implicit, credentials, source, limits })
    }

    // A password goes over a connection that others may read only where that is this machine's own.
    fn login(
        &mut self,
        key: &str,
        name: &str,
        tls: TlsDemand,
        is_implicit: bool,
        hosts: &[HostPort],
        known: &[Credentials],
    ) {
        if !known.iter().any(|credentials| credentials.name == name) {
            self.wrong(&format!("{key}.credentials"), format!("there are no [[credentials]] with the name {name:?}"));
        }
        let is_loopback = |host: &HostPort| host.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if tls < TlsDemand::Required && !is_implicit && !hosts.iter().all(is_loopback) {
            let advice = "credentials need tls = \"verified\", or \"required\", so that nobody on the way reads them";
            self.wrong(&format!("{key}.tls"), advice);
        }
    }

    fn hosts(&mut self, key: &str, written: &[String], protocol: Protocol) -> Vec<HostPort> {
        let port = if protocol == Protocol::Lmtp { LMTP_PORT } else { SMTP_PORT };
        if written.len() > LIST_MAX {
            self.wrong(key, format!("a route has {LIST_MAX} servers at most"));
        }
        let mut hosts = Vec::new();
        for text in written {
            match parse_host(text, port) {
                Some(host) => hosts.push(host),
                None => self.wrong(key, format!("expected HOST or HOST:PORT, such as \"smtp.example.net:587\" or \"[2001:db8::1]:25\", found {text:?}")),
            }
        }
        hosts
    }

    pub(super) fn dns(&mut self, raw: &raw::Dns) -> Dns {
        let mut servers = Vec::new();
        for (number, text) in raw.servers.iter().enumerate() {
            let address =
                text.parse::<SocketAddr>().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)));
            match address {
                Ok(address) => servers.push(address),
                Err(_) => self.wrong(
                    &format!("dns.servers[{number}]"),
                    format!("expected an address such as \"127.0.0.1\" or \"127.0.0.1:53\", found {text:?}"),
                ),
            }
        }
        let trust_anchor = raw.trust_anchor.as_ref().map(|file| self.folder.join(file));
        self.readable("dns.trust-anchor", trust_anchor.as_deref());
        let is_validated = raw.dnssec.unwrap_or(false);
        if trust_anchor.is_some() && !is_validated {
            self.warn("dns.trust-anchor", "it has no effect without dnssec = true");
        }
        Dns { servers, is_validated, trust_anchor }
    }

    pub(super) fn tls(&mut self, raw: &raw::Tls) -> Tls {
        let roots = raw.roots.as_ref().map(|file| self.folder.join(file));
        self.readable("tls.roots", roots.as_deref());
        let reports_from = raw.reports_from.as_ref().and_then(|text| match Address::parse(text) {
            Ok(address) => Some(address),
            Err(error) => {
                self.wrong("tls.reports-from", format!("{text:?} is no address: {error}"));
                None
            }
        });
        Tls { roots, is_dane: raw.dane.unwrap_or(true), is_mta_sts: raw.mta_sts.unwrap_or(true), reports_from }
    }

    fn readable(&mut self, key: &str, file: Option<&Path>) {
        if let Some(path) = file
            && let Err(error) = std::fs::File::open(path)
        {
            self.wrong(key, format!("cannot read {}: {error}", path.display()));
        }
    }
}

// HOST, HOST:PORT, an IPv4 address, or an IPv6 address in brackets.
fn parse_host(text: &str, port: u16) -> Option<HostPort> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() != 0).then(|| HostPort { host: address.ip().to_string(), port: address.port() });
    }
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = inner.parse::<IpAddr>() {
        return Some(HostPort { host: address.to_string(), port });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, digits.parse().ok().filter(|port| *port != 0)?),
        None => (text, port),
    };
    // "localhost" is a name too.
    check_domain(host).is_ok().then(|| HostPort { host: host.to_ascii_lowercase(), port })
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
