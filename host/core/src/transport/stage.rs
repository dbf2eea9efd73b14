//! How far a stored message has come; written with it, so a restart goes on from there.

use serde::{Deserialize, Serialize};

use crate::mail::RecipientId;
use crate::time::Timestamp;

/// The next thing that happens to a stored message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Stage {
    /// The sinks at `on-submission` are asked.
    #[default]
    Submission,
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
            Self::Submission | Self::Delivery => true,
            Self::Held { .. } | Self::Discarded | Self::Bad { .. } => false,
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
    /// Recipients of whose end the sender was told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notified: Vec<RecipientId>,
    /// Recipients whose delay the sender is to be told, or was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delayed: Vec<RecipientId>,
    /// Those of them that were told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delay_told: Vec<RecipientId>,
    /// Its header block has the signatures of this server.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_signed: bool,
}

impl State {
    /// The state of a message that is held as it is accepted: on release it goes its whole way.
    pub fn held(reason: String) -> Self {
        Self { stage: Stage::Held { reason, then: Box::new(Stage::Submission) }, ..Self::default() }
    }
}
