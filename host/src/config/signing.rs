//! Signatures and the pickup directory as they are meant.

use core::time::Duration;
use std::path::PathBuf;

use basin_outbound::sign::{Canonicalization, HeaderList};

/// One key of one domain. The key itself is read from its file by who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimKey {
    /// The signing domain, in lower case.
    pub domain: String,
    /// The selector.
    pub selector: String,
    /// Where the private key is.
    pub file: PathBuf,
    /// What is signed.
    pub headers: HeaderList,
    /// Canonicalisation of header and body.
    pub canonicalization: (Canonicalization, Canonicalization),
    /// How long a signature holds.
    pub expires_after: Option<Duration>,
    /// Whether it signs for authors in domains below its own.
    pub covers_subdomains: bool,
}

/// The key that seals mail which is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArcKey {
    /// The sealing domain, in lower case.
    pub domain: String,
    /// The selector.
    pub selector: String,
    /// Where the private key is.
    pub file: PathBuf,
    /// What is signed.
    pub headers: HeaderList,
}

/// The pickup directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pickup {
    /// Where files are taken from.
    pub directory: PathBuf,
    /// Largest message.
    pub message_bytes_max: u64,
    /// Most recipients of one message.
    pub recipients_max: usize,
}
