//! DANE: certificates that the domain name system itself names (RFC 6698, as RFC 7672 uses it for mail).

use std::sync::Arc;

use hickory_resolver::proto::rr::rdata::TLSA;
use hickory_resolver::proto::rr::{RData, RecordType};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use sha2::{Digest, Sha256, Sha512};

use crate::dns::{Exchanger, LookupError, Resolver, RouteFailure, mail_name, refusal};

/// TLSA records looked at. Each costs a hash of each certificate of a chain; two or three are usual.
const RECORDS_MAX: usize = 16;

/// Certificates of a chain that are looked at, for the same reason.
const CHAIN_MAX: usize = 16;

/// Which certificate a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// DANE-TA(2): an authority in the server's chain.
    Authority,
    /// DANE-EE(3): the server's own.
    Server,
}

/// Which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// Cert(0): all of it.
    Certificate,
    /// SPKI(1): its public key.
    PublicKey,
}

/// How the record names that part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matching {
    /// Full(0): by its octets.
    Full,
    /// SHA2-256(1).
    Sha256,
    /// SHA2-512(2).
    Sha512,
}

/// A TLSA record that can be used for mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsaRecord {
    /// Which certificate.
    pub usage: Usage,
    /// Which part of it.
    pub selector: Selector,
    /// How it is named.
    pub matching: Matching,
    /// The name: octets or a hash.
    pub data: Vec<u8>,
}

/// The TLSA records of a server, proved by DNSSEC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlsa {
    /// Where they were found; it is the server's name in TLS and in its certificate (RFC 7672 §2.2.3).
    pub base: String,
    /// Those that can be used; where there are none, TLS is still needed, with any certificate (RFC 7672 §2.2).
    pub usable: Vec<TlsaRecord>,
    /// What all of them say, for reports.
    pub text: Vec<String>,
}

/// Looks up the TLSA records of an exchanger. `None` is that it has none, or none that is proved.
///
/// # Errors
/// The records cannot be had or are forged: then nobody may talk to that server (RFC 7672 §2.2).
pub(crate) async fn find(resolver: &Resolver, host: &Exchanger, port: u16) -> Result<Option<Tlsa>, RouteFailure> {
    // An alias: the records at its end come first, then those at its own name (RFC 7672 §2.2.2).
    for base in host.canonical.iter().chain([&host.name]) {
        let Some(name) = mail_name(&format!("_{port}._tcp.{base}")) else { continue };
        match resolver.records(&name, RecordType::TLSA).await {
            Ok(answer) if answer.is_secure => {
                let records = || answer.data.iter().filter_map(tlsa).take(RECORDS_MAX);
                let usable = records().filter_map(usable).collect();
                return Ok(Some(Tlsa {
                    base: base.clone(),
                    usable,
                    text: records().map(ToString::to_string).collect(),
                }));
            }
            Ok(_) | Err(LookupError::NoName | LookupError::NoRecord) => {}
            Err(error @ (LookupError::Unproved | LookupError::Bogus | LookupError::Failed(_))) => {
                return Err(refusal(451, 7, 5, format!("DANE: cannot look up the TLSA records of {base}: {error}")));
            }
        }
    }
    Ok(None)
}

fn tlsa(record: &RData) -> Option<&TLSA> {
    if let RData::TLSA(tlsa) = record { Some(tlsa) } else { None }
}

/// A record as mail uses it; PKIX-TA(0) and PKIX-EE(1) are unusable (RFC 7672 §3.1.3), like what is not known.
fn usable(record: &TLSA) -> Option<TlsaRecord> {
    let usage = match u8::from(record.cert_usage) {
        2 => Usage::Authority,
        3 => Usage::Server,
        _ => return None,
    };
    let selector = match u8::from(record.selector) {
        0 => Selector::Certificate,
        1 => Selector::PublicKey,
        _ => return None,
    };
    let (matching, length) = match u8::from(record.matching) {
        0 => (Matching::Full, record.cert_data.len().max(1)),
        1 => (Matching::Sha256, 32),
        2 => (Matching::Sha512, 64),
        _ => return None,
    };
    let data = record.cert_data.clone();
    (data.len() == length).then_some(TlsaRecord { usage, selector, matching, data })
}

impl TlsaRecord {
    fn names(&self, certificate: &CertificateDer<'_>) -> bool {
        let part = match self.selector {
            Selector::Certificate => certificate.to_vec(),
            Selector::PublicKey => match ParsedCertificate::try_from(certificate) {
                Ok(parsed) => parsed.subject_public_key_info().to_vec(),
                Err(_) => return false,
            },
        };
        match self.matching {
            Matching::Full => self.data == part,
            Matching::Sha256 => self.data == Sha256::digest(&part).as_slice(),
            Matching::Sha512 => self.data == Sha512::digest(&part).as_slice(),
        }
    }

    /// The certificate of an authority that the record holds whole, so that the server need not send it.
    fn whole_authority(&self) -> Option<CertificateDer<'_>> {
        let is_whole = (self.selector, self.matching) == (Selector::Certificate, Matching::Full);
        (self.usage == Usage::Authority && is_whole).then(|| CertificateDer::from(self.data.as_slice()))
    }
}

/// Checks a server's chain against its usable records (RFC 7672 §3). `names` are those that its certificate may
/// have where an authority vouches for it; where the record names the server's own certificate, neither names
/// nor dates matter (§3.1.1).
pub(crate) fn check(
    records: &[TlsaRecord],
    names: &[ServerName<'static>],
    server: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    if records.iter().any(|record| record.usage == Usage::Server && record.names(server)) {
        return Ok(());
    }
    let others = others.get(..CHAIN_MAX).unwrap_or(others);
    let mut authorities = RootCertStore::empty();
    for record in records.iter().filter(|record| record.usage == Usage::Authority) {
        let sent = others.iter().filter(|certificate| record.names(certificate)).cloned();
        for authority in sent.chain(record.whole_authority()) {
            // What cannot be parsed vouches for nobody.
            drop(authorities.add(authority.into_owned()));
        }
    }
    if authorities.is_empty() {
        let why = NoMatch { records: records.len() };
        return Err(CertificateError::Other(rustls::OtherError(Arc::new(why))).into());
    }
    let parsed = ParsedCertificate::try_from(server)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, &authorities, others, now, algorithms.all)?;
    match names.iter().any(|name| verify_server_name(&parsed, name).is_ok()) {
        true => Ok(()),
        false => Err(CertificateError::NotValidForName.into()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no certificate of the server is one that its {records} TLSA records name")]
struct NoMatch {
    records: usize,
}
