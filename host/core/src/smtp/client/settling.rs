//! Behind octets of a sink's own: the proof that the two servers are in step.
//!
//! A server that took fewer octets than were sent reads what is left as commands, and every one of them has a reply
//! that answers nothing of this server's. How many there are nobody knows, nor when they come. But of the replies that
//! are too many the second is a refusal, and one that is alone is, too, because of what a blob may not contain
//! ([`smuggled_verb`](crate::event::smuggled_verb)); RFC 5321 §4.2.4 has a verb that nobody knows refused. So two NOOPs,
//! one after the other's reply, which both get a 2yz, show that none is too many: were there one, the first NOOP would
//! get its refusal; were there more, one of the two would get that of the second.

use crate::event::OutState;
use crate::reply::{Class, Reply};
use crate::smtp::client::live::{Live, put_line};
use crate::smtp::client::own::Owner;
use crate::smtp::client::sent::Why;
use crate::smtp::client::step::{Awaits, ClientStep, Reading};
use crate::time::Timestamp;

/// NOOPs that have to be answered with a 2yz, one after the other.
const PROOFS: u8 = 2;

/// What follows the proof.
#[derive(Debug)]
pub(super) enum Onward {
    /// The event is raised again.
    Again,
    /// The dialogue goes on from another state.
    Turn(OutState),
}

/// A connection that has to show that it is in step.
#[derive(Debug)]
pub(super) struct Settling {
    owner: Owner,
    onward: Onward,
    to_come: u8,
}

/// Goes on, behind octets with the proof first.
pub(super) fn settle(live: Box<Live>, owner: Owner, onward: Onward, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    // While the other server waits for more octets, NOOP would be taken for them.
    if live.is_proof_due && live.blob_due.is_none() {
        return Settling { owner, onward, to_come: PROOFS }.say(live, now, wire);
    }
    go_on(live, owner, onward, now, wire)
}

fn go_on(live: Box<Live>, owner: Owner, onward: Onward, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
    match onward {
        Onward::Again => owner.again(live, now, wire),
        Onward::Turn(state) => owner.turn(live, state, now, wire),
    }
}

impl Settling {
    /// The command that waits.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    fn say(self, mut live: Box<Live>, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        put_line(wire, "NOOP");
        live.waits_since = now;
        ClientStep::Read(Reading { live, awaits: Awaits::Settling(Box::new(self)) })
    }

    /// Takes the reply to a NOOP.
    pub(super) fn reply(
        mut self,
        mut live: Box<Live>,
        reply: &Reply,
        now: Timestamp,
        wire: &mut Vec<u8>,
    ) -> ClientStep {
        if reply.class() != Class::Success {
            let text = format!("the next server took octets of a filter of this server otherwise than meant: {reply}");
            return self.break_off(live, Why::Dropped, &Reply::with(451, 5, 5, text));
        }
        self.to_come = self.to_come.saturating_sub(1);
        if self.to_come > 0 {
            return self.say(live, now, wire);
        }
        live.is_proof_due = false;
        go_on(live, self.owner, self.onward, now, wire)
    }

    /// Ends the connection.
    pub(super) fn break_off(self, live: Box<Live>, why: Why, reply: &Reply) -> ClientStep {
        self.owner.break_off_at_last(live, why, reply)
    }
}
