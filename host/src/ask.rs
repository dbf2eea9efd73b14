//! The loop that drives a chain of sinks: the one place where something waits for a sink's answer.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use basin_core::event::{
    Answer, Asked, Binding, Chain, ChainStep, Decision, EventSet, Failure, FailureKind, Overlay, Question, SinkEntry,
};
use basin_core::mail::{Message, MessageId};
use basin_sinks::{CallReport, CallRequest, Component, Engine, SinkHost, Usage};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use crate::clock::now;
use crate::control::{Activity, Call};
use crate::registry::Loaded;
use crate::telemetry::Metrics;
use crate::telemetry::sinks::SinkCalled;
use crate::tracking::{Step, Tracking};

/// Most notices that are handled at once. Nobody waits for them, so they get a small share of the machine.
const NOTICES_AT_ONCE: usize = 4;

/// Memory of the notices that wait, in octets. Each may hold a message with its body, or its open file.
const NOTICES_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Memory of a notice without a message, in octets; a round number above what is usual.
const NOTICE_BYTES: u64 = 4 * 1024;

/// What all sinks of one transaction may still use.
///
/// A chain is bounded by the deadlines of its calls; this bounds the sum over the commands of a message, so
/// that an answer comes while the client still waits for it.
#[derive(Debug)]
pub struct SinkTime {
    whole: Duration,
    left: Duration,
    message: Option<MessageId>,
}

