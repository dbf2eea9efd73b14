//! Messages that sinks make while they look at another one: forks and submissions.
//!
//! They are part of the overlay like every other effect. Their ids come from the event and its repetition-proof key,
//! so that a repetition after a crash makes the same messages again and not further ones.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::addr::Address;
use crate::event::{EventKind, Occasion, Overlay};
use crate::limits::{
    ANSWER_DEPTH_MAX, ANSWERS_TO_ANSWERS_PER_CHAIN_MAX, FORKS_PER_CHAIN_MAX, SUBMISSIONS_PER_CHAIN_MAX,
};
use crate::mail::{Arrival, Body, Envelope, Field, HeaderBlock, Message, MessageId, Origin, RecipientId};

/// Some recipients of a message as a message of their own, edits included.
#[derive(Debug, Clone)]
pub struct Fork {
    /// The new message.
    pub message: Message,
    /// The sink that made it.
    pub sink: String,
    /// The bindings that it still meets at this event, in their order; the chain fills them in.
    pub rest: Vec<String>,
}

/// A message that a sink puts into the queue.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The new message.
    pub message: Message,
    /// The sink that made it, which does not meet it again.
    pub sink: String,
}

/// What a sink makes a new message of.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Reverse path; `None` is the null path.
    pub sender: Option<Address>,
    /// Forward paths.
    pub recipients: Vec<Address>,
    /// Header block.
    pub header: HeaderBlock,
    /// Body.
    pub body: Body,
}

/// Why there is no new message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BirthError {
    /// A recipient that is not on the list.
    #[error("there is no such recipient")]
    NotFound,
    /// Nobody, or everybody, would be moved; or there is nobody to send to.
    #[error("nobody or everybody would be moved")]
    Nobody,
    /// The event does not allow forks.
    #[error("this event does not allow forks")]
    ReadOnly,
    /// Too many, or answers to answers too deep.
    #[error("too many messages, or answers to answers too deep")]
    Limit,
    /// Fields that pass the limits of a block.
    #[error("the header block passes its limits")]
    Header,
}

/// Octets that the id of a notification has beyond that of the message that it is about: `-n` and a number of 32 bits.
const NOTIFICATION_SUFFIX_BYTES: usize = 12;

/// Octets of the digest that an id carries: enough that no two of a message's children ever meet.
const ID_DIGEST_BYTES: usize = 8;

impl Occasion {
    /// The id of the message that `sink` makes at this event as its `ordinal`th: the same in every repetition.
    pub fn child_id(&self, parent: Option<&MessageId>, sink: &str, ordinal: usize) -> MessageId {
        let text = format!("{}\n{}\n{sink}\n{ordinal}", self.idempotency_key, parent.map_or("", MessageId::as_str));
        let digest = Sha256::digest(text.as_bytes());
        let number = digest.iter().take(ID_DIGEST_BYTES).fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        let Some(parent) = parent else { return MessageId::new(self.now, number) };
        // The front of the parent's id is its time and its random bits, so the children sort beside it; the digest is
        // over the whole of it.
        let suffix = format!("-f{number:016x}");
        let front = parent.as_str();
        // A notification about the child has the child's id with a number behind it, by which a start knows that it is not
        // to set out yet; cut, it would be anybody's.
        let room = MessageId::BYTES_MAX - suffix.len() - NOTIFICATION_SUFFIX_BYTES;
        let front = front.get(..room).unwrap_or(front);
        MessageId::parse(&format!("{front}{suffix}")).unwrap_or_else(|| MessageId::new(self.now, number))
    }
}

