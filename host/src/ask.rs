//! The loop that drives a chain of sinks: the one place where something waits for a sink's answer.

mod later;
mod tables;
mod timed;

use core::time::Duration;
use std::sync::Arc;

use arc_swap::ArcSwap;
use basin_core::event::{
    Answer, Binding, ChainStep, Decision, EventKind, EventSet, Failure, FailureKind, Heard, Overlay, Question,
    SinkEntry, Told,
};
use basin_core::mail::{Message, MessageId};
use basin_sinks::{CallReport, CallRequest, Component, Engine, Instances, Scopes, SinkHost, Usage};
use tokio::time::{Instant, timeout};

use crate::ask::later::{Decided, Later, Notice};
use crate::clock::now;
use crate::control::{Activity, Call};
use crate::registry::Loaded;
use crate::sink_tables::SinkTables;
use crate::telemetry::Metrics;
use crate::telemetry::sinks::SinkCalled;
use crate::tracking::{Step, Tracking};
use tables::Written;

/// What all sinks of one transaction may still use.
///
/// A chain is bounded by the deadlines of its calls; this bounds the sum over the commands of a message, so
/// that an answer comes while the client still waits for it.
#[derive(Debug)]
pub struct SinkTime {
    whole: Duration,
    left: Duration,
    message: Option<MessageId>,
    /// What sinks keep of the session, where there is one.
    instances: Option<Instances>,
}

impl SinkTime {
    /// Time for each transaction.
    pub fn new(whole: Duration) -> Self {
        Self { whole, left: whole, message: None, instances: None }
    }

    // What is left for a question; another message, or none, begins anew.
    fn of(&mut self, question: &Question) -> &mut Duration {
        let message = question.overlay.message.as_ref().map(|message| &message.id);
        if message.is_none() || message != self.message.as_ref() {
            self.left = self.whole;
            self.message = message.cloned();
        }
        &mut self.left
    }

    // What calls about this question may keep instances for.
    fn scopes(&mut self, question: &Question) -> Option<Scopes> {
        let message = question.overlay.message.as_ref().map(|message| &message.id);
        self.instances.as_mut().map(|instances| instances.scopes(message))
    }

    fn end_transaction(&mut self) {
        self.instances.iter_mut().for_each(Instances::end_transaction);
    }
}

/// Asks sinks.
pub struct Ask {
    engine: Engine,
    loaded: Arc<ArcSwap<Loaded>>,
    host: Arc<dyn SinkHost>,
    activity: Activity,
    metrics: Arc<Metrics>,
    transaction_time: Duration,
    later: Later,
    tracking: Tracking,
    tables: SinkTables,
}

/// What [`Ask`] is made of.
pub struct Parts {
    /// Calls sinks.
    pub engine: Engine,
    /// The registry in force.
    pub loaded: Arc<ArcSwap<Loaded>>,
    /// The server as sinks see it.
    pub host: Arc<dyn SinkHost>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Time of all sinks of one transaction.
    pub transaction_time: Duration,
    /// Most notices that wait.
    pub waiting_notices: usize,
    /// Where calls about messages are taken down.
    pub tracking: Tracking,
    /// What sinks keep.
    pub tables: SinkTables,
}

impl Ask {
    /// Starts the worker that tells notices; it ends with the runtime.
    pub fn start(parts: Parts) -> Arc<Self> {
        let (later, queue) = Later::with_room_for(parts.waiting_notices);
        let ask = Arc::new(Self {
            engine: parts.engine,
            loaded: parts.loaded,
            host: parts.host,
            activity: Activity::default(),
            metrics: parts.metrics,
            transaction_time: parts.transaction_time,
            later,
            tracking: parts.tracking,
            tables: parts.tables,
        });
        tokio::spawn(queue.tell(ask.clone()));
        ask
    }

    /// The events that anybody is bound to now.
    pub fn interest(&self) -> EventSet {
        self.loaded.load().registry.interest()
    }

