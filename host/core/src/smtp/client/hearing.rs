//! What sinks hear of a session, and the questions that are put to them.

use std::sync::Arc;

use crate::event::{EventKind, EventSet, Occasion, OutCommand, OutFacts, OutSession, Overlay, Question, ResponseFacts};
use crate::mail::{BySink, RecipientId};
use crate::reply::Reply;
use crate::smtp::client::live::Live;
use crate::smtp::client::outgoing::Outgoing;
use crate::time::Timestamp;

/// What sinks hear of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hearing {
    /// The connection, as sinks see it.
    pub session: Arc<OutSession>,
    /// Which attempt it is for the message that the session was begun for, from 1.
    pub attempt: u32,
    /// Events that somebody is bound to. No other is raised.
    pub events: EventSet,
    /// Verbs whose replies somebody may judge, in upper case. A group of commands ends behind the last of each, so
    /// that nothing has been said that the judgement could make untrue.
    pub judged: Vec<String>,
}

/// A reply, and what it counts as.
#[derive(Debug)]
pub(super) struct Heard {
    /// What the other server said. It alone tells what that server does next.
    pub(super) real: Reply,
    /// What a sink made of it.
    pub(super) judged: Reply,
    /// Which sink did.
    pub(super) by: Option<BySink>,
}

impl Heard {
    /// A reply that counts as what it is.
    pub(super) fn of(reply: Reply) -> Self {
        Self { judged: reply.clone(), real: reply, by: None }
    }

    /// What a refusal comes to, and whose word it is.
    pub(super) fn refusal(&self) -> Refusal {
        let by = self.by.clone().map(|by| BySink { said: Some(self.real.shortened()), ..by });
        Refusal { reply: self.judged.shortened(), by }
    }

    /// The sink that ends the session over it. It judged no more than a refusal: a reply that lets things go on says
    /// nothing else behind its word.
    pub(super) fn dropper(&self) -> Option<BySink> {
        let said = self.real.is_refusal().then(|| self.real.shortened());
        self.by.clone().map(|by| BySink { said, ..by })
    }
}

/// Why a recipient is not taken.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) reply: Reply,
    /// The sink whose word it is.
    pub(super) by: Option<BySink>,
}

impl Refusal {
    /// The word of a sink that did not wait for an answer.
    pub(super) fn of_sink(binding: &str, event: EventKind, reply: &Reply) -> Self {
        let sink = || BySink { binding: binding.to_owned(), event: event.name().to_owned(), ..BySink::default() };
        let by = (!binding.is_empty()).then(sink);
        Self { reply: reply.shortened(), by }
    }

    /// A word of the server's, or this one's about it.
    pub(super) fn of(reply: &Reply) -> Self {
        Self { reply: reply.shortened(), by: None }
    }
}

/// What a question is about.
pub(super) struct Topic<'a> {
    pub(super) event: EventKind,
    pub(super) outgoing: Option<&'a Outgoing>,
    pub(super) recipient: Option<RecipientId>,
    /// Whom the other server took, where that is known: the message is shown with these recipients.
    pub(super) accepted: Option<Vec<RecipientId>>,
    /// The command that is about to leave.
    pub(super) line: Option<&'a str>,
    /// The reply that came.
    pub(super) response: Option<ResponseFacts>,
}

impl Live {
    /// Whether somebody is bound to the event.
    pub(super) fn hears(&self, event: EventKind) -> bool {
        self.policy.hearing.as_ref().is_some_and(|hearing| hearing.events.has(event))
    }

    /// Whether somebody may judge the replies to a verb.
    pub(super) fn is_judged(&self, verb: &str) -> bool {
        self.policy.hearing.as_ref().is_some_and(|hearing| hearing.judged.iter().any(|judged| judged == verb))
    }

    /// Puts a question to the sinks.
    pub(super) fn question(&mut self, topic: Topic<'_>, now: Timestamp) -> Box<Question> {
        let Topic { event, outgoing, recipient, accepted, line, response } = topic;
        let hearing = self.policy.hearing.clone().unwrap_or_default();
        let rounds = self.first.values().map(|sent| sent.rounds).sum();
        if response.is_some() {
            self.replies_raised = self.replies_raised.saturating_add(1);
        } else if rounds == 0 {
            self.commands_raised = self.commands_raised.saturating_add(1);
        }
        let number = if response.is_some() { self.replies_raised } else { self.commands_raised };
        let facts = OutFacts {
            attempt: outgoing.map_or(hearing.attempt, |outgoing| outgoing.attempt),
            session: hearing.session.clone(),
            banner: self.banner.clone(),
            extensions: self.extensions.to_vec(),
            tls: self.tls.as_ref().map(|tls| tls.version.clone()),
            first: self.first.clone(),
            state_changes: self.state_changes,
        };
        // Between a 3xx and its octets nobody else has a word.
        let only = self.blob_due.clone().filter(|_| response.is_none());
        let occasion = Occasion {
            raised: if response.is_some() { 0 } else { rounds },
            idempotency_key: format!("{}/{number}/{event}", hearing.session.id),
            native_response: response.as_ref().map(|response| response.reply.clone()),
            recipient,
            outbound: Some(Arc::new(facts)),
            response: response.map(Arc::new),
            ..Occasion::of(event, now)
        };
        let mut message = outgoing.and_then(|outgoing| outgoing.subject.as_deref().cloned());
        if let (Some(message), Some(accepted)) = (&mut message, accepted) {
            Arc::make_mut(&mut message.envelope).recipients.retain(|one| accepted.contains(&one.id));
        }
        let overlay = Overlay {
            message,
            out_command: line.map(|line| OutCommand::new(line, self.extensions.clone())),
            session_bag: self.bag.clone(),
            ..Overlay::default()
        };
        Box::new(Question { occasion: Arc::new(occasion), overlay, can_fail: true, only, rest: None })
    }
}
