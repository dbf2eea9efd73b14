//! The server's side of a session, waiting for the next command.

use core::time::Duration;
use std::sync::Arc;

use crate::event::{Command, EventKind, EventSet, Overlay, Question, SessionFacts, SizeInQuestion, Verdict};
use crate::mail::Message;
use crate::reply::Reply;
use crate::smtp::auth::{Login, Verifying};
use crate::smtp::awaiting::{Awaiting, Wanted};
use crate::smtp::carry_out::Answer;
use crate::smtp::command::{CommandError, Request, without_secrets};
use crate::smtp::disagreement::Disagreements;
use crate::smtp::examining::Examining;
use crate::smtp::intent::{Action, Intent, OutOfSequence, Tally};
use crate::smtp::live::{EndReason, Live};
use crate::smtp::outbox::{CONTENT, Outbox, Refusal};
use crate::smtp::parameters::declared_size;
use crate::smtp::paused::{Paused, Waiting};
use crate::smtp::policy::{Connection, ListenerPolicy};
use crate::smtp::receiving::Receiving;
use crate::smtp::starttls::Securing;
use crate::smtp::storing::{Disposition, Storing};
use crate::time::Timestamp;

/// What a session wants next, and the state that goes on from there.
#[derive(Debug)]
pub enum Step {
    /// Send what is in the outbox if no input is left, read a line, call [`Session::line`].
    Read(Session),
    /// Ask the sinks of the question's event, call [`Paused::resume`].
    Ask(Paused, Box<Question>),
    /// STARTTLS was taken: where input lies there already, call [`Securing::injected`]; else send what is in the outbox,
    /// shake hands, and call [`Securing::secured`] or [`Securing::failed`].
    StartTls(Securing),
    /// Compare a password with `AuthPolicy::accounts` of the listener, where it keeps nobody waiting, and call
    /// [`Verifying::verified`]. The users are asked with [`Accounts::verify`](crate::smtp::Accounts::verify).
    Verify(Verifying, Login),
    /// Where input lies there already, call [`Awaiting::early`]; else send what is in the outbox, read what is wanted,
    /// and call [`Awaiting::input`].
    Input(Awaiting, Wanted),
    /// Message text follows, all of it or a chunk: feed it to [`Receiving::feed`] up to its end, call
    /// [`Receiving::finish`].
    Receive(Receiving),
    /// Find out what the message proves, as [`Examining::wanted`] says, and call [`Examining::examined`].
    Examine(Examining),
    /// Store the message with [`Disposition::state`], then call [`Storing::stored`] or
    /// [`Storing::not_stored`].
    Store(Storing, Message, Disposition),
    /// Send what is in the outbox, close the connection, raise [`Ended::notice`].
    Close(Ended),
}

/// A session that waits for a command.
///
/// Every method consumes it: whoever holds one may give it exactly one thing.
#[derive(Debug)]
pub struct Session(pub(super) Box<Live>);

/// A session that is over.
#[derive(Debug)]
pub struct Ended {
    facts: Arc<SessionFacts>,
    notice: Option<Box<Question>>,
}

impl Session {
    /// Starts a session: asks the sinks at `on-connect`, or greets the client.
    pub fn start(policy: Arc<ListenerPolicy>, connection: Connection, interest: EventSet, outbox: &mut Outbox) -> Step {
        let now = connection.started;
        Box::new(Live::new(policy, connection, interest)).open(now, outbox)
    }

