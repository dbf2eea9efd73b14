//! A certificate of this server and its key.

use core::time::Duration;
use std::path::Path;
use std::sync::Arc;

use basin_core::time::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::TlsError;
use super::x509::Contents;

/// How long before its end a certificate is worth a warning. Who renews by machine does it 30 days before.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3_600);

/// Longest subject of a client's certificate that is kept, in characters. It gets into logs and trace fields.
const SUBJECT_CHARACTERS_MAX: usize = 256;

/// A certificate with its chain and key, and what stands in it.
#[derive(Debug)]
pub struct Certificate {
    /// What is shown in a handshake.
    pub(super) key: Arc<CertifiedKey>,
    /// The names that it is for, in lower case; `*.` in front stands for one label.
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    /// The binding `tls-server-end-point` (RFC 5929 §4.1); `None` where it is not defined for the signature.
    pub(super) end_point: Option<Vec<u8>>,
}

/// Whether a certificate is valid at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is, and will be for a while.
    Valid,
    /// It is, until this time, which is near.
    ExpiresSoon(Timestamp),
    /// It was, until this time.
    Expired(Timestamp),
    /// It will be, from this time on.
    NotYet(Timestamp),
}

impl Certificate {
    /// Reads a chain, the server's own certificate first, and the key of that.
    ///
    /// # Errors
    /// A file cannot be read, is not what it should be, or the two do not belong together. Times are not looked at:
    /// most mail servers take an expired certificate, and none takes none.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let bad_chain = |cause: String| TlsError::Certificate { file: chain.to_owned(), cause };
        let bad_key = |cause: String| TlsError::Key { file: key.to_owned(), cause };
        let certificates = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| bad_chain(error.to_string()))?;
        let Some(own) = certificates.first().cloned() else {
            return Err(bad_chain("it has no certificate; PEM is expected".to_owned()));
        };
        let contents = Contents::read(&own).ok_or_else(|| bad_chain("it cannot be read".to_owned()))?;
        let der = PrivateKeyDer::from_pem_file(key).map_err(|error| bad_key(error.to_string()))?;
        let certified = CertifiedKey::from_der(certificates, der, &aws_lc_rs::default_provider());
        let certified = certified.map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                return bad_key(format!("it is not the key of the certificate in {}", chain.display()));
            }
            bad_key(error.to_string())
        })?;
        let Contents { names, not_before, not_after, signature, .. } = contents;
        let end_point = end_point(&signature, &own);
        Ok(Self { key: Arc::new(certified), names, not_before, not_after, end_point })
    }

    /// Whether it is for a name.
    pub fn is_for(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(domain) => name.split_once('.').is_some_and(|(_, rest)| rest == domain),
            None => *own == name,
        })
    }

    /// The names that it is for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it is valid now.
    pub fn validity(&self, now: Timestamp) -> Validity {
        if now > self.not_after {
            Validity::Expired(self.not_after)
        } else if now < self.not_before {
            Validity::NotYet(self.not_before)
        } else if now.plus(EXPIRES_SOON) > self.not_after {
            Validity::ExpiresSoon(self.not_after)
        } else {
            Validity::Valid
        }
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// The subject of a certificate, as logs and sinks may see it; `None` where it cannot be read.
pub(super) fn subject(der: &CertificateDer<'_>) -> Option<String> {
    let text = Contents::read(der)?.subject;
    // An authority checked who it is, and hardly what characters the name is made of.
    let plain = |character: char| if character.is_control() { '?' } else { character };
    Some(text.chars().take(SUBJECT_CHARACTERS_MAX).map(plain).collect())
}

// RFC 5929 §4.1: the hash of the signature, SHA-256 in place of MD5 and SHA-1; undefined for all other signatures.
fn end_point(signature: &[u8], der: &[u8]) -> Option<Vec<u8>> {
    // The identifiers of PKCS #1 (RFC 8017) and of ECDSA (RFC 5758) differ in their last octets.
    match signature {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04 | 0x05 | 0x0b] => Some(Sha256::digest(der).to_vec()),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c] => Some(Sha384::digest(der).to_vec()),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d] => Some(Sha512::digest(der).to_vec()),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] => Some(Sha256::digest(der).to_vec()),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02] => Some(Sha256::digest(der).to_vec()),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03] => Some(Sha384::digest(der).to_vec()),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04] => Some(Sha512::digest(der).to_vec()),
        _ => None,
    }
}
