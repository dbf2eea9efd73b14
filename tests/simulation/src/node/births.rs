//! What the server under test writes: records, removals, and messages that come out of others.

use core::time::Duration;
use std::sync::mpsc;

use basin_core::event::Mark;
use basin_core::event::receipt::receipts_of;
use basin_core::event::timers::{MARKS, is_timer};
use basin_core::mail::{Message, MessageId};
use basin_core::time::Timestamp;
use basin_core::transport::{Bearing, Crib, End, Fate, Known, Notifying, Saving, State, Work};
use basin_spool::{Receipt, Spool, SpoolFault};

use super::{Kept, Node};
use crate::ledger::Ledger;
use crate::tables::SinkTables;

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
                self.sinks.recorded(&message.id, &saving.unrecorded());
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
            Ok(Ok(())) => {
                self.successors.forget(&id);
                self.sinks.tables.forget_later(receipts_of(&id), now);
            }
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
    fn bear_one(&mut self, (child, state): &(Message, State)) -> Result<(), SpoolFault> {
        if self.spool.contains(&child.id) {
            return self.save(child.clone(), state.clone());
        }
        self.commit(child.clone(), state.clone()).map(drop)
    }

    fn save(&mut self, message: Message, state: State) -> Result<(), SpoolFault> {
        let (tell, told) = mpsc::channel();
        self.spool.save(message.clone(), state.clone(), move |result| drop(tell.send(result)));
        told.recv().unwrap_or(Err(SpoolFault::Closed))?;
        self.noted(&message, &state);
        Ok(())
    }

    /// Notes a message as it is on disk now.
    pub(super) fn noted(&mut self, message: &Message, state: &State) {
        if let Some(key) = message.supersedes.as_ref().filter(|_| state.takes_a_place()) {
            let giving_way = self.successors.note(&message.id, key, message.arrival.at);
            self.giving_way.extend(giving_way);
        }
    }

    /// Stores a message.
    pub(crate) fn commit(&mut self, message: Message, state: State) -> Result<Receipt, SpoolFault> {
        let (tell, told) = mpsc::channel();
        self.spool.commit(message.clone(), state.clone(), move |result| drop(tell.send(result)));
        let receipt = told.recv().unwrap_or(Err(SpoolFault::Closed))?;
        self.noted(&message, &state);
        Ok(receipt)
    }
}

/// Removes what came out of a message whose record does not know of it, before its parent comes to that point again.
pub(super) fn drop_unborn(spool: &Spool, tables: &SinkTables) -> Result<(), String> {
    let mut crib = Crib::default();
    for id in spool.ids() {
        match spool.load(&id) {
            Ok(Some((_, state))) => drop(crib.takes(&id, &state)),
            Ok(None) => {}
            Err(_) => crib.takes_unreadable(id),
        }
    }
    let known = |parent: &MessageId| {
        if is_timer(parent) {
            let mark = tables.get(MARKS, parent.as_str()).and_then(|octets| Mark::parse(&octets));
            return mark.map_or(Known::Gone, |mark| Known::Batches(mark.batches));
        }
        if spool.contains(parent) { Known::Batches(0) } else { Known::Gone }
    };
    for (id, fate) in crib.judge(known) {
        if fate == Fate::SetsOut {
            continue;
        }
        let (tell, told) = mpsc::channel();
        spool.remove(id.clone(), move |result| drop(tell.send(result)));
        if fate == Fate::Stays || !matches!(told.recv(), Ok(Ok(()))) {
            return Err(format!("{id} cannot be judged, or not removed, with a disk that is whole"));
        }
    }
    Ok(())
}
