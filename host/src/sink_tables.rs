//! The tables of sinks, as the rest of the server uses them.

use core::future::Future;
use std::path::Path;

use basin_core::event::TableEdits;
use basin_core::event::receipt::receipts_of;
use basin_core::mail::MessageId;
use basin_core::time::Timestamp;
use basin_state::{Committed, StateError, Tables};
use tokio::sync::oneshot;

use crate::clock::now;

/// Name of the file, in the directory of the spool.
pub(crate) const FILE_NAME: &str = "sink-state.redb";

/// The tables, or why there are none. A server takes and delivers mail without them: sinks that need theirs are
/// told `unavailable`.
#[derive(Clone)]
pub struct SinkTables(Result<Tables, StateError>);

/// Seconds since 1970, as the tables count them.
pub(crate) fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.seconds).unwrap_or(0)
}

impl SinkTables {
    /// Opens the file in a directory; a failure is logged and told to every sink that asks.
    pub fn open(directory: &Path) -> Self {
        let path = directory.join(FILE_NAME);
        let opened = Tables::open(&path, || seconds(now()));
        if let Err(error) = &opened {
            let path = path.display();
            tracing::error!(%path, %error, "sinks have no state; move the file away to begin with an empty one");
        }
        Self(opened)
    }

    /// No tables, for servers that are none.
    pub fn none() -> Self {
        Self(Err(StateError::Unavailable("this server keeps none".to_owned())))
    }

    /// The tables.
    pub fn get(&self) -> Result<&Tables, StateError> {
        self.0.as_ref().map_err(Clone::clone)
    }

    /// Adds to a number.
    pub(crate) fn increment(
        &self,
        sink: &str,
        key: &str,
        (by, life): (i64, u32),
        at: Timestamp,
    ) -> impl Future<Output = Result<i64, StateError>> + Send + use<> {
        let (done, sum) = oneshot::channel();
        let handed = self.get().map(|tables| {
            // Whoever waited may be gone; the sum is written all the same.
            tables.increment(sink, key, (by, life), seconds(at), move |sum| drop(done.send(sum)));
        });
        async move { handed.and(sum.await.unwrap_or_else(|_| Err(given_up()))) }
    }

    /// Writes what a decided chain set; it is on disk, or none of it, when this returns. `raising` is the key of its
    /// receipt, where its event has one.
    pub(crate) async fn commit(&self, edits: &TableEdits, raising: Option<&str>) -> Result<Committed, StateError> {
        let (done, committed) = oneshot::channel();
        self.get()?.commit(edits.clone(), raising, seconds(now()), move |committed| drop(done.send(committed)));
        committed.await.unwrap_or_else(|_| Err(given_up()))
    }

    /// Takes back what an event set that is raised again because no record knows that it has passed.
    ///
    /// # Errors
    /// It is still there.
    pub(crate) async fn take_back(&self, raising: &str) -> Result<(), StateError> {
        // Without tables nothing was ever set, and nothing will be.
        let Some(tables) = self.get().ok().filter(|tables| tables.is_raised(raising)) else { return Ok(()) };
        let (done, taken_back) = oneshot::channel();
        tables.take_back(raising, seconds(now()), move |result| drop(done.send(result)));
        taken_back.await.unwrap_or_else(|_| Err(given_up()))
    }

    /// A record of the message is on disk which knows what its events came to, but for those of these keys.
    pub(crate) fn recorded(&self, message: &MessageId, unrecorded: &[String]) {
        if let Ok(tables) = self.get() {
            tables.forget(&receipts_of(message), unrecorded);
        }
    }

    /// A message was removed. What its events set is forgotten a little later: a power cut may bring it back.
    pub(crate) fn left(&self, message: &MessageId) {
        if let Ok(tables) = self.get() {
            tables.forget_later(&receipts_of(message), seconds(now()));
        }
    }

    /// Forgets what events set whose messages are gone: a crash came before it was forgotten with them.
    pub(crate) fn forget_gone(&self, is_there: impl Fn(&MessageId) -> bool) {
        let Ok(tables) = self.get() else { return };
        let ids = tables.raised_by().into_iter().filter_map(|by| MessageId::parse(&by));
        ids.filter(|id| !is_there(id)).for_each(|id| tables.forget(&receipts_of(&id), &[]));
    }
}

fn given_up() -> StateError {
    StateError::Unavailable("the server is stopping".to_owned())
}
