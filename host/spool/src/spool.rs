//! The handle that the rest of the server holds.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use basin_core::mail::{Message, MessageId};
use basin_core::transport::State;

use crate::draft::Draft;
use crate::error::{OpenError, SpoolFault};
use crate::group::Group;
use crate::layout::Layout;
use crate::log::Log;
use crate::pin::Pin;
use crate::prepare::{self, Prepared};
use crate::queue::{Operation, Queued};
use crate::read::{find, load};
use crate::receipt::Receipt;
use crate::recover::{Recovery, Replayed, replay};
use crate::scan::{Scanned, Unreadable, scan};
use crate::shared::{Options, Shared};
use crate::statistics::{Counters, Statistics};
use crate::storage::Storage;
use crate::summary::Summary;
use crate::writer::Writer;

/// Durable storage of messages, from the final dot to the last delivery.
///
/// Cloning is cheap and all clones are one spool. The last one to go closes it.
#[derive(Clone)]
pub struct Spool {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    writing: Writing,
}

/// Who writes.
enum Writing {
    /// A thread of its own, for as long as the spool is open.
    Thread(Mutex<Option<JoinHandle<()>>>),
    /// Whoever asks, before the call returns.
    Caller(Mutex<Option<Box<Writer>>>),
}

impl Spool {
    /// Opens the spool in `directory`, making it where it is missing, and reads what is there.
    ///
    /// # Errors
    /// The directory is in use by another process, was written by a newer version, or cannot be written.
    /// Damaged mail is set aside and reported in [`Recovery`], and nothing else keeps the spool from opening.
    pub fn open(directory: &Path, options: Options, storage: Arc<dyn Storage>) -> Result<(Self, Recovery), OpenError> {
        let (shared, writer, recovery) = Self::recover(directory, options, storage)?;
        let thread = std::thread::Builder::new().name("spool-writer".into()).spawn(move || writer.run());
        let thread = thread.map_err(|source| {
            let path = PathBuf::from(directory);
            OpenError::Directory { doing: "start the writer of", path, source }
        })?;
        let writing = Writing::Thread(Mutex::new(Some(thread)));
        Ok((Self { handle: Arc::new(Handle { shared, writing }) }, recovery))
    }