impl SinkTime {
    /// Time for each transaction.
    pub fn new(whole: Duration) -> Self {
        Self { whole, left: whole, message: None }
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
}

/// Asks sinks.
pub struct Ask {
    engine: Engine,
    loaded: Arc<ArcSwap<Loaded>>,
    host: Arc<dyn SinkHost>,
    activity: Activity,
    metrics: Arc<Metrics>,
    transaction_time: Duration,
    notices: mpsc::Sender<Notice>,
    waiting: Arc<Backlog>,
    tracking: Tracking,
}

/// Something that was decided, to be told to those who observe.
struct Notice {
    question: Question,
    told: Vec<Asked>,
    loaded: Arc<Loaded>,
    place: Place,
}

/// How much waits to be told.
#[derive(Debug, Default)]
struct Backlog {
    notices: AtomicUsize,
    bytes: AtomicU64,
}

/// A notice's share of the backlog; given back when dropped, however that comes about.
struct Place {
    backlog: Arc<Backlog>,
    bytes: u64,
}

impl Place {
    /// Takes a place, unless so much waits that memory is at stake.
    fn take(backlog: &Arc<Backlog>, bytes: u64) -> Option<Self> {
        let place = Self { backlog: backlog.clone(), bytes };
        backlog.notices.fetch_add(1, Ordering::Relaxed);
        let before = backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
        // One notice is let in whatever its size, or a large message would never be told of.
        (before == 0 || before.saturating_add(bytes) <= NOTICES_BYTES_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.backlog.notices.fetch_sub(1, Ordering::Relaxed);
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
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
}

impl Ask {
    /// Starts the worker that tells notices; it ends with the runtime.
    pub fn start(parts: Parts) -> Arc<Self> {
        let (notices, waiting) = mpsc::channel(parts.waiting_notices);
        let ask = Arc::new(Self {
            engine: parts.engine,
            loaded: parts.loaded,
            host: parts.host,
            activity: Activity::default(),
            metrics: parts.metrics,
            transaction_time: parts.transaction_time,
            notices,
            waiting: Arc::default(),
            tracking: parts.tracking,
        });
        tokio::spawn(tell_notices(ask.clone(), waiting));
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
        self.waiting.notices.load(Ordering::Relaxed)
    }

    /// Asks the sinks of a question, one after the other.
    pub async fn decide(&self, question: Question, time: &mut SinkTime) -> Decision {
        let left = time.of(&question);
        // One generation for the whole chain: a reload meets the next one.
        let loaded = self.loaded.load_full();
        let event = question.occasion.event;
        let firings = |binding: &str| self.activity.firings(binding);
        let facts = question.facts();
        let plan = loaded.registry.plan(event, &facts, question.occasion.now, &firings);
        let observers = loaded.registry.observers(event, &facts, question.occasion.now, &firings);
        drop(facts);
        let Question { occasion, overlay, can_fail, only } = question;
        let mut step = Chain::start(event, plan, overlay, can_fail);
        let decision = loop {
            match step {
                ChainStep::Decided(decision) => break *decision,
                ChainStep::Ask(chain, asked, overlay) => {
                    let question = Asking { occasion: &occasion, overlay, is_read_only: false };
                    let started = Instant::now();
                    let answer = self.call(&loaded, &asked.binding, question, *left).await;
                    *left = left.saturating_sub(started.elapsed());
                    step = chain.answer(answer);
                }
            }
        };
        if !observers.is_empty() {
            let question = Question { occasion, overlay: decision.overlay.clone(), can_fail, only };
            self.enqueue(question, observers, loaded);
        }
        decision
    }

    /// Tells the sinks of a notice, later; nobody waits for them.
    pub fn tell(&self, question: Question) {
        let loaded = self.loaded.load_full();
        let firings = |binding: &str| self.activity.firings(binding);
        let (event, at) = (question.occasion.event, question.occasion.now);
        let told = loaded.registry.observers(event, &question.facts(), at, &firings);
        if !told.is_empty() {
            self.enqueue(question, told, loaded);
        }
    }

    fn enqueue(&self, question: Question, told: Vec<Asked>, loaded: Arc<Loaded>) {
        let message = question.overlay.message.as_ref().map_or(0, Message::memory_bytes);
        let place = Place::take(&self.waiting, NOTICE_BYTES + message);
        let is_taken =
            place.is_some_and(|place| self.notices.try_send(Notice { question, told, loaded, place }).is_ok());
        if !is_taken {
            self.metrics.notices_dropped.inc();
        }
    }

    async fn call(&self, loaded: &Loaded, binding: &Arc<Binding>, question: Asking<'_>, left: Duration) -> Answer {
        let session = question.occasion.session.clone();
        let message = question.overlay.message.as_ref().map(|message| message.id.clone());
        let report = match (loaded.registry.sink(&binding.sink), loaded.component(binding)) {
            (Some(sink), Ok(component)) => {
                Box::pin(self.call_component(sink, component, binding, question, left)).await
            }
            (_, Err(failure)) => failed(failure),
            (None, Ok(_)) => failed(failure(FailureKind::Load, "the sink is not in the registry".to_owned())),
        };
        self.activity.record(Call {
            binding: &binding.name,
            event: binding.event,
            at: now(),
            session: session.as_ref().map(|session| session.id.as_str()),
            message: message.as_ref().map(MessageId::as_str),
            answer: &report.answer,
            usage: &report.usage,
        });
        let called = SinkCalled {
            binding,
            session: session.as_ref().map_or("", |session| session.id.as_str()),
            message: message.as_ref().map_or("", MessageId::as_str),
            report: &report,
        };
        called.record(&self.metrics);
        if let Some(id) = &message {
            self.tracking.note(id, &sink_step(binding, session.as_ref().map(|session| session.id.as_str()), &report));
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
}

async fn tell_notices(ask: Arc<Ask>, mut notices: mpsc::Receiver<Notice>) {
    let places = Arc::new(Semaphore::new(NOTICES_AT_ONCE));
    while let Some(notice) = notices.recv().await {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let ask = ask.clone();
        tokio::spawn(async move {
            tell_all(&ask, notice).await;
            drop(place);
        });
    }
}

async fn tell_all(ask: &Ask, notice: Notice) {
    let Notice { question, told, loaded, place } = notice;
    for asked in told {
        let mut overlay = Box::new(question.overlay.clone());
        overlay.matched.clone_from(&asked.matched);
        let question = Asking { occasion: &question.occasion, overlay, is_read_only: true };
        // What it answers changes nothing; that it failed is recorded by the call.
        drop(ask.call(&loaded, &asked.binding, question, ask.transaction_time).await);
    }
    drop(place);
}

// What a call cost, for the story of its message.
fn sink_step<'a>(binding: &'a Binding, session: Option<&'a str>, report: &'a CallReport) -> Step<'a> {
    let (verdict, failure) = match &report.answer {
        Answer::Verdict(verdict, _) => (verdict.word(), None),
        Answer::Failed(failure) => ("failed", Some(failure.kind.word().into())),
    };
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Step::Sink {
        sink: binding.sink.as_str().into(),
        binding: binding.name.as_str().into(),
        event: binding.event.name().into(),
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
    use basin_core::event::{EventKind, Occasion};
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
        let occasion = Occasion {
            event: EventKind::OnInboundCommand,
            now: Timestamp::default(),
            raised: 0,
            idempotency_key: String::new(),
            native_response: None,
            session: None,
            line: Vec::new(),
            input: Default::default(),
        };
        let overlay = Overlay { message, ..Overlay::default() };
        Question { occasion: Arc::new(occasion), overlay, can_fail: true, only: None }
    }

    #[test]
    fn notices_wait_within_a_bound_of_memory_and_one_always_fits() {
        let backlog = Arc::new(Backlog::default());
        let large = Place::take(&backlog, NOTICES_BYTES_MAX * 2).expect("the first one fits");
        assert!(Place::take(&backlog, 1).is_none());
        assert_eq!(backlog.notices.load(Ordering::Relaxed), 1, "one that was refused does not count");
        drop(large);
        let _half = Place::take(&backlog, NOTICES_BYTES_MAX / 2).expect("there is room");
        let _other = Place::take(&backlog, NOTICES_BYTES_MAX / 2).expect("there is room");
        assert!(Place::take(&backlog, 1).is_none());
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