    /// Takes a command line without its CR LF.
    ///
    /// `interest` is the set of events that anybody is bound to now; it may change from line to line.
    pub fn line(self, line: &[u8], now: Timestamp, interest: EventSet, outbox: &mut Outbox) -> Step {
        let mut live = self.0;
        live.interest = interest;
        live.commands += 1;
        let request = Request::parse(line);
        let shown = live.without_responses(&request, line);
        let request = match request {
            Ok(request) => request,
            Err(error) => return live.protocol_error(error, shown, now, outbox),
        };
        let is_unknown = matches!(request, Request::Unknown(_));
        if is_unknown && live.has_refused_auth && is_like_a_response(line) && !live.tls_is_missing(&request) {
            // No sink hears of it: it is not for them either.
            return live.protocol_error(CommandError::NoVerb, shown, now, outbox);
        }
        let line = shown;
        live.has_refused_auth &= is_unknown;
        // A word that is no command of ours may be one of a sink; whether it is shows when they are asked.
        live.has_refused_data &= is_unknown;
        if request == Request::Http {
            // A page in somebody's browser was made to post to this port, and the body of its request would
            // be taken for commands. No mail client says GET, so the connection ends here (Postfix:
            // smtpd_forbidden_commands).
            let reply = Reply::with(502, 5, 1, "this is a mail server");
            return live.close(reply, EndReason::Error, line, now, outbox);
        }
        let is_asked = interest.has(EventKind::OnInboundCommand);
        // Made only where somebody looks at it.
        let command = is_asked.then(|| Arc::new(request.describe(line)));
        let is_data = request == Request::Data;
        let chunk = if let Request::Bdat(octets, _) = request { Some(octets) } else { None };
        live.has_failed_chunk &= chunk.is_some();
        let intent = match live.intend(request, now) {
            Ok(intent) => intent,
            Err(_) if live.has_refused_data => return live.refuse_text(line, now, outbox),
            Err(refusal) => {
                live.has_refused_data = is_data;
                outbox.flush_now |= is_data;
                if let Some(octets) = chunk {
                    let OutOfSequence { reply, tally } = refusal;
                    // The octets behind a chunk's line are no commands, whatever became of it.
                    live.transaction = None;
                    let must_close = reply.code() == 421;
                    return live.skip_chunk(octets, Answer { reply, tally, line, must_close }, now, outbox);
                }
                return live.out_of_sequence(refusal, line, now, outbox);
            }
        };
        if live.asks_for_size(&intent) {
            let message = intent.message().cloned();
            let announced = message.as_ref().and_then(|message| declared_size(&message.envelope.parameters));
            let size = live.size_in_question(announced.unwrap_or_default());
            let overlay = Overlay { message, size, session_bag: live.bag.clone(), ..Overlay::default() };
            let native = intent.native().clone();
            let question = live.question(EventKind::OnMaxMsgSize, Some(native), overlay, now);
            let waiting = Waiting::Size { intent, command, line: line.to_vec() };
            return Step::Ask(Paused { live, waiting }, Box::new(question));
        }
        live.ask_or_carry_out(intent, command, line, now, outbox)
    }

    /// Says whether the queue has room; while it has none, MAIL is answered with 452 4.3.1. The shell says it
    /// before it gives a line.
    pub fn queue_is_full(&mut self, is_full: bool) {
        self.0.is_queue_full = is_full;
    }

    /// Says whether the client has sent as much as it may for now; while it has, MAIL and RCPT are answered with 451
    /// 4.7.0. The shell says it before it gives a line.
    pub fn is_over_rate(&mut self, is_over: bool) {
        self.0.is_over_rate = is_over;
    }

    /// Says whether too many logins failed from where [`Session::facts`] have the client; while it is so, AUTH is
    /// answered with 454 4.7.0. The shell says it before it gives a line.
    pub fn is_barred(&mut self, is_barred: bool) {
        self.0.is_barred = is_barred;
    }

    /// Says what is known of recipients who differed about earlier messages. The shell says it before it gives RCPT.
    pub fn recall(&mut self, disagreements: &Disagreements, now: Timestamp) {
        let live = &mut self.0;
        // The first recipient has nobody to be kept apart from.
        let Some(transaction) = live.transaction.as_ref().filter(|it| !it.named.recipients.is_empty()) else { return };
        let found = disagreements.find(live.facts.client.ip(), &transaction.named.sender, now);
        if found.is_some() {
            live.apart = found;
        }
    }

    /// A line as the log may show it: without what stands behind the mechanism of AUTH, and without lines behind an
    /// AUTH that was refused. Who did not wait for the answer goes on with user and password.
    pub fn without_secrets<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        // Most sessions pass this by: to read a line twice would cost too much.
        if !self.0.has_refused_auth {
            return without_secrets(line);
        }
        without_secrets(self.0.without_responses(&Request::parse(line), line))
    }

    /// A line passed `limits::COMMAND_LINE_BYTES_MAX`; the shell has read it to its end and dropped it.
    pub fn line_too_long(mut self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.0.commands += 1;
        self.0.protocol_error(CommandError::LineTooLong, &[], now, outbox)
    }

    /// No command came in [`Session::patience`].
    pub fn timed_out(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.0.time_out(now, outbox)
    }

    /// The client closed the connection, or it broke.
    pub fn peer_closed(self, now: Timestamp) -> Step {
        self.0.end(EndReason::Dropped, now)
    }

    /// The server stops.
    pub fn shut_down(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.0.shut_down(now, outbox)
    }

    /// Whether input that has arrived already cannot be a command: DATA was refused a moment ago, and who
    /// did not wait for that has sent a message, whose text must not run as commands. The shell asks this
    /// once, when it gets the session back, and calls [`Session::early_input`] where it has input left. Text
    /// that arrives later gives itself away by its first line, which is no command; then the session ends too.
    pub fn forbids_early_input(&self) -> bool {
        self.0.has_refused_data
    }

    /// Input came before the client can have read the reply that it depends on.
    pub fn early_input(mut self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.0.commands += 1;
        self.0.refuse_text(&[], now, outbox)
    }

    /// Whether the shell still needs the draft of the chunks that came so far. It drops it wherever this says no:
    /// the transaction ended, by RSET, a refusal, a new EHLO or whatever else.
    pub fn keeps_draft(&self) -> bool {
        self.0.transaction.as_ref().is_some_and(|transaction| transaction.incoming.is_some())
    }

    /// How long the shell waits for a command.
    pub fn patience(&self) -> Duration {
        self.0.policy.command_timeout
    }

    /// What is known of the session.
    pub fn facts(&self) -> &SessionFacts {
        &self.0.facts
    }
}

