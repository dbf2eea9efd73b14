//! One transaction: MAIL, RCPT, DATA, and what became of each recipient.

use std::collections::{BTreeMap, VecDeque};

use crate::event::{EventKind, OutState};
use crate::limits::TRANSACTIONS_PER_MESSAGE_MAX;
use crate::mail::{BySink, RecipientId};
use crate::reply::{Class, Enhanced, Reply};
use crate::smtp::client::group::left_for_later;
use crate::smtp::client::hearing::{Heard, Refusal};
use crate::smtp::client::live::{Live, close_with, odd, of_host, put_line, unasked_reply};
use crate::smtp::client::outgoing::Outgoing;
use crate::smtp::client::own::farewell;
use crate::smtp::client::plan::{Plan, plan, recipient_refusal};
use crate::smtp::client::reading::dropped_by;
use crate::smtp::client::sending::{Ending, Sending};
use crate::smtp::client::sent::{Accepted, Closed, Sent, Why};
use crate::smtp::client::step::{After, Awaits, ClientStep, Idle, Reading, Reported, Then};
use crate::time::Timestamp;
use crate::transport::Protocol;

/// A message in hand.
#[derive(Debug)]
pub(super) struct Envelope {
    outgoing: Outgoing,
    plan: Plan,
    fates: Vec<Fate>,
    /// Recipients to ask for in this transaction, by their place.
    pub(super) to_ask: VecDeque<usize>,
    /// What was said and has no reply.
    pub(super) expected: VecDeque<Said>,
    /// What leaves next, once its group is whole.
    pub(super) group: Vec<(Expected, String)>,
    /// What a sink sends before that command: binding and line.
    pub(super) own: Option<(Expected, String, String)>,
    results: Vec<(RecipientId, Result<Accepted, Reply>)>,
    by_sinks: BTreeMap<RecipientId, BySink>,
    pub(super) mail: MailState,
    pub(super) has_said_data: bool,
    /// The other server took MAIL.
    pub(super) is_open: bool,
    /// The other server took a recipient that must not get the content with it: the transaction has none.
    pub(super) is_tainted: bool,
    /// The other server took the content, and a sink says otherwise.
    may_be_delivered: bool,
    /// Where a sink wants to go from here.
    leaving: Option<OutState>,
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

/// How far MAIL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MailState {
    Unsaid,
    Said,
    Refused,
}

/// A command of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Rset,
    Mail,
    Rcpt(usize),
    Data,
}

/// A command that was said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) cue: Expected,
    /// Its line, where sinks hear of replies.
    pub(super) line: String,
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
        return used_up(live, Some(outgoing), now, wire);
    }
    if !live.reader.is_between() {
        return close_with(Why::Violation, &unasked_reply(), Some(outgoing));
    }
    let plan = match plan(&outgoing, &live, now) {
        Ok(plan) => plan,
        Err(reply) => return ClientStep::Sent(outgoing.failed(&reply), Reported(After::GoOn(live, Then::Idle))),
    };
    let ends = now.plus(live.policy.timeouts.transaction);
    let mut envelope = Envelope {
        fates: vec![Fate::Open; outgoing.recipients.len()],
        outgoing,
        plan,
        to_ask: VecDeque::new(),
        expected: VecDeque::new(),
        group: Vec::new(),
        own: None,
        results: Vec::new(),
        by_sinks: BTreeMap::new(),
        mail: MailState::Unsaid,
        has_said_data: false,
        is_open: false,
        is_tainted: false,
        may_be_delivered: false,
        leaving: None,
        number,
        ends,
    };
    envelope.choose(&live);
    if envelope.to_ask.is_empty() {
        return envelope.conclude(live);
    }
    live.waits_since = now;
    Box::new(envelope).advance(live, now, wire)
}

/// Gives the connection back, or goes on with the message in hand, or ends it where the server takes no more mail.
pub(super) fn idle(mut live: Box<Live>, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    if let Some((outgoing, number)) = live.resume.take() {
        return begin(live, *outgoing, number, now, wire);
    }
    if live.is_used_up() { used_up(live, None, now, wire) } else { ClientStep::Idle(Idle { live }) }
}

