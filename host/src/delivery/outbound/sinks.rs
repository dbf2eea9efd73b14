//! What sinks hear of a visit, and how they are asked.

use std::sync::Arc;

use basin_core::event::{
    Decision, DestinationFacts, EventKind, EventSet, Occasion, Overlay, Question, Verdict, outbound::STANDARD_VERBS,
};
use basin_core::reply::Reply;
use basin_core::transport::HostAddress;

use crate::ask::{Ask, SinkTime};
use crate::clock::now;

/// The sinks of one visit.
pub(super) struct Sinks {
    ask: Arc<Ask>,
    time: SinkTime,
}

impl Sinks {
    /// Nobody has been asked yet.
    pub(super) fn new(ask: Arc<Ask>) -> Self {
        let time = SinkTime::new(ask.transaction_time());
        Self { ask, time }
    }

    /// The events of a dialogue that somebody is bound to now, and the verbs whose replies somebody may judge; `None`
    /// where nobody is bound to any. A connection keeps what it began with.
    pub(super) fn interest(&self) -> Option<(EventSet, Vec<String>)> {
        let interest = self.ask.interest();
        let is_heard = |event: &EventKind| event.is_outbound() && interest.has(*event);
        let events: EventSet = EventKind::ALL.iter().copied().filter(is_heard).collect();
        if events == EventSet::default() {
            return None;
        }
        let loaded = self.ask.loaded();
        let judged = STANDARD_VERBS.iter().filter(|verb| loaded.registry.judges(verb));
        Some((events, judged.map(|verb| (*verb).to_owned()).collect()))
    }

    /// Asks the sinks of a question.
    pub(super) async fn decide(&mut self, question: Question) -> Decision {
        self.ask.decide(question, &mut self.time).await
    }

    /// What a sink answers in place of DNS.
    ///
    /// # Errors
    /// A sink failed, or has reasons to wait.
    pub(super) async fn hosts(&mut self, domain: &str) -> Result<Option<Vec<HostAddress>>, Reply> {
        let event = EventKind::OnDnsResolve;
        if !self.ask.interest().has(event) {
            return Ok(None);
        }
        let facts = DestinationFacts { domain: domain.to_owned(), ..DestinationFacts::default() };
        let at = now();
        let occasion = Occasion {
            idempotency_key: format!("{domain}/{}/{event}", at.to_rfc3339()),
            destination: Some(Arc::new(facts)),
            ..Occasion::of(event, at)
        };
        let overlay = Overlay::default();
        let question = Question { occasion: Arc::new(occasion), overlay, can_fail: true, only: None, rest: None };
        let verdict = self.decide(question).await.verdict;
        if let Verdict::Hosts(hosts) = verdict {
            return Ok(Some(hosts));
        }
        // What is not to be had now is not to be had from DNS either: the sink is there because DNS is wrong.
        verdict.reply().map_or(Ok(None), |reply| Err(reply.clone()))
    }
}
