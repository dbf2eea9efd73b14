//! Takes what is due from the schedule and makes a visit of it.

use core::time::Duration;
use std::sync::Arc;

use arc_swap::ArcSwap;
use basin_core::mail::BySink;
use basin_core::queue::{Lease, Next, VisitEnd};
use basin_core::reply::{Class, Reply};
use basin_core::smtp::client::Sent;
use basin_core::time::Timestamp;
use basin_core::transport::{Change, Whom};
use basin_outbound::{HopAttempt, Outbound};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::feed::{LeaseFeed, Said};
use crate::ask::Ask;
use crate::clock::{Randomness, now};
use crate::shutdown::Phase;
use crate::telemetry::Metrics;
use crate::telemetry::relay::{DestinationChanged, HopTried, MessageTried, VisitBroke};
use crate::tracking::Tracking;
use crate::transport::Queue;

/// Longest sleep between two looks at the schedule. Bounds how late a change of the system's time is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What carries mail to other servers. Cloning is cheap.
#[derive(Clone)]
pub struct Carrier {
    /// The stored messages, and what is due.
    pub queue: Queue,
    /// The way out; changes when the configuration is read again.
    pub outbound: Arc<ArcSwap<Outbound>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The log of every step.
    pub tracking: Tracking,
    /// Asks sinks.
    pub ask: Arc<Ask>,
    /// Identities of sessions.
    pub randomness: Randomness,
}

/// Works until the server stops: then no visit begins, and those that are under way end after the message that
/// they have in hand.
pub async fn run(carrier: Carrier, mut stop: watch::Receiver<Phase>) {
    let mut tasks = JoinSet::new();
    while *stop.borrow() < Phase::Draining {
        // All that ended: under load there is always something to begin, and what ended holds memory.
        while let Some(ended) = tasks.try_join_next() {
            look_at(ended);
        }
        let wait = match carrier.queue.next_remote() {
            Next::Visit(visit, lease) => {
                let feed = LeaseFeed::new(carrier.clone(), visit, lease, stop.clone());
                tasks.spawn(carrier.clone().visit(feed));
                continue;
            }
            Next::Expire(lease, reply) => {
                tasks.spawn(carrier.clone().tell(lease, reply, Change::Expire));
                continue;
            }
            Next::TellDelay(lease, reply) => {
                tasks.spawn(carrier.clone().tell(lease, reply, Change::TellDelay));
                continue;
            }
            Next::Wait(at) => at.since(now()).min(SLEEP_MAX),
            Next::Idle => SLEEP_MAX,
        };
        tokio::select! {
            // Either is a reason to look again.
            _ = timeout(wait, carrier.queue.remote_changed()) => {}
            Some(ended) = tasks.join_next() => look_at(ended),
            _ = stop.wait_for(|phase| *phase >= Phase::Draining) => {}
        }
    }
    while let Some(ended) = tasks.join_next().await {
        look_at(ended);
    }
}

// What a visit had in hand went back when it was dropped.
fn look_at(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        VisitBroke { what: &error.to_string() }.record();
    }
}

impl Carrier {
    async fn visit(self, mut feed: LeaseFeed) {
        let route = feed.route();
        let outbound = self.outbound.load_full();
        let visited = outbound.visit(&route, &mut feed).await;
        for hop in &visited.hops {
            HopTried { destination: &route.destination, hop }.record(&self.metrics);
        }
        let Some((visit, unsent)) = feed.end().await else { return };
        // A visit that a stopping server ended early says nothing about the destination.
        let failure = visited.failure.or_else(|| (!feed.is_stopping()).then(interrupted));
        let (lease, reply) = match (unsent, failure) {
            (Some(lease), Some(reply)) => (lease, reply),
            (unsent, _) => {
                self.queue.close(visit, VisitEnd::Reached);
                unsent.into_iter().for_each(|lease| self.queue.give_back(lease));
                return;
            }
        };
        // What is permanent is so for each message by itself: nothing is gained by leaving the destination alone. Nor where
        // a sink of this server ended the session: others can be reached there, and other mail need not wait.
        let is_down = reply.class() != Class::Permanent && visited.dropped_by.is_none();
        let end = if is_down { VisitEnd::Failed(reply.clone()) } else { VisitEnd::Reached };
        let again = self.queue.close(visit, end);
        if let Some(until) = again {
            DestinationChanged { destination: &route.destination, down: Some((until, &reply)) }.record(&self.metrics);
        }
        self.fail(lease, (&reply, visited.dropped_by.as_ref()), &visited.hops, again).await;
    }

    /// Nobody took the message in hand: all its recipients there have the same result, which is a sink's word where
    /// one is named.
    pub(super) async fn fail(
        &self,
        lease: Lease,
        (reply, by): (&Reply, Option<&BySink>),
        hops: &[HopAttempt],
        again: Option<Timestamp>,
    ) {
        let Some(taken) = self.queue.outgoing(&lease).await else { return self.queue.reconsider(lease).await };
        let (message, destination) = (&taken.outgoing.id, lease.destination());
        for HopAttempt { host, address, tls, error, by, took, .. } in hops {
            let (host, reply, tls) = (Some(host.as_str()), error.as_ref().unwrap_or(reply), tls.as_ref());
            let (address, by, took) = (*address, by.as_ref(), *took);
            let tried = MessageTried { message, destination, host, address, tls, reply, by, took };
            tried.record(&self.tracking);
        }
        if hops.is_empty() {
            let (host, address, tls, took) = (None, None, None, now().since(taken.since));
            MessageTried { message, destination, host, address, tls, reply, by, took }.record(&self.tracking);
        }
        let Sent { results, by_sinks, .. } = taken.outgoing.failed(reply).by(by);
        let said = Said { results, by_sinks, ..Said::default() };
        let attempt = taken.attempt(self, lease.destination(), None, said, again);
        self.queue.settle(lease, Change::Sent(attempt)).await;
    }

    async fn tell(self, lease: Lease, reply: Option<Reply>, change: fn(Whom, Option<Reply>) -> Change) {
        let whom = Whom::At(lease.destination().clone());
        self.queue.settle(lease, change(whom, reply)).await;
    }
}

fn interrupted() -> Reply {
    Reply::with(451, 4, 2, "the visit ended before a message was sent")
}
