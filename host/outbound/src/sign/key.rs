//! Private keys: read, made, and used; never shown.

use core::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use mail_auth::common::crypto::{Algorithm, DkimKey, Ed25519Key, RsaKey, Sha256, SigningKey as Sign};
use mail_auth::common::headers::Writable;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;

/// Size of an RSA key that `generate` makes where nobody says otherwise, in bits.
///
/// 2048 is what RFC 8301 §3.2 asks signers for. A larger key does not fit into one string of a TXT record any better
/// and costs four times the work for each message.
pub const RSA_BITS_DEFAULT: u32 = 2048;

/// Why a key cannot be used. The text never has anything of the key in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The text has no private key in PEM form.
    #[error("this is no private key in PEM form (it has no `-----BEGIN PRIVATE KEY-----`)")]
    NotPem,
    /// It is an RSA key under 2048 bits.
    #[error("this RSA key has fewer than 2048 bits, which receivers refuse more and more (RFC 8301 §3.2)")]
    TooSmall,
    /// It is a private key, but of neither kind that DKIM knows, or it is broken.
    #[error("this is neither an RSA nor an Ed25519 private key in PKCS#8 or PKCS#1 form")]
    Unusable,
    /// The size is none that can be made.
    #[error("RSA keys have 2048, 3072 or 4096 bits, not {0}")]
    Size(u32),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed to make a key")]
    Library,
}

/// Which kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA of that many bits, with SHA-256 (RFC 6376 §3.3.1). Everybody can verify it.
    Rsa(u32),
    /// Ed25519 with SHA-256 (RFC 8463). Small and quick; some receivers cannot verify it.
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA, {bits} bits"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// A private key. It can sign and give its public half; it cannot be shown, copied or written.
pub struct SigningKey {
    key: DkimKey,
    kind: KeyKind,
    /// What stands in `p=`, before base64.
    public: Vec<u8>,
}

impl SigningKey {
    /// Reads a private key in PEM form: PKCS#8, or PKCS#1 for RSA.
    ///
    /// # Errors
    /// See [`KeyError`]; RSA keys under 2048 bits are refused.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(text).map_err(|_| KeyError::NotPem)?;
        let rsa = match &der {
            PrivateKeyDer::Pkcs1(pkcs1) => RsaPair::from_der(pkcs1.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(pkcs8) => {
                if let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(pkcs8.secret_pkcs8_der()) {
                    let public = key.public_key();
                    return Ok(Self { key: key.into(), kind: KeyKind::Ed25519, public });
                }
                RsaPair::from_pkcs8(pkcs8.secret_pkcs8_der())
            }
            PrivateKeyDer::Sec1(_) | _ => return Err(KeyError::Unusable),
        };
        // The library says why by a word alone.
        let refused = |error: aws_lc_rs::error::KeyRejected| match error.to_string().as_str() {
            "TooSmall" => KeyError::TooSmall,
            _ => KeyError::Unusable,
        };
        let pair = rsa.map_err(refused)?;
        let bits = u32::try_from(pair.public_modulus_len() * 8).map_err(|_| KeyError::Unusable)?;
        let public = pair.public_key().as_der().map_err(|_| KeyError::Unusable)?.as_ref().to_vec();
        let key = RsaKey::<Sha256>::from_key_der(der).map_err(|_| KeyError::Unusable)?;
        Ok(Self { key: key.into(), kind: KeyKind::Rsa(bits), public })
    }

    /// Which kind it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public half as a record has it in `p=`, before base64: SubjectPublicKeyInfo for RSA (RFC 6376 §3.6.1), the
    /// 32 octets for Ed25519 (RFC 8463 §4.2).
    pub fn public(&self) -> &[u8] {
        &self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kind)
    }
}

impl Sign for &SigningKey {
    type Hasher = Sha256;

    fn sign(&self, input: impl Writable) -> mail_auth::Result<Vec<u8>> {
        self.key.sign(input)
    }

    fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }
}

/// Makes a key and gives it as PEM (PKCS#8), for a file that its owner alone can read.
///
/// # Errors
/// [`KeyError::Size`] and [`KeyError::Library`].
pub fn generate(kind: KeyKind) -> Result<String, KeyError> {
    let der = match kind {
        KeyKind::Ed25519 => Ed25519Key::generate_pkcs8().map_err(|_| KeyError::Library)?,
        KeyKind::Rsa(bits) => {
            let size = match bits {
                2048 => KeySize::Rsa2048,
                3072 => KeySize::Rsa3072,
                4096 => KeySize::Rsa4096,
                other => return Err(KeyError::Size(other)),
            };
            let pair = RsaPair::generate(size).map_err(|_| KeyError::Library)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Library)?;
            der.as_ref().to_vec()
        }
    };
    Ok(pem(&der))
}

// RFC 7468 §3: lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let base64 = basin_core::base64::encode(der);
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + "-----END PRIVATE KEY-----\n"
}
