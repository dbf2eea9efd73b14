//! `basin sink upgrade|rollback`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use basin_core::event::{EventKind, Grants, SinkEntry};
use basin_sinks::Component;
use serde_json::json;

use super::add::{beyond_lines, source_of};
use super::consent::ConsentArgs;
use super::places::{Places, compile, read_component};
use crate::cli::Context;
use crate::cli::table::{print, print_json};
use crate::clock::now;
use crate::registry::edit::missing;
use crate::registry::manifest::Manifest;
use crate::registry::{Edit, EditError, RegistryFile, Version, Versions, digest};

/// Arguments of `basin sink upgrade`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Configuration, grants, limits, bindings and what the sink keeps in its table stay. The new
component is compiled and started before anything is changed; where that fails, or where it
does not answer an event that the sink is bound to, the old one stays in force.
Where its manifest asks for more than the sink has and was asked about before, that needs
an answer: --yes, --grant for what you give, or --deny.
Sessions go on. A chain that has begun finishes with the old component.
Examples:
  basin sink upgrade stamp stamp-2.wasm
  basin sink rollback stamp")]
pub(super) struct Upgrade {
    /// Name of the sink.
    sink: String,
    /// The new component, a .wasm file.
    file: PathBuf,
    #[command(flatten)]
    consent: ConsentArgs,
    /// Grant nothing that it did not have, whatever it asks for.
    #[arg(long, conflicts_with_all = ["grants", "yes"])]
    deny: bool,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

/// Arguments of `basin sink rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Goes back to the component that was in force before; once more, to the one before that.
Five are kept; `basin sink show` lists them.
Examples:
  basin sink rollback stamp
  basin sink rollback stamp --to 4f1c2a")]
pub(super) struct Rollback {
    /// Name of the sink.
    sink: String,
    /// The component to go back to, by the first digits of its digest.
    #[arg(long, value_name = "DIGEST")]
    to: Option<String>,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

impl Upgrade {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let file = places.store.read()?;
        let sink = sink_of(&file, &self.sink)?;
        let octets = read_component(&self.file)?;
        let manifest = Manifest::of(&octets, &self.file)?.unwrap_or_default();
        let given = self.given(&manifest, sink, &file.versions_of(&self.sink))?;
        // Before the lock is taken: it may last seconds, and nobody should wait for it.
        let (_, component) = compile(&self.file, &octets, Some(&places.config))?;
        check_bindings(&component, &file, &self.sink)?;

        let mut edit = Edit::begin(&places.store)?;
        // Asked again under the lock: somebody may have bound it to more meanwhile.
        let file = edit.before().clone();
        let before = sink_of(&file, &self.sink)?;
        check_bindings(&component, &file, &self.sink)?;
        if before.digest == component.digest() {
            bail!("sink {} has this component already (sha256 {})", self.sink, digest::short(&before.digest));
        }
        let mut versions = file.versions_of(&self.sink).upgraded(before, component.digest(), now());
        versions.asked = versions.asked.iter().chain(manifest.grants.iter()).collect();
        let grants: Grants = before.grants.iter().chain(given.iter()).collect();
        if grants != before.grants {
            places.check_dirs(&grants, std::iter::empty())?;
            edit.set_grants(&self.sink, &grants)?;
        }
        edit.set_component(&self.sink, (component.digest(), &source_of(&self.file)), &versions)?;
        places.store.put_component(&octets)?;
        edit.commit()?;
        let done = Done { verb: "upgraded", sink: before, digest: component.digest(), given: &given };
        done.tell(&places, self.json, &beyond_lines(&octets, &grants, &self.sink))
    }

    // What is granted beyond what the sink has. What was asked for before is no news, whatever the answer was.
    fn given(&self, manifest: &Manifest, sink: &SinkEntry, versions: &Versions) -> anyhow::Result<Grants> {
        if self.deny {
            return Ok(Grants::default());
        }
        let known: Grants = sink.grants.iter().chain(versions.asked.iter()).collect();
        let given = self.consent.ask(manifest, &known, "changed")?.grants;
        Ok(given.iter().filter(|grant| !sink.grants.has(*grant)).collect())
    }
}

impl Rollback {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let file = places.store.read()?;
        let (version, _) = self.target(&file)?;
        // It was right when it was put in force, but the server, the bindings and the disk may have changed since.
        let octets = places.store.component(&version.digest).context("cannot go back")?;
        let path = places.store.component_path(&version.digest);
        let (_, component) = compile(&path, &octets, Some(&places.config))?;

        let mut edit = Edit::begin(&places.store)?;
        let file = edit.before().clone();
        let before = sink_of(&file, &self.sink)?;
        let (version, versions) = self.target(&file)?;
        if version.digest != component.digest() {
            bail!("somebody else has changed sink {} just now; look at it and try again", self.sink);
        }
        check_bindings(&component, &file, &self.sink)?;
        edit.set_component(&self.sink, (&version.digest, &version.source), &versions)?;
        edit.commit()?;
        let given = &Grants::default();
        let done = Done { verb: "rolled back", sink: before, digest: &version.digest, given };
        done.tell(&places, self.json, &beyond_lines(&octets, &before.grants, &self.sink))
    }

    fn target(&self, file: &RegistryFile) -> anyhow::Result<(Version, Versions)> {
        let sink = sink_of(file, &self.sink)?;
        Ok(file.versions_of(&self.sink).rolled_back(sink, self.to.as_deref(), now())?)
    }
}

/// What an upgrade or a rollback came to.
struct Done<'a> {
    verb: &'static str,
    /// As it was before.
    sink: &'a SinkEntry,
    digest: &'a str,
    /// What the sink may do from now on and could not before.
    given: &'a Grants,
}

impl Done<'_> {
    fn tell(&self, places: &Places, is_json: bool, beyond: &str) -> anyhow::Result<ExitCode> {
        let (name, former, server) = (&self.sink.name, &self.sink.digest, places.aftermath());
        let given: Vec<_> = self.given.iter().map(|grant| grant.name()).collect();
        if is_json {
            let (digest, granted) = (self.digest, given);
            print_json(
                &json!({ "sink": name, "digest": digest, "former": former, "granted": granted, "server": server }),
            )?;
        } else {
            let (new, old) = (digest::short(self.digest), digest::short(former));
            let given =
                if given.is_empty() { String::new() } else { format!("now granted too: {}\n", given.join(", ")) };
            print(format!("sink {name} {} from {old} to {new}\n{given}{beyond}{server}\n", self.verb))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn sink_of<'a>(file: &'a RegistryFile, name: &str) -> Result<&'a SinkEntry, EditError> {
    file.sink(name).ok_or_else(|| missing("sink", name, file.sinks.iter().map(|sink| sink.name.as_str())))
}

// A binding that is switched off counts: switching it on is no moment to find out.
fn check_bindings(component: &Component, file: &RegistryFile, sink: &str) -> anyhow::Result<()> {
    let answers = |event: EventKind| component.events().contains(&event);
    let unanswered: Vec<_> = file.bindings_of(sink).filter(|binding| !answers(binding.event)).collect();
    if unanswered.is_empty() {
        return Ok(());
    }
    let bindings: Vec<_> = unanswered.iter().map(|binding| binding.name.as_str()).collect();
    let exports: Vec<_> = component.events().iter().map(|event| event.name()).collect();
    bail!(
        "the component {} does not answer what sink {sink} is bound to ({}); it exports {}; nothing was changed; build it \
         with these events, or take the bindings away with `basin sink unbind {}` first",
        digest::short(component.digest()),
        bindings.join(", "),
        exports.join(", "),
        bindings.join(" "),
    )
}
