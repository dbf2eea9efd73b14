//! What a session knows, in whatever state it is.

use core::net::IpAddr;
use std::sync::Arc;

use crate::addr::Address;
use crate::event::{EventKind, EventSet, Occasion, Overlay, Question, SessionFacts};
use crate::mail::{Arrival, Bag, Message, MessageId, Origin, Vouched};
use crate::reply::Reply;
use crate::smtp::disagreement::{Disagreement, Named, key};
use crate::smtp::incoming::Incoming;
use crate::smtp::pace::Pace;
use crate::smtp::parameters::Wishes;
use crate::smtp::policy::{Connection, ListenerPolicy};
use crate::smtp::starttls::{Channel, Secured};
use crate::time::Timestamp;

/// The memory of a session; boxed, because the states hand it on from step to step.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) policy: Arc<ListenerPolicy>,
    pub(super) facts: Arc<SessionFacts>,
    pub(super) interest: EventSet,
    pub(super) bag: Arc<Bag>,
    /// What sinks put into it at `on-connect`: they knew of the connection alone, nothing that the client said.
    pub(super) bag_at_connect: Arc<Bag>,
    pub(super) transaction: Option<Transaction>,
    /// Commands so far; makes the nonces of logins.
    pub(super) commands: u64,
    /// Questions and notices so far; makes their idempotency keys.
    questions: u64,
    /// Commands without use for any mail since the last message.
    pub(super) idle: u32,
    /// DATA was refused and no command came since: a line that is none is message text.
    pub(super) has_refused_data: bool,
    /// A chunk of BDAT was refused and nothing else came since: those behind it are dropped likewise.
    pub(super) has_failed_chunk: bool,
    /// AUTH was refused and no command came since: a line that is none may be a password.
    pub(super) has_refused_auth: bool,
    /// Recipients who differed about a message of the sender, in this session or in an earlier one.
    pub(super) apart: Option<Disagreement>,
    /// The queue has no room for another message.
    pub(super) is_queue_full: bool,
    /// The client has sent as much as it may for now.
    pub(super) is_over_rate: bool,
    /// Too many logins failed from where the client is.
    pub(super) is_barred: bool,
    /// How fast the text comes.
    pub(super) pace: Pace,
    /// What SCRAM binds a login to, where the connection is encrypted.
    pub(super) channel: Channel,
    /// Logins that failed; they stay counted whatever else is forgotten.
    pub(super) auth_failures: u32,
    /// Where the connection came from, whatever XCLIENT says since.
    pub(super) peer: IpAddr,
    random: u64,
}

/// A message attempt: from MAIL to the final dot.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) message: Message,
    /// Whether a RCPT was refused; tells apart who gave no recipient from who gave bad ones.
    pub(super) has_refused_recipient: bool,
    /// What came of its text in chunks, between two of them.
    pub(super) incoming: Option<Box<Incoming>>,
    /// Octets that sinks let it have at `on-max-msg-size`, in place of the listener's limit.
    pub(super) waived: Option<u64>,
    /// The recipients that the client named.
    pub(super) named: Named,
}

impl Transaction {
    pub(super) fn new(message: Message) -> Self {
        let is_prdr = message.envelope.parameters.contains_key("PRDR");
        let named = Named { is_prdr, ..Named::default() };
        Self { message, has_refused_recipient: false, incoming: None, waived: None, named }
    }

    /// MAIL was taken: sinks have said what they had to say of the sender.
    pub(super) fn begun(mut self) -> Self {
        self.named.sender = key(self.message.envelope.sender.as_ref());
        self
    }

    /// Takes a recipient in; 250 follows.
    pub(super) fn add(&mut self, address: Address, wishes: Wishes) {
        let name = key(Some(&address));
        let envelope = Arc::make_mut(&mut self.message.envelope);
        let there = envelope.recipients.iter().find(|there| there.address.is_same(&address)).map(|there| there.id);
        let added = envelope.add(address, wishes.original);
        if let Some(recipient) = added.and_then(|id| envelope.recipient_mut(id)) {
            recipient.notify = wishes.notify;
        }
        self.named.recipients.push((added.or(there), name));
    }

