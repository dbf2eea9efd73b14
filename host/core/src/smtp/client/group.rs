//! Which commands of a transaction leave together, and what sinks make of them before they do.

use crate::event::{EventKind, OutState};
use crate::limits::PIPELINED_COMMANDS_MAX;
use crate::mail::{BySink, RecipientId};
use crate::reply::{Class, Reply};
use crate::smtp::client::hearing::{Heard, Refusal};
use crate::smtp::client::live::{Live, put_line};
use crate::smtp::client::own::{self, Owner};
use crate::smtp::client::plan::rcpt_line;
use crate::smtp::client::reading::dropped_by;
use crate::smtp::client::sending::{Sending, first_chunk_line};
use crate::smtp::client::sent::Why;
use crate::smtp::client::step::{Awaits, ClientStep, Reading};
use crate::smtp::client::transaction::{Envelope, Expected, MailState, Said};
use crate::time::Timestamp;

impl Expected {
    /// The verb.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Rset => "RSET",
            Self::Mail => "MAIL",
            Self::Rcpt(_) => "RCPT",
            Self::Data => "DATA",
        }
    }

    fn event(self) -> Option<EventKind> {
        match self {
            Self::Rset => None,
            Self::Mail => Some(EventKind::OnMessageStart),
            Self::Rcpt(_) => Some(EventKind::OnPerRecipient),
            Self::Data => Some(EventKind::OnBeforeData),
        }
    }
}

impl Envelope {
    /// Goes on: says what may be said, asks whoever wants to be asked before, or ends the transaction.
    pub(super) fn advance(mut self: Box<Self>, mut live: Box<Live>, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        if self.is_barren() {
            self.cancel(&mut live);
        }
        if let Some(cue) = self.fill(&mut live, now, wire) {
            return own::ask(live, Owner::Envelope(self, cue), now);
        }
        if !self.expected.is_empty() {
            return ClientStep::Read(Reading { live, awaits: Awaits::Envelope(self) });
        }
        if let Some((cue, by, line)) = self.own.take() {
            if self.next_cue(&live) == Some(cue) {
                return Owner::Envelope(self, cue).say(live, by, line, now, wire);
            }
            // The command that it was to go before is not sent.
            live.first.clear();
            return self.advance(live, now, wire);
        }
        if self.plan().is_chunked && self.has_accepted() && !self.is_tainted {
            return ClientStep::Send(Sending::new(live, self));
        }
        // MAIL was taken, nobody else was, or content must not follow: the transaction is open.
        live.needs_reset |= self.is_open;
        self.conclude(live)
    }

    /// Says more where replies made room for it.
    pub(super) fn refill(&mut self, live: &mut Live, now: Timestamp, wire: &mut Vec<u8>) {
        // With a reply still to come nobody is asked.
        if !self.is_leaving() && !self.expected.is_empty() {
            self.fill(live, now, wire);
        }
    }

    // Says what may be said now: everything up to DATA at once with PIPELINING (RFC 2920 §3.1), else one command at a
    // time. Comes back with the command that sinks are to be asked about; those before it in its group wait for it.
    fn fill(&mut self, live: &mut Live, now: Timestamp, wire: &mut Vec<u8>) -> Option<Expected> {
        let window = if live.offered.has_pipelining { PIPELINED_COMMANDS_MAX } else { 1 };
        while self.expected.len() + self.group.len() < window && self.own.is_none() {
            let Some(cue) = self.next_cue(live) else { break };
            if self.ends_before(cue, live) {
                break;
            }
            if cue.event().is_some_and(|event| live.hears(event)) {
                // Whom the other server took is known at `on-before-data`, so DATA begins a group of its own.
                let is_ready = self.expected.is_empty() && (cue != Expected::Data || self.group.is_empty());
                if is_ready {
                    return Some(cue);
                }
                break;
            }
            let line = self.line_of(cue, live);
            self.plan_to_say(cue, line, live);
        }
        self.flush(live, now, wire);
        None
    }

