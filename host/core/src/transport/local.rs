//! What sinks do for recipients here and for those who are told of them: on-local-delivery and on-notification.

use super::asking::Concern;
use super::delivery::is_due;
use super::machine::{Notifying, Transport, Work};
use super::remote::Place;
use super::telling::About;
use crate::event::{Decision, EventKind, Occasion, Verdict};
use crate::mail::{Handover, Message, Outcome, Recipient, RecipientId};
use crate::time::Timestamp;
use crate::transport::State;

impl Transport {
    /// The first recipient here that is due and whose sinks are still to be asked before this attempt.
    pub(super) fn unstored(&self, now: Timestamp) -> Option<RecipientId> {
        if !self.interest.has(EventKind::OnLocalDelivery) {
            return None;
        }
        let envelope = &self.message.envelope;
        // One whom the tables do not know may be known to a sink with a store of its own.
        let is_here = |recipient: &&Recipient| !matches!(self.policy.place(envelope, recipient), Place::Elsewhere(_));
        let due = envelope.recipients.iter().filter(|recipient| is_due(recipient, now));
        due.filter(|recipient| !self.left_to_us.contains(&recipient.id)).find(is_here).map(|recipient| recipient.id)
    }

    pub(super) fn ask_to_store(self, id: RecipientId, now: Timestamp) -> Work {
        let raised = self.message.envelope.recipient(id).map(|recipient| recipient.outcome.attempts());
        let raised = raised.unwrap_or_default();
        let occasion = Occasion { recipient: Some(id), raised, ..self.attempt_here(id, raised, now) };
        let message = self.message.clone();
        self.ask(Concern::Local(id), occasion, message)
    }

    // Each attempt is an event of its own; after a crash the same one comes again, because none of it was written. The
    // number of a recipient's attempts alone does not tell them apart: a release before the time takes one back.
    fn attempt_here(&self, id: RecipientId, raised: u32, now: Timestamp) -> Occasion {
        self.occasion(EventKind::OnLocalDelivery, &format!("{id}/{}-{raised}", self.state.attempts), now)
    }

    /// Keys of the events whose sinks left a recipient to the server in this attempt: no record knows of that before the
    /// attempt is over.
    pub(super) fn unrecorded(&self, now: Timestamp) -> Vec<String> {
        let left = self.left_to_us.iter().filter_map(|id| self.message.envelope.recipient(*id));
        left.map(|one| self.attempt_here(one.id, one.outcome.attempts(), now).idempotency_key).collect()
    }

    pub(super) fn stored(mut self, id: RecipientId, mut decision: Decision, now: Timestamp) -> Work {
        self.take_effects(Some(id), &mut decision);
        if decision.verdict == Verdict::Delivered {
            let to = Handover::Sink { binding: decision.by.clone().unwrap_or_default() };
            self.set_outcome(id, Outcome::Delivered { at: now, to });
        } else if !self.is_decided(&[id], EventKind::OnLocalDelivery, &decision, now) {
            self.left_to_us.insert(id);
        }
        self.go_on(now)
    }

    /// Tells the sender, after the sinks that want to look at it.
    pub(super) fn notify(self, notification: Message, about: About, now: Timestamp) -> Work {
        if !self.interest.has(EventKind::OnNotification) {
            return Work::Notify(Notifying::of(self, about), Box::new(notification), State::default());
        }
        let occasion = Occasion {
            subject: Some(self.message.clone().into()),
            ..self.occasion(EventKind::OnNotification, notification.id.as_str(), now)
        };
        let original = Box::new(notification.clone());
        self.ask(Concern::Notification(original, about), occasion, notification)
    }

    pub(super) fn worded(mut self, as_made: Message, about: About, mut decision: Decision) -> Work {
        self.take_children(&mut decision.overlay);
        let worded = decision.overlay.message.take().unwrap_or(as_made);
        if decision.verdict == Verdict::Suppress {
            return Work::Suppress(Notifying::of(self, about));
        }
        // Nothing else is a verdict here, and whoever waits for a notification gets it rather than not.
        let state = if let Verdict::Hold(reason) = decision.verdict { State::held(reason) } else { State::default() };
        Work::Notify(Notifying::of(self, about), Box::new(worded), state)
    }
}
