//! `basin sink inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use basin_core::event::{EventKind, Grants};
use serde_json::json;

use super::consent::request;
use super::list::or_none;
use super::needs;
use super::places::{compile, read_component};
use crate::cli::table::{Table, print, print_json};
use crate::registry::manifest::Manifest;

/// Arguments of `basin sink inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  basin sink inspect stamp.wasm\n  basin sink inspect --events")]
pub(super) struct Inspect {
    /// The component, a .wasm file.
    file: Option<PathBuf>,
    /// List all events of the contract.
    #[arg(long, conflicts_with = "file")]
    events: bool,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match &self.file {
            None if self.events => self.list_events()?,
            None => bail!("name a component, or --events for the list of events"),
            Some(file) => self.component(file)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn list_events(&self) -> anyhow::Result<()> {
        let policies =
            |event: EventKind| event.policies().iter().map(|policy| policy.word()).collect::<Vec<_>>().join(", ");
        if self.json {
            let events: Vec<_> = EventKind::ALL
                .iter()
                .map(|event| {
                    let policies: Vec<_> = event.policies().iter().map(|policy| policy.word()).collect();
                    let name = event.name();
                    json!({ "name": name, "kind": kind(*event), "bound": event.can_be_bound(), "policies": policies })
                })
                .collect();
            return print_json(&events);
        }
        let mut table = Table::new(&["EVENT", "KIND", "BOUND", "WHEN A SINK FAILS"]);
        for event in EventKind::ALL {
            let bound = if event.can_be_bound() { "by name" } else { "after await-input" };
            table.row([event.name().to_owned(), kind(*event).to_owned(), bound.to_owned(), policies(*event)]);
        }
        print(table.text())
    }

    fn component(&self, file: &std::path::Path) -> anyhow::Result<()> {
        let octets = read_component(file)?;
        let manifest = Manifest::of(&octets, file)?;
        let (_, component) = compile(file, &octets, None)?;
        let (needs, world) = (needs::of(&octets), needs::world(&octets));
        let events: Vec<_> = component.events().iter().map(|event| event.name().to_owned()).collect();
        if self.json {
            let named = needs.iter().map(|(grant, functions)| json!({ "grant": grant.name(), "for": functions }));
            let open = world.iter().map(|(grant, interface)| json!({ "grant": grant, "for": [interface] }));
            let grants: Vec<_> = named.chain(open).collect();
            return print_json(&json!({
                "file": file,
                "digest": component.digest(),
                "size": component.size(),
                "events": events,
                "imports": component.imports(),
                "suggested-grants": grants,
                "manifest": manifest.as_ref().map(manifest_json),
                "compile-ms": u64::try_from(component.compile_time().as_millis()).unwrap_or(u64::MAX),
            }));
        }
        let mut table = Table::plain();
        table.row(["file".to_owned(), file.display().to_string()]);
        table.row(["sha256", component.digest()]);
        table.row(["size".to_owned(), format!("{} octets", component.size())]);
        table.row(["compiled in".to_owned(), format!("{} ms", component.compile_time().as_millis())]);
        table.row(["events".to_owned(), or_none(&events)]);
        for (index, import) in component.imports().iter().enumerate() {
            table.row([if index == 0 { "imports" } else { "" }, import.as_str()]);
        }
        let named = needs.iter().map(|(grant, functions)| format!("{grant} for {}", functions.join(", ")));
        let open = world.iter().map(|(grant, interface)| format!("{grant} for {interface}"));
        for (index, need) in named.chain(open).enumerate() {
            table.row([if index == 0 { "may need" } else { "" }, need.as_str()]);
        }
        if needs.is_empty() && world.is_empty() {
            table.row(["may need", "no grant, as far as its imports tell"]);
        }
        let asks = manifest.as_ref().map(|manifest| request(manifest, &manifest.grants)).unwrap_or_default();
        print(table.text() + &asks + &add_command(file, component.events(), &needs.keys().copied().collect()))
    }
}

fn manifest_json(manifest: &Manifest) -> serde_json::Value {
    json!({
        "description": manifest.description,
        "events": manifest.events.iter().map(|event| event.name()).collect::<Vec<_>>(),
        "grants": manifest.grants.iter().map(|grant| grant.name()).collect::<Vec<_>>(),
        "limits": manifest.limits,
    })
}

fn kind(event: EventKind) -> &'static str {
    if event.is_notice() { "notice" } else { "question" }
}

// The command that registers the component as it is, for copying.
fn add_command(file: &std::path::Path, events: &[EventKind], grants: &Grants) -> String {
    let raised = events.iter().filter(|event| event.can_be_bound()).map(|event| format!(" --event {event}"));
    let raised: String = raised.collect();
    if raised.is_empty() {
        return "it answers no event, so it cannot be bound\n".to_owned();
    }
    let grants: String = grants.iter().map(|grant| format!(" --grant {grant}")).collect();
    format!(
        "\nto register it: basin sink add {} --name NAME{raised}{grants}\n\
        and --grant reply where it answers a client in words of its own, which no import tells\n",
        file.display()
    )
}
