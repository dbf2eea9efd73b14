//! Listeners, certificates and users.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;

use basin_core::addr::check_domain;
use basin_core::limits;
use basin_core::network::{Network, Prefixes};
use basin_core::smtp::{Extensions, Mechanism};

use super::Check;
use crate::config::checked::Domain;
use crate::config::listener::{CertificateFiles, Listener, ListenerAuth, ListenerTls, Rates, TlsMode};
use crate::config::raw;
use crate::tls::ClientCertificates;

/// Longest wait before the banner. Clients wait 5 minutes (RFC 5321 §4.5.3.2.1), and some far less.
const GREET_DELAY_MAX: Duration = Duration::from_secs(60);

/// Longest text behind the host name in a banner: what fits into a reply line beside it.
const BANNER_BYTES_MAX: usize = 200;

/// Largest number in LIMITS (RFC 9422 §3: six digits).
const LIMIT_MAX: u32 = 999_999;

/// Highest rate that may be demanded of clients, in octets a second: ISDN lines are still in use.
const DATA_RATE_MAX: u64 = 16 * 1024;

/// Longest time in which a message may be demanded to arrive at the soonest (RFC 2852 §3: nine digits).
const DELIVER_BY_MAX: Duration = Duration::from_secs(999_999_999);

/// Shortest and longest time for which mail may be held back. RFC 4865 has nine digits; nobody plans mail for so long.
const HOLD_MIN: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What stands behind the host name where nothing else is written.
const BANNER: &str = "ESMTP Basin";

/// What the keys of all listeners share.
pub(super) struct Common<'a> {
    pub(super) certificates: &'a [CertificateFiles],
    pub(super) users: Option<PathBuf>,
    pub(super) domains: &'a [Domain],
}

