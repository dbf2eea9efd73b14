//! `basin sink enable|disable|remove|set|unset|grant|revoke`.

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use basin_core::event::{Grants, SinkEntry};

use super::add::{LimitArgs, parse_grants, parse_secrets, parse_settings};
use super::places::Places;
use crate::cli::Context;
use crate::cli::table::print;
use crate::registry::edit::missing;
use crate::registry::words::parse_grant;
use crate::registry::{Edit, EditError};

/// Arguments of `basin sink enable`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  basin sink enable stamp\n  basin sink enable stamp/on-submission")]
pub(super) struct Enable {
    /// Names of sinks or bindings.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Arguments of `basin sink disable`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  basin sink disable stamp\n  basin sink disable stamp/on-submission")]
pub(super) struct Disable {
    /// Names of sinks or bindings.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Enable {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        switch(&self.names, true, context)
    }
}

impl Disable {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        switch(&self.names, false, context)
    }
}

fn switch(names: &[String], is_enabled: bool, context: &Context) -> anyhow::Result<ExitCode> {
    let places = Places::find(context)?;
    let mut edit = Edit::begin(&places.store)?;
    for name in names {
        // Sinks have no slash in their names; a binding whose name somebody chose may have none either.
        if edit.before().sink(name).is_some() || edit.before().binding(name).is_none() {
            edit.enable_sink(name, is_enabled)?;
        } else {
            edit.enable_binding(name, is_enabled)?;
        }
    }
    edit.commit()?;
    let done = if is_enabled { "enabled" } else { "disabled" };
    print(format!("{done}: {}\n{}\n", names.join(", "), places.aftermath()))?;
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `basin sink remove`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  basin sink remove stamp\nTo keep it and not call it: basin sink disable stamp")]
pub(super) struct Remove {
    /// Names of sinks.
    #[arg(required = true, value_name = "SINK")]
    sinks: Vec<String>,
}

impl Remove {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let mut edit = Edit::begin(&places.store)?;
        self.sinks.iter().try_for_each(|sink| edit.remove_sink(sink))?;
        edit.commit()?;
        print(format!("removed: {}\n{}\n", self.sinks.join(", "), places.aftermath()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `basin sink set`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  basin sink set stamp field=X-Stamp\n  basin sink set stamp --memory 128MiB --deadline 2s"
)]
pub(super) struct Set {
    /// Name of the sink.
    sink: String,
    /// Values of its configuration.
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// A value that is read from a file, and shown nowhere.
    #[arg(long = "secret", value_name = "KEY=@FILE")]
    secrets: Vec<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

impl Set {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let settings = parse_settings(&self.settings)?;
        let secrets = parse_secrets(&self.secrets)?;
        let mut edit = Edit::begin(&places.store)?;
        let before = sink_of(&edit, &self.sink)?.budget;
        let limits = self.limits.over(before)?;
        if settings.is_empty() && secrets.is_empty() && limits == before {
            bail!("nothing to set; write KEY=VALUE, --secret, --fuel, --memory or --deadline");
        }
        for (key, secret) in &secrets {
            edit.set_secret(&self.sink, key, &secret.file)?;
        }
        for (key, value) in &settings {
            edit.set_config(&self.sink, key, value)?;
        }
        if limits != before {
            edit.set_limits(&self.sink, &limits)?;
        }
        edit.commit()?;
        print(format!("set for {}\n{}\n", self.sink, places.aftermath()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `basin sink unset`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  basin sink unset stamp field\n  basin sink unset stamp --memory")]
pub(super) struct Unset {
    /// Name of the sink.
    sink: String,
    /// Keys of its configuration.
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Back to the default fuel.
    #[arg(long)]
    fuel: bool,
    /// Back to the default memory.
    #[arg(long)]
    memory: bool,
    /// Back to the default deadline.
    #[arg(long)]
    deadline: bool,
}

impl Unset {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let mut edit = Edit::begin(&places.store)?;
        let sink = sink_of(&edit, &self.sink)?;
        if self.keys.is_empty() && !(self.fuel || self.memory || self.deadline) {
            bail!("nothing to unset; name keys, --fuel, --memory or --deadline");
        }
        for key in &self.keys {
            if !edit.unset_config(&self.sink, key)? {
                let keys = sink.config.keys().chain(sink.secrets.keys()).map(String::as_str);
                return Err(missing("configuration key", key, keys).into());
            }
        }
        let mut limits = sink.budget;
        limits.fuel = limits.fuel.filter(|_| !self.fuel);
        limits.memory = limits.memory.filter(|_| !self.memory);
        limits.deadline_ms = limits.deadline_ms.filter(|_| !self.deadline);
        if limits != sink.budget {
            edit.set_limits(&self.sink, &limits)?;
        }
        edit.commit()?;
        print(format!("unset for {}\n{}\n", self.sink, places.aftermath()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `basin sink grant`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  basin sink grant stamp read-headers edit-headers")]
pub(super) struct GrantMore {
    /// Name of the sink.
    sink: String,
    /// What it may do from now on.
    #[arg(required = true, value_name = "GRANT")]
    grants: Vec<String>,
}

impl GrantMore {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let more = parse_grants(&self.grants)?;
        change_grants(&self.sink, context, |before| Ok(before.iter().chain(more.iter()).collect()))
    }
}

/// Arguments of `basin sink revoke`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  basin sink revoke stamp edit-headers")]
pub(super) struct Revoke {
    /// Name of the sink.
    sink: String,
    /// What it may no longer do.
    #[arg(required = true, value_name = "GRANT")]
    grants: Vec<String>,
}

impl Revoke {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        change_grants(&self.sink, context, |before| {
            let mut left: Vec<_> = before.iter().collect();
            for name in &self.grants {
                let grant = parse_grant(name).map_err(|error| anyhow!(error))?;
                if !before.has(grant) {
                    let has: Vec<_> = before.iter().map(|grant| grant.name()).collect();
                    let has = if has.is_empty() { "nothing".to_owned() } else { has.join(", ") };
                    bail!("sink {} has no grant {grant}; it has {has}", self.sink);
                }
                left.retain(|kept| *kept != grant);
            }
            Ok(left.into_iter().collect())
        })
    }
}

fn change_grants(
    sink: &str,
    context: &Context,
    change: impl FnOnce(&Grants) -> anyhow::Result<Grants>,
) -> anyhow::Result<ExitCode> {
    let places = Places::find(context)?;
    let mut edit = Edit::begin(&places.store)?;
    let before = sink_of(&edit, sink)?.grants;
    let grants = change(&before)?;
    // What is taken away needs no look.
    if grants.iter().any(|grant| !before.has(grant)) {
        places.check_dirs(&grants, std::iter::empty())?;
    }
    edit.set_grants(sink, &grants)?;
    edit.commit()?;
    let names: Vec<_> = grants.iter().map(|grant| grant.name()).collect();
    let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    print(format!("sink {sink} is granted: {names}\n{}\n", places.aftermath()))?;
    Ok(ExitCode::SUCCESS)
}

fn sink_of(edit: &Edit, name: &str) -> Result<SinkEntry, EditError> {
    let names = edit.before().sinks.iter().map(|sink| sink.name.as_str());
    edit.before().sink(name).cloned().ok_or_else(|| missing("sink", name, names))
}
