//! Reading a Maildir as a mail reader does.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::wait;

/// One mailbox on disk.
#[derive(Debug, Clone)]
pub struct Maildir {
    path: PathBuf,
}

/// A message in a mailbox.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The file.
    pub path: PathBuf,
    /// Its octets, with CR LF as line end whatever the file has.
    pub octets: Vec<u8>,
}

impl Mail {
    /// The value of the first field of that name, unfolded; `None` where there is none.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers(name).into_iter().next()
    }

    /// The values of all fields of that name.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.octets).into_owned();
        let header = text.split("\r\n\r\n").next().unwrap_or_default();
        let unfolded = header.replace("\r\n ", " ").replace("\r\n\t", " ");
        let fields = unfolded.split("\r\n").filter_map(|field| field.split_once(':'));
        let own = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.trim().to_owned()).collect()
    }

    /// Names of the fields in their order.
    pub fn field_names(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.octets).into_owned();
        let header = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
        let starts = header.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        starts.filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_owned()).collect()
    }
}

impl Maildir {
    /// The mailbox below that directory; it need not be there yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the messages in `new` and `cur`; none where the mailbox is not there yet.
    pub fn names(&self) -> io::Result<BTreeSet<PathBuf>> {
        let mut names = BTreeSet::new();
        for folder in ["new", "cur"] {
            match fs::read_dir(self.path.join(folder)) {
                Ok(entries) => {
                    for entry in entries {
                        names.insert(entry?.path());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    /// All messages, in the order of their file names.
    pub fn read(&self) -> io::Result<Vec<Mail>> {
        self.names()?.into_iter().map(read).collect()
    }

    /// Waits until at least that many messages are there, and reads them all.
    pub fn wait_for(&self, count: usize, limit: Duration) -> io::Result<Vec<Mail>> {
        wait::until_true(limit, || self.names().is_ok_and(|names| names.len() >= count));
        let mails = self.read()?;
        if mails.len() >= count {
            return Ok(mails);
        }
        let text = format!("{} holds {} messages, expected {count}", self.path.display(), mails.len());
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}

/// Reads one message file.
pub fn read(path: PathBuf) -> io::Result<Mail> {
    let octets = fs::read(&path)?;
    Ok(Mail { octets: with_crlf(octets), path })
}

/// A Maildir may hold either line end. SMTP brings no bare CR or LF in, so a file without any CR is turned back
/// without loss; one that mixes both is left as it is and will not compare equal.
fn with_crlf(octets: Vec<u8>) -> Vec<u8> {
    if octets.contains(&b'\r') {
        return octets;
    }
    let mut wide = Vec::with_capacity(octets.len() + octets.len() / 32);
    for octet in octets {
        if octet == b'\n' {
            wide.push(b'\r');
        }
        wide.push(octet);
    }
    wide
}
