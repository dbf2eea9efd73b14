//! The stage of on-route: where the mail of each destination goes, as sinks say, and where it goes when that fails.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::asking::Concern;
use super::delivery::is_due;
use super::machine::{Transport, Work};
use super::remote::is_open;
use crate::addr::domain_to_ascii;
use crate::event::{Decision, DestinationFacts, EventKind, Occasion, Verdict};
use crate::mail::{Envelope, Outcome, Recipient, RecipientId};
use crate::reply::{Class, Reply};
use crate::time::Timestamp;
use crate::transport::{Attempt, HostPort, Way};

/// The domain that a recipient is routed by; `None` where an operator named a server, and for `postmaster` of this one.
pub(super) fn domain_of(recipient: &Recipient) -> Option<String> {
    match &recipient.route_domain {
        Some(way) if HostPort::parse(way).is_some() => None,
        Some(way) => Some(domain_to_ascii(way).unwrap_or_default().to_ascii_lowercase()),
        None => recipient.address.ascii_domain().map(|domain| domain.to_ascii_lowercase()),
    }
}

/// How sinks routed a recipient; `None` where none did.
pub(super) fn way_of<'a>(envelope: &'a Envelope, recipient: &Recipient) -> Option<&'a Way> {
    if envelope.ways.is_empty() {
        return None;
    }
    domain_of(recipient).and_then(|domain| envelope.ways.get(&domain))
}

impl Transport {
    pub(super) fn route_all(mut self, now: Timestamp) -> Work {
        if let Some(until) = self.message.deliver_after.filter(|until| *until > now) {
            return if self.is_changed { self.save(now) } else { Work::Wait(until) };
        }
        match self.unrouted(now) {
            Some(domain) => self.ask_the_way(domain, now),
            None => {
                self.has_judged = false;
                self.advance(now)
            }
        }
    }

    /// The first domain of a recipient that is due whose sinks are still to be asked.
    pub(super) fn unrouted(&self, now: Timestamp) -> Option<String> {
        let due = self.message.envelope.recipients.iter().filter(|recipient| is_due(recipient, now));
        due.filter(|recipient| self.needs_a_way(recipient)).find_map(domain_of)
    }

    /// Whether the sinks at `on-route` are asked before anything is tried for a recipient.
    pub(super) fn needs_a_way(&self, recipient: &Recipient) -> bool {
        self.interest.has(EventKind::OnRoute)
            && domain_of(recipient)
                .is_some_and(|domain| self.message.envelope.ways.get(&domain).is_none_or(|way| way.is_spent))
    }

    pub(super) fn ask_the_way(self, domain: String, now: Timestamp) -> Work {
        let recipients = self.bound_for(&domain);
        let failures = self.message.envelope.ways.get(&domain).map(|way| way.failures.clone()).unwrap_or_default();
        let attempts = self.message.envelope.recipients.iter().filter(|recipient| recipients.contains(&recipient.id));
        let raised = attempts.map(|recipient| recipient.outcome.attempts()).max().unwrap_or_default();
        let thing = format!("{domain}/{}", self.state.attempts);
        let facts = DestinationFacts { domain: domain.clone(), failures, recipients };
        let occasion =
            Occasion { destination: Some(Arc::new(facts)), raised, ..self.occasion(EventKind::OnRoute, &thing, now) };
        let message = self.message.clone();
        self.ask(Concern::Way(domain), occasion, message)
    }

    fn bound_for(&self, domain: &str) -> Vec<RecipientId> {
        let open = self.message.envelope.recipients.iter().filter(|recipient| is_open(recipient));
        open.filter(|recipient| domain_of(recipient).as_deref() == Some(domain)).map(|recipient| recipient.id).collect()
    }

    pub(super) fn routed(mut self, domain: &str, mut decision: Decision, now: Timestamp) -> Work {
        self.take_effects(None, &mut decision);
        let hops = if let Verdict::Hops(hops) = &decision.verdict { hops.clone() } else { Vec::new() };
        // No hop at all is what `next` says too.
        let is_chosen = matches!(decision.verdict, Verdict::Hops(_));
        if is_chosen || !self.is_decided(&self.bound_for(domain), EventKind::OnRoute, &decision, now) {
            Arc::make_mut(&mut self.message.envelope).ways.entry(domain.to_owned()).or_default().answered(hops);
        }
        self.go_on(now)
    }

    /// An attempt of which nobody was reached, or which put everybody off: the next hop is tried at once, and after the
    /// last one the sinks are asked again when the time for another attempt has come.
    pub(super) fn hops_failed(&mut self, attempt: &Attempt) {
        let is_temporary =
            |result: &Result<_, Reply>| result.as_ref().err().is_some_and(|reply| reply.class() == Class::Transient);
        let is_heard = self.interest.has(EventKind::OnRoute) || !self.message.envelope.ways.is_empty();
        if !is_heard || !attempt.results.iter().all(|(_, result)| is_temporary(result)) {
            return;
        }
        // A sink that kept the message back says nothing of the hop.
        let is_kept_back = |id| attempt.by_sinks.get(id).is_some_and(|by| by.said.is_none());
        if attempt.results.iter().all(|(id, _)| is_kept_back(id)) {
            return;
        }
        let Some((_, Err(reply))) = attempt.results.iter().find(|(id, _)| !is_kept_back(id)) else { return };
        let envelope = Arc::make_mut(&mut self.message.envelope);
        let tried = |recipient: &&Recipient| attempt.results.iter().any(|(id, _)| *id == recipient.id);
        let domains: BTreeSet<String> = envelope.recipients.iter().filter(tried).filter_map(domain_of).collect();
        for domain in domains {
            let own = attempt.host.clone().unwrap_or_else(|| format!("mx {domain}"));
            let way = envelope.ways.entry(domain.clone()).or_default();
            way.failed(&own, reply.shortened());
            if way.is_spent {
                continue;
            }
            let those =
                envelope.recipients.iter_mut().filter(|recipient| domain_of(recipient).as_ref() == Some(&domain));
            for recipient in those {
                if let Outcome::Deferred { until, .. } = &mut recipient.outcome {
                    *until = (*until).min(attempt.at);
                }
            }
        }
    }
}
