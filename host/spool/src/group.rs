//! Operations that are written and synced together.

use std::path::PathBuf;
use std::sync::Arc;

use basin_core::mail::MessageId;

use crate::error::SpoolFault;
use crate::index::{BodyPlace, Entry, Index, Place, SeenBody, Tombstone};
use crate::log::{Log, Written};
use crate::messages::SmallId;
use crate::prepare::{Prepared, PreparedBody};
use crate::queue::Done;
use crate::record::Encoded;
use crate::shared::Shared;
use crate::statistics::Counters;
use crate::writer::tell;

/// A record of a group, with what it changes in the index once it is durable.
pub(crate) struct Staged {
    pub(crate) id: MessageId,
    pub(crate) encoded: Encoded,
    pub(crate) change: Change,
    pub(crate) done: Option<Done>,
}

/// What a record changes.
pub(crate) enum Change {
    /// The message is there, as the record says.
    Put { body: PreparedBody, seen: Option<SeenBody> },
    /// The message is gone.
    Remove,
}

impl Staged {
    pub(crate) fn put(prepared: Prepared, done: Done) -> Self {
        let Prepared { id, encoded, body, seen } = prepared;
        Self { id, encoded, change: Change::Put { body, seen: Some(seen) }, done: Some(done) }
    }

    /// `None` where no record can be made, which no id is long enough for; the caller is told.
    pub(crate) fn removal(id: MessageId, done: Done) -> Option<Self> {
        match Encoded::removal(&id) {
            Some(encoded) => Some(Self { id, encoded, change: Change::Remove, done: Some(done) }),
            None => {
                tell(done, Err(SpoolFault::Unknown(id.to_string())));
                None
            }
        }
    }

    fn large_body(&self) -> Option<(&Arc<crate::draft::DraftFile>, &Arc<str>)> {
        match &self.change {
            Change::Put { body: PreparedBody::File { draft, name, .. }, .. } => Some((draft, name)),
            Change::Put { body: PreparedBody::Inline { .. } | PreparedBody::Same(_), .. } | Change::Remove => None,
        }
    }

    fn fail(self, fault: SpoolFault) {
        if let Some(done) = self.done {
            tell(done, Err(fault));
        }
    }
}

/// Writes groups; knows what is written but not durable.
pub(crate) struct Group {
    shared: Arc<Shared>,
    pub(crate) log: Log,
    // Removals that no sync covers yet.
    unsynced: Vec<Tombstone>,
    // Removals to be written (again): the segment that had them failed or goes.
    owed: Vec<Tombstone>,
    // Body files of messages whose removal is not durable yet.
    graves: Vec<PathBuf>,
    /// Whether body files were removed since their directory was last synced.
    pub(crate) is_bodies_dirty: bool,
}

impl Group {
    pub(crate) fn new(shared: Arc<Shared>, log: Log) -> Self {
        Self { shared, log, unsynced: Vec::new(), owed: Vec::new(), graves: Vec::new(), is_bodies_dirty: false }
    }

    /// Whether there are removals that a power cut would undo.
    pub(crate) fn is_dirty(&self) -> bool {
        !(self.unsynced.is_empty() && self.owed.is_empty() && self.graves.is_empty())
    }

    /// Has removals written again, because older segments need them and theirs goes.
    pub(crate) fn owe(&mut self, tombstones: Vec<Tombstone>) {
        self.owed.extend(tombstones);
    }

    /// Makes everything durable that is not.
    pub(crate) fn settle(&mut self) -> Result<(), SpoolFault> {
        if !self.owed.is_empty() {
            self.store(&mut [])?;
        }
        if self.is_dirty() { self.sync(self.log.len()) } else { Ok(()) }
    }

    /// Ends the segment that is written to, everything in it being durable.
    pub(crate) fn roll(&mut self) -> Result<(), SpoolFault> {
        let settled = self.settle();
        self.log.roll();
        // No later sync covers the segment, so what could not be settled in it is written again.
        self.owe_unsynced();
        settled
    }

    /// Gives large bodies, which their callers have synced, their names, before a record says that they are
    /// there. Those that fail leave the group and are told.
    pub(crate) fn place_bodies(&mut self, staged: &mut Vec<Staged>) {
        if !staged.iter().any(|one| one.large_body().is_some()) {
            return;
        }
        let mut kept = Vec::with_capacity(staged.len());
        for one in staged.drain(..) {
            match self.place_body(&one) {
                Ok(()) => kept.push(one),
                Err(fault) => one.fail(self.shared.note(fault)),
            }
        }
        Counters::add(&self.shared.counters.syncs, 1);
        if let Err(error) = self.shared.storage.sync_dir(&self.shared.layout.bodies) {
            let fault = self.shared.note(SpoolFault::of("sync directory bodies", &error));
            let (large, small): (Vec<_>, Vec<_>) = kept.into_iter().partition(|one| one.large_body().is_some());
            kept = small;
            for one in large {
                self.unplace(&one);
                one.fail(fault.clone());
            }
        }
        *staged = kept;
    }

