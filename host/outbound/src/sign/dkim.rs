//! DKIM signatures (RFC 6376).

use core::time::Duration;
use std::sync::Arc;

use basin_core::mail::{Field, HeaderBlock};
use basin_core::time::Timestamp;
use bytes::Bytes;
use mail_auth::common::crypto::{HashAlgorithm, SigningKey as _};
use mail_auth::common::headers::{Writable, Writer};
use mail_auth::dkim::Signature;
use thiserror::Error;

use super::body::Way;
use super::key::SigningKey;
use super::signer::SignError;

/// How header and body are brought into one form before they are hashed (RFC 6376 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Canonicalization {
    /// White space may change on the way.
    #[default]
    Relaxed,
    /// Nothing may change.
    Simple,
}

impl From<Canonicalization> for mail_auth::dkim::Canonicalization {
    fn from(canonicalization: Canonicalization) -> Self {
        match canonicalization {
            Canonicalization::Relaxed => Self::Relaxed,
            Canonicalization::Simple => Self::Simple,
        }
    }
}

/// Fields that are signed where they are there (RFC 6376 §5.4.1).
const SIGNED: &[&str] = &[
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Resent-From",
    "Resent-To",
    "Resent-Date",
    "Resent-Message-ID",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Auto-Submitted",
];

/// Fields of which nobody may add one more (RFC 6376 §8.15): what a reader shows or a program acts on. Sender, Resent
/// and List fields are not among them, because mailing lists rightly add them.
const SEALED: &[&str] = &[
    "From",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// Fields that servers on the way add or change, so that no signature should cover them (RFC 6376 §5.4.1).
const NEVER: &[&str] = &[
    "Received",
    "Return-Path",
    "DKIM-Signature",
    "Authentication-Results",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
    "Delivered-To",
    "Bcc",
];

/// Why a list of fields cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderListError {
    /// From has to be signed (RFC 6376 §5.4).
    #[error("`From` must be in the list (RFC 6376 §5.4)")]
    NoFrom,
    /// That is no name of a field.
    #[error("{0:?} is no name of a header field")]
    Name(String),
    /// Servers on the way change that one.
    #[error("{0:?} is changed on the way, so that the signature would break")]
    Changes(String),
}

/// Which fields a signature covers, and of which it says that there is no further one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderList {
    names: Vec<String>,
    sealed: Vec<String>,
}

impl Default for HeaderList {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self { names: owned(SIGNED), sealed: owned(SEALED) }
    }
}

impl HeaderList {
    /// The list with the names given in place of the usual ones. Those of them that are sealed by default stay so.
    ///
    /// # Errors
    /// See [`HeaderListError`].
    pub fn new(names: &[String]) -> Result<Self, HeaderListError> {
        let is_in = |list: &[&str], name: &str| list.iter().any(|known| known.eq_ignore_ascii_case(name));
        let mut unique: Vec<String> = Vec::new();
        for name in names {
            // A semicolon would end the tag.
            let is_name = !name.is_empty() && name.bytes().all(|o| o.is_ascii_graphic() && o != b':' && o != b';');
            if !is_name {
                return Err(HeaderListError::Name(name.clone()));
            }
            if is_in(NEVER, name) {
                return Err(HeaderListError::Changes(name.clone()));
            }
            if !unique.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                unique.push(name.clone());
            }
        }
        if !is_in(&unique.iter().map(String::as_str).collect::<Vec<_>>(), "From") {
            return Err(HeaderListError::NoFrom);
        }
        let sealed = unique.iter().filter(|name| is_in(SEALED, name)).cloned().collect();
        Ok(Self { names: unique, sealed })
    }

    /// Names as an ARC sealer wants them: those twice of which there may be no further field.
    pub(super) fn with_seals(&self) -> Vec<String> {
        self.names.iter().chain(&self.sealed).cloned().collect()
    }

    // The names for `h=`, and the fields that they stand for in the same order: of several of one name the last
    // comes first (RFC 6376 §5.4.2).
    fn choose<'a>(&self, header: &'a HeaderBlock) -> (Vec<String>, Vec<Parts<'a>>) {
        let (mut names, mut fields) = (Vec::new(), Vec::new());
        for name in &self.names {
            for field in header.fields().iter().rev().filter(|field| field.is(name)) {
                names.push(name.clone());
                fields.push(parts(field));
            }
            if self.sealed.contains(name) {
                names.push(name.clone());
            }
        }
        (names, fields)
    }
}

