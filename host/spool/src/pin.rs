//! Keeps files while somebody copies them.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::layout::segment_name;
use crate::shared::Shared;

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
