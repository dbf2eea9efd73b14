//! `basin sink show`.

use std::process::ExitCode;

use basin_core::event::{Binding, InstanceMode, SinkEntry};
use basin_core::time::Timestamp;
use serde_json::{Value, json};

use super::list::{binding_json, or_none, sink_json, sink_state};
use super::places::Places;
use crate::cli::Context;
use crate::cli::table::{Table, print, print_json, printable};
use crate::control::report::{RegistryState, Timer};
use crate::control::{BindingActivity, ClientError, FailureSeen};
use crate::registry::edit::missing;
use crate::registry::quantity::{show_duration, show_size};
use crate::registry::{Version, Versions, digest};

/// Arguments of `basin sink show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  basin sink show stamp")]
pub(super) struct Show {
    /// Name of the sink.
    sink: String,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let file = places.store.read()?;
        let names = file.sinks.iter().map(|sink| sink.name.as_str());
        let sink = file.sink(&self.sink).ok_or_else(|| missing("sink", &self.sink, names))?;
        let bindings: Vec<&Binding> = file.bindings_of(&sink.name).collect();
        let live = places.live();
        let versions = shown_versions(sink, &file.versions_of(&sink.name), live.as_ref().ok());
        if self.json {
            let state = live.as_ref().ok();
            let activity = |binding: &Binding| state.and_then(|state| state.activity.get(&binding.name).cloned());
            let bindings: Vec<_> = bindings
                .iter()
                .map(|binding| json!({ "binding": binding_json(binding, state), "activity": activity(binding) }))
                .collect();
            let versions = versions_json(&versions);
            print_json(&json!({ "sink": sink_json(sink, state), "versions": versions, "bindings": bindings }))?;
        } else {
            let versions = versions_text(&versions);
            print(sink_text(sink, &live) + &versions + &bindings_text(&bindings, live.as_ref().ok()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn sink_text(sink: &SinkEntry, live: &Result<RegistryState, ClientError>) -> String {
    let state = live.as_ref().ok();
    let mut table = Table::plain();
    table.row(["sink", sink.name.as_str()]);
    table.row(["state", &sink_state(sink, state)]);
    if let Some(live) = state.and_then(|state| state.sinks.get(&sink.name)) {
        match &live.failure {
            Some(failure) => table.row(["failure", failure.as_str()]),
            None if live.is_from_cache => table.row(["code", "from the cache"]),
            None => table.row(["code".to_owned(), format!("compiled in {} ms", live.compile_ms)]),
        }
    }
    table.row(["sha256", sink.digest.as_str()]);
    table.row(["source", if sink.source.is_empty() { "-" } else { sink.source.as_str() }]);
    let grants: Vec<_> = sink.grants.iter().map(|grant| grant.name().to_owned()).collect();
    table.row(["grants".to_owned(), or_none(&grants)]);
    let default = || "default".to_owned();
    let fuel = sink.budget.fuel.map_or_else(default, |fuel| fuel.to_string());
    let memory = sink.budget.memory.map_or_else(default, show_size);
    let deadline = sink.budget.deadline_ms.map_or_else(default, show_duration);
    table.row(["limits".to_owned(), format!("fuel {fuel}, memory {memory}, deadline {deadline}")]);
    sink.config.iter().for_each(|(key, value)| table.row(["config".to_owned(), format!("{key} = {value}")]));
    // Names alone: what is in their files is for the sink.
    sink.secrets.keys().for_each(|key| table.row(["secret", key.as_str()]));
    let note = match live {
        Ok(_) => String::new(),
        Err(ClientError::NotRunning(_)) => "no server runs on this spool, so there are no live facts\n".to_owned(),
        Err(error) => format!("{error}\n"),
    };
    table.text() + &note
}

/// A component of a sink, and how it stands.
struct Shown {
    version: Version,
    state: &'static str,
}

// The registered component and those that a rollback may go back to.
fn shown_versions(sink: &SinkEntry, versions: &Versions, live: Option<&RegistryState>) -> Vec<Shown> {
    let in_force = live.and_then(|live| live.sinks.get(&sink.name)?.digest.as_deref());
    let (digest, source) = (sink.digest.clone(), sink.source.clone());
    let registered = Version { digest, source, since: versions.since, until: None, is_undone: false };
    let state = |version: &Version, is_registered: bool| match in_force {
        Some(digest) if digest == version.digest => "in force",
        Some(_) if is_registered => "not loaded",
        _ if is_registered => "registered",
        _ if version.is_undone => "rolled back",
        _ => "former",
    };
    let former = versions.former.iter().map(|version| Shown { version: version.clone(), state: state(version, false) });
    let first = Shown { state: state(&registered, true), version: registered };
    std::iter::once(first).chain(former).collect()
}

fn versions_text(versions: &[Shown]) -> String {
    let moment = |moment: Option<Timestamp>| moment.map_or_else(|| "-".to_owned(), Timestamp::to_rfc3339);
    let mut table = Table::new(&["VERSION", "STATE", "SINCE", "UNTIL", "FROM"]);
    for Shown { version, state } in versions {
        let (since, until) = (moment(version.since), moment(version.until));
        let digits = digest::short(&version.digest).to_owned();
        table.row([digits, (*state).to_owned(), since, until, version.source.clone()]);
    }
    format!("\n{}", table.text())
}

fn versions_json(versions: &[Shown]) -> Vec<Value> {
    let moment = |moment: Option<Timestamp>| moment.map(Timestamp::to_rfc3339);
    let json = |Shown { version, state }: &Shown| {
        json!({
            "digest": version.digest,
            "state": state,
            "since": moment(version.since),
            "until": moment(version.until),
            "source": version.source,
        })
    };
    versions.iter().map(json).collect()
}

fn bindings_text(bindings: &[&Binding], live: Option<&RegistryState>) -> String {
    if bindings.is_empty() {
        return "\nit is bound to no event, so it is never called; `basin sink bind` binds it\n".to_owned();
    }
    let mut text = String::new();
    for binding in bindings {
        let mut table = Table::plain();
        table.row(["binding", binding.name.as_str()]);
        table.row(["  event", binding.event.name()]);
        if !binding.rule.text().is_empty() {
            table.row(["  rule", binding.rule.text()]);
        }
        if let Some(schedule) = &binding.schedule {
            table.row(["  schedule".to_owned(), format!("{schedule} (UTC)")]);
        }
        let order = format!("priority {}, {}", binding.priority, binding.mode.word());
        table.row(["  order".to_owned(), order]);
        if binding.instance != InstanceMode::default() {
            table.row(["  instance", binding.instance.word()]);
        }
        table.row(["  on failure", binding.on_failure.word()]);
        if let Some(listener) = &binding.listener {
            table.row(["  listener", listener.as_str()]);
        }
        if let Some(max) = binding.max_firings {
            table.row(["  fires at most".to_owned(), format!("{max} times after each start of the server")]);
        }
        if let Some(expires) = binding.expires {
            table.row(["  expires".to_owned(), expires.to_rfc3339()]);
        }
        if !binding.is_enabled {
            table.row(["  state", "off"]);
        }
        if let Some(live) = live {
            if let Some(timer) = live.timers.get(&binding.name) {
                timer_rows(timer, &mut table);
            }
            match live.activity.get(&binding.name) {
                Some(activity) => activity_rows(activity, &mut table),
                None => table.row(["  calls", "none since the server started"]),
            }
        }
        text.push('\n');
        text.push_str(&table.text());
        let activity = live.and_then(|live| live.activity.get(&binding.name));
        text.push_str(&activity.map(difference_text).unwrap_or_default());
        text.push_str(&activity.map(failures_text).unwrap_or_default());
    }
    text
}

fn timer_rows(timer: &Timer, table: &mut Table) {
    let moment = |moment: Option<Timestamp>| moment.map_or_else(|| "never".to_owned(), |moment| moment.to_rfc3339());
    table.row(["  next due".to_owned(), moment(timer.next_due)]);
    let running = if timer.is_running { ", still running" } else { "" };
    table.row(["  last run".to_owned(), moment(timer.last_run) + running]);
    if timer.left_out > 0 {
        let text = format!("{} calls, because the one before them still ran", timer.left_out);
        table.row(["  left out".to_owned(), text]);
    }
}

fn activity_rows(activity: &BindingActivity, table: &mut Table) {
    let (calls, failures) = (activity.calls, activity.failures);
    table.row(["  calls".to_owned(), format!("{calls}, {failures} failed, {} host calls denied", activity.denied)]);
    if let Some(last) = activity.last_call {
        let outcome = activity.last_outcome.as_deref().unwrap_or("-");
        table.row(["  last call".to_owned(), format!("{}: {outcome}", last.to_rfc3339())]);
    }
    let mean = |sum: u64| sum.checked_div(calls).unwrap_or(0);
    let (fuel, wall) = (mean(activity.fuel), mean(activity.wall_us));
    let memory = activity.memory_max.div_ceil(1024);
    table.row(["  use".to_owned(), format!("{fuel} fuel and {wall} us on average, {memory} KiB at most")]);
    if let Some(shadow) = &activity.shadow {
        let (agreed, differed) = (shadow.agreed, shadow.differed);
        let text = format!("agreed {agreed} times with what was decided, differed {differed} times");
        table.row(["  shadow".to_owned(), text]);
    }
}

fn difference_text(activity: &BindingActivity) -> String {
    let Some(last) = activity.shadow.as_ref().and_then(|shadow| shadow.last_difference.as_ref()) else {
        return String::new();
    };
    let mut text = format!("  last difference at {}, {}", last.at.to_rfc3339(), last.event);
    last.session.iter().for_each(|id| text.push_str(&format!(", session {}", printable(id))));
    last.message.iter().for_each(|id| text.push_str(&format!(", message {}", printable(id))));
    text.push('\n');
    last.lines.iter().for_each(|line| text.push_str(&format!("    {}\n", printable(line))));
    text
}

fn failures_text(activity: &BindingActivity) -> String {
    let mut text = String::new();
    let first = activity.first_failure.as_ref();
    let last = activity.last_failure.as_ref().filter(|last| Some(*last) != first);
    first.into_iter().for_each(|seen| failure_text("first failure", seen, &mut text));
    last.into_iter().for_each(|seen| failure_text("last failure", seen, &mut text));
    text
}

fn failure_text(title: &str, seen: &FailureSeen, text: &mut String) {
    let failure = &seen.failure;
    let mut line = |indent: &str, content: &str| text.push_str(&format!("{indent}{}\n", printable(content)));
    line("  ", &format!("{title} at {}: {}: {}", seen.at.to_rfc3339(), failure.kind.word(), failure.detail));
    let session = seen.session.iter().map(|id| format!("session {id}"));
    let about: Vec<_> = session.chain(seen.message.iter().map(|id| format!("message {id}"))).collect();
    if !about.is_empty() {
        line("    ", &about.join(", "));
    }
    failure.backtrace.iter().for_each(|frame| line("    ", frame));
    failure.stderr.lines().for_each(|stderr| line("    stderr: ", stderr));
}
