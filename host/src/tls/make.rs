//! A certificate that nobody vouches for: for tests and first steps.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};

use super::TlsError;

/// A certificate and its key, in PEM form.
#[derive(Debug)]
pub struct SelfSigned {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Makes a certificate for names, signed by itself: other servers encrypt with it, and prove nothing by it.
///
/// # Errors
/// A name is none, or no key can be made.
pub fn self_signed(names: &[String], year: i32, years: i32) -> Result<SelfSigned, TlsError> {
    let failed = |error: rcgen::Error| TlsError::Setup(error.to_string());
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("", String::as_str));
    params.not_before = date_time_ymd(year, 1, 1);
    params.not_after = date_time_ymd(year.saturating_add(years), 1, 1);
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(SelfSigned { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Writes a file that must not be there yet; `mode` as in chmod.
///
/// # Errors
/// It is there, or cannot be written.
pub fn write_new(file: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()
}
