//! Makes a record out of a message, on the caller's thread, so that the writer only has to write.

use std::sync::Arc;

use basin_core::mail::{Body, Field, Message, MessageId};
use basin_core::transport::State;
use bytes::Bytes;

use crate::body::StoredBody;
use crate::draft::{Draft, DraftBody, DraftFile};
use crate::error::SpoolFault;
use crate::index::{BodyPlace, Entry, SeenBody};
use crate::layout::body_name;
use crate::record::{BodyNote, Encoded, Kind, Meta};
use crate::shared::Shared;

/// Octets copied at a time where a large body has to be.
const COPY_BYTES: usize = 256 * 1024;

/// Where the body of a prepared record will be.
pub(crate) enum PreparedBody {
    /// In the record.
    Inline { len: u64, crc: u32 },
    /// In the draft file, under its new name.
    File { draft: Arc<DraftFile>, name: Arc<str>, start: u64, len: u64 },
    /// Where it is: there, but for a move to another segment.
    Same(BodyPlace),
}

/// A record that waits to be written.
pub(crate) struct Prepared {
    pub(crate) id: MessageId,
    pub(crate) encoded: Encoded,
    pub(crate) body: PreparedBody,
    pub(crate) seen: SeenBody,
}

/// Prepares a message with its body.
///
/// A body in memory is not copied, nor one in a draft file; any other large one is copied into a draft file.
pub(crate) fn whole(shared: &Arc<Shared>, message: &Message, state: &State) -> Result<Prepared, SpoolFault> {
    let body = &message.body;
    if body.len() > shared.options.inline_bytes_max as u64 {
        let (draft, start) = match free_draft(body) {
            Some(draft) => (draft, body.start()),
            None => (copied(shared, body, message)?, 0),
        };
        draft.sync()?;
        let name: Arc<str> = body_name(&message.id, draft.number).into();
        let note = BodyNote::File {
            name: name.as_ref().to_owned(),
            start,
            len: body.len(),
            file_len: draft.len,
            file_crc: draft.crc,
        };
        let prepared = PreparedBody::File { draft, name, start, len: body.len() };
        return encode(message, state, Kind::Message, note, (Bytes::new(), 0), prepared);
    }
    let octets = in_memory(body)
        .map_or_else(|| body.read(0, shared.options.inline_bytes_max).map(Bytes::from), Ok)
        .map_err(|error| SpoolFault::of(format!("read the body of message {}", message.id), &error))?;
    if octets.len() as u64 != body.len() {
        return Err(SpoolFault::Damaged { id: message.id.to_string(), what: "its body is shorter than it was".into() });
    }
    let crc = crc32fast::hash(&octets);
    let prepared = PreparedBody::Inline { len: body.len(), crc };
    encode(message, state, Kind::Message, BodyNote::Here, (octets, crc), prepared)
}

/// Prepares the newer state of a message, without its body where that is the stored one.
pub(crate) fn newer(shared: &Arc<Shared>, message: &Message, state: &State) -> Result<Prepared, SpoolFault> {
    let unchanged = {
        let index = shared.index();
        let is_same = |entry: &Entry| {
            index.messages.has_seen(&message.id, &message.body)
                || StoredBody::is(&message.body, &message.id, entry.body.proof())
        };
        index.messages.get(&message.id).filter(is_same).map(|entry| entry.body)
    };
    let Some(place) = unchanged else { return whole(shared, message, state) };
    encode(message, state, Kind::State, place.note(), (Bytes::new(), 0), PreparedBody::Same(place))
}

fn encode(
    message: &Message,
    state: &State,
    kind: Kind,
    note: BodyNote,
    (octets, crc): (Bytes, u32),
    body: PreparedBody,
) -> Result<Prepared, SpoolFault> {
    let header: Vec<&[u8]> = message.header.fields().iter().map(Field::raw).collect();
    let meta = Meta::of(message, state, note);
    let encoded = Encoded::new(kind, |out| serde_json::to_writer(out, &meta), &header, octets, crc);
    let encoded = encoded.ok_or_else(|| SpoolFault::Io {
        doing: format!("encode message {}", message.id),
        cause: "its envelope and properties are too large".into(),
    })?;
    Ok(Prepared { id: message.id.clone(), encoded, body, seen: SeenBody::of(&message.body) })
}

// The octets of a body that is in memory.
fn in_memory(body: &Body) -> Option<Bytes> {
    let octets = body.source().as_any()?.downcast_ref::<Bytes>()?;
    let start = usize::try_from(body.start()).ok()?;
    let end = start.checked_add(usize::try_from(body.len()).ok()?)?;
    (end <= octets.len()).then(|| octets.slice(start..end))
}

// The draft file that a body is a window onto, if no other message has taken it.
fn free_draft(body: &Body) -> Option<Arc<DraftFile>> {
    let DraftBody(file) = body.source().as_any()?.downcast_ref::<DraftBody>()?;
    file.claim().then(|| Arc::clone(file))
}

fn copied(shared: &Arc<Shared>, body: &Body, message: &Message) -> Result<Arc<DraftFile>, SpoolFault> {
    let mut draft = Draft::new(Arc::clone(shared));
    let mut failed = None;
    let copying = body.for_each_chunk(COPY_BYTES, |octets| {
        draft.write(octets).map_err(|fault| {
            failed = Some(fault);
            std::io::ErrorKind::Other.into()
        })
    });
    match (failed, copying) {
        (Some(fault), _) => Err(fault),
        (None, Err(error)) => Err(SpoolFault::of(format!("read the body of message {}", message.id), &error)),
        (None, Ok(())) => draft.finish_file().inspect(|draft| {
            draft.claim();
        }),
    }
}
