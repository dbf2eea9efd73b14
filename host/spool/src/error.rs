//! What can go wrong, for the callers that act on it.

use std::io;
use std::path::PathBuf;

use basin_core::reply::Reply;
use thiserror::Error;

/// Why something was not stored or not read.
///
/// Nothing of the operation that got a fault counts as done. The next one is tried afresh, so a disk that
/// has room again is used again without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpoolFault {
    /// No room on the disk, or the reserve is reached, or too much waits to be written.
    #[error("cannot store: {0}")]
    Full(String),
    /// The disk failed.
    #[error("cannot {doing}: {cause}")]
    Io {
        /// What was being done to what.
        doing: String,
        /// What the operating system said.
        cause: String,
    },
    /// What is on disk is not what was written there.
    #[error("cannot read message {id}: {what}")]
    Damaged {
        /// The message.
        id: String,
        /// What is wrong with it.
        what: String,
    },
    /// A message was saved that the spool does not have.
    #[error("cannot save message {0}: it is not in the spool")]
    Unknown(String),
    /// The spool was closed.
    #[error("the spool is closed")]
    Closed,
}

impl SpoolFault {
    /// Sorts an error of the file system; a full disk (ENOSPC, EDQUOT, EFBIG) is its own fault.
    pub(crate) fn of(doing: impl Into<String>, error: &io::Error) -> Self {
        let doing = doing.into();
        let is_full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        if is_full {
            Self::Full(format!("cannot {doing}: {error}"))
        } else {
            Self::Io { doing, cause: error.to_string() }
        }
    }

    /// The public reply of a session whose message was not stored; the cause stays in the log.
    pub fn reply(&self) -> Reply {
        match self {
            // RFC 5321 §4.2.3 and RFC 3463 §3.4: the client keeps the message and tries again.
            Self::Full(_) => Reply::with(452, 3, 1, "insufficient system storage, try again later"),
            Self::Io { .. } | Self::Damaged { .. } | Self::Unknown(_) => {
                Reply::with(451, 3, 0, "the message could not be stored, try again later")
            }
            Self::Closed => Reply::with(451, 3, 2, "the server is shutting down, try again later"),
        }
    }
}

/// Why the spool did not open. Damaged mail is never a reason.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process works in the directory.
    #[error(
        "cannot use spool directory {}: another process holds the lock file {}; stop that process, or configure another spool directory",
        directory.display(), directory.join(crate::layout::LOCK_FILE).display()
    )]
    Locked {
        /// The spool directory.
        directory: PathBuf,
    },
    /// A later version of Basin wrote there.
    #[error(
        "cannot read segment {}: it has format version {found}, and this program knows versions up to {known}; start the newer program that wrote it, or move the spool directory aside",
        path.display()
    )]
    NewerFormat {
        /// The segment file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The highest version known here.
        known: u32,
    },
    /// The directory cannot be made, read or written.
    #[error("cannot {doing} {}: {source}; the spool directory must be on a local disk with room, owned and writable by the user of the server", path.display())]
    Directory {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_answers_452_and_all_else_451() {
        let full = SpoolFault::of("write segment 1", &io::Error::from_raw_os_error(28));
        assert_eq!(full.reply().to_string(), "452 4.3.1 insufficient system storage, try again later");
        let broken = SpoolFault::of("write segment 1", &io::Error::from_raw_os_error(5));
        assert_eq!(broken.reply().code(), 451);
        assert_eq!(broken.to_string(), "cannot write segment 1: Input/output error (os error 5)");
    }

    #[test]
    fn open_errors_name_the_path_and_the_remedy() {
        let text = OpenError::Locked { directory: "/var/spool/basin".into() }.to_string();
        assert!(text.contains("/var/spool/basin/spool.lock") && text.contains("stop that process"), "{text}");
    }
}
