//! The registry: which sinks there are, what they are bound to, and which of them an event calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::event::binding::PRIORITY_MAX;
use crate::event::outbound::STANDARD_VERBS;
use crate::event::{
    Asked, Binding, BudgetOverride, EventKind, EventSet, Facts, FailurePolicy, Grants, InstanceMode, Matched, Mode,
};
use crate::limits::{BINDING_NAME_BYTES_MAX, SINK_NAME_BYTES_MAX};
use crate::secret::Secret;
use crate::time::Timestamp;

/// A value of a sink's configuration that comes from a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkSecret {
    /// The file.
    pub file: String,
    /// What was in it when the registry was loaded; empty before.
    pub value: Secret,
}

/// A registered sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkEntry {
    /// Name, unique; 1 to 64 characters out of `a-z 0-9 -`, begins with a letter.
    pub name: String,
    /// SHA-256 of the component, in hexadecimal; the file lies under that name in the registry's directory.
    pub digest: String,
    /// Where it came from, for people.
    pub source: String,
    /// What it may do.
    pub grants: Grants,
    /// What one call may use.
    pub budget: BudgetOverride,
    /// What the operator set for it.
    pub config: BTreeMap<String, String>,
    /// Further values of its configuration, which nobody else gets to see.
    pub secrets: BTreeMap<String, SinkSecret>,
    /// Switched on.
    pub is_enabled: bool,
}

/// Why a registry cannot come into force. The one before it stays.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// A name that would not be safe in a file name, a property name or a log line.
    #[error("sink name {name:?}: write 1 to {SINK_NAME_BYTES_MAX} characters out of a-z, 0-9 and -, a letter first")]
    SinkName {
        /// The name.
        name: String,
    },
    /// A name that would not be safe on a command line or in a log line.
    #[error("binding name {name:?}: write 1 to {BINDING_NAME_BYTES_MAX} printable ASCII characters, no space")]
    BindingName {
        /// The name.
        name: String,
    },
    /// Two sinks of one name.
    #[error("there are two sinks {name:?}")]
    DuplicateSink {
        /// The name.
        name: String,
    },
    /// Two bindings of one name.
    #[error("there are two bindings {name:?}")]
    DuplicateBinding {
        /// The name.
        name: String,
    },
    /// A binding to a sink that is not registered.
    #[error("binding {binding:?} is for the sink {sink:?}, which is not registered")]
    UnknownSink {
        /// The binding.
        binding: String,
        /// The sink.
        sink: String,
    },
    /// An event that follows another, and is raised for whoever was asked there.
    #[error(
        "binding {binding:?}: {event} is raised for the binding of on-inbound-command whose sink said await-input; \
         bind the sink to on-inbound-command"
    )]
    NotBound {
        /// The binding.
        binding: String,
        /// The event.
        event: EventKind,
    },
    /// A shadow of something that is not decided.
    #[error(
        "binding {binding:?}: at {event} nothing is decided, so there is nothing to shadow; the mode observe is right"
    )]
    Shadow {
        /// The binding.
        binding: String,
        /// The event.
        event: EventKind,
    },
    /// An instance that should live as long as a session that is not there.
    #[error("binding {binding:?}: at {event} there is no session, so an instance lives for a call or is warm")]
    Instance {
        /// The binding.
        binding: String,
        /// The event.
        event: EventKind,
    },
    /// A timer that would never be due.
    #[error("binding {binding:?}: {event} needs a schedule, as in schedule = \"*/5 * * * *\"")]
    NoSchedule {
        /// The binding.
        binding: String,
        /// The event.
        event: EventKind,
    },
    /// A schedule at an event that comes by itself.
    #[error("binding {binding:?}: {event} has no schedule; on-timer has one")]
    Scheduled {
        /// The binding.
        binding: String,
        /// The event.
        event: EventKind,
    },
    /// A listener where there is none.
    #[error(
        "binding {binding:?}: {event} happens at no listener, so the sink would never be called; leave the listener out"
    )]
    NoListener {
        /// The binding.
        binding: String,
        /// The event.
        event: EventKind,
    },
    /// A failure policy that makes no sense at the event.
    #[error("binding {binding:?}: {event} has no failure policy {:?}; it has {}", policy.word(), words(*event))]
    Policy {
        /// The binding.
        binding: String,
        /// The event.
        event: EventKind,
        /// The policy.
        policy: FailurePolicy,
    },
    /// A priority that is out of range.
    #[error("binding {binding:?}: a priority is 0 (first) to {PRIORITY_MAX} (last), not {priority}")]
    Priority {
        /// The binding.
        binding: String,
        /// The priority.
        priority: u16,
    },
}

