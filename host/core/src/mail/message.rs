//! The MailMsg: one object from MAIL FROM to the last delivery.

use core::fmt;
use core::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mail::vouched::Vouched;
use crate::mail::{Bag, Body, Envelope, HeaderBlock};
use crate::time::Timestamp;

/// Identity of a message, unique on this server and its peers, stable for its life.
///
/// 1 to 64 characters out of `A-Z a-z 0-9 -`, so it is safe in a file name, a header and a log line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// Longest id, in octets.
    pub const BYTES_MAX: usize = 64;

    /// Takes a text that has the form of an id; `None` for any other.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = (1..=Self::BYTES_MAX).contains(&text.len())
            && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        is_id.then(|| Self(text.into()))
    }

    /// Makes an id out of the time and a random number; the shell supplies both.
    ///
    /// 14 hexadecimal digits of microseconds, so that ids sort by age, then 64 random bits, so that nobody
    /// guesses the id of someone else's message and two servers never make the same.
    pub fn new(now: Timestamp, random: u64) -> Self {
        let microseconds =
            now.seconds.unsigned_abs().saturating_mul(1_000_000).saturating_add(u64::from(now.nanoseconds / 1_000));
        Self(format!("{microseconds:014x}-{random:016x}").into())
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MessageId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("not a message id: {text:?}"))
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.0.as_ref().to_owned()
    }
}

/// How a message came here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A client's session.
    Smtp,
    /// A file in the pickup directory.
    Pickup,
    /// That sink made it.
    Sink(String),
    /// This server notifies a sender.
    Notification,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Smtp => f.write_str("smtp"),
            Self::Pickup => f.write_str("pickup"),
            Self::Sink(name) => write!(f, "sink:{name}"),
            Self::Notification => f.write_str("notification"),
        }
    }
}

/// Facts about a message's arrival; they never change after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// How it came.
    pub origin: Origin,
    /// When its MAIL command came, or it was made.
    pub at: Timestamp,
    /// Name of the listener that took it.
    pub listener: String,
    /// The client's end of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    /// This server's end of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<SocketAddr>,
    /// What the client called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    /// Whether the client greeted with EHLO.
    #[serde(default)]
    pub is_esmtp: bool,
    /// Id of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// How many messages led to this one: a notification or a sink's message is one deeper than its cause.
    #[serde(default)]
    pub depth: u32,
    /// What was known of the client beyond its own word. Records of older versions do without.
    #[serde(default, skip_serializing_if = "Vouched::is_empty")]
    pub vouched: Vouched,
}

/// Memory of an empty message with its arrival and lists, in octets; a round number above what it measures.
const MESSAGE_MEMORY_BYTES: u64 = 2_048;

/// Memory of a recipient, in octets: two spellings of a usual address, and the outcome.
const RECIPIENT_MEMORY_BYTES: u64 = 512;

/// Memory of a field beyond its octets.
const FIELD_MEMORY_BYTES: u64 = 64;

/// A message with everything that belongs to it.
///
/// Cloning is cheap: the parts are shared until somebody edits one (`Arc::make_mut`). That is how a sink's
/// edits stay its own until its call has succeeded: it works on a clone, and the clone is taken or dropped.
#[derive(Debug, Clone)]
pub struct Message {
    /// Identity.
    pub id: MessageId,
    /// How it came.
    pub arrival: Arc<Arrival>,
    /// Who it is from and for.
    pub envelope: Arc<Envelope>,
    /// Header block.
    pub header: Arc<HeaderBlock>,
    /// Body; the empty line before it belongs to neither: see [`Message::separator`].
    pub body: Body,
    /// The message came without the empty line that ends a header block, and so without a body.
    pub is_header_only: bool,
    /// What sinks attached to it.
    pub properties: Arc<Bag>,
    /// Delivery priority; 0 is normal, higher is sooner (RFC 6710 has -9 to 9).
    pub priority: i32,
    /// Not to be delivered before this time.
    pub deliver_after: Option<Timestamp>,
    /// How long it is tried, where a sink said so.
    pub expiry: Option<Expiry>,
    /// What it takes the place of in the queue, where a sink said so.
    pub supersedes: Option<Supersedes>,
}

