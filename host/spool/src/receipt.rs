//! The proof that a message is on disk.

use basin_core::mail::MessageId;
use basin_core::smtp::ProofOfStorage;

/// Proof that a message is on disk and survives a power cut.
///
/// Only the writer makes one, after the sync that covers the message; 250 after the final dot needs it.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    id: MessageId,
}

impl Receipt {
    pub(crate) fn new(id: MessageId) -> Self {
        Self { id }
    }

    /// The message that is stored.
    pub fn id(&self) -> &MessageId {
        &self.id
    }
}

impl ProofOfStorage for Receipt {
    fn id(&self) -> &MessageId {
        &self.id
    }
}
