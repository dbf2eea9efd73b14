//! The configuration as it is written: structure and units, no meaning yet.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Error, Unexpected, Visitor};

/// The file `basin.toml`. What is `None` was not written and has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) host_name: Option<String>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) postmaster: Option<String>,
    pub(super) spool: Spool,
    pub(super) registry: Registry,
    pub(super) maildir: Maildir,
    pub(super) admin: Admin,
    pub(super) listener: Vec<Listener>,
    pub(super) certificate: Vec<Certificate>,
    pub(super) auth: Auth,
    pub(super) sender: Vec<Sender>,
    pub(super) domain: Vec<Domain>,
    pub(super) aliases: BTreeMap<String, OneOrMany>,
    pub(super) relay: Relay,
    pub(super) queue: Queue,
    pub(super) outbound: Outbound,
    pub(super) source: Vec<Source>,
    pub(super) route: Vec<Route>,
    pub(super) credentials: Vec<Credentials>,
    pub(super) dns: Dns,
    pub(super) tls: Tls,
    pub(super) dkim: Vec<Dkim>,
    pub(super) arc: Arc,
    pub(super) message_auth: MessageAuth,
    pub(super) pickup: Pickup,
    pub(super) limits: Limits,
    pub(super) log: Log,
    pub(super) tracking: Journal,
    pub(super) audit: Journal,
}

/// `[spool]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Spool {
    pub(super) directory: Option<String>,
}

/// `[registry]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Registry {
    pub(super) directory: Option<String>,
    pub(super) cache: Option<String>,
}

/// `[maildir]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Maildir {
    pub(super) directory: Option<String>,
}

/// `[admin]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Admin {
    pub(super) address: Option<String>,
}

/// `[[listener]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Listener {
    pub(super) name: Option<String>,
    pub(super) address: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) host_name: Option<String>,
    pub(super) banner: Option<String>,
    pub(super) tls: Option<String>,
    pub(super) certificates: Option<Vec<String>>,
    pub(super) client_ca: Option<String>,
    pub(super) require_client_certificate: Option<bool>,
    pub(super) domains: Option<Vec<String>>,
    pub(super) auth: Option<Switch>,
    pub(super) auth_mechanisms: Option<Vec<String>>,
    pub(super) auth_without_tls: Option<bool>,
    pub(super) users_file: Option<String>,
    pub(super) max_login_attempts: Option<u32>,
    pub(super) relay_clients: Option<Vec<String>>,
    pub(super) proxy_protocol: Vec<String>,
    pub(super) xclient: Vec<String>,
    pub(super) greet_delay: Option<Span>,
    pub(super) client_names: Option<bool>,
    pub(super) max_message_size: Option<Octets>,
    pub(super) hard_max_message_size: Option<Octets>,
    pub(super) extensions_off: Vec<String>,
    pub(super) max_recipients: Option<usize>,
    pub(super) max_messages_per_session: Option<u32>,
    pub(super) max_hold: Option<Span>,
    pub(super) min_deliver_by: Option<Span>,
    pub(super) command_timeout: Option<Span>,
    pub(super) data_timeout: Option<Span>,
    pub(super) data_total: Option<Span>,
    pub(super) min_data_rate: Option<Octets>,
    pub(super) max_connections: Option<usize>,
    pub(super) max_connections_per_client: Option<usize>,
    pub(super) max_connections_per_minute: Option<u32>,
    pub(super) max_messages_per_minute: Option<u32>,
    pub(super) max_recipients_per_minute: Option<u32>,
    pub(super) client_prefix_ipv4: Option<u8>,
    pub(super) client_prefix_ipv6: Option<u8>,
    pub(super) max_errors: Option<u32>,
    pub(super) max_idle_commands: Option<u32>,
}

/// `[[certificate]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Certificate {
    pub(super) name: Option<String>,
    pub(super) chain_file: Option<String>,
    pub(super) key_file: Option<String>,
}

/// `[auth]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Auth {
    pub(super) users_file: Option<String>,
}

/// `[[sender]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Sender {
    pub(super) user: Option<String>,
    pub(super) addresses: Vec<String>,
}

/// `[[domain]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Domain {
    pub(super) name: Option<String>,
    pub(super) mailboxes: Vec<String>,
    pub(super) mailbox_file: Option<String>,
    pub(super) catch_all: Option<String>,
}

/// `[relay]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Relay {
    pub(super) clients: Option<Vec<String>>,
}

/// `[queue]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Queue {
    pub(super) lifetime: Option<Span>,
    pub(super) bounce_lifetime: Option<Span>,
    pub(super) delay_notice: Option<String>,
    pub(super) first_waits: Option<Vec<Span>>,
    pub(super) longest_wait: Option<Span>,
    pub(super) max_messages: Option<u64>,
}

/// `[outbound]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Outbound {
    pub(super) connections: Option<usize>,
    pub(super) connections_per_destination: Option<u32>,
    pub(super) messages_per_connection: Option<u32>,
    pub(super) messages_per_minute: Option<u32>,
    pub(super) helo_name: Option<String>,
    pub(super) source_addresses: Vec<String>,
    pub(super) tls: Option<String>,
    pub(super) chunking: Option<String>,
    pub(super) mx_port: Option<u16>,
    pub(super) connect_timeout: Option<Span>,
    pub(super) command_timeout: Option<Span>,
    pub(super) final_timeout: Option<Span>,
}

/// `[[source]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Source {
    pub(super) name: Option<String>,
    pub(super) addresses: Vec<String>,
}