    /// The registry in force.
    pub fn loaded(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    /// What the bindings did.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Time of all sinks of one transaction.
    pub fn transaction_time(&self) -> Duration {
        self.transaction_time
    }

    /// Notices that were taken and are not told yet.
    pub fn notices_waiting(&self) -> usize {
        self.later.waiting()
    }

    /// Time for the transactions of a session, and the place for what its sinks keep.
    pub fn session_time(&self) -> SinkTime {
        SinkTime { instances: Some(self.engine.instances()), ..SinkTime::new(self.transaction_time) }
    }

    /// Asks the sinks of a question, one after the other.
    pub async fn decide(&self, question: Question, time: &mut SinkTime) -> Decision {
        self.attempt(question, time, 0).await
    }

    // `conflicts` is how often other calls were faster with what the chain wanted to write.
    async fn attempt(&self, mut question: Question, time: &mut SinkTime, conflicts: u32) -> Decision {
        if !self.begins_anew(&question).await {
            return Decision::unwritten(&question);
        }
        let before = question.clone();
        let scopes = time.scopes(&question);
        let left = time.of(&question);
        // One generation for the whole chain: a reload meets the next one.
        let loaded = self.loaded.load_full();
        let event = question.occasion.event;
        let firings = |binding: &str| self.activity.firings(binding);
        let heard = match Heard::of(&loaded.registry, &question, &firings) {
            Ok(heard) => heard,
            Err(binding) => return Decision::without(binding, question.overlay, question.can_fail),
        };
        let Overlay { arrived, message, .. } = &mut question.overlay;
        *arrived = arrived.take().or_else(|| as_it_is(message.as_ref(), event));
        let (mut step, told) = heard.begin(question);
        let (decision, shadows) = loop {
            match step {
                ChainStep::Decided(decision, shadows) => break (*decision, shadows),
                ChainStep::Ask(chain, asked, overlay) => {
                    let occasion = &chain.occasion().clone();
                    let asking = Asking { occasion, overlay, is_read_only: false, scopes: scopes.as_ref() };
                    let started = Instant::now();
                    let check = |answer| chain.checked(answer);
                    let answer = self.call(&loaded, &asked.binding, asking, *left, check).await;
                    *left = left.saturating_sub(started.elapsed());
                    step = chain.answer(answer);
                }
            }
        };
        let decision = match self.write_tables(decision, before, conflicts).await {
            Written::Decided(decision) => decision,
            Written::Again(question) => return Box::pin(self.attempt(question, time, conflicts + 1)).await,
        };
        if event == EventKind::OnEndOfData {
            // The last that sinks hear of it while its session waits; what they kept for it need not wait longer.
            time.end_transaction();
        }
        let Told { observers, about: occasion } = told.once_decided(&decision.verdict);
        if !observers.is_empty() || !shadows.is_empty() {
            let decided = Some(Decided { verdict: decision.verdict.clone(), by: decision.by.clone() });
            let overlay = decision.overlay.clone();
            self.tell_later(Notice { occasion, overlay, decided, told: observers, shadows, loaded, scopes });
        }
        decision
    }

    /// Tells the sinks of a notice, later; nobody waits for them.
    pub fn tell(&self, question: Question, time: &mut SinkTime) {
        let loaded = self.loaded.load_full();
        let firings = |binding: &str| self.activity.firings(binding);
        let (event, at) = (question.occasion.event, question.occasion.now);
        let told = loaded.registry.observers(event, &question.facts(), at, &firings);
        if !told.is_empty() {
            let scopes = time.scopes(&question);
            let Question { occasion, overlay, .. } = question;
            let shadows = Vec::new();
            self.tell_later(Notice { occasion, overlay, decided: None, told, shadows, loaded, scopes });
        }
    }

    fn tell_later(&self, notice: Notice) {
        if !self.later.take(notice) {
            self.metrics.notices_dropped.inc();
        }
    }

    // `check` has the last word on whether an answer is one that can be carried out.
    async fn call(
        &self,
        loaded: &Loaded,
        binding: &Arc<Binding>,
        question: Asking<'_>,
        left: Duration,
        check: impl FnOnce(Answer) -> Answer,
    ) -> Answer {
        let event = question.occasion.event;
        let session = question.occasion.session_id().map(str::to_owned);
        let message = question.overlay.message.as_ref().map(|message| message.id.clone());
        let tracked = question.occasion.track.as_ref().map(|track| track.message_id.clone()).unwrap_or_default();
        let report = match (loaded.registry.sink(&binding.sink), loaded.component(binding, event)) {
            (Some(sink), Ok(component)) => {
                Box::pin(self.call_component(sink, component, binding, question, left)).await
            }
            (_, Err(failure)) => failed(failure),
            (None, Ok(_)) => failed(failure(FailureKind::Load, "the sink is not in the registry".to_owned())),
        };
        let report = CallReport { answer: check(report.answer), ..report };
        self.activity.record(Call {
            binding: &binding.name,
            event,
            at: now(),
            session: session.as_deref(),
            message: message.as_ref().map(MessageId::as_str),
            answer: &report.answer,
            usage: &report.usage,
        });
        let called = SinkCalled {
            binding,
            event,
            session: session.as_deref().unwrap_or_default(),
            message: message.as_ref().map_or(tracked.as_str(), MessageId::as_str),
            report: &report,
        };
        called.record(&self.metrics);
        if let Some(id) = &message {
            self.tracking.note(id, &sink_step(binding, event, session.as_deref(), &report));
        }
        report.answer
    }

    async fn call_component(
        &self,
        sink: &Arc<SinkEntry>,
        component: &Arc<Component>,
        binding: &Arc<Binding>,
        question: Asking<'_>,
        left: Duration,
    ) -> CallReport {
        let request = CallRequest {
            sink,
            component,
            binding,
            occasion: question.occasion,
            overlay: question.overlay,
            is_read_only: question.is_read_only,
            scopes: question.scopes,
            host: &self.host,
        };
        match timeout(left, self.engine.call(request)).await {
            Ok(report) => report,
            Err(_) => {
                let seconds = self.transaction_time.as_secs_f64();
                let detail = format!("the sinks of this transaction used up their {seconds} s together");
                failed(failure(FailureKind::Deadline, detail))
            }
        }
    }
}

/// A question on its way to one sink.
struct Asking<'a> {
    occasion: &'a Arc<basin_core::event::Occasion>,
    overlay: Box<Overlay>,
    is_read_only: bool,
    scopes: Option<&'a Scopes>,
}

