//! A first instantiation when a component is loaded: does it start, and do its types fit?

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use basin_core::event::budget::MEMORY_MAX;
use basin_core::event::{
    Binding, Budget, BudgetOverride, EventKind, FailurePolicy, Grants, Mode, Occasion, Overlay, Rule, SinkEntry,
};
use basin_core::time::Timestamp;
use wasmtime::component::InstancePre;

use crate::clock::OwnTime;
use crate::exports::Exports;
use crate::state::State;
use crate::{Engine, LoadError, LogLevel, LogLine, SinkHost, failure, store};

/// Fuel of the trial: a second or two of computing. Runtimes that take long to start are initialised when they are
/// built.
const FUEL: u64 = 1_000_000_000;

/// Time of the trial.
const TIME: Duration = Duration::from_secs(10);

/// Instantiates the component once, under limits and with no grant, and throws the instance away.
pub(crate) fn start(engine: &Engine, pre: &InstancePre<State>, exports: &Exports) -> Result<(), LoadError> {
    let time = OwnTime::new();
    let budget = Budget {
        fuel: FUEL,
        time: TIME,
        memory: MEMORY_MAX,
        ..Budget::of(EventKind::OnConnect, 0, &BudgetOverride::default())
    };
    let fail = |why: String| LoadError::Start { why };
    let mut store =
        store::make(&engine.shared.wasmtime, state(budget), time.clone()).map_err(|why| fail(format!("{why:#}")))?;
    let started = {
        let mut starting = pin!(pre.instantiate_async(&mut store));
        // Every poll computes until the next tick, so this is no busy wait; what is pending for another reason is a
        // sink that sleeps while it starts, which the deadline ends too.
        loop {
            time.resume();
            // A sink that sleeps while it starts makes tokio panic on a thread without a runtime.
            let poll = || starting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let polled = catch_unwind(AssertUnwindSafe(poll));
            time.pause();
            let polled = polled.map_err(|_| fail("it waits for something while it starts".to_owned()))?;
            match polled {
                Poll::Ready(started) => break started,
                Poll::Pending if time.wall() > TIME => return Err(fail(format!("it takes longer than {TIME:?}"))),
                Poll::Pending => std::thread::yield_now(),
            }
        }
    };
    let instance = started.map_err(|error| {
        let fuel = FUEL.saturating_sub(store.get_fuel().unwrap_or(0));
        let failure = failure::of(&error, &budget, fuel, "");
        fail(format!("{} ({})", failure.detail, failure.kind.word()))
    })?;
    exports.check(&mut store, &instance).map_err(|why| LoadError::Types { why: format!("{why:#}") })
}

fn state(budget: Budget) -> State {
    let name = "trial".to_owned();
    let sink = SinkEntry {
        name: name.clone(),
        digest: String::new(),
        source: String::new(),
        grants: Grants::default(),
        budget: BudgetOverride::default(),
        secrets: Default::default(),
        config: std::collections::BTreeMap::new(),
        is_enabled: true,
    };
    let binding = Binding {
        name: name.clone(),
        sink: name,
        event: EventKind::OnTimer,
        rule: Rule::default(),
        priority: 0,
        listener: None,
        mode: Mode::Observe,
        instance: Default::default(),
        on_failure: FailurePolicy::Skip,
        is_enabled: true,
        expires: None,
        max_firings: None,
        schedule: None,
    };
    let occasion = Occasion::of(EventKind::OnTimer, Timestamp::default());
    let overlay = Box::<Overlay>::default();
    State::new(Arc::new(sink), Arc::new(binding), Arc::new(occasion), overlay, Arc::new(Nobody), budget)
}

/// A server with nothing around it.
struct Nobody;

impl SinkHost for Nobody {
    fn host_name(&self) -> String {
        "trial.invalid".to_owned()
    }

    fn is_local_domain(&self, _: &str) -> bool {
        false
    }

    fn is_local_address(&self, _: &str) -> bool {
        false
    }

    fn is_log_enabled(&self, _: &str, _: LogLevel) -> bool {
        false
    }

    fn log(&self, _: &LogLine<'_>) {}

    fn metric_add(&self, _: &str, _: &str, _: u64) {}

    fn metric_observe(&self, _: &str, _: &str, _: f64) {}
}
