//! Commands that sinks are asked about, and the lines and octets of their own that go before one.

use crate::event::{EventKind, OutCommand, OutState, SentFirst, Verdict, outbound::verb_of};
use crate::reply::{Class, Reply};
use crate::smtp::client::asking::{About, Asking, out_of_step};
use crate::smtp::client::greeting;
use crate::smtp::client::hearing::{Heard, Refusal, Topic};
use crate::smtp::client::live::{Live, put_line};
use crate::smtp::client::outgoing::Outgoing;
use crate::smtp::client::sent::{Closed, Why};
use crate::smtp::client::settling::{self, Onward};
use crate::smtp::client::step::{Awaits, ClientStep, Reading};
use crate::smtp::client::transaction::{Envelope, Expected};
use crate::time::Timestamp;

/// The command that waits for the sinks.
#[derive(Debug)]
pub(super) enum Owner {
    /// EHLO or LHLO.
    Hello,
    /// QUIT.
    Goodbye,
    /// QUIT where the connection is of no more use; what it came to is known, and nobody waits for the reply.
    Farewell(Box<Closed>),
    /// One of a transaction.
    Envelope(Box<Envelope>, Expected),
}

/// Something of a sink's own that waits for its reply.
#[derive(Debug)]
pub(super) struct Owned {
    owner: Owner,
    by: String,
    line: String,
}

/// Asks about QUIT, or says it where nobody wants to know.
pub(super) fn goodbye(live: Box<Live>, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    if live.hears(EventKind::OnSessionEnd) {
        return ask(live, Owner::Goodbye, now);
    }
    say_goodbye(live, "QUIT", now, wire)
}

/// Ends a connection over what is known already, in order: asks about QUIT, or says it.
pub(super) fn farewell(live: Box<Live>, closed: Closed, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    if live.hears(EventKind::OnSessionEnd) {
        return ask(live, Owner::Farewell(Box::new(closed)), now);
    }
    put_line(wire, "QUIT");
    ClientStep::Close(closed)
}

fn say_goodbye(mut live: Box<Live>, line: &str, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    put_line(wire, line);
    live.waits_since = now;
    line.clone_into(&mut live.said);
    ClientStep::Read(Reading { live, awaits: Awaits::Quit })
}

/// Asks the sinks about a command.
pub(super) fn ask(mut live: Box<Live>, owner: Owner, now: Timestamp) -> ClientStep {
    let line = owner.native_line(&live);
    let (event, outgoing, recipient) = match &owner {
        Owner::Hello => (EventKind::OnSessionStart, None, None),
        Owner::Goodbye | Owner::Farewell(_) => (EventKind::OnSessionEnd, None, None),
        Owner::Envelope(envelope, cue) => (event_before(*cue), Some(envelope.outgoing()), envelope.recipient(*cue)),
    };
    let accepted = match &owner {
        Owner::Envelope(envelope, Expected::Data) => Some(envelope.accepted_ids()),
        Owner::Envelope(..) | Owner::Hello | Owner::Goodbye | Owner::Farewell(_) => None,
    };
    let topic = Topic { event, outgoing, recipient, accepted, line: Some(&line), response: None };
    let question = live.question(topic, now);
    Asking::about(live, About::Command(owner), question)
}

fn event_before(cue: Expected) -> EventKind {
    match cue {
        Expected::Rset | Expected::Mail => EventKind::OnMessageStart,
        Expected::Rcpt(_) => EventKind::OnPerRecipient,
        Expected::Data => EventKind::OnBeforeData,
    }
}

impl Owner {
    fn native_line(&self, live: &Live) -> String {
        match self {
            Self::Hello => greeting::hello_line(live),
            Self::Goodbye | Self::Farewell(_) => "QUIT".to_owned(),
            Self::Envelope(envelope, cue) => envelope.line_of(*cue, live),
        }
    }

    /// Does what the sinks decided.
    pub(super) fn decided(
        self,
        mut live: Box<Live>,
        decided: (Verdict, String, Option<OutCommand>),
        now: Timestamp,
        wire: &mut Vec<u8>,
    ) -> ClientStep {
        let (verdict, by, command) = decided;
        let is_blob_due = live.blob_due.take().is_some();
        if let Verdict::DropSession(reply) = &verdict {
            return self.break_off(live, Why::Dropped, reply);
        }
        if let (Verdict::SendBlob(octets), true) = (&verdict, is_blob_due) {
            wire.extend_from_slice(octets);
            live.is_proof_due = true;
            let line = live.own_line.clone();
            return self.await_reply(live, by, line, now);
        }
        // The other server waits for octets: whatever else left now would be taken for them.
        if is_blob_due {
            return self.break_off(live, Why::Dropped, &out_of_step());
        }
        if let Verdict::SendFirst(line) = verdict {
            return match self {
                Self::Envelope(mut envelope, cue) => {
                    envelope.own = Some((cue, by, line));
                    envelope.advance(live, now, wire)
                }
                Self::Hello | Self::Goodbye | Self::Farewell(_) => self.say(live, by, line, now, wire),
            };
        }
        if matches!(verdict, Verdict::Next | Verdict::SkipRemaining) {
            let native = self.native_line(&live);
            let line = command.filter(|command| command.native_line() == native);
            let line = line.map_or(native, |command| command.line().to_owned());
            return self.go_ahead(live, line, now, wire);
        }
        match (self, verdict) {
            (Self::Envelope(envelope, Expected::Rcpt(place)), Verdict::SkipRecipient(reply)) => envelope
                .skip_recipient(live, place, Refusal::of_sink(&by, EventKind::OnPerRecipient, &reply), now, wire),
            (Self::Envelope(envelope, cue), Verdict::SkipMessage(reply)) => {
                envelope.skip_message(live, &Refusal::of_sink(&by, event_before(cue), &reply))
            }
            (owner, _) => owner.break_off(live, Why::Dropped, &out_of_step()),
        }
    }

