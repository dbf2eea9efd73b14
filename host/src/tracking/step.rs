//! What a line of the tracking log has.

use std::borrow::Cow;

use basin_core::mail::{BySink, Message, MessageId};
use basin_core::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{parse_time, show_time};

/// A text that is borrowed while a line is written and owned after it was read.
pub type Text<'a> = Cow<'a, str>;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line<'a> {
    /// When.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub at: Timestamp,
    /// Which message; empty for [`Step::Lost`].
    pub id: Text<'a>,
    /// What happened.
    #[serde(flatten)]
    pub step: Step<'a>,
}

/// The sink whose word a reply is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct By<'a> {
    /// Name of the binding; empty where it is not known which of them it was.
    pub sink: Text<'a>,
    /// What the server said that the sink judged otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Text<'a>>,
}

impl<'a> From<&'a BySink> for By<'a> {
    fn from(by: &'a BySink) -> Self {
        Self { sink: by.binding.as_str().into(), said: by.said.as_ref().map(|said| said.to_string().into()) }
    }
}

impl By<'_> {
    /// The same, borrowed from nobody.
    pub fn into_owned(self) -> By<'static> {
        let said = self.said.map(|said| said.into_owned().into());
        By { sink: self.sink.into_owned().into(), said }
    }
}

/// A step in the life of a message. Times are microseconds, sizes octets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step<'a> {
    /// It was accepted and is on disk; the client was told so.
    Received {
        /// How it came: `smtp`, `pickup`, `sink:NAME`, `notification`.
        origin: Text<'a>,
        /// Session that brought it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<Text<'a>>,
        /// Listener that took it.
        listener: Text<'a>,
        /// Address and port of the client.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<Text<'a>>,
        /// What the client called itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        helo: Option<Text<'a>>,
        /// Reverse path; empty for the null sender.
        sender: Text<'a>,
        /// Recipients.
        recipients: Vec<Text<'a>>,
        /// Octets of the whole text.
        size: u64,
        /// `Message-ID` of its header, with the angle brackets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message_id: Option<Text<'a>>,
        /// The message that this one is about: the failed one of a notification, the cause of a sink's message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<Text<'a>>,
    },
    /// It was refused at the end of its text; it is not here.
    Refused {
        /// What the client was told.
        reply: Text<'a>,
    },
    /// A sink was asked about it, or told of it.
    Sink {
        /// Name of the sink.
        sink: Text<'a>,
        /// Name of the binding.
        binding: Text<'a>,
        /// Event, as `on-submission`.
        event: Text<'a>,
        /// What it said, or `failed`.
        verdict: Text<'a>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Text<'a>>,
        /// Fuel.
        fuel: u64,
        /// From request to answer.
        micros: u64,
        /// Of these, waiting for a free place among the calls.
        #[serde(default, skip_serializing_if = "is_zero")]
        queued_micros: u64,
        /// Largest memory.
        memory: u64,
        /// Session, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<Text<'a>>,
    },
    /// It passed the sinks that look at the whole message and its delivery begins.
    Submitted,
    /// Its recipients are resolved, as aliases, lists and sinks have it.
    Categorized {
        /// Who they are.
        recipients: Vec<Text<'a>>,
    },
    /// Some of its recipients wait for a destination.
    Enqueued {
        /// The destination.
        destination: Text<'a>,
        /// The recipients.
        recipients: Vec<Text<'a>>,
    },
    /// A host was tried.
    Attempt {
        /// The destination that the host serves.
        destination: Text<'a>,
        /// Name of the host.
        host: Text<'a>,
        /// Its address and port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<Text<'a>>,
        /// Version, cipher and how the certificate was proved; `None` without TLS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<Text<'a>>,
        /// The last reply, or why there was none.
        reply: Text<'a>,
        /// The sink whose word it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<By<'a>>,
        /// How long it took.
        micros: u64,
    },
    /// A recipient has it.
    Delivered {
        /// The recipient.
        recipient: Text<'a>,
        /// `mailbox`, or `alias` where those took its place that it stands for.
        to: Text<'a>,
        /// What a host said that took it: in lines of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply: Option<Text<'a>>,
    },
    /// Another server took it over for a recipient.
    Relayed {
        /// The recipient.
        recipient: Text<'a>,
        /// The host that took it.
        to: Text<'a>,
        /// What that host said.
        reply: Text<'a>,
    },
    /// A recipient failed for now.
    Deferred {
        /// The recipient.
        recipient: Text<'a>,
        /// Why.
        reply: Text<'a>,
        /// The sink whose word it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<By<'a>>,
        /// Next try, as RFC 3339.
        until: Text<'a>,
        /// Tries so far.
        attempts: u32,
    },
    /// A recipient failed for good.
    Failed {
        /// The recipient.
        recipient: Text<'a>,
        /// Why.
        reply: Text<'a>,
        /// The sink whose word it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<By<'a>>,
    },
    /// A recipient failed because its time was over, or an operator said that it is.
    Expired {
        /// The recipient.
        recipient: Text<'a>,
        /// Why it was not delivered before.
        reply: Text<'a>,
        /// The sink whose word it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<By<'a>>,
    },
    /// The sender was notified.
    Notified {
        /// Of what.
        of: Notified,
        /// Id of the notification, whose own story goes on under that id.
        child: Text<'a>,
        /// About whom.
        recipients: Vec<Text<'a>>,
    },
    /// A sink kept a notification of its sender back.
    Suppressed {
        /// About whom.
        recipients: Vec<Text<'a>>,
    },
    /// It waits for an operator.
    Held {
        /// Why.
        reason: Text<'a>,
    },
    /// It was set aside as bad mail.
    Bad {
        /// Why.
        reason: Text<'a>,
    },
    /// An operator did something to it.
    Operator {
        /// What.
        did: Operation,
        /// Who, as the command line named itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Text<'a>>,
        /// With what argument, as the route's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<Text<'a>>,
    },
    /// It left the spool: nothing more happens to it.
    Removed {
        /// How it ended: `delivered`, `failed`, `discarded`, `no-recipients`, `failed-untold`, `deleted`,
        /// `moved`, `superseded`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<Text<'a>>,
    },
    /// Lines are missing here; it belongs to no message.
    Lost {
        /// How many.
        lines: u64,
        /// Why.
        why: Text<'a>,
    },
}

