//! A message on its way out: what of it the other server is given.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::addr::Address;
use crate::limits::CONTENT_SLICE_BYTES;
use crate::mail::{Body, DeliverBy, HeaderBlock, Message, MessageId, Outcome, Recipient, RecipientId};
use crate::reply::Reply;
use crate::smtp::client::offered::Offered;
use crate::smtp::client::sent::Sent;
use crate::time::Timestamp;

/// A message to some of its recipients, all of whom lie at one destination.
///
/// It shares header block and body with the message; a body of any size costs no memory here.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The message.
    pub id: MessageId,
    /// Reverse path; `None` is the null sender.
    pub sender: Option<Address>,
    /// Who is to get it.
    pub recipients: Vec<OutgoingRecipient>,
    /// Header block; whoever signs puts fields on top of it.
    pub header: Arc<HeaderBlock>,
    /// Body.
    pub body: Body,
    /// The message has no empty line behind its header block, see [`Message::separator`].
    pub is_header_only: bool,
    /// What the client that brought it said of its octets.
    pub declared: Option<BodyType>,
    /// The client that brought it said SMTPUTF8 (RFC 6531).
    pub is_smtputf8: bool,
    /// How much of it a notification shall carry (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// The sender's own name for the transaction, in xtext (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// It may go only where TLS is proven and the rule is passed on (RFC 8689).
    pub requires_tls: bool,
    /// 0 is normal, higher is sooner (RFC 6710: -9 to 9).
    pub priority: i32,
    /// When it has to be there, and what happens where it is not (RFC 2852).
    pub deliver_by: Option<(DeliverBy, Timestamp)>,
    /// The message as sinks are shown it.
    pub subject: Option<Arc<Message>>,
    /// Which attempt this is for those recipients, from 1.
    pub attempt: u32,
}

/// One recipient of an [`Outgoing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingRecipient {
    /// Number within the message.
    pub id: RecipientId,
    /// Where it goes.
    pub address: Address,
    /// The original recipient as `type;xtext` (RFC 3461 §4.2), or any other text, which is not passed on.
    pub original: String,
    /// NOTIFY (RFC 3461 §4.1), empty where nobody said.
    pub notify: Vec<String>,
}

/// What octets a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyType {
    /// Lines of ASCII.
    SevenBit,
    /// Lines of any octets (RFC 6152).
    EightBit,
    /// Octets without lines (RFC 3030).
    Binary,
}

/// How much of a message a notification carries (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header block.
    Headers,
}

impl Outgoing {
    /// Makes what is sent of a message to those of its recipients.
    pub fn of(message: &Message, recipients: &[RecipientId]) -> Self {
        let envelope = &message.envelope;
        let parameter = |keyword: &str| envelope.parameters.get(keyword).map(String::as_str);
        let is = |keyword: &str, value: &str| parameter(keyword).is_some_and(|it| it.eq_ignore_ascii_case(value));
        let body_types =
            [("7BIT", BodyType::SevenBit), ("8BITMIME", BodyType::EightBit), ("BINARYMIME", BodyType::Binary)];
        let rets = [("FULL", Ret::Full), ("HDRS", Ret::Headers)];
        let tried = |recipient: &Recipient| match &recipient.outcome {
            Outcome::Deferred { attempts, .. } => *attempts,
            Outcome::Pending | Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::Held { .. } => 0,
        };
        let attempts = recipients.iter().filter_map(|id| envelope.recipient(*id)).map(tried);
        let attempt = attempts.max().unwrap_or(0).saturating_add(1);
        let recipients =
            recipients.iter().filter_map(|id| envelope.recipient(*id)).map(|recipient| OutgoingRecipient {
                id: recipient.id,
                address: recipient.address.clone(),
                original: recipient.original.clone(),
                notify: recipient.notify.clone(),
            });
        Self {
            id: message.id.clone(),
            sender: envelope.sender.clone(),
            recipients: recipients.collect(),
            header: message.header.clone(),
            body: message.body.clone(),
            is_header_only: message.is_header_only,
            declared: body_types.into_iter().find(|(word, _)| is("BODY", word)).map(|(_, kind)| kind),
            is_smtputf8: parameter("SMTPUTF8").is_some(),
            ret: rets.into_iter().find(|(word, _)| is("RET", word)).map(|(_, ret)| ret),
            envid: parameter("ENVID").filter(|envid| !envid.is_empty()).map(str::to_owned),
            requires_tls: parameter("REQUIRETLS").is_some(),
            priority: message.priority,
            deliver_by: DeliverBy::of(message),
            subject: Some(Arc::new(message.clone())),
            attempt,
        }
    }

