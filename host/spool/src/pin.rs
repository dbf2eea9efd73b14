//! Keeps files while somebody copies them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::layout::{Layout, segment_name};
use crate::shared::Shared;
use crate::storage::{Lock, Storage};

/// A file of a spool, below its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolFile {
    /// `segments/0000000001.seg` or `bodies/NAME`.
    pub path: String,
    /// Octets that belong to the state that is copied; a segment may have grown since.
    pub len: u64,
}

/// The files of one state of a spool. As long as it lives none of them is removed; they take room until then.
pub struct Pin {
    shared: Arc<Shared>,
    files: Vec<SpoolFile>,
}

impl Pin {
    pub(crate) fn new(shared: &Arc<Shared>) -> io::Result<Self> {
        let mut pin = Self { shared: Arc::clone(shared), files: Vec::new() };
        // From here on nothing is removed. The segments are listed first: whatever their records name is there
        // then, and still is when the bodies are listed.
        *shared.pins() += 1;
        let segments = {
            let index = shared.index();
            index.segments.iter().map(|(&number, segment)| (number, Arc::clone(&segment.file))).collect::<Vec<_>>()
        };
        // The newest first: what a record there replaces is in an older one, which has all of it then.
        for (number, file) in segments.into_iter().rev() {
            pin.files.push(SpoolFile { path: format!("segments/{}", segment_name(number)), len: file.len()? });
        }
        pin.files.reverse();
        for body in shared.storage.list(&shared.layout.bodies)? {
            pin.files.push(SpoolFile { path: format!("bodies/{}", body.name), len: body.len });
        }
        Ok(pin)
    }

    /// The files, in the order to copy them.
    pub fn files(&self) -> &[SpoolFile] {
        &self.files
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        *self.shared.pins() -= 1;
    }
}

/// The files of a spool that no server uses, and the lock that keeps one from starting.
pub struct AtRest {
    /// The files, in the order to copy them.
    pub files: Vec<SpoolFile>,
    _lock: Box<dyn Lock>,
}

impl AtRest {
    /// Takes the lock of the spool in `directory` and lists its files. Writes nothing.
    ///
    /// # Errors
    /// The directory is no spool, or a server uses it.
    pub fn of(directory: &Path, storage: &dyn Storage) -> Result<Self, OpenError> {
        let layout = Layout::new(directory);
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Directory { doing, path, source }
        };
        let lock = storage.lock(&layout.lock()).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                OpenError::Locked { directory: directory.to_owned() }
            } else {
                failed("lock", &layout.lock())(error)
            }
        })?;
        let mut files = Vec::new();
        for (folder, path) in [("segments", &layout.segments), ("bodies", &layout.bodies)] {
            for entry in storage.list(path).map_err(failed("list", path))? {
                files.push(SpoolFile { path: format!("{folder}/{}", entry.name), len: entry.len });
            }
        }
        Ok(Self { files, _lock: lock })
    }
}