// What is proved of a message is proved of what the chain begins with; from a session it comes as the client sent it.
fn as_it_is(message: Option<&Message>, event: EventKind) -> Option<Arc<Message>> {
    message.filter(|_| event.has_content()).cloned().map(Arc::new)
}

// What a call cost, for the story of its message.
fn sink_step<'a>(binding: &'a Binding, event: EventKind, session: Option<&'a str>, report: &'a CallReport) -> Step<'a> {
    let (verdict, failure) = match &report.answer {
        Answer::Verdict(verdict, _) => (verdict.word(), None),
        Answer::Failed(failure) => ("failed", Some(failure.kind.word().into())),
    };
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Step::Sink {
        sink: binding.sink.as_str().into(),
        binding: binding.name.as_str().into(),
        event: event.name().into(),
        verdict: verdict.into(),
        failure,
        fuel: report.usage.fuel,
        micros: micros(report.usage.wall),
        queued_micros: micros(report.usage.queued),
        memory: report.usage.memory,
        session: session.map(Into::into),
    }
}

fn failed(failure: Failure) -> CallReport {
    CallReport {
        answer: Answer::Failed(failure),
        usage: Usage::default(),
        stdout: String::new(),
        stderr: String::new(),
    }
}

fn failure(kind: FailureKind, detail: String) -> Failure {
    Failure { kind, detail, backtrace: Vec::new(), stderr: String::new(), fuel: 0 }
}

#[cfg(test)]
mod tests {
    use basin_core::event::Occasion;
    use basin_core::mail::{Arrival, Envelope, Origin};
    use basin_core::time::Timestamp;

    use super::*;

    fn question(message: Option<u64>) -> Question {
        let arrival = Arrival {
            origin: Origin::Smtp,
            at: Timestamp::default(),
            listener: String::new(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: true,
            session: None,
            depth: 0,
            vouched: Default::default(),
        };
        let message = message
            .map(|number| Message::new(MessageId::new(Timestamp::default(), number), arrival, Envelope::new(None)));
        let occasion = Occasion::of(EventKind::OnInboundCommand, Timestamp::default());
        let overlay = Overlay { message, ..Overlay::default() };
        Question { occasion: Arc::new(occasion), overlay, can_fail: true, only: None, rest: None }
    }

    #[test]
    fn time_is_shared_by_the_commands_of_one_message_and_new_for_the_next() {
        let minute = Duration::from_secs(60);
        let mut time = SinkTime::new(minute);
        *time.of(&question(Some(1))) = Duration::from_secs(5);
        assert_eq!(*time.of(&question(Some(1))), Duration::from_secs(5));
        assert_eq!(*time.of(&question(Some(2))), minute);
        *time.of(&question(None)) = Duration::ZERO;
        assert_eq!(*time.of(&question(None)), minute, "commands outside of a transaction share nothing");
    }
}
