//! Hands the messages of one destination to a visit, and works what came of each into the queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use basin_core::event::{Decision, OutSession, Question};
use basin_core::mail::{BySink, RecipientId};
use basin_core::queue::{Another, Lease, Visit, VisitEnd};
use basin_core::reply::Reply;
use basin_core::smtp::client::{Accepted, Hearing, Outgoing, Sent};
use basin_core::time::Timestamp;
use basin_core::transport::{Attempt, Change, Destination, HostAddress, Relayed, Route};
use basin_outbound::{Feed, HopFacts, is_tls_optional};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::runner::Carrier;
use super::sinks::Sinks;
use crate::clock::now;
use crate::shutdown::Phase;
use crate::telemetry::relay::{MessageTried, RecipientTried};

type Results = Vec<(RecipientId, Result<Accepted, Reply>)>;

/// A message that was loaded to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// What is sent.
    pub(crate) outgoing: Outgoing,
    /// When the message came.
    pub(crate) arrived: Timestamp,
    /// When it was loaded.
    pub(crate) since: Timestamp,
}

/// What servers said to one message so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Of each recipient.
    pub(super) results: Results,
    /// Those of them whose refusal is a sink's word.
    pub(super) by_sinks: BTreeMap<RecipientId, BySink>,
    /// The last answer was lost.
    pub(super) may_be_delivered: bool,
}

impl Taken {
    /// What came of the message, recorded.
    pub(super) fn attempt(
        &self,
        carrier: &Carrier,
        destination: &Destination,
        hop: Option<&HopFacts>,
        said: Said,
        again: Option<Timestamp>,
    ) -> Attempt {
        let (at, Said { results, by_sinks, may_be_delivered }) = (now(), said);
        let reply_of = |result: &Result<Accepted, Reply>| match result {
            Ok(accepted) => accepted.reply.clone(),
            Err(reply) => reply.clone(),
        };
        // Where there was no connection, whoever looked for one told what was tried.
        if let (Some(hop), Some((id, result))) = (hop, results.last()) {
            let (message, reply, took) = (&self.outgoing.id, reply_of(result), at.since(self.since));
            let (host, address, tls) = (Some(hop.host.as_str()), hop.address, hop.tls.as_ref());
            let by = by_sinks.get(id);
            MessageTried { message, destination, host, address, tls, reply: &reply, by, took }
                .record(&carrier.tracking);
        }
        for (id, result) in &results {
            let recipient = self.outgoing.recipients.iter().find(|recipient| recipient.id == *id);
            let recipient = recipient.map(|recipient| recipient.address.to_string()).unwrap_or_default();
            let result = result.as_ref().map(|accepted| &accepted.reply);
            let may_be_delivered = may_be_delivered && result.is_err();
            let (message, recipient, age) = (&self.outgoing.id, recipient.as_str(), at.since(self.arrived));
            let tried = RecipientTried { message, recipient, hop, result, by: by_sinks.get(id), may_be_delivered, age };
            tried.record(&carrier.metrics);
        }
        let relayed = |taken: Accepted| Relayed { reply: taken.reply, is_dsn_passed: taken.is_dsn_passed };
        let results = results.into_iter().map(|(id, result)| (id, result.map(relayed))).collect();
        Attempt { at, host: hop.map(|hop| hop.host.clone()), results, by_sinks, again }
    }
}

/// A message that a server was given, and what it said so far.
struct InHand {
    lease: Lease,
    taken: Taken,
    said: Said,
    hop: Option<HopFacts>,
}

/// The messages of one visit.
pub(super) struct LeaseFeed {
    carrier: Carrier,
    /// `None` when the visit is closed.
    visit: Option<Visit>,
    /// The job that the visit began for, until a server is ready for it.
    first: Option<Lease>,
    in_hand: Option<InHand>,
    has_reached: bool,
    sinks: Sinks,
    stop: watch::Receiver<Phase>,
}

impl LeaseFeed {
    /// The feed of a visit that begins with that job.
    pub(super) fn new(carrier: Carrier, visit: Visit, first: Lease, stop: watch::Receiver<Phase>) -> Self {
        let sinks = Sinks::new(carrier.ask.clone());
        Self { carrier, visit: Some(visit), first: Some(first), in_hand: None, has_reached: false, sinks, stop }
    }

    /// Where it goes.
    pub(super) fn route(&self) -> Arc<Route> {
        // A feed has its visit until its end.
        self.visit.as_ref().map_or_else(|| Arc::new(Route::mx("")), |visit| visit.route().clone())
    }

