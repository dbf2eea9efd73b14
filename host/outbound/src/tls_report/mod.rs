//! TLS reporting: how connections to a domain's servers went, counted by day, told to the domain (RFC 8460).

mod ledger;
mod report;
mod send;
#[cfg(test)]
mod tests;

use core::net::IpAddr;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::dane::Tlsa;
use crate::mta_sts::{Mode, Policy};
use ledger::Ledger;
pub use report::ReportMaker;
pub use send::TlsReporter;

/// Seconds of a day.
const DAY_SECONDS: u64 = 86_400;

/// Kinds of results that are counted in memory between two writes. Past it they are written at once.
const COUNTED_MAX: usize = 4_096;

/// Longest reason that is kept, in octets.
const REASON_BYTES_MAX: usize = 200;

/// Where results are kept, and of how many domains.
#[derive(Debug, Clone)]
pub struct TlsReportOptions {
    /// Directory of the day's files; it must exist.
    pub directory: PathBuf,
    /// Domains of one day; connections to further ones are not counted.
    pub domains_max: usize,
    /// Octets of one day's file; what comes after is not counted.
    pub file_bytes_max: u64,
}

impl TlsReportOptions {
    /// The usual bounds, with that directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, domains_max: 10_000, file_bytes_max: 64 * 1_024 * 1_024 }
    }
}

/// What went wrong (RFC 8460 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The server does not offer STARTTLS.
    StarttlsNotSupported,
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// It has run out.
    CertificateExpired,
    /// No trusted authority gave it.
    CertificateNotTrusted,
    /// Anything else.
    ValidationFailure,
    /// No TLSA record names it.
    TlsaInvalid,
    /// The TLSA records cannot be had, or are forged.
    DnssecInvalid,
    /// The MTA-STS policy cannot be had.
    StsPolicyFetchError,
    /// It is none that is understood.
    StsPolicyInvalid,
    /// The certificate of its web server is not valid.
    StsWebpkiInvalid,
}

/// Why a connection failed, or would have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The kind.
    pub kind: Kind,
    /// More about it, for people.
    pub reason: String,
}

impl Failure {
    /// A failure; the reason is cut to a bounded length.
    pub fn new(kind: Kind, reason: impl Into<String>) -> Self {
        let reason: String = reason.into();
        let reason = reason.chars().map(|it| if (' '..='~').contains(&it) { it } else { '?' });
        Self { kind, reason: reason.take(REASON_BYTES_MAX).collect() }
    }

    /// What a failed handshake, or a certificate with a flaw, is in a report.
    pub fn of_tls(error: &rustls::Error, is_dane: bool) -> Self {
        use rustls::CertificateError as Why;
        let why = if let rustls::Error::InvalidCertificate(why) = error { Some(why) } else { None };
        let kind = if matches!(why, Some(Why::NotValidForName | Why::NotValidForNameContext { .. })) {
            Kind::CertificateHostMismatch
        } else if matches!(why, Some(Why::Expired | Why::ExpiredContext { .. })) {
            Kind::CertificateExpired
        } else if why.is_some() && is_dane {
            Kind::TlsaInvalid
        } else if why.is_some() {
            Kind::CertificateNotTrusted
        } else {
            Kind::ValidationFailure
        };
        Self::new(kind, error.to_string())
    }

    /// What an error of a whole handshake is in a report.
    pub fn of_handshake(error: &io::Error, is_dane: bool) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Self::of_tls(tls, is_dane),
            None => Self::new(Kind::ValidationFailure, error.to_string()),
        }
    }
}

/// Which policy a connection was made under, as reports tell it (RFC 8460 §4.4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyFacts {
    /// `tlsa`, `sts` or `no-policy-found`.
    #[serde(rename = "policy-type")]
    kind: String,
    /// Its lines or records.
    #[serde(rename = "policy-string", default, skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
    /// The domain; empty where no domain has a say, and nothing is counted.
    #[serde(rename = "policy-domain")]
    domain: String,
    /// The exchangers of an MTA-STS policy.
    #[serde(rename = "mx-host", default, skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<String>,
    #[serde(skip)]
    is_demand: bool,
}