fn used_up(live: Box<Live>, unsent: Option<Outgoing>, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    let reply = Reply::with(451, 5, 0, "the next server takes no more messages over this connection");
    farewell(live, Closed::of(Why::LimitReached, &reply, unsent), now, wire)
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
        self.expected.front().is_some_and(|said| said.cue == Expected::Data)
    }

    /// The command whose reply is awaited.
    pub(super) fn awaited(&self) -> &'static str {
        self.expected.front().map_or("MAIL", |said| said.cue.verb())
    }

    /// Whether a sink wants to go on from elsewhere, so that replies decide nothing any more.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Goes on from elsewhere when the transaction is over.
    pub(super) fn leave_for(&mut self, state: OutState) {
        self.leaving = Some(state);
    }

    /// Whether content has a taker.
    pub(super) fn has_accepted(&self) -> bool {
        self.fates.contains(&Fate::Accepted)
    }

    /// Takes the reply to the first command that waits for one.
    pub(super) fn reply(
        mut self: Box<Self>,
        live: Box<Live>,
        heard: &Heard,
        now: Timestamp,
        wire: &mut Vec<u8>,
    ) -> ClientStep {
        let (cue, reply) = (self.expected.pop_front().map(|said| said.cue), &heard.judged);
        if self.is_leaving() {
            return self.ignore(live, cue, &heard.real);
        }
        match cue {
            Some(Expected::Rset) if reply.class() != Class::Success => {
                // The old transaction may be open there; nothing must be added to it.
                return self.end(Why::Violation, &odd(reply, "RSET"), false);
            }
            Some(Expected::Mail) if reply.class() == Class::Continue => {
                return self.end(Why::Violation, &odd(reply, "MAIL"), false);
            }
            Some(Expected::Mail) => {
                self.is_open |= heard.real.class() == Class::Success;
                // Whom it takes behind a MAIL that it took must not get the empty message that ends an idle DATA.
                self.is_tainted |= self.is_open && reply.is_refusal();
                if let Some(why) = self.answered_mail(heard) {
                    return self.part(live, why, &of_host(reply, "MAIL"), now, wire);
                }
            }
            Some(Expected::Rcpt(_)) if reply.class() == Class::Continue => {
                return self.end(Why::Violation, &odd(reply, "RCPT"), false);
            }
            Some(Expected::Rcpt(place)) => self.answered_rcpt(place, heard),
            Some(Expected::Data) => return self.answered_data(live, heard, wire),
            Some(Expected::Rset) | None => {}
        }
        if self.expected.is_empty() {
            return self.advance(live, now, wire);
        }
        ClientStep::Read(Reading { live, awaits: Awaits::Envelope(self) })
    }

    // Takes the reply to MAIL; tells why the connection is of no more use, where it is not.
    fn answered_mail(&mut self, heard: &Heard) -> Option<Why> {
        let reply = &heard.judged;
        match reply.class() {
            Class::Success | Class::Continue => None,
            // RFC 4954 §6, RFC 3207 §4: it wants a login or TLS first, of which the message knows nothing. 503
            // says that the two servers do not agree about what was said before.
            Class::Permanent if matches!(reply.code(), 530 | 503) => {
                self.mail = MailState::Refused;
                Some(if reply.code() == 530 { Why::Login } else { Why::Violation })
            }
            Class::Transient | Class::Permanent => {
                self.mail = MailState::Refused;
                self.refuse_all(&heard.refusal());
                None
            }
        }
    }

    /// Takes the reply to RCPT.
    pub(super) fn answered_rcpt(&mut self, place: usize, heard: &Heard) {
        let (has_accepted, reply) = (self.has_accepted(), &heard.judged);
        let is_taken_there = heard.real.class() == Class::Success;
        let Some(fate) = self.fates.get_mut(place).filter(|fate| **fate == Fate::Open) else { return };
        if is_taken_there && reply.class() == Class::Success {
            *fate = Fate::Accepted;
            return;
        }
        // The other server would give it the content all the same.
        self.is_tainted |= is_taken_there;
        if has_accepted && is_too_many(reply) {
            // RFC 5321 §4.5.3.1.10: those taken get the message, the others in another transaction.
        } else {
            self.refuse_one(place, heard.refusal());
        }
    }

    fn answered_data(mut self: Box<Self>, mut live: Box<Live>, heard: &Heard, wire: &mut Vec<u8>) -> ClientStep {
        let reply = &heard.judged;
        match reply.class() {
            Class::Continue if self.is_tainted => {
                // The sink that would not have whom the server took.
                let sink = self.by_sinks.values().next_back().cloned().unwrap_or_default();
                dropped_by(self.end(Why::Dropped, &left_for_later(), false), BySink { said: None, ..sink })
            }
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
                // Where content must not follow, the refusal of it decides nothing.
                if !self.is_tainted {
                    self.refuse_accepted(&heard.refusal());
                }
                live.needs_reset |= self.is_open;
                self.conclude(live)
            }
        }
    }

    /// Refuses those whose RCPT was taken.
    pub(super) fn refuse_accepted(&mut self, refusal: &Refusal) {
        self.refuse(|fate| fate == Fate::Accepted, refusal);
    }

    /// Refuses everybody who has no result.
    pub(super) fn refuse_all(&mut self, refusal: &Refusal) {
        self.refuse(|fate| fate != Fate::Decided, refusal);
    }

    /// Refuses the recipient at that place.
    pub(super) fn refuse_one(&mut self, place: usize, refusal: Refusal) {
        let id = self.outgoing.recipients.get(place).map(|recipient| recipient.id);
        self.decide_one(place, Err(refusal.reply));
        self.by_sinks.extend(id.zip(refusal.by));
    }

    /// Those whose RCPT was taken have the message.
    pub(super) fn take_accepted(&mut self, accepted: &Accepted) {
        for place in self.accepted() {
            self.decide_one(place, Ok(accepted.clone()));
        }
    }

    /// Gives the recipient at that place a result.
    pub(super) fn decide_one(&mut self, place: usize, result: Result<Accepted, Reply>) {
        let recipient = self.outgoing.recipients.get(place);
        if let (Some(fate), Some(recipient)) = (self.fates.get_mut(place), recipient) {
            *fate = Fate::Decided;
            self.results.push((recipient.id, result));
        }
    }

    fn refuse(&mut self, is_meant: impl Fn(Fate) -> bool, refusal: &Refusal) {
        let places = self.fates.iter().enumerate().filter(|(_, fate)| is_meant(**fate)).map(|(place, _)| place);
        for place in places.collect::<Vec<_>>() {
            self.refuse_one(place, refusal.clone());
        }
    }

    /// Places of those whose RCPT was taken, in the order of the commands.
    pub(super) fn accepted(&self) -> VecDeque<usize> {
        let places = self.fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::Accepted);
        places.map(|(place, _)| place).collect()
    }

    /// Those whose RCPT was taken.
    pub(super) fn accepted_ids(&self) -> Vec<RecipientId> {
        let recipients = &self.outgoing.recipients;
        self.accepted().into_iter().filter_map(|place| recipients.get(place)).map(|recipient| recipient.id).collect()
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

    /// The other server took what a sink says is not taken.
    pub(super) fn doubt(&mut self) {
        self.may_be_delivered = true;
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
            by_sinks: core::mem::take(&mut self.by_sinks),
            may_be_delivered: may_be_delivered || self.may_be_delivered,
            is_complete: rest.is_none(),
        };
        (sent, rest)
    }

    /// Ends a transaction in order; whoever is left goes in another one.
    pub(super) fn conclude(mut self, mut live: Box<Live>) -> ClientStep {
        if self.number >= TRANSACTIONS_PER_MESSAGE_MAX {
            self.refuse_all(&Refusal::of(&Reply::with(
                452,
                5,
                3,
                "the next server takes too few recipients at a time",
            )));
        }
        if self.leaving == Some(OutState::SessionEnd) {
            self.refuse_all(&Refusal::of_sink(&live.judge, EventKind::OnServerResponse, &left_for_later()));
        }
        let number = self.number.saturating_add(1);
        let (sent, rest) = self.settle(false);
        let then = match (self.leaving, rest) {
            (Some(OutState::SessionEnd), _) => Then::Goodbye,
            (Some(OutState::SessionStart), rest) => {
                live.resume = rest.map(|rest| (Box::new(rest), number));
                Then::Hello
            }
            (_, Some(rest)) => Then::Transact(Box::new(rest), number),
            (_, None) => Then::Idle,
        };
        ClientStep::Sent(sent, Reported(After::GoOn(live, then)))
    }

    // Ends transaction and connection in order.
    fn part(
        mut self: Box<Self>,
        live: Box<Live>,
        why: Why,
        reply: &Reply,
        now: Timestamp,
        wire: &mut Vec<u8>,
    ) -> ClientStep {
        if !self.expected.is_empty() {
            // Replies are still to come, and must not pass for those to a sink's last words: nobody is asked.
            put_line(wire, "QUIT");
            return self.end(why, reply, false);
        }
        let (sent, unsent) = self.settle(false);
        let closed = Closed::of(why, reply, unsent);
        if sent.results.is_empty() {
            return farewell(live, closed, now, wire);
        }
        ClientStep::Sent(sent, Reported(After::Part(live, Box::new(closed))))
    }

    /// Ends transaction and connection. Who has no result may be tried elsewhere.
    pub(super) fn end(&mut self, why: Why, reply: &Reply, may_be_delivered: bool) -> ClientStep {
        let (sent, unsent) = self.settle(may_be_delivered);
        let closed = Closed::of(why, reply, unsent);
        if sent.results.is_empty() {
            return ClientStep::Close(closed);
        }
        ClientStep::Sent(sent, Reported(After::Close(Box::new(closed))))
    }
}

// Whether a refusal says that this transaction has enough recipients: 452, and 552 from servers that follow an
// older standard, where no status code says something else (RFC 5321 §4.5.3.1.10).
fn is_too_many(reply: &Reply) -> bool {
    let is_about_number = reply.enhanced().is_none_or(|enhanced| enhanced == Enhanced::new(5, 3));
    matches!(reply.code(), 452 | 552) && is_about_number
}
