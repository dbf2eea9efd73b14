//! One message to one destination, as the schedule knows it.

use std::sync::Arc;

use crate::mail::MessageId;
use crate::time::Timestamp;
use crate::transport::Destination;

/// The recipients of one message that lie at one destination and are due together.
///
/// A few hundred octets, whatever the size of the message: what is due is loaded from the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The message.
    pub message: MessageId,
    /// Where it goes.
    pub destination: Destination,
    /// Whose turn it is among those who send there: the sender's address without its tag, empty for the null sender.
    pub sender: Arc<str>,
    /// Higher ones leave earlier; 0 is normal (RFC 6710: -9 to 9).
    pub priority: i32,
    /// Octets of the message.
    pub size: u64,
    /// Recipients there.
    pub recipients: u32,
    /// Not before this time.
    pub due: Timestamp,
    /// When its sender is told that it is late, where that is to come.
    pub tell_delay: Option<Timestamp>,
    /// When it fails if it did not leave before.
    pub expires: Timestamp,
}