impl PolicyFacts {
    pub(crate) fn new(domain: Option<&str>, tlsa: Option<&Tlsa>, mta_sts: Option<&Policy>) -> Self {
        let (kind, lines, patterns, is_demand) = match (tlsa, mta_sts) {
            (Some(tlsa), _) => ("tlsa", tlsa.text.clone(), Vec::new(), true),
            (None, Some(policy)) => {
                ("sts", policy.lines.clone(), policy.patterns.clone(), policy.mode == Mode::Enforce)
            }
            (None, None) => ("no-policy-found", Vec::new(), Vec::new(), false),
        };
        Self { kind: kind.to_owned(), lines, domain: domain.unwrap_or_default().to_owned(), patterns, is_demand }
    }

    /// TLSA records that could not be had.
    pub(crate) fn tlsa_unknown(domain: Option<&str>) -> Self {
        let domain = domain.unwrap_or_default().to_owned();
        Self { kind: "tlsa".to_owned(), domain, is_demand: true, ..Self::default() }
    }

    /// An MTA-STS policy that could not be had.
    pub(crate) fn sts_unknown(domain: &str) -> Self {
        Self { kind: "sts".to_owned(), domain: domain.to_owned(), ..Self::default() }
    }

    /// The policy that needs TLS, for people; `None` where it is the route.
    pub(crate) fn reason(&self) -> Option<String> {
        let name = if self.is_dane() { "DANE" } else { "MTA-STS" };
        let domain = if self.domain.is_empty() { String::new() } else { format!(" of {}", self.domain) };
        self.is_demand.then(|| format!("{name}{domain}"))
    }

    /// Whether the domain has a policy at all.
    pub(crate) fn is_policy(&self) -> bool {
        self.kind != "no-policy-found"
    }

    /// Whether TLSA records have the say.
    pub(crate) fn is_dane(&self) -> bool {
        self.kind == "tlsa"
    }
}

/// One kind of result, as it is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Entry {
    policy: PolicyFacts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Detail>,
}

/// A failure with its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Detail {
    result_type: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    receiving_mx_hostname: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    failure_reason_code: String,
}

/// Counts results and keeps them in one file for each day (UTC), which only grows: a crash loses what was counted
/// since the last [`TlsReports::flush`].
pub struct TlsReports {
    ledger: Ledger,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    day: u64,
    results: HashMap<Entry, u64>,
}

impl TlsReports {
    /// Makes one over a directory.
    pub fn new(options: TlsReportOptions) -> Self {
        Self { ledger: Ledger::new(options), counted: Mutex::default() }
    }

    /// Counts a connection to one of a domain's servers.
    pub(crate) fn note(&self, policy: &PolicyFacts, host: &str, source: Option<IpAddr>, result: Result<(), Failure>) {
        self.note_on(today(), policy, host, source, result);
    }

    fn note_on(&self, day: u64, policy: &PolicyFacts, host: &str, source: Option<IpAddr>, result: Result<(), Failure>) {
        if policy.domain.is_empty() {
            return;
        }
        let failure = result.err().map(|failure| Detail {
            result_type: failure.kind,
            sending_mta_ip: source,
            receiving_mx_hostname: host.to_owned(),
            failure_reason_code: failure.reason,
        });
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.day != day || counted.results.len() >= COUNTED_MAX {
            self.write(&mut counted);
            counted.day = day;
        }
        *counted.results.entry(Entry { policy: policy.clone(), failure }).or_default() += 1;
    }

    /// Writes what was counted; to be called every minute or so and at the end. It blocks for a short write.
    pub fn flush(&self) {
        self.write(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn write(&self, counted: &mut Counted) {
        let results = core::mem::take(&mut counted.results);
        if let Err(error) = self.ledger.append(counted.day, &results) {
            tracing::warn!(%error, results = results.len(), "cannot keep results for TLS reports");
        }
    }
}

impl Drop for TlsReports {
    fn drop(&mut self) {
        self.flush();
    }
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY_SECONDS
}
