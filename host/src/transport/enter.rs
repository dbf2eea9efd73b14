//! How the messages of the spool enter the lists at the start: in one pass over the log, beside the work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, mpsc};

use basin_core::event::EventSet;
use basin_core::event::timers::is_timer;
use basin_core::mail::{Message, MessageId};
use basin_core::queue::index::Row;
use basin_core::time::Timestamp;
use basin_core::transport::{Crib, End, Fate, Known, Transport, TransportPolicy, Work, about};
use basin_spool::{Scanned, SpoolFault};

use super::Shared;
use super::waiting::Queued;
use crate::clock::now;
use crate::telemetry::relay::SpoolEntered;
use crate::timer::marks;

/// Where a message goes that the spool has.
enum Entry {
    /// A worker takes it up.
    Worker,
    /// It waits for other servers, or for a time.
    Wait(Queued),
    /// It waits for an operator.
    Nobody,
}

impl Shared {
    /// Puts everything that the spool has where it waits. Blocks for as long as reading it takes.
    ///
    /// Only what has work to do at once is loaded later on: for the others the machine says what they wait for
    /// without their text.
    pub(super) fn enter_all(&self) {
        let _alone = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().begin_to_read();
        let started = now();
        let (entered, unreadable) = (AtomicU64::new(0), AtomicU64::new(0));
        let (policy, interest) = (self.parts.policy.load_full(), self.parts.ask.interest());
        let mut filling = self.index.filling();
        let (mut crib, mut workers) = (Crib::default(), Vec::new());
        self.parts.spool.scan(|scanned| match scanned {
            Ok(scanned) => {
                filling.put(
                    Row::of_parts(&scanned.id, &scanned.arrival, &scanned.envelope, &scanned.state, scanned.size)
                        .with(scanned.priority, scanned.deliver_after),
                );
                entered.fetch_add(1, Ordering::Relaxed);
                if let Some(key) = scanned.supersedes.as_ref().filter(|_| scanned.state.takes_a_place()) {
                    self.succession.note(&scanned.id, key, scanned.arrival.at);
                }
                let id = scanned.id.clone();
                if crib.takes(&scanned.id, &scanned.state) {
                    return;
                }
                match entry(policy.clone(), scanned, interest, now()) {
                    Entry::Worker => workers.push(id),
                    entry @ (Entry::Wait(_) | Entry::Nobody) => self.enter(id, entry),
                }
            }
            // It stays where it is for a person to look at, as one that cannot be loaded.
            Err(damaged) => {
                unreadable.fetch_add(1, Ordering::Relaxed);
                crib.takes_unreadable(damaged.id.clone());
                filling.put(Row::damaged(damaged.id.clone(), 0, damaged.fault.to_string()));
                self.failed(&damaged.id, &damaged.fault);
            }
        });
        filling.end();
        self.let_out(crib, workers);
        self.parts.ask.tables().forget_gone(|id| self.parts.spool.contains(id));
        self.lock().all_read();
        self.ready.notify_one();
        self.entered.send_replace(true);
        let took = now().since(started);
        SpoolEntered { messages: entered.into_inner(), unreadable: unreadable.into_inner(), took }.record();
    }

    // What the records say of messages that came out of others is carried out; then those that may make such again are
    // taken up.
    fn let_out(&self, crib: Crib, workers: Vec<MessageId>) {
        for (id, fate) in crib.judge(|parent| self.known(parent)) {
            match fate {
                Fate::SetsOut => self.enter(id, Entry::Worker),
                Fate::Unborn => self.drop_unborn(&id),
                Fate::Stays => {
                    tracing::warn!(message_id = %id, "it is not known whether this message may go its way; it stays until the next start")
                }
            }
        }
        workers.into_iter().for_each(|id| self.enter(id, Entry::Worker));
    }

