//! `basin sink add`: a component becomes a sink.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use basin_core::event::{BudgetOverride, EventKind, Grants, Rule, SinkEntry, SinkSecret};

use super::binding_args::{BindingArgs, check_events};
use super::consent::{Consent, ConsentArgs, request};
use super::needs;
use super::places::{Places, compile, read_component};
use crate::cli::Context;
use crate::cli::table::print;
use crate::clock::now;
use crate::registry::manifest::Manifest;
use crate::registry::secret::read_secret;
use crate::registry::words::{
    check_config, check_fuel, check_sink_name, parse_deadline, parse_grant, parse_memory, parse_setting,
};
use crate::registry::{Edit, RegistryFile, Versions, digest};

/// Limits of a call, as flags.
#[derive(Debug, Default, clap::Args)]
pub(super) struct LimitArgs {
    /// Units of fuel for one call, about one for each instruction.
    #[arg(long, value_name = "NUMBER")]
    fuel: Option<i64>,
    /// Memory of one call, as in 64MiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Time of one call, as in 250ms.
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
}

impl LimitArgs {
    /// The limits that were named, over those of `before`.
    pub(super) fn over(&self, before: BudgetOverride) -> anyhow::Result<BudgetOverride> {
        let flag = |name: &'static str| move |error: String| anyhow!("--{name}: {error}");
        let fuel = self.fuel.map(check_fuel).transpose().map_err(flag("fuel"))?;
        let memory = self.memory.as_deref().map(parse_memory).transpose().map_err(flag("memory"))?;
        let deadline_ms = self.deadline.as_deref().map(parse_deadline).transpose().map_err(flag("deadline"))?;
        Ok(BudgetOverride {
            fuel: fuel.or(before.fuel),
            memory: memory.or(before.memory),
            deadline_ms: deadline_ms.or(before.deadline_ms),
        })
    }
}

/// Arguments of `basin sink add`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  basin sink add stamp.wasm --name stamp --event on-end-of-data \\
      --grant read-headers --grant edit-headers
  basin sink add packed.wasm --name stamp --yes
  basin sink add filter.wasm --name filter \\
      --event 'on-inbound-command:verb=RCPT;client!=192.0.2.0/24' \\
      --priority 100 --on-failure skip --set list=blocked
Rules: field=pattern, field!=pattern or size>octets, joined by \";\"; \"|\" between
alternatives, \"*\" for any text, <> for the null sender. `basin sink explain` says whether
a rule holds.
Without --grant a sink may read what its events have to read, and nothing else.
Where the component has a manifest, what it asks for is shown, and nothing is granted that
you did not name with --grant or confirm with --yes; without --event it is bound where the
manifest says.")]
pub(super) struct Add {
    /// The component, a .wasm file.
    file: PathBuf,
    /// Name of the sink: a-z 0-9 -, beginning with a letter.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    bindings: BindingArgs,
    #[command(flatten)]
    consent: ConsentArgs,
    /// A value of the sink's configuration.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// A value of the sink's configuration that is read from a file, and shown nowhere.
    #[arg(long = "secret", value_name = "KEY=@FILE")]
    secrets: Vec<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

impl Add {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        check_sink_name(&self.name).map_err(|error| anyhow!("--name: {error}"))?;
        let octets = read_component(&self.file)?;
        let manifest = Manifest::of(&octets, &self.file)?;
        let events = self.bindings.events(manifest.as_ref().map_or(&[], |manifest| &manifest.events))?;
        let is_default = manifest.is_none() && self.consent.grants.is_empty();
        let Consent { grants, is_whole } = self.grants(manifest.as_ref(), &events)?;
        let config = parse_settings(&self.settings)?;
        let secrets = parse_secrets(&self.secrets)?;
        let asked = manifest.as_ref().filter(|_| is_whole).map(|manifest| manifest.limits);
        let budget = self.limits.over(asked.unwrap_or_default())?;
        refuse_taken_name(&places.store.read()?, &self.name)?;
        let own_secrets = secrets.iter().map(|(_, secret)| secret.file.as_str());
        places.check_dirs(&grants, own_secrets)?;
        // Compiled before the lock is taken: it may last seconds, and nobody should wait for it.
        let (_, component) = compile(&self.file, &octets, Some(&places.config))?;
        check_events(&component, &events)?;

        let mut edit = Edit::begin(&places.store)?;
        refuse_taken_name(edit.before(), &self.name)?;
        let sink = SinkEntry {
            name: self.name.clone(),
            digest: component.digest().to_owned(),
            source: source_of(&self.file),
            grants,
            budget,
            config: config.into_iter().collect(),
            secrets: secrets.into_iter().collect(),
            is_enabled: true,
        };
        edit.add_sink(&sink);
        let asked = manifest.as_ref().map(|manifest| manifest.grants.clone()).unwrap_or_default();
        let versions = Versions { since: Some(now()), asked, former: Vec::new() };
        edit.set_component(&sink.name, (&sink.digest, &sink.source), &versions)?;
        let names = self.bindings.add_to(&mut edit, &self.name, &events, &places)?;
        // Last, so that a refusal leaves nothing behind; before the file names it.
        places.store.put_component(&octets)?;
        edit.commit()?;
        let request = manifest.map(|manifest| request(&manifest, &manifest.grants)).unwrap_or_default();
        print(request + &self.report(&sink, &names, &octets, (&places, is_default)))?;
        Ok(ExitCode::SUCCESS)
    }

