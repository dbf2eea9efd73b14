//! Frees disk space: removes segments that no message needs, and moves messages out of those with few.

use std::collections::BTreeSet;
use std::sync::Arc;

use basin_core::mail::MessageId;
use bytes::Bytes;

use crate::error::SpoolFault;
use crate::group::{Change, Group, Staged};
use crate::index::{BodyPlace, Segment, Tombstone};
use crate::layout::segment_name;
use crate::prepare::PreparedBody;
use crate::read::find;
use crate::record::{BodyNote, Encoded, Kind};
use crate::shared::Shared;
use crate::statistics::Counters;
use crate::storage::read_exactly;

/// Octets moved between two looks into the queue. A commit waits for no more than this.
const STEP_BYTES: u64 = 1024 * 1024;

/// A segment is rewritten where less than one part in this many is live.
const LIVE_PARTS: u64 = 4;

/// A segment that is being emptied.
struct Moving {
    segment: u64,
    ids: Vec<MessageId>,
}

pub(crate) struct Reclaim {
    shared: Arc<Shared>,
    moving: Option<Moving>,
    // Segment files whose removal is not durable yet; a power cut may bring them back.
    ghosts: BTreeSet<u64>,
    // The disk failed a step; nothing more is tried until it has taken something else.
    is_resting: bool,
}

