//! Copies a spool and puts it back.
//!
//! A backup is a directory that looks like the spool, with a list of its files and their checksums. The list is
//! written last: a directory without it is no backup.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::layout::Layout;
use crate::pin::SpoolFile;
use crate::segment::FORMAT_VERSION;
use crate::storage::{Storage, StorageFile, read_exactly};

/// Name of the list.
const LIST_FILE: &str = "backup.json";

/// Version of the list. A program that finds a higher one refuses.
const LIST_VERSION: u32 = 1;

/// Octets copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// Longest list that is read, in octets: a million body files.
const LIST_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What a backup has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Version of this list.
    pub version: u32,
    /// Version of the spool's format.
    pub spool_version: u32,
    /// The files with their checksums.
    files: Vec<Listed>,
    /// Octets of all files.
    #[serde(skip)]
    pub bytes: u64,
    /// Of these, octets that an earlier backup had and that were not copied again.
    #[serde(skip)]
    pub bytes_shared: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    #[serde(flatten)]
    file: SpoolFile,
    crc: u32,
}

/// Why a backup was not made or not put back.
#[derive(Debug, Error)]
pub enum BackupError {
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is something where the copy should go.
    #[error("{} has files already; name a directory that is empty or not there", .0.display())]
    NotEmpty(PathBuf),
    /// The directory has no list of files.
    #[error("{} is no backup: it has no {LIST_FILE}, which is written last, so it may be half of one", .0.display())]
    NoBackup(PathBuf),
    /// The list is of a newer version, or damaged.
    #[error("cannot understand {}: {why}; a newer program may have written it", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file is not what it was when the backup was made.
    #[error("{} is damaged: it is not what the backup was made with; use another backup, or restore all the same with --even-damaged and repair the spool then", .0.display())]
    Damaged(PathBuf),
    /// A server uses the spool.
    #[error("cannot restore into {}: a server uses it; stop that first", .0.display())]
    InUse(PathBuf),
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { doing, path, source }
}

impl Backup {
    /// How many files it has.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    fn read(directory: &Path, storage: &dyn Storage) -> Result<Self, BackupError> {
        let path = directory.join(LIST_FILE);
        let file = match storage.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::NoBackup(directory.to_owned()));
            }
            opened => opened.map_err(failed("open", &path))?,
        };
        let len = file.len().map_err(failed("read", &path))?.min(LIST_BYTES_MAX);
        let octets =
            read_exactly(file.as_ref(), 0, usize::try_from(len).unwrap_or(0)).map_err(failed("read", &path))?;
        let list: Self = serde_json::from_slice(&octets)
            .map_err(|error| BackupError::List { path: path.clone(), why: error.to_string() })?;
        if list.version > LIST_VERSION || list.spool_version > FORMAT_VERSION {
            let why = format!(
                "it has version {} of a spool of version {}, and this program knows {LIST_VERSION} and {FORMAT_VERSION}",
                list.version, list.spool_version
            );
            return Err(BackupError::List { path, why });
        }
        if let Some(bad) = list.files.iter().find(|listed| !is_below(&listed.file.path)) {
            return Err(BackupError::List { path, why: format!("{:?} is no file of a spool", bad.file.path) });
        }
        Ok(list)
    }
}

// A list from elsewhere must not name files outside of the two folders.
fn is_below(path: &str) -> bool {
    path.split_once('/').is_some_and(|(folder, name)| {
        matches!(folder, "segments" | "bodies") && !name.is_empty() && !name.contains('/') && name != ".."
    })
}

