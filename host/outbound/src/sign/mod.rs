//! Signatures on mail that leaves: DKIM (RFC 6376, RFC 8463) for what was submitted here, ARC (RFC 8617) for what
//! came from elsewhere and goes on.
//!
//! A [`Signer`] has all keys. It gets a message as it will leave, after every edit, and says which fields to
//! put at its top. Whoever asks stores them with the message: a retry then carries the same signature, and a
//! message that was signed is not signed again. No key leaves this module but as a signature.

mod arc;
mod author;
mod body;
mod dkim;
mod key;
mod lookup;
mod record;
mod signer;

pub use arc::ArcIdentity;
pub(crate) use arc::hash as hash_bodies;
pub use dkim::{Canonicalization, DkimIdentity, HeaderList, HeaderListError};
pub use key::{KeyError, KeyKind, RSA_BITS_DEFAULT, SigningKey, generate};
pub use lookup::published;
pub use record::{PublishedKey, RecordProblem, record_name, record_text};
pub use signer::{SignError, Signed, Signer, Standing};

#[cfg(test)]
mod tests;
