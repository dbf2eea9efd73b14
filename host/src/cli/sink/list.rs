//! `basin sink list`.

use std::process::ExitCode;

use basin_core::event::{Binding, SinkEntry};
use serde_json::{Value, json};

use super::places::Places;
use crate::cli::Context;
use crate::cli::table::{Table, print, print_json};
use crate::control::ClientError;
use crate::control::report::RegistryState;
use crate::registry::RegistryFile;

/// Arguments of `basin sink list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 1 where the registry file is broken or a sink could not be loaded.
Example:
  basin sink list --json | jq '.bindings[] | select(.failures > 0)'")]
pub(super) struct List {
    /// For scripts.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let live = places.live();
        // A broken file is what this command is asked about most urgently: show what the server has instead.
        let (file, broken) = match places.store.read() {
            Ok(file) => (file, None),
            Err(error) => (RegistryFile::default(), Some(error.to_string())),
        };
        let problems = problems(&live, broken.as_deref());
        if self.json {
            print_json(&as_json(&file, live.as_ref().ok(), &problems))?;
        } else {
            print(as_text(&file, &live, broken.is_some()) + &problems.join(""))?;
        }
        Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

// The server says the same of a broken file as this process does; once is enough.
fn problems(live: &Result<RegistryState, ClientError>, broken: Option<&str>) -> Vec<String> {
    let of_server = live.iter().flat_map(|state| &state.problems);
    let own = broken.filter(|_| live.is_err()).map(|why| format!("the registry file is broken: {why}"));
    of_server.cloned().chain(own).map(|problem| format!("problem: {problem}\n")).collect()
}

fn as_text(file: &RegistryFile, live: &Result<RegistryState, ClientError>, is_broken: bool) -> String {
    let state = live.as_ref().ok();
    if is_broken {
        let names: Vec<_> = state.iter().flat_map(|state| state.sinks.keys().cloned()).collect();
        return match state {
            Some(state) => format!("in force, generation {}: {}\n", state.generation, or_none(&names)),
            None => String::new(),
        };
    }
    if file.sinks.is_empty() {
        return "there are no sinks; `basin sink add FILE --name N --event E` registers one\n".to_owned();
    }
    let columns = ["SINK", "BINDING", "EVENT", "PRIORITY", "MODE", "ON FAILURE", "STATE", "CALLS", "FAILURES", "RULE"];
    let mut table = Table::new(&columns);
    for sink in &file.sinks {
        let mut bindings: Vec<&Binding> = file.bindings_of(&sink.name).collect();
        bindings.sort_by_key(|binding| (binding.event, binding.priority, binding.name.clone()));
        if bindings.is_empty() {
            table.row([sink.name.as_str(), "-", "-", "-", "-", "-", &sink_state(sink, state), "-", "-", "not bound"]);
        }
        for binding in bindings {
            let counter = |of: fn(&crate::control::BindingActivity) -> u64| match state {
                Some(state) => state.activity.get(&binding.name).map_or(0, of).to_string(),
                None => "-".to_owned(),
            };
            table.row([
                sink.name.clone(),
                binding.name.clone(),
                binding.event.name().to_owned(),
                binding.priority.to_string(),
                binding.mode.word().to_owned(),
                binding.on_failure.word().to_owned(),
                binding_state(sink, binding, state),
                counter(|activity| activity.calls),
                counter(|activity| activity.failures),
                condition(binding),
            ]);
        }
    }
    let footer = match live {
        Ok(state) => format!("generation {}, in force since {}\n", state.generation, state.since.to_rfc3339()),
        Err(ClientError::NotRunning(_)) => "no server runs on this spool, so nothing was loaded or called\n".to_owned(),
        Err(error) => format!("{error}\n"),
    };
    table.text() + &footer
}

/// Whether a sink runs, in a word or two.
pub(super) fn sink_state(sink: &SinkEntry, live: Option<&RegistryState>) -> String {
    let state = live.and_then(|live| live.sinks.get(&sink.name));
    match state {
        _ if !sink.is_enabled => "off".to_owned(),
        Some(state) if state.failure.is_some() => "not loaded".to_owned(),
        Some(_) => "loaded".to_owned(),
        None => "on".to_owned(),
    }
}

// A timer has no rule; when it is due is what decides whether it is called.
fn condition(binding: &Binding) -> String {
    match &binding.schedule {
        Some(schedule) => format!("schedule {schedule}"),
        None => binding.rule.text().to_owned(),
    }
}

fn binding_state(sink: &SinkEntry, binding: &Binding, live: Option<&RegistryState>) -> String {
    if !sink.is_enabled {
        return "sink off".to_owned();
    }
    let is_expired = binding.expires.is_some_and(|expires| expires < crate::clock::now());
    let calls = live.and_then(|live| live.activity.get(&binding.name)).map_or(0, |activity| activity.calls);
    if !binding.is_enabled {
        "off".to_owned()
    } else if is_expired {
        "expired".to_owned()
    } else if binding.max_firings.is_some_and(|max| calls >= max) {
        "fired out".to_owned()
    } else {
        sink_state(sink, live)
    }
}

/// Names in a row, or the word "none".
pub(super) fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn as_json(file: &RegistryFile, live: Option<&RegistryState>, problems: &[String]) -> Value {
    let sinks: Vec<_> = file.sinks.iter().map(|sink| sink_json(sink, live)).collect();
    let bindings: Vec<_> = file.bindings.iter().map(|binding| binding_json(binding, live)).collect();
    let problems: Vec<_> = problems.iter().map(|problem| problem.trim_end()).collect();
    json!({
        "generation": live.map(|live| live.generation),
        "running": live.is_some(),
        "problems": problems,
        "sinks": sinks,
        "bindings": bindings,
    })
}

/// A sink for scripts.
pub(super) fn sink_json(sink: &SinkEntry, live: Option<&RegistryState>) -> Value {
    json!({
        "name": sink.name,
        "digest": sink.digest,
        "source": sink.source,
        "grants": sink.grants.iter().map(|grant| grant.name()).collect::<Vec<_>>(),
        "limits": sink.budget,
        "config": sink.config,
        "secrets": sink.secrets.keys().collect::<Vec<_>>(),
        "enabled": sink.is_enabled,
        "state": sink_state(sink, live),
        "failure": live.and_then(|live| live.sinks.get(&sink.name)?.failure.clone()),
    })
}

/// A binding for scripts.
pub(super) fn binding_json(binding: &Binding, live: Option<&RegistryState>) -> Value {
    let activity = live.and_then(|live| live.activity.get(&binding.name));
    json!({
        "name": binding.name,
        "sink": binding.sink,
        "event": binding.event.name(),
        "rule": binding.rule.text(),
        "priority": binding.priority,
        "listener": binding.listener,
        "mode": binding.mode.word(),
        "instance": binding.instance.word(),
        "on-failure": binding.on_failure.word(),
        "max-firings": binding.max_firings,
        "expires": binding.expires.map(|expires| expires.to_rfc3339()),
        "enabled": binding.is_enabled,
        "schedule": binding.schedule.as_ref().map(|schedule| schedule.text()),
        "timer": live.and_then(|live| live.timers.get(&binding.name)),
        "calls": activity.map(|activity| activity.calls),
        "failures": activity.map(|activity| activity.failures),
        "shadow": activity.and_then(|activity| activity.shadow.as_ref()),
    })
}
