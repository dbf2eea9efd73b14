//! Mailboxes as Maildirs: a message is a file that appears whole or not at all.
//!
//! A file is written under `tmp`, synced, moved to `new`, and the directory is synced; only then is the
//! message delivered. Its name comes from the message's id, so that doing it again after a crash makes no
//! second copy. Line ends are those of Unix, as mail readers expect them in a Maildir; SMTP lets no bare CR
//! or LF in, so the octets that came can be told from the file.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use basin_core::addr::Address;
use basin_core::mail::Message;
use basin_core::reply::Reply;
use thiserror::Error;

/// Octets of a body that are copied at once.
const CHUNK: usize = 64 * 1024;

/// Why a message is not in its mailbox. All of these can pass, so the message is tried again.
#[derive(Debug, Error)]
pub enum DeliveryFault {
    /// No room, or no quota.
    #[error("cannot {doing} {}: {source}; the disk or the quota is full", path.display())]
    Full {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else that the file system says.
    #[error("cannot {doing} {}: {source}", path.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A mailbox whose name would leave the mail directory; the tables refuse such names.
    #[error("{name:?} is no name of a mailbox")]
    Name {
        /// The name.
        name: String,
    },
    /// The body could not be read from the spool.
    #[error("cannot read the message: {0}")]
    Body(io::Error),
    /// The server is stopping.
    #[error("the delivery was interrupted")]
    Interrupted,
}

impl DeliveryFault {
    fn of(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let is_full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        if is_full { Self::Full { doing, path, source } } else { Self::Disk { doing, path, source } }
    }

    /// What the sender may know of it.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Full { .. } => Reply::with(452, 2, 2, "the mailbox is full"),
            Self::Disk { .. } | Self::Name { .. } | Self::Body(_) | Self::Interrupted => {
                Reply::with(451, 2, 0, "the mailbox cannot be written")
            }
        }
    }
}

/// The directory of all mailboxes.
#[derive(Debug, Clone)]
pub struct Maildirs {
    root: PathBuf,
    host_name: String,
}

/// A message that is written and synced, and not in its mailbox yet.
#[derive(Debug)]
pub(super) struct Written {
    temporary: PathBuf,
    /// Where it belongs.
    pub(super) place: PathBuf,
    file: File,
}

impl Maildirs {
    /// Mailboxes below `root`; `host_name` becomes part of file names.
    pub fn new(root: PathBuf, host_name: &str) -> Self {
        // A file name has no slash, and a colon would start the flags (maildir(5)).
        let plain = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
        let host_name = host_name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        Self { root, host_name }
    }

    /// Makes the root if it is missing, and says whether it can be written to.
    ///
    /// # Errors
    /// It cannot be made, or nothing can be written below it.
    pub fn prepare(&self) -> Result<(), DeliveryFault> {
        make_directory(&self.root)?;
        let probe = self.root.join(".basin-probe");
        let fault = |error| DeliveryFault::of("write", &self.root, error);
        File::create(&probe).map_err(fault)?;
        fs::remove_file(&probe).map_err(fault)
    }

    /// Directory of a mailbox: `DOMAIN/LOCAL-PART` for one that is named like an address.
    fn directory(&self, mailbox: &str) -> Result<PathBuf, DeliveryFault> {
        let (local, domain) = mailbox.rsplit_once('@').unwrap_or((mailbox, ""));
        let mut path = self.root.clone();
        for part in [domain, local].into_iter().filter(|part| !part.is_empty()) {
            // The tables let no such name through. This is the second lock on the same door: whatever they
            // say, no mailbox is outside the root.
            let mut components = Path::new(part).components();
            let is_name = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
            if !is_name || part.starts_with('.') || part.contains(['/', '\0']) {
                return Err(DeliveryFault::Name { name: mailbox.to_owned() });
            }
            path.push(part);
        }
        if path == self.root { Err(DeliveryFault::Name { name: mailbox.to_owned() }) } else { Ok(path) }
    }

    /// Where the mailbox has the message already, read or unread.
    ///
    /// `is_repetition` says that this delivery may have been tried before; only then is it worth to walk
    /// through `cur`, where a mail reader puts what was seen under a name with flags.
    pub(super) fn has(
        &self,
        mailbox: &str,
        message: &Message,
        is_repetition: bool,
    ) -> Result<Option<PathBuf>, DeliveryFault> {
        if !is_repetition {
            return Ok(None);
        }
        let (directory, name) = (self.directory(mailbox)?, self.file_name(message));
        let (unseen, cur) = (directory.join("new").join(&name), directory.join("cur"));
        // Who cannot look does not know, and a second copy is worse than a later try.
        if unseen.try_exists().map_err(|error| DeliveryFault::of("look for", &unseen, error))? {
            return Ok(Some(unseen));
        }
        let seen = match fs::read_dir(&cur) {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DeliveryFault::of("list", &cur, error)),
        };
        for entry in seen {
            let found = entry.map_err(|error| DeliveryFault::of("list", &cur, error))?.file_name();
            let flags = found.to_str().and_then(|found| found.strip_prefix(&name));
            if flags.is_some_and(|flags| flags.is_empty() || flags.starts_with(':')) {
                return Ok(Some(cur.join(found)));
            }
        }
        Ok(None)
    }

    /// Writes the message under `tmp`, not synced yet.
    pub(super) fn write(&self, mailbox: &str, message: &Message, address: &Address) -> Result<Written, DeliveryFault> {
        let directory = self.directory(mailbox)?;
        let name = self.file_name(message);
        let temporary = directory.join("tmp").join(&name);
        let mut options = File::options();
        // What a crash left half written under this name is written over.
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = match options.open(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_mailbox(&directory)?;
                options.open(&temporary)
            }
            opened => opened,
        };
        let mut file = file.map_err(|error| DeliveryFault::of("create", &temporary, error))?;
        if let Err(fault) = write_message(&mut file, &temporary, message, address) {
            // Nothing more can be done where this fails too; the next try writes over it.
            drop(fs::remove_file(&temporary));
            return Err(fault);
        }
        start_write_back(&file);
        Ok(Written { temporary, place: directory.join("new").join(name), file })
    }

    fn file_name(&self, message: &Message) -> String {
        format!("{}.{}.{}", message.arrival.at.seconds, message.id, self.host_name)
    }
}