/// `[[route]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Route {
    pub(super) name: Option<String>,
    pub(super) domains: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) protocol: Option<String>,
    pub(super) tls: Option<String>,
    pub(super) implicit_tls: Option<bool>,
    pub(super) credentials: Option<String>,
    pub(super) source: Option<String>,
    pub(super) connections: Option<u32>,
    pub(super) messages_per_connection: Option<u32>,
    pub(super) messages_per_minute: Option<u32>,
}

/// `[[credentials]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Credentials {
    pub(super) name: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<String>,
}

/// `[dns]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Dns {
    pub(super) servers: Vec<String>,
    pub(super) dnssec: Option<bool>,
    pub(super) trust_anchor: Option<String>,
}

/// `[tls]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Tls {
    pub(super) roots: Option<String>,
    pub(super) dane: Option<bool>,
    pub(super) mta_sts: Option<bool>,
    pub(super) reports_from: Option<String>,
}

/// `[limits]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Limits {
    pub(super) sink_calls: Option<usize>,
    pub(super) sink_time_per_transaction: Option<Span>,
    pub(super) compile_time: Option<Span>,
    pub(super) compile_memory: Option<Octets>,
    pub(super) waiting_notices: Option<usize>,
    pub(super) deliveries: Option<usize>,
    pub(super) drain_time: Option<Span>,
}

/// `[[dkim]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Dkim {
    pub(super) domain: Option<String>,
    pub(super) selector: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) headers: Option<Vec<String>>,
    pub(super) canonicalization: Option<String>,
    pub(super) expires_after: Option<Span>,
    pub(super) subdomains: Option<bool>,
}

/// `[arc]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Arc {
    pub(super) domain: Option<String>,
    pub(super) selector: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) headers: Option<Vec<String>>,
}

/// `[message-auth]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct MessageAuth {
    pub(super) authserv_id: Option<String>,
    pub(super) check: Option<String>,
    pub(super) max_time: Option<Span>,
    pub(super) trusted: Vec<String>,
}

/// `[pickup]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Pickup {
    pub(super) directory: Option<String>,
    pub(super) max_message_size: Option<Octets>,
    pub(super) max_recipients: Option<usize>,
}

/// `[log]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Log {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}

/// `[tracking]` and `[audit]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Journal {
    pub(super) enabled: Option<bool>,
    pub(super) directory: Option<String>,
    pub(super) days: Option<u32>,
    pub(super) max_size: Option<Octets>,
}

/// Yes, no, or a word that says more.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "write true, false or \"required\"")]
pub(super) enum Switch {
    Is(bool),
    Word(String),
}

/// A text or a list of texts.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "write \"user@domain\" or [\"a@domain\", \"b@domain\"]")]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => core::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// A time with its unit: "250ms", "30s", "5m", "1h", "2d".
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

/// A size with its unit: "512B", "64KiB", "25MiB", "1GiB".
#[derive(Debug, Clone, Copy)]
pub(super) struct Octets(pub(super) u64);

const TIME_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("KB", 1_000), ("MB", 1_000_000)];

impl Span {
    /// Reads a time outside of TOML, for keys that take a word as well.
    pub(super) fn parse(text: &str) -> Option<Self> {
        quantity(text, TIME_UNITS).map(|milliseconds| Self(Duration::from_millis(milliseconds)))
    }
}

// Number and unit out of "25MiB"; `None` where the text is anything else or the product overflows.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

struct QuantityVisitor {
    units: &'static [(&'static str, u64)],
    expecting: &'static str,
}

impl Visitor<'_> for QuantityVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        quantity(text, self.units).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a time with its unit, such as \"30s\" (units: ms, s, m, h, d)";
        let milliseconds = deserializer.deserialize_str(QuantityVisitor { units: TIME_UNITS, expecting })?;
        Ok(Self(Duration::from_millis(milliseconds)))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a size with its unit, such as \"25MiB\" (units: B, KiB, MiB, GiB, KB, MB)";
        Ok(Self(deserializer.deserialize_str(QuantityVisitor { units: SIZE_UNITS, expecting })?))
    }
}

/// Writes a time the way the configuration has it, in the largest unit that is exact.
pub(super) fn write_time(time: Duration) -> String {
    write_quantity(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), TIME_UNITS)
}

/// Writes a size the way the configuration has it, in the largest binary unit that is exact.
pub(super) fn write_size(octets: u64) -> String {
    write_quantity(octets, SIZE_UNITS.get(..4).unwrap_or_default())
}

fn write_quantity(value: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().rev().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    match exact {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => format!("{value}{}", units.first().map_or("", |(unit, _)| unit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_a_number_and_a_unit() {
        assert_eq!(quantity("30s", TIME_UNITS), Some(30_000));
        assert_eq!(quantity("5 m", TIME_UNITS), Some(300_000));
        assert_eq!(quantity("25MiB", SIZE_UNITS), Some(26_214_400));
        for bad in ["", "30", "s", "-1s", "1.5s", "30sec", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(quantity(bad, TIME_UNITS), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for time in [0, 1, 250, 1_000, 90_000, 3_600_000, 86_400_000] {
            assert_eq!(quantity(&write_time(Duration::from_millis(time)), TIME_UNITS), Some(time));
        }
        for size in [0, 1, 1_000, 1_024, 26_214_400] {
            assert_eq!(quantity(&write_size(size), SIZE_UNITS), Some(size));
        }
        assert_eq!(write_size(26_214_400), "25MiB");
        assert_eq!(write_time(Duration::from_secs(90)), "90s");
    }
}
