//! The servers around the one under test: Basin's own session machine with an unreliable will.

use core::time::Duration;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::{Decision, EventKind, EventSet, Later, Question, Verdict};
use basin_core::mail::Message;
use basin_core::reply::Reply;
use basin_core::smtp::{Disposition, ListenerPolicy};
use basin_core::time::Timestamp;
use basin_core::transport::{Directory, Tables};

use crate::dice::Dice;
use crate::ledger::Ledger;
use crate::link::{Acceptor, Proof};
use crate::sinks::{BLOB, VERB, expanded};

/// A server that is played.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) domain: String,
    pub(crate) policy: Arc<ListenerPolicy>,
    /// Of 1,000 commands, those that are refused for now, and for good.
    pub(crate) refuses: (u64, u64),
    /// When it cannot be connected to.
    pub(crate) outages: Vec<(Timestamp, Timestamp)>,
}

/// Every domain that has mailboxes; the first is that of the server under test.
pub(crate) const DOMAINS: [&str; 4] = ["node.example", "one.example", "two.example", "three.example"];

/// Names that exist at every peer; `bad` does not, and is written to all the same.
pub(crate) const USERS: [&str; 3] = ["a", "b", "c"];

impl Peer {
    pub(crate) fn new(domain: &str, dice: &mut Dice, start: Timestamp, end: Timestamp) -> Self {
        let tables = Tables {
            domains: vec![domain.to_owned()],
            mailboxes: USERS.iter().flat_map(|user| mailboxes(user, domain)).collect(),
            aliases: Vec::new(),
            postmaster: "a".into(),
            catch_all: Vec::new(),
            host_names: Vec::new(),
        };
        let directory = Arc::new(Directory::new(tables).unwrap_or_default());
        let mut policy = ListenerPolicy::new("mx", format!("mx.{domain}"), directory);
        if dice.strikes(200) {
            policy.recipients_max = 1;
        }
        let span = end.since(start).as_secs();
        let mut outages = Vec::new();
        for _ in 0..dice.below(3) {
            let from = start.plus(Duration::from_secs(dice.below(span)));
            // Some never come back: their mail has to expire.
            let length = if dice.strikes(150) { span * 10 } else { dice.below(span / 2) };
            outages.push((from, from.plus(Duration::from_secs(length))));
        }
        let refuses = if dice.strikes(500) { (0, 0) } else { (dice.below(150), dice.below(40)) };
        Self { domain: domain.to_owned(), policy: Arc::new(policy), refuses, outages }
    }

    pub(crate) fn is_up(&self, now: Timestamp) -> bool {
        !self.outages.iter().any(|(from, to)| (*from..*to).contains(&now))
    }
}

/// The mailbox of a user, and those of what sinks make of users anywhere.
pub(crate) fn mailboxes(user: &str, domain: &str) -> Vec<(Address, String)> {
    let expanded = DOMAINS.iter().flat_map(|other| expanded(user, other));
    let expanded = expanded.filter(|one| one.ascii_domain().is_some_and(|own| own == domain));
    address(user, domain).into_iter().chain(expanded).map(|address| (address, user.to_owned())).collect()
}

/// An address out of names that are known to be right.
pub(crate) fn address(user: &str, domain: &str) -> Option<Address> {
    Address::parse(&format!("{user}@{domain}")).ok()
}

/// A peer while one connection to it goes on.
pub(crate) struct Played<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) ledger: &'a mut Ledger,
}

impl Acceptor for Played<'_> {
    fn interest(&self) -> EventSet {
        [EventKind::OnInboundCommand, EventKind::OnInboundInput, EventKind::OnEndOfData].into_iter().collect()
    }

    fn tell(&mut self, _: Question) {}

    fn decide(&mut self, question: Question, dice: &mut Dice) -> Decision {
        let (later, never) = self.peer.refuses;
        let is_own = question.overlay.command.as_ref().is_some_and(|command| command.keyword == VERB);
        if question.occasion.event == EventKind::OnInboundInput {
            if question.occasion.input.reveal() != BLOB {
                self.ledger.find(format!("a peer got {:?} in place of a blob", question.occasion.input.reveal()));
            }
            self.ledger.counts.blobs += 1;
            return decided(Verdict::Consume(Reply::new(250, None, "thanks")), question);
        }
        if is_own && dice.strikes(700) {
            return decided(Verdict::AwaitOctets(Reply::new(334, None, "go on"), BLOB.len() as u64), question);
        }
        let verdict = if dice.strikes(later) {
            let reply = if dice.strikes(300) {
                Reply::with(421, 3, 2, "closing")
            } else {
                Reply::with(451, 7, 1, "greylisted")
            };
            Verdict::Defer(Later { reply, after: Duration::ZERO })
        } else if dice.strikes(never) {
            Verdict::Refuse(Reply::with(554, 7, 1, "not wanted"))
        } else {
            Verdict::Next
        };
        decided(verdict, question)
    }

    fn store(&mut self, message: Message, _: Disposition) -> Result<Proof, Reply> {
        // One line of this server and one of the server under test, and of it only one.
        let traces =
            message.header.all("Received").filter(|field| field.value().contains("by mx.node.example")).count();
        let is_notification = message.envelope.sender.is_none();
        if traces > 1 || message.header.all("Received").count() > 2 {
            self.ledger
                .find(format!("{traces} Received fields of the server under test (null sender: {is_notification})"));
        }
        let body = message.body.read(0, usize::MAX).unwrap_or_default();
        for recipient in &message.envelope.recipients {
            self.ledger.deliver(&message, &body, &recipient.address.to_string());
        }
        Ok(Proof::Played(message.id))
    }
}

fn decided(verdict: Verdict, question: Question) -> Decision {
    Decision { verdict, by: Some("whim".into()), overlay: question.overlay, failures: Vec::new(), is_heard: true }
}
