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
use wasmtime::component::Instance;

use crate::clock::OwnTime;
use crate::ended::Ended;
use crate::files::Opened;
use crate::instances::Place;
use crate::invoke::invoke;
use crate::keep::Kept;
use crate::state::State;
use crate::verdict::Standing;
use crate::{CallReport, CallRequest, Component, Engine, Usage, failure, store, verdict};

/// How long a call waits for a free place before it is busy. A client that gets 451 comes back in minutes, so a
/// second of patience is the better answer to a burst.
const QUEUE_WAIT: Duration = Duration::from_secs(1);

/// Waiting that a call may do beside its own time and what its grants let it wait for: a sink that sleeps on a clock
/// holds a place and the client for nothing.
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
    /// Asks a sink at an event, within its budget: in a fresh instance, or in the one that its binding keeps.
    ///
    /// Never fails itself: what goes wrong is a [`basin_core::event::Failure`] in the report, and the effects of the
    /// call are gone with its store. Dropping the future ends the call without a trace.
    pub async fn call(&self, request: CallRequest<'_>) -> CallReport {
        let asked = Instant::now();
        let event = request.occasion.event;
        let octets = request.overlay.message.as_ref().map_or(0, |message| message.size());
        let budget = Budget::of(event, octets, &request.sink.budget);
        // Before a place is taken: who waits for an instance must not keep others out.
        let place = request.place(&self.shared.keep);
        let _turn = match &place {
            Some(place) => place.turn().await,
            None => None,
        };
        let places = (&request.component.permits, &self.shared.permits);
        let Some(_places) = take_places(places).await else {
            let detail = format!("no free place among {} calls within {} ms", self.calls_max(), QUEUE_WAIT.as_millis());
            return busy(&detail, asked.elapsed());
        };
        let queued = asked.elapsed();
        // A disk that hangs must not hold the call before its own clock runs.
        let opening = timeout(budget.wait, Opened::of(&request.sink.grants, &request.component.gate));
        let opened = match opening.await.unwrap_or_else(|_| Err("its directories could not be opened in time".into())) {
            Ok(opened) => opened,
            Err(why) => return broken_at_start(FailureKind::Host, &why, asked.elapsed()),
        };
        let granted_wait = if request.sink.grants.may_wait() { budget.wait } else { Duration::ZERO };
        let time = OwnTime::new();
        let component = request.component.clone();
        let (mut store, mut running) = match self.store(request, budget, &time, (place.as_ref(), opened)) {
            Ok(made) => made,
            Err(error) => {
                let why = format!("cannot make a store: {error:#}");
                return broken_at_start(FailureKind::Host, &why, asked.elapsed());
            }
        };
        let outcome = {
            let running = pin!(run(&mut store, &component, event, &mut running));
            let limit = budget.time + WAIT + granted_wait;
            timeout(limit, guarded(running, &time)).await.unwrap_or(Err(Broken::Late(limit)))
        };
        let instantiate = running.instantiate;
        let usage = Usage { queued, instantiate, own: time.spent(), wall: asked.elapsed(), ..Usage::default() };
        let report = report(&mut store, outcome, &budget, usage);
        // After a failure the store goes: after a trap it cannot be entered again, and a call that was cut off in the
        // middle leaves who knows what behind. Dropped before the reply, so that the pool has its room.
        if let (Some(place), Some(instance), Answer::Verdict(..)) = (&place, running.instance, &report.answer) {
            place.give_back(Kept::new(store, instance, component.digest()));
        }
        report
    }

    // A kept store with everything of the call in it, or a new one.
    fn store(
        &self,
        request: CallRequest<'_>,
        budget: Budget,
        time: &OwnTime,
        (place, opened): (Option<&Place>, Opened),
    ) -> wasmtime::Result<(Store<State>, Running)> {
        let kept = place.and_then(|place| place.take(request.component.digest()));
        // An instance holds what it has opened, and its runtime the variables: where others are granted now, it must not.
        let kept = kept.filter(|Kept { store, .. }| {
            let before = store.data();
            before.opened.is_same(&opened) && before.sink.grants.variables().eq(request.sink.grants.variables())
        });
        let mut state = State::new(
            request.sink.clone(),
            request.binding.clone(),
            request.occasion.clone(),
            request.overlay,
            request.host.clone(),
            budget,
        );
        state.is_read_only |= request.is_read_only;
        state.time = time.clone();
        (state.opened, state.gate) = (opened, request.component.gate.clone());
        match kept {
            Some(Kept { mut store, instance, .. }) => {
                store.data_mut().renew(state);
                store::arm(&mut store, time.clone())?;
                Ok((store, Running { instance: Some(instance), instantiate: Duration::ZERO }))
            }
            None => {
                let store = store::make(&self.shared.wasmtime, state, time.clone())?;
                Ok((store, Running { instance: None, instantiate: Duration::ZERO }))
            }
        }
    }
}

/// The instance of a call, once there is one.
struct Running {
    instance: Option<Instance>,
    instantiate: Duration,
}

/// Calls the event's function; what it answers is checked against event and grants.
async fn run(
    store: &mut Store<State>,
    component: &Component,
    event: EventKind,
    running: &mut Running,
) -> wasmtime::Result<Verdict> {
    let instance = match running.instance {
        Some(instance) => instance,
        None => {
            let start = Instant::now();
            let instance = component.pre.instantiate_async(&mut *store).await?;
            running.instantiate = start.elapsed();
            *running.instance.insert(instance)
        }
    };
    let answered = invoke(store, component, &instance, event).await?;
    let verdict = answered.map_err(|said| Ended::new(FailureKind::GuestError, format!("it answered err: {said}")))?;
    let state = store.data();
    let verb = state.overlay.command.as_deref().map(|command| command.keyword.as_str());
    let hears_input = component.exports.on_inbound_input.is_some();
    Ok(verdict::check(event, verdict?, Standing { grants: &state.sink.grants, verb, hears_input })?)
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

fn report(store: &mut Store<State>, outcome: Result<Verdict, Broken>, budget: &Budget, usage: Usage) -> CallReport {
    let left = store.get_fuel().unwrap_or(0);
    let state = store.data_mut();
    state.settle_http();
    state.settle_files();
    let fuel = budget.fuel.saturating_sub(left).saturating_add(state.tariff.take());
    let (stdout, stderr) = state.wasi().map(|wasi| (wasi.stdout(), wasi.stderr())).unwrap_or_default();
    let usage =
        Usage { fuel, memory: state.limiter.memory(), host_calls: state.tariff.calls(), denied: state.denied, ..usage };
    let answer = match outcome {
        Ok(verdict) => Answer::Verdict(verdict, core::mem::take(&mut state.overlay)),
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

fn broken_at_start(kind: FailureKind, why: &str, wall: Duration) -> CallReport {
    let failure = failure::plain(kind, why, 0, "");
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
