//! What was found damaged, and where it was put. Nothing damaged is ever deleted.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use crate::layout::Layout;
use crate::storage::Storage;

/// What kind of thing is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// The header of a segment; its records were read all the same.
    SegmentHeader,
    /// A segment in which no record could be found.
    Segment,
    /// A record, or octets where records should be.
    Record,
    /// The end of a segment: a write that a crash cut short, as a rule.
    TornTail,
    /// The record of a message whose body is not there.
    BodyMissing,
    /// A body file with a wrong checksum.
    Body,
    /// A place that the disk does not give back. It is left as it is.
    Unreadable,
}

/// One damaged thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What it is.
    pub kind: DamageKind,
    /// The file it was found in.
    pub found_in: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// How many octets.
    pub octets: u64,
    /// The message that it belonged to, where that can still be told.
    pub message: Option<String>,
    /// The file that has a copy now; `None` where none could be made, and then the original stays.
    pub set_aside: Option<PathBuf>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DamageKind::SegmentHeader => "damaged segment header",
            DamageKind::Segment => "segment without a readable record",
            DamageKind::Record => "damaged record",
            DamageKind::TornTail => "unfinished write",
            DamageKind::Body => "damaged body",
            DamageKind::BodyMissing => "record of a message without its body",
            DamageKind::Unreadable => "place that cannot be read",
        };
        write!(f, "{what} in {} at octet {}, {} octets", self.found_in.display(), self.offset, self.octets)?;
        if let Some(message) = &self.message {
            write!(f, ", of message {message}")?;
        }
        match &self.set_aside {
            Some(path) => write!(f, "; set aside as {}", path.display()),
            None => f.write_str("; left where it is"),
        }
    }
}

/// Copies damaged octets into `damaged/` and remembers what they were.
pub(crate) struct SetAside<'a> {
    storage: &'a dyn Storage,
    layout: &'a Layout,
    // What earlier starts have set aside; it is neither copied nor reported again.
    known: HashSet<String>,
    damaged: Vec<Damage>,
}

impl<'a> SetAside<'a> {
    pub(crate) fn new(storage: &'a dyn Storage, layout: &'a Layout) -> io::Result<Self> {
        let known = storage.list(&layout.damaged)?.into_iter().map(|entry| entry.name).collect();
        Ok(Self { storage, layout, known, damaged: Vec::new() })
    }

    /// Copies octets of a segment; says whether they are safe.
    pub(crate) fn set_aside(
        &mut self,
        number: u64,
        offset: u64,
        octets: &[u8],
        kind: DamageKind,
        message: Option<String>,
    ) -> bool {
        let is_nothing = octets.iter().all(|&octet| octet == 0);
        if is_nothing && kind == DamageKind::TornTail {
            return true;
        }
        let name = format!("segment-{number:010}-{offset}");
        if self.known.contains(&name) {
            return true;
        }
        let copied = self.copy(&name, octets);
        self.damaged.push(Damage {
            kind,
            found_in: self.layout.segment(number),
            offset,
            octets: octets.len() as u64,
            message,
            set_aside: copied.as_ref().ok().cloned(),
        });
        copied.is_ok()
    }

    /// Reports that octets of a file cannot be read.
    pub(crate) fn unreadable(&mut self, path: &Path, offset: u64, octets: u64, error: &str) {
        self.damaged.push(Damage {
            kind: DamageKind::Unreadable,
            found_in: path.to_owned(),
            offset,
            octets,
            message: Some(format!("unknown ({error})")),
            set_aside: None,
        });
    }

    /// Adds whose record the last report is about, where that can be told.
    pub(crate) fn name_last(&mut self, message: Option<String>) {
        if let (Some(damage), Some(_)) = (self.damaged.last_mut(), &message) {
            damage.message = message;
        }
    }

    pub(crate) fn into_damaged(self) -> Vec<Damage> {
        self.damaged
    }

    // Under another name first, so that half a copy is never taken for one.
    fn copy(&self, name: &str, octets: &[u8]) -> io::Result<PathBuf> {
        let path = self.layout.damaged.join(name);
        let part = self.layout.damaged.join(format!("{name}.part"));
        if self.known.contains(&format!("{name}.part")) {
            self.storage.remove(&part)?;
        }
        let file = self.storage.create(&part)?;
        file.write_at(0, &mut [IoSlice::new(octets)])?;
        file.sync_data()?;
        self.storage.rename(&part, &path)?;
        self.storage.sync_dir(&self.layout.damaged)?;
        Ok(path)
    }
}