    // The command that follows those that were said or planned.
    fn next_cue(&self, live: &Live) -> Option<Expected> {
        if self.is_barren() {
            return None;
        }
        if live.needs_reset {
            return Some(Expected::Rset);
        }
        match self.mail {
            MailState::Unsaid => return Some(Expected::Mail),
            MailState::Refused => return None,
            MailState::Said => {}
        }
        // Somebody whom the other server took must not get this content: nobody does.
        if self.is_tainted {
            return None;
        }
        if let Some(place) = self.to_ask.front() {
            return Some(Expected::Rcpt(*place));
        }
        // A chunk that nobody takes would be wasted, so BDAT waits for the replies to RCPT; DATA need not.
        let may_leave = if self.plan().is_chunked {
            live.hears(EventKind::OnBeforeData) && self.has_accepted() && self.expected.is_empty()
        } else {
            true
        };
        (may_leave && !self.has_said_data).then_some(Expected::Data)
    }

    // Nobody was taken, and there is nobody left to ask for.
    fn is_barren(&self) -> bool {
        let is_rcpt = |cue: Expected| matches!(cue, Expected::Rcpt(_));
        let is_asking = self.expected.iter().any(|said| is_rcpt(said.cue)) || self.group.iter().any(|it| is_rcpt(it.0));
        self.to_ask.is_empty() && !is_asking && !self.has_accepted()
    }

    // Whether a sink may judge the reply to what was said last, so that only its like may follow.
    fn ends_before(&self, cue: Expected, live: &Live) -> bool {
        let last = self.group.last().map(|it| it.0).or_else(|| self.expected.back().map(|said| said.cue));
        last.is_some_and(|last| last.verb() != cue.verb() && live.is_judged(last.verb()))
    }

    /// The line of a command as this server makes it.
    pub(super) fn line_of(&self, cue: Expected, live: &Live) -> String {
        match cue {
            Expected::Rset => "RSET".to_owned(),
            Expected::Mail => self.plan().mail.clone(),
            Expected::Rcpt(place) => {
                let recipient = self.outgoing().recipients.get(place);
                recipient.map(|recipient| rcpt_line(recipient, self.plan())).unwrap_or_default()
            }
            Expected::Data if self.plan().is_chunked => first_chunk_line(self.outgoing(), live.policy.chunk_bytes),
            Expected::Data => "DATA".to_owned(),
        }
    }

    /// Adds a command to the group that leaves next.
    pub(super) fn plan_to_say(&mut self, cue: Expected, line: String, live: &mut Live) {
        match cue {
            Expected::Rset => live.needs_reset = false,
            Expected::Mail => {
                self.mail = MailState::Said;
                live.mails = live.mails.saturating_add(1);
            }
            Expected::Rcpt(_) => {
                self.to_ask.pop_front();
            }
            Expected::Data => {
                self.has_said_data = true;
                // The content brings the line of its first chunk along.
                if self.plan().is_chunked {
                    return;
                }
            }
        }
        self.group.push((cue, line));
    }

    fn flush(&mut self, live: &mut Live, now: Timestamp, wire: &mut Vec<u8>) {
        if self.expected.is_empty() && !self.group.is_empty() {
            live.waits_since = now;
        }
        let is_heard = live.hears(EventKind::OnServerResponse);
        for (cue, line) in self.group.drain(..) {
            put_line(wire, &line);
            self.expected.push_back(Said { cue, line: if is_heard { line } else { String::new() } });
        }
    }

    // Takes back what was planned and has not left.
    fn cancel(&mut self, live: &mut Live) {
        while let Some((cue, _)) = self.group.pop() {
            match cue {
                Expected::Rset => live.needs_reset = true,
                Expected::Mail => {
                    self.mail = MailState::Unsaid;
                    live.mails = live.mails.saturating_sub(1);
                }
                Expected::Rcpt(place) => self.to_ask.push_front(place),
                Expected::Data => self.has_said_data = false,
            }
        }
    }

    /// A sink keeps the message from that recipient.
    pub(super) fn skip_recipient(
        mut self: Box<Self>,
        mut live: Box<Live>,
        place: usize,
        refusal: Refusal,
        now: Timestamp,
        wire: &mut Vec<u8>,
    ) -> ClientStep {
        live.first.clear();
        self.to_ask.retain(|waiting| *waiting != place);
        self.refuse_one(place, refusal);
        self.advance(live, now, wire)
    }

    /// A sink keeps the message from everybody here.
    pub(super) fn skip_message(mut self: Box<Self>, mut live: Box<Live>, refusal: &Refusal) -> ClientStep {
        live.first.clear();
        self.cancel(&mut live);
        self.refuse_all(refusal);
        live.needs_reset |= self.is_open;
        self.conclude(live)
    }