    // Without a manifest: what was named, or what the events have to read.
    fn grants(&self, manifest: Option<&Manifest>, events: &[(EventKind, Rule)]) -> anyhow::Result<Consent> {
        if let Some(manifest) = manifest {
            return self.consent.ask(manifest, &Grants::default(), "registered");
        }
        if self.consent.yes {
            bail!("--yes: the component has no manifest, so it asks for nothing; name what you grant with --grant");
        }
        let named = parse_grants(&self.consent.grants)?;
        let grants = if self.consent.grants.is_empty() { BindingArgs::reading(events) } else { named };
        Ok(Consent { grants, is_whole: false })
    }

    fn report(
        &self,
        sink: &SinkEntry,
        bindings: &[String],
        octets: &[u8],
        (places, is_default): (&Places, bool),
    ) -> String {
        let mut text = format!("sink {} added (sha256 {})\n", sink.name, digest::short(&sink.digest));
        let state = if self.bindings.disabled { ", switched off" } else { "" };
        bindings.iter().for_each(|name| text.push_str(&format!("bound as {name}{state}\n")));
        text.push_str(&grants_line(&sink.grants, is_default));
        text.push_str(&beyond_lines(octets, &sink.grants, &sink.name));
        text.push_str(&format!("{}\n", places.aftermath()));
        text
    }
}

fn grants_line(grants: &Grants, is_default: bool) -> String {
    let names: Vec<_> = grants.iter().map(|grant| grant.name()).collect();
    let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let why = if is_default { " (what its events have to read; --grant says otherwise)" } else { "" };
    format!("granted: {names}{why}\n")
}

/// What the imports suggest beyond the grants, and the command that gives it.
pub(super) fn beyond_lines(octets: &[u8], grants: &Grants, sink: &str) -> String {
    let beyond = needs::beyond(octets, grants);
    let named = beyond.iter().map(|(grant, functions)| (grant.name(), functions.as_str()));
    let beyond: Vec<_> = named.chain(needs::world_beyond(octets, grants)).collect();
    if beyond.is_empty() {
        return String::new();
    }
    let mut text = "not granted, though its imports suggest that it wants it:\n".to_owned();
    beyond.iter().for_each(|(grant, functions)| text.push_str(&format!("  {grant} for {functions}\n")));
    let names: Vec<_> = beyond.iter().map(|(grant, _)| *grant).collect();
    text + &format!("  to give it: basin sink grant {sink} {}\n", names.join(" "))
}

// Asked twice: early, so that nobody waits for the compiler in vain, and under the lock, so that it is true.
fn refuse_taken_name(file: &RegistryFile, name: &str) -> anyhow::Result<()> {
    if file.sink(name).is_some() {
        bail!(
            "there is a sink {name:?} already; choose another name, or `basin sink remove {name}` first (`basin sink \
             bind {name}` adds bindings to it)"
        );
    }
    Ok(())
}

// The full path helps whoever asks later where a sink came from.
pub(super) fn source_of(file: &Path) -> String {
    file.canonicalize().unwrap_or_else(|_| file.to_owned()).display().to_string()
}

pub(super) fn parse_grants(names: &[String]) -> anyhow::Result<Grants> {
    names.iter().map(|name| parse_grant(name).map_err(|error| anyhow!(error))).collect()
}

/// Reads `KEY=@FILE`. The registry names the file; it is read here as well, so that a mistake shows at once.
pub(super) fn parse_secrets(texts: &[String]) -> anyhow::Result<Vec<(String, SinkSecret)>> {
    let parse = |text: &String| -> anyhow::Result<(String, SinkSecret)> {
        // The text is not repeated: it may be the secret itself.
        let (key, file) = text.split_once("=@").filter(|(_, file)| !file.is_empty()).ok_or_else(|| {
            anyhow!("--secret: write KEY=@FILE; a secret comes from a file, or it would stand in the shell's history")
        })?;
        let path = std::path::absolute(file)?;
        let value = read_secret(&path).map_err(|why| anyhow!("--secret {key}: {why}"))?;
        let file = path.to_str().ok_or_else(|| anyhow!("--secret {key}: the name of the file is no text"))?.to_owned();
        check_config(key, &file).map_err(|error| anyhow!("--secret: {error}"))?;
        Ok((key.to_owned(), SinkSecret { file, value }))
    };
    texts.iter().map(parse).collect()
}

pub(super) fn parse_settings(texts: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    texts.iter().map(|text| parse_setting(text).map_err(|error| anyhow!("--set: {error}"))).collect()
}
