//! Where each message is, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use basin_core::mail::{Body, MessageId, ReadAt};

use crate::messages::{Messages, SmallId};
use crate::record::BodyNote;
use crate::segment::FORMAT_VERSION;
use crate::storage::StorageFile;

/// Where the newest record of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// Where the body of a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyPlace {
    /// In a record, which need not be the newest.
    Inline { segment: u64, offset: u64, len: u64, crc: u32 },
    /// In a file below `bodies`.
    File { name: Arc<str>, start: u64, len: u64, file_len: u64, crc: u32 },
}

impl BodyPlace {
    /// Length and checksum, by which a later record says that the body is unchanged.
    pub(crate) fn proof(&self) -> (u64, u32) {
        match *self {
            Self::Inline { len, crc, .. } | Self::File { len, crc, .. } => (len, crc),
        }
    }

    /// Octets of the file that the checksum covers; `None` where the body is in a record.
    pub(crate) fn file_len(&self) -> Option<u64> {
        match *self {
            Self::File { file_len, .. } => Some(file_len),
            Self::Inline { .. } => None,
        }
    }

    /// Whether it is that body, wherever its record was moved.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.proof() == other.proof() && self.file() == other.file()
    }

    /// What a record says of a body that stays where it is.
    ///
    /// The record that has an inline body stays as long as the body is needed. A body file may outlive the
    /// record that first named it, so each newer one names it too.
    pub(crate) fn note(&self) -> BodyNote {
        match *self {
            Self::Inline { len, crc, .. } => BodyNote::Same { len, crc },
            Self::File { ref name, start, len, file_len, crc } => {
                BodyNote::File { name: name.as_ref().to_owned(), start, len, file_len, file_crc: crc }
            }
        }
    }

    /// The name of the body file.
    pub(crate) fn file(&self) -> Option<&Arc<str>> {
        match self {
            Self::File { name, .. } => Some(name),
            Self::Inline { .. } => None,
        }
    }
}

/// A body as the caller gave it; the same window onto the same source need not be written again.
///
/// The weak reference keeps no octets alive, but it keeps their address from being used for others.
#[derive(Clone)]
pub(crate) struct SeenBody {
    source: Weak<dyn ReadAt>,
    start: u64,
    len: u64,
}

impl SeenBody {
    pub(crate) fn of(body: &Body) -> Self {
        Self { source: Arc::downgrade(body.source()), start: body.start(), len: body.len() }
    }

    pub(crate) fn is(&self, body: &Body) -> bool {
        let is_same_source = std::ptr::addr_eq(self.source.as_ptr(), Arc::as_ptr(body.source()));
        is_same_source && self.start == body.start() && self.len == body.len()
    }

    /// Whether anybody can still have it.
    pub(crate) fn is_alive(&self) -> bool {
        self.source.strong_count() > 0
    }
}

/// What is known of a message without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) record: Place,
    pub(crate) body: BodyPlace,
    /// The first segment that may still have a record of it: a remove record has to outlive that one.
    pub(crate) earliest: u64,
}

impl Entry {
    /// Whether the message keeps that segment.
    pub(crate) fn needs(&self, segment: u64) -> bool {
        self.charges().any(|(number, _)| number == segment)
    }

    // Segments that this message keeps, with the octets it keeps there.
    fn charges(&self) -> impl Iterator<Item = (u64, u64)> {
        let record = (self.record.segment, self.record.len);
        let body = match self.body {
            BodyPlace::Inline { segment, offset, len, .. } => {
                let end = self.record.offset + self.record.len;
                let is_in_record = segment == self.record.segment && (self.record.offset..end).contains(&offset);
                (!is_in_record).then_some((segment, len))
            }
            BodyPlace::File { .. } => None,
        };
        [record].into_iter().chain(body)
    }
}

/// A removed message whose older records may come up again unless its remove record is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) id: SmallId,
    pub(crate) earliest: u64,
}

/// One segment file.
pub(crate) struct Segment {
    pub(crate) file: Arc<dyn StorageFile>,
    /// How many messages need it.
    pub(crate) live: u64,
    /// Octets that they need.
    pub(crate) live_bytes: u64,
    /// Remove records in it that older segments make necessary.
    pub(crate) tombstones: Vec<Tombstone>,
    /// Has octets that could not be read or set aside: it is never deleted.
    pub(crate) is_kept: bool,
    /// Has damage that was set aside: its messages move on, so that nobody has to look at it again.
    pub(crate) is_left: bool,
    /// Has places that the disk does not give back.
    pub(crate) has_holes: bool,
    /// Goes to `damaged/` when no message needs it, for what cannot be read in it.
    pub(crate) is_set_aside: bool,
    /// Version of the format it was written in.
    pub(crate) version: u32,
}

impl Segment {
    pub(crate) fn new(file: Arc<dyn StorageFile>) -> Self {
        Self {
            file,
            live: 0,
            live_bytes: 0,
            tombstones: Vec::new(),
            is_kept: false,
            is_left: false,
            has_holes: false,
            is_set_aside: false,
            version: FORMAT_VERSION,
        }
    }
}

/// Messages and segments.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) messages: Messages,
    pub(crate) segments: BTreeMap<u64, Segment>,
}

impl Index {
    /// Takes a message in, or the newer record of one; returns what was known before.
    pub(crate) fn put(&mut self, id: &MessageId, mut entry: Entry) -> Option<Entry> {
        self.charge(&entry);
        let before = self.messages.get(id);
        if let Some(before) = &before {
            entry.earliest = entry.earliest.min(before.earliest);
        }
        self.messages.insert(id, entry);
        let before = before?;
        self.discharge(&before);
        Some(before)
    }

    /// Forgets a message.
    pub(crate) fn take(&mut self, id: &MessageId) -> Option<Entry> {
        let entry = self.messages.remove(id)?;
        self.discharge(&entry);
        Some(entry)
    }

    /// Notes a remove record in `segment`, where older segments make it necessary.
    pub(crate) fn bury(&mut self, tombstone: Tombstone, segment: u64) {
        if tombstone.earliest < segment
            && let Some(segment) = self.segments.get_mut(&segment)
        {
            segment.tombstones.push(tombstone);
        }
    }

    /// Takes out the removals of messages that are there again. The older records that such a removal was
    /// for are the message's own now, so that its next removal outlives them.
    pub(crate) fn inherit(&mut self, mut tombstones: Vec<Tombstone>) -> Vec<Tombstone> {
        tombstones.retain(|tombstone| {
            let Some(id) = tombstone.id.id() else { return true };
            let Some(mut entry) = self.messages.get(&id) else { return true };
            entry.earliest = entry.earliest.min(tombstone.earliest);
            self.messages.insert(&id, entry);
            false
        });
        tombstones
    }

    /// Messages that need `segment`.
    pub(crate) fn needing(&self, segment: u64) -> Vec<MessageId> {
        self.messages.iter().filter(|(_, entry)| entry.needs(segment)).filter_map(|(id, _)| id.id()).collect()
    }

    /// Octets that live messages need.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.live_bytes).sum()
    }

    fn charge(&mut self, entry: &Entry) {
        for (number, octets) in entry.charges() {
            if let Some(segment) = self.segments.get_mut(&number) {
                segment.live += 1;
                segment.live_bytes += octets;
            }
        }
    }

    fn discharge(&mut self, entry: &Entry) {
        for (number, octets) in entry.charges() {
            if let Some(segment) = self.segments.get_mut(&number) {
                segment.live = segment.live.saturating_sub(1);
                segment.live_bytes = segment.live_bytes.saturating_sub(octets);
            }
        }
    }
}
