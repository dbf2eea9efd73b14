//! Rules: the conditions under which a binding fires.
//!
//! A rule is `field=pattern` joined by `;`, all of which must hold. `|` separates alternatives of one
//! field, `!=` turns a condition round, `*` stands for any text, case does not matter, `<>` is the null
//! sender. A rule is parsed once, at registration, against the event of its binding: what the event cannot
//! know is an error there, because a condition that never holds looks like a sink that is never called.

mod matching;
mod parse;

use core::net::IpAddr;
use std::borrow::Cow;

use thiserror::Error;

use crate::event::EventKind;
use crate::mail::{HeaderBlock, Recipient, RecipientId};
use crate::network::Network;

pub(crate) use matching::Glob;
pub(crate) use parse::closest;

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
    pub recipients: Cow<'a, [Recipient]>,
    /// Recipient that a RCPT command names, before it is on the list.
    pub rcpt_argument: Option<&'a str>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Who the client has proved to be with AUTH.
    pub user: Option<&'a str>,
    /// Version of TLS, as in "TLSv1.3".
    pub tls: Option<&'a str>,
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
    #[error("there is no rule field {field:?}{}; {event} knows {}", did_you_mean(*suggestion), fields.join(", "))]
    UnknownField {
        /// What was asked for.
        field: String,
        /// The closest field that the event knows.
        suggestion: Option<&'static str>,
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

fn did_you_mean(suggestion: Option<&'static str>) -> String {
    suggestion.map(|field| format!(", did you mean {field:?}?")).unwrap_or_default()
}

/// A conjunction of conditions, as the operator wrote it and as it is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    text: String,
    conditions: Vec<Condition>,
}

/// One condition: a field, and patterns of which one has to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    text: String,
    field: Field,
    is_negated: bool,
    patterns: Vec<Pattern>,
}

/// What a condition looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Verb,
    Ehlo,
    MailFrom,
    RcptTo,
    Client,
    User,
    Tls,
    Size,
    Header(String),
    Code,
    Listener,
    Origin,
}

/// What a condition compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Text(Glob),
    Within(Network),
    Over(u64),
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
    /// Parses a rule for a binding at `event`; the empty text is the rule that always holds.
    ///
    /// # Errors
    /// See [`RuleError`]; the texts name the fields that the event knows.
    pub fn parse(text: &str, event: EventKind) -> Result<Self, RuleError> {
        let text = text.trim();
        let parts = text.split(';').filter(|_| !text.is_empty());
        let conditions = parts.map(|part| parse::condition(part.trim(), event)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), conditions })
    }

    /// The rule as it was written; empty where there is none.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the rule can hold for something about that verb.
    pub fn may_concern(&self, verb: &str) -> bool {
        let facts = Facts { verb: Some(verb), ..Facts::default() };
        self.conditions.iter().filter(|condition| condition.field == Field::Verb).all(|it| it.holds(&facts))
    }

    /// Checks the rule against what is known.
    ///
    /// On a RCPT command `rcpt to` looks at the recipient that the command names; everywhere else it
    /// selects recipients of the message and holds where it selects one. Several such conditions select
    /// the recipients that fit them all.
    pub fn matches(&self, facts: &Facts<'_>) -> Matched {
        let mut selected: Option<Vec<RecipientId>> = None;
        for condition in &self.conditions {
            let selects = condition.field == Field::RcptTo && facts.rcpt_argument.is_none();
            let holds = if selects {
                let ids = condition.select(facts, selected.as_deref());
                let holds = !ids.is_empty();
                selected = Some(ids);
                holds
            } else {
                condition.holds(facts)
            };
            if !holds {
                return Matched::No { condition: condition.text.clone(), found: condition.found(facts) };
            }
        }
        Matched::Yes(selected)
    }
}

/// The names of the fields that a rule at `event` may ask for; `header NAME` and `size>` stand as they are written.
pub fn fields_of(event: EventKind) -> &'static [&'static str] {
    match event {
        EventKind::OnConnect => &["client", "tls", "listener"],
        EventKind::OnAuthenticated | EventKind::OnInboundInput | EventKind::OnDisconnect => {
            &["client", "ehlo", "user", "tls", "listener"]
        }
        EventKind::OnInboundCommand => {
            &["verb", "ehlo", "mail from", "rcpt to", "client", "user", "tls", "size>", "code", "listener"]
        }
        EventKind::OnMaxMsgSize => &["ehlo", "mail from", "rcpt to", "client", "user", "tls", "size>", "listener"],
        EventKind::OnEndOfHeaders => {
            &["ehlo", "mail from", "rcpt to", "client", "user", "tls", "header NAME", "listener", "origin"]
        }
        EventKind::OnReject => &["client", "ehlo", "user", "tls", "code", "listener"],
        EventKind::OnEndOfData
        | EventKind::OnSubmission
        | EventKind::OnPreCategorize
        | EventKind::OnCategorize
        | EventKind::OnPostCategorize
        | EventKind::OnRoute
        | EventKind::OnLocalDelivery
        | EventKind::OnNotification => {
            &["ehlo", "mail from", "rcpt to", "client", "user", "tls", "size>", "header NAME", "listener", "origin"]
        }
        EventKind::OnServerResponse => &["verb", "mail from", "rcpt to", "code", "origin"],
        EventKind::OnSessionStart
        | EventKind::OnMessageStart
        | EventKind::OnPerRecipient
        | EventKind::OnBeforeData
        | EventKind::OnSessionEnd => &["mail from", "rcpt to", "origin"],
        EventKind::OnTrack => &["mail from", "rcpt to", "size>", "code"],
        EventKind::OnDnsResolve | EventKind::OnTimer => &[],
    }
}

#[cfg(test)]
mod tests;