impl Written {
    /// Makes the octets durable and gives the file its place; the directory is the caller's to sync.
    pub(super) fn place(&self) -> Result<(), DeliveryFault> {
        self.file.sync_data().map_err(|error| DeliveryFault::of("sync", &self.temporary, error))?;
        fs::rename(&self.temporary, &self.place).map_err(|error| DeliveryFault::of("rename", &self.temporary, error))
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), DeliveryFault> {
    let synced = File::open(directory).and_then(|opened| opened.sync_all());
    synced.map_err(|error| DeliveryFault::of("sync", directory, error))
}

fn make_mailbox(directory: &Path) -> Result<(), DeliveryFault> {
    make_directory(directory)?;
    for name in ["tmp", "new", "cur"] {
        make_directory(&directory.join(name))?;
    }
    // The mailbox itself must outlive a crash, or what is synced into it does not.
    sync_directory(directory)
}

fn make_directory(directory: &Path) -> Result<(), DeliveryFault> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = directory.parent().ok_or_else(|| DeliveryFault::of("create", directory, error))?;
            make_directory(parent)?;
            make_directory(directory)
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !directory.is_dir() => {
            Err(DeliveryFault::of("create", directory, error))
        }
        Err(_) => Ok(()),
        Ok(()) => directory.parent().map_or(Ok(()), sync_directory),
    }
}

fn write_message(file: &mut File, path: &Path, message: &Message, address: &Address) -> Result<(), DeliveryFault> {
    // RFC 5321 §4.4: the server that makes the final delivery puts Return-Path at the top, the null
    // reverse path included.
    let sender = message.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut head = format!("Return-Path: <{sender}>\nDelivered-To: {address}\n").into_bytes();
    push_with_unix_ends(&mut head, &message.header.to_bytes());
    push_with_unix_ends(&mut head, message.separator());
    let wrong = |error| DeliveryFault::of("write", path, error);
    if message.body.len() <= CHUNK as u64 && !message.is_binary() {
        let body = message.body.read(0, CHUNK).map_err(DeliveryFault::Body)?;
        push_with_unix_ends(&mut head, &body);
        return file.write_all(&head).map_err(wrong);
    }
    file.write_all(&head).map_err(wrong)?;
    write_body(file, message).map_err(|error| match error {
        BodyError::Read(error) => DeliveryFault::Body(error),
        BodyError::Write(error) => wrong(error),
    })
}

enum BodyError {
    Read(io::Error),
    Write(io::Error),
}

fn write_body(file: &mut File, message: &Message) -> Result<(), BodyError> {
    let mut out = Vec::with_capacity(CHUNK + 1);
    let mut failed = None;
    let mut ends_in_cr = false;
    let copied = message.body.for_each_chunk(CHUNK, |chunk| {
        out.clear();
        // A chunk may end between CR and LF.
        if ends_in_cr && !chunk.starts_with(b"\n") {
            out.push(b'\r');
        }
        if message.is_binary() {
            // RFC 3030 §3: a CR LF in there need not be a line end.
            out.extend_from_slice(chunk);
        } else {
            ends_in_cr = chunk.ends_with(b"\r");
            let whole = chunk.strip_suffix(b"\r").unwrap_or(chunk);
            push_with_unix_ends(&mut out, whole);
        }
        file.write_all(&out).map_err(|error| {
            failed = Some(error);
            io::Error::other("the mailbox cannot be written")
        })
    });
    match (copied, failed) {
        (_, Some(error)) => Err(BodyError::Write(error)),
        (Err(error), None) => Err(BodyError::Read(error)),
        (Ok(()), None) => Ok(()),
    }
}

// Appends with LF for CR LF; any other CR stays, so nothing but line ends ever changes.
fn push_with_unix_ends(out: &mut Vec<u8>, octets: &[u8]) {
    let mut rest = octets;
    while let Some(at) = rest.iter().position(|&octet| octet == b'\r') {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        match from.strip_prefix(b"\r\n") {
            Some(after) => {
                out.push(b'\n');
                rest = after;
            }
            None => {
                out.push(b'\r');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.extend_from_slice(rest);
}

// Lets the kernel begin to write while further messages of the batch are prepared, so that one commit of the
// file system's journal serves all of them: a quarter less time for each of 64 messages on ext4. Only a
// hint; the sync that counts comes later.
fn start_write_back(file: &File) {
    if let Err(error) = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        tracing::trace!(%error, "no early write-back");
    }
}

#[cfg(test)]
#[path = "maildir_tests.rs"]
mod tests;
