//! One call of one sink.

use core::future::{Future, poll_fn};
use core::panic::AssertUnwindSafe;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::any::Any;
use std::panic::catch_unwind;
use std::time::Instant;

use basin_core::event::{Answer, Budget, EventKind, Failure, FailureKind, Verdict};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use wasmtime::Store;
use wasmtime::component::Resource;

use crate::clock::OwnTime;
use crate::convert::IntoVerdict;
use crate::ended::Ended;
use crate::state::State;
use crate::{CallReport, CallRequest, Component, Engine, Usage, failure, store, verdict};

/// How long a call waits for a free place before it is busy. A client that gets 451 comes back in minutes, so a
/// second of patience is the better answer to a burst.
const QUEUE_WAIT: Duration = Duration::from_secs(1);

/// Waiting that a call may do beside its own time. No grant of this version lets a sink ask the outside world, so what
/// waits is a sink that sleeps on a clock while it holds a place and the client; grants that wait will bring longer
/// times of their own.
const WAIT: Duration = Duration::from_secs(1);

/// What polling a call ended with, when it did not end well.
enum Broken {
    /// wasmtime or the host ended it.
    Ended(wasmtime::Error),
    /// Host code panicked.
    Panicked(Box<dyn Any + Send>),
    /// It waited too long: longer than this, its own time included.
    Late(Duration),
}

impl Engine {
    /// Asks a sink at an event, in a fresh instance, within its budget.
    ///
    /// Never fails itself: what goes wrong is a [`basin_core::event::Failure`] in the report, and the effects of the
    /// call are gone with its store. Dropping the future ends the call without a trace.
    pub async fn call(&self, request: CallRequest<'_>) -> CallReport {
        let asked = Instant::now();
        let event = request.occasion.event;
        let octets = request.overlay.message.as_ref().map_or(0, |message| message.size());
        let budget = Budget::of(event, octets, &request.sink.budget);
        let places = (&request.component.permits, &self.shared.permits);
        let Some(_places) = take_places(places).await else {
            let detail = format!("no free place among {} calls within {} ms", self.calls_max(), QUEUE_WAIT.as_millis());
            return busy(&detail, asked.elapsed());
        };
        let queued = asked.elapsed();
        let time = OwnTime::new();
        let mut state = State::new(
            request.sink.clone(),
            request.binding.clone(),
            request.occasion.clone(),
            request.overlay,
            request.host.clone(),
            budget,
        );
        state.is_read_only |= request.is_read_only;
        let made = store::make(&self.shared.wasmtime, state, time.clone());
        let mut store = match made {
            Ok(store) => store,
            Err(error) => return broken_at_start(&error, asked.elapsed()),
        };
        let mut instantiate = Duration::ZERO;
        let outcome = {
            let running = pin!(run(&mut store, request.component, event, &mut instantiate));
            let limit = budget.time + WAIT;
            timeout(limit, guarded(running, &time)).await.unwrap_or(Err(Broken::Late(limit)))
        };
        let usage = Usage { queued, instantiate, own: time.spent(), wall: asked.elapsed(), ..Usage::default() };
        report(store, outcome, &budget, usage)
    }
}

/// Calls the event's function in a fresh instance; what it answers is checked against event and grants.
async fn run(
    store: &mut Store<State>,
    component: &Component,
    event: EventKind,
    instantiate: &mut Duration,
) -> wasmtime::Result<Verdict> {
    let start = Instant::now();
    let instance = component.pre.instantiate_async(&mut *store).await?;
    *instantiate = start.elapsed();
    let answered = invoke(store, component, &instance, event).await?;
    let verdict = answered.map_err(|said| Ended::new(FailureKind::GuestError, format!("it answered err: {said}")))?;
    let state = store.data();
    let verb = state.overlay.command.as_deref().map(|command| command.keyword.as_str());
    Ok(verdict::check(event, verdict?, &state.sink.grants, verb)?)
}

/// Verdict or the sink's own error, at one event.
type Answered = Result<Result<Verdict, Ended>, String>;

