//! What sinks hear of a visit, and how they are asked.

use std::sync::Arc;

use basin_core::event::{Decision, EventKind, EventSet, Question};
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
        self.ask.loaded().registry.outbound_interest()
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
        if !self.ask.interest().has(EventKind::OnDnsResolve) {
            return Ok(None);
        }
        self.decide(Question::of_hosts(domain, now())).await.into_hosts()
    }
}