impl Reclaim {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, moving: None, ghosts: BTreeSet::new(), is_resting: false }
    }

    /// The disk works (again).
    pub(crate) fn rested(&mut self) {
        self.is_resting = false;
    }

    /// Does a small part of the work, everything before it being durable; says whether there is more.
    pub(crate) fn step(&mut self, group: &mut Group) -> bool {
        if self.is_resting {
            return false;
        }
        let result = self.remove_dead(group).and_then(|()| self.move_some(group));
        let result = result.and_then(|has_moved| self.remove_dead(group).map(|()| has_moved));
        result.unwrap_or_else(|fault| {
            self.shared.note(fault);
            self.moving = None;
            self.is_resting = true;
            false
        })
    }

    // Removes segments that no message needs, the oldest first.
    fn remove_dead(&mut self, group: &mut Group) -> Result<(), SpoolFault> {
        while *self.shared.pins() == 0
            && let Some((number, tombstones)) = self.next_dead(group)
        {
            // Its removals must stay as long as a segment that has what they remove. One whose message was stored
            // again would remove the new one: that one answers for the old records from now on.
            let tombstones = self.shared.index().inherit(tombstones);
            if !tombstones.is_empty() {
                group.owe(tombstones);
                group.settle()?;
            }
            if group.is_bodies_dirty {
                let synced = self.shared.storage.sync_dir(&self.shared.layout.bodies);
                synced.map_err(|error| SpoolFault::of("sync directory bodies", &error))?;
                group.is_bodies_dirty = false;
            }
            self.remove_segment(number)?;
        }
        Ok(())
    }

    fn next_dead(&self, group: &Group) -> Option<(u64, Vec<Tombstone>)> {
        let index = self.shared.index();
        let is_dead =
            |number: u64, segment: &Segment| segment.live == 0 && !segment.is_kept && !group.log.is_active(number);
        let (&number, segment) = index.segments.iter().find(|(number, segment)| is_dead(**number, segment))?;
        let is_needed = |tombstone: &&Tombstone| {
            let older = tombstone.earliest..number;
            index.segments.range(older.clone()).next().is_some() || self.ghosts.range(older).next().is_some()
        };
        Some((number, segment.tombstones.iter().filter(is_needed).cloned().collect()))
    }

    fn remove_segment(&mut self, number: u64) -> Result<(), SpoolFault> {
        let storage = &self.shared.storage;
        let is_set_aside = self.shared.index().segments.get(&number).is_some_and(|segment| segment.is_set_aside);
        let path = self.shared.layout.segment(number);
        let pins = self.shared.pins();
        let removed = if is_set_aside {
            storage.rename(&path, &self.shared.layout.damaged.join(segment_name(number)))
        } else {
            storage.remove(&path)
        };
        if let Err(error) = removed {
            // The next start tries again; until then it is only in the way.
            if let Some(segment) = self.shared.index().segments.get_mut(&number) {
                segment.is_kept = true;
            }
            return Err(SpoolFault::of(format!("remove segment {number}"), &error));
        }
        self.shared.index().segments.remove(&number);
        drop(pins);
        self.ghosts.insert(number);
        Counters::add(&self.shared.counters.syncs, 1);
        let synced = storage.sync_dir(&self.shared.layout.segments);
        synced.map_err(|error| SpoolFault::of("sync directory segments", &error))?;
        self.ghosts.clear();
        Ok(())
    }

    // Writes some of the messages of a nearly empty segment anew. The old records stay until these are durable.
    fn move_some(&mut self, group: &mut Group) -> Result<bool, SpoolFault> {
        let Some(mut moving) = self.moving.take().or_else(|| self.choose(group)) else { return Ok(false) };
        let mut staged = Vec::new();
        let mut bytes = 0;
        while bytes < STEP_BYTES
            && let Some(id) = moving.ids.pop()
        {
            match self.read_again(&id, moving.segment) {
                Ok(Some(one)) => {
                    bytes += one.encoded.len();
                    staged.push(one);
                }
                Ok(None) => {}
                Err(fault) => {
                    // Whatever is left of it stays where it is, for a person to look at.
                    if let Some(segment) = self.shared.index().segments.get_mut(&moving.segment) {
                        segment.is_kept = true;
                    }
                    self.shared.note(fault);
                }
            }
        }
        if !group.log.has_room(bytes) {
            group.roll()?;
        }
        group.store(&mut staged)?;
        Counters::add(&self.shared.counters.moved_bytes, bytes);
        if !moving.ids.is_empty() {
            self.moving = Some(moving);
        }
        Ok(true)
    }

    fn choose(&self, group: &Group) -> Option<Moving> {
        let options = &self.shared.options;
        let index = self.shared.index();
        let is_sparse = |number: u64, segment: &Segment| {
            segment.live_bytes.saturating_mul(LIVE_PARTS) < options.segment_bytes
                && number + options.rewrite_age_segments <= group.log.newest()
        };
        let is_chosen = |number: u64, segment: &Segment| {
            segment.live > 0
                && !segment.is_kept
                && !group.log.is_active(number)
                && (segment.is_left || is_sparse(number, segment))
        };
        let (&segment, _) = index.segments.iter().find(|(number, segment)| is_chosen(**number, segment))?;
        Some(Moving { segment, ids: index.needing(segment) })
    }

    // Makes a whole record of a message that still needs `segment`.
    fn read_again(&self, id: &MessageId, segment: u64) -> Result<Option<Staged>, SpoolFault> {
        let Some(found) = find(&self.shared, id) else { return Ok(None) };
        if !found.entry.needs(segment) {
            return Ok(None);
        }
        let mut head = found.head()?;
        let (octets, crc, body, note) = match &found.entry.body {
            BodyPlace::Inline { len, crc, .. } => {
                let stored = found.body(&self.shared)?;
                found.check_body(&stored)?;
                let len_here = usize::try_from(*len).map_err(|_| found.damaged("its body is too long"))?;
                let octets = read_exactly(stored.file.as_ref(), stored.start, len_here)
                    .map_err(|error| SpoolFault::of(format!("read the body of message {id}"), &error))?;
                (Bytes::from(octets), *crc, PreparedBody::Inline { len: *len, crc: *crc }, BodyNote::Here)
            }
            place @ BodyPlace::File { .. } => (Bytes::new(), 0, PreparedBody::Same(place.clone()), place.note()),
        };
        head.meta.body = note;
        let write_meta = |out: &mut Vec<u8>| serde_json::to_writer(out, &head.meta);
        let encoded = Encoded::new(Kind::Message, write_meta, &[&head.header], octets, crc)
            .ok_or_else(|| found.damaged("its record is too long"))?;
        let change = Change::Put { body, seen: None };
        Ok(Some(Staged { id: id.clone(), encoded, change, done: None }))
    }
}
