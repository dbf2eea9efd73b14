//! Messages while they arrive. A draft may vanish; nobody was promised anything yet.

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use basin_core::mail::{Content, ReadAt};
use bytes::Bytes;

use crate::error::SpoolFault;
use crate::shared::Shared;
use crate::statistics::Counters;
use crate::storage::StorageFile;

/// The text of a message while it arrives: in memory as long as it fits into a record, else in a file.
///
/// Dropped without [`Draft::finish`], it leaves nothing behind.
pub struct Draft {
    shared: Arc<Shared>,
    // All octets, or those that are not in the file yet.
    memory: Vec<u8>,
    file: Option<Spilled>,
}

struct Spilled {
    file: Arc<dyn StorageFile>,
    number: u64,
    len: u64,
    crc: crc32fast::Hasher,
}

impl Draft {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, memory: Vec::new(), file: None }
    }

    /// Takes the next octets. Blocks on the disk once the draft is larger than what is kept in memory.
    ///
    /// # Errors
    /// The draft file could not be made or written, or the disk is nearly full; the draft is worth nothing then.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), SpoolFault> {
        if self.memory.len() + octets.len() > self.shared.options.inline_bytes_max {
            self.spill(octets)
        } else {
            self.memory.extend_from_slice(octets);
            Ok(())
        }
    }

    /// Octets so far.
    pub fn len(&self) -> u64 {
        self.memory.len() as u64 + self.file.as_ref().map_or(0, |spilled| spilled.len)
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the draft: its octets can be read now, and a message whose body is a window onto them can be
    /// committed without copying them.
    ///
    /// # Errors
    /// The rest could not be written to the draft file.
    pub fn finish(mut self) -> Result<Content, SpoolFault> {
        if self.file.is_none() {
            let octets = Bytes::from(std::mem::take(&mut self.memory));
            let len = octets.len() as u64;
            return Ok(Content { octets: Arc::new(octets), len });
        }
        self.finish_file().map(|file| Content { len: file.len, octets: Arc::new(DraftBody(file)) })
    }

    /// Ends the draft as a file, whatever its size.
    pub(crate) fn finish_file(mut self) -> Result<Arc<DraftFile>, SpoolFault> {
        self.spill(&[])?;
        let Some(spilled) = self.file.take() else { return Err(SpoolFault::Closed) };
        Ok(Arc::new(DraftFile {
            shared: Arc::clone(&self.shared),
            file: spilled.file,
            number: spilled.number,
            len: spilled.len,
            crc: spilled.crc.finalize(),
            stage: AtomicU8::new(FREE),
        }))
    }

    // Writes what is in memory, and `octets` behind it, to the file.
    fn spill(&mut self, octets: &[u8]) -> Result<(), SpoolFault> {
        let result = self.try_spill(octets);
        result.map_err(|fault| self.shared.note(fault))
    }

    fn try_spill(&mut self, octets: &[u8]) -> Result<(), SpoolFault> {
        let shared = &self.shared;
        check_room(shared, (self.memory.len() + octets.len()) as u64)?;
        let spilled = match &mut self.file {
            Some(spilled) => spilled,
            place => {
                let number = shared.file_number();
                let file = shared
                    .storage
                    .create(&shared.layout.draft(number))
                    .map_err(|error| SpoolFault::of(format!("create draft {number}"), &error))?;
                place.insert(Spilled { file, number, len: 0, crc: crc32fast::Hasher::new() })
            }
        };
        spilled
            .file
            .write_at(spilled.len, &mut [IoSlice::new(&self.memory), IoSlice::new(octets)])
            .map_err(|error| SpoolFault::of(format!("write draft {}", spilled.number), &error))?;
        spilled.crc.update(&self.memory);
        spilled.crc.update(octets);
        spilled.len += (self.memory.len() + octets.len()) as u64;
        self.memory.clear();
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(spilled) = &self.file {
            remove_draft(&self.shared, spilled.number);
        }
    }
}

/// Refuses new mail while the disk is nearly full.
pub(crate) fn check_room(shared: &Shared, more: u64) -> Result<(), SpoolFault> {
    let root = &shared.layout.root;
    let free = shared.storage.free_bytes(root).map_err(|error| SpoolFault::of("ask for free space", &error))?;
    if free < shared.options.free_bytes_min.saturating_add(more) {
        let min = shared.options.free_bytes_min;
        return Err(SpoolFault::Full(format!("{free} octets are free and {min} are kept for the mail that is here")));
    }
    Ok(())
}

fn remove_draft(shared: &Shared, number: u64) {
    if let Err(error) = shared.storage.remove(&shared.layout.draft(number)) {
        // The next start removes it.
        shared.note(SpoolFault::of(format!("remove draft {number}"), &error));
    }
}

const FREE: u8 = 0;
const CLAIMED: u8 = 1;
const PLACED: u8 = 2;

/// A finished draft in a file. It is removed with its last user, unless a commit has given it its place.
pub(crate) struct DraftFile {
    shared: Arc<Shared>,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) number: u64,
    pub(crate) len: u64,
    pub(crate) crc: u32,
    stage: AtomicU8,
}

impl DraftFile {
    /// Takes the file for one message; any further message has to copy it.
    pub(crate) fn claim(&self) -> bool {
        self.stage.compare_exchange(FREE, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Makes the octets durable. The committing caller waits for its own body here, so that a large one does
    /// not hold up all others in the writer.
    pub(crate) fn sync(&self) -> Result<(), SpoolFault> {
        Counters::add(&self.shared.counters.syncs, 1);
        let synced = self.file.sync_data();
        synced.map_err(|error| self.shared.note(SpoolFault::of(format!("sync draft {}", self.number), &error)))
    }

    /// Notes that the file has left the drafts.
    pub(crate) fn placed(&self) {
        self.stage.store(PLACED, Ordering::Release);
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.shared.layout.draft(self.number)
    }
}

impl Drop for DraftFile {
    fn drop(&mut self) {
        if *self.stage.get_mut() != PLACED {
            remove_draft(&self.shared, self.number);
        }
    }
}

/// The octets of a draft file as a message sees them.
pub(crate) struct DraftBody(pub(crate) Arc<DraftFile>);

impl ReadAt for DraftBody {
    fn len(&self) -> u64 {
        self.0.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.file.read_at(offset, buffer)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
