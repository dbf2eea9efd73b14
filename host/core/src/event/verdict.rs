//! What a sink says, and what became of asking it.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::Address;
use crate::event::{EventKind, OutState, Overlay};
use crate::reply::{Class, Reply};
use crate::transport::{Hop, HostAddress};

/// Not now: the reply where somebody waits for one, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// A 4yz reply.
    pub reply: Reply,
    /// How long to wait.
    pub after: Duration,
}

/// What a sink, then the chain, says. Not every event allows every verdict: see `EventKind::allows`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Ask the next sink; after the last one the server acts.
    Next,
    /// No further sink; the server acts. Grant `end-chain`.
    SkipRemaining,
    /// Carry the command out although the server would refuse it by policy. Grant `accept-recipients`.
    Accept,
    /// The sink handled the command; send this and do nothing else.
    Consume(Reply),
    /// Do not carry it out, do not take the message.
    Refuse(Reply),
    /// Refuse, then close the connection.
    DropSession(Reply),
    /// Send this 3yz and give the next line to the same sink.
    AwaitInput(Reply),
    /// Send this 3yz and give so many octets to the same sink.
    AwaitOctets(Reply, u64),
    /// Accepted and dropped without notification. Grant `discard`.
    Discard,
    /// Accepted and kept until an operator releases it; the text says why.
    Hold(String),
    /// The whole chain of this event again, later.
    Defer(Later),
    /// Set aside as bad mail; the text says why.
    BadMail(String),
    /// Let the message be as large as that, in octets.
    WaiveUpTo(u64),
    /// The recipient is delivered to as it stands. Grant `edit-envelope`.
    Resolved,
    /// In place of the recipient these; none of them drops it. Grant `edit-envelope`.
    Expand(Vec<Address>),
    /// The destination's mail goes there, tried in this order. Grant `route`.
    Hops(Vec<Hop>),
    /// Connect to these, tried in this order. Grant `route`.
    Hosts(Vec<HostAddress>),
    /// The sink delivered it to the recipient for good. Grant `route`.
    Delivered,
    /// The notification is not sent. Grant `discard`.
    Suppress,
    /// Send this line of the sink's own to the other server first, then raise the event again.
    SendFirst(String),
    /// Send these octets to the other server first, likewise; only after its 3xx to a line of the sink's own.
    SendBlob(Vec<u8>),
    /// Do not send to this recipient in this session: 4yz tries it again later, 5yz fails it.
    SkipRecipient(Reply),
    /// Do not send this message to anybody in this session, likewise.
    SkipMessage(Reply),
    /// Go on as if the other server had answered this.
    TreatAs(Reply),
    /// Go on from that state of the dialogue with the other server.
    ChangeState(OutState),
}

/// Verdicts that no event of a client's session allows, as a pattern: the last arm of a match there.
macro_rules! beyond_the_session {
    () => {
        $crate::event::Verdict::Resolved
            | $crate::event::Verdict::Expand(_)
            | $crate::event::Verdict::Hops(_)
            | $crate::event::Verdict::Hosts(_)
            | $crate::event::Verdict::Delivered
            | $crate::event::Verdict::Suppress
            | $crate::event::Verdict::SendFirst(_)
            | $crate::event::Verdict::SendBlob(_)
            | $crate::event::Verdict::SkipRecipient(_)
            | $crate::event::Verdict::SkipMessage(_)
            | $crate::event::Verdict::TreatAs(_)
            | $crate::event::Verdict::ChangeState(_)
    };
}
pub(crate) use beyond_the_session;

