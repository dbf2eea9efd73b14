//! One transaction: MAIL, RCPT, DATA, and what became of each recipient.

use std::collections::VecDeque;

use crate::limits::{PIPELINED_COMMANDS_MAX, TRANSACTIONS_PER_MESSAGE_MAX};
use crate::mail::RecipientId;
use crate::reply::{Class, Enhanced, Reply};
use crate::smtp::client::live::{Live, close_with, odd, of_host, put_line, unasked_reply};
use crate::smtp::client::outgoing::Outgoing;
use crate::smtp::client::plan::{Plan, plan, rcpt_line, recipient_refusal};
use crate::smtp::client::sending::{Ending, Sending};
use crate::smtp::client::sent::{Accepted, Closed, Sent, Why};
use crate::smtp::client::step::{After, Awaits, ClientStep, Idle, Reading, Reported};
use crate::time::Timestamp;
use crate::transport::Protocol;

/// A message in hand.
#[derive(Debug)]
pub(super) struct Envelope {
    outgoing: Outgoing,
    plan: Plan,
    fates: Vec<Fate>,
    /// Recipients to ask for in this transaction, by their place.
    to_ask: VecDeque<usize>,
    expected: VecDeque<Expected>,
    results: Vec<(RecipientId, Result<Accepted, Reply>)>,
    mail: MailState,
    has_said_data: bool,
    /// How many transactions the message has taken with this one.
    number: u32,
    /// When the transaction must be over.
    pub(super) ends: Timestamp,
}

/// What is known of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing; it was not asked for, or the answer is not here.
    Open,
    /// RCPT was taken.
    Accepted,
    /// It stands in the results.
    Decided,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MailState {
    Unsaid,
    Said,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Rset,
    Mail,
    Rcpt(usize),
    Data,
}

/// Begins a transaction.
pub(super) fn begin(
    mut live: Box<Live>,
    outgoing: Outgoing,
    number: u32,
    now: Timestamp,
    wire: &mut Vec<u8>,
) -> ClientStep {
    if live.is_used_up() {
        return used_up(Some(outgoing), wire);
    }
    if !live.reader.is_between() {
        return close_with(Why::Violation, &unasked_reply(), Some(outgoing));
    }
    let plan = match plan(&outgoing, &live, now) {
        Ok(plan) => plan,
        Err(reply) => return ClientStep::Sent(outgoing.failed(&reply), Reported(After::GoOn(live, None))),
    };
    let ends = now.plus(live.policy.timeouts.transaction);
    let mut envelope = Envelope {
        fates: vec![Fate::Open; outgoing.recipients.len()],
        outgoing,
        plan,
        to_ask: VecDeque::new(),
        expected: VecDeque::new(),
        results: Vec::new(),
        mail: MailState::Unsaid,
        has_said_data: false,
        number,
        ends,
    };
    envelope.choose(&live);
    if envelope.to_ask.is_empty() {
        return envelope.conclude(live);
    }
    live.waits_since = now;
    envelope.fill(&mut live, wire);
    ClientStep::Read(Reading { live, awaits: Awaits::Envelope(Box::new(envelope)) })
}

/// Gives the connection back, or ends it where the server takes no more mail over it.
pub(super) fn idle(live: Box<Live>, wire: &mut Vec<u8>) -> ClientStep {
    if live.is_used_up() { used_up(None, wire) } else { ClientStep::Idle(Idle { live }) }
}

fn used_up(unsent: Option<Outgoing>, wire: &mut Vec<u8>) -> ClientStep {
    put_line(wire, "QUIT");
    let reply = Reply::with(451, 5, 0, "the next server takes no more messages over this connection");
    close_with(Why::LimitReached, &reply, unsent)
}

impl Envelope {
    // Takes the recipients of this transaction: as many as the server takes at a time (RFC 9422 §4).
    fn choose(&mut self, live: &Live) {
        let mut domains: Vec<String> = Vec::new();
        let recipients_max = live.offered.recipients_max.unwrap_or(usize::MAX);
        let domains_max = live.offered.domains_max.unwrap_or(usize::MAX);
        for (place, recipient) in self.outgoing.recipients.iter().enumerate() {
            if let Some(reply) = recipient_refusal(recipient, &live.offered) {
                self.results.push((recipient.id, Err(reply)));
                if let Some(fate) = self.fates.get_mut(place) {
                    *fate = Fate::Decided;
                }
                continue;
            }
            if self.to_ask.len() >= recipients_max {
                continue;
            }
            if domains_max < usize::MAX {
                let domain = recipient.address.domain().unwrap_or_default().to_ascii_lowercase();
                if !domains.contains(&domain) {
                    if domains.len() >= domains_max {
                        continue;
                    }
                    domains.push(domain);
                }
            }
            self.to_ask.push_back(place);
        }
    }

    /// Replies that may come.
    pub(super) fn due(&self) -> usize {
        self.expected.len()
    }

    /// Whether the next reply is the one to DATA.
    pub(super) fn awaits_data(&self) -> bool {
        self.expected.front() == Some(&Expected::Data)
    }