    /// Whether a server that proved who it is under TLS, or did not, and that offers this, may have the message, as
    /// far as REQUIRETLS has a say in it.
    pub fn is_protected_by(&self, is_proven: bool, offered: &Offered) -> bool {
        // RFC 8689 §4.2.1: both, or the message goes back. §5: that holds for a notification about such a message too;
        // where the way back has no REQUIRETLS it is lost, and senders are told to reckon with that.
        !self.requires_tls || is_proven && offered.has_requiretls
    }

    /// What stands between header block and body.
    pub fn separator(&self) -> &'static [u8] {
        if self.is_header_only && self.body.is_empty() { b"" } else { b"\r\n" }
    }

    /// Octets of the content, before dot-stuffing (RFC 1870 §3).
    pub fn size(&self) -> u64 {
        self.header.len() as u64 + self.separator().len() as u64 + self.body.len()
    }

    /// The content as one stream of octets: header block, empty line, body.
    pub fn content(&self) -> ContentReader {
        let mut head = self.header.to_bytes();
        head.extend_from_slice(self.separator());
        ContentReader { head, body: self.body.clone(), at: 0 }
    }

    /// What octets the content really has, whatever was declared; binary is only ever declared.
    ///
    /// # Errors
    /// The body cannot be read.
    pub(super) fn real_body_type(&self) -> io::Result<BodyType> {
        let mut is_ascii = self.header.fields().iter().all(|field| field.raw().is_ascii());
        let mut offset = 0;
        while is_ascii && offset < self.body.len() {
            let slice = self.body.read(offset, CONTENT_SLICE_BYTES)?;
            if slice.is_empty() {
                return Err(shorter());
            }
            offset += slice.len() as u64;
            is_ascii = slice.is_ascii();
        }
        Ok(if is_ascii { BodyType::SevenBit } else { BodyType::EightBit })
    }

    /// The result that gives every recipient the same reply: for a message that got nowhere.
    pub fn failed(&self, reply: &Reply) -> Sent {
        Sent {
            by_sinks: BTreeMap::new(),
            message: self.id.clone(),
            results: self.recipients.iter().map(|recipient| (recipient.id, Err(reply.shortened()))).collect(),
            may_be_delivered: false,
            is_complete: true,
        }
    }
}

/// The octets of a message in order, a slice at a time.
#[derive(Debug, Clone)]
pub struct ContentReader {
    head: Vec<u8>,
    body: Body,
    at: u64,
}

impl ContentReader {
    /// Octets that are left.
    pub fn rest(&self) -> u64 {
        (self.head.len() as u64 + self.body.len()).saturating_sub(self.at)
    }

    /// The next octets, at most `len`; empty at the end and nowhere else.
    ///
    /// # Errors
    /// The body cannot be read, or has fewer octets than it said.
    pub fn next(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let head = usize::try_from(self.at).ok().and_then(|at| self.head.get(at..)).unwrap_or_default();
        let mut slice = head.get(..len).unwrap_or(head).to_vec();
        let room = len - slice.len();
        let offset = (self.at + slice.len() as u64).saturating_sub(self.head.len() as u64);
        if room > 0 && offset < self.body.len() {
            let body = self.body.read(offset, room)?;
            // A message that ends early must never pass for a whole one.
            if body.is_empty() {
                return Err(shorter());
            }
            slice.extend_from_slice(&body);
        }
        self.at += slice.len() as u64;
        Ok(slice)
    }
}

fn shorter() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the body is shorter than it was")
}
