//! What a sink is told at an event, and what it may change.

use core::fmt;
use core::net::SocketAddr;
use core::slice;
use core::time::Duration;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{EventKind, Facts, Fork, OutCommand, OutFacts, ResponseFacts, Submission, TableEdits, Verdict};
use crate::mail::{Auth, Bag, Message, Recipient, RecipientId, Vouched};
use crate::reply::Reply;
use crate::secret::Secret;
use crate::smtp::command::without_secrets;
use crate::time::Timestamp;

/// What is known of a client's session when an event is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// Identity, in logs and in the contract.
    pub id: String,
    /// Name of the listener.
    pub listener: String,
    /// The client's end.
    pub client: SocketAddr,
    /// This server's end.
    pub server: SocketAddr,
    /// When the client connected.
    pub started: Timestamp,
    /// What the client called itself; `None` before HELO and EHLO.
    pub helo: Option<String>,
    /// Whether it greeted with EHLO.
    pub is_esmtp: bool,
    /// Messages accepted in this session.
    pub messages: u32,
    /// Protocol errors counted in this session.
    pub errors: u32,
    /// Why it ended, at `on-disconnect`: "quit", "dropped", "timeout", "error", "refused", "shutdown".
    pub end_reason: Option<&'static str>,
    /// What is known of the client beyond its own word: name, TLS, who it proved to be.
    pub vouched: Vouched,
}

/// A command that was parsed and checked and is not carried out yet.
///
/// Of AUTH, argument and line may hold a password (RFC 4954 §4, initial response): who has no grant
/// `authenticate` is shown the mechanism alone, and so is whoever prints a command.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// Verb in upper case.
    pub keyword: String,
    /// What stands after it, as it came.
    pub argument: String,
    /// The line as it came, without line end.
    pub line: Vec<u8>,
    /// Path of MAIL and RCPT without angle brackets; the empty string for `<>`.
    pub path: Option<String>,
    /// ESMTP parameters by keyword in upper case; the empty string where one has no value.
    pub parameters: BTreeMap<String, String>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("line", &String::from_utf8_lossy(without_secrets(&self.line)))
            .field("path", &self.path)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}

/// The occasion of a chain of calls: the facts that no sink changes.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// Which event.
    pub event: EventKind,
    /// When it was raised; the clock of every sink of the chain.
    pub now: Timestamp,
    /// How often it was raised for this thing before.
    pub raised: u32,
    /// The same for every repetition of this event for this thing.
    pub idempotency_key: String,
    /// What the server will answer if nobody objects, where somebody waits for an answer.
    pub native_response: Option<Reply>,
    /// The client's session, at inbound protocol events.
    pub session: Option<Arc<SessionFacts>>,
    /// The refused line, at `on-reject`, without line end.
    pub line: Vec<u8>,
    /// What the client sent after `await-input` or `await-octets`, at `on-inbound-input`: a line without its
    /// line end, or the octets that were asked for. It may be a password.
    pub input: Secret,
    /// The recipient that is asked about, at `on-categorize` and `on-local-delivery`.
    pub recipient: Option<RecipientId>,
    /// The destination that is asked about, at `on-route` and `on-dns-resolve`.
    pub destination: Option<Arc<DestinationFacts>>,
    /// The message that the notification is about, at `on-notification`; what sinks may change is the notification.
    pub subject: Option<Arc<Message>>,
    /// The line of the tracking log, at `on-track`.
    pub track: Option<Arc<TrackFacts>>,
    /// The session with another server, at the events of one.
    pub outbound: Option<Arc<OutFacts>>,
    /// What the other server said, at `on-server-response`.
    pub response: Option<Arc<ResponseFacts>>,
}

impl Occasion {
    /// Identity of the session, with a client or with another server; the one that stands in the log.
    pub fn session_id(&self) -> Option<&str> {
        let inbound = self.session.as_deref().map(|session| session.id.as_str());
        inbound.or_else(|| Some(self.outbound.as_deref()?.session.id.as_str()))
    }

    /// The occasion of an event about which nothing more is known than when it was raised.
    pub fn of(event: EventKind, now: Timestamp) -> Self {
        Self {
            event,
            now,
            raised: 0,
            idempotency_key: String::new(),
            native_response: None,
            session: None,
            line: Vec::new(),
            input: Default::default(),
            recipient: None,
            destination: None,
            subject: None,
            track: None,
            outbound: None,
            response: None,
        }
    }

