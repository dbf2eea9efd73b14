//! `basin sink test`: one call of a component, without any server.

mod host;
mod report;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use basin_core::event::{
    Answer, Binding, Budget, BudgetOverride, EventKind, Grants, Overlay, Question, Rule, SinkEntry,
};
use basin_sinks::{CallReport, CallRequest, Component, Engine, SinkHost};

use super::add::{LimitArgs, parse_grants, parse_settings};
use super::binding_args::check_events;
use super::places::{compile, read_component};
use super::scene::SceneArgs;
use crate::cli::table::{print, print_json};
use crate::registry::words::{default_policy, parse_event, parse_moment};
use host::OfflineHost;
use report::Report;

/// Most repetitions; enough for a steady median, and an end for a typing error.
const REPEAT_MAX: u32 = 100_000;

/// What the clock shows where nobody says: always the same, so that a call can be repeated to the unit of fuel.
const CLOCK: &str = "2026-01-01T12:00:00Z";

/// Arguments of `basin sink test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  basin sink test stamp.wasm --message letter.eml --event on-end-of-data \\
      --grant read-headers --grant edit-headers
  basin sink test filter.wasm --event on-inbound-command --verb RCPT --to a@example.org \\
      --expect refuse
  basin sink test stamp.wasm --message letter.eml --grant-all --repeat 1000
Exit code 0 where the sink answered (with --expect: as expected), 1 where it failed or
answered otherwise.")]
pub(super) struct Test {
    /// The component, a .wasm file.
    file: PathBuf,
    /// The event; may be left out where the component answers only one.
    #[arg(long)]
    event: Option<String>,
    #[command(flatten)]
    scene: SceneArgs,
    /// A value of the sink's configuration.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Something that the sink may do; without --grant it may read what the event has to read.
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,
    /// Grant everything.
    #[arg(long, conflicts_with = "grants")]
    grant_all: bool,
    #[command(flatten)]
    limits: LimitArgs,
    /// A domain that the server takes for its own; those of --to where none is named.
    #[arg(long = "local-domain", value_name = "DOMAIN")]
    local_domains: Vec<String>,
    /// What the clock shows, as in 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME", default_value = CLOCK)]
    at: String,
    /// Call it so many times more and show the time of warm calls.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    repeat: u32,
    /// The verdict that it should give, such as next or refuse; or the kind of a failure, such as fuel.
    #[arg(long, value_name = "VERDICT")]
    expect: Option<String>,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.repeat > REPEAT_MAX {
            bail!("--repeat {} is out of range; write 0 to {REPEAT_MAX}", self.repeat);
        }
        let octets = read_component(&self.file)?;
        let (engine, component) = compile(&self.file, &octets, None)?;
        let event = self.event(&component)?;
        let scene = self.scene.clone().with_defaults();
        let now = parse_moment(&self.at).map_err(|error| anyhow!("--at: {error}"))?;
        let question = scene.question(event, now)?;
        let local_domains = if self.local_domains.is_empty() { scene.domains() } else { self.local_domains.clone() };
        let call = Call {
            engine,
            sink: Arc::new(self.sink(&component, event)?),
            component,
            binding: Arc::new(binding(event)),
            question,
            host: Arc::new(OfflineHost::new(local_domains)),
        };
        let (report, warm) = call.run(self.repeat)?;
        let octets = call.question.overlay.message.as_ref().map_or(0, basin_core::mail::Message::size);
        let shown = Report {
            file: &self.file,
            event,
            component: &call.component,
            call: &report,
            before: &call.question.overlay,
            log: call.host.take_log(),
            budget: Budget::of(event, octets, &call.sink.budget),
            warm,
            expected: self.expect.as_deref(),
        };
        if self.json { print_json(&shown.json()) } else { print(shown.text()) }?;
        Ok(if shown.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn event(&self, component: &Component) -> anyhow::Result<EventKind> {
        let event = match (&self.event, component.events()) {
            (Some(name), _) => parse_event(name).map_err(|error| anyhow!("--event: {error}"))?,
            (None, [only]) => parse_event(only.name()).map_err(|error| anyhow!(error))?,
            (None, several) => {
                let names: Vec<_> = several.iter().map(|event| event.name()).collect();
                bail!("the component answers several events; choose one with --event: {}", names.join(", "));
            }
        };
        check_events(component, &[(event, Rule::default())])?;
        Ok(event)
    }

    fn sink(&self, component: &Component, event: EventKind) -> anyhow::Result<SinkEntry> {
        let grants = if self.grant_all {
            Grants::everything()
        } else if self.grants.is_empty() {
            Grants::reading(event)
        } else {
            parse_grants(&self.grants)?
        };
        Ok(SinkEntry {
            name: "test".to_owned(),
            digest: component.digest().to_owned(),
            source: self.file.display().to_string(),
            grants,
            budget: self.limits.over(BudgetOverride::default())?,
            secrets: Default::default(),
            config: parse_settings(&self.settings)?.into_iter().collect(),
            is_enabled: true,
        })
    }
}

fn binding(event: EventKind) -> Binding {
    Binding {
        name: format!("test/{event}"),
        sink: "test".to_owned(),
        event,
        rule: Rule::default(),
        priority: basin_core::event::binding::PRIORITY_DEFAULT,
        listener: None,
        mode: basin_core::event::Mode::Decide,
        instance: Default::default(),
        on_failure: default_policy(event),
        is_enabled: true,
        expires: None,
        max_firings: None,
        schedule: None,
    }
}

/// Everything that a call needs, so that it can be repeated.
struct Call {
    engine: Engine,
    sink: Arc<SinkEntry>,
    component: Arc<Component>,
    binding: Arc<Binding>,
    question: Question,
    host: Arc<OfflineHost>,
}

impl Call {
    // The report is that of the first call; the others only tell how long they took, sorted.
    fn run(&self, repeat: u32) -> anyhow::Result<(CallReport, Vec<Duration>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let first = runtime.block_on(self.once());
        self.host.keep_log();
        let mut warm = Vec::new();
        for _ in 0..repeat {
            let start = Instant::now();
            let report = runtime.block_on(self.once());
            warm.push(start.elapsed());
            if std::mem::discriminant(&report.answer) != std::mem::discriminant(&first.answer) {
                bail!("the sink answered the same question once and failed at it once; run it without --repeat");
            }
        }
        warm.sort_unstable();
        Ok((first, warm))
    }

    async fn once(&self) -> CallReport {
        let host: Arc<dyn SinkHost> = self.host.clone();
        let request = CallRequest {
            sink: &self.sink,
            component: &self.component,
            binding: &self.binding,
            occasion: &self.question.occasion,
            overlay: Box::new(Overlay::clone(&self.question.overlay)),
            is_read_only: false,
            scopes: None,
            host: &host,
        };
        self.engine.call(request).await
    }
}

/// The word that `--expect` is compared with.
fn outcome(answer: &Answer) -> &'static str {
    match answer {
        Answer::Verdict(verdict, _) => verdict.word(),
        Answer::Failed(failure) => failure.kind.word(),
    }
}
