//! Reads what is known of every message in one pass over the log, without bodies.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use basin_core::mail::{Arrival, Envelope, Expiry, MessageId, Supersedes};
use basin_core::time::Timestamp;
use basin_core::transport::State;

use crate::error::SpoolFault;
use crate::index::Place;
use crate::read::{Found, Head, find};
use crate::record::{FRAME_BYTES, Frame, Meta, Record};
use crate::shared::Shared;
use crate::storage::{StorageFile, read_exactly};

/// Octets of a segment read at a time. Heads lie close together where bodies are small; a body larger than
/// this is never read.
const WINDOW_BYTES: usize = 256 * 1024;

/// A message as [`crate::Spool::scan`] gives it: everything but header block and body.
#[derive(Debug, Clone, PartialEq)]
pub struct Scanned {
    /// Identity.
    pub id: MessageId,
    /// How far it has come.
    pub state: State,
    /// How it came.
    pub arrival: Arrival,
    /// Who it is from and for, with what became of each recipient.
    pub envelope: Envelope,
    /// Octets of the header block.
    pub header_bytes: u64,
    /// Octets of the body.
    pub body_bytes: u64,
    /// Octets of header block, empty line and body: what a client is told.
    pub size: u64,
    /// Above 0 before others, below 0 after them.
    pub priority: i32,
    /// No delivery before this time.
    pub deliver_after: Option<Timestamp>,
    /// How long it is tried, where a sink said so.
    pub expiry: Option<Expiry>,
    /// What it takes the place of, where a sink said so.
    pub supersedes: Option<Supersedes>,
}

/// A message that is there but cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The message.
    pub id: MessageId,
    /// Why.
    pub fault: SpoolFault,
}

impl Scanned {
    pub(crate) fn of(meta: Meta<'static>, header_bytes: u64, body_bytes: u64) -> Self {
        let separator_bytes = if meta.is_header_only && body_bytes == 0 { 0 } else { 2 };
        Self {
            id: meta.id.into_owned(),
            state: meta.state.into_owned(),
            arrival: meta.arrival.into_owned(),
            envelope: meta.envelope.into_owned(),
            header_bytes,
            body_bytes,
            size: header_bytes + separator_bytes + body_bytes,
            priority: meta.priority,
            deliver_after: meta.deliver_after,
            expiry: meta.expiry,
            supersedes: meta.supersedes.map(Cow::into_owned),
        }
    }

    fn of_found(found: &Found) -> Result<Self, SpoolFault> {
        let Head { meta, header } = found.head()?;
        Ok(Self::of(meta, header.len() as u64, found.entry.body.proof().0))
    }
}

/// Gives every message that is there when it is called, in log order.
pub(crate) fn scan(shared: &Shared, mut each: impl FnMut(Result<Scanned, Unreadable>)) {
    let (mut places, files) = {
        let index = shared.index();
        let places: Vec<Place> = index.messages.iter().map(|(_, entry)| entry.record).collect();
        // Held open, a segment can be read even after its messages were moved and it was removed.
        let files = index.segments.iter().map(|(&number, segment)| (number, Arc::clone(&segment.file)));
        (places, files.collect::<BTreeMap<_, _>>())
    };
    places.sort_unstable_by_key(|place| (place.segment, place.offset));
    let mut window = Window::new(files);
    let mut unreadable = Vec::new();
    for place in places {
        if let Some(meta) = window.meta_at(place) {
            give(shared, place, meta, window.header_bytes, &mut each);
        } else {
            unreadable.push(place);
        }
    }
    if unreadable.is_empty() {
        return;
    }
    // Whose they are is not known from the record. Those that are somewhere else by now can be read there.
    let is_unreadable = |place: Place| {
        let key = |place: &Place| (place.segment, place.offset);
        unreadable.binary_search_by_key(&key(&place), key).is_ok()
    };
    let ids: Vec<MessageId> = {
        let index = shared.index();
        let hits = index.messages.iter().filter(|(_, entry)| is_unreadable(entry.record));
        hits.filter_map(|(id, _)| id.id()).collect()
    };
    for id in ids {
        give_again(shared, &id, &mut each);
    }
}

// Gives a message whose record was read, as it is now.
fn give(
    shared: &Shared,
    place: Place,
    meta: Meta<'static>,
    header_bytes: u64,
    each: &mut impl FnMut(Result<Scanned, Unreadable>),
) {
    let id = meta.id.as_ref();
    let now = shared.index().messages.get(id).map(|entry| (entry.record, entry.body.proof().0));
    match now {
        Some((record, body_bytes)) if record == place => each(Ok(Scanned::of(meta, header_bytes, body_bytes))),
        Some(_) => give_again(shared, id, each),
        None => {}
    }
}

fn give_again(shared: &Shared, id: &MessageId, each: &mut impl FnMut(Result<Scanned, Unreadable>)) {
    while let Some(found) = find(shared, id) {
        match Scanned::of_found(&found) {
            Ok(scanned) => return each(Ok(scanned)),
            Err(fault) => {
                let is_same = find(shared, id).is_some_and(|again| again.entry.record == found.entry.record);
                if is_same {
                    return each(Err(Unreadable { id: id.clone(), fault }));
                }
            }
        }
    }
}

/// The part of a segment that was read last.
struct Window {
    files: BTreeMap<u64, Arc<dyn StorageFile>>,
    segment: u64,
    start: u64,
    octets: Vec<u8>,
    // Of the record that was read last.
    header_bytes: u64,
}

impl Window {
    fn new(files: BTreeMap<u64, Arc<dyn StorageFile>>) -> Self {
        Self { files, segment: 0, start: 0, octets: Vec::new(), header_bytes: 0 }
    }

    // `None` where it cannot be read.
    fn meta_at(&mut self, place: Place) -> Option<Meta<'static>> {
        if self.segment != place.segment {
            self.octets.clear();
            self.segment = place.segment;
        }
        let (frame, _) = Frame::parse(self.get(place.offset, FRAME_BYTES)?, None)?;
        if frame.len() != place.len {
            return None;
        }
        let head_len = usize::try_from(frame.head_len()).ok()?;
        self.header_bytes = u64::from(frame.header_len);
        let record = Record::parse(self.get(place.offset, head_len)?, frame)?;
        serde_json::from_slice(record.meta).ok()
    }

    fn get(&mut self, offset: u64, len: usize) -> Option<&[u8]> {
        let at = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let is_there = at.is_some_and(|at| at + len <= self.octets.len());
        if !is_there {
            self.fill(offset, len)?;
        }
        let at = usize::try_from(offset - self.start).ok()?;
        self.octets.get(at..at + len)
    }

    fn fill(&mut self, offset: u64, len: usize) -> Option<()> {
        let file = self.files.get(&self.segment)?;
        if len > WINDOW_BYTES {
            self.octets = read_exactly(file.as_ref(), offset, len).ok()?;
            self.start = offset;
            return Some(());
        }
        self.octets.resize(WINDOW_BYTES, 0);
        self.start = offset;
        let mut filled = 0;
        while filled < len {
            match self.octets.get_mut(filled..).map(|rest| file.read_at(offset + filled as u64, rest)) {
                Some(Ok(count)) if count > 0 => filled += count,
                Some(Ok(_) | Err(_)) | None => {
                    // A bad place further on may have failed a read that was longer than needed.
                    self.octets = read_exactly(file.as_ref(), offset, len).unwrap_or_default();
                    return (!self.octets.is_empty()).then_some(());
                }
            }
        }
        self.octets.truncate(filled);
        Some(())
    }
}