    /// At `on-inbound-input`, the occasion of the command that the input belongs to: those behind the sink that
    /// asked for it are asked about the command, and nobody but that sink is shown the input. At any other event there is
    /// no input.
    pub fn without_input(&self) -> Self {
        if self.event != EventKind::OnInboundInput {
            return self.clone();
        }
        let event = EventKind::OnInboundCommand;
        let key = self.idempotency_key.strip_suffix(self.event.name()).unwrap_or(&self.idempotency_key);
        Self { event, idempotency_key: format!("{key}{event}"), input: Secret::default(), ..self.clone() }
    }

    /// Why a verdict of that binding cannot be carried out in the dialogue with another server; `None` where it can.
    pub(crate) fn objection(&self, verdict: &Verdict, binding: &str) -> Option<String> {
        let facts = self.outbound.as_ref()?;
        match &self.response {
            Some(response) => response.objection(verdict, facts.state_changes),
            None => facts.objection(verdict, binding),
        }
    }
}

/// A destination to route or to resolve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DestinationFacts {
    /// In lower case; an address literal keeps its brackets.
    pub domain: String,
    /// Hops that were tried and failed, newest first, with the reply or one that the host made of the failure.
    pub failures: Vec<(String, Reply)>,
    /// The recipients of the message that go there, at `on-route`.
    pub recipients: Vec<RecipientId>,
}

/// One line of the tracking log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFacts {
    /// What happened, as in "delivered".
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// The message; empty for a refusal before there was one.
    pub message_id: String,
    /// Reverse path; empty for the null path.
    pub sender: String,
    /// The recipient, where it is about one.
    pub recipient: Option<String>,
    /// The other end of the connection, where there was one.
    pub remote: Option<SocketAddr>,
    /// The reply that was given or got.
    pub reply: Option<Reply>,
    /// Octets of the message.
    pub size: u64,
    /// Since the message arrived.
    pub elapsed: Duration,
}

/// A message that passes the listener's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeInQuestion {
    /// The limit, in octets.
    pub limit: u64,
    /// Octets that the client announced, or that have arrived.
    pub octets: u64,
}

/// What a chain may change. Each sink works on a clone; a call that fails leaves no trace.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// The message, from MAIL FROM on.
    pub message: Option<Message>,
    /// Recipients that the `rcpt to` condition of the binding's rule selected; all where it has none.
    pub matched: Option<Arc<[RecipientId]>>,
    /// The command, at `on-inbound-command`.
    pub command: Option<Arc<Command>>,
    /// The command that is about to leave, at the outbound events before one.
    pub out_command: Option<OutCommand>,
    /// Property bag of the session; at the outbound events that of the session with the other server.
    pub session_bag: Arc<Bag>,
    /// What the sinks set in their tables; written when the chain is decided.
    pub tables: TableEdits,
    /// The message as it was when the chain began: what is proved of a message is proved of that, whatever the sinks
    /// of the chain have edited since.
    pub arrived: Option<Arc<Message>>,
    /// Banner text, at `on-connect`.
    pub banner: Option<String>,
    /// The native answer with text, and within the class the code, replaced.
    pub response: Option<Reply>,
    /// Lines added to the native answer; on EHLO these are keywords.
    pub appended: Vec<String>,
    /// How long the host waits before it answers; the sinks of a chain add up to at most
    /// `limits::RESPONSE_DELAY_MAX`.
    pub delay: Duration,
    /// The size that is asked about, at `on-max-msg-size`; nobody changes it.
    pub size: Option<SizeInQuestion>,
    /// Whether the command counts as a protocol error of the client.
    pub is_protocol_error: bool,
    /// Who the client is, as a sink with the grant `authenticate` says: `set-authenticated` at
    /// `on-inbound-command` and `on-inbound-input` of AUTH. It holds with the verdict `consume` of a 235 and is
    /// forgotten with any other.
    pub authenticated: Option<Auth>,
    /// Messages that sinks made of some of the recipients.
    pub forks: Vec<Fork>,
    /// Messages that sinks put into the queue.
    pub submissions: Vec<Submission>,
}

impl Overlay {
    /// The answer as it stands: the native one, as replaced, with the lines that sinks added.
    pub fn current_response(&self, native: Option<&Reply>) -> Option<Reply> {
        let mut reply = self.response.clone().or_else(|| native.cloned())?;
        self.appended.iter().for_each(|line| reply.push_line(line.clone()));
        Some(reply)
    }
}

