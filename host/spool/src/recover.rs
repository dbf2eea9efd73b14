//! Start: reads the log and finds out what is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use basin_core::mail::MessageId;

use crate::damage::{Damage, DamageKind, SetAside};
use crate::error::OpenError;
use crate::index::{BodyPlace, Entry, Index, Place, Segment, Tombstone};
use crate::layout::{Layout, body_number, segment_number};
use crate::messages::SmallId;
use crate::record::{BodyNote, Kind, Meta, Record, Removed};
use crate::sectors::{Content, read_all};
use crate::segment::{
    FORMAT_VERSION, Header, Piece, Pieces, SEGMENT_HEADER_BYTES, mark_behind_hole, mark_of_first_record, parse_header,
};
use crate::storage::{Storage, StorageFile, read_exactly};

/// What the start found.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Messages that are there.
    pub messages: usize,
    /// Segments that were read.
    pub segments: usize,
    /// What is damaged: all of it was set aside or left where it is, nothing was deleted.
    pub damaged: Vec<Damage>,
    /// Octets of unfinished writes at the ends of segments. A crash leaves them; nobody was promised them.
    pub torn_bytes: u64,
    /// Drafts of sessions that ended with the process; removed.
    pub drafts_removed: usize,
    /// Large bodies whose message was not stored any more; set aside.
    pub orphan_bodies: Vec<PathBuf>,
}

/// The outcome of reading everything.
pub(crate) struct Replayed {
    pub(crate) index: Index,
    pub(crate) recovery: Recovery,
    pub(crate) next_segment: u64,
    pub(crate) next_file: u64,
}

// A record whose body is not known: in an order that only damage or a removed segment brings about.
struct Unresolved {
    place: Place,
    earliest: u64,
}

struct Replay<'a> {
    storage: &'a dyn Storage,
    layout: &'a Layout,
    aside: SetAside<'a>,
    index: Index,
    unresolved: HashMap<MessageId, Unresolved>,
    // Removed messages, with the first segment that may have a record of each.
    removed: HashMap<MessageId, u64>,
    // Body files whose message has another body now.
    superseded: HashSet<Arc<str>>,
    // The disk did not give everything back.
    is_partial: bool,
    recovery: Recovery,
}

/// Reads the log below `layout`.
pub(crate) fn replay(storage: &dyn Storage, layout: &Layout) -> Result<Replayed, OpenError> {
    let directory = |doing, path: &PathBuf| {
        let path = path.clone();
        move |source| OpenError::Directory { doing, path, source }
    };
    let mut replay = Replay {
        storage,
        layout,
        aside: SetAside::new(storage, layout).map_err(directory("list", &layout.damaged))?,
        index: Index::default(),
        unresolved: HashMap::new(),
        removed: HashMap::new(),
        superseded: HashSet::new(),
        is_partial: false,
        recovery: Recovery::default(),
    };
    let files = storage.list(&layout.segments).map_err(directory("list", &layout.segments))?;
    let numbers: Vec<u64> = files.iter().filter_map(|entry| segment_number(&entry.name)).collect();
    for &number in &numbers {
        replay.segment(number)?;
    }
    if replay.is_partial {
        // Mail that was not read now may be read after the next start, so nothing that it may need goes: no
        // body without a message, no removal, no segment.
        replay.index.segments.values_mut().for_each(|segment| segment.is_kept = true);
    }
    replay.set_unresolved_aside();
    let bodies = storage.list(&layout.bodies).map_err(directory("list", &layout.bodies))?;
    let bodies: BTreeMap<String, u64> = bodies.into_iter().map(|entry| (entry.name, entry.len)).collect();
    replay.check_body_files(&bodies);
    if !replay.is_partial {
        replay.bury_orphans(&bodies);
    }
    let drafts = storage.list(&layout.drafts).map_err(directory("list", &layout.drafts))?;
    for draft in &drafts {
        // One that cannot be removed harms nobody; the next start tries again.
        let is_removed = storage.remove(&layout.drafts.join(&draft.name)).is_ok();
        replay.recovery.drafts_removed += usize::from(is_removed);
    }
    let used = bodies.keys().filter_map(|name| body_number(name));
    let used = used.chain(drafts.iter().filter_map(|draft| draft.name.parse().ok()));
    replay.recovery.messages = replay.index.messages.len();
    replay.recovery.segments = numbers.len();
    replay.recovery.damaged = replay.aside.into_damaged();
    Ok(Replayed {
        index: replay.index,
        recovery: replay.recovery,
        next_segment: numbers.iter().max().map_or(1, |number| number + 1),
        next_file: used.max().map_or(1, |number| number + 1),
    })
}

