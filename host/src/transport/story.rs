//! What the tracking log is told of a message while a worker has it: how each record differs from the one before.

use std::borrow::Cow;
use std::sync::Arc;

use basin_core::mail::{Envelope, Handover, Message, MessageId, Outcome, Recipient};
use basin_core::queue::Job;
use basin_core::transport::{End, Notifying, Stage, State, TransportPolicy, is_expired};

use crate::telemetry::Metrics;
use crate::telemetry::relay::Deferred;
use crate::tracking::{By, Notified, Step, Tracking};

/// A message as it was when the log was told last.
#[derive(Debug)]
pub(super) struct Story {
    envelope: Arc<Envelope>,
    stage: Stage,
    /// The submission is to be told: the log has nothing of it yet.
    is_new: bool,
}

impl Story {
    /// A message that was taken up; `is_first` where that was not because something happened to it.
    pub(super) fn of(message: &Message, state: &State, is_first: bool) -> Self {
        // Where no sink listens the stage is not written, and the log is told of it once all the same.
        let is_new = is_first && state.stage == Stage::Submission;
        Self { envelope: message.envelope.clone(), stage: state.stage.clone(), is_new }
    }

    /// It was stored a moment ago, held or as bad mail perhaps.
    pub(super) fn stored(&self, id: &MessageId, tracking: &Tracking) {
        self.stands(id, tracking);
    }

    /// A record is about to be written; what it says that is new happened, whether or not the writing succeeds.
    pub(super) fn goes_on(&mut self, message: &Message, stage: &Stage, metrics: &Metrics, tracking: &Tracking) {
        if *stage != self.stage {
            let was_resolved = is_resolved(&self.stage);
            self.stage = stage.clone();
            self.stands(&message.id, tracking);
            if !was_resolved && is_resolved(stage) {
                self.categorized(message, tracking);
            }
            // One that its sinks refused goes nowhere.
            let is_open = message.envelope.recipients.iter().any(|recipient| !recipient.outcome.is_final());
            if *stage == Stage::Delivery && is_open {
                self.submitted(&message.id, tracking);
            }
        }
        self.outcomes(message, metrics, tracking);
    }

    // Told where a record says so; where no sink decides about the stages behind, the deliveries tell.
    fn categorized(&self, message: &Message, tracking: &Tracking) {
        let open = message.envelope.recipients.iter().filter(|recipient| !recipient.outcome.is_final());
        let recipients: Vec<Cow<'_, str>> = open.map(|recipient| recipient.address.to_string().into()).collect();
        if !recipients.is_empty() {
            tracking.note(&message.id, &Step::Categorized { recipients });
        }
    }

    fn stands(&self, id: &MessageId, tracking: &Tracking) {
        match &self.stage {
            Stage::Held { reason, .. } => tracking.note(id, &Step::Held { reason: reason.into() }),
            Stage::Bad { reason } => tracking.note(id, &Step::Bad { reason: reason.into() }),
            Stage::Submission
            | Stage::PreCategorize
            | Stage::Categorize
            | Stage::PostCategorize
            | Stage::Route
            | Stage::Delivery
            | Stage::Discarded => {}
        }
    }

    /// Its delivery begins, where the log does not have that yet.
    pub(super) fn submitted(&mut self, id: &MessageId, tracking: &Tracking) {
        if self.is_new {
            tracking.note(id, &Step::Submitted);
        }
        self.is_new = false;
    }

    /// Its recipients at other servers wait for them.
    pub(super) fn queued(&mut self, id: &MessageId, jobs: &[Job], policy: &TransportPolicy, tracking: &Tracking) {
        self.submitted(id, tracking);
        for job in jobs {
            let there = policy.recipients_at(&self.envelope, &job.destination);
            let recipients = there.map(|recipient| recipient.address.to_string().into()).collect();
            tracking.note(id, &Step::Enqueued { destination: job.destination.as_str().into(), recipients });
        }
    }