/// How long a message is tried, in place of what the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// When the sender is told of the delay.
    pub notify_delay: Timestamp,
    /// When it fails.
    pub give_up: Timestamp,
}

/// A queued message of the same sink with the same key is dropped in favour of the one that carries this.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Supersedes {
    /// Name of the sink.
    pub sink: String,
    /// Its key.
    pub key: String,
    /// The message that the one with the key was split off from; the parts of one message do not take each other's
    /// place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<MessageId>,
}

impl Supersedes {
    /// The same, of a message that was split off from `parent`.
    #[must_use]
    pub fn of_part(&self, parent: &MessageId) -> Self {
        Self { family: self.family.clone().or_else(|| Some(parent.clone())), ..self.clone() }
    }
}

impl Message {
    /// Makes a message without header and body, as it stands after MAIL FROM.
    pub fn new(id: MessageId, arrival: Arrival, envelope: Envelope) -> Self {
        Self {
            id,
            arrival: Arc::new(arrival),
            envelope: Arc::new(envelope),
            header: Arc::new(HeaderBlock::default()),
            body: Body::from_bytes(bytes::Bytes::new()),
            is_header_only: false,
            properties: Arc::new(Bag::default()),
            priority: 0,
            deliver_after: None,
            expiry: None,
            supersedes: None,
        }
    }

    /// What stands between header block and body: the empty line, or nothing in a message that came without
    /// one and that nobody gave a body since (RFC 5322 §3.5 has the two together or neither).
    pub fn separator(&self) -> &'static [u8] {
        if self.is_header_only && self.body.is_empty() { b"" } else { b"\r\n" }
    }

    /// Whether the body was declared to be octets without lines (RFC 3030 §3).
    pub fn is_binary(&self) -> bool {
        let body = self.envelope.parameters.get("BODY");
        body.is_some_and(|body| body.eq_ignore_ascii_case("BINARYMIME"))
    }

    /// Whether its client said SMTPUTF8 (RFC 6531 §3.4), so that addresses of it may have other letters than ASCII.
    pub fn is_smtputf8(&self) -> bool {
        self.envelope.parameters.contains_key("SMTPUTF8")
    }

    /// Octets of header block, separator and body together, before dot-stuffing.
    pub fn size(&self) -> u64 {
        self.header.len() as u64 + self.separator().len() as u64 + self.body.len()
    }

    /// About how many octets of memory the message takes, for lists that must bound what they keep.
    ///
    /// A body in a file counts like one in memory: it holds an open file, of which there are fewer than octets.
    pub fn memory_bytes(&self) -> u64 {
        let recipients = self.envelope.recipients.len() as u64 * RECIPIENT_MEMORY_BYTES;
        let fields = self.header.fields().len() as u64 * FIELD_MEMORY_BYTES;
        self.size() + MESSAGE_MEMORY_BYTES + recipients + fields + self.properties.bytes() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_age_and_parse_back() {
        let early = MessageId::new(Timestamp::from_seconds(1_700_000_000), u64::MAX);
        let late = MessageId::new(Timestamp::from_seconds(1_700_000_001), 0);
        assert!(early < late);
        assert_eq!(MessageId::parse(early.as_str()), Some(early));
    }

    #[test]
    fn a_message_without_an_empty_line_gets_one_with_a_body_alone() {
        let id = MessageId::new(Timestamp::default(), 0);
        let arrival = Arrival {
            origin: Origin::Smtp,
            at: Timestamp::default(),
            listener: String::new(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: false,
            session: None,
            depth: 0,
            vouched: Default::default(),
        };
        let mut message = Message::new(id, arrival, Envelope::new(None));
        assert_eq!((message.separator(), message.size()), (&b"\r\n"[..], 2));
        message.is_header_only = true;
        assert_eq!((message.separator(), message.size()), (&b""[..], 0));
        message.body = Body::from_bytes(&b"text\r\n"[..]);
        assert_eq!((message.separator(), message.size()), (&b"\r\n"[..], 8));
    }

    #[test]
    fn an_id_is_safe_in_a_file_name() {
        for bad in ["", "../x", "a b", "a/b", "a\0"] {
            assert_eq!(MessageId::parse(bad), None);
        }
    }
}