impl Replay<'_> {
    fn segment(&mut self, number: u64) -> Result<(), OpenError> {
        let path = self.layout.segment(number);
        let opened = self.storage.open(&path);
        let file = opened.map_err(|source| OpenError::Directory { doing: "open", path: path.clone(), source })?;
        let Content { octets, holes, failed } = read_all(file.as_ref());
        self.index.segments.insert(number, Segment::new(Arc::clone(&file)));
        for hole in &holes {
            let error = failed.as_ref().map_or_else(String::new, ToString::to_string);
            self.aside.unreadable(&path, hole.start as u64, (hole.end - hole.start) as u64, &error);
        }
        // A process that was killed leaves removals that only the page cache has. What is read here has to be
        // on disk before anything is deleted because of it.
        let unsynced = if holes.is_empty() { file.sync_data().err() } else { None };
        if let Some(error) = &unsynced {
            self.aside.unreadable(&path, octets.len() as u64, 0, &error.to_string());
        }
        let is_partial = !holes.is_empty() || unsynced.is_some();
        self.is_partial |= is_partial;
        let is_hole = |start: usize, len: usize| holes.iter().any(|hole| hole.start < start + len && start < hole.end);
        let header = parse_header(&octets, number);
        if let Some(segment) = self.index.segments.get_mut(&number) {
            segment.has_holes = !holes.is_empty();
            segment.version = if let Header::Known { version, .. } = header { version } else { FORMAT_VERSION };
        }
        let mark = match header {
            Header::Known { mark, .. } => Some(mark),
            Header::Newer(found) => return Err(OpenError::NewerFormat { path, found, known: FORMAT_VERSION }),
            Header::Damaged => self.mark_without_header(number, &octets, is_hole(0, SEGMENT_HEADER_BYTES)),
        };
        let Some(mark) = mark else {
            if is_partial {
                return Ok(());
            }
            // A crash while the segment was made leaves it short or empty; then nothing is lost.
            let kind = if octets.len() > SEGMENT_HEADER_BYTES { DamageKind::Segment } else { DamageKind::TornTail };
            self.set_aside(number, 0, &octets, kind, None);
            return Ok(());
        };
        for piece in Pieces::new(&octets, mark) {
            match piece {
                // The end of what could be read is not the end of the segment: cut there, it would lose what
                // the disk may give back the next time.
                Piece::Tail { .. } if is_partial => {}
                // What stands here is not what was written, and it was reported already.
                Piece::Gap { offset, len } if is_hole(offset, len) => {}
                Piece::Broken { offset, len, record } if is_hole(offset, len) => {
                    self.aside.name_last(record.as_ref().and_then(id_of));
                }
                Piece::Whole { .. } | Piece::Broken { .. } | Piece::Gap { .. } | Piece::Tail { .. } => {
                    self.piece(number, &octets, piece, file.as_ref());
                }
            }
        }
        Ok(())
    }

    fn mark_without_header(&mut self, number: u64, octets: &[u8], is_hole: bool) -> Option<u64> {
        if is_hole {
            return mark_behind_hole(octets);
        }
        mark_of_first_record(octets).inspect(|_| {
            let header = octets.get(..SEGMENT_HEADER_BYTES).unwrap_or_default();
            self.set_aside(number, 0, header, DamageKind::SegmentHeader, None);
        })
    }

    fn piece(&mut self, number: u64, octets: &[u8], piece: Piece<'_>, file: &dyn StorageFile) {
        let slice = |offset: usize, len: usize| octets.get(offset..offset + len).unwrap_or_default();
        match piece {
            Piece::Whole { offset, record } => {
                if self.apply(number, offset as u64, &record).is_none() {
                    let len = usize::try_from(record.frame.len()).unwrap_or(0);
                    self.set_aside(number, offset, slice(offset, len), DamageKind::Record, id_of(&record));
                }
            }
            Piece::Broken { offset, len, record } => {
                let id = record.as_ref().and_then(id_of);
                self.set_aside(number, offset, slice(offset, len), DamageKind::Record, id);
            }
            Piece::Gap { offset, len } => {
                self.set_aside(number, offset, slice(offset, len), DamageKind::Record, None);
            }
            Piece::Tail { offset, len } => {
                self.recovery.torn_bytes += len as u64;
                let is_safe = self.set_aside(number, offset, slice(offset, len), DamageKind::TornTail, None);
                if is_safe {
                    // Uncut, it is found again by the next start and known by its name.
                    drop(file.set_len(offset as u64));
                }
            }
        }
    }

    // Takes a record in; `None` where it makes no sense although its checksums are right.
    fn apply(&mut self, segment: u64, offset: u64, record: &Record<'_>) -> Option<()> {
        if record.frame.kind == Kind::Remove {
            let Removed { id } = serde_json::from_slice(record.meta).ok()?;
            // A removal that was written again, after its first segment failed, counts for as much as the first.
            let known = [self.removed.get(&id).copied(), self.unresolved.remove(&id).map(|record| record.earliest)];
            let removed = self.index.take(&id).map(|entry| entry.earliest);
            let earliest = known.into_iter().chain([removed]).flatten().fold(segment, u64::min);
            self.index.bury(Tombstone { id: SmallId::of(&id), earliest }, segment);
            self.removed.insert(id, earliest);
            return Some(());
        }
        let meta: Meta<'static> = serde_json::from_slice(record.meta).ok()?;
        let id = meta.id.into_owned();
        let place = Place { segment, offset, len: record.frame.len() };
        let body = match (record.frame.kind, meta.body) {
            (Kind::Message, BodyNote::Here) => BodyPlace::Inline {
                segment,
                offset: offset + record.frame.head_len(),
                len: u64::from(record.frame.body_len),
                crc: record.frame.body_crc,
            },
            (Kind::Message | Kind::State, BodyNote::File { name, start, len, file_len, file_crc }) => {
                BodyPlace::File { name: name.into(), start, len, file_len, crc: file_crc }
            }
            (Kind::State, BodyNote::Same { len, crc }) => {
                let known = self.index.messages.get(&id).filter(|entry| entry.body.proof() == (len, crc));
                match known {
                    Some(entry) => entry.body,
                    None => {
                        let earliest = self.unresolved.get(&id).map_or(segment, |before| before.earliest);
                        self.unresolved.insert(id, Unresolved { place, earliest });
                        return Some(());
                    }
                }
            }
            _ => return None,
        };
        let earliest = self.unresolved.remove(&id).map_or(segment, |before| before.earliest);
        let file = body.file().cloned();
        let before = self.index.put(&id, Entry { record: place, body, earliest });
        let before = before.and_then(|before| before.body.file().cloned());
        self.superseded.extend(before.filter(|before| Some(before) != file.as_ref()));
        Some(())
    }

    fn set_unresolved_aside(&mut self) {
        for (id, Unresolved { place, .. }) in std::mem::take(&mut self.unresolved) {
            self.set_record_aside(&id, place, DamageKind::BodyMissing);
        }
    }

    // Messages whose body file is not there or too short.
    fn check_body_files(&mut self, bodies: &BTreeMap<String, u64>) {
        let is_damaged = |entry: &Entry| match &entry.body {
            BodyPlace::File { name, file_len, .. } => bodies.get(name.as_ref()).is_none_or(|len| len < file_len),
            BodyPlace::Inline { .. } => false,
        };
        let damaged = self.index.messages.with_files().filter(|(_, entry)| is_damaged(entry));
        let damaged: Vec<(MessageId, Place)> = damaged.map(|(id, entry)| (id.clone(), entry.record)).collect();
        for (id, place) in damaged {
            self.set_record_aside(&id, place, DamageKind::BodyMissing);
            self.index.take(&id);
        }
    }

    // Body files that no message has.
    fn bury_orphans(&mut self, bodies: &BTreeMap<String, u64>) {
        let used: HashSet<&str> =
            self.index.messages.with_files().filter_map(|(_, entry)| entry.body.file()).map(AsRef::as_ref).collect();
        for name in bodies.keys().filter(|name| !used.contains(name.as_str())) {
            let path = self.layout.bodies.join(name);
            if self.is_superseded(name) {
                // The log says that it is not needed; a crash came before its removal.
                drop(self.storage.remove(&path));
            } else {
                let to = self.layout.damaged.join(format!("body-{name}"));
                let is_moved = self.storage.rename(&path, &to).is_ok();
                self.recovery.orphan_bodies.push(if is_moved { to } else { path });
            }
        }
    }

    // Whether the log says that a body file is not needed. One that no record names may belong to a record that
    // was lost to damage, even where an older record of its message is there.
    fn is_superseded(&self, name: &str) -> bool {
        let id = name.rsplit_once('.').and_then(|(id, _)| MessageId::parse(id));
        let is_gone = |id| self.removed.contains_key(&id) && !self.index.messages.contains(&id);
        self.superseded.contains(name) || id.is_some_and(is_gone)
    }

    fn set_record_aside(&mut self, id: &MessageId, place: Place, kind: DamageKind) {
        let file = self.index.segments.get(&place.segment).map(|segment| Arc::clone(&segment.file));
        let len = usize::try_from(place.len).unwrap_or(0);
        let octets = file.and_then(|file| read_exactly(file.as_ref(), place.offset, len).ok());
        let offset = usize::try_from(place.offset).unwrap_or(0);
        match octets {
            Some(octets) => drop(self.set_aside(place.segment, offset, &octets, kind, Some(id.to_string()))),
            None => self.keep(place.segment),
        }
    }

    // Says whether the octets are safe elsewhere; if so, the live messages of the segment move out of it.
    fn set_aside(
        &mut self,
        number: u64,
        offset: usize,
        octets: &[u8],
        kind: DamageKind,
        message: Option<String>,
    ) -> bool {
        let is_safe = self.aside.set_aside(number, offset as u64, octets, kind, message);
        if !is_safe {
            self.keep(number);
        }
        if let Some(segment) = self.index.segments.get_mut(&number) {
            segment.is_left |= kind != DamageKind::TornTail;
        }
        is_safe
    }

    fn keep(&mut self, number: u64) {
        if let Some(segment) = self.index.segments.get_mut(&number) {
            segment.is_kept = true;
        }
    }
}

fn id_of(record: &Record<'_>) -> Option<String> {
    serde_json::from_slice::<Removed>(record.meta).ok().map(|record| record.id.to_string())
}
