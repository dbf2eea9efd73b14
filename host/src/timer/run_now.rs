//! A timer's call that an operator makes, out of turn.

use std::sync::Arc;

use basin_core::event::{EventKind, Occasion, Overlay, Question};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::firing::Firing;
use crate::clock::now;
use crate::services::Services;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Name of the binding.
    pub binding: String,
    /// Messages that the sink put into the queue.
    pub messages: usize,
    /// Why the sink failed; `None` where it did not. Nothing of what it did holds then.
    pub failure: Option<String>,
}

/// Why there was no call, or nothing came of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RunRefused {
    /// No such binding in force.
    #[error("no binding {name:?} of on-timer is in force; there is {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those that are.
        known: String,
    },
    /// It would not fire if it were due.
    #[error("{name} does not fire: {why}")]
    DoesNotFire {
        /// The binding.
        name: String,
        /// Why not.
        why: String,
    },
    /// It runs.
    #[error("{0} runs already, or the server has only begun; try again")]
    Running(String),
    /// Nothing of it could be written.
    #[error("nothing of what {name} did holds: {why}")]
    Unwritten {
        /// The binding.
        name: String,
        /// Why.
        why: String,
    },
}

/// Calls the sink of a binding of `on-timer` now. When it is due next stays as it was.
///
/// # Errors
/// There was no call, or nothing that it did could be written.
pub async fn run_now(services: &Arc<Services>, name: &str) -> Result<Ran, RunRefused> {
    let (at, loaded) = (now(), services.ask.loaded());
    let event = EventKind::OnTimer;
    let occasion = Arc::new(Occasion::of(event, at));
    let question = Question { occasion, overlay: Overlay::default(), can_fail: true, only: None, rest: None };
    let firings = |binding: &str| services.ask.activity().firings(binding);
    let explained = loaded.registry.explain(event, &question.facts(), at, &firings);
    let Some(row) = explained.iter().find(|row| row.binding.name == name) else {
        let known: Vec<&str> = explained.iter().map(|row| row.binding.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(RunRefused::Unknown { name: name.to_owned(), known });
    };
    let name = name.to_owned();
    if let Some(why) = row.why_not.clone() {
        return Err(RunRefused::DoesNotFire { name, why });
    }
    // What it is due at is this moment: the call that comes in its turn is another one.
    if !services.timers.lock().begin(&name, at) {
        return Err(RunRefused::Running(name));
    }
    let binding = row.binding.clone();
    let firing = Firing { services: services.clone(), loaded: loaded.clone(), binding, due: at, at };
    // Whoever asked may go; the call goes on.
    let ran = tokio::spawn(firing.run()).await;
    services.timers.look_again();
    match ran {
        Ok(Ok(outcome)) => Ok(Ran { binding: name, messages: outcome.messages, failure: outcome.failure }),
        Ok(Err(error)) => Err(RunRefused::Unwritten { name, why: error.to_string() }),
        Err(error) => Err(RunRefused::Unwritten { name, why: error.to_string() }),
    }
}