/// An event that is raised: what its sinks are told, and what they may change.
///
/// The machine that raises it waits for the decision at a question, and for nobody at a notice.
#[derive(Debug, Clone)]
pub struct Question {
    /// The facts.
    pub occasion: Arc<Occasion>,
    /// What may change.
    pub overlay: Overlay,
    /// False at QUIT, RSET and NOOP: a sink that fails is skipped there whatever its policy.
    pub can_fail: bool,
    /// The one binding that hears the input, by name, at `on-inbound-input`: the one whose sink said `await-input`
    /// ([`Decision::by`](crate::event::Decision)). It is bound to `on-inbound-command`, and its rule is not looked
    /// at again. Where the registry in force has none of this name, the call has failed. Where it says `Next`, those
    /// behind it are asked as at `on-inbound-command` ([`Chain::go_on`](crate::event::Chain::go_on)).
    pub only: Option<String>,
    /// Of the bindings of the event only these are asked, by name: the rest of the chain that a fork came out of.
    /// Where the registry in force no longer has one, it is left out.
    pub rest: Option<Vec<String>>,
}

impl Question {
    /// Asks for the hosts of a domain, at `on-dns-resolve`.
    pub fn of_hosts(domain: &str, now: Timestamp) -> Self {
        let event = EventKind::OnDnsResolve;
        let facts = DestinationFacts { domain: domain.to_owned(), ..DestinationFacts::default() };
        let occasion = Occasion {
            idempotency_key: format!("{domain}/{}/{event}", now.to_rfc3339()),
            destination: Some(Arc::new(facts)),
            ..Occasion::of(event, now)
        };
        Self { occasion: Arc::new(occasion), overlay: Overlay::default(), can_fail: true, only: None, rest: None }
    }

    // Those that the event is about: a rule that names another one of the message does not hold here.
    fn recipients<'a>(&self, message: &'a Message) -> Cow<'a, [Recipient]> {
        let all = message.envelope.recipients.as_slice();
        if let Some(id) = self.occasion.recipient {
            return message.envelope.recipient(id).map(slice::from_ref).unwrap_or_default().into();
        }
        match self.occasion.destination.as_deref() {
            Some(destination) if self.occasion.event == EventKind::OnRoute => {
                all.iter().filter(|recipient| destination.recipients.contains(&recipient.id)).cloned().collect()
            }
            Some(_) | None => all.into(),
        }
    }

    /// The facts that rules are checked against.
    pub fn facts(&self) -> Facts<'_> {
        let session = self.occasion.session.as_deref();
        let message = self.overlay.message.as_ref();
        let command = self.overlay.command.as_deref();
        // The session lets 20 digits through and takes what does not fit for too large; rules do the same.
        let declared =
            command.and_then(|command| command.parameters.get("SIZE")).map(|size| size.parse().unwrap_or(u64::MAX));
        let vouched = session.map(|it| &it.vouched).or_else(|| message.map(|it| &it.arrival.vouched));
        let announced = self.overlay.size.map(|it| it.octets).or(declared);
        let response = self.occasion.response.as_deref().map(|response| response.keyword.as_str());
        let verb = command.map(|command| command.keyword.as_str()).or(response);
        let path = |wanted: &str| command.filter(|_| verb == Some(wanted)).and_then(|command| command.path.as_deref());
        let sender = message.map(|message| &message.envelope.sender);
        let track = self.occasion.track.as_deref();
        Facts {
            verb,
            helo: session.and_then(|session| session.helo.as_deref()).or_else(|| message?.arrival.helo.as_deref()),
            sender: path("MAIL")
                .map(str::to_owned)
                .or_else(|| sender.map(|sender| sender.as_ref().map(ToString::to_string).unwrap_or_default()))
                .or_else(|| Some(track?.sender.clone())),
            recipients: message.map(|message| self.recipients(message)).unwrap_or_default(),
            rcpt_argument: path("RCPT").or_else(|| track?.recipient.as_deref()),
            client: session.map(|session| session.client.ip()).or_else(|| Some(message?.arrival.client?.ip())),
            size: message
                .filter(|_| self.occasion.event.has_content())
                .map(Message::size)
                .or(announced)
                .or(track.map(|it| it.size)),
            header: message.filter(|_| self.occasion.event.has_header()).map(|message| message.header.as_ref()),
            code: self.occasion.native_response.as_ref().or_else(|| track?.reply.as_ref()).map(Reply::code),
            user: vouched.and_then(|it| it.auth.as_ref()).map(|auth| auth.user.as_str()),
            tls: vouched.and_then(|it| it.tls.as_ref()).map(|tls| tls.version.as_str()),
            listener: session
                .map(|session| session.listener.as_str())
                .or_else(|| Some(message?.arrival.listener.as_str())),
            origin: message.map(|message| message.arrival.origin.to_string()),
        }
    }
}