    fn known(&self, parent: &MessageId) -> Known {
        if is_timer(parent) {
            let mark = marks::find(self.parts.ask.tables(), parent);
            return match mark {
                Ok(mark) => mark.map_or(Known::Gone, |mark| Known::Batches(mark.batches)),
                Err(_) => Known::Nothing,
            };
        }
        // Its record may have been written anew while the others were read, behind the place that was read.
        match self.parts.spool.load(parent) {
            Ok(Some((_, state))) => Known::Batches(state.batches),
            Ok(None) => Known::Gone,
            Err(_) => Known::Nothing,
        }
    }

    fn drop_unborn(&self, id: &MessageId) {
        // Its parent has just made it again.
        if self.lock().is_spoken_for(id) {
            return;
        }
        let (done, removed) = mpsc::channel();
        self.parts.spool.remove(id.clone(), move |result| drop(done.send(result)));
        match removed.recv().unwrap_or(Err(SpoolFault::Closed)) {
            Ok(()) => {
                self.left(id);
                self.parts.tracking.note(id, &super::removed(End::Discarded));
            }
            // It is looked at again after the next start; until then nobody takes it up.
            Err(fault) => self.failed(id, &fault),
        }
    }

    /// Looks once more where everything goes that waits for other servers. Blocks as [`Shared::enter_all`] does.
    pub(super) fn enter_again(&self) {
        let _alone = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().begin_to_read();
        // What has a job was signed, or no key is for it: only where it goes is asked.
        let policy = TransportPolicy { is_signing: false, ..TransportPolicy::clone(&self.parts.policy.load()) };
        let (policy, interest) = (Arc::new(policy), self.parts.ask.interest());
        self.parts.spool.scan(|scanned| {
            let Ok(scanned) = scanned else { return };
            let id = scanned.id.clone();
            if !self.lock().schedule.contains(&id) {
                return;
            }
            let entry = entry(policy.clone(), scanned, interest, now());
            let mut waiting = self.lock();
            // Looked at again: it may have left meanwhile.
            if waiting.is_touched(&id) || !waiting.schedule.contains(&id) {
                return;
            }
            match entry {
                Entry::Nobody => {}
                Entry::Worker => waiting.found(id),
                Entry::Wait(queued) => waiting.rest(&id, &queued.jobs, queued.again, now()),
            }
        });
        self.lock().all_read();
        self.ready.notify_one();
        self.timed.notify_one();
        self.scheduled.notify_one();
    }

    fn enter(&self, id: MessageId, entry: Entry) {
        let about = about(&id).filter(|about| self.parts.spool.contains(about));
        let mut waiting = self.lock();
        if waiting.is_touched(&id) {
            return;
        }
        if let Some(about) = about {
            return waiting.announce(about, id);
        }
        match entry {
            Entry::Nobody => {}
            Entry::Worker => {
                waiting.found(id);
                self.ready.notify_one();
            }
            Entry::Wait(queued) => {
                waiting.rest(&id, &queued.jobs, queued.again, now());
                self.timed.notify_one();
                self.scheduled.notify_one();
            }
        }
    }
}

fn entry(policy: Arc<TransportPolicy>, scanned: Scanned, interest: EventSet, now: Timestamp) -> Entry {
    let mut message = Message::new(scanned.id, scanned.arrival, scanned.envelope);
    message.priority = scanned.priority;
    message.deliver_after = scanned.deliver_after;
    message.expiry = scanned.expiry;
    match Transport::start(policy, message, scanned.state, interest, now) {
        Work::Queue { mut jobs, again, .. } => {
            jobs.iter_mut().for_each(|job| job.size = scanned.size);
            Entry::Wait(Queued { jobs, again, kept: None })
        }
        Work::Wait(until) => Entry::Wait(Queued { jobs: Vec::new(), again: Some(until), kept: None }),
        Work::Park(_) => Entry::Nobody,
        // The machine is dropped: a worker starts another one with the whole message.
        Work::Ask(..)
        | Work::Sign(_)
        | Work::Save(..)
        | Work::Deliver(_)
        | Work::Notify(..)
        | Work::Suppress(_)
        | Work::Bear(..)
        | Work::Repeat(..)
        | Work::Remove(..) => Entry::Worker,
    }
}