    /// The command whose reply is awaited.
    pub(super) fn awaited(&self) -> &'static str {
        match self.expected.front() {
            Some(Expected::Rset) => "RSET",
            Some(Expected::Mail) | None => "MAIL",
            Some(Expected::Rcpt(_)) => "RCPT",
            Some(Expected::Data) => "DATA",
        }
    }

    /// Whether content has a taker.
    fn has_accepted(&self) -> bool {
        self.fates.contains(&Fate::Accepted)
    }

    /// Says what may be said now: everything up to DATA at once with PIPELINING (RFC 2920 §3.1), else one
    /// command at a time.
    pub(super) fn fill(&mut self, live: &mut Live, wire: &mut Vec<u8>) {
        let window = if live.offered.has_pipelining { PIPELINED_COMMANDS_MAX } else { 1 };
        while self.expected.len() < window {
            if live.needs_reset {
                live.needs_reset = false;
                put_line(wire, "RSET");
                self.expected.push_back(Expected::Rset);
                continue;
            }
            match self.mail {
                MailState::Refused => return,
                MailState::Unsaid => {
                    put_line(wire, &self.plan.mail);
                    self.mail = MailState::Said;
                    live.mails = live.mails.saturating_add(1);
                    self.expected.push_back(Expected::Mail);
                    continue;
                }
                MailState::Said => {}
            }
            if let Some(place) = self.to_ask.pop_front() {
                if let Some(recipient) = self.outgoing.recipients.get(place) {
                    put_line(wire, &rcpt_line(recipient, &self.plan));
                    self.expected.push_back(Expected::Rcpt(place));
                }
                continue;
            }
            // A chunk that nobody takes would be wasted, so BDAT waits for the replies to RCPT; DATA need not.
            let may_have_taker = self.has_accepted() || !self.expected.is_empty();
            if self.plan.is_chunked || self.has_said_data || !may_have_taker {
                return;
            }
            put_line(wire, "DATA");
            self.has_said_data = true;
            self.expected.push_back(Expected::Data);
        }
    }

    /// Takes the reply to the first command that waits for one.
    pub(super) fn reply(mut self: Box<Self>, mut live: Box<Live>, reply: &Reply, wire: &mut Vec<u8>) -> ClientStep {
        match self.expected.pop_front() {
            Some(Expected::Rset) if reply.class() != Class::Success => {
                // The old transaction may be open there; nothing must be added to it.
                return self.end(Why::Violation, &odd(reply, "RSET"), false);
            }
            Some(Expected::Mail) => {
                if let Some(step) = self.answered_mail(reply, wire) {
                    return step;
                }
            }
            Some(Expected::Rcpt(_)) if reply.class() == Class::Continue => {
                return self.end(Why::Violation, &odd(reply, "RCPT"), false);
            }
            Some(Expected::Rcpt(place)) => self.answered_rcpt(place, reply),
            Some(Expected::Data) => return self.answered_data(live, reply, wire),
            Some(Expected::Rset) | None => {}
        }
        if self.expected.is_empty() {
            self.fill(&mut live, wire);
        }
        if !self.expected.is_empty() {
            return ClientStep::Read(Reading { live, awaits: Awaits::Envelope(self) });
        }
        if self.plan.is_chunked && self.has_accepted() {
            return ClientStep::Send(Sending::new(live, self));
        }
        // MAIL was taken, nobody else was: the transaction is open.
        live.needs_reset = self.mail != MailState::Refused;
        self.conclude(live)
    }

    fn answered_mail(&mut self, reply: &Reply, wire: &mut Vec<u8>) -> Option<ClientStep> {
        match reply.class() {
            Class::Success => None,
            // RFC 4954 §6, RFC 3207 §4: it wants a login or TLS first, of which the message knows nothing. 503
            // says that the two servers do not agree about what was said before.
            Class::Permanent if matches!(reply.code(), 530 | 503) => {
                let why = if reply.code() == 530 { Why::Login } else { Why::Violation };
                put_line(wire, "QUIT");
                let reply = of_host(reply, "MAIL");
                self.mail = MailState::Refused;
                Some(self.end(why, &reply, false))
            }
            Class::Transient | Class::Permanent => {
                self.mail = MailState::Refused;
                self.decide_all(&Err(reply.shortened()));
                None
            }
            Class::Continue => Some(self.end(Why::Violation, &odd(reply, "MAIL"), false)),
        }
    }

    fn answered_rcpt(&mut self, place: usize, reply: &Reply) {
        let has_accepted = self.has_accepted();
        let Some(fate) = self.fates.get_mut(place).filter(|fate| **fate == Fate::Open) else { return };
        if reply.class() == Class::Success {
            *fate = Fate::Accepted;
        } else if has_accepted && is_too_many(reply) {
            // RFC 5321 §4.5.3.1.10: those taken get the message, the others in another transaction.
        } else {
            *fate = Fate::Decided;
            let id = self.outgoing.recipients.get(place).map(|recipient| recipient.id);
            self.results.extend(id.map(|id| (id, Err(reply.shortened()))));
        }
    }

    fn answered_data(mut self: Box<Self>, mut live: Box<Live>, reply: &Reply, wire: &mut Vec<u8>) -> ClientStep {
        match reply.class() {
            Class::Continue if self.has_accepted() => ClientStep::Send(Sending::new(live, self)),
            // In LMTP nobody knows how many replies such a dot would have.
            Class::Continue if live.policy.protocol == Protocol::Lmtp => {
                self.end(Why::Violation, &odd(reply, "DATA without recipients"), false)
            }
            Class::Continue => {
                // RFC 2920 §3.1: DATA was on its way when every recipient was refused; an empty message that
                // nobody gets ends what the server waits for.
                put_line(wire, ".");
                ClientStep::Read(Reading { live, awaits: Awaits::End(Box::new(Ending::lone_dot(self))) })
            }
            Class::Success => self.end(Why::Violation, &odd(reply, "DATA"), false),
            Class::Transient | Class::Permanent => {
                self.decide_accepted(&Err(reply.shortened()));
                live.needs_reset = self.mail != MailState::Refused;
                self.conclude(live)
            }
        }
    }

    /// Gives those whose RCPT was taken a result.
    pub(super) fn decide_accepted(&mut self, result: &Result<Accepted, Reply>) {
        self.decide(|fate| *fate == Fate::Accepted, result);
    }

    /// Gives everybody who has none a result.
    pub(super) fn decide_all(&mut self, result: &Result<Accepted, Reply>) {
        self.decide(|fate| *fate != Fate::Decided, result);
    }

    /// Gives the recipient at that place a result.
    pub(super) fn decide_one(&mut self, place: usize, result: Result<Accepted, Reply>) {
        let recipient = self.outgoing.recipients.get(place);
        if let (Some(fate), Some(recipient)) = (self.fates.get_mut(place), recipient) {
            *fate = Fate::Decided;
            self.results.push((recipient.id, result));
        }
    }

    fn decide(&mut self, is_meant: impl Fn(&Fate) -> bool, result: &Result<Accepted, Reply>) {
        for (fate, recipient) in self.fates.iter_mut().zip(&self.outgoing.recipients) {
            if is_meant(fate) {
                *fate = Fate::Decided;
                self.results.push((recipient.id, result.clone()));
            }
        }
    }

    /// Places of those whose RCPT was taken, in the order of the commands.
    pub(super) fn accepted(&self) -> VecDeque<usize> {
        let places = self.fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::Accepted);
        places.map(|(place, _)| place).collect()
    }

    /// The result of a recipient that the server took with that reply.
    pub(super) fn taken(&self, reply: &Reply) -> Accepted {
        Accepted { reply: reply.shortened(), is_dsn_passed: self.plan.is_told_there }
    }

    /// The message.
    pub(super) fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    /// How it goes.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    // The results so far, and the message for those who have none.
    fn settle(&mut self, may_be_delivered: bool) -> (Sent, Option<Outgoing>) {
        let mut rest = self.outgoing.clone();
        let mut fates = self.fates.iter();
        rest.recipients.retain(|_| fates.next() != Some(&Fate::Decided));
        let rest = (!rest.recipients.is_empty()).then_some(rest);
        let sent = Sent {
            message: self.outgoing.id.clone(),
            results: core::mem::take(&mut self.results),
            may_be_delivered,
            is_complete: rest.is_none(),
        };
        (sent, rest)
    }

    /// Ends a transaction in order; whoever is left goes in another one.
    pub(super) fn conclude(mut self, live: Box<Live>) -> ClientStep {
        if self.number >= TRANSACTIONS_PER_MESSAGE_MAX {
            self.decide_all(&Err(Reply::with(452, 5, 3, "the next server takes too few recipients at a time")));
        }
        let number = self.number.saturating_add(1);
        let (sent, rest) = self.settle(false);
        ClientStep::Sent(sent, Reported(After::GoOn(live, rest.map(|rest| (rest, number)))))
    }

    /// Ends transaction and connection. Who has no result may be tried elsewhere.
    pub(super) fn end(&mut self, why: Why, reply: &Reply, may_be_delivered: bool) -> ClientStep {
        let (sent, unsent) = self.settle(may_be_delivered);
        let closed = Closed { why, reply: reply.shortened(), unsent };
        if sent.results.is_empty() {
            return ClientStep::Close(closed);
        }
        ClientStep::Sent(sent, Reported(After::Close(closed)))
    }
}

// Whether a refusal says that this transaction has enough recipients: 452, and 552 from servers that follow an
// older standard, where no status code says something else (RFC 5321 §4.5.3.1.10).
fn is_too_many(reply: &Reply) -> bool {
    let is_about_number = reply.enhanced().is_none_or(|enhanced| enhanced == Enhanced::new(5, 3));
    matches!(reply.code(), 452 | 552) && is_about_number
}
