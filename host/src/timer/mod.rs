//! The task that calls the sinks of `on-timer` when their schedules are due.
//!
//! Which call is due says the machine in `basin_core::event::timers`; what a call came to is written by `firing`.

mod firing;
pub(crate) mod marks;
mod run_now;

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basin_core::event::{EventKind, Occasion, Overlay, Question, TimerFacts, Timers};
use basin_core::time::Timestamp;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::now;
use crate::registry::Loaded;
use crate::services::Services;
use crate::shutdown::Phase;
use crate::telemetry::timers::TimerSeen;
use firing::Firing;
pub use run_now::{Ran, RunRefused, run_now};

/// Longest sleep. Bounds how late it is noticed that the clock was set or that the machine slept.
const SLEEP_MAX: Duration = Duration::from_secs(15);

/// Most timers that run at once. Nobody waits for them, so they get a small share of the machine.
const AT_ONCE_MAX: usize = 4;

/// What is known of the timers while the server runs.
#[derive(Debug, Default)]
pub struct Desk {
    timers: Mutex<Timers>,
    changed: Notify,
}

impl Desk {
    /// What is known of the timer of a binding; `None` where it has none.
    pub fn facts(&self, binding: &str) -> Option<TimerFacts> {
        self.lock().facts(binding)
    }

    /// Another registry is in force.
    pub fn look_again(&self) {
        self.changed.notify_one();
    }

    // No method of the machine panics, so what it holds is whole.
    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls what is due until the server stops, and ends when the calls that had begun have.
pub async fn run(services: Arc<Services>, mut stop: watch::Receiver<Phase>) {
    tokio::select! {
        // What a timer made before a crash is judged before it makes the same again.
        () = services.queue.entered() => {}
        _ = stop.wait_for(|phase| *phase >= Phase::Draining) => return,
    }
    let mut running = JoinSet::new();
    let mut round = Round { services, generation: None, places: Arc::new(Semaphore::new(AT_ONCE_MAX)) };
    loop {
        let sleep = round.turn(&mut running, now()).await;
        tokio::select! {
            // Either is a reason to look again.
            _ = timeout(sleep, round.services.timers.changed.notified()) => {}
            Some(_) = running.join_next() => {}
            _ = stop.wait_for(|phase| *phase >= Phase::Draining) => break,
        }
    }
    while running.join_next().await.is_some() {}
}

/// What one look at the clock needs.
struct Round {
    services: Arc<Services>,
    /// The registry whose timers are known.
    generation: Option<u64>,
    places: Arc<Semaphore>,
}

impl Round {
    /// Begins what is due and says how long to sleep.
    async fn turn(&mut self, running: &mut JoinSet<()>, now: Timestamp) -> Duration {
        let loaded = self.services.ask.loaded();
        if self.generation != Some(loaded.registry.generation()) {
            self.arrange(&loaded, now).await;
        }
        let firing = self.firing(&loaded, now);
        let due = self.services.timers.lock().due(now, |name| firing.contains(name));
        for due in due {
            let bound = loaded.registry.bindings_of(EventKind::OnTimer).iter();
            let Some(binding) = bound.into_iter().find(|binding| binding.name == due.binding) else {
                self.services.timers.lock().ended(&due.binding);
                continue;
            };
            let firing = Firing {
                services: self.services.clone(),
                loaded: loaded.clone(),
                binding: binding.clone(),
                due: due.at,
                at: now,
            };
            running.spawn(firing.run_in_turn(self.places.clone()));
        }
        self.tell(&loaded);
        let next = self.services.timers.lock().next();
        next.map_or(SLEEP_MAX, |next| next.since(crate::clock::now()).min(SLEEP_MAX))
    }

    // The names of bindings that fire now: switched on, not over.
    fn firing(&self, loaded: &Loaded, now: Timestamp) -> BTreeSet<String> {
        let occasion = Arc::new(Occasion::of(EventKind::OnTimer, now));
        let question = Question { occasion, overlay: Overlay::default(), can_fail: true, only: None, rest: None };
        let firings = |binding: &str| self.services.ask.activity().firings(binding);
        let told = loaded.registry.observers(EventKind::OnTimer, &question.facts(), now, &firings);
        told.into_iter().map(|asked| asked.binding.name.clone()).collect()
    }

    // Takes over the timers of a registry. At the start of the server they go on from when they ran last; one that a
    // reload brings begins now.
    async fn arrange(&mut self, loaded: &Loaded, now: Timestamp) {
        let is_start = self.generation.replace(loaded.registry.generation()).is_none();
        let mut wanted = Vec::new();
        for binding in loaded.registry.bindings_of(EventKind::OnTimer) {
            let Some(cron) = &binding.schedule else { continue };
            let is_known = self.services.timers.lock().contains(&binding.name);
            let before = if is_known {
                None
            } else {
                let begun = marks::begin(&self.services.tables, binding, now, is_start).await;
                begun.unwrap_or_else(|error| {
                    tracing::error!(binding = %binding.name, %error, "when this timer ran last is not known");
                    None
                })
            };
            wanted.push((binding.name.clone(), cron.clone(), before));
        }
        self.services.timers.lock().arrange(wanted, now);
        self.services.metrics.timers.forget();
    }

    fn tell(&self, loaded: &Loaded) {
        for binding in loaded.registry.bindings_of(EventKind::OnTimer) {
            if let Some(facts) = self.services.timers.facts(&binding.name) {
                TimerSeen { binding, facts }.record(&self.services.metrics);
            }
        }
    }
}

#[cfg(test)]
mod tests;