impl Overlay {
    /// Moves those recipients to a message of their own with a copy of everything else, and says which of
    /// [`Overlay::forks`] it is.
    ///
    /// # Errors
    /// See [`BirthError`]; nothing changed then.
    pub fn fork(&mut self, occasion: &Occasion, sink: &str, ids: &[RecipientId]) -> Result<usize, BirthError> {
        if !matches!(occasion.event, EventKind::OnSubmission | EventKind::OnPostCategorize) {
            return Err(BirthError::ReadOnly);
        }
        if self.forks.len() >= FORKS_PER_CHAIN_MAX {
            return Err(BirthError::Limit);
        }
        let ordinal = self.children_of(sink);
        let Some(message) = &mut self.message else { return Err(BirthError::ReadOnly) };
        if ids.iter().any(|id| message.envelope.recipient(*id).is_none()) {
            return Err(BirthError::NotFound);
        }
        let (moved, left): (Vec<_>, Vec<_>) =
            message.envelope.recipients.iter().cloned().partition(|recipient| ids.contains(&recipient.id));
        if moved.is_empty() || left.is_empty() {
            return Err(BirthError::Nobody);
        }
        let mut fork = message.clone();
        fork.id = occasion.child_id(Some(&message.id), sink, ordinal);
        fork.supersedes = message.supersedes.as_ref().map(|key| key.of_part(&message.id));
        Arc::make_mut(&mut fork.envelope).recipients = moved;
        Arc::make_mut(&mut message.envelope).recipients = left;
        self.forks.push(Fork { message: fork, sink: sink.to_owned(), rest: Vec::new() });
        Ok(self.forks.len() - 1)
    }

    /// Adds a message to those that go into the queue when the chain is decided, and says what its id is.
    ///
    /// Date, Message-ID and From are added where they are missing (RFC 6409 §8).
    ///
    /// # Errors
    /// See [`BirthError`]; nothing changed then.
    pub fn submit(
        &mut self,
        occasion: &Occasion,
        sink: &str,
        host_name: &str,
        new: NewMessage,
    ) -> Result<MessageId, BirthError> {
        let cause = self.message.as_ref().or(occasion.subject.as_deref());
        let depth = cause.map_or(0, |message| message.arrival.depth.saturating_add(1));
        let most = if depth > 1 { ANSWERS_TO_ANSWERS_PER_CHAIN_MAX } else { SUBMISSIONS_PER_CHAIN_MAX };
        if self.submissions.len() >= most || depth > ANSWER_DEPTH_MAX {
            return Err(BirthError::Limit);
        }
        let id = occasion.child_id(cause.map(|message| &message.id), sink, self.children_of(sink));
        let arrival = Arrival {
            origin: Origin::Sink(sink.to_owned()),
            at: occasion.now,
            listener: cause.map(|message| message.arrival.listener.clone()).unwrap_or_default(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: false,
            session: None,
            depth,
            vouched: Default::default(),
        };
        let message = new.into_message(id.clone(), arrival, host_name)?;
        self.submissions.push(Submission { message, sink: sink.to_owned() });
        Ok(id)
    }

    fn children_of(&self, sink: &str) -> usize {
        let forks = self.forks.iter().filter(|fork| fork.sink == sink).count();
        forks + self.submissions.iter().filter(|submission| submission.sink == sink).count()
    }
}

impl NewMessage {
    fn into_message(self, id: MessageId, arrival: Arrival, host_name: &str) -> Result<Message, BirthError> {
        let Self { sender, recipients, mut header, body } = self;
        let mut missing = Vec::new();
        if header.first("Date").is_none() {
            missing.push(("Date", arrival.at.to_rfc5322()));
        }
        if header.first("From").is_none() {
            let from = sender.as_ref().map_or_else(|| format!("postmaster@{host_name}"), ToString::to_string);
            missing.push(("From", format!("<{from}>")));
        }
        if header.first("Message-ID").is_none() {
            missing.push(("Message-ID", format!("<{id}@{host_name}>")));
        }
        for (name, value) in missing {
            let field = Field::new(name, &value).map_err(|_| BirthError::Header)?;
            header.insert(header.fields().len(), field).map_err(|_| BirthError::Header)?;
        }
        let mut envelope = Envelope::new(sender);
        for address in recipients {
            let original = address.to_string();
            envelope.add(address, original);
        }
        if envelope.recipients.is_empty() {
            return Err(BirthError::Nobody);
        }
        let is_utf8 = header.fields().iter().any(|field| !field.raw().is_ascii());
        // What the body has is not looked at: 8BITMIME allows both, and a next server that does not know it is told
        // no less than the truth.
        envelope.parameters.insert("BODY".to_owned(), "8BITMIME".to_owned());
        if is_utf8 || !envelope.is_ascii() {
            envelope.parameters.insert("SMTPUTF8".to_owned(), String::new());
        }
        let mut message = Message::new(id, arrival, envelope);
        message.header = Arc::new(header);
        message.body = body;
        Ok(message)
    }
}