impl Verdict {
    /// The word that logs, `sink test` and `explain` use.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::SkipRemaining => "skip-remaining",
            Self::Accept => "accept",
            Self::Consume(_) => "consume",
            Self::Refuse(_) => "refuse",
            Self::DropSession(_) => "drop-session",
            Self::AwaitInput(_) => "await-input",
            Self::AwaitOctets(..) => "await-octets",
            Self::Discard => "discard",
            Self::Hold(_) => "hold",
            Self::Defer(_) => "defer",
            Self::BadMail(_) => "bad-mail",
            Self::WaiveUpTo(_) => "waive-up-to",
            Self::Resolved => "resolved",
            Self::Expand(_) => "expand",
            Self::Hops(_) => "use-hops",
            Self::Hosts(_) => "use-hosts",
            Self::Delivered => "delivered",
            Self::Suppress => "suppress",
            Self::SendFirst(_) => "send-first",
            Self::SendBlob(_) => "send-blob",
            Self::SkipRecipient(_) => "skip-recipient",
            Self::SkipMessage(_) => "skip-message",
            Self::TreatAs(_) => "treat-as",
            Self::ChangeState(_) => "change-state",
        }
    }

    /// Whether the reply that comes with it is one that the contract allows there: a refusal that says 250
    /// would tell the client that its mail was taken, and a stored message has nobody to come back to 4yz.
    pub fn has_fitting_reply(&self, event: EventKind) -> bool {
        match self {
            Self::Refuse(reply) if event.is_transport() => reply.class() == Class::Permanent,
            Self::Refuse(reply) => reply.is_refusal(),
            // What is not done in a session with another server is tried again, whatever ended it.
            Self::DropSession(reply) if event.is_outbound() => reply.class() == Class::Transient,
            Self::DropSession(reply) => reply.class() == Class::Permanent || reply.code() == 421,
            Self::Defer(later) => later.reply.class() == Class::Transient,
            Self::AwaitInput(reply) | Self::AwaitOctets(reply, _) => reply.class() == Class::Continue,
            Self::Consume(reply) => reply.class() != Class::Continue,
            Self::SkipRecipient(reply) | Self::SkipMessage(reply) if !reply.is_refusal() => false,
            Self::Next | Self::SkipRemaining | Self::Accept | Self::Discard => true,
            Self::Hold(_) | Self::BadMail(_) | Self::WaiveUpTo(_) | beyond_the_session!() => true,
        }
    }

    /// The reply that comes with it.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Consume(reply) | Self::Refuse(reply) | Self::DropSession(reply) | Self::AwaitInput(reply) => {
                Some(reply)
            }
            Self::AwaitOctets(reply, _) => Some(reply),
            Self::SkipRecipient(reply) | Self::SkipMessage(reply) | Self::TreatAs(reply) => Some(reply),
            Self::Defer(later) => Some(&later.reply),
            Self::Next | Self::SkipRemaining | Self::Accept | Self::Discard => None,
            Self::Hold(_) | Self::BadMail(_) | Self::WaiveUpTo(_) => None,
            Self::Resolved | Self::Expand(_) | Self::Hops(_) | Self::Hosts(_) => None,
            Self::Delivered | Self::Suppress => None,
            Self::SendFirst(_) | Self::SendBlob(_) | Self::ChangeState(_) => None,
        }
    }
}

/// Why a call of a sink failed. A closed set: it labels metrics and selects advice for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The fuel of the call was used up.
    Fuel,
    /// The time of the call was used up.
    Deadline,
    /// A limit on memory, tables or instances.
    Memory,
    /// The stack overflowed.
    Stack,
    /// The sink's own code gave up (`unreachable`, a panic); its standard error says why.
    Panic,
    /// Any other trap.
    Trap,
    /// The sink called `exit`.
    Exit,
    /// It passed more octets, handles or log lines than a call may.
    Quota,
    /// It read what its binding does not grant.
    Denied,
    /// It gave a verdict that the event or its grants do not allow, or a reply of the wrong class.
    Verdict,
    /// It answered `err`.
    GuestError,
    /// A fault of the host; Basin's bug or the machine's.
    Host,
    /// Too many calls at once; never the sink's fault.
    Busy,
    /// It could not be loaded.
    Load,
}

impl FailureKind {
    /// The word of the kind, as metrics, logs and `sink show` have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fuel => "fuel",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Panic => "panic",
            Self::Trap => "trap",
            Self::Exit => "exit",
            Self::Quota => "quota",
            Self::Denied => "denied",
            Self::Verdict => "verdict",
            Self::GuestError => "guest-error",
            Self::Host => "host",
            Self::Busy => "busy",
            Self::Load => "load",
        }
    }
}

/// The report of a call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Why.
    pub kind: FailureKind,
    /// One line for the operator: what was used up or done, and its limit.
    pub detail: String,
    /// Frames of the sink's stack, innermost first; empty where there is none.
    #[serde(default)]
    pub backtrace: Vec<String>,
    /// Last lines of the sink's standard error, control characters escaped.
    #[serde(default)]
    pub stderr: String,
    /// Fuel used until then.
    #[serde(default)]
    pub fuel: u64,
}

/// What came of asking one sink.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It answered; the overlay has its effects on top of those before it.
    Verdict(Verdict, Box<Overlay>),
    /// It failed; its effects are gone with it.
    Failed(Failure),
}