async fn invoke(
    store: &mut Store<State>,
    component: &Component,
    instance: &wasmtime::component::Instance,
    event: EventKind,
) -> wasmtime::Result<Answered> {
    let exports = &component.exports;
    let missing = || Ended::new(FailureKind::Load, format!("it does not export {event}"));
    let message = store.data().overlay.message.is_some();
    let answered = match event {
        EventKind::OnConnect => {
            let guest = exports.on_connect.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, one(), one()).await?)
        }
        EventKind::OnInboundCommand => {
            let guest = exports.on_inbound_command.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, one(), message.then(one), one(), one()).await?)
        }
        EventKind::OnEndOfData => {
            let guest = exports.on_end_of_data.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, one(), one(), one()).await?)
        }
        EventKind::OnReject => {
            let guest = exports.on_reject.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            let occasion = store.data().occasion.clone();
            verdict_of(guest.call_handle(store, one(), &occasion.line, one()).await?)
        }
        EventKind::OnDisconnect => {
            let guest = exports.on_disconnect.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, one(), one()).await?)
        }
        EventKind::OnSubmission => {
            let guest = exports.on_submission.as_ref().ok_or_else(missing)?.load(&mut *store, instance)?;
            verdict_of(guest.call_handle(store, one(), one()).await?)
        }
        EventKind::OnAuthenticated
        | EventKind::OnInboundInput
        | EventKind::OnEndOfHeaders
        | EventKind::OnMaxMsgSize
        | EventKind::OnPreCategorize
        | EventKind::OnCategorize
        | EventKind::OnPostCategorize
        | EventKind::OnRoute
        | EventKind::OnDnsResolve
        | EventKind::OnLocalDelivery
        | EventKind::OnSessionStart
        | EventKind::OnMessageStart
        | EventKind::OnPerRecipient
        | EventKind::OnBeforeData
        | EventKind::OnSessionEnd
        | EventKind::OnServerResponse
        | EventKind::OnNotification
        | EventKind::OnTrack
        | EventKind::OnTimer => {
            return Err(Ended::host(format!("this version of basin does not raise {event}")).into());
        }
    };
    Ok(answered)
}

// The handle of the one session, message, command or occasion of the call.
fn one<T: 'static>() -> Resource<T> {
    Resource::new_own(0)
}

fn verdict_of<V: IntoVerdict>(answer: Result<V, String>) -> Answered {
    answer.map(IntoVerdict::into_verdict)
}

/// Polls the call under a clock, and turns a panic of host code into a failure of this call alone.
async fn guarded(
    mut running: core::pin::Pin<&mut impl Future<Output = wasmtime::Result<Verdict>>>,
    time: &OwnTime,
) -> Result<Verdict, Broken> {
    poll_fn(|context| {
        time.resume();
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context)));
        time.pause();
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(outcome)) => Poll::Ready(outcome.map_err(Broken::Ended)),
            Err(panic) => Poll::Ready(Err(Broken::Panicked(panic))),
        }
    })
    .await
}

fn report(store: Store<State>, outcome: Result<Verdict, Broken>, budget: &Budget, usage: Usage) -> CallReport {
    let left = store.get_fuel().unwrap_or(0);
    // The store goes whatever came of the call: after a trap it could not be entered again anyway.
    let mut state = store.into_data();
    let fuel = budget.fuel.saturating_sub(left).saturating_add(state.tariff.take());
    let (stdout, stderr) = state.wasi().map(|wasi| (wasi.stdout(), wasi.stderr())).unwrap_or_default();
    let usage =
        Usage { fuel, memory: state.limiter.memory(), host_calls: state.tariff.calls(), denied: state.denied, ..usage };
    let answer = match outcome {
        Ok(verdict) => Answer::Verdict(verdict, state.overlay),
        Err(broken) => Answer::Failed(failed(&broken, budget, fuel, &stderr)),
    };
    CallReport { answer, usage, stdout, stderr }
}

fn failed(broken: &Broken, budget: &Budget, fuel: u64, stderr: &str) -> Failure {
    match broken {
        Broken::Ended(error) => failure::of(error, budget, fuel, stderr),
        Broken::Late(limit) => {
            let detail = format!("it waited until {} ms were over, which is the limit for waiting", limit.as_millis());
            failure::plain(FailureKind::Deadline, &detail, fuel, stderr)
        }
        Broken::Panicked(panic) => {
            let said = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            let detail = format!("a function of the host panicked: {said}");
            failure::plain(FailureKind::Host, &detail, fuel, stderr)
        }
    }
}

fn broken_at_start(error: &wasmtime::Error, wall: Duration) -> CallReport {
    let failure = failure::plain(FailureKind::Host, &format!("cannot make a store: {error:#}"), 0, "");
    let usage = Usage { wall, ..Usage::default() };
    CallReport { answer: Answer::Failed(failure), usage, stdout: String::new(), stderr: String::new() }
}

fn busy(detail: &str, queued: Duration) -> CallReport {
    let usage = Usage { wall: queued, queued, ..Usage::default() };
    let answer = Answer::Failed(failure::plain(FailureKind::Busy, detail, 0, ""));
    CallReport { answer, usage, stdout: String::new(), stderr: String::new() }
}

/// A place among the calls of the sink and one among all calls.
async fn take_places<'a>(
    (of_sink, of_all): (&'a Semaphore, &'a Semaphore),
) -> Option<(SemaphorePermit<'a>, SemaphorePermit<'a>)> {
    if let (Ok(sink), Ok(all)) = (of_sink.try_acquire(), of_all.try_acquire()) {
        return Some((sink, all));
    }
    let waiting = async { Some((of_sink.acquire().await.ok()?, of_all.acquire().await.ok()?)) };
    timeout(QUEUE_WAIT, waiting).await.ok().flatten()
}
