//! Every file operation of the spool, behind a trait so that tests can make each of them fail.

use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, fdatasync, flock, fsync, statvfs};

/// Parts that one `pwritev` takes at most (IOV_MAX of Linux).
const PARTS_MAX: usize = 1024;

/// Mode of files: mail is read by nobody but the server.
const FILE_MODE: u32 = 0o600;

/// Mode of directories.
const DIRECTORY_MODE: u32 = 0o700;

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name within the directory.
    pub name: String,
    /// Octets of the file.
    pub len: u64,
}

/// Keeps other processes out of the spool for as long as it lives.
pub trait Lock: Send + Sync {}

/// What the spool asks of a file system.
///
/// Nothing else in this crate touches a file. [`RealStorage`] is the operating system;
/// [`crate::fault::FaultyStorage`] is memory that fails and loses power where a test wants it to.
pub trait Storage: Send + Sync {
    /// Makes a directory, and those above it, durably; it may be there already.
    ///
    /// # Errors
    /// The file system refused.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock file at `path`, making it where it is missing.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// Makes a new file to write and read.
    ///
    /// # Errors
    /// The file system refused, or the file is there already.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// Opens a file to read and cut.
    ///
    /// # Errors
    /// The file system refused, or there is no such file.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// Gives a file another name; one that has that name already is replaced.
    ///
    /// # Errors
    /// The file system refused.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name. Callers copy where that cannot be done, as on another disk.
    ///
    /// # Errors
    /// The file system refused.
    fn link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// The file system refused, or there is no such file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Files of a directory, sorted by name; directories in it are left out.
    ///
    /// # Errors
    /// The file system refused.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The file system refused.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Octets that may still be written.
    ///
    /// # Errors
    /// The file system refused.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// A number that nobody outside can guess.
    fn random(&self) -> u64;
}

/// An open file. Shared: reads go on while the writer appends, and after the file was removed.
pub trait StorageFile: Send + Sync {
    /// Writes all parts, one behind the other, from `offset` on. Uses up `parts`.
    ///
    /// # Errors
    /// The file system refused; any number of octets may have been written.
    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Reads from `offset` on; shorter at the end, 0 past it.
    ///
    /// # Errors
    /// The file system refused.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Makes content and length durable.
    ///
    /// # Errors
    /// The file system refused. What was written since the last success is then to be taken for lost: Linux
    /// marks the pages clean, so a second try would succeed without having written anything.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// The file system refused.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Octets of the file.
    ///
    /// # Errors
    /// The file system refused.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no octets.
    ///
    /// # Errors
    /// The file system refused.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Reads `len` octets from `offset` on.
///
/// # Errors
/// The file system refused, or the file ends before ([`io::ErrorKind::UnexpectedEof`]).
pub(crate) fn read_exactly(file: &dyn StorageFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut octets = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(offset + filled as u64, rest)? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was")),
            count => filled += count,
        }
    }
    Ok(octets)
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealStorage;

struct RealFile(File);

struct RealLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl Lock for RealLock {}

impl Storage for RealStorage {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        if let Some(above) = above {
            self.create_dir(above)?;
        }
        match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made?,
        }
        // A sync of what is in a directory does not say that the directory itself survives.
        self.sync_dir(above.unwrap_or(Path::new(".")))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let facts = entry.metadata()?;
            if facts.is_file() {
                entries.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), len: facts.len() });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Ok(fsync(File::open(path)?)?)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let facts = statvfs(path)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    fn random(&self) -> u64 {
        // The standard library seeds its hash maps from the operating system; that is unguessable enough to
        // keep a message from forging records, and spares a dependency.
        RandomState::new().hash_one(std::process::id())
    }
}

impl StorageFile for RealFile {
    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut rest = parts;
        let mut at = offset;
        // Parts without octets go first: a write of nothing but them reports 0, which below means a full device.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let (now, _) = rest.split_at(rest.len().min(PARTS_MAX));
            match rustix::io::pwritev(&self.0, now, at) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, "nothing was written")),
                Ok(count) => {
                    IoSlice::advance_slices(&mut rest, count);
                    at += count as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(fdatasync(&self.0)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