    fn place_body(&self, staged: &Staged) -> Result<(), SpoolFault> {
        let Some((draft, name)) = staged.large_body() else { return Ok(()) };
        let to = self.shared.layout.bodies.join(name.as_ref());
        let renamed = self.shared.storage.rename(&draft.path(), &to);
        renamed.map_err(|error| SpoolFault::of(format!("rename body {name} into place"), &error))?;
        draft.placed();
        Ok(())
    }

    // Takes back the body file of a record that was not stored.
    fn unplace(&self, staged: &Staged) {
        if let Some((_, name)) = staged.large_body() {
            // What stays behind is set aside as an orphan by the next start.
            drop(self.shared.storage.remove(&self.shared.layout.bodies.join(name.as_ref())));
        }
    }

    /// Writes records and takes them into the index; syncs unless all are removals. After an error nothing
    /// of the group counts.
    pub(crate) fn store(&mut self, staged: &mut [Staged]) -> Result<(), SpoolFault> {
        if staged.is_empty() && self.owed.is_empty() {
            return Ok(());
        }
        let result = self.try_store(staged);
        if result.is_err() {
            staged.iter().for_each(|one| self.unplace(one));
        }
        result
    }

    fn try_store(&mut self, staged: &mut [Staged]) -> Result<(), SpoolFault> {
        let good = self.log.len();
        let mut owed: Vec<Encoded> = self.owed.iter().filter_map(|owed| Encoded::removal(&owed.id.id()?)).collect();
        let mut records: Vec<&mut Encoded> = owed.iter_mut().collect();
        records.extend(staged.iter_mut().map(|one| &mut one.encoded));
        let written = self.log.append(&mut records);
        let Written { segment, offsets } = written.inspect_err(|_| self.owe_unsynced())?;
        Counters::add(&self.shared.counters.batches, 1);
        let mut index = self.shared.index();
        for tombstone in self.owed.drain(..) {
            index.bury(tombstone.clone(), segment);
            self.unsynced.push(tombstone);
        }
        drop(index);
        let is_synced = staged.iter().any(|one| matches!(one.change, Change::Put { .. }));
        if is_synced {
            self.sync(good)?;
        }
        let own_offsets = offsets.get(owed.len()..).unwrap_or_default();
        self.take_in(staged, segment, own_offsets);
        if is_synced {
            // The sync covered the removals among them too.
            self.all_is_durable();
        }
        Ok(())
    }

    fn sync(&mut self, good: u64) -> Result<(), SpoolFault> {
        self.log.sync(good).inspect_err(|_| self.owe_unsynced())?;
        self.all_is_durable();
        Ok(())
    }

    fn all_is_durable(&mut self) {
        self.unsynced.clear();
        let pins = self.shared.pins();
        if *pins > 0 {
            return;
        }
        for path in self.graves.drain(..) {
            // What stays behind is removed by the next start, since the log says that its message is gone.
            drop(self.shared.storage.remove(&path));
            self.is_bodies_dirty = true;
        }
    }

    // A segment that was left may have lost the removals that no sync covered.
    fn owe_unsynced(&mut self) {
        if !self.log.has_active() {
            self.owed.append(&mut self.unsynced);
        }
    }

    fn take_in(&mut self, staged: &mut [Staged], segment: u64, offsets: &[u64]) {
        let shared = Arc::clone(&self.shared);
        let mut index = shared.index();
        for (one, &offset) in staged.iter_mut().zip(offsets) {
            let place = Place { segment, offset, len: one.encoded.len() };
            let before = match &mut one.change {
                Change::Put { body, seen } => {
                    let body_at = offset + one.encoded.head_len();
                    let Some(body) = body_place(&index, &one.id, body, segment, body_at) else { continue };
                    let entry = Entry { record: place, body, earliest: segment };
                    let kept = entry.body.file().cloned();
                    let before = index.put(&one.id, entry);
                    if let Some(seen) = seen.take() {
                        index.messages.see(&one.id, seen);
                    }
                    let counters = &shared.counters;
                    let counter = if before.is_some() { &counters.saves } else { &counters.commits };
                    Counters::add(counter, u64::from(one.done.is_some()));
                    before.filter(|before| before.body.file() != kept.as_ref())
                }
                Change::Remove => {
                    Counters::add(&shared.counters.removes, 1);
                    let before = index.take(&one.id);
                    let earliest = before.as_ref().map_or(segment, |entry| entry.earliest);
                    let tombstone = Tombstone { id: SmallId::of(&one.id), earliest };
                    index.bury(tombstone.clone(), segment);
                    self.unsynced.push(tombstone);
                    before
                }
            };
            let grave = before.as_ref().and_then(|before| before.body.file());
            self.graves.extend(grave.map(|name| shared.layout.bodies.join(name.as_ref())));
        }
    }
}

fn body_place(index: &Index, id: &MessageId, body: &PreparedBody, segment: u64, offset: u64) -> Option<BodyPlace> {
    match body {
        PreparedBody::Inline { len, crc } => Some(BodyPlace::Inline { segment, offset, len: *len, crc: *crc }),
        PreparedBody::File { draft, name, start, len } => Some(BodyPlace::File {
            name: Arc::clone(name),
            start: *start,
            len: *len,
            file_len: draft.len,
            crc: draft.crc,
        }),
        PreparedBody::Same(_) => index.messages.get(id).map(|entry| entry.body),
    }
}