/// What a notification is of (RFC 3464 §2.3.3, the action).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notified {
    /// It failed, or its time was over.
    Failed,
    /// It is late.
    Delayed,
    /// It is in its mailbox.
    Delivered,
    /// A server that does not report took it.
    Relayed,
}

/// What an operator did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Held it.
    Held,
    /// Let it go on.
    Released,
    /// Had it tried now.
    Retried,
    /// Sent it another way.
    Rerouted,
    /// Sent it through its sinks again.
    Rerun,
    /// Ended it with a notification.
    Expired,
    /// Deleted it without one.
    Deleted,
    /// Moved it to another queue.
    Moved,
    /// Put it in from an export.
    Imported,
}

impl Operation {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Released => "released",
            Self::Retried => "retried",
            Self::Rerouted => "rerouted",
            Self::Rerun => "sent through its sinks again",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::Moved => "moved to another queue",
            Self::Imported => "imported",
        }
    }
}

impl<'a> Step<'a> {
    /// The step of a message that was accepted.
    pub fn received(message: &'a Message, parent: Option<&'a MessageId>) -> Self {
        let arrival = &message.arrival;
        let message_id = message.header.fields().iter().find(|field| field.name().eq_ignore_ascii_case("message-id"));
        Self::Received {
            origin: arrival.origin.to_string().into(),
            session: arrival.session.as_deref().map(Cow::Borrowed),
            listener: arrival.listener.as_str().into(),
            client: arrival.client.map(|client| client.to_string().into()),
            helo: arrival.helo.as_deref().map(Cow::Borrowed),
            sender: message.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default().into(),
            recipients: message.envelope.recipients.iter().map(|one| one.address.to_string().into()).collect(),
            size: message.size(),
            message_id: message_id.map(|field| field.value().trim().to_owned().into()),
            parent: parent.map(|parent| parent.as_str().into()),
        }
    }

    /// The word that names it in a line.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Received { .. } => "received",
            Self::Refused { .. } => "refused",
            Self::Sink { .. } => "sink",
            Self::Submitted => "submitted",
            Self::Categorized { .. } => "categorized",
            Self::Enqueued { .. } => "enqueued",
            Self::Attempt { .. } => "attempt",
            Self::Delivered { .. } => "delivered",
            Self::Relayed { .. } => "relayed",
            Self::Deferred { .. } => "deferred",
            Self::Failed { .. } => "failed",
            Self::Expired { .. } => "expired",
            Self::Notified { .. } => "notified",
            Self::Suppressed { .. } => "suppressed",
            Self::Held { .. } => "held",
            Self::Bad { .. } => "bad",
            Self::Operator { .. } => "operator",
            Self::Removed { .. } => "removed",
            Self::Lost { .. } => "lost",
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn write_time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show_time(*at))
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_time(&text).ok_or_else(|| serde::de::Error::custom("not a date-time of RFC 3339"))
}
