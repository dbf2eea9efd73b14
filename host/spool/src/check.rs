//! Reads everything that is in a spool and changes nothing.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use crate::damage::{Damage, DamageKind};
use crate::error::OpenError;
use crate::layout::Layout;
use crate::recover::{Replayed, replay};
use crate::segment::FORMAT_VERSION;
use crate::storage::{Entry, Lock, Storage, StorageFile, read_exactly};

/// Octets of a body file read at a time.
const CHECK_BYTES: usize = 1024 * 1024;

/// What is in a spool.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Messages that can be read, but for those among `damaged`.
    pub messages: usize,
    /// Segments.
    pub segments: usize,
    /// Segments of an older version of the format, which is read as ever.
    pub segments_older: usize,
    /// Octets that were read.
    pub bytes: u64,
    /// What is damaged.
    pub damaged: Vec<Damage>,
    /// Octets of an unfinished write at the end of a segment: left by a crash, or by a server that writes now.
    pub torn_bytes: u64,
    /// Body files that no message has.
    pub orphan_bodies: usize,
    /// Files in `damaged/`, from starts and repairs before.
    pub set_aside_before: usize,
}

/// Reads all records and bodies of the spool in `directory` and compares their checksums. Changes nothing.
///
/// A server may use the spool meanwhile; what it removes while this runs may be reported then, so a spool that
/// is in use should be checked in a backup.
///
/// # Errors
/// The directory is no spool, cannot be read, or was written by a newer version.
pub fn check(directory: &Path, storage: Arc<dyn Storage>) -> Result<Checked, OpenError> {
    let layout = Layout::new(directory);
    let read_only = ReadOnly { storage: storage.as_ref(), damaged: &layout.damaged };
    let Replayed { index, recovery, .. } = replay(&read_only, &layout)?;
    let mut checked = Checked {
        messages: recovery.messages,
        segments: recovery.segments,
        segments_older: index.segments.values().filter(|segment| segment.version < FORMAT_VERSION).count(),
        bytes: index.segments.values().filter_map(|segment| segment.file.len().ok()).sum(),
        torn_bytes: recovery.torn_bytes,
        orphan_bodies: recovery.orphan_bodies.len(),
        set_aside_before: storage.list(&layout.damaged).map_or(0, |files| files.len()),
        damaged: recovery.damaged,
    };
    // Nothing was set aside: this only looks. An unfinished write was promised to nobody.
    checked.damaged.retain(|damage| damage.kind != DamageKind::TornTail);
    checked.damaged.iter_mut().for_each(|damage| damage.set_aside = None);
    for (id, entry) in index.messages.with_files() {
        let (Some(name), Some(len)) = (entry.body.file(), entry.body.file_len()) else { continue };
        let path = layout.bodies.join(name.as_ref());
        checked.bytes += len;
        let (kind, at) = match storage.open(&path).and_then(|file| crc_of(file.as_ref(), len)) {
            Ok(crc) if crc == entry.body.proof().1 => continue,
            Ok(_) => (DamageKind::Body, 0),
            Err(_) => (DamageKind::Unreadable, 0),
        };
        checked.messages = checked.messages.saturating_sub(1);
        let message = Some(id.to_string());
        checked.damaged.push(Damage { kind, found_in: path, offset: at, octets: len, message, set_aside: None });
    }
    Ok(checked)
}

/// Checksum of the first `len` octets of a file.
pub(crate) fn crc_of(file: &dyn StorageFile, len: u64) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut at = 0;
    while at < len {
        let count = usize::try_from(len - at).unwrap_or(CHECK_BYTES).min(CHECK_BYTES);
        crc.update(&read_exactly(file, at, count)?);
        at += count as u64;
    }
    Ok(crc.finalize())
}

/// A storage that reads and only pretends to write.
struct ReadOnly<'a> {
    storage: &'a dyn Storage,
    damaged: &'a Path,
}

struct ReadOnlyFile(Arc<dyn StorageFile>);

struct Nowhere;

impl Storage for ReadOnly<'_> {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Lock>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create(&self, _path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(Nowhere))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(ReadOnlyFile(self.storage.open(path)?)))
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        if path == self.damaged {
            // What an earlier start has set aside is reported again.
            return Ok(Vec::new());
        }
        match self.storage.list(path) {
            // A backup has no folder for drafts.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.ends_with("drafts") => Ok(Vec::new()),
            listed => listed,
        }
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.storage.free_bytes(path)
    }

    fn random(&self) -> u64 {
        self.storage.random()
    }
}

impl StorageFile for ReadOnlyFile {
    fn write_at(&self, _offset: u64, _parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl StorageFile for Nowhere {
    fn write_at(&self, _offset: u64, _parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, _offset: u64, _buffer: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }
}