impl Ended {
    /// The question of `on-disconnect`, where anybody is bound to it.
    pub fn notice(self) -> Option<Question> {
        self.notice.map(|notice| *notice)
    }

    /// What was known of the session at its end; `end_reason` says why it ended.
    pub fn facts(&self) -> &SessionFacts {
        &self.facts
    }
}

impl Live {
    /// The line, or nothing where it may be a password: AUTH was refused a moment ago, and it is no command.
    fn without_responses<'a>(&self, request: &Result<Request, CommandError>, line: &'a [u8]) -> &'a [u8] {
        let is_command = match request {
            Ok(request) => !matches!(request, Request::Unknown(_)),
            Err(error) => error.has_known_verb(),
        };
        if self.has_refused_auth && !is_command { &[] } else { line }
    }

    /// Asks the sinks at `on-connect`, or greets the client.
    pub(super) fn open(mut self: Box<Self>, now: Timestamp, outbox: &mut Outbox) -> Step {
        let banner = self.policy.banner.clone();
        if !self.interest.has(EventKind::OnConnect) {
            return self.greet(&banner, outbox);
        }
        let overlay = Overlay { session_bag: self.bag.clone(), banner: Some(banner.clone()), ..Overlay::default() };
        let native = Reply::new(220, None, format!("{} {banner}", self.policy.host_name));
        let question = self.question(EventKind::OnConnect, Some(native), overlay, now);
        Step::Ask(Paused { live: self, waiting: Waiting::Connect }, Box::new(question))
    }

    // RFC 1870: sinks may let a message pass the limit, but not the hard one.
    fn asks_for_size(&self, intent: &Intent) -> bool {
        let is_size = intent.refusal.as_ref().is_some_and(|refusal| refusal.is_size);
        let parameters = intent.message().map(|message| &message.envelope.parameters);
        let size = parameters.filter(|_| is_size).and_then(declared_size);
        self.interest.has(EventKind::OnMaxMsgSize) && size.is_some_and(|size| size <= self.policy.hard_max())
    }

    /// What sinks are told at `on-max-msg-size`.
    pub(super) fn size_in_question(&self, octets: u64) -> Option<SizeInQuestion> {
        Some(SizeInQuestion { limit: self.policy.message_bytes_max, octets })
    }

    /// Goes on with MAIL after sinks were asked about its size.
    pub(super) fn size_decided(
        self: Box<Self>,
        mut intent: Intent,
        command: Option<Arc<Command>>,
        line: &[u8],
        verdict: &Verdict,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        if let (Action::Begin(transaction), Verdict::WaiveUpTo(octets)) = (&mut intent.action, verdict) {
            let waived = (*octets).clamp(self.policy.message_bytes_max, self.policy.hard_max());
            transaction.waived = Some(waived);
            let envelope = &transaction.message.envelope;
            intent.refusal = self.mail_refusal(envelope.sender.as_ref(), &envelope.parameters, Some(waived), now);
        }
        self.ask_or_carry_out(intent, command, line, now, outbox)
    }

    // Asks the sinks about a command where anybody listens, else carries it out.
    fn ask_or_carry_out(
        mut self: Box<Self>,
        intent: Intent,
        command: Option<Arc<Command>>,
        line: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let Some(command) = command else { return self.carry_out(intent, None, line, now, outbox) };
        let can_fail = intent.can_fail();
        let overlay = Overlay {
            message: intent.message().or_else(|| self.transaction.as_ref().map(|it| &it.message)).cloned(),
            command: Some(command.clone()),
            session_bag: self.bag.clone(),
            ..Overlay::default()
        };
        let native = intent.native().clone();
        let mut question = self.question(EventKind::OnInboundCommand, Some(native), overlay, now);
        question.can_fail = can_fail;
        Step::Ask(Paused { live: self, waiting: Waiting::Command { intent, command } }, Box::new(question))
    }

    pub(super) fn greet(self: Box<Self>, banner: &str, outbox: &mut Outbox) -> Step {
        // RFC 5321 §4.2: the greeting begins with the name of the host, whatever a sink put behind it.
        let text = match banner.strip_prefix(self.policy.host_name.as_str()) {
            Some(rest) if rest.is_empty() || rest.starts_with(' ') => banner.to_owned(),
            _ => format!("{} {banner}", self.policy.host_name),
        };
        outbox.send(&Reply::new(220, None, text));
        Step::Read(Session(self))
    }

    pub(super) fn protocol_error(
        mut self: Box<Self>,
        error: CommandError,
        line: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        if self.has_refused_data && !error.has_known_verb() {
            return self.refuse_text(line, now, outbox);
        }
        // However the line of a chunk is broken: what follows it is text.
        if error == CommandError::Chunk || is_verb(line, b"BDAT") {
            return self.close(CommandError::Chunk.reply(), EndReason::Error, line, now, outbox);
        }
        self.has_refused_auth &= !error.has_known_verb();
        self.has_refused_data = line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"DATA"));
        let answer = Answer { reply: error.reply(), tally: Tally::Fault, line, must_close: false };
        // RFC 2920 §3.2: the answer to a command that was not recognised does not wait for others.
        outbox.flush_now = true;
        self.answer(answer, now, outbox)
    }

    /// Ends the session of a client that sends message text behind a DATA that was refused.
    pub(super) fn refuse_text(self, line: &[u8], now: Timestamp, outbox: &mut Outbox) -> Step {
        let reply = Reply::with(554, 5, 0, "message text without a go-ahead; closing");
        self.close(reply, EndReason::Error, line, now, outbox)
    }

    pub(super) fn time_out(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.leave(&Reply::with(421, 4, 2, "timeout; closing"), EndReason::Timeout, now, outbox)
    }

    pub(super) fn shut_down(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.leave(&Reply::with(421, 3, 2, "server is shutting down"), EndReason::Shutdown, now, outbox)
    }

    /// Refuses a command that came at the wrong time.
    fn out_of_sequence(
        self: Box<Self>,
        refusal: OutOfSequence,
        line: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let OutOfSequence { reply, tally } = refusal;
        self.answer(Answer { reply, tally, line, must_close: false }, now, outbox)
    }

    /// Ends the session for a reason that no input gave: nothing was refused, so no sink hears of it.
    pub(super) fn leave(self, reply: &Reply, reason: EndReason, now: Timestamp, outbox: &mut Outbox) -> Step {
        outbox.send(reply);
        outbox.flush_now = true;
        self.end(reason, now)
    }

    /// Sends a last reply and ends the session.
    pub(super) fn close(
        mut self,
        reply: Reply,
        reason: EndReason,
        line: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        self.send(&reply, line, now, outbox);
        outbox.flush_now = true;
        self.end(reason, now)
    }

    /// Ends the session without another word.
    pub(super) fn end(mut self, reason: EndReason, now: Timestamp) -> Step {
        Arc::make_mut(&mut self.facts).end_reason = Some(reason.word());
        let notice = self.interest.has(EventKind::OnDisconnect).then(|| {
            let overlay = Overlay { session_bag: self.bag.clone(), ..Overlay::default() };
            Box::new(self.question(EventKind::OnDisconnect, None, overlay, now))
        });
        Step::Close(Ended { facts: self.facts, notice })
    }

    /// Sends a reply and, where it refuses something, tells the sinks at `on-reject`.
    pub(super) fn send(&mut self, reply: &Reply, line: &[u8], now: Timestamp, outbox: &mut Outbox) {
        outbox.send(reply);
        let line = without_secrets(line);
        if reply.is_refusal() {
            outbox.refusals.push(Refusal { reply: reply.clone(), line: line.to_vec() });
        }
        if reply.is_refusal() && self.interest.has(EventKind::OnReject) {
            let overlay = Overlay {
                message: self.transaction.as_ref().map(|transaction| transaction.message.clone()),
                session_bag: self.bag.clone(),
                ..Overlay::default()
            };
            let mut notice = self.question(EventKind::OnReject, Some(reply.clone()), overlay, now);
            // Of content there is no line (`wit/events-inbound.wit`, `on-reject`).
            Arc::make_mut(&mut notice.occasion).line = if line == CONTENT { Vec::new() } else { line.to_vec() };
            outbox.notices.push(notice);
        }
    }
}

// Whether the line has the form of a response of AUTH (RFC 4954 §4): base64, which few verbs are.
fn is_like_a_response(line: &[u8]) -> bool {
    let is_coded = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=');
    line.len().is_multiple_of(4) && line.iter().all(is_coded)
}

// Whether the line begins with that verb, whatever is behind it.
pub(super) fn is_verb(line: &[u8], verb: &[u8]) -> bool {
    let (head, rest) = line.split_at_checked(verb.len()).unwrap_or_default();
    head.eq_ignore_ascii_case(verb) && !rest.first().is_some_and(u8::is_ascii_alphanumeric)
}
