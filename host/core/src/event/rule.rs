//! Rules: the conditions under which a binding fires.

use core::net::IpAddr;

use thiserror::Error;

use crate::event::EventKind;
use crate::mail::{HeaderBlock, Recipient, RecipientId};

/// What is known when a plan is made. What an event cannot know is `None` or empty; a rule that asks for
/// it does not register in the first place.
#[derive(Debug, Clone, Default)]
pub struct Facts<'a> {
    /// Verb in upper case.
    pub verb: Option<&'a str>,
    /// What the client called itself.
    pub helo: Option<&'a str>,
    /// Reverse path; the empty string is the null sender.
    pub sender: Option<String>,
    /// Recipients.
    pub recipients: &'a [Recipient],
    /// Recipient that a RCPT command names, before it is on the list.
    pub rcpt_argument: Option<&'a str>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Octets of the message, or what SIZE= declared.
    pub size: Option<u64>,
    /// Header block.
    pub header: Option<&'a HeaderBlock>,
    /// Code of a reply.
    pub code: Option<u16>,
    /// Name of the listener.
    pub listener: Option<&'a str>,
    /// "smtp", "pickup", "sink:NAME" or "notification".
    pub origin: Option<String>,
}

/// Why a rule was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// A part without `=`, `!=` or `>`.
    #[error("{part:?} is no condition; write field=pattern, field!=pattern or size>number, joined by \";\"")]
    Form {
        /// The part.
        part: String,
    },
    /// A field that nobody knows.
    #[error("there is no rule field {field:?}; {event} knows {}", fields.join(", "))]
    UnknownField {
        /// What was asked for.
        field: String,
        /// The event of the binding.
        event: EventKind,
        /// Fields that the event knows.
        fields: Vec<&'static str>,
    },
    /// A field that exists, which the event cannot know.
    #[error("{event} cannot know {field:?}; it knows {}", fields.join(", "))]
    FieldNotKnown {
        /// What was asked for.
        field: String,
        /// The event of the binding.
        event: EventKind,
        /// Fields that the event knows.
        fields: Vec<&'static str>,
    },
    /// A pattern that the field cannot have.
    #[error("{pattern:?} is no pattern for {field}: {why}")]
    Pattern {
        /// The field.
        field: String,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A conjunction of conditions, as the operator wrote it and as it is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    text: String,
}

/// Whether a rule holds, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched {
    /// It holds; the recipients that `rcpt to` selected, `None` where the rule has no such condition.
    Yes(Option<Vec<RecipientId>>),
    /// The condition that failed, as it was written, and what was found instead.
    No {
        /// The condition.
        condition: String,
        /// What was found.
        found: String,
    },
}

impl Rule {
    /// The rule as it was written; empty where there is none.
    pub fn text(&self) -> &str {
        &self.text
    }
}
