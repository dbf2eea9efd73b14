//! Reads messages back.

use std::borrow::Cow;
use std::sync::Arc;

use basin_core::mail::{Body, HeaderBlock, Message, MessageId};
use basin_core::transport::State;
use bytes::Bytes;

use crate::body::StoredBody;
use crate::error::SpoolFault;
use crate::index::{BodyPlace, Entry, Place};
use crate::record::{FRAME_BYTES, Frame, Meta, Record};
use crate::shared::Shared;
use crate::storage::{StorageFile, read_exactly};

/// Octets of a large body checked at a time.
const CHECK_BYTES: usize = 256 * 1024;

/// What of a message is in its newest record.
pub(crate) struct Head {
    pub(crate) meta: Meta<'static>,
    pub(crate) header: Bytes,
}

/// The entry of a message with its segment files, taken together so that they fit.
pub(crate) struct Found {
    pub(crate) id: MessageId,
    pub(crate) entry: Entry,
    record_file: Option<Arc<dyn StorageFile>>,
    body_file: Option<Arc<dyn StorageFile>>,
}

/// Looks a message up.
pub(crate) fn find(shared: &Shared, id: &MessageId) -> Option<Found> {
    let index = shared.index();
    let entry = index.messages.get(id)?;
    let file = |segment: u64| index.segments.get(&segment).map(|segment| Arc::clone(&segment.file));
    let record_file = file(entry.record.segment);
    let body_file = match entry.body {
        BodyPlace::Inline { segment, .. } => file(segment),
        BodyPlace::File { .. } => None,
    };
    Some(Found { id: id.clone(), entry, record_file, body_file })
}

impl Found {
    /// Reads the newest record but for its body.
    pub(crate) fn head(&self) -> Result<Head, SpoolFault> {
        let Place { segment, offset, len } = self.entry.record;
        let file = self.record_file.as_ref().ok_or_else(|| self.damaged("its segment is not there"))?;
        let failed = |error| SpoolFault::of(format!("read segment {segment} at {offset}"), &error);
        let start = read_exactly(file.as_ref(), offset, FRAME_BYTES).map_err(failed)?;
        let frame = Frame::parse(&start, None).map(|(frame, _)| frame).filter(|frame| frame.len() == len);
        let frame = frame.ok_or_else(|| self.damaged("its record does not start where it did"))?;
        let head_len = usize::try_from(frame.head_len()).map_err(|_| self.damaged("its record is too long"))?;
        let head = read_exactly(file.as_ref(), offset, head_len).map_err(failed)?;
        let record = Record::parse(&head, frame).ok_or_else(|| self.damaged("the checksum of its record is wrong"))?;
        let meta = serde_json::from_slice(record.meta).map_err(|error| self.damaged(&error.to_string()))?;
        Ok(Head { meta, header: Bytes::copy_from_slice(record.header) })
    }

    /// Where the octets of its newest record are.
    pub(crate) fn record_bytes(&self) -> Option<(Arc<dyn StorageFile>, u64, u64)> {
        let file = self.record_file.clone()?;
        Some((file, self.entry.record.offset, self.entry.record.len))
    }

    /// Opens the body; it is read when somebody reads it.
    pub(crate) fn body(&self, shared: &Shared) -> Result<StoredBody, SpoolFault> {
        let (file, start) = match &self.entry.body {
            BodyPlace::Inline { offset, .. } => {
                let file =
                    self.body_file.as_ref().ok_or_else(|| self.damaged("the segment of its body is not there"))?;
                (Arc::clone(file), *offset)
            }
            BodyPlace::File { name, start, .. } => {
                let opened = shared.storage.open(&shared.layout.bodies.join(name.as_ref()));
                let file = opened.map_err(|error| {
                    if error.kind() == std::io::ErrorKind::NotFound {
                        self.damaged(&format!("its body file bodies/{name} is not there"))
                    } else {
                        SpoolFault::of(format!("open body {name}"), &error)
                    }
                })?;
                (file, *start)
            }
        };
        let (len, crc) = self.entry.body.proof();
        Ok(StoredBody { id: self.id.clone(), file, start, len, crc })
    }

    /// Reads all octets that the checksum of the body covers and compares.
    pub(crate) fn check_body(&self, body: &StoredBody) -> Result<(), SpoolFault> {
        let (start, end) = match self.entry.body {
            BodyPlace::Inline { offset, len, .. } => (offset, offset + len),
            BodyPlace::File { file_len, .. } => (0, file_len),
        };
        let mut crc = crc32fast::Hasher::new();
        let mut at = start;
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(CHECK_BYTES).min(CHECK_BYTES);
            let octets = read_exactly(body.file.as_ref(), at, count).map_err(|error| {
                if error.kind() == std::io::ErrorKind::UnexpectedEof {
                    self.damaged("its body is shorter than it was")
                } else {
                    SpoolFault::of(format!("read the body of message {}", self.id), &error)
                }
            })?;
            crc.update(&octets);
            at += count as u64;
        }
        if crc.finalize() == body.crc { Ok(()) } else { Err(self.damaged("the checksum of its body is wrong")) }
    }

    pub(crate) fn damaged(&self, what: &str) -> SpoolFault {
        SpoolFault::Damaged { id: self.id.to_string(), what: what.to_owned() }
    }
}

/// Reads a message; its body stays on disk, but its checksum was compared.
pub(crate) fn load(shared: &Shared, id: &MessageId) -> Result<Option<(Message, State)>, SpoolFault> {
    let mut found = find(shared, id);
    while let Some(now) = found {
        let result = now.head().and_then(|head| {
            let body = now.body(shared)?;
            now.check_body(&body)?;
            assemble(&now, head, body)
        });
        match result {
            Ok(loaded) => return Ok(Some(loaded)),
            Err(fault) => {
                found = find(shared, id);
                // Removed or saved meanwhile, it may have lost the body file that was looked for.
                let is_changed = found.as_ref().is_none_or(|again| again.entry.record != now.entry.record);
                if !(is_changed && matches!(fault, SpoolFault::Damaged { .. })) {
                    return Err(shared.note(fault));
                }
            }
        }
    }
    Ok(None)
}

fn assemble(found: &Found, head: Head, body: StoredBody) -> Result<(Message, State), SpoolFault> {
    let Head { meta, header } = head;
    let header = HeaderBlock::parse(&header).map_err(|error| found.damaged(&error.to_string()))?;
    let len = body.len;
    let message = Message {
        id: meta.id.into_owned(),
        arrival: Arc::new(meta.arrival.into_owned()),
        envelope: Arc::new(meta.envelope.into_owned()),
        header: Arc::new(header),
        body: Body::window(Arc::new(body), 0, len),
        is_header_only: meta.is_header_only,
        properties: Arc::new(meta.properties.into_owned()),
        priority: meta.priority,
        deliver_after: meta.deliver_after,
        expiry: meta.expiry,
        supersedes: meta.supersedes.map(Cow::into_owned),
    };
    Ok((message, meta.state.into_owned()))
}
