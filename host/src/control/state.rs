//! What the control socket needs of the running server; the shell implements it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use basin_core::mail::MessageId;
use basin_core::time::Timestamp;
use thiserror::Error;

use crate::control::Activity;
use crate::registry::Loaded;

/// Why a message of the queue was not released or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// There is no such message; it may have been delivered meanwhile.
    #[error("there is no message {0} in the queue; it may have been delivered meanwhile")]
    Unknown(MessageId),
    /// It is being worked on; nothing changed.
    #[error("message {0} is being delivered at this moment; try again")]
    Busy(MessageId),
    /// The storage failed; nothing changed.
    #[error("cannot change message {id}: {why}")]
    Storage {
        /// The message.
        id: MessageId,
        /// What the storage said.
        why: String,
    },
}

/// A change of the queue that is under way.
pub type Changing<'a> = Pin<Box<dyn Future<Output = Result<(), ChangeError>> + Send + 'a>>;

/// The running server, as the control socket sees it.
pub trait ServerState: Send + Sync + 'static {
    /// The clock.
    fn now(&self) -> Timestamp;

    /// The registry in force.
    fn loaded(&self) -> Arc<Loaded>;

    /// What the bindings did.
    fn activity(&self) -> &Activity;

    /// The spool.
    fn spool(&self) -> &basin_spool::Spool;

    /// Releases a message: what was held goes on, what waits is tried now (`Transport::release`).
    fn release(&self, id: MessageId) -> Changing<'_>;

    /// Takes a message out of the queue for good, without a notification.
    fn delete(&self, id: MessageId) -> Changing<'_>;
}