    /// What became of its recipients since the log was told last.
    pub(super) fn outcomes(&mut self, message: &Message, metrics: &Metrics, tracking: &Tracking) {
        let before = std::mem::replace(&mut self.envelope, message.envelope.clone());
        for recipient in &message.envelope.recipients {
            let is_known = before.recipient(recipient.id).is_some_and(|before| before.outcome == recipient.outcome);
            if is_known {
                continue;
            }
            if let Outcome::Deferred { until, reply, attempts, last } = &recipient.outcome {
                let (message, address) = (&message.id, recipient.address.to_string());
                let (until, attempts) = (*until, *attempts);
                let by = last.as_ref().and_then(|last| last.by.as_ref());
                Deferred { message, recipient: &address, reply, by, until, attempts }.record(metrics, tracking);
            } else if let Some(step) = outcome(recipient) {
                tracking.note(&message.id, &step);
            }
        }
    }
}

fn is_resolved(stage: &Stage) -> bool {
    match stage {
        Stage::PostCategorize | Stage::Route | Stage::Delivery => true,
        Stage::Submission
        | Stage::PreCategorize
        | Stage::Categorize
        | Stage::Held { .. }
        | Stage::Bad { .. }
        | Stage::Discarded => false,
    }
}

// The step of an outcome that is new; a recipient that is put off is counted too, which is done elsewhere.
fn outcome(recipient: &Recipient) -> Option<Step<'static>> {
    let address: Cow<'static, str> = recipient.address.to_string().into();
    match &recipient.outcome {
        Outcome::Delivered { to: Handover::Relayed { host, reply, .. }, .. } => Some(Step::Relayed {
            recipient: address,
            to: host.clone().unwrap_or_else(|| "another server".to_owned()).into(),
            reply: reply.to_string().into(),
        }),
        Outcome::Delivered { to: Handover::Mailbox, .. } => {
            Some(Step::Delivered { recipient: address, to: "mailbox".into(), reply: None })
        }
        Outcome::Delivered { to: Handover::Expanded, .. } => {
            Some(Step::Delivered { recipient: address, to: "alias".into(), reply: None })
        }
        Outcome::Delivered { to: Handover::Sink { binding }, .. } => {
            Some(Step::Delivered { recipient: address, to: format!("sink {binding}").into(), reply: None })
        }
        Outcome::Failed { reply, last } => {
            let by = last.as_ref().and_then(|last| last.by.as_ref()).map(|by| By::from(by).into_owned());
            let (recipient, text) = (address, reply.to_string().into());
            Some(if is_expired(reply) {
                Step::Expired { recipient, reply: text, by }
            } else {
                Step::Failed { recipient, reply: text, by }
            })
        }
        Outcome::Pending | Outcome::Deferred { .. } | Outcome::Held { .. } => None,
    }
}

/// A notification is on disk: which one tells whom what.
pub(super) fn notified(parent: &MessageId, child: &MessageId, notifying: &Notifying, tracking: &Tracking) {
    for of in [Notified::Failed, Notified::Delayed, Notified::Delivered, Notified::Relayed] {
        let about = notifying.recipients().filter(|recipient| told(&recipient.outcome) == Some(of));
        let recipients: Vec<Cow<'_, str>> = about.map(|recipient| recipient.address.to_string().into()).collect();
        if !recipients.is_empty() {
            tracking.note(parent, &Step::Notified { of, child: child.as_str().into(), recipients });
        }
    }
}

fn told(outcome: &Outcome) -> Option<Notified> {
    match outcome {
        Outcome::Failed { .. } => Some(Notified::Failed),
        Outcome::Deferred { .. } => Some(Notified::Delayed),
        Outcome::Delivered { to: Handover::Relayed { .. }, .. } => Some(Notified::Relayed),
        Outcome::Delivered { to: Handover::Mailbox | Handover::Expanded | Handover::Sink { .. }, .. } => {
            Some(Notified::Delivered)
        }
        Outcome::Pending | Outcome::Held { .. } => None,
    }
}

/// The step of a message that left the spool.
pub fn removed(end: End) -> Step<'static> {
    Step::Removed { end: Some(end_word(end).into()) }
}

/// The word of an end in logs.
pub(super) fn end_word(end: End) -> &'static str {
    match end {
        End::Delivered => "delivered",
        End::Failed => "failed",
        End::Discarded => "discarded",
        End::NoRecipients => "no-recipients",
        End::FailedUntold => "failed-untold",
        End::Deleted => "deleted",
        End::Moved => "moved",
        End::Superseded => "superseded",
    }
}
