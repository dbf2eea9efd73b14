//! TLS towards clients: certificates, the handshake, and what is known after it.
//!
//! Everything here is made of files and never changes; where a file changes, a new [`ServerTls`] takes the place of
//! the old one, and connections keep the one that they began with.

mod certificate;
mod handshake;
pub mod make;
mod x509;

pub use certificate::{Certificate, Validity};
pub use handshake::{ClientCertificates, ServerTls};

use std::path::PathBuf;

use thiserror::Error;

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file has no certificate that can be used.
    #[error("cannot use the certificate in {}: {cause}", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A file has no private key that can be used, or it is the key of another certificate.
    #[error("cannot use the key in {}: {cause}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A file has no authorities for the certificates of clients.
    #[error("cannot use the authorities in {}: {cause}", file.display())]
    Authorities {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The TLS library refuses.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}
