//! The one thread that writes: takes what has queued up, writes it together, syncs once, tells everybody.
//!
//! Nobody lingers for company. While one sync runs the next group gathers by itself, so the disk sets the
//! size of the groups (docs/decisions/0002).

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use basin_core::mail::MessageId;

use crate::draft::check_room;
use crate::error::SpoolFault;
use crate::group::{Group, Staged};
use crate::prepare::{Prepared, PreparedBody};
use crate::queue::{Done, Operation, Queued, Taken};
use crate::receipt::Receipt;
use crate::reclaim::Reclaim;
use crate::shared::Shared;

/// Octets written and synced together at most. Keeps the wait of the first in a group short.
const GROUP_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Longest wait between two tries on a disk that fails.
const IDLE_SYNC_MAX: Duration = Duration::from_secs(64);

/// Commits of messages that are there already, or come twice in a group; told after the group.
type Twins = Vec<(MessageId, Done)>;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    group: Group,
    reclaim: Reclaim,
    idle_sync: Duration,
    // When the first of what is not durable was written.
    dirty_since: Option<Instant>,
}

// Tells the waiting that the writer has ended, even should it have ended by a panic.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.queue.abandon().into_iter().for_each(|queued| tell(queued.done, Err(SpoolFault::Closed)));
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, group: Group) -> Self {
        let idle_sync = shared.options.idle_sync;
        Self { reclaim: Reclaim::new(Arc::clone(&shared)), shared, group, idle_sync, dirty_since: None }
    }

    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let _farewell = Farewell(Arc::clone(&self.shared));
        let mut has_more = true;
        loop {
            let patience = if has_more { Some(Duration::ZERO) } else { self.until_sync() };
            match self.shared.queue.take(patience) {
                Taken::Batch(items) => self.write_batch(items),
                Taken::Nothing if has_more => {}
                Taken::Nothing => self.settle(),
                Taken::Closed => break,
            }
            if self.until_sync() == Some(Duration::ZERO) {
                // Removals alone never sync, and others may follow for ever.
                self.settle();
            }
            // A segment must not go before the removals in the one behind it are durable.
            has_more = !self.group.is_dirty() && self.reclaim.step(&mut self.group);
        }
        self.settle();
    }

    /// Does what is queued, makes it durable, and a small part of the cleaning; for a spool without a thread.
    /// Says whether there is more to clean.
    pub(crate) fn step(&mut self) -> bool {
        while let Taken::Batch(items) = self.shared.queue.take(Some(Duration::ZERO)) {
            self.write_batch(items);
        }
        self.settle();
        !self.group.is_dirty() && self.reclaim.step(&mut self.group)
    }

    // How long what is not durable may still wait; `None` where there is nothing.
    fn until_sync(&mut self) -> Option<Duration> {
        if !self.group.is_dirty() {
            self.dirty_since = None;
            return None;
        }
        let since = self.dirty_since.get_or_insert_with(Instant::now);
        Some(self.idle_sync.saturating_sub(since.elapsed()))
    }

    fn settle(&mut self) {
        let result = self.group.settle();
        self.settled(result);
    }

    fn settled(&mut self, result: Result<(), SpoolFault>) {
        self.dirty_since = None;
        self.idle_sync = match result {
            Ok(()) => self.shared.options.idle_sync,
            Err(fault) => {
                self.shared.note(fault);
                (self.idle_sync * 2).min(IDLE_SYNC_MAX)
            }
        };
    }

    fn write_batch(&mut self, items: Vec<Queued>) {
        let mut items = VecDeque::from(items);
        while !items.is_empty() {
            let mut bytes = 0;
            let mut count = 0;
            for queued in &items {
                let more = queued.operation.bytes();
                if count > 0 && bytes + more > GROUP_BYTES_MAX {
                    break;
                }
                bytes += more;
                count += 1;
            }
            if !self.group.log.has_room(bytes) {
                let rolled = self.group.roll();
                self.settled(rolled);
            }
            self.write_group(items.drain(..count), bytes);
        }
    }

    fn write_group(&mut self, operations: impl Iterator<Item = Queued>, bytes: u64) {
        let (mut staged, twins) = self.stage(operations, bytes);
        self.group.place_bodies(&mut staged);
        let result = self.group.store(&mut staged);
        match &result {
            Ok(()) => self.reclaim.rested(),
            Err(fault) => {
                self.shared.note(fault.clone());
            }
        }
        for Staged { id, done, .. } in staged {
            if let Some(done) = done {
                tell(done, result.clone().map(|()| Receipt::new(id)));
            }
        }
        for (id, done) in twins {
            // One that is in the index was durable before; the other shares the fate of its twin.
            let is_there = self.shared.index().messages.contains(&id);
            let fault = || result.clone().err().unwrap_or_else(|| SpoolFault::Unknown(id.to_string()));
            tell(done, if is_there { Ok(Receipt::new(id.clone())) } else { Err(fault()) });
        }
    }

    // Decides what each operation of a group comes to; tells those that come to nothing.
    fn stage(&mut self, operations: impl Iterator<Item = Queued>, bytes: u64) -> (Vec<Staged>, Twins) {
        let room = check_room(&self.shared, bytes);
        let mut staged = Vec::new();
        let mut twins = Vec::new();
        // Whose body the group has changed so far: whether the message is there.
        let mut changed: HashMap<MessageId, bool> = HashMap::new();
        for Queued { operation, done } in operations {
            let id = operation.id().clone();
            let is_there = changed.get(&id).copied();
            let is_there = is_there.unwrap_or_else(|| self.shared.index().messages.contains(&id));
            match operation {
                Operation::Commit(_) if is_there => twins.push((id, done)),
                Operation::Commit(prepared) => match &room {
                    Err(fault) => tell(done, Err(self.shared.note(fault.clone()))),
                    Ok(()) => {
                        changed.insert(id, true);
                        staged.push(Staged::put(prepared, done));
                    }
                },
                Operation::Save(prepared) if is_there && self.has_its_body(&prepared, &changed) => {
                    if !matches!(prepared.body, PreparedBody::Same(_)) {
                        changed.insert(id, true);
                    }
                    staged.push(Staged::put(prepared, done));
                }
                Operation::Save(_) => tell(done, Err(SpoolFault::Unknown(id.to_string()))),
                Operation::Remove(_) if !is_there => tell(done, Ok(Receipt::new(id))),
                Operation::Remove(_) => {
                    changed.insert(id.clone(), false);
                    staged.extend(Staged::removal(id, done));
                }
            }
        }
        (staged, twins)
    }

    // A record without a body stands on the body that is there; it must still be the one it was made for.
    fn has_its_body(&self, prepared: &Prepared, changed: &HashMap<MessageId, bool>) -> bool {
        let PreparedBody::Same(place) = &prepared.body else { return true };
        !changed.contains_key(&prepared.id)
            && self.shared.index().messages.get(&prepared.id).is_some_and(|entry| entry.body.is_same(place))
    }
}

/// Tells a caller. A caller that panics harms only itself, not the writer and all who wait for it.
pub(crate) fn tell(done: Done, result: Result<Receipt, SpoolFault>) {
    // The panic hook has reported it; there is nothing to add.
    drop(catch_unwind(AssertUnwindSafe(|| done(result))));
}
