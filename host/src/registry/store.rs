//! The registry's directory: where its file and its components lie, and how they get there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use crate::audit::changes::changes;
use crate::audit::note;
use crate::journal::JournalOptions;
use crate::registry::fields::FileError;
use crate::registry::{RegistryFile, digest};

/// Largest registry file that is read, in octets; some ten thousand bindings. Without a limit a wrong path
/// could fill the memory.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Largest component that is read, in octets (design: component 32 MiB).
pub const COMPONENT_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Why the directory could not be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The registry file says something wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is over its limit.
    #[error("cannot read {}: it has {len} octets, and {max} are the most", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its octets.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// A component is not the one that was registered.
    #[error(
        "{} was changed after it was registered: its digest is {found}; \
         put the file of the registration back, or remove the sink and add it again",
        path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// What its octets have.
        found: String,
    },
}

/// The registry's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    dir: PathBuf,
    audit: Option<JournalOptions>,
}

impl Store {
    /// Names the directory; nothing is touched yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), audit: None }
    }

    /// The same directory; what is changed through it is written into that audit log.
    #[must_use]
    pub fn audited(self, audit: Option<JournalOptions>) -> Self {
        Self { audit, ..self }
    }

    /// Writes into the audit log what an edit changed. The edit holds, whatever becomes of that.
    pub(crate) fn note_changes(&self, before: &RegistryFile, after: &RegistryFile) {
        note(self.audit.as_ref(), changes(before, after));
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The registry file.
    pub fn file_path(&self) -> PathBuf {
        self.dir.join("registry.toml")
    }

    /// The lock that whoever edits the file holds.
    pub fn lock_path(&self) -> PathBuf {
        self.dir.join("registry.lock")
    }

    /// Where a component lies. The digest was checked for its form by whoever made it.
    pub fn component_path(&self, digest: &str) -> PathBuf {
        self.dir.join("components").join(format!("{digest}.wasm"))
    }

    /// Makes the directory where it is missing.
    ///
    /// # Errors
    /// The system refused.
    pub fn create(&self) -> Result<(), StoreError> {
        let components = self.dir.join("components");
        let io = |source| StoreError::Io { doing: "create the registry's directory", path: components.clone(), source };
        let is_new = !self.dir.exists();
        fs::create_dir_all(&components).map_err(io)?;
        if let Some(parent) = self.dir.parent().filter(|_| is_new) {
            let (own, above) = (fs::metadata(&self.dir).map_err(io)?, fs::metadata(parent).map_err(io)?);
            if own.uid() == 0 && above.uid() != 0 {
                std::os::unix::fs::chown(&self.dir, Some(above.uid()), Some(above.gid())).map_err(io)?;
            }
        }
        // The directory belongs to the server's user; no link that he puts there is followed.
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::open(&components, flags, Mode::empty()).map_err(io::Error::from);
        made.and_then(|made| self.hand_over(&made.into())).map_err(io)
    }

    /// Gives what root made to whom the registry's directory belongs: an operator edits as root, and the server
    /// reads and edits as its own user.
    pub(crate) fn hand_over(&self, made: &File) -> io::Result<()> {
        let dir = fs::metadata(&self.dir)?;
        if made.metadata()?.uid() == 0 && dir.uid() != 0 {
            std::os::unix::fs::fchown(made, Some(dir.uid()), Some(dir.gid()))?;
        }
        Ok(())
    }

    /// The text of the registry file; `None` where there is none yet.
    ///
    /// # Errors
    /// It cannot be read, is no UTF-8 or is too large.
    pub fn text(&self) -> Result<Option<String>, StoreError> {
        let path = self.file_path();
        let octets = match read_bounded(&path, FILE_BYTES_MAX) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        String::from_utf8(octets).map(Some).map_err(|error| {
            let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
            let line = 1 + before.filter(|&&octet| octet == b'\n').count();
            FileError { path, line, problem: "this is no UTF-8; save the file as UTF-8".to_owned() }.into()
        })
    }

    /// The registry as it is on disk; an absent file is an empty registry.
    ///
    /// # Errors
    /// The file cannot be read or says something wrong.
    pub fn read(&self) -> Result<RegistryFile, StoreError> {
        match self.text()? {
            Some(text) => Ok(RegistryFile::parse(&text, &self.file_path())?),
            None => Ok(RegistryFile::default()),
        }
    }

    /// The octets of a component.
    ///
    /// # Errors
    /// It is missing, unreadable, too large or not what was registered.
    pub fn component(&self, digest: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.component_path(digest);
        let octets = read_bounded(&path, COMPONENT_BYTES_MAX)?;
        let found = digest::of(&octets);
        if found == digest { Ok(octets) } else { Err(StoreError::Digest { path, found }) }
    }

    /// Puts a component under its digest and says which that is.
    ///
    /// # Errors
    /// The system refused.
    pub fn put_component(&self, octets: &[u8]) -> Result<String, StoreError> {
        let digest = digest::of(octets);
        // A file of that name with other octets was tampered with or torn; writing it anew mends both.
        if self.component(&digest).is_err() {
            self.write(&self.component_path(&digest), octets)?;
        }
        Ok(digest)
    }

    /// Takes components away that no sink of `file` has or may go back to. Called under the lock.
    ///
    /// # Errors
    /// The system refused.
    pub fn sweep(&self, file: &RegistryFile) -> Result<(), StoreError> {
        let dir = self.dir.join("components");
        let error = |doing, path: &Path, source| StoreError::Io { doing, path: path.to_owned(), source };
        for entry in fs::read_dir(&dir).map_err(|source| error("list", &dir, source))? {
            let path = entry.map_err(|source| error("list", &dir, source))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // Only what this program wrote: a foreign file in the directory is none of its business.
            let Some(digest) = name.strip_suffix(".wasm").filter(|digest| digest::is_digest(digest)) else {
                continue;
            };
            if !file.has_component(digest) {
                fs::remove_file(&path).map_err(|source| error("remove", &path, source))?;
            }
        }
        Ok(())
    }

    /// Replaces a file as a whole: whoever reads it meets the old or the new, also after a power cut.
    ///
    /// # Errors
    /// The system refused; the old file stands then.
    pub(crate) fn write(&self, path: &Path, octets: &[u8]) -> Result<(), StoreError> {
        let error = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { doing, path, source }
        };
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let written = self.write_new(&temporary, path, octets).map_err(error("write", &temporary));
        let renamed = written.and_then(|()| fs::rename(&temporary, path).map_err(error("replace", path)));
        if renamed.is_err() {
            // The first error is the one to tell; a temporary file that stays does no harm.
            drop(fs::remove_file(&temporary));
        }
        renamed?;
        let dir = path.parent().unwrap_or(&self.dir);
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(error("sync directory", dir))
    }

    fn write_new(&self, temporary: &Path, replaced: &Path, octets: &[u8]) -> io::Result<()> {
        // One that a killed process left; and never through a link that somebody put there.
        drop(fs::remove_file(temporary));
        let mut file = File::create_new(temporary)?;
        if let Ok(old) = fs::metadata(replaced) {
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
        }
        self.hand_over(&file)?;
        file.write_all(octets)?;
        file.sync_all()
    }
}

fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, StoreError> {
    let error = |source| StoreError::Io { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(error)?;
    let len = file.metadata().map_err(error)?.len();
    if len > max {
        return Err(StoreError::TooLarge { path: path.to_owned(), len, max });
    }
    let mut octets = Vec::new();
    // The file may grow between the two calls; the reader stops at the limit all the same.
    io::Read::read_to_end(&mut io::Read::take(file, max), &mut octets).map_err(error)?;
    Ok(octets)
}
