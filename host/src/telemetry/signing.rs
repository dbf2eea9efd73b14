//! What happens to signatures and to files in the pickup directory.

use std::path::Path;

use basin_core::mail::MessageId;
use tracing::{debug, error, info, warn};

/// A message that leaves was looked at by the signer.
#[derive(Debug, Clone, Copy)]
pub struct MessageSigned<'a> {
    /// The message.
    pub message: &'a MessageId,
    /// Who signed, as the names of the keys in DNS; nobody where there is no key for it.
    pub by: &'a [String],
    /// What was found about its ARC chain, or why it was not sealed.
    pub chain: Option<&'a str>,
}

impl MessageSigned<'_> {
    /// Logs it.
    pub fn record(&self) {
        let (by, chain) = (self.by.join(" "), self.chain.unwrap_or("-"));
        if self.by.is_empty() && self.chain.is_none() {
            debug!(message_id = %self.message, "message not signed: no key is for it");
        } else {
            info!(message_id = %self.message, by, chain, "message signed");
        }
    }
}

/// A message could not be signed; it waits.
#[derive(Debug, Clone, Copy)]
pub struct SigningFailed<'a> {
    /// The message.
    pub message: &'a MessageId,
    /// Why.
    pub cause: &'a str,
}

impl SigningFailed<'_> {
    /// Logs it.
    pub fn record(&self) {
        error!(message_id = %self.message, cause = self.cause, "a message cannot be signed and waits");
    }
}

/// A file became a message.
#[derive(Debug, Clone, Copy)]
pub struct FileTaken<'a> {
    /// The file.
    pub file: &'a Path,
    /// The message.
    pub message: &'a MessageId,
    /// Its size, in octets.
    pub size: u64,
}

impl FileTaken<'_> {
    /// Logs it.
    pub fn record(&self) {
        info!(file = %self.file.display(), message_id = %self.message, size = self.size, "file picked up");
    }
}

/// A file is no message and was set aside.
#[derive(Debug, Clone, Copy)]
pub struct FileRefused<'a> {
    /// The file.
    pub file: &'a Path,
    /// Where it is now.
    pub now_at: &'a Path,
    /// Why.
    pub cause: &'a str,
}

impl FileRefused<'_> {
    /// Logs it.
    pub fn record(&self) {
        let (file, now_at) = (self.file.display(), self.now_at.display());
        warn!(%file, %now_at, cause = self.cause, "file refused");
    }
}

/// A file could not be read, stored or removed; it is looked at again.
#[derive(Debug, Clone, Copy)]
pub struct PickupFailed<'a> {
    /// The file or the directory.
    pub file: &'a Path,
    /// Why.
    pub cause: &'a str,
}

impl PickupFailed<'_> {
    /// Logs it.
    pub fn record(&self) {
        error!(file = %self.file.display(), cause = self.cause, "the pickup directory is out of order");
    }
}
