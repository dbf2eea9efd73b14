//! A session whose message is being stored.

use crate::mail::MessageId;
use crate::reply::Reply;
use crate::smtp::carry_out::{Answer, out_of_order};
use crate::smtp::intent::Tally;
use crate::smtp::live::Live;
use crate::smtp::outbox::Outbox;
use crate::smtp::session::Step;
use crate::time::Timestamp;

/// What becomes of a message that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It goes its way.
    Accept,
    /// It is kept until an operator releases it; the text says why.
    Hold(String),
    /// It is dropped without notification, by a sink with the grant `discard`.
    Discard,
}

/// Proof that a message is on disk.
///
/// Only the spool has a type that implements it, made after the sync: so 250 after the final dot cannot be
/// said too soon (RFC 5321 §4.2.5, §6.1).
pub trait ProofOfStorage {
    /// Whose proof it is.
    fn id(&self) -> &MessageId;
}

/// A session whose message is being stored.
#[derive(Debug)]
pub struct Storing {
    live: Box<Live>,
    id: MessageId,
    disposition: Disposition,
    reply: Reply,
}

impl Storing {
    pub(super) fn new(live: Box<Live>, id: MessageId, disposition: Disposition, reply: Reply) -> Self {
        Self { live, id, disposition, reply }
    }

    /// The message is on disk: the client hears 250.
    pub fn stored(self, proof: &impl ProofOfStorage, now: Timestamp, outbox: &mut Outbox) -> Step {
        if *proof.id() != self.id {
            return self.not_stored(out_of_order(), now, outbox);
        }
        self.taken(now, outbox)
    }

    /// A message that a sink discards was dropped, and the shell has recorded that.
    ///
    /// For any other disposition this is no proof of anything, and the client hears 451.
    pub fn discarded(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        match self.disposition {
            Disposition::Discard => self.taken(now, outbox),
            Disposition::Accept | Disposition::Hold(_) => self.not_stored(out_of_order(), now, outbox),
        }
    }

    /// The message could not be stored: the client hears why and keeps it.
    pub fn not_stored(self, reply: Reply, now: Timestamp, outbox: &mut Outbox) -> Step {
        let reply = if reply.is_refusal() { reply } else { out_of_order() };
        outbox.flush_now = true;
        self.live.answer(Answer { reply, tally: Tally::Work, line: b".", must_close: false }, now, outbox)
    }

    fn taken(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        let Self { mut live, reply, .. } = self;
        live.idle = 0;
        let facts = live.facts_mut();
        facts.messages = facts.messages.saturating_add(1);
        outbox.flush_now = true;
        live.answer(Answer { reply, tally: Tally::Work, line: b".", must_close: false }, now, outbox)
    }
}
