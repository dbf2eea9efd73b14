//! Carrying a command out, and answering it.

use crate::event::Overlay;
use crate::limits::{ERROR_DELAY, ERROR_DELAY_MAX};
use crate::reply::{Class, Enhanced, Reply};
use crate::smtp::extension;
use crate::smtp::intent::{Action, Intent, Tally, no_recipients};
use crate::smtp::live::{EndReason, Live};
use crate::smtp::outbox::Outbox;
use crate::smtp::session::{Session, Step, is_verb};
use crate::time::Timestamp;

/// The answer to a command.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) reply: Reply,
    pub(super) tally: Tally,
    /// The line that is answered, for `on-reject`.
    pub(super) line: &'a [u8],
    pub(super) must_close: bool,
}

/// What sinks said that concerns a command which goes through.
#[derive(Debug)]
pub(super) struct Consent {
    /// Their changes.
    pub(super) overlay: Overlay,
    /// One of them took the command against policy.
    pub(super) accepts: bool,
}

impl Live {
    /// Does what the command says and answers it.
    pub(super) fn carry_out(
        mut self: Box<Self>,
        intent: Intent,
        consent: Option<Consent>,
        line: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        outbox.flush_now |= is_group_boundary(&intent.action);
        let accepts = consent.as_ref().is_some_and(|consent| consent.accepts);
        let overlay = consent.map(|consent| consent.overlay);
        let is_fault = overlay.as_ref().is_some_and(|overlay| overlay.is_protocol_error);
        let tally = |native: Tally| if is_fault { Tally::Fault } else { native };
        let Intent { action, reply, tally: native_tally, refusal } = intent;
        if let Some(refusal) = refusal.filter(|refusal| !(accepts && refusal.is_policy)) {
            if self.has_refused_data {
                return self.refuse_text(line, now, outbox);
            }
            self.remember_refusal(&action);
            let reply = shape(refusal.reply, overlay.as_ref());
            let answer = Answer { reply, tally: tally(refusal.tally), line, must_close: false };
            return self.answer(answer, now, outbox);
        }
        let is_ehlo = matches!(action, Action::Greet { is_esmtp: true, .. });
        let reply = match overlay.as_ref().filter(|_| is_ehlo) {
            Some(overlay) => {
                let text = overlay.response.as_ref().filter(|wanted| wanted.class() == Class::Success);
                let added: Vec<_> = overlay.appended.iter().filter(|line| self.may_publish(line)).cloned().collect();
                extension::publish(&extension::greet(&reply, text), &added)
            }
            None => shape(reply, overlay.as_ref()),
        };
        let is_answered_later =
            matches!(action, Action::StartTls | Action::Auth { own: Some(_), .. } | Action::Xclient(_));
        self.count_error_where(is_fault && is_answered_later, outbox);
        match action {
            Action::Greet { name, is_esmtp } => {
                // RFC 5321 §4.1.4: a second greeting does what RSET does.
                self.transaction = None;
                let facts = self.facts_mut();
                facts.helo = Some(name);
                facts.is_esmtp = is_esmtp;
            }
            Action::Begin(transaction) => self.transaction = Some(transaction.begun()),
            Action::Add(recipient, wishes) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.add(recipient, wishes);
                }
            }
            Action::Reset => self.transaction = None,
            Action::Quit => return self.close(reply, EndReason::Quit, line, now, outbox),
            Action::Receive => return self.receive(&reply, line, now, outbox),
            Action::StartTls => return self.start_tls(&reply, outbox),
            Action::Xclient(claims) => return self.take_xclient(*claims, now, outbox),
            Action::Auth { own: Some(mechanism), initial } => {
                return self.begin_auth(mechanism, initial.as_ref(), now, outbox);
            }
            Action::Chunk(octets, is_last) => {
                self.idle = self.idle.saturating_add(u32::from(native_tally == Tally::Idle));
                return self.receive_chunk(octets, is_last, line, now, outbox);
            }
            Action::Auth { own: None, .. } | Action::Nothing | Action::Noop => {}
        }
        self.answer(Answer { reply, tally: tally(native_tally), line, must_close: false }, now, outbox)
    }

    /// Answers a command with what a sink said in place of carrying it out.
    pub(super) fn answer_for_sink(
        mut self: Box<Self>,
        action: &Action,
        mut answer: Answer<'_>,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        if matches!(action, Action::Greet { .. }) {
            // RFC 2034 §3: replies to HELO and EHLO have no enhanced code, refusals included.
            answer.reply = Reply::multi_line(answer.reply.code(), None, answer.reply.lines().to_vec());
        }
        outbox.flush_now |= is_group_boundary(action);
        // After a success the client begins a handshake, speaks for somebody else, or forgets the message that it takes
        // for stored: no sink can do that in the server's place.
        let is_ours = matches!(action, Action::StartTls | Action::Xclient(_) | Action::Receive | Action::Chunk(..));
        if is_ours && !answer.reply.is_refusal() {
            answer.reply = out_of_order();
        }
        if core::mem::take(&mut self.has_refused_data) && answer.reply.is_refusal() {
            return self.refuse_text(answer.line, now, outbox);
        }
        match (action, &mut self.transaction) {
            (Action::Add(..), Some(transaction)) if !answer.reply.is_refusal() => transaction.taken_by_sink(),
            _ => self.remember_refusal(action),
        }
        if let Action::Chunk(octets, _) = action {
            // Without this chunk the message would come out as another one.
            self.transaction = None;
            return self.skip_chunk(*octets, answer, now, outbox);
        }
        if matches!(action, Action::Quit) {
            // RFC 5321 §4.1.1.10: after QUIT the connection closes; no sink can keep a client in.
            return self.close(answer.reply, EndReason::Quit, answer.line, now, outbox);
        }
        self.answer(answer, now, outbox)
    }

    /// Counts, checks the limits, sends, and goes on or closes.
    pub(super) fn answer(mut self: Box<Self>, answer: Answer<'_>, now: Timestamp, outbox: &mut Outbox) -> Step {
        let Answer { reply, tally, line, must_close } = answer;
        self.has_refused_auth |= reply.is_refusal() && is_verb(line.trim_ascii_start(), b"AUTH");
        match tally {
            Tally::Work => {}
            Tally::Idle => self.idle = self.idle.saturating_add(1),
            Tally::Fault => self.count_error(outbox),
        }
        if self.facts.errors > self.policy.errors_max {
            let reply = Reply::with(421, 7, 0, "too many errors; closing");
            return self.close(reply, EndReason::Error, line, now, outbox);
        }
        if self.idle > self.policy.idle_commands_max {
            let reply = Reply::with(421, 7, 0, "too many commands without mail; closing");
            return self.close(reply, EndReason::Error, line, now, outbox);
        }
        // RFC 5321 §3.8: 421 says that the connection closes, so it does.
        if must_close || reply.code() == 421 {
            return self.close(reply, EndReason::Refused, line, now, outbox);
        }
        self.send(&reply, line, now, outbox);
        Step::Read(Session(self))
    }

    /// Counts a protocol error. Beyond the soft limit each answer waits longer than the one before it: a person at a
    /// keyboard does not notice, and a program that tries things out gets nowhere.
    pub(super) fn count_error(&mut self, outbox: &mut Outbox) {
        let facts = self.facts_mut();
        facts.errors = facts.errors.saturating_add(1);
        let beyond = facts.errors.saturating_sub(self.policy.errors_at_once());
        outbox.wait(ERROR_DELAY.saturating_mul(beyond).min(ERROR_DELAY_MAX));
    }

    /// Counts one that a sink saw in a command whose answer comes later, and from elsewhere.
    pub(super) fn count_error_where(&mut self, is_fault: bool, outbox: &mut Outbox) {
        if is_fault {
            self.count_error(outbox);
        }
    }

    fn receive(mut self: Box<Self>, reply: &Reply, line: &[u8], now: Timestamp, outbox: &mut Outbox) -> Step {
        match self.transaction.take() {
            Some(transaction) if !transaction.message.envelope.recipients.is_empty() => {
                outbox.send(reply);
                self.receive_text(transaction, now)
            }
            // DATA has an intent only where there are recipients; sinks took them away since.
            transaction => {
                self.transaction = transaction;
                self.has_refused_data = true;
                let answer = Answer { reply: no_recipients(), tally: Tally::Work, line, must_close: false };
                self.answer(answer, now, outbox)
            }
        }
    }

    fn remember_refusal(&mut self, action: &Action) {
        match (action, &mut self.transaction) {
            (Action::Add(..), Some(transaction)) => transaction.has_refused_recipient = true,
            (Action::Receive, _) => self.has_refused_data = true,
            _ => {}
        }
    }
}