/// Copies `files`, which a pin keeps, from the spool in `directory` to `target`, which must be empty or missing.
/// Files that the backup in `previous` has, unchanged, become second names of the same files where that can be
/// done: neither is ever written to again.
///
/// # Errors
/// A file could not be read or written. What was copied stays; without its list it is no backup.
pub fn back_up(
    directory: &Path,
    files: &[SpoolFile],
    target: &Path,
    previous: Option<&Path>,
    storage: &Arc<dyn Storage>,
) -> Result<Backup, BackupError> {
    let storage = storage.as_ref();
    let before = previous.map(|previous| Backup::read(previous, storage)).transpose()?.unwrap_or_default();
    let layout = Layout::new(target);
    for path in [&layout.root, &layout.segments, &layout.bodies] {
        storage.create_dir(path).map_err(failed("make directory", path))?;
        let is_empty = storage.list(path).map_err(failed("list", path))?.is_empty();
        if !is_empty {
            return Err(BackupError::NotEmpty(path.clone()));
        }
    }
    let mut backup = Backup { version: LIST_VERSION, spool_version: FORMAT_VERSION, ..Backup::default() };
    for file in files {
        let (from, to) = (directory.join(&file.path), target.join(&file.path));
        // A segment of that name and length is the same one: a number is never used twice, and its octets never
        // change. So are bodies.
        let known = before.files.iter().find(|known| known.file == *file);
        let linked = known.filter(|known| {
            previous.is_some_and(|previous| storage.link(&previous.join(&known.file.path), &to).is_ok())
        });
        let crc = match linked {
            Some(known) => {
                backup.bytes_shared += file.len;
                known.crc
            }
            None => copy(storage, &from, &to, file.len)?,
        };
        backup.bytes += file.len;
        backup.files.push(Listed { file: file.clone(), crc });
    }
    for path in [&layout.segments, &layout.bodies] {
        storage.sync_dir(path).map_err(failed("sync directory", path))?;
    }
    let list = target.join(LIST_FILE);
    let octets = serde_json::to_vec_pretty(&backup)
        .map_err(|error| BackupError::List { path: list.clone(), why: error.to_string() })?;
    let write = || {
        let file = storage.create(&list)?;
        file.write_at(0, &mut [IoSlice::new(&octets)])?;
        file.sync_data()?;
        storage.sync_dir(target)
    };
    write().map_err(failed("write", &list))?;
    Ok(backup)
}

/// Puts a backup into the spool directory `target`, which must have no mail. With `even_damaged`, files that are
/// not what they were are put there too.
///
/// # Errors
/// The backup or the directory is not usable. No message is in the spool then.
pub fn restore(
    backup: &Path,
    target: &Path,
    even_damaged: bool,
    storage: &Arc<dyn Storage>,
) -> Result<Backup, BackupError> {
    let storage = storage.as_ref();
    let mut list = Backup::read(backup, storage)?;
    let layout = Layout::new(target);
    for path in [&layout.root, &layout.segments, &layout.bodies] {
        storage.create_dir(path).map_err(failed("make directory", path))?;
    }
    let _lock = storage.lock(&layout.lock()).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            BackupError::InUse(target.to_owned())
        } else {
            failed("lock", &layout.lock())(error)
        }
    })?;
    // Half of an earlier try may be there, under names that no server reads.
    for path in [&layout.segments, &layout.bodies] {
        for entry in storage.list(path).map_err(failed("list", path))? {
            if !entry.name.ends_with(".part") {
                return Err(BackupError::NotEmpty(path.clone()));
            }
            let old = path.join(&entry.name);
            storage.remove(&old).map_err(failed("remove", &old))?;
        }
    }
    let part = |listed: &Listed| target.join(format!("{}.part", listed.file.path));
    for listed in &list.files {
        let from = backup.join(&listed.file.path);
        // What a damaged file has less than it should is lost; the rest of it need not be.
        let there = storage.open(&from).and_then(|file| file.len()).map_err(failed("open", &from))?;
        if there < listed.file.len && !even_damaged {
            return Err(BackupError::Damaged(from));
        }
        let len = there.min(listed.file.len);
        let crc = copy(storage, &from, &part(listed), len)?;
        if crc != listed.crc && !even_damaged {
            return Err(BackupError::Damaged(from));
        }
        list.bytes += listed.file.len;
    }
    // Bodies get their names first: a record never names a body that is not there.
    for folder in ["bodies/", "segments/"] {
        for listed in list.files.iter().filter(|listed| listed.file.path.starts_with(folder)) {
            let to = target.join(&listed.file.path);
            storage.rename(&part(listed), &to).map_err(failed("rename into place", &to))?;
        }
        let path = target.join(folder);
        storage.sync_dir(&path).map_err(failed("sync directory", &path))?;
    }
    Ok(list)
}

// Copies the first octets of a file, durably; returns their checksum.
fn copy(storage: &dyn Storage, from: &Path, to: &Path, len: u64) -> Result<u32, BackupError> {
    let source = storage.open(from).map_err(failed("open", from))?;
    let target = storage.create(to).map_err(failed("make", to))?;
    let crc = copy_octets(source.as_ref(), target.as_ref(), len).map_err(failed("copy", from))?;
    target.sync_data().map_err(failed("sync", to))?;
    Ok(crc)
}

fn copy_octets(source: &dyn StorageFile, target: &dyn StorageFile, len: u64) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut at = 0;
    while at < len {
        let count = usize::try_from(len - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let octets = read_exactly(source, at, count)?;
        crc.update(&octets);
        target.write_at(at, &mut [IoSlice::new(&octets)])?;
        at += count as u64;
    }
    Ok(crc.finalize())
}
