//! The envelope: reverse path, recipients and ESMTP parameters.

use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::addr::Address;
use crate::mail::Bag;
use crate::reply::Reply;
use crate::time::Timestamp;
use crate::transport::Way;

/// Number of a recipient within its message; stable over removal, fork and retry.
pub type RecipientId = u32;

/// What has become of one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing yet.
    #[default]
    Pending,
    /// It is in its mailbox, or the next server took it.
    Delivered {
        /// When.
        at: Timestamp,
        /// Into whose hands.
        #[serde(default, skip_serializing_if = "Handover::is_mailbox")]
        to: Handover,
    },
    /// It failed for now and is tried again.
    Deferred {
        /// Not before this time.
        until: Timestamp,
        /// Why.
        reply: Reply,
        /// Attempts so far.
        #[serde(default)]
        attempts: u32,
        /// The last of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<Last>,
    },
    /// It failed for good.
    Failed {
        /// Why; goes into the notification.
        reply: Reply,
        /// The last attempt, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<Last>,
    },
    /// An operator has to look at it.
    Held {
        /// Why.
        reason: String,
    },
}

/// Who has a message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Handover {
    /// A mailbox here.
    #[default]
    Mailbox,
    /// The next server, which answers for it now.
    Relayed {
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// What it said.
        reply: Reply,
        /// Whether it was told what RFC 3461 parameters ask for, and so notifies the sender itself.
        #[serde(default)]
        is_dsn_passed: bool,
    },
    /// The recipients that the alias stands for took its place.
    Expanded,
    /// A sink, which keeps it for good.
    Sink {
        /// Its binding.
        binding: String,
    },
}

impl Handover {
    // Most records have it, so it is not written.
    fn is_mailbox(&self) -> bool {
        *self == Self::Mailbox
    }
}

/// The last attempt for a recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When it ended.
    pub at: Timestamp,
    /// Name of the server that answered; `None` where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The sink whose word the reply is; `None` where it is the server's or this one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<BySink>,
}

impl Last {
    /// The attempt, where a reply takes the place of the one that it ended with. Words that were a sink's are no more the
    /// server's than before, so no server is named for what was made of them.
    #[must_use]
    pub fn reworded(self) -> Self {
        let host = self.host.filter(|_| self.by.is_none());
        Self { host, by: None, ..self }
    }
}

/// That a sink decided, and not the server to which the message was to go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BySink {
    /// Name of the binding; empty where it is not known which of them it was.
    pub binding: String,
    /// The event.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub event: String,
    /// How it failed, where its failure policy decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What the server said that the sink judged otherwise; `None` where the sink did not wait for an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Reply>,
}

impl fmt::Display for BySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { binding, event, failure, .. } = self;
        if binding.is_empty() {
            f.write_str("a sink of this server")?;
        } else {
            write!(f, "sink {binding}")?;
        }
        if !event.is_empty() {
            write!(f, " at {event}")?;
        }
        failure.as_ref().map_or(Ok(()), |failure| write!(f, ", which failed: {failure}"))
    }
}

impl Outcome {
    /// Failed for good before any attempt.
    pub fn failed(reply: Reply) -> Self {
        Self::Failed { reply, last: None }
    }

    /// Put off until that time, before any attempt.
    pub fn deferred(until: Timestamp, reply: Reply) -> Self {
        Self::Deferred { until, reply, attempts: 0, last: None }
    }

    /// Attempts that failed for now.
    pub fn attempts(&self) -> u32 {
        match self {
            Self::Deferred { attempts, .. } => *attempts,
            Self::Pending | Self::Delivered { .. } | Self::Failed { .. } | Self::Held { .. } => 0,
        }
    }

    /// Whether nothing more will happen to the recipient.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Failed { .. })
    }

    /// The word that the contract and the command line use.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered { .. } => "delivered",
            Self::Deferred { .. } => "deferred",
            Self::Failed { .. } => "failed",
            Self::Held { .. } => "held",
        }
    }
}

/// Whether a recipient is known to be what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolution {
    /// No sink was asked about it.
    #[default]
    Open,
    /// Sinks left it to the tables of the server.
    Tables,
    /// A sink says that it is to be delivered to as it stands.
    Final,
}

impl Resolution {
    // Most records have it, so it is not written.
    fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// One recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Number within the message.
    pub id: RecipientId,
    /// Where it goes now; sinks may have rewritten it.
    pub address: Address,
    /// ORCPT of RFC 3461, else the address as the client gave it.
    pub original: String,
    /// NOTIFY of RFC 3461; empty where the client did not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
    /// What the sinks at `on-categorize` made of it.
    #[serde(default, skip_serializing_if = "Resolution::is_open")]
    pub resolution: Resolution,
    /// The recipients that sinks put it in the place of, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<Address>,
    /// Domain to route by in place of the address's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_domain: Option<String>,
    /// What has become of it.
    #[serde(default)]
    pub outcome: Outcome,
    /// What sinks attached to it.
    #[serde(default, skip_serializing_if = "Bag::is_empty")]
    pub properties: Bag,
}

/// Who a message is from and for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Envelope {
    /// Reverse path; `None` is the null sender `<>`.
    pub sender: Option<Address>,
    /// Recipients in the order they were given.
    pub recipients: Vec<Recipient>,
    /// Parameters of MAIL by keyword in upper case; the empty string where one has no value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// How sinks routed the destinations, by their domains; one of which none was asked is not here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ways: BTreeMap<String, Way>,
    next_recipient: RecipientId,
}

impl Envelope {
    /// Makes an envelope without recipients.
    pub fn new(sender: Option<Address>) -> Self {
        Self { sender, ..Self::default() }
    }

    /// Adds a recipient; `None` where the address is on the list already.
    ///
    /// A client that names a recipient twice gets 250 both times and the mail once (RFC 5321 §4.5.3.1.8
    /// counts commands, not mailboxes).
    pub fn add(&mut self, address: Address, original: String) -> Option<RecipientId> {
        if self.recipients.iter().any(|recipient| recipient.address.is_same(&address)) {
            return None;
        }
        let id = self.next_recipient;
        self.next_recipient += 1;
        self.recipients.push(Recipient {
            id,
            address,
            original,
            notify: Vec::new(),
            resolution: Resolution::Open,
            via: Vec::new(),
            route_domain: None,
            outcome: Outcome::Pending,
            properties: Bag::default(),
        });
        Some(id)
    }

    /// Whether every address is ASCII, so that servers without SMTPUTF8 can be told of them (RFC 6531).
    pub fn is_ascii(&self) -> bool {
        let mut addresses = self.sender.iter().chain(self.recipients.iter().map(|recipient| &recipient.address));
        addresses.all(Address::is_ascii)
    }

    /// The recipient of that number.
    pub fn recipient(&self, id: RecipientId) -> Option<&Recipient> {
        self.recipients.iter().find(|recipient| recipient.id == id)
    }

    /// The recipient of that number, to change.
    pub fn recipient_mut(&mut self, id: RecipientId) -> Option<&mut Recipient> {
        self.recipients.iter_mut().find(|recipient| recipient.id == id)
    }

    /// Takes a recipient off the list and says whether it was on it.
    pub fn remove(&mut self, id: RecipientId) -> bool {
        let before = self.recipients.len();
        self.recipients.retain(|recipient| recipient.id != id);
        self.recipients.len() != before
    }
}
