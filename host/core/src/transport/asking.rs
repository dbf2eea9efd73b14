//! What the sinks of a stored message are asked, and the way their answers come back to where they were asked for.

use std::sync::Arc;

use super::machine::{Transport, Work};
use super::submission::{Whose, expired, failure_behind, is_of_the_message};
use super::telling::About;
use crate::event::{Decision, EventKind, Later, Occasion, Overlay, Question, Verdict};
use crate::limits::{SINK_DEFER_MIN, SINK_FAILURES_BEFORE_HOLD};
use crate::mail::{BySink, Last, Message, Outcome, Recipient, RecipientId};
use crate::time::Timestamp;

/// What a question is about.
#[derive(Debug)]
pub(super) enum Concern {
    /// The whole message.
    Message,
    /// What a recipient stands for.
    Resolution(RecipientId),
    /// The way to a domain.
    Way(String),
    /// A recipient here.
    Local(RecipientId),
    /// What the sender is about to be told of whom.
    Notification(Box<Message>, About),
}

/// The machine while the sinks of a question are asked.
#[derive(Debug)]
pub struct Waiting {
    pub(super) transport: Transport,
    concern: Concern,
}

impl Waiting {
    /// Takes what the chain decided.
    pub fn decided(self, decision: Decision, now: Timestamp) -> Work {
        let transport = self.transport;
        match self.concern {
            Concern::Message => transport.judged(decision, now),
            Concern::Resolution(id) => transport.resolved(id, decision, now),
            Concern::Way(domain) => transport.routed(&domain, decision, now),
            Concern::Local(id) => transport.stored(id, decision, now),
            Concern::Notification(notification, about) => transport.worded(*notification, about, decision),
        }
    }
}

impl Transport {
    /// The facts of an event about this message; `thing` is which part of it, where it is raised for several.
    pub(super) fn occasion(&self, event: EventKind, thing: &str, now: Timestamp) -> Occasion {
        let id = &self.message.id;
        let thing = if thing.is_empty() { String::new() } else { format!("/{thing}") };
        // Whoever sends it through its sinks again wants them to do again what they did.
        let round = if self.state.rounds == 0 { String::new() } else { format!("/round-{}", self.state.rounds) };
        Occasion { idempotency_key: format!("{id}/{event}{thing}{round}"), ..Occasion::of(event, now) }
    }

    pub(super) fn ask(self, concern: Concern, occasion: Occasion, message: Message) -> Work {
        let rest = self.state.rest.clone().filter(|_| matches!(concern, Concern::Message));
        let overlay = Overlay { message: Some(message), ..Overlay::default() };
        let question = Question { occasion: Arc::new(occasion), overlay, can_fail: true, only: None, rest };
        Work::Ask(Waiting { transport: self, concern }, Box::new(question))
    }

    /// What sinks may do at an event that is about a part of the message: set properties, and submit messages. The
    /// message itself is read-only there, whatever the overlay says.
    pub(super) fn take_effects(&mut self, id: Option<RecipientId>, decision: &mut Decision) {
        self.answers = self.answers.saturating_add(1);
        self.take_children(&mut decision.overlay);
        let Some(seen) = &decision.overlay.message else { return };
        if seen.properties != self.message.properties {
            self.message.properties = seen.properties.clone();
            self.is_changed = true;
        }
        let Some(seen) = id.and_then(|id| seen.envelope.recipient(id)) else { return };
        if self.message.envelope.recipient(seen.id).is_some_and(|own| own.properties != seen.properties) {
            if let Some(own) = Arc::make_mut(&mut self.message.envelope).recipient_mut(seen.id) {
                own.properties = seen.properties.clone();
            }
            self.is_changed = true;
        }
    }

    /// What a `defer` makes of a recipient: later, held where its sink fails again and again, over where its time is.
    fn put_off(
        &self,
        recipient: &Recipient,
        later: &Later,
        (event, decision): (EventKind, &Decision),
        now: Timestamp,
    ) -> Outcome {
        let attempts = recipient.outcome.attempts().saturating_add(1);
        let end = self.end_of_life();
        if attempts >= SINK_FAILURES_BEFORE_HOLD && failure_behind(decision).is_some_and(is_of_the_message) {
            let by = decision.by.as_deref().unwrap_or_default();
            return Outcome::Held { reason: format!("sink of binding {by} failed {attempts} times") };
        }
        if now >= end {
            let last = by_sink(event, decision, now).map(Last::reworded);
            return Outcome::Failed { reply: expired(&later.reply.shortened(), Whose::Sink), last };
        }
        let until = now.plus(later.after.max(SINK_DEFER_MIN)).min(end);
        Outcome::Deferred { until, reply: later.reply.shortened(), attempts, last: by_sink(event, decision, now) }
    }

    /// Does what a verdict says that every event about recipients knows, and says whether it was one: they fail, or
    /// are put off.
    pub(super) fn is_decided(
        &mut self,
        ids: &[RecipientId],
        event: EventKind,
        decision: &Decision,
        now: Timestamp,
    ) -> bool {
        let verdict = &decision.verdict;
        if matches!(verdict, Verdict::Next | Verdict::SkipRemaining) {
            return false;
        }
        for id in ids {
            let Some(recipient) = self.message.envelope.recipient(*id) else { continue };
            let outcome = if let Verdict::Refuse(reply) = verdict {
                Outcome::Failed { reply: reply.shortened(), last: by_sink(event, decision, now) }
            } else if let Verdict::Defer(later) = verdict {
                self.put_off(recipient, later, (event, decision), now)
            } else {
                // The chain turns these into failures of the sink (EventKind::allows). Should one come through all the
                // same, nothing is lost while a person looks at it.
                Outcome::Held { reason: format!("{} is no verdict at {event}", verdict.word()) }
            };
            self.set_outcome(*id, outcome);
        }
        true
    }

    /// Gives a recipient an outcome, which is to be written and told.
    pub(super) fn set_outcome(&mut self, id: RecipientId, outcome: Outcome) {
        if let Some(recipient) = Arc::make_mut(&mut self.message.envelope).recipient_mut(id) {
            recipient.outcome = outcome;
            self.is_changed = true;
            self.has_judged = true;
        }
    }
}

// Whose word it is what becomes of a recipient.
fn by_sink(event: EventKind, decision: &Decision, now: Timestamp) -> Option<Last> {
    sink_behind(event, decision).map(|by| Last { at: now, host: None, by: Some(by) })
}

/// The sink that decided, at that event, and how it failed where its failure policy did.
pub(super) fn sink_behind(event: EventKind, decision: &Decision) -> Option<BySink> {
    let failure = failure_behind(decision).map(|kind| kind.word().to_owned());
    let (binding, event) = (decision.by.clone()?, event.name().to_owned());
    Some(BySink { binding, event, failure, said: None })
}
