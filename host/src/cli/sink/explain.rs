//! `basin sink explain`: why is my sink (not) called?

use std::process::ExitCode;

use anyhow::anyhow;
use basin_core::event::{Binding, Cron, EventKind, Explained, InstanceMode, Mode};
use serde_json::{Value, json};

use super::list::{binding_json, sink_state};
use super::places::Places;
use super::scene::SceneArgs;
use crate::cli::Context;
use crate::cli::table::{print, print_json, printable};
use crate::control::ClientError;
use crate::control::report::{RegistryState, Timer};
use crate::registry::RegistryFile;
use crate::registry::words::parse_event;

/// Arguments of `basin sink explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  basin sink explain --event on-end-of-data --from a@client.example --to b@example.org \\
      --client 192.0.2.9
  basin sink explain --event on-inbound-command --verb EHLO --ehlo client.example
  basin sink explain --event on-submission --message letter.eml")]
pub(super) struct Explain {
    /// The event.
    #[arg(long)]
    event: String,
    #[command(flatten)]
    scene: SceneArgs,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let event = parse_event(&self.event).map_err(|error| anyhow!("--event: {error}"))?;
        let now = crate::clock::now();
        // A configuration has one listener at least.
        let listener = places.config.listeners.first().map_or("", |listener| listener.name.as_str());
        let question = self.scene.at_listener(listener).question(event, now)?;
        let file = places.store.read()?;
        let registry = file.to_registry(0)?;
        let live = places.live();
        let state = live.as_ref().ok();
        let calls = |name: &str| state.and_then(|state| state.activity.get(name)).map_or(0, |activity| activity.calls);
        let explained = registry.explain(event, &question.facts(), now, &calls);
        if self.json {
            let rows: Vec<_> = explained.iter().map(|row| as_json(row, &file, state)).collect();
            print_json(&json!({ "event": event.name(), "running": state.is_some(), "bindings": rows }))?;
        } else {
            print(as_text(event, &explained, &file, &live))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn as_text(
    event: EventKind,
    explained: &[Explained],
    file: &RegistryFile,
    live: &Result<RegistryState, ClientError>,
) -> String {
    let mut text = match explained.len() {
        0 => format!("nothing is bound to {event}; `basin sink bind SINK --event {event}` binds a sink\n"),
        1 => format!("{event}: 1 binding\n"),
        many => format!("{event}: {many} bindings, asked in this order\n"),
    };
    for (index, row) in explained.iter().enumerate() {
        let binding = &row.binding;
        let verdict = match &row.why_not {
            None => fires(binding).to_owned(),
            Some(why) => format!("does not fire: {why}"),
        };
        let mode = binding.mode.word();
        let mut line = |content: String| text.push_str(&format!("{}\n", printable(&content)));
        let is_kept = binding.instance != InstanceMode::Call;
        let instance = if is_kept { format!(", instance {}", binding.instance.word()) } else { String::new() };
        line(format!("{:>3}  {}  (priority {}, {mode}{instance})", index + 1, binding.name, binding.priority));
        line(format!("     {verdict}"));
        if let Some(schedule) = &binding.schedule {
            line(format!("     {}", timer_text(schedule, state_of_timer(binding, live))));
        }
        if let Ok(state) = live {
            line(format!("     {}", live_text(binding, file, state)));
        }
    }
    match live {
        Ok(state) => state.problems.iter().for_each(|problem| text.push_str(&format!("problem: {problem}\n"))),
        Err(ClientError::NotRunning(_)) => {
            text.push_str("no server runs on this spool, so load state and calls are not known\n");
        }
        Err(error) => text.push_str(&format!("{error}\n")),
    }
    text
}

fn state_of_timer<'a>(binding: &Binding, live: &'a Result<RegistryState, ClientError>) -> Option<&'a Timer> {
    live.as_ref().ok().and_then(|state| state.timers.get(&binding.name))
}

fn timer_text(schedule: &Cron, timer: Option<&Timer>) -> String {
    // Without a server it would be due then.
    let next = timer.map_or_else(|| schedule.next_after(crate::clock::now()), |timer| timer.next_due);
    let next = next.map_or_else(|| "never".to_owned(), |next| next.to_rfc3339());
    let mut text = format!("schedule {schedule}, due next {next}");
    let Some(timer) = timer else { return text };
    text.push_str(
        &timer.last_run.map_or(", it never ran".to_owned(), |last| format!(", it ran last {}", last.to_rfc3339())),
    );
    if timer.is_running {
        text.push_str(" and runs still");
    }
    if timer.left_out > 0 {
        text.push_str(&format!("; {} calls were left out because the one before them still ran", timer.left_out));
    }
    text
}

fn fires(binding: &Binding) -> &'static str {
    match binding.mode {
        _ if binding.schedule.is_some() => "fires when its schedule is due",
        Mode::Observe => "fires, after the decision",
        Mode::Decide | Mode::Shadow if binding.event.is_notice() => "fires, after the decision",
        Mode::Decide => "fires",
        Mode::Shadow => "fires, after the decision and without effect, unless the chain ends before it",
    }
}

fn live_text(binding: &Binding, file: &RegistryFile, state: &RegistryState) -> String {
    let sink = file.sink(&binding.sink);
    let load = sink.map_or_else(|| "not registered".to_owned(), |sink| sink_state(sink, Some(state)));
    let failure = state.sinks.get(&binding.sink).and_then(|sink| sink.failure.as_ref());
    let mut text = format!("sink {}: {}", binding.sink, failure.cloned().unwrap_or(load));
    let Some(activity) = state.activity.get(&binding.name) else {
        return text + "; never called since the server started";
    };
    if let Some(last) = activity.last_call {
        let outcome = activity.last_outcome.as_deref().unwrap_or("-");
        text.push_str(&format!("; last call {}: {outcome}", last.to_rfc3339()));
    }
    match &activity.last_failure {
        Some(seen) => {
            let (at, kind) = (seen.at.to_rfc3339(), seen.failure.kind.word());
            text + &format!("; last failure {at}: {kind}: {}", seen.failure.detail)
        }
        None => text + "; no failure",
    }
}

fn as_json(row: &Explained, file: &RegistryFile, live: Option<&RegistryState>) -> Value {
    let activity = live.and_then(|live| live.activity.get(&row.binding.name));
    let sink = file.sink(&row.binding.sink);
    json!({
        "binding": binding_json(&row.binding, live),
        "fires": row.why_not.is_none(),
        "why-not": row.why_not,
        "sink-state": sink.map(|sink| sink_state(sink, live)),
        "load-failure": live.and_then(|live| live.sinks.get(&row.binding.sink)?.failure.clone()),
        "activity": activity,
    })
}