    /// Whether the server stops.
    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow() >= Phase::Draining
    }

    /// Works in what is left, and gives the visit and the job that no server was ready for.
    pub(super) async fn end(&mut self) -> Option<(Visit, Option<Lease>)> {
        if let Some(in_hand) = self.in_hand.take() {
            self.settle(in_hand).await;
        }
        Some((self.visit.take()?, self.first.take()))
    }

    /// The next job; waits where the destination is throttled for a moment.
    async fn job(&mut self) -> Option<Lease> {
        loop {
            if self.is_stopping() {
                return None;
            }
            if let Some(first) = self.first.take() {
                return Some(first);
            }
            match self.carrier.queue.another(self.visit.as_ref()?) {
                Another::Job(lease) => return Some(lease),
                Another::Close => return None,
                Another::Later(at) => {
                    let mut stop = self.stop.clone();
                    tokio::select! {
                        () = tokio::time::sleep(at.since(now())) => {}
                        _ = stop.wait_for(|phase| *phase >= Phase::Draining) => {}
                    }
                }
            }
        }
    }

    async fn settle(&self, in_hand: InHand) {
        let InHand { lease, taken, said, hop } = in_hand;
        if said.results.is_empty() {
            return self.carrier.queue.reconsider(lease).await;
        }
        let attempt = taken.attempt(&self.carrier, lease.destination(), hop.as_ref(), said, None);
        self.carrier.queue.settle(lease, Change::Sent(attempt)).await;
    }
}

impl Feed for LeaseFeed {
    async fn begins_without_tls(&mut self) -> bool {
        let Some(first) = &self.first else { return false };
        // It is read once more when a server is ready: meanwhile it may have been changed, or be gone.
        self.carrier.queue.outgoing(first).await.is_some_and(|taken| is_tls_optional(&taken.outgoing))
    }

    async fn next(&mut self) -> Option<Outgoing> {
        if let (false, Some(visit)) = (self.has_reached, &self.visit) {
            self.has_reached = true;
            self.carrier.queue.reached(visit, &self.carrier.metrics);
        }
        loop {
            let lease = self.job().await?;
            let Some(taken) = self.carrier.queue.outgoing(&lease).await else {
                self.carrier.queue.reconsider(lease).await;
                continue;
            };
            let outgoing = taken.outgoing.clone();
            self.in_hand = Some(InHand { lease, taken, said: Said::default(), hop: None });
            return Some(outgoing);
        }
    }

    async fn hosts(&mut self, domain: &str) -> Result<Option<Vec<HostAddress>>, Reply> {
        self.sinks.hosts(domain).await
    }

    async fn hearing(&mut self, session: OutSession) -> Option<Hearing> {
        let (events, judged) = self.sinks.interest()?;
        let attempt = match (&self.in_hand, &self.first) {
            (Some(in_hand), _) => Some(in_hand.taken.outgoing.attempt),
            (None, Some(first)) => self.carrier.queue.outgoing(first).await.map(|taken| taken.outgoing.attempt),
            (None, None) => None,
        };
        // Without randomness there is no identity, and without one nothing to put a question about.
        let (id, _) = self.carrier.randomness.pair().ok()?;
        let session = Arc::new(OutSession { id: format!("{id:016x}"), ..session });
        Some(Hearing { session, attempt: attempt.unwrap_or(1), events, judged })
    }

    async fn ask(&mut self, question: Question) -> Decision {
        self.sinks.decide(question).await
    }

    async fn done(&mut self, sent: Sent, facts: &HopFacts) {
        let Some(in_hand) = &mut self.in_hand else { return };
        in_hand.said.results.extend(sent.results);
        in_hand.said.by_sinks.extend(sent.by_sinks);
        in_hand.said.may_be_delivered |= sent.may_be_delivered;
        in_hand.hop = Some(facts.clone());
        // Whatever follows, the next message among it, follows the record.
        if sent.is_complete
            && let Some(in_hand) = self.in_hand.take()
        {
            self.settle(in_hand).await;
        }
    }
}

// A visit that was cut off: what it had goes back to the schedule as if nothing had happened. The next server is
// asked again, which is a duplicate where only its last answer was missing.
impl Drop for LeaseFeed {
    fn drop(&mut self) {
        let in_hand = self.in_hand.take().map(|in_hand| in_hand.lease);
        if let Some(visit) = self.visit.take() {
            self.carrier.queue.close(visit, VisitEnd::Reached);
        }
        let is_broken = std::thread::panicking();
        for lease in self.first.take().into_iter().chain(in_hand) {
            match Handle::try_current() {
                // Code of this server gave up over this very message. Given back, it would be due now and do it again at
                // once; as an attempt that failed it waits longer each time and ends like any other.
                Ok(runtime) if is_broken => {
                    let carrier = self.carrier.clone();
                    runtime.spawn(async move { carrier.fail(lease, (&broken(), None), &[], None).await });
                }
                _ => self.carrier.queue.give_back(lease),
            }
        }
    }
}

fn broken() -> Reply {
    Reply::with(451, 3, 0, "a fault of this server ended the attempt; its log says more")
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
