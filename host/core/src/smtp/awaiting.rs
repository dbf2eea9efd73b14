//! A session that waits for more of a command: the response to a challenge of AUTH, or what a sink asked for.

use core::time::Duration;
use std::sync::Arc;

use crate::event::{Command, EventKind, EventSet, Overlay, Verdict};
use crate::limits::{AUTH_RESPONSE_BYTES_MAX, SINK_INPUT_BYTES_MAX};
use crate::reply::{Class, Reply};
use crate::secret::Secret;
use crate::smtp::auth::{Exchange, Failed};
use crate::smtp::carry_out::Answer;
use crate::smtp::intent::{Action, Intent, Tally};
use crate::smtp::live::{EndReason, Live};
use crate::smtp::outbox::Outbox;
use crate::smtp::paused::{Paused, Waiting};
use crate::smtp::session::Step;
use crate::time::Timestamp;

/// A session that waits for more of a command.
///
/// The 3yz that asks for it is in the outbox. Before the shell sends it, it looks for input: what lies there was sent
/// by somebody who did not wait ([`Awaiting::early`]).
#[derive(Debug)]
pub struct Awaiting {
    pub(super) live: Box<Live>,
    pub(super) purpose: Purpose,
    /// Octets of the outbox before the 3yz.
    pub(super) sent_before: usize,
}

/// What the client is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A line; a longer one is read to its end, dropped, and [`Awaiting::too_long`].
    Line {
        /// Longest line in octets, CR LF included.
        bytes_max: usize,
    },
    /// So many octets, at most `limits::SINK_INPUT_BYTES_MAX`, without a line end behind them. They are handed over
    /// all at once.
    Octets(u64),
}

/// What it is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The response to a challenge of this server's own.
    Auth(Exchange),
    /// What the sink of this binding asked for.
    Sink(Box<Dialogue>),
}

/// A command that a sink handles together with what follows it.
#[derive(Debug)]
pub(super) struct Dialogue {
    pub(super) intent: Intent,
    /// As the client sent it.
    pub(super) command: Arc<Command>,
    /// As sinks rewrote it.
    pub(super) rewritten: Option<Arc<Command>>,
    /// The binding whose sink hears what comes.
    pub(super) by: String,
    pub(super) wanted: Wanted,
}

impl Awaiting {
    /// What was asked for has arrived: a line without its CR LF, or the octets.
    pub fn input(self, input: &[u8], now: Timestamp, interest: EventSet, outbox: &mut Outbox) -> Step {
        let Self { mut live, purpose, .. } = self;
        live.interest = interest;
        live.commands += 1;
        match purpose {
            Purpose::Auth(exchange) => live.respond(exchange, input, now, outbox),
            Purpose::Sink(dialogue) => live.ask_about_input(*dialogue, input, now, outbox),
        }
    }

    /// The line was longer than it may be; it was read to its end and dropped. The command has failed, the session
    /// goes on.
    pub fn too_long(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        let Self { mut live, purpose, .. } = self;
        live.commands += 1;
        outbox.flush_now = true;
        match purpose {
            Purpose::Auth(exchange) => live.auth_failed(Failed::TooLong, None, exchange.line(), now, outbox),
            Purpose::Sink(dialogue) if dialogue.is_auth() => {
                live.auth_failed(Failed::TooLong, None, &dialogue.command.line, now, outbox)
            }
            Purpose::Sink(dialogue) => {
                let reply = Reply::with(500, 5, 2, "line too long");
                let answer = Answer { reply, tally: Tally::Fault, line: &dialogue.command.line, must_close: false };
                live.answer(answer, now, outbox)
            }
        }
    }

    /// Input was there before the client can have read the 3yz that asks for it. Who does not wait may be somebody
    /// whose text is not meant as an answer, so nothing of it is read, and 503 goes out in place of the 3yz
    /// (`wit/inbound.wit`, `await-input`).
    pub fn early(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        outbox.bytes.truncate(self.sent_before);
        let reply = Reply::with(503, 5, 0, "input before the server asked for it; closing");
        self.live.close(reply, EndReason::Error, &[], now, outbox)
    }

