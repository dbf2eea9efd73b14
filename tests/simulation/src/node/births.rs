//! What the server under test writes: records, removals, and messages that come out of others.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::mpsc;

use basin_core::event::receipt::receipts_of;
use basin_core::mail::{Message, MessageId};
use basin_core::time::Timestamp;
use basin_core::transport::{Bearing, End, Notifying, Saving, State, Work};
use basin_spool::{Receipt, Spool, SpoolFault};

use super::{Kept, Node};
use crate::ledger::Ledger;

impl Node {
    /// Writes what the machine knows.
    pub(super) fn record(
        &mut self,
        saving: Saving,
        message: Message,
        state: State,
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Work {
        let operations = self.storage.operations();
        match self.save(message.clone(), state) {
            Ok(()) => {
                ledger.tell(|| "  saved".to_owned());
                if self.was_well_since(operations) {
                    ledger.values.record(&message);
                }
                self.sinks.recorded(&message.id, &saving.unrecorded(), ledger);
                saving.saved(now)
            }
            Err(fault) => {
                ledger.tell(|| format!("  not saved: {fault}"));
                saving.not_saved(now)
            }
        }
    }

    pub(super) fn remove(&mut self, id: MessageId, end: End, now: Timestamp) {
        let (tell, told) = mpsc::channel();
        self.spool.remove(id.clone(), move |result| drop(tell.send(result)));
        match told.recv() {
            Ok(Ok(())) => self.sinks.tables.forget_later(receipts_of(&id), now),
            Ok(Err(_)) | Err(_) => self.kept.push((now.plus(Duration::from_secs(30)), Kept::Removal(id, end))),
        }
    }

    pub(super) fn notify(
        &mut self,
        about: &MessageId,
        notifying: Notifying,
        message: Message,
        state: State,
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Work {
        match self.bear_one(&(message.clone(), state)) {
            Ok(()) => {
                ledger.tell(|| format!("  {} is committed", message.id));
                ledger.announce(&message);
                self.announced.push((about.clone(), message.id));
                notifying.committed(now)
            }
            Err(fault) => {
                ledger.tell(|| format!("  not committed: {fault}"));
                notifying.not_committed(now)
            }
        }
    }

    pub(super) fn suppress(&mut self, uid: &str, notifying: Notifying, ledger: &mut Ledger, now: Timestamp) -> Work {
        // One that was written before a crash, when its sinks thought otherwise.
        let (tell, told) = mpsc::channel();
        self.spool.remove(notifying.id(), move |result| drop(tell.send(result)));
        if !matches!(told.recv(), Ok(Ok(()))) {
            return notifying.not_committed(now);
        }
        ledger.suppressed(uid, &notifying);
        notifying.committed(now)
    }

    pub(super) fn bear(
        &mut self,
        parent: &MessageId,
        bearing: Bearing,
        children: Vec<(Message, State)>,
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Work {
        if let Err(fault) = children.iter().try_for_each(|child| self.bear_one(child)) {
            ledger.tell(|| format!("  not born: {fault}"));
            return bearing.not_born(now);
        }
        self.announced.extend(children.into_iter().map(|(child, _)| (parent.clone(), child.id)));
        bearing.born(now)
    }

    // What a run that the power cut off made of it already is replaced.
    fn bear_one(&self, (child, state): &(Message, State)) -> Result<(), SpoolFault> {
        if self.spool.contains(&child.id) {
            return self.save(child.clone(), state.clone());
        }
        self.commit(child.clone(), state.clone()).map(drop)
    }

    fn save(&self, message: Message, state: State) -> Result<(), SpoolFault> {
        let (tell, told) = mpsc::channel();
        self.spool.save(message, state, move |result| drop(tell.send(result)));
        told.recv().unwrap_or(Err(SpoolFault::Closed))
    }

    /// Stores a message.
    pub(crate) fn commit(&self, message: Message, state: State) -> Result<Receipt, SpoolFault> {
        let (tell, told) = mpsc::channel();
        self.spool.commit(message, state, move |result| drop(tell.send(result)));
        told.recv().unwrap_or(Err(SpoolFault::Closed))
    }
}

// What came out of a message that its record does not know of was made by a run that the power cut off: it goes before
// its parent comes to that point again.
pub(super) fn drop_unborn(spool: &Spool) -> Result<(), String> {
    let mut parents = Vec::new();
    let mut batches = BTreeMap::new();
    for id in spool.ids() {
        let Ok(Some((_, state))) = spool.load(&id) else { continue };
        batches.insert(id.clone(), state.batches);
        parents.extend(state.parent.map(|parent| (id, parent)));
    }
    for (id, _) in parents.into_iter().filter(|(_, parent)| !parent.lets_go(batches.get(&parent.id).copied())) {
        let (tell, told) = mpsc::channel();
        spool.remove(id.clone(), move |result| drop(tell.send(result)));
        if !matches!(told.recv(), Ok(Ok(()))) {
            return Err(format!("{id} cannot be removed by a disk that is whole"));
        }
    }
    Ok(())
}