    /// A sink answered RCPT with success in the server's place.
    pub(super) fn taken_by_sink(&mut self) {
        self.named.recipients.push((None, String::new()));
    }

    /// Whether the client said SMTPUTF8 (RFC 6531).
    pub(super) fn is_smtputf8(&self) -> bool {
        self.message.is_smtputf8()
    }

    /// Whether its content was declared to be binary (RFC 3030).
    pub(super) fn is_binary(&self) -> bool {
        self.message.is_binary()
    }
}

/// Why a session ended; the words are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndReason {
    Quit,
    Dropped,
    Timeout,
    Error,
    Refused,
    Shutdown,
}

impl EndReason {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Dropped => "dropped",
            Self::Timeout => "timeout",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Live {
    pub(super) fn new(policy: Arc<ListenerPolicy>, connection: Connection, interest: EventSet) -> Self {
        let (tls, channel) = match connection.tls {
            Some(Secured { facts, channel }) => (Some(facts), channel),
            None => (None, Channel::default()),
        };
        let facts = SessionFacts {
            id: connection.id,
            listener: policy.name.clone(),
            client: connection.client,
            server: connection.server,
            started: connection.started,
            helo: None,
            is_esmtp: false,
            messages: 0,
            errors: 0,
            end_reason: None,
            vouched: Vouched { client_name: connection.client_name, tls, ..Vouched::default() },
        };
        Self {
            policy,
            facts: Arc::new(facts),
            interest,
            bag: Arc::new(Bag::default()),
            bag_at_connect: Arc::new(Bag::default()),
            transaction: None,
            commands: 0,
            questions: 0,
            idle: 0,
            has_refused_data: false,
            has_failed_chunk: false,
            has_refused_auth: false,
            apart: None,
            is_queue_full: false,
            is_over_rate: false,
            is_barred: false,
            pace: Pace::default(),
            channel,
            auth_failures: 0,
            peer: connection.client.ip(),
            random: connection.random,
        }
    }

    /// Makes the id of the session's next message.
    pub(super) fn next_id(&mut self, now: Timestamp) -> MessageId {
        // SplitMix64: its outputs do not repeat for 2^64 steps, and the start is the shell's secret.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        MessageId::new(now, mixed ^ (mixed >> 31))
    }

    /// The facts of a message that arrives in this session.
    pub(super) fn arrival(&self, now: Timestamp) -> Arrival {
        Arrival {
            origin: Origin::Smtp,
            at: now,
            listener: self.facts.listener.clone(),
            client: Some(self.facts.client),
            server: Some(self.facts.server),
            helo: self.facts.helo.clone(),
            is_esmtp: self.facts.is_esmtp,
            session: Some(self.facts.id.clone()),
            depth: 0,
            vouched: self.facts.vouched.clone(),
        }
    }

    /// Raises an event of this session.
    pub(super) fn question(
        &mut self,
        event: EventKind,
        native_response: Option<Reply>,
        overlay: Overlay,
        now: Timestamp,
    ) -> Question {
        // A message keeps its key over sessions; what has none is counted within its own. Commands are not enough: one
        // may be answered with several refusals (PRDR), or ask for several inputs.
        self.questions += 1;
        let idempotency_key = match overlay.message.as_ref().filter(|_| event.has_content()) {
            Some(message) => format!("{}-{event}", message.id),
            None => format!("{}-{}-{event}", self.facts.id, self.questions),
        };
        let occasion = Occasion {
            idempotency_key,
            native_response,
            session: Some(self.facts.clone()),
            ..Occasion::of(event, now)
        };
        Question { occasion: Arc::new(occasion), overlay, can_fail: true, only: None, rest: None }
    }
}
