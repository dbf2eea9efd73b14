//! A session whose message is being stored.

use crate::mail::MessageId;
use crate::reply::Reply;
use crate::smtp::carry_out::{Answer, out_of_order};
use crate::smtp::intent::Tally;
use crate::smtp::live::Live;
use crate::smtp::outbox::{CONTENT, Outbox};
use crate::smtp::session::Step;
use crate::time::Timestamp;
use crate::transport::{Stage, State};

/// What becomes of a message that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It goes its way.
    Accept,
    /// It is kept until an operator releases it; the text says why.
    Hold(String),
    /// It is dropped without notification, by a sink with the grant `discard`. Its envelope and header are
    /// stored all the same before the client hears 250: a message that was acknowledged leaves a trace on the
    /// disk, whatever became of it.
    Discard,
}

impl Disposition {
    /// The state that the message is stored with.
    pub fn state(&self) -> State {
        let stage = match self {
            Self::Accept => Stage::Submission,
            Self::Hold(reason) => Stage::Held { reason: reason.clone(), then: Box::new(Stage::Submission) },
            Self::Discard => Stage::Discarded,
        };
        State { stage, ..State::default() }
    }

    /// The word that logs use.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Hold(_) => "hold",
            Self::Discard => "discard",
        }
    }
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
    pub(super) live: Box<Live>,
    id: MessageId,
    /// What the client hears before the reply, where each recipient has its own.
    before: Vec<Reply>,
    reply: Reply,
}

impl Storing {
    pub(super) fn new(live: Box<Live>, id: MessageId, before: Vec<Reply>, reply: Reply) -> Self {
        Self { live, id, before, reply }
    }

    /// The message is on disk: the client hears 250.
    pub fn stored(self, proof: &impl ProofOfStorage, now: Timestamp, outbox: &mut Outbox) -> Step {
        if *proof.id() != self.id {
            return self.not_stored(out_of_order(), now, outbox);
        }
        self.taken(now, outbox)
    }

    /// The message could not be stored: the client hears why and keeps it.
    pub fn not_stored(self, reply: Reply, now: Timestamp, outbox: &mut Outbox) -> Step {
        let reply = if reply.is_refusal() { reply } else { out_of_order() };
        outbox.flush_now = true;
        self.live.answer(Answer { reply, tally: Tally::Work, line: CONTENT, must_close: false }, now, outbox)
    }

    fn taken(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        let Self { mut live, before, reply, .. } = self;
        before.iter().for_each(|reply| live.send(reply, CONTENT, now, outbox));
        live.idle = 0;
        let facts = live.facts_mut();
        facts.messages = facts.messages.saturating_add(1);
        outbox.flush_now = true;
        live.answer(Answer { reply, tally: Tally::Work, line: CONTENT, must_close: false }, now, outbox)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::EventSet;
    use crate::smtp::policy::{Connection, ListenerPolicy};

    const NOW: Timestamp = Timestamp::from_seconds(0);

    struct Proof(MessageId);

    impl ProofOfStorage for Proof {
        fn id(&self) -> &MessageId {
            &self.0
        }
    }

    fn id(text: &str) -> MessageId {
        MessageId::parse(text).expect("an id")
    }

    fn storing() -> Storing {
        let connection = Connection {
            id: "s".into(),
            client: "192.0.2.7:4".parse().expect("an address"),
            server: "192.0.2.1:25".parse().expect("an address"),
            started: NOW,
            random: 0,
            client_name: None,
            tls: None,
        };
        let policy = ListenerPolicy::new("mx", "basin.example", Arc::default());
        let live = Box::new(Live::new(Arc::new(policy), connection, EventSet::default()));
        Storing::new(live, id("1-1"), Vec::new(), Reply::with(250, 0, 0, "queued"))
    }

    fn said(act: impl FnOnce(&mut Outbox) -> Step) -> String {
        let mut outbox = Outbox::new();
        assert!(matches!(act(&mut outbox), Step::Read(_)));
        String::from_utf8(outbox.take_bytes()).expect("ASCII").chars().take(9).collect()
    }

    #[test]
    fn only_the_proof_of_this_message_earns_250() {
        assert_eq!(said(|outbox| storing().stored(&Proof(id("1-1")), NOW, outbox)), "250 2.0.0");
        assert_eq!(said(|outbox| storing().stored(&Proof(id("1-2")), NOW, outbox)), "451 4.3.0");
    }

    #[test]
    fn a_fault_of_the_storage_is_never_a_success() {
        let full = Reply::with(452, 3, 1, "full");
        assert_eq!(said(|outbox| storing().not_stored(full, NOW, outbox)), "452 4.3.1");
        let odd = Reply::with(250, 0, 0, "fine");
        assert_eq!(said(|outbox| storing().not_stored(odd, NOW, outbox)), "451 4.3.0");
    }
}