// RFC 2920 §3.2, items 2 to 4: replies to MAIL, RCPT and RSET may wait for those of the commands behind them,
// all others may not; a verb of a sink is one of the others. RFC 3030 §2 lets chunks be pipelined.
fn is_group_boundary(action: &Action) -> bool {
    !matches!(action, Action::Begin(_) | Action::Add(..) | Action::Reset | Action::Chunk(..))
}

// The server's reply with what sinks changed about it.
pub(super) fn shape(native: Reply, overlay: Option<&Overlay>) -> Reply {
    let Some(overlay) = overlay else { return native };
    // The class is the server's: a sink that wants another one says so by its verdict.
    let mut reply = match overlay.response.as_ref().filter(|wanted| wanted.class() == native.class()) {
        None => native,
        Some(wanted) => {
            // Clients wait for 354 and for the 250 of EHLO (the only successes without enhanced code) and
            // take no other code for it.
            let is_fixed = native.class() == Class::Continue || native.enhanced().is_none();
            let code = if is_fixed { native.code() } else { wanted.code() };
            let enhanced = native.enhanced().and(wanted.enhanced().or(native.enhanced()));
            Reply::multi_line(code, enhanced, wanted.lines().to_vec())
        }
    };
    // On EHLO added lines are keywords; `extension::publish` adds them. HELO's answer has one line.
    if reply.enhanced().is_some() || reply.is_refusal() {
        overlay.appended.iter().for_each(|line| reply.push_line(line.clone()));
    }
    reply
}

/// A reply by which a sink refuses: of the right class, with an enhanced code.
pub(super) fn refusal_of_sink(reply: Reply) -> Reply {
    if !reply.is_refusal() {
        return out_of_order();
    }
    with_enhanced(reply, Enhanced::new(7, 0))
}

/// A reply by which a sink answers its own verb.
pub(super) fn answer_of_sink(reply: Reply) -> Reply {
    // After a 3yz reply the client sends something else than commands, and nobody would read it as such.
    if reply.class() == Class::Continue {
        return out_of_order();
    }
    let enhanced = if reply.is_refusal() { Enhanced::new(7, 0) } else { Enhanced::new(0, 0) };
    with_enhanced(reply, enhanced)
}

/// What a client hears when a sink said something that means nothing here.
pub(super) fn out_of_order() -> Reply {
    Reply::with(451, 3, 0, "a filter of this server is out of order, try again later")
}

fn with_enhanced(reply: Reply, fallback: Enhanced) -> Reply {
    if reply.enhanced().is_some() {
        return reply;
    }
    Reply::multi_line(reply.code(), Some(fallback), reply.lines().to_vec())
}