    /// Nothing came in [`Awaiting::patience`].
    pub fn timed_out(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.live.time_out(now, outbox)
    }

    /// The client closed the connection, or it broke.
    pub fn peer_closed(self, now: Timestamp) -> Step {
        self.live.end(EndReason::Dropped, now)
    }

    /// The server stops.
    pub fn shut_down(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.live.shut_down(now, outbox)
    }

    /// How long the shell waits for the whole line, or all the octets.
    pub fn patience(&self) -> Duration {
        self.live.policy.command_timeout
    }
}

impl Dialogue {
    /// Whether it is an exchange of AUTH.
    pub(super) fn is_auth(&self) -> bool {
        self.command.keyword == "AUTH"
    }
}

impl Live {
    /// Says 3yz and waits for what is wanted.
    pub(super) fn await_input(
        self: Box<Self>,
        reply: &Reply,
        purpose: Purpose,
        wanted: Wanted,
        outbox: &mut Outbox,
    ) -> Step {
        outbox.flush_now = true;
        let sent_before = outbox.bytes.len();
        outbox.send(reply);
        Step::Input(Awaiting { live: self, purpose, sent_before }, wanted)
    }

    // Raises `on-inbound-input` for the binding that asked.
    fn ask_about_input(
        mut self: Box<Self>,
        dialogue: Dialogue,
        input: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        if dialogue.is_auth() && input == b"*" {
            // RFC 4954 §4: the client gives up; the sink's next AUTH begins anew.
            return self.auth_failed(Failed::Cancelled, None, &dialogue.command.line, now, outbox);
        }
        if matches!(dialogue.wanted, Wanted::Line { .. }) && input.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
            outbox.flush_now = true;
            if dialogue.is_auth() {
                return self.auth_failed(Failed::Malformed, None, &dialogue.command.line, now, outbox);
            }
            let reply = Reply::with(501, 5, 2, "bare CR or LF; a line ends with CR LF");
            let answer = Answer { reply, tally: Tally::Fault, line: &dialogue.command.line, must_close: false };
            return self.answer(answer, now, outbox);
        }
        let Dialogue { intent, command, rewritten, by, .. } = dialogue;
        let overlay = Overlay {
            message: intent.message().or_else(|| self.transaction.as_ref().map(|it| &it.message)).cloned(),
            command: Some(rewritten.unwrap_or_else(|| command.clone())),
            session_bag: self.bag.clone(),
            ..Overlay::default()
        };
        let native = intent.native().clone();
        let mut question = self.question(EventKind::OnInboundInput, Some(native), overlay, now);
        question.can_fail = intent.can_fail();
        question.only = Some(by);
        Arc::make_mut(&mut question.occasion).input = Secret::new(input);
        Step::Ask(Paused { live: self, waiting: Waiting::Command { intent, command } }, Box::new(question))
    }
}

/// What a sink asks for by its verdict; `None` where the verdict is another, or asks for what cannot be had.
pub(super) fn wanted(verdict: &Verdict, action: &Action) -> Option<(Reply, Wanted)> {
    let (reply, wanted) = if let Verdict::AwaitInput(reply) = verdict {
        (reply, Wanted::Line { bytes_max: AUTH_RESPONSE_BYTES_MAX })
    } else if let Verdict::AwaitOctets(reply, octets @ 1..=SINK_INPUT_BYTES_MAX) = verdict {
        (reply, Wanted::Octets(*octets))
    } else {
        return None;
    };
    (may_await(action) && reply.class() == Class::Continue).then(|| (reply.clone(), wanted))
}

// Not where the client takes any 3yz for a go-ahead of its own, and not where it leaves.
fn may_await(action: &Action) -> bool {
    match action {
        Action::Receive | Action::Chunk(..) | Action::Quit | Action::StartTls | Action::Xclient(_) => false,
        Action::Greet { .. } | Action::Begin(_) | Action::Add(..) | Action::Reset => true,
        Action::Nothing | Action::Noop | Action::Auth { .. } => true,
    }
}