fn words(event: EventKind) -> String {
    event.policies().iter().map(|policy| policy.word()).collect::<Vec<_>>().join(", ")
}

/// One generation of the registry; never changes once it is in force.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    generation: u64,
    sinks: BTreeMap<String, Arc<SinkEntry>>,
    bindings: BTreeMap<EventKind, Vec<Arc<Binding>>>,
    interest: EventSet,
}

/// One row of the answer to "why is my sink not called?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The binding.
    pub binding: Arc<Binding>,
    /// Why it does not fire, in words; `None` where it does.
    pub why_not: Option<String>,
}

/// What a plan depends on besides the registry.
#[derive(Clone, Copy)]
struct Circumstances<'a> {
    facts: &'a Facts<'a>,
    now: Timestamp,
    firings: &'a dyn Fn(&str) -> u64,
}

impl Registry {
    /// Checks sinks and bindings and orders them. `generation` counts the changes applied since the server started.
    ///
    /// # Errors
    /// The first thing that is wrong, see [`RegistryError`].
    pub fn new(
        generation: u64,
        sinks: impl IntoIterator<Item = SinkEntry>,
        bindings: impl IntoIterator<Item = Binding>,
    ) -> Result<Self, RegistryError> {
        let mut registry = Self { generation, ..Self::default() };
        for sink in sinks {
            if !is_sink_name(&sink.name) {
                return Err(RegistryError::SinkName { name: sink.name });
            }
            if let Some(before) = registry.sinks.insert(sink.name.clone(), Arc::new(sink)) {
                return Err(RegistryError::DuplicateSink { name: before.name.clone() });
            }
        }
        for binding in bindings {
            registry.check(&binding)?;
            registry.bindings.entry(binding.event).or_default().push(Arc::new(binding));
        }
        for bound in registry.bindings.values_mut() {
            bound.sort_by(|a, b| turn(a).cmp(&turn(b)));
        }
        registry.interest = registry.count_interest();
        Ok(registry)
    }

    /// Which generation this is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every sink, by name.
    pub fn sinks(&self) -> impl Iterator<Item = &Arc<SinkEntry>> {
        self.sinks.values()
    }

    /// The sink of that name.
    pub fn sink(&self, name: &str) -> Option<&Arc<SinkEntry>> {
        self.sinks.get(name)
    }

    /// Every binding: by event, then in the order of the calls.
    pub fn bindings(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings.values().flatten()
    }

    /// The bindings of one event in the order of their calls, those that are switched off included.
    pub fn bindings_of(&self, event: EventKind) -> &[Arc<Binding>] {
        self.bindings.get(&event).map(Vec::as_slice).unwrap_or_default()
    }

    /// The binding of that name, while it and its sink are switched on. Its rule is not looked at: this is for whoever
    /// was asked already and is told how it goes on.
    pub fn active(&self, name: &str) -> Option<Asked> {
        let is_on = |binding: &&Arc<Binding>| {
            binding.name == name && binding.is_enabled && self.sinks.get(&binding.sink).is_some_and(|s| s.is_enabled)
        };
        self.bindings().find(is_on).map(|binding| Asked { binding: binding.clone(), matched: None })
    }

    /// The events that somebody who is switched on is bound to, observers included. A machine need not
    /// raise any other.
    pub fn interest(&self) -> EventSet {
        self.interest
    }

    /// Whether somebody who is switched on may judge another server's replies to that verb.
    pub fn judges(&self, verb: &str) -> bool {
        self.bindings_of(EventKind::OnServerResponse).iter().any(|binding| {
            let is_on = binding.is_enabled && self.sinks.get(&binding.sink).is_some_and(|sink| sink.is_enabled);
            is_on && binding.mode == Mode::Decide && binding.rule.may_concern(verb)
        })
    }