impl Check<'_> {
    pub(super) fn certificates(&mut self, written: Vec<raw::Certificate>) -> Vec<CertificateFiles> {
        let mut certificates: Vec<CertificateFiles> = Vec::new();
        for (index, raw) in written.into_iter().enumerate() {
            let at = |name: &str| format!("certificate[{index}].{name}");
            let mut file = |name: &str, written: Option<String>| {
                let file = written.map(|file| self.folder.join(file));
                if file.is_none() {
                    self.wrong(&at(name), "expected the path of a PEM file");
                }
                file
            };
            let (chain, key) = (file("chain-file", raw.chain_file), file("key-file", raw.key_file));
            let name = raw.name.unwrap_or_else(|| format!("certificate-{}", index + 1));
            if certificates.iter().any(|other| other.name == name) {
                self.wrong(&at("name"), format!("two certificates are named {name:?}; each needs a name of its own"));
            }
            if let (Some(chain), Some(key)) = (chain, key) {
                certificates.push(CertificateFiles { name, chain, key });
            }
        }
        certificates
    }

    pub(super) fn listeners(&mut self, written: Vec<raw::Listener>, common: &Common<'_>) -> Vec<Listener> {
        if written.is_empty() {
            self.wrong(
                "listener",
                "there is no listener; add [[listener]] with name = \"inbound\" and address = \"[::]:25\"",
            );
        }
        let mut listeners: Vec<Listener> = Vec::new();
        for (index, raw) in written.into_iter().enumerate() {
            let at = |name: &str| format!("listener[{index}].{name}");
            let listener = self.listener(&at, raw, common);
            if let Some(same) =
                listeners.iter().find(|other| listener.as_ref().is_some_and(|new| new.name == other.name))
            {
                let text = format!("two listeners are named {:?}; each needs a name of its own", same.name);
                self.wrong(&at("name"), text);
            }
            let takes = |other: &&Listener| listener.as_ref().is_some_and(|new| overlap(new.address, other.address));
            if let Some(other) = listeners.iter().find(takes) {
                let text = if listener.as_ref().is_some_and(|new| new.address == other.address) {
                    format!("the listener {:?} has this address already", other.name)
                } else {
                    format!(
                        "the listener {:?} has this port, at {}, which takes in this address",
                        other.name, other.address
                    )
                };
                self.wrong(&at("address"), text);
            }
            listeners.extend(listener);
        }
        listeners
    }

    fn listener(&mut self, at: &dyn Fn(&str) -> String, raw: raw::Listener, common: &Common<'_>) -> Option<Listener> {
        let address: Option<SocketAddr> = raw.address.as_deref().and_then(|text| text.parse().ok());
        if address.is_none() {
            let found = raw.address.as_ref().map_or("nothing".to_owned(), |text| format!("{text:?}"));
            self.wrong(
                &at("address"),
                format!("expected IP:PORT such as \"0.0.0.0:25\" or \"[::]:25\", found {found}"),
            );
        }
        self.listener_sizes(at, &raw);
        let is_submission = match raw.kind.as_deref().unwrap_or("mx") {
            "mx" => false,
            "submission" => true,
            other => {
                self.wrong(&at("kind"), format!("expected \"mx\" or \"submission\", found {other:?}"));
                false
            }
        };
        let tls = self.listener_tls(at, &raw, common.certificates);
        let auth = self.listener_auth(at, &raw, common, &tls, address, is_submission);
        let relay_clients =
            raw.relay_clients.as_ref().map(|clients| self.relay_networks(&at("relay-clients"), clients));
        let message_bytes_hard_max = self.hard_max(at, &raw);
        let networks = |check: &mut Self, name: &str, written: &[String]| check.trusted(&at(name), written);
        Some(Listener {
            name: self.listener_name(at, raw.name)?,
            address: address?,
            host_name: self.listener_host_name(at, raw.host_name),
            banner: self.banner(at, raw.banner),
            is_submission,
            domains: self.listener_domains(at, raw.domains, common.domains),
            tls,
            auth,
            relay_clients,
            proxies: networks(self, "proxy-protocol", &raw.proxy_protocol),
            xclient_from: networks(self, "xclient", &raw.xclient),
            greet_delay: self.greet_delay(at, raw.greet_delay),
            has_client_names: raw.client_names.unwrap_or(false),
            message_bytes_max: raw.max_message_size.map_or(limits::MESSAGE_BYTES_DEFAULT, |size| size.0),
            message_bytes_hard_max,
            extensions: self.extensions(at, &raw.extensions_off),
            recipients_max: raw.max_recipients.unwrap_or(limits::RECIPIENTS_DEFAULT),
            mails_max: raw.max_messages_per_session,
            hold_max: self.hold_max(at, raw.max_hold, is_submission),
            deliver_by_min: raw.min_deliver_by.map_or(Duration::ZERO, |time| time.0),
            command_timeout: raw.command_timeout.map_or(limits::COMMAND_TIMEOUT_DEFAULT, |time| time.0),
            data_timeout: raw.data_timeout.map_or(limits::DATA_TIMEOUT_DEFAULT, |time| time.0),
            data_total: raw.data_total.map_or(limits::DATA_TOTAL_DEFAULT, |time| time.0),
            data_rate_min: raw.min_data_rate.map_or(0, |size| size.0),
            connections_max: raw.max_connections.unwrap_or(1_000),
            connections_per_client_max: raw.max_connections_per_client.unwrap_or(100),
            rates: Rates {
                connections: raw.max_connections_per_minute,
                messages: raw.max_messages_per_minute,
                recipients: raw.max_recipients_per_minute,
            },
            prefixes: self.prefixes(at, raw.client_prefix_ipv4, raw.client_prefix_ipv6),
            errors_max: raw.max_errors.unwrap_or(limits::ERRORS_MAX),
            idle_commands_max: raw.max_idle_commands.unwrap_or(limits::IDLE_COMMANDS_MAX),
        })
    }

    fn listener_name(&mut self, at: &dyn Fn(&str) -> String, written: Option<String>) -> Option<String> {
        let is_name = |name: &String| !name.is_empty() && name.bytes().all(|o| o.is_ascii_alphanumeric() || o == b'-');
        let name = written.filter(is_name);
        if name.is_none() {
            self.wrong(&at("name"), "a listener needs a name of letters, digits and hyphens, such as \"inbound\"");
        }
        name
    }

    fn listener_sizes(&mut self, at: &dyn Fn(&str) -> String, raw: &raw::Listener) {
        if raw.max_recipients.is_some_and(|most| most < 100) {
            self.wrong(&at("max-recipients"), "RFC 5321 §4.5.3.1.8 requires 100 at least");
        }
        if raw.max_message_size.is_some_and(|size| size.0 < 64 * 1024) {
            self.wrong(&at("max-message-size"), "RFC 5321 §4.5.3.1.7 requires \"64KiB\" at least");
        }
        if raw.command_timeout.is_some_and(|time| time.0 < limits::COMMAND_TIMEOUT_DEFAULT) {
            self.warn(
                &at("command-timeout"),
                "RFC 5321 §4.5.3.2.7 asks for \"5m\" at least; slow clients will be cut off",
            );
        }
        let counts = [
            ("max-connections", raw.max_connections.map(|count| count as u64)),
            ("max-connections-per-client", raw.max_connections_per_client.map(|count| count as u64)),
            ("max-connections-per-minute", raw.max_connections_per_minute.map(u64::from)),
            ("max-messages-per-minute", raw.max_messages_per_minute.map(u64::from)),
            ("max-recipients-per-minute", raw.max_recipients_per_minute.map(u64::from)),
            ("max-messages-per-session", raw.max_messages_per_session.map(u64::from)),
            ("max-idle-commands", raw.max_idle_commands.map(u64::from)),
        ];
        if raw.max_messages_per_session.is_some_and(|most| most > LIMIT_MAX) {
            self.wrong(&at("max-messages-per-session"), "RFC 9422 §3 has six digits for it: 999999 at most");
        }
        if raw.min_data_rate.is_some_and(|size| size.0 > DATA_RATE_MAX) {
            let text = "more than \"16KiB\" in a second would cut off clients that are only far away";
            self.wrong(&at("min-data-rate"), text);
        }
        if raw.min_deliver_by.is_some_and(|time| time.0 > DELIVER_BY_MAX) {
            self.wrong(&at("min-deliver-by"), "RFC 2852 §3 has nine digits of seconds for it: \"11574d\" at most");
        }
        for (name, _) in counts.into_iter().filter(|(_, count)| *count == Some(0)) {
            self.wrong(&at(name), "0 would let nobody in; leave the key out for the default");
        }
    }

    fn listener_domains(
        &mut self,
        at: &dyn Fn(&str) -> String,
        written: Option<Vec<String>>,
        known: &[Domain],
    ) -> Option<Vec<String>> {
        let names = written?;
        if names.is_empty() {
            self.wrong(&at("domains"), "the list is empty; leave the key out for all domains");
        }
        for (number, name) in names.iter().enumerate() {
            if !known.iter().any(|domain| domain.name.eq_ignore_ascii_case(name)) {
                let text = format!("there is no [[domain]] with the name {name:?}");
                self.wrong(&at(&format!("domains[{number}]")), text);
            }
        }
        Some(names)
    }

    fn hold_max(
        &mut self,
        at: &dyn Fn(&str) -> String,
        written: Option<raw::Span>,
        is_submission: bool,
    ) -> Option<Duration> {
        let hold_max = written?.0;
        if !is_submission {
            // RFC 4865 §3.
            self.warn(&at("max-hold"), "only a listener of kind \"submission\" holds mail back; not offered here");
        }
        if !(HOLD_MIN..=HOLD_MAX).contains(&hold_max) {
            self.wrong(&at("max-hold"), "expected \"1s\" to \"365d\"");
        }
        Some(hold_max)
    }

    fn hard_max(&mut self, at: &dyn Fn(&str) -> String, raw: &raw::Listener) -> Option<u64> {
        let hard_max = raw.hard_max_message_size.map(|size| size.0);
        let usual = raw.max_message_size.map_or(limits::MESSAGE_BYTES_DEFAULT, |size| size.0);
        if hard_max.is_some_and(|hard_max| hard_max < usual) {
            self.wrong(&at("hard-max-message-size"), "less than `max-message-size`, which it is to extend");
        }
        hard_max
    }

    fn extensions(&mut self, at: &dyn Fn(&str) -> String, off: &[String]) -> Extensions {
        let mut extensions = Extensions::default();
        for (number, name) in off.iter().enumerate() {
            match name.to_ascii_uppercase().as_str() {
                "CHUNKING" => extensions.chunking = false,
                "BINARYMIME" => extensions.binarymime = false,
                "SMTPUTF8" => extensions.smtputf8 = false,
                "LIMITS" => extensions.limits = false,
                "REQUIRETLS" => extensions.requiretls = false,
                "DELIVERBY" => extensions.deliverby = false,
                "MT-PRIORITY" => extensions.mt_priority = false,
                "PRDR" => extensions.prdr = false,
                _ => {
                    let known = "CHUNKING, BINARYMIME, SMTPUTF8, LIMITS, REQUIRETLS, DELIVERBY, MT-PRIORITY or PRDR";
                    self.wrong(&at(&format!("extensions-off[{number}]")), format!("expected {known}, found {name:?}"));
                }
            }
        }
        extensions
    }

    fn listener_tls(
        &mut self,
        at: &dyn Fn(&str) -> String,
        raw: &raw::Listener,
        known: &[CertificateFiles],
    ) -> ListenerTls {
        let usual = if known.is_empty() { "off" } else { "starttls" };
        let mode = match raw.tls.as_deref().unwrap_or(usual) {
            "off" => TlsMode::Off,
            "starttls" => TlsMode::StartTls,
            "required" => TlsMode::Required,
            "implicit" => TlsMode::Implicit,
            other => {
                let text = format!("expected \"off\", \"starttls\", \"required\" or \"implicit\", found {other:?}");
                self.wrong(&at("tls"), text);
                TlsMode::Off
            }
        };
        let mut certificates = Vec::new();
        for (number, name) in raw.certificates.iter().flatten().enumerate() {
            match known.iter().position(|certificate| certificate.name == *name) {
                Some(place) => certificates.push(place),
                None => {
                    let key = at(&format!("certificates[{number}]"));
                    self.wrong(&key, format!("there is no [[certificate]] with the name {name:?}"));
                }
            }
        }
        if raw.certificates.is_none() {
            certificates = (0..known.len()).collect();
        }
        if mode != TlsMode::Off && certificates.is_empty() {
            self.wrong(&at("tls"), "TLS needs a certificate; add [[certificate]] (`basin tls self-signed` makes one)");
        }
        let is_required = raw.require_client_certificate.unwrap_or(false);
        let authorities = raw.client_ca.as_ref().map(|file| self.folder.join(file));
        if is_required && authorities.is_none() {
            self.wrong(&at("require-client-certificate"), "it needs `client-ca`, which says whose certificates count");
        }
        let clients = authorities.map(|authorities| ClientCertificates { authorities, is_required });
        ListenerTls { mode, certificates, clients }
    }

    fn listener_auth(
        &mut self,
        at: &dyn Fn(&str) -> String,
        raw: &raw::Listener,
        common: &Common<'_>,
        tls: &ListenerTls,
        address: Option<SocketAddr>,
        is_submission: bool,
    ) -> Option<ListenerAuth> {
        let own = raw.users_file.as_ref().map(|file| self.folder.join(file));
        let users = own.or_else(|| common.users.clone());
        let usual = is_submission || raw.users_file.is_some();
        let (is_on, is_required) = match &raw.auth {
            None => (usual, is_submission),
            Some(raw::Switch::Is(is_on)) => (*is_on, is_submission),
            Some(raw::Switch::Word(word)) => {
                if word != "required" {
                    self.wrong(&at("auth"), format!("expected true, false or \"required\", found {word:?}"));
                }
                (true, true)
            }
        };
        if !is_on && is_submission {
            let text = "nobody could send: a listener of kind \"submission\" takes mail from those who logged in alone";
            self.wrong(&at("auth"), text);
        }
        if !is_on {
            return None;
        }
        let mut mechanisms = Vec::new();
        for (number, name) in raw.auth_mechanisms.iter().flatten().enumerate() {
            match Mechanism::parse(name) {
                Some(mechanism) => mechanisms.push(mechanism),
                None => {
                    let known: Vec<&str> = Mechanism::ALL.iter().map(|mechanism| mechanism.name()).collect();
                    let text = format!("expected {}, found {name:?}; a sink brings any other", known.join(", "));
                    self.wrong(&at(&format!("auth-mechanisms[{number}]")), text);
                }
            }
        }
        if raw.auth_mechanisms.is_none() && users.is_some() {
            mechanisms = Mechanism::ALL.to_vec();
        }
        if users.is_none() && !mechanisms.is_empty() {
            self.wrong(&at("auth-mechanisms"), "they need users; set `users-file` here or in [auth]");
        } else if users.is_none() {
            self.warn(&at("auth"), "there is no `users-file`, so nobody can log in but whom a sink knows");
        }
        let needs_tls = !raw.auth_without_tls.unwrap_or(false);
        if !needs_tls && address.is_some_and(|address| !address.ip().is_loopback()) {
            self.wrong(&at("auth-without-tls"), "passwords would cross the network in the open; only on loopback");
        }
        if needs_tls && tls.mode == TlsMode::Off {
            self.wrong(&at("auth"), "logins need TLS, and this listener has none; add [[certificate]] and `tls`");
        }
        let attempts_max = raw.max_login_attempts.unwrap_or(limits::AUTH_ATTEMPTS_MAX);
        if attempts_max == 0 {
            self.wrong(&at("max-login-attempts"), "0 would let nobody log in; leave the key out for the default");
        }
        Some(ListenerAuth { is_required, mechanisms, needs_tls, attempts_max, users })
    }

    fn listener_host_name(&mut self, at: &dyn Fn(&str) -> String, written: Option<String>) -> Option<String> {
        if let Some(name) = &written
            && check_domain(name).is_err()
        {
            self.wrong(&at("host-name"), format!("{name:?} is no domain name; write one such as \"mail.example.org\""));
        }
        written
    }

    fn banner(&mut self, at: &dyn Fn(&str) -> String, written: Option<String>) -> String {
        let is_plain = |text: &str| text.len() <= BANNER_BYTES_MAX && text.bytes().all(|o| (b' '..=b'~').contains(&o));
        if written.as_ref().is_some_and(|text| !is_plain(text)) {
            self.wrong(&at("banner"), format!("expected at most {BANNER_BYTES_MAX} printable ASCII characters"));
        }
        written.unwrap_or_else(|| BANNER.to_owned())
    }

    fn greet_delay(&mut self, at: &dyn Fn(&str) -> String, written: Option<raw::Span>) -> Duration {
        let delay = written.map_or(Duration::ZERO, |span| span.0);
        if delay > GREET_DELAY_MAX {
            self.wrong(&at("greet-delay"), "more than \"60s\": clients would give up before they are greeted");
        }
        delay
    }

    fn prefixes(&mut self, at: &dyn Fn(&str) -> String, v4: Option<u8>, v6: Option<u8>) -> Prefixes {
        let usual = Prefixes::default();
        let prefixes = Prefixes { v4: v4.unwrap_or(usual.v4), v6: v6.unwrap_or(usual.v6) };
        if !(8..=32).contains(&prefixes.v4) {
            self.wrong(&at("client-prefix-ipv4"), "expected 8 to 32");
        }
        if !(16..=128).contains(&prefixes.v6) {
            self.wrong(&at("client-prefix-ipv6"), "expected 16 to 128");
        }
        prefixes
    }

    // Networks whose word is taken for who a client is.
    fn trusted(&mut self, key: &str, written: &[String]) -> Vec<Network> {
        let mut networks = Vec::new();
        for (number, text) in written.iter().enumerate() {
            let key = format!("{key}[{number}]");
            match Network::parse(text) {
                Some(everybody) if everybody.is_everybody() => {
                    self.wrong(&key, format!("{text:?} is everybody, and anybody could claim to be any client"));
                }
                Some(network) => networks.push(network),
                None => self.wrong(&key, format!("expected 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32, found {text:?}")),
            }
        }
        networks
    }
}

// Whether the second of two sockets could not be bound: all addresses of the machine take in each of them, and those of
// IPv6 those of IPv4 as well.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let takes_in = |all: SocketAddr, single: SocketAddr| {
        all.ip() == single.ip() || all.ip().is_unspecified() && (all.is_ipv6() || single.is_ipv4())
    };
    one.port() == other.port() && one.port() > 0 && (takes_in(one, other) || takes_in(other, one))
}
