//! What the tasks that carry mail to other servers need of the queue.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use basin_core::limits::STORAGE_RETRY_AFTER;
use basin_core::queue::{
    Another, DestinationState, DestinationView, Lease, Next, SchedulePolicy, Totals, Visit, VisitEnd,
};
use basin_core::smtp::client::Outgoing;
use basin_core::time::Timestamp;
use basin_core::transport::{Change, Destination};

use super::waiting::{Due, Start};
use super::{Holds, Queue, Shared};
use crate::clock::now;
use crate::delivery::outbound::Taken;
use crate::telemetry::Metrics;
use crate::telemetry::relay::DestinationChanged;

/// How many messages wait, by what they wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// A worker.
    pub ready: usize,
    /// A time.
    pub waiting: usize,
    /// The storage, to write what it could not.
    pub unwritten: usize,
    /// Other servers.
    pub remote: Totals,
}

impl Queue {
    /// Takes what the configuration says of the queue.
    pub fn configure(&self, policy: SchedulePolicy, messages_max: u64) {
        self.shared.messages_max.store(messages_max, Ordering::Relaxed);
        self.shared.lock().schedule.set_policy(policy, now());
        self.shared.scheduled.notify_one();
    }

    /// Whether the spool holds as many messages as it may.
    pub fn is_full(&self) -> bool {
        self.shared.parts.spool.statistics().live_messages >= self.shared.messages_max.load(Ordering::Relaxed)
    }

    /// Whether the thread that delivers into mailboxes runs.
    pub fn is_delivering(&self) -> bool {
        self.shared.parts.courier.is_running()
    }

    /// How many messages wait for what.
    pub fn lengths(&self) -> Lengths {
        let waiting = self.shared.lock();
        let (ready, timed, unwritten) = waiting.lengths();
        Lengths { ready, waiting: timed, unwritten, remote: waiting.schedule.totals() }
    }

    /// The destinations that mail waits for, or that are left alone.
    pub fn destinations(&self) -> Vec<DestinationView> {
        self.shared.lock().schedule.destinations().collect()
    }

    /// Those of them where mail does not go now.
    pub fn closed(&self) -> Vec<DestinationView> {
        self.shared.lock().schedule.closed().collect()
    }

    /// Holds the destinations of that list, and keeps it from now on.
    pub fn keep_holds(&self, holds: Holds) {
        let mut kept = self.shared.holds.lock().unwrap_or_else(PoisonError::into_inner);
        for destination in holds.destinations() {
            self.shared.lock().schedule.hold(&destination, true, now());
        }
        *kept = Some(holds);
    }

    /// Holds a destination or lets it go, and says whether that is new. It blocks for a short write.
    ///
    /// # Errors
    /// It cannot be written down; then nothing is changed.
    pub fn hold_destination(&self, destination: &Destination, is_held: bool) -> io::Result<bool> {
        // The list stays locked, so that file and schedule say the same.
        let mut kept = self.shared.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = kept.as_mut().map_or(Ok(true), |holds| holds.set(destination, is_held))?;
        self.shared.lock().schedule.hold(destination, is_held, now());
        self.shared.scheduled.notify_one();
        Ok(is_new)
    }

    /// What is to be done for other servers now.
    pub(crate) fn next_remote(&self) -> Next {
        let mut waiting = self.shared.lock();
        if waiting.is_storage_failing() {
            return Next::Wait(now().plus(STORAGE_RETRY_AFTER));
        }
        waiting.schedule.next(now())
    }

    /// Waits until something changed that [`Queue::next_remote`] looks at.
    pub(crate) async fn remote_changed(&self) {
        self.shared.scheduled.notified().await;
    }

    /// What else goes over the connection of a visit.
    pub(crate) fn another(&self, visit: &Visit) -> Another {
        let mut waiting = self.shared.lock();
        if waiting.is_storage_failing() { Another::Close } else { waiting.schedule.another(visit, now()) }
    }

    /// A server of the destination is ready for mail.
    pub(crate) fn reached(&self, visit: &Visit, metrics: &Metrics) {
        let destination = &visit.route().destination;
        let mut waiting = self.shared.lock();
        let before = waiting.schedule.destination(destination);
        waiting.schedule.reached(visit, now());
        drop(waiting);
        self.shared.scheduled.notify_one();
        if before.is_some_and(|before| matches!(before.state, DestinationState::Down { .. })) {
            DestinationChanged { destination, down: None }.record(metrics);
        }
    }

    /// A visit is over; the time until which its destination is left alone.
    pub(crate) fn close(&self, visit: Visit, end: VisitEnd) -> Option<Timestamp> {
        let random = self.shared.parts.randomness.number().unwrap_or(0);
        let until = self.shared.lock().schedule.close(visit, end, now(), random);
        self.shared.scheduled.notify_one();
        until
    }

    /// Gives a lease back of which nothing came.
    pub(crate) fn give_back(&self, lease: Lease) {
        self.shared.lock().schedule.finish(lease, now());
        self.shared.scheduled.notify_one();
    }

    /// The message of a lease for its recipients there; `None` where there is nothing to send any more, or it
    /// is held, or cannot be read.
    pub(crate) async fn outgoing(&self, lease: &Lease) -> Option<Taken> {
        let recent = self.shared.lock().recent.get(lease.message());
        let (message, state) = match recent {
            Some(recent) => recent,
            // Why is in the log.
            None => self.shared.load(lease.message()).await.ok()?,
        };
        // An operator may have held it while the visit looked for a server.
        if !state.stage.is_under_way() {
            return None;
        }
        let ids = self.shared.parts.policy.load().outgoing(&message, lease.destination());
        let arrived = message.arrival.at;
        (!ids.is_empty()).then(|| Taken { outgoing: Outgoing::of(&message, &ids), arrived, since: now() })
    }

    /// Works what happened into the message of a lease, and gives the lease back. Returns when that is on disk, or
    /// is kept in memory because the storage is out of order.
    pub(crate) async fn settle(&self, lease: Lease, change: Change) {
        self.shared.take_up(lease, Start::Change(change)).await;
    }

    /// Looks once more what is to be done with the message of a lease, and gives the lease back.
    pub(crate) async fn reconsider(&self, lease: Lease) {
        self.shared.take_up(lease, Start::Load).await;
    }
}

impl Shared {
    async fn take_up(&self, lease: Lease, start: Start) {
        let id = lease.message().clone();
        let turn = self.lock().claim(&id);
        if let Some(turn) = turn
            && turn.await.is_err()
        {
            // The lists are gone, and the process with them.
            return;
        }
        self.lock().keep_lease(lease);
        let after = self.drive_safely(Due { id: id.clone(), start }).await;
        self.rested(&id, after);
    }
}