    /// The events of a dialogue with another server that somebody is bound to, and the verbs whose replies somebody may
    /// judge; `None` where nobody is bound to any.
    pub fn outbound_interest(&self) -> Option<(EventSet, Vec<String>)> {
        let is_heard = |event: &EventKind| event.is_outbound() && self.interest.has(*event);
        let events: EventSet = EventKind::ALL.iter().copied().filter(is_heard).collect();
        let judged = || STANDARD_VERBS.iter().filter(|verb| self.judges(verb)).map(|verb| (*verb).to_owned()).collect();
        (events != EventSet::default()).then(|| (events, judged()))
    }

    /// The sinks to ask at a question and those in their shadow, in order. A notice has none: see [`Registry::observers`].
    ///
    /// `firings` tells how often a binding fired since the server started; the shell counts.
    pub fn plan(
        &self,
        event: EventKind,
        facts: &Facts<'_>,
        now: Timestamp,
        firings: &dyn Fn(&str) -> u64,
    ) -> Vec<Asked> {
        self.firing(event, Circumstances { facts, now, firings }, |mode| mode != Mode::Observe && !event.is_notice())
    }

    /// Of [`Registry::plan`] for the event of this binding, those whose turn comes after it.
    pub fn plan_behind(
        &self,
        before: &Binding,
        facts: &Facts<'_>,
        now: Timestamp,
        firings: &dyn Fn(&str) -> u64,
    ) -> Vec<Asked> {
        let mut plan = self.plan(before.event, facts, now, firings);
        plan.retain(|asked| turn(&asked.binding) > turn(before));
        plan
    }

    /// The sinks to tell after the fact, in order: those bound in the mode observe, and at a notice all,
    /// because nobody waits for what any of them says.
    pub fn observers(
        &self,
        event: EventKind,
        facts: &Facts<'_>,
        now: Timestamp,
        firings: &dyn Fn(&str) -> u64,
    ) -> Vec<Asked> {
        self.firing(event, Circumstances { facts, now, firings }, |mode| mode == Mode::Observe || event.is_notice())
    }

    /// Every binding of the event in order, whatever its mode, and why it would not fire.
    pub fn explain(
        &self,
        event: EventKind,
        facts: &Facts<'_>,
        now: Timestamp,
        firings: &dyn Fn(&str) -> u64,
    ) -> Vec<Explained> {
        let circumstances = Circumstances { facts, now, firings };
        let bound = self.bindings_of(event).iter();
        bound
            .map(|binding| Explained {
                binding: binding.clone(),
                why_not: self.fires(binding, circumstances).err().map(WhyNot::in_words),
            })
            .collect()
    }

    fn firing(&self, event: EventKind, at: Circumstances<'_>, is_wanted: impl Fn(Mode) -> bool) -> Vec<Asked> {
        let bound = self.bindings_of(event).iter().filter(|binding| is_wanted(binding.mode));
        bound.filter_map(|binding| self.fires(binding, at).ok()).collect()
    }