    fn go_ahead(self, mut live: Box<Live>, line: String, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        live.first.clear();
        match self {
            Self::Hello => greeting::say_hello(live, &line, now, wire),
            Self::Goodbye => say_goodbye(live, &line, now, wire),
            Self::Farewell(closed) => {
                put_line(wire, &line);
                ClientStep::Close(*closed)
            }
            Self::Envelope(mut envelope, cue) => {
                envelope.plan_to_say(cue, line, &mut live);
                envelope.advance(live, now, wire)
            }
        }
    }

    /// Sends a line of a sink's own, with nothing in front of it or behind it.
    pub(super) fn say(
        self,
        live: Box<Live>,
        by: String,
        line: String,
        now: Timestamp,
        wire: &mut Vec<u8>,
    ) -> ClientStep {
        put_line(wire, &line);
        self.await_reply(live, by, line, now)
    }

    fn await_reply(self, mut live: Box<Live>, by: String, line: String, now: Timestamp) -> ClientStep {
        live.waits_since = now;
        live.own_line.clone_from(&line);
        ClientStep::Read(Reading { live, awaits: Awaits::Own(Box::new(Owned { owner: self, by, line })) })
    }

    /// Raises the event again.
    pub(super) fn again(self, live: Box<Live>, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        match self {
            Self::Hello | Self::Goodbye | Self::Farewell(_) => ask(live, self, now),
            Self::Envelope(envelope, _) => envelope.advance(live, now, wire),
        }
    }

    /// Goes on from another state.
    pub(super) fn turn(self, mut live: Box<Live>, state: OutState, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        live.first.clear();
        match (self, state) {
            (Self::Envelope(envelope, _), _) => envelope.leave(live, state),
            // Nothing but the end follows.
            (Self::Farewell(closed), _) => farewell(live, *closed, now, wire),
            (Self::Hello | Self::Goodbye, OutState::SessionEnd) => goodbye(live, now, wire),
            // From the start of a session a message is reached, and from the end another only by a new start.
            (Self::Hello | Self::Goodbye, _) => greeting::hello(live, now, wire),
        }
    }

    /// Ends the connection over something that was said before the command.
    pub(super) fn break_off_at_last(self, live: Box<Live>, why: Why, reply: &Reply) -> ClientStep {
        // Where this server was about to leave, nothing depends on it any more.
        let why = if matches!(self, Self::Goodbye) && why != Why::Dropped { Why::Quit } else { why };
        self.break_off(live, why, reply)
    }

    /// Ends the connection.
    pub(super) fn break_off(self, live: Box<Live>, why: Why, reply: &Reply) -> ClientStep {
        match self {
            Self::Hello | Self::Goodbye => live.close(why, reply),
            // What it came to does not change over its last words.
            Self::Farewell(closed) => ClientStep::Close(*closed),
            Self::Envelope(mut envelope, _) => envelope.end(why, reply, false),
        }
    }

    /// The message in hand.
    pub(super) fn outgoing(&self) -> Option<&Outgoing> {
        match self {
            Self::Hello | Self::Goodbye | Self::Farewell(_) => None,
            Self::Envelope(envelope, _) => Some(envelope.outgoing()),
        }
    }

    /// When the transaction must be over.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        match self {
            Self::Hello | Self::Goodbye | Self::Farewell(_) => None,
            Self::Envelope(envelope, _) => Some(envelope.ends),
        }
    }
}

impl Owned {
    /// The command that waits.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The sink's line; of octets the one that they follow.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Its verb in upper case.
    pub(super) fn verb(&self) -> String {
        verb_of(&self.line)
    }

    /// Takes the reply, and asks again.
    pub(super) fn reply(self, mut live: Box<Live>, heard: Heard, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        let rounds = live.first.get(&self.by).map_or(0, |sent| sent.rounds).saturating_add(1);
        if heard.real.class() == Class::Continue {
            live.blob_due = Some(self.by.clone());
        }
        let verb = self.verb();
        live.first.insert(self.by, SentFirst { verb, reply: heard.judged, rounds });
        settling::settle(live, self.owner, Onward::Again, now, wire)
    }

    /// Goes on from another state than the one in which the line was sent.
    pub(super) fn turn(self, live: Box<Live>, state: OutState, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        settling::settle(live, self.owner, Onward::Turn(state), now, wire)
    }

    /// Ends the connection.
    pub(super) fn break_off(self, live: Box<Live>, why: Why, reply: &Reply) -> ClientStep {
        self.owner.break_off_at_last(live, why, reply)
    }
}