/// Name and value of a field, octet for octet.
type Parts<'a> = (&'a [u8], &'a [u8]);

fn parts(field: &Field) -> Parts<'_> {
    let raw = field.raw();
    let colon = raw.iter().position(|octet| *octet == b':').unwrap_or(raw.len());
    (raw.get(..colon).unwrap_or_default(), raw.get(colon + 1..).unwrap_or_default())
}

/// One key of one domain, and how it signs.
#[derive(Debug, Clone)]
pub struct DkimIdentity {
    /// The signing domain, `d=`, in lower case.
    pub domain: String,
    /// The selector, `s=`.
    pub selector: String,
    /// The key.
    pub key: Arc<SigningKey>,
    /// What is signed.
    pub headers: HeaderList,
    /// Canonicalisation of the header.
    pub header_canonicalization: Canonicalization,
    /// Canonicalisation of the body.
    pub body_canonicalization: Canonicalization,
    /// How long the signature holds; without it for ever.
    pub expires_after: Option<Duration>,
    /// Whether it signs for authors in domains below its own as well.
    pub covers_subdomains: bool,
}

impl DkimIdentity {
    /// The identity with the usual header list, relaxed in both canonicalisations, without expiry.
    pub fn new(domain: impl Into<String>, selector: impl Into<String>, key: Arc<SigningKey>) -> Self {
        Self {
            domain: domain.into().to_ascii_lowercase(),
            selector: selector.into(),
            key,
            headers: HeaderList::default(),
            header_canonicalization: Canonicalization::default(),
            body_canonicalization: Canonicalization::default(),
            expires_after: None,
            covers_subdomains: false,
        }
    }

    /// How it wants the body hashed.
    pub(super) fn way(&self) -> Way {
        (self.body_canonicalization.into(), HashAlgorithm::Sha256)
    }

    /// Makes the DKIM-Signature field. The same message, body hash, time and key give the same field.
    pub(super) fn sign(&self, header: &HeaderBlock, body_hash: &[u8], now: Timestamp) -> Result<Field, SignError> {
        let (names, fields) = self.headers.choose(header);
        let seconds = u64::try_from(now.seconds).unwrap_or_default();
        let key: &SigningKey = &self.key;
        let mut signature = Signature {
            v: 1,
            a: key.algorithm(),
            d: self.domain.clone(),
            s: self.selector.clone(),
            bh: body_hash.to_vec(),
            h: names,
            t: seconds,
            x: self.expires_after.map_or(0, |time| seconds.saturating_add(time.as_secs())),
            ch: self.header_canonicalization.into(),
            cb: self.body_canonicalization.into(),
            ..Signature::default()
        };
        let input = Input { fields, signature: &signature };
        signature.b = key.sign(input).map_err(|error| SignError::Crypto(error.to_string()))?;
        let mut raw = Vec::new();
        signature.write(&mut raw, true);
        one_field(raw)
    }
}

/// A field out of the text that the library wrote.
pub(super) fn one_field(raw: Vec<u8>) -> Result<Field, SignError> {
    let block = HeaderBlock::parse(&Bytes::from(raw)).map_err(SignError::Field)?;
    match block.fields() {
        [field] => Ok(field.clone()),
        _ => Err(SignError::Crypto("the library wrote something other than one field".to_owned())),
    }
}

/// What is signed: the fields chosen, then the signature's own field without its value of `b=` (RFC 6376 §3.7).
struct Input<'a> {
    fields: Vec<Parts<'a>>,
    signature: &'a Signature,
}

impl Writable for Input<'_> {
    fn write(self, writer: &mut impl Writer) {
        self.signature.ch.canonicalize_headers(self.fields.into_iter(), writer);
        self.signature.write(writer, false);
    }
}
