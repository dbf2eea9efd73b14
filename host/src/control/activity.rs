//! What the server remembers of each binding's calls since it started.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use basin_core::event::{Answer, EventKind, Failure};
use basin_core::time::Timestamp;
use basin_sinks::Usage;
use serde::{Deserialize, Serialize};

use crate::control::report::{moment, moment_or_none};

/// A failure and what it happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureSeen {
    /// When.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// At which event.
    pub event: EventKind,
    /// In which session, where there was one.
    pub session: Option<String>,
    /// About which message, where there was one.
    pub message: Option<String>,
    /// Kind, text, backtrace.
    pub failure: Failure,
}

/// What a binding did since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingActivity {
    /// Calls, those that failed included. What `max-firings` counts.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Host calls that were refused for want of a grant.
    pub denied: u64,
    /// When it was called last.
    #[serde(with = "moment_or_none")]
    pub last_call: Option<Timestamp>,
    /// What came of it: a verdict, or the kind of a failure.
    pub last_outcome: Option<String>,
    /// Fuel of all calls.
    pub fuel: u64,
    /// Microseconds of all calls, from request to answer.
    pub wall_us: u64,
    /// Largest memory of any call, in octets.
    pub memory_max: u64,
    /// The first failure.
    pub first_failure: Option<FailureSeen>,
    /// The last failure.
    pub last_failure: Option<FailureSeen>,
    /// How it compares with what was decided, in the mode shadow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowActivity>,
}

/// How a shadow compares with the chain that it stands beside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowActivity {
    /// Calls in which it said and changed what was decided.
    pub agreed: u64,
    /// Calls in which it did not. Those that failed are in neither number.
    pub differed: u64,
    /// The last one that did not.
    pub last_difference: Option<Difference>,
}

/// What a shadow would have done otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// When.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// At which event.
    pub event: EventKind,
    /// In which session, where there was one.
    pub session: Option<String>,
    /// About which message, where there was one.
    pub message: Option<String>,
    /// What was decided and what the shadow did, in words: `-` is what was decided, `+` the shadow's.
    pub lines: Vec<String>,
}

/// One call, as it is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Name of the binding.
    pub binding: &'a str,
    /// The event.
    pub event: EventKind,
    /// When.
    pub at: Timestamp,
    /// Session, where there is one.
    pub session: Option<&'a str>,
    /// Message, where there is one.
    pub message: Option<&'a str>,
    /// What came of it.
    pub answer: &'a Answer,
    /// What it used.
    pub usage: &'a Usage,
}

/// The activity of all bindings, by name; it outlives reloads of the registry.
#[derive(Debug, Default)]
pub struct Activity {
    bindings: RwLock<BTreeMap<String, Arc<Mutex<BindingActivity>>>>,
}

impl Activity {
    /// Records a call.
    pub fn record(&self, call: Call<'_>) {
        let cell = self.cell(call.binding);
        // A poisoned lock guards counters; whatever they are, they are better than none.
        let mut activity = cell.lock().unwrap_or_else(PoisonError::into_inner);
        activity.calls += 1;
        activity.denied += u64::from(call.usage.denied);
        activity.fuel = activity.fuel.saturating_add(call.usage.fuel);
        activity.wall_us =
            activity.wall_us.saturating_add(u64::try_from(call.usage.wall.as_micros()).unwrap_or(u64::MAX));
        activity.memory_max = activity.memory_max.max(call.usage.memory);
        activity.last_call = Some(call.at);
        match call.answer {
            Answer::Verdict(verdict, _) => activity.last_outcome = Some(verdict.word().to_owned()),
            Answer::Failed(failure) => {
                activity.failures += 1;
                activity.last_outcome = Some(failure.kind.word().to_owned());
                let seen = FailureSeen {
                    at: call.at,
                    event: call.event,
                    session: call.session.map(str::to_owned),
                    message: call.message.map(str::to_owned),
                    failure: failure.clone(),
                };
                activity.first_failure.get_or_insert_with(|| seen.clone());
                activity.last_failure = Some(seen);
            }
        }
    }

    /// Records how a shadow compares with what was decided; `None` where it agreed.
    pub fn compare(&self, binding: &str, difference: Option<Difference>) {
        let cell = self.cell(binding);
        let mut activity = cell.lock().unwrap_or_else(PoisonError::into_inner);
        let shadow = activity.shadow.get_or_insert_with(ShadowActivity::default);
        match difference {
            None => shadow.agreed += 1,
            Some(_) => {
                shadow.differed += 1;
                shadow.last_difference = difference;
            }
        }
    }

    /// How often a binding fired; what `Registry::plan` asks for.
    pub fn firings(&self, binding: &str) -> u64 {
        // For every command of every session: nothing is cloned here.
        let bindings = self.bindings.read().unwrap_or_else(PoisonError::into_inner);
        bindings.get(binding).map_or(0, |cell| cell.lock().unwrap_or_else(PoisonError::into_inner).calls)
    }

    /// What a binding did; `None` where it was never called.
    pub fn of(&self, binding: &str) -> Option<BindingActivity> {
        let bindings = self.bindings.read().unwrap_or_else(PoisonError::into_inner);
        bindings.get(binding).map(|cell| cell.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn cell(&self, binding: &str) -> Arc<Mutex<BindingActivity>> {
        if let Some(cell) = self.bindings.read().unwrap_or_else(PoisonError::into_inner).get(binding) {
            return cell.clone();
        }
        let mut bindings = self.bindings.write().unwrap_or_else(PoisonError::into_inner);
        bindings.entry(binding.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use basin_core::event::{FailureKind, Verdict};
    use core::time::Duration;

    use super::*;

    fn failed(detail: &str) -> Answer {
        let (backtrace, stderr) = (vec!["frame".to_owned()], String::new());
        Answer::Failed(Failure { kind: FailureKind::Trap, detail: detail.to_owned(), backtrace, stderr, fuel: 1 })
    }

    #[test]
    fn calls_add_up_and_the_first_and_the_last_failure_stay() {
        let activity = Activity::default();
        let answers = [failed("one"), failed("two"), failed("three"), Answer::Verdict(Verdict::Next, Box::default())];
        for (second, answer) in (0..).zip(&answers) {
            let usage = Usage { fuel: 10, wall: Duration::from_micros(5), memory: second as u64, ..Usage::default() };
            activity.record(Call {
                binding: "b",
                event: EventKind::OnConnect,
                at: Timestamp::from_seconds(second),
                session: Some("s"),
                message: None,
                answer,
                usage: &usage,
            });
        }
        let found = activity.of("b").expect("it was called");
        assert_eq!((found.calls, found.failures, found.fuel, found.wall_us, found.memory_max), (4, 3, 40, 20, 3));
        assert_eq!(found.last_outcome.as_deref(), Some("next"));
        let detail = |seen: Option<FailureSeen>| seen.map(|seen| seen.failure.detail);
        assert_eq!(detail(found.first_failure).as_deref(), Some("one"));
        assert_eq!(detail(found.last_failure).as_deref(), Some("three"));
        assert_eq!((activity.firings("b"), activity.firings("other")), (4, 0));
    }
}
