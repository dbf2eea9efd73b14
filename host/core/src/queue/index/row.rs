//! What the index knows of a message.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::mail::{Arrival, Envelope, Message, MessageId, Outcome};
use crate::time::Timestamp;
use crate::transport::{Stage, State};

/// Where a message of the queue stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The sinks have not judged it yet.
    Submission,
    /// Somebody is to be tried for the first time, or again by an operator's wish, and mail goes there.
    Ready,
    /// All who wait were tried and wait for their next attempt, or mail does not go now where it would go: the
    /// destination is down, or held. [`Standing::of`] knows nothing of destinations; [`super::Query`] does.
    Deferred,
    /// It waits, or all who wait in it wait, for an operator.
    Held,
    /// It was set aside as bad mail.
    Bad,
    /// Nobody waits any more; it is about to be removed.
    Ended,
    /// The spool cannot read it.
    Damaged,
}

impl Standing {
    /// Every word, in the order of a message's life.
    pub const ALL: [Self; 7] =
        [Self::Submission, Self::Ready, Self::Deferred, Self::Held, Self::Bad, Self::Ended, Self::Damaged];

    /// Whether it waits for nothing that only an operator can do.
    pub fn is_waiting(self) -> bool {
        match self {
            Self::Submission | Self::Ready | Self::Deferred => true,
            Self::Held | Self::Bad | Self::Ended | Self::Damaged => false,
        }
    }

    /// The word that filters and lists use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::Ready => "ready",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Bad => "bad",
            Self::Ended => "ended",
            Self::Damaged => "damaged",
        }
    }

    /// Where a message stands.
    pub fn of(envelope: &Envelope, state: &State) -> Self {
        match &state.stage {
            Stage::Submission | Stage::PreCategorize | Stage::PostCategorize if state.raised > 0 => Self::Deferred,
            Stage::Submission | Stage::PreCategorize | Stage::PostCategorize => Self::Submission,
            Stage::Held { .. } => Self::Held,
            Stage::Bad { .. } => Self::Bad,
            Stage::Discarded => Self::Ended,
            Stage::Categorize | Stage::Route | Stage::Delivery => {
                let has = |word| envelope.recipients.iter().any(|recipient| recipient.outcome.word() == word);
                if has("pending") {
                    Self::Ready
                } else if has("deferred") {
                    Self::Deferred
                } else if has("held") {
                    Self::Held
                } else {
                    Self::Ended
                }
            }
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What one recipient waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waits {
    /// Its first attempt.
    Pending,
    /// Its next attempt.
    Deferred,
    /// An operator.
    Held,
}

/// One recipient that is not final yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRecipient {
    /// Local part as it was written, empty for `postmaster` without a domain.
    pub local: String,
    /// Domain in lower case; empty for `postmaster` without a domain.
    pub domain: String,
    /// What is routed by in place of the domain.
    pub route: Option<String>,
    /// What it waits for.
    pub waits: Waits,
    /// Last reply, or the reason why it is held.
    pub reply: Option<String>,
}

impl RowRecipient {
    /// The address.
    pub fn address(&self) -> String {
        if self.domain.is_empty() { self.local.clone() } else { format!("{}@{}", self.local, self.domain) }
    }

    /// What its destination is looked up by.
    pub fn routed_by(&self) -> &str {
        self.route.as_deref().unwrap_or(&self.domain)
    }
}

/// A message of the queue as lists and filters see it; times are whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Identity.
    pub id: MessageId,
    /// Local part of the reverse path; empty for the null sender.
    pub sender_local: String,
    /// Its domain in lower case; empty for the null sender.
    pub sender_domain: String,
    /// Recipients that are not final, in their order.
    pub recipients: Vec<RowRecipient>,
    /// Recipients altogether.
    pub recipient_count: u32,
    /// Octets of the message.
    pub size: u64,
    /// When it came.
    pub arrived: Timestamp,
    /// Where it stands.
    pub standing: Standing,
    /// Attempts so far.
    pub attempts: u32,
    /// Nothing happens to it before this time.
    pub next_attempt: Option<Timestamp>,
    /// Delivery priority; 0 is normal, higher is sooner.
    pub priority: i32,
    /// `smtp`, `pickup`, `notification` or `sink:NAME`.
    pub origin: String,
    /// Why the whole message is held, bad, damaged, or put off by a sink before its delivery.
    pub reason: Option<String>,
}

impl Row {
    /// The row of a message.
    pub fn of(message: &Message, state: &State) -> Self {
        let of_parts = Self::of_parts(&message.id, &message.arrival, &message.envelope, state, message.size());
        let next_attempt = later(of_parts.next_attempt, message.deliver_after.map(whole));
        Self { priority: message.priority, next_attempt, ..of_parts }
    }

