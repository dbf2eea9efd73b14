//! Operations on their way to the writer.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use basin_core::mail::MessageId;

use crate::error::SpoolFault;
use crate::prepare::Prepared;
use crate::receipt::Receipt;

/// Octets that wait to be written at most. Past it the disk cannot keep up, and a client that is told to
/// come back is better than memory that fills.
const WAITING_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What is told when an operation is durable or has failed. Runs on the writer's thread.
pub(crate) type Done = Box<dyn FnOnce(Result<Receipt, SpoolFault>) + Send>;

/// One thing to do.
pub(crate) enum Operation {
    /// Store a message, unless it is there.
    Commit(Prepared),
    /// Store the newer state of a message that is there.
    Save(Prepared),
    /// Forget a message.
    Remove(MessageId),
}

impl Operation {
    pub(crate) fn id(&self) -> &MessageId {
        match self {
            Self::Commit(prepared) | Self::Save(prepared) => &prepared.id,
            Self::Remove(id) => id,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Commit(prepared) | Self::Save(prepared) => prepared.encoded.len(),
            Self::Remove(_) => 0,
        }
    }
}

/// An operation and who is told of its end.
pub(crate) struct Queued {
    pub(crate) operation: Operation,
    pub(crate) done: Done,
}

/// What the writer finds in the queue.
pub(crate) enum Taken {
    /// Everything that was there.
    Batch(Vec<Queued>),
    /// Nothing, for as long as it wanted to wait.
    Nothing,
    /// Nothing, and nothing more will come.
    Closed,
}

#[derive(Default)]
struct Waiting {
    items: Vec<Queued>,
    bytes: u64,
    is_closed: bool,
    is_writer_asleep: bool,
}

/// The queue between the callers and the writer.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an operation in, or tells it at once that it cannot be done.
    pub(crate) fn push(&self, queued: Queued) {
        let bytes = queued.operation.bytes();
        let mut waiting = self.lock();
        // Saves and removes always go in: they are what makes room.
        let is_full = matches!(queued.operation, Operation::Commit(_)) && waiting.bytes + bytes > WAITING_BYTES_MAX;
        if waiting.is_closed || is_full {
            drop(waiting);
            let fault =
                if is_full { SpoolFault::Full("too much waits to be written".into()) } else { SpoolFault::Closed };
            return (queued.done)(Err(fault));
        }
        waiting.items.push(queued);
        waiting.bytes += bytes;
        // While the writer works it looks again by itself; waking it costs a system call.
        if std::mem::take(&mut waiting.is_writer_asleep) {
            drop(waiting);
            self.changed.notify_one();
        }
    }

    /// Takes all that is there; waits for `patience` where nothing is, for ever where that is `None`.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Taken {
        let mut waiting = self.lock();
        loop {
            if !waiting.items.is_empty() {
                waiting.bytes = 0;
                return Taken::Batch(std::mem::take(&mut waiting.items));
            }
            if waiting.is_closed {
                return Taken::Closed;
            }
            waiting.is_writer_asleep = true;
            match patience {
                None => waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (again, timeout) =
                        self.changed.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner);
                    waiting = again;
                    if timeout.timed_out() && waiting.items.is_empty() && !waiting.is_closed {
                        waiting.is_writer_asleep = false;
                        return Taken::Nothing;
                    }
                }
            }
        }
    }

    /// Lets nothing more in; the writer still does what is there.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Lets nothing more in and hands out what nobody will do any more.
    pub(crate) fn abandon(&self) -> Vec<Queued> {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        std::mem::take(&mut waiting.items)
    }
}