    /// Opens a spool without a thread: every operation is done, synced and told before its call returns, so
    /// the same calls make the same file operations in the same order. For simulations; a server's sessions
    /// would each wait for a sync of their own. A callback must not use the spool.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn open_stepped(
        directory: &Path,
        options: Options,
        storage: Arc<dyn Storage>,
    ) -> Result<(Self, Recovery), OpenError> {
        let (shared, writer, recovery) = Self::recover(directory, options, storage)?;
        let writing = Writing::Caller(Mutex::new(Some(Box::new(writer))));
        Ok((Self { handle: Arc::new(Handle { shared, writing }) }, recovery))
    }

    fn recover(
        directory: &Path,
        options: Options,
        storage: Arc<dyn Storage>,
    ) -> Result<(Arc<Shared>, Writer, Recovery), OpenError> {
        let layout = Layout::new(directory);
        let failed = |doing, path: &Path| {
            let path = PathBuf::from(path);
            move |source| OpenError::Directory { doing, path, source }
        };
        for path in [&layout.root, &layout.segments, &layout.bodies, &layout.drafts, &layout.damaged] {
            storage.create_dir(path).map_err(failed("make directory", path))?;
        }
        storage.sync_dir(&layout.root).map_err(failed("sync directory", &layout.root))?;
        let lock = storage.lock(&layout.lock()).map_err(|error| {
            if error.kind() == std::io::ErrorKind::WouldBlock {
                OpenError::Locked { directory: layout.root.clone() }
            } else {
                failed("lock", &layout.lock())(error)
            }
        })?;
        let Replayed { index, recovery, next_segment, next_file } = replay(storage.as_ref(), &layout)?;
        let shared = Arc::new(Shared::new(storage, layout, options, index, next_file, lock));
        Counters::add(&shared.counters.damaged, recovery.damaged.len() as u64);
        let mut log = Log::new(Arc::clone(&shared), next_segment);
        if let Err(error) = log.begin() {
            // A full disk must not keep the mail that is there from being delivered.
            let segments = &shared.layout.segments;
            match SpoolFault::of("begin a segment", &error) {
                fault @ SpoolFault::Full(_) => drop(shared.note(fault)),
                SpoolFault::Io { .. } | SpoolFault::Damaged { .. } | SpoolFault::Unknown(_) | SpoolFault::Closed => {
                    return Err(failed("write to", segments)(error));
                }
            }
        }
        let group = Group::new(Arc::clone(&shared), log);
        let writer = Writer::new(Arc::clone(&shared), group);
        Ok((shared, writer, recovery))
    }

    /// Begins to take in a message.
    pub fn draft(&self) -> Draft {
        Draft::new(Arc::clone(&self.handle.shared))
    }

    /// Stores a message and calls `done` when it is durable, or when it failed.
    ///
    /// `done` runs on the writer's thread and has to be short. A message whose id is in the spool is
    /// acknowledged without being stored again. The body is not copied where it is in memory or a window onto
    /// what [`Draft::finish`] returned; any other body over [`Options::inline_bytes_max`] is copied to a file.
    /// A body over that length is also synced, copied or not, before this returns: the call blocks on the disk
    /// then.
    pub fn commit(
        &self,
        message: Message,
        state: State,
        done: impl FnOnce(Result<Receipt, SpoolFault>) + Send + 'static,
    ) {
        let prepared = prepare::whole(&self.handle.shared, &message, &state);
        self.push(prepared, Operation::Commit, done);
    }

    /// Stores the newer envelope, header block, properties and state of a message that is in the spool, and
    /// its body where that is another than the stored one; calls `done` when that is durable.
    pub fn save(&self, message: Message, state: State, done: impl FnOnce(Result<(), SpoolFault>) + Send + 'static) {
        let prepared = prepare::newer(&self.handle.shared, &message, &state);
        self.push(prepared, Operation::Save, move |result| done(result.map(drop)));
    }

    /// Ends the life of a message; `done` is called when that is written.
    ///
    /// It is durable with the next sync, at the latest a second later: a power cut before makes the message
    /// come up again. One that is not there counts as removed.
    pub fn remove(&self, id: MessageId, done: impl FnOnce(Result<(), SpoolFault>) + Send + 'static) {
        let done = Box::new(move |result: Result<Receipt, SpoolFault>| done(result.map(drop)));
        self.queue(Queued { operation: Operation::Remove(id), done });
    }

    fn queue(&self, queued: Queued) {
        self.handle.shared.queue.push(queued);
        self.step();
    }

    /// Does what is queued and a part of the cleaning where nobody else does; says whether there is more to clean.
    pub(crate) fn step(&self) -> bool {
        let Writing::Caller(writer) = &self.handle.writing else { return false };
        writer.lock().unwrap_or_else(PoisonError::into_inner).as_mut().is_some_and(|writer| writer.step())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    fn push(
        &self,
        prepared: Result<Prepared, SpoolFault>,
        operation: impl FnOnce(Prepared) -> Operation,
        done: impl FnOnce(Result<Receipt, SpoolFault>) + Send + 'static,
    ) {
        match prepared {
            Ok(prepared) => {
                self.queue(Queued { operation: operation(prepared), done: Box::new(done) });
            }
            Err(fault) => done(Err(fault)),
        }
    }

    /// Reads a message from disk; `None` where it is not there. Blocks; the body is read when it is asked for,
    /// but compared with its checksum now.
    ///
    /// # Errors
    /// The disk failed, or what is there is damaged.
    pub fn load(&self, id: &MessageId) -> Result<Option<(Message, State)>, SpoolFault> {
        load(&self.handle.shared, id)
    }

    /// Whether a message is there.
    pub fn contains(&self, id: &MessageId) -> bool {
        self.handle.shared.index().messages.contains(id)
    }

    /// The messages that are there, the oldest first.
    pub fn ids(&self) -> Vec<MessageId> {
        let mut ids: Vec<MessageId> =
            self.handle.shared.index().messages.iter().filter_map(|(id, _)| id.id()).collect();
        ids.sort_unstable();
        ids
    }

    /// The messages that are there, the oldest first, as a list shows them. Blocks: reads each from disk.
    pub fn list(&self) -> Vec<Summary> {
        self.ids().iter().filter_map(|id| find(&self.handle.shared, id)).map(|found| Summary::of(&found)).collect()
    }

    /// Reads what is known of every message, without bodies, in one pass over the log; calls `each` for one
    /// after the other, in log order (not by age: a message that was saved lies further behind).
    ///
    /// Blocks on the disk. Beside a window of 256 KiB it takes 24 octets of memory for each message while it
    /// runs. It may be called at any time after the open, and the spool is used meanwhile as ever; `each` may
    /// use the spool too. Every message that is there from beginning to end is given exactly once, as it was at
    /// some time in between: what is saved meanwhile may come with its newer or older state, what is removed
    /// meanwhile may come or not, what is committed meanwhile does not come. So one who also follows commits,
    /// saves and removals has to prefer what they said to what comes from here.
    ///
    /// Only the checksums of the heads are compared; a damaged body shows when the message is loaded.
    pub fn scan(&self, each: impl FnMut(Result<Scanned, Unreadable>)) {
        scan(&self.handle.shared, each);
    }

    /// Keeps the files of this moment's state until the pin is dropped, so that they can be copied while the
    /// spool is in use ([`crate::back_up`]).
    ///
    /// # Errors
    /// The disk failed.
    pub fn pin(&self) -> std::io::Result<Pin> {
        Pin::new(&self.handle.shared)
    }

    /// What the spool did and holds.
    pub fn statistics(&self) -> Statistics {
        self.handle.shared.statistics()
    }

    /// Does what is queued, makes everything durable and stops. What comes later fails with [`SpoolFault::Closed`].
    pub fn close(&self) {
        self.handle.close();
    }
}

impl Handle {
    fn close(&self) {
        self.shared.queue.close();
        let thread = match &self.writing {
            Writing::Thread(thread) => thread.lock().unwrap_or_else(PoisonError::into_inner).take(),
            Writing::Caller(writer) => {
                if let Some(writer) = writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    writer.run();
                }
                None
            }
        };
        // The last handle may go in a callback, on the writer's own thread, which cannot wait for itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic of the writer was reported by the hook; those who waited have been told.
            drop(thread.join());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}
