//! How far a stored message has come; written with it, so a restart goes on from there.

use core::fmt;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::event::EventKind;
use crate::mail::{BySink, Envelope, MessageId, RecipientId};
use crate::reply::Reply;
use crate::time::Timestamp;

/// The next thing that happens to a stored message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Stage {
    /// The sinks at `on-submission` are asked.
    #[default]
    Submission,
    /// The sinks at `on-pre-categorize` are asked.
    PreCategorize,
    /// The sinks at `on-categorize` are asked about each recipient, then the tables of the server.
    Categorize,
    /// The sinks at `on-post-categorize` are asked.
    PostCategorize,
    /// The sinks at `on-route` are asked about each destination.
    Route,
    /// Its recipients are delivered to.
    Delivery,
    /// It waits until an operator releases it; release goes on with `then`.
    Held {
        /// Why.
        reason: String,
        /// The stage it was at.
        then: Box<Stage>,
    },
    /// A sink with the grant dropped it before it was accepted: it is removed and goes nowhere.
    Discarded,
    /// It was set aside as bad mail.
    Bad {
        /// Why.
        reason: String,
    },
}

impl Stage {
    /// Whether a message at this stage may leave. One that nobody listened to the submission of is written as it came.
    pub fn is_under_way(&self) -> bool {
        match self {
            Self::Submission
            | Self::PreCategorize
            | Self::Categorize
            | Self::PostCategorize
            | Self::Route
            | Self::Delivery => true,
            Self::Held { .. } | Self::Discarded | Self::Bad { .. } => false,
        }
    }

    /// Whether sinks are still asked about it before its delivery.
    pub fn is_before_delivery(&self) -> bool {
        self.is_under_way() && *self != Self::Delivery
    }

    /// The stage after this one; a message that is not under way stays where it is.
    #[must_use]
    pub fn next(&self) -> Self {
        match self {
            Self::Submission => Self::PreCategorize,
            Self::PreCategorize => Self::Categorize,
            Self::Categorize => Self::PostCategorize,
            Self::PostCategorize => Self::Route,
            Self::Route | Self::Delivery => Self::Delivery,
            Self::Held { .. } | Self::Discarded | Self::Bad { .. } => self.clone(),
        }
    }

    /// The event about the whole message that belongs to the stage.
    pub fn event(&self) -> Option<EventKind> {
        match self {
            Self::Submission => Some(EventKind::OnSubmission),
            Self::PreCategorize => Some(EventKind::OnPreCategorize),
            Self::PostCategorize => Some(EventKind::OnPostCategorize),
            Self::Categorize | Self::Route | Self::Delivery => None,
            Self::Held { .. } | Self::Discarded | Self::Bad { .. } => None,
        }
    }

    /// Why it goes nowhere.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Held { reason, .. } | Self::Bad { reason } => Some(reason),
            Self::Submission
            | Self::PreCategorize
            | Self::Categorize
            | Self::PostCategorize
            | Self::Route
            | Self::Delivery
            | Self::Discarded => None,
        }
    }

    /// The word that logs and the command line use.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::PreCategorize => "pre-categorize",
            Self::Categorize => "categorize",
            Self::PostCategorize => "post-categorize",
            Self::Route => "route",
            Self::Delivery => "delivery",
            Self::Held { .. } => "held",
            Self::Discarded => "discarded",
            Self::Bad { .. } => "bad",
        }
    }
}

/// The message that another one came out of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Which.
    pub id: MessageId,
    /// Which of its batches of children it is in.
    pub batch: u32,
}

impl Parent {
    /// Whether the child may set out, by [`State::batches`] of what is saved of its parent; `None` where the parent is
    /// gone, which it is only after its children were let go.
    ///
    /// A child of a batch that its parent does not know of was made by a run that a crash cut off: the parent comes to
    /// the same point again and makes it again, or does not.
    pub fn lets_go(&self, batches: Option<u32>) -> bool {
        batches.is_none_or(|batches| batches >= self.batch)
    }
}

/// That a sink put a message off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutOff {
    /// What it said, or this server in its place where it failed.
    pub reply: Reply,
    /// Which sink, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<BySink>,
}

impl fmt::Display for PutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Some(by) => write!(f, "put off by {by}: {}", self.reply),
            None => write!(f, "put off: {}", self.reply),
        }
    }
}

/// Where a stored message stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// The next thing that happens.
    #[serde(flatten)]
    pub stage: Stage,
    /// How often the event of this stage was raised before.
    #[serde(default)]
    pub raised: u32,
    /// Attempts so far, and other moments at which the outcome of a recipient changed.
    #[serde(default)]
    pub attempts: u32,
    /// Nothing happens before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Why nothing does: what the sinks of this stage said of the whole message last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_off: Option<PutOff>,
    /// Recipients of whose end the sender was told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notified: Vec<RecipientId>,
    /// Recipients whose delay the sender is to be told, or was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delayed: Vec<RecipientId>,
    /// Those of them that were told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delay_told: Vec<RecipientId>,
    /// The number of the next notification is this at least, see [`State::next_notification`].
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub notifications: u32,
    /// Its header block has the signatures of this server.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_signed: bool,
    /// The message that it came out of, until it is saved for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Batches of messages that came out of it and were let go.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub batches: u32,
    /// The bindings that are asked at this stage, where it came out of a chain that others had gone through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Vec<String>>,
    /// Where bad mail goes on when an operator takes it for good; its delivery where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<Stage>,
    /// How often an operator sent it through its sinks again.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub rounds: u32,
    /// Addresses that sinks put others in the place of, while the recipients are resolved.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub expanded: BTreeSet<String>,
}

fn is_none_yet(number: &u32) -> bool {
    *number == 0
}

impl State {
    /// The state of a message that is held as it is accepted: on release it goes its whole way.
    pub fn held(reason: String) -> Self {
        Self { stage: Stage::Held { reason, then: Box::new(Stage::Submission) }, ..Self::default() }
    }

    /// How often it was tried: by a server, or by sinks that put it off.
    pub fn tries(&self, envelope: &Envelope) -> u32 {
        let each = envelope.recipients.iter().map(|recipient| recipient.outcome.attempts());
        each.max().unwrap_or_default().max(self.attempts).max(self.raised)
    }

    /// Whether the message takes the place of earlier ones with its key: not while it waits for the record of its parent,
    /// without which it goes again.
    pub fn takes_a_place(&self) -> bool {
        self.stage.is_under_way() && self.parent.is_none()
    }

    /// The number in the id of the next notification. No earlier one has it, which may still be queued, and it is the
    /// same again after a crash before this one is told.
    ///
    /// Outcomes can change more than once in an attempt, so the number of attempts alone is not enough.
    pub(super) fn next_notification(&self) -> u32 {
        let has_told = !self.notified.is_empty() || !self.delay_told.is_empty();
        // Records without the number are of a version that took that of the attempts.
        let behind = if self.notifications == 0 && has_told { self.attempts.saturating_add(1) } else { self.attempts };
        behind.max(self.notifications)
    }

    /// Goes to that stage; what belongs to the one before is forgotten.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.raised = 0;
        self.not_before = None;
        self.put_off = None;
        self.rest = None;
        self.resumes = None;
        self.expanded.clear();
    }
}