    // The cheap conditions first; a rule may walk a header block.
    fn fires<'b>(&'b self, binding: &'b Arc<Binding>, at: Circumstances<'b>) -> Result<Asked, WhyNot<'b>> {
        if !self.sinks.get(&binding.sink).is_some_and(|sink| sink.is_enabled) {
            return Err(WhyNot::SinkDisabled(&binding.sink));
        }
        if !binding.is_enabled {
            return Err(WhyNot::Disabled);
        }
        // Whatever a sink submits would come back to it, and be answered again.
        if at.facts.origin.as_deref().and_then(|origin| origin.strip_prefix("sink:")) == Some(binding.sink.as_str()) {
            return Err(WhyNot::OwnMessage(&binding.sink));
        }
        if let Some(wanted) = binding.listener.as_deref()
            && at.facts.listener != Some(wanted)
        {
            return Err(WhyNot::Listener { wanted, found: at.facts.listener });
        }
        if let Some(expires) = binding.expires
            && at.now > expires
        {
            return Err(WhyNot::Expired(expires));
        }
        if let Some(max) = binding.max_firings
            && (at.firings)(&binding.name) >= max
        {
            return Err(WhyNot::Fired(max));
        }
        match binding.rule.matches(at.facts) {
            Matched::Yes(selected) => Ok(Asked { binding: binding.clone(), matched: selected.map(Into::into) }),
            Matched::No { condition, found } => Err(WhyNot::Rule { condition, found }),
        }
    }

    fn check(&self, binding: &Binding) -> Result<(), RegistryError> {
        let (name, event) = (binding.name.clone(), binding.event);
        if !is_binding_name(&name) {
            return Err(RegistryError::BindingName { name });
        }
        if self.bindings().any(|present| present.name == name) {
            return Err(RegistryError::DuplicateBinding { name });
        }
        if !self.sinks.contains_key(&binding.sink) {
            return Err(RegistryError::UnknownSink { binding: name, sink: binding.sink.clone() });
        }
        if !event.can_be_bound() {
            return Err(RegistryError::NotBound { binding: name, event });
        }
        if binding.mode == Mode::Shadow && event.is_notice() {
            return Err(RegistryError::Shadow { binding: name, event });
        }
        if matches!(binding.instance, InstanceMode::Transaction | InstanceMode::Session) && !event.has_session() {
            return Err(RegistryError::Instance { binding: name, event });
        }
        match (event == EventKind::OnTimer, &binding.schedule) {
            (true, None) => return Err(RegistryError::NoSchedule { binding: name, event }),
            (false, Some(_)) => return Err(RegistryError::Scheduled { binding: name, event }),
            (true, Some(_)) | (false, None) => {}
        }
        if matches!(event, EventKind::OnTimer | EventKind::OnTrack) && binding.listener.is_some() {
            return Err(RegistryError::NoListener { binding: name, event });
        }
        if !event.policies().contains(&binding.on_failure) {
            return Err(RegistryError::Policy { binding: name, event, policy: binding.on_failure });
        }
        if binding.priority > PRIORITY_MAX {
            return Err(RegistryError::Priority { binding: name, priority: binding.priority });
        }
        Ok(())
    }

    fn count_interest(&self) -> EventSet {
        let is_on =
            |binding: &Arc<Binding>| binding.is_enabled && self.sinks.get(&binding.sink).is_some_and(|s| s.is_enabled);
        let heard = self.bindings.iter().filter(|(_, bound)| bound.iter().any(is_on));
        heard.map(|(event, _)| *event).collect()
    }
}

// What orders the bindings of an event.
fn turn(binding: &Binding) -> (u16, &str) {
    (binding.priority, &binding.name)
}

/// Why a binding does not fire.
enum WhyNot<'a> {
    SinkDisabled(&'a str),
    Disabled,
    OwnMessage(&'a str),
    Listener { wanted: &'a str, found: Option<&'a str> },
    Expired(Timestamp),
    Fired(u64),
    Rule { condition: String, found: String },
}

impl WhyNot<'_> {
    fn in_words(self) -> String {
        match self {
            Self::SinkDisabled(sink) => format!("the sink {sink:?} is disabled"),
            Self::Disabled => "the binding is disabled".to_owned(),
            Self::OwnMessage(sink) => format!("the message was made by the sink {sink:?} itself"),
            Self::Listener { wanted, found } => {
                let found = found.map_or_else(|| "none".to_owned(), |name| format!("{name:?}"));
                format!("it is bound to the listener {wanted:?}, this is {found}")
            }
            Self::Expired(at) => format!("it expired at {}", at.to_rfc3339()),
            Self::Fired(max) => format!("it fired {max} times since the server started, which is its maximum"),
            Self::Rule { condition, found } => format!("its rule wants {condition:?} and found {found}"),
        }
    }
}

/// Whether a text has the form of a sink's name: safe as a file name, in a property name and in a log.
pub fn is_sink_name(name: &str) -> bool {
    (1..=SINK_NAME_BYTES_MAX).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
}

fn is_binding_name(name: &str) -> bool {
    (1..=BINDING_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
