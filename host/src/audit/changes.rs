//! What an edit of the registry changed, in words for the audit log.

use basin_core::event::{Binding, Grants, SinkEntry};
use serde_json::Value;

use super::Fact;
use crate::registry::RegistryFile;

/// Every difference between two registries: sinks that came, went or are another now, and the same of bindings. Values of
/// the configuration are not told, only which of them are others: an operator may have put a password there.
pub fn changes(before: &RegistryFile, after: &RegistryFile) -> Vec<Fact> {
    let old = |name: &str| before.sinks.iter().find(|sink| sink.name == name);
    let is_kept = |name: &str| after.sinks.iter().any(|sink| sink.name == name);
    let mut facts = Vec::new();
    for sink in &after.sinks {
        match old(&sink.name) {
            None => facts.push(registered(sink)),
            Some(old) if old != sink => facts.push(changed(old, sink)),
            Some(_) => {}
        }
    }
    let gone = before.sinks.iter().filter(|sink| !is_kept(&sink.name));
    facts.extend(
        gone.map(|sink| Fact::new("sink removed").with("sink", sink.name.as_str()).with("digest", &*sink.digest)),
    );
    facts.extend(bindings(before, after));
    facts
}

fn registered(sink: &SinkEntry) -> Fact {
    Fact::new("sink registered")
        .with("sink", sink.name.as_str())
        .with("digest", sink.digest.as_str())
        .with("source", sink.source.as_str())
        .with("grants", words(&sink.grants))
}

fn changed(before: &SinkEntry, after: &SinkEntry) -> Fact {
    let mut fact = Fact::new("sink changed").with("sink", after.name.as_str());
    if before.digest != after.digest {
        fact = fact.with("digest", after.digest.as_str()).with("digest-before", before.digest.as_str());
        fact = fact.with("source", after.source.as_str());
    }
    let beyond = |some: &Grants, others: &Grants| some.iter().filter(|grant| !others.has(*grant)).collect::<Grants>();
    for (field, grants) in [
        ("grants-given", beyond(&after.grants, &before.grants)),
        ("grants-taken", beyond(&before.grants, &after.grants)),
    ] {
        if !grants.is_empty() {
            fact = fact.with(field, words(&grants));
        }
    }
    if before.is_enabled != after.is_enabled {
        fact = fact.with("enabled", after.is_enabled);
    }
    let mut others = Vec::new();
    if before.budget != after.budget {
        others.push("limits");
    }
    if before.config != after.config {
        others.push("config");
    }
    if before.secrets != after.secrets {
        others.push("secrets");
    }
    if others.is_empty() { fact } else { fact.with("changed", others) }
}

fn bindings(before: &RegistryFile, after: &RegistryFile) -> Vec<Fact> {
    let named = |file: &RegistryFile, name: &str| file.bindings.iter().find(|one| one.name == name).cloned();
    let told = |what, binding: &Binding| {
        Fact::new(what)
            .with("binding", binding.name.as_str())
            .with("sink", binding.sink.as_str())
            .with("event", binding.event.name())
            .with("rule", binding.rule.text())
            .with("priority", binding.priority)
            .with("listener", binding.listener.as_deref())
            .with("mode", binding.mode.word())
            .with("instance", binding.instance.word())
            .with("on-failure", binding.on_failure.word())
            .with("enabled", binding.is_enabled)
            .with("expires", binding.expires.map(|at| at.to_rfc3339()))
            .with("max-firings", binding.max_firings)
            .with("schedule", binding.schedule.as_ref().map(ToString::to_string))
    };
    let mut facts = Vec::new();
    for binding in &after.bindings {
        match named(before, &binding.name) {
            None => facts.push(told("binding added", binding)),
            Some(old) if old != *binding => facts.push(told("binding changed", binding)),
            Some(_) => {}
        }
    }
    let gone = before.bindings.iter().filter(|binding| named(after, &binding.name).is_none());
    facts.extend(gone.map(|binding| told("binding removed", binding)));
    facts
}

fn words(grants: &Grants) -> Value {
    grants.iter().map(|grant| grant.to_string()).collect()
}
