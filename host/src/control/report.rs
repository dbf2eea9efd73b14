//! What goes over the control socket, and what `--json` prints.

use std::collections::BTreeMap;

use basin_core::event::{EventKind, TimerFacts};
use basin_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::control::{BindingActivity, ServerState};

/// Moments as people and scripts read them, to the second.
pub mod moment {
    use basin_core::time::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes a moment in the form of RFC 3339.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&moment.to_rfc3339())
    }

    /// Reads a moment in the form of RFC 3339.
    ///
    /// # Errors
    /// It has another form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no moment")))
    }
}

/// Moments that may be missing.
pub mod moment_or_none {
    use basin_core::time::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Moment(#[serde(with = "super::moment")] Timestamp);

    /// Writes a moment in the form of RFC 3339, or null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        moment.map(Moment).serialize(serializer)
    }

    /// Reads a moment in the form of RFC 3339, or null.
    ///
    /// # Errors
    /// It has another form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<Moment>::deserialize(deserializer)?.map(|moment| moment.0))
    }
}

/// A sink in a running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkState {
    /// Digest of the code that runs; `None` where none does.
    pub digest: Option<String>,
    /// Why it could not be loaded; `None` where it was, or is switched off.
    pub failure: Option<String>,
    /// How long it took to compile, in milliseconds.
    pub compile_ms: u64,
    /// Whether its code came from the cache.
    pub is_from_cache: bool,
}

/// The registry of a running server and what its bindings did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryState {
    /// Version of the server.
    pub version: String,
    /// Its clock.
    #[serde(with = "moment")]
    pub now: Timestamp,
    /// Changes of the registry that were applied since the server started.
    pub generation: u64,
    /// When the registry came into force.
    #[serde(with = "moment")]
    pub since: Timestamp,
    /// Why the file on disk is not what is in force; `None` where it is.
    #[serde(default)]
    pub broken: Option<String>,
    /// What an operator should know, one line each.
    pub problems: Vec<String>,
    /// Sinks by name.
    pub sinks: BTreeMap<String, SinkState>,
    /// What the bindings did, by name; those that were never called are missing.
    pub activity: BTreeMap<String, BindingActivity>,
    /// Timers of bindings, by name.
    #[serde(default)]
    pub timers: BTreeMap<String, Timer>,
}

/// A timer that an operator runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// Name of the binding.
    pub binding: String,
}

/// The timer of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// When it is due next.
    #[serde(with = "moment_or_none")]
    pub next_due: Option<Timestamp>,
    /// When it ran last, before this start of the server too.
    #[serde(with = "moment_or_none")]
    pub last_run: Option<Timestamp>,
    /// Whether it runs now.
    pub is_running: bool,
    /// Calls that were left out since the server started, because the one before them still ran.
    pub left_out: u64,
}

impl From<TimerFacts> for Timer {
    fn from(facts: TimerFacts) -> Self {
        let TimerFacts { next, last, is_running, left_out } = facts;
        Self { next_due: next, last_run: last, is_running, left_out }
    }
}

impl RegistryState {
    /// Asks the server.
    pub fn of(server: &dyn ServerState) -> Self {
        let loaded = server.loaded();
        let sinks = loaded.registry.sinks().map(|sink| {
            let component = loaded.component_of(&sink.name);
            let state = SinkState {
                digest: component.map(|component| component.digest().to_owned()),
                failure: loaded.failures().get(&sink.name).cloned(),
                compile_ms: component
                    .map_or(0, |component| u64::try_from(component.compile_time().as_millis()).unwrap_or(u64::MAX)),
                is_from_cache: component.is_some_and(|component| component.is_from_cache()),
            };
            (sink.name.clone(), state)
        });
        let activity = loaded.registry.bindings().filter_map(|binding| {
            let activity = server.activity().of(&binding.name)?;
            Some((binding.name.clone(), activity))
        });
        let timers = loaded.registry.bindings_of(EventKind::OnTimer).iter().filter_map(|binding| {
            let facts = server.timer(&binding.name)?;
            Some((binding.name.clone(), Timer::from(facts)))
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: server.now(),
            generation: loaded.registry.generation(),
            since: loaded.since,
            broken: loaded.broken.as_ref().map(|broken| broken.why.clone()),
            problems: loaded.problems(),
            sinks: sinks.collect(),
            activity: activity.collect(),
            timers: timers.collect(),
        }
    }
}

/// What went wrong, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The words.
    pub error: String,
}
