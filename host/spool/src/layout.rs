//! Names of the files below the spool directory.

use std::path::{Path, PathBuf};

use basin_core::mail::MessageId;

/// File whose lock keeps a second process out.
pub(crate) const LOCK_FILE: &str = "spool.lock";

/// The paths of one spool.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The spool directory itself.
    pub(crate) root: PathBuf,
    /// The log.
    pub(crate) segments: PathBuf,
    /// Bodies too large for a record.
    pub(crate) bodies: PathBuf,
    /// Messages that are being received.
    pub(crate) drafts: PathBuf,
    /// What was found damaged, kept for a person.
    pub(crate) damaged: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            segments: root.join("segments"),
            bodies: root.join("bodies"),
            drafts: root.join("drafts"),
            damaged: root.join("damaged"),
        }
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join(LOCK_FILE)
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.segments.join(segment_name(number))
    }

    pub(crate) fn draft(&self, number: u64) -> PathBuf {
        self.drafts.join(number.to_string())
    }
}

/// `0000000042.seg`: sorts by number.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:010}.seg")
}

/// The number in the name of a segment.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".seg")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// `ID.N`. The number keeps a changed body of a message apart from the one before it.
pub(crate) fn body_name(id: &MessageId, number: u64) -> String {
    format!("{id}.{number}")
}

/// The number in the name of a body file.
pub(crate) fn body_number(name: &str) -> Option<u64> {
    name.rsplit_once('.')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_carry_their_number() {
        assert_eq!(segment_number(&segment_name(42)), Some(42));
        for bad in ["42.seg", "0000000042", "+000000042.seg", "x.seg"] {
            assert_eq!(segment_number(bad), None, "{bad}");
        }
    }
}