    /// Goes on from another state, as a sink wants it after this reply.
    pub(super) fn turn(
        mut self: Box<Self>,
        live: Box<Live>,
        state: OutState,
        heard: &Heard,
        now: Timestamp,
        wire: &mut Vec<u8>,
    ) -> ClientStep {
        let cue = self.expected.front().map(|said| said.cue);
        match (state, cue) {
            (OutState::PerRecipient, _) | (_, None) => return self.reply(live, heard, now, wire),
            (OutState::Data, Some(Expected::Rcpt(place))) => {
                self.expected.pop_front();
                self.answered_rcpt(place, heard);
                // Whoever was not asked for is asked for in another transaction.
                self.to_ask.clear();
                return if self.expected.is_empty() {
                    self.advance(live, now, wire)
                } else {
                    ClientStep::Read(Reading { live, awaits: Awaits::Envelope(self) })
                };
            }
            (OutState::Data, Some(_)) => {
                self.expected.pop_front();
                self.has_said_data = false;
                return self.advance(live, now, wire);
            }
            (OutState::SessionStart | OutState::MessageStart | OutState::SessionEnd, Some(_)) => {}
        }
        self.expected.pop_front();
        let is_again = state == OutState::SessionStart;
        let (is_refused, refusal) = (heard.real.is_refusal(), Refusal::of(&heard.real));
        self.note_open(cue, &heard.real);
        match cue {
            Some(Expected::Rcpt(place)) if !is_again => self.answered_rcpt(place, heard),
            Some(Expected::Mail) if !is_again && is_refused => self.refuse_all(&refusal),
            Some(Expected::Data) if !is_again && is_refused => self.refuse_accepted(&refusal),
            Some(Expected::Rset | Expected::Mail | Expected::Rcpt(_) | Expected::Data) | None => {}
        }
        self.leave(live, state)
    }

    /// Leaves the transaction for another state, as soon as everything that was said has its reply.
    pub(super) fn leave(mut self: Box<Self>, mut live: Box<Live>, state: OutState) -> ClientStep {
        if state != OutState::SessionStart {
            self.refuse_all(&Refusal::of_sink(&live.judge, EventKind::OnServerResponse, &left_for_later()));
        }
        self.leave_for(state);
        self.cancel(&mut live);
        self.to_ask.clear();
        self.own = None;
        live.first.clear();
        self.left(live)
    }

    fn left(self: Box<Self>, mut live: Box<Live>) -> ClientStep {
        if !self.expected.is_empty() {
            return ClientStep::Read(Reading { live, awaits: Awaits::Envelope(self) });
        }
        live.needs_reset |= self.is_open;
        self.conclude(live)
    }

    /// Takes a reply to something that was said before a sink changed the state. It answers nothing else.
    pub(super) fn ignore(mut self: Box<Self>, live: Box<Live>, cue: Option<Expected>, real: &Reply) -> ClientStep {
        self.note_open(cue, real);
        if real.class() == Class::Continue {
            // It waits for content, and whatever left now would be that.
            let event = EventKind::OnServerResponse.name().to_owned();
            let sink = BySink { binding: live.judge.clone(), event, ..BySink::default() };
            return dropped_by(self.end(Why::Dropped, &left_for_later(), false), sink);
        }
        self.left(live)
    }

    // What a reply says about whether the other server has a transaction open.
    fn note_open(&mut self, cue: Option<Expected>, real: &Reply) {
        let is_taken = real.class() == Class::Success;
        self.is_open |= match cue {
            Some(Expected::Mail) => is_taken,
            Some(Expected::Rset) => !is_taken,
            Some(Expected::Rcpt(_) | Expected::Data) | None => false,
        };
    }

    /// The recipient that the next reply is about.
    pub(super) fn answered_recipient(&self) -> Option<RecipientId> {
        self.recipient(self.expected.front()?.cue)
    }

    /// The recipient that a command is about.
    pub(super) fn recipient(&self, cue: Expected) -> Option<RecipientId> {
        match cue {
            Expected::Rcpt(place) => self.outgoing().recipients.get(place).map(|recipient| recipient.id),
            Expected::Rset | Expected::Mail | Expected::Data => None,
        }
    }

    /// The line that the next reply answers; kept where sinks hear of replies.
    pub(super) fn said(&self) -> &str {
        self.expected.front().map(|said| said.line.as_str()).unwrap_or_default()
    }
}

/// What becomes of recipients of whom nothing is decided when a sink goes on to something else.
pub(super) fn left_for_later() -> Reply {
    Reply::with(451, 3, 0, "a filter of this server left the message for later")
}