    /// The row of a message whose header and body nobody read; priority and `deliver_after` are for the caller
    /// to add ([`Row::with`]).
    pub fn of_parts(id: &MessageId, arrival: &Arrival, envelope: &Envelope, state: &State, size: u64) -> Self {
        let (sender_local, sender_domain) =
            envelope.sender.as_ref().map_or_else(Default::default, |sender| parts(sender.local(), sender.domain()));
        let reason = state.stage.reason().map(str::to_owned).or_else(|| put_off(envelope, state));
        Self {
            id: id.clone(),
            sender_local,
            sender_domain,
            recipients: recipients(envelope),
            recipient_count: u32::try_from(envelope.recipients.len()).unwrap_or(u32::MAX),
            size,
            arrived: whole(arrival.at),
            standing: Standing::of(envelope, state),
            attempts: state.tries(envelope),
            next_attempt: state.not_before.or_else(|| earliest(envelope)).map(whole),
            priority: 0,
            origin: arrival.origin.to_string(),
            reason,
        }
    }

    /// The row with a priority and a time before which nothing happens.
    #[must_use]
    pub fn with(self, priority: i32, deliver_after: Option<Timestamp>) -> Self {
        let next_attempt = later(self.next_attempt, deliver_after.map(whole));
        Self { priority, next_attempt, ..self }
    }

    /// The row of a message that the spool has and cannot read.
    pub fn damaged(id: MessageId, size: u64, why: String) -> Self {
        Self {
            id,
            sender_local: String::new(),
            sender_domain: String::new(),
            recipients: Vec::new(),
            recipient_count: 0,
            size,
            arrived: Timestamp::default(),
            standing: Standing::Damaged,
            attempts: 0,
            next_attempt: None,
            priority: 0,
            origin: String::new(),
            reason: Some(why),
        }
    }

    /// The reverse path; empty for the null sender.
    pub fn sender(&self) -> String {
        if self.sender_domain.is_empty() {
            self.sender_local.clone()
        } else {
            format!("{}@{}", self.sender_local, self.sender_domain)
        }
    }

    /// Why it waits: the reason of the whole message, else the first reply of a recipient.
    pub fn why(&self) -> Option<&str> {
        let of_recipient = || self.recipients.iter().find_map(|recipient| recipient.reply.as_deref());
        self.reason.as_deref().or_else(of_recipient)
    }
}

// Before its delivery nothing is due at any destination, whatever is known of that.
fn put_off(envelope: &Envelope, state: &State) -> Option<String> {
    if let Some(put_off) = &state.put_off {
        return Some(put_off.to_string());
    }
    let reply = |recipient: &RowRecipient| recipient.reply.clone().filter(|_| recipient.waits == Waits::Deferred);
    state.stage.is_before_delivery().then(|| recipients(envelope).iter().find_map(reply)).flatten()
}

fn recipients(envelope: &Envelope) -> Vec<RowRecipient> {
    let rows = envelope.recipients.iter().filter_map(|recipient| {
        let (waits, reply) = match &recipient.outcome {
            Outcome::Pending => (Waits::Pending, None),
            Outcome::Deferred { reply, last, .. } => {
                let by = last.as_ref().and_then(|last| last.by.as_ref());
                let by = by.map(|by| format!(" (says {by})")).unwrap_or_default();
                (Waits::Deferred, Some(format!("{reply}{by}")))
            }
            Outcome::Held { reason } => (Waits::Held, Some(reason.clone())),
            Outcome::Delivered { .. } | Outcome::Failed { .. } => return None,
        };
        let (local, domain) = parts(recipient.address.local(), recipient.address.domain());
        let route = recipient.route_domain.as_ref().map(|domain| domain.to_ascii_lowercase());
        Some(RowRecipient { local, domain, route, waits, reply })
    });
    rows.collect()
}

fn parts(local: &str, domain: Option<&str>) -> (String, String) {
    (local.to_owned(), domain.map(str::to_ascii_lowercase).unwrap_or_default())
}

fn earliest(envelope: &Envelope) -> Option<Timestamp> {
    let times = envelope.recipients.iter().filter_map(|recipient| match &recipient.outcome {
        Outcome::Deferred { until, .. } => Some(*until),
        Outcome::Pending | Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::Held { .. } => None,
    });
    times.min()
}

fn later(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.max(other)
}

fn whole(moment: Timestamp) -> Timestamp {
    Timestamp::from_seconds(moment.seconds)
}
