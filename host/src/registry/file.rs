//! `registry.toml`: what it may say, and every complaint about it.
//!
//! ```toml
//! version = 1
//!
//! [[sink]]
//! name = "stamp"
//! digest = "0f3c…"                        # SHA-256; the component is components/<digest>.wasm
//! source = "stamp-header.wasm"            # where it came from, for people
//! since = 2026-01-31T12:00:00Z            # when it came into force
//! grants = ["read-headers", "edit-headers"]
//! limits = { fuel = 50_000_000, memory = "64MiB", deadline = "250ms" }
//! config = { field = "X-Stamp" }
//! secrets = { token = "/etc/basin/token" } # files; what is in them stands nowhere else
//!
//! [[sink.former]]                         # what was in force before, the last first; `basin sink rollback`
//! digest = "9a41…"
//! until = 2026-01-31T12:00:00Z
//!
//! [[binding]]
//! name = "stamp/on-end-of-data"
//! sink = "stamp"
//! event = "on-end-of-data"
//! rule = "rcpt to=*@example.org;size>1024"
//! priority = 24575
//! on-failure = "defer"
//! ```
//!
//! A file is taken whole or not at all: a registry that is half in force is one that nobody understands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use basin_core::event::binding::PRIORITY_DEFAULT;
use basin_core::event::registry::RegistryError;
use basin_core::event::{
    Binding, BudgetOverride, EventKind, InstanceMode, Mode, Registry, Rule, SinkEntry, SinkSecret,
};
use basin_core::secret::Secret;
use toml_edit::{Document, TableLike};

use crate::registry::fields::{Fields, FileError, Found, Source};
use crate::registry::suggest;
use crate::registry::versions::{Versions, check_digest, read_grants};
use crate::registry::words::{
    check_binding_name, check_config, check_firings, check_fuel, check_place, check_priority, check_sink_name,
    default_policy, parse_deadline, parse_event, parse_instance, parse_memory, parse_mode, parse_moment, parse_policy,
    parse_schedule,
};

/// The version of the format that this program reads and writes.
pub const VERSION: i64 = 1;

const FILE_KEYS: &[&str] = &["version", "sink", "binding"];
const SINK_KEYS: &[&str] =
    &["name", "digest", "source", "grants", "limits", "config", "secrets", "enabled", "since", "former", "asked"];
const LIMIT_KEYS: &[&str] = &["fuel", "memory", "deadline"];
const BINDING_KEYS: &[&str] = &[
    "name",
    "sink",
    "event",
    "rule",
    "priority",
    "listener",
    "mode",
    "instance",
    "on-failure",
    "max-firings",
    "expires",
    "schedule",
    "enabled",
];

/// A registry file that was read and checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryFile {
    /// Sinks in the order of the file.
    pub sinks: Vec<SinkEntry>,
    /// Bindings in the order of the file.
    pub bindings: Vec<Binding>,
    /// What is known of the components of each sink, by its name.
    pub versions: BTreeMap<String, Versions>,
}

impl RegistryFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        let source = Source { path, text };
        let document = Document::parse(text)
            .map_err(|error| source.error(error.span(), format!("this is no TOML: {}", error.message().trim())))?;
        let table: &dyn TableLike = document.as_table();
        check_version(source, table)?;
        let fields = Fields::open(source, table, None, "the registry", FILE_KEYS)?;
        let mut file = Self::default();
        for table in fields.tables("sink")? {
            let (sink, versions) = read_sink(source, table)?;
            if file.sink(&sink.name).is_some() {
                let problem = format!("a second sink with the name {:?}; rename one", sink.name);
                return Err(source.error(table.span(), problem));
            }
            file.versions.insert(sink.name.clone(), versions);
            file.sinks.push(sink);
        }
        for table in fields.tables("binding")? {
            let binding = read_binding(source, table, &file)?;
            if file.bindings.iter().any(|other| other.name == binding.name) {
                let problem = format!("a second binding with the name {:?}; rename one", binding.name);
                return Err(source.error(table.span(), problem));
            }
            file.bindings.push(binding);
        }
        Ok(file)
    }

    /// The sink of that name.
    pub fn sink(&self, name: &str) -> Option<&SinkEntry> {
        self.sinks.iter().find(|sink| sink.name == name)
    }

    /// What is known of the components of a sink.
    pub fn versions_of(&self, sink: &str) -> Versions {
        self.versions.get(sink).cloned().unwrap_or_default()
    }

    /// Whether a sink has a component with this digest, or had it and may go back to it.
    pub fn has_component(&self, digest: &str) -> bool {
        let former = self.versions.values().flat_map(|versions| &versions.former);
        self.sinks.iter().any(|sink| sink.digest == digest)
            || former.into_iter().any(|version| version.digest == digest)
    }

    /// The binding of that name.
    pub fn binding(&self, name: &str) -> Option<&Binding> {
        self.bindings.iter().find(|binding| binding.name == name)
    }

    /// The bindings of a sink.
    pub fn bindings_of<'a>(&'a self, sink: &'a str) -> impl Iterator<Item = &'a Binding> {
        self.bindings.iter().filter(move |binding| binding.sink == sink)
    }

    /// The files that secrets of sinks are in.
    pub fn secret_files(&self) -> impl Iterator<Item = &str> {
        self.sinks.iter().flat_map(|sink| sink.secrets.values().map(|secret| secret.file.as_str()))
    }

    /// What the machines plan with.
    ///
    /// # Errors
    /// None that [`RegistryFile::parse`] did not find before, and say better.
    pub fn to_registry(&self, generation: u64) -> Result<Registry, RegistryError> {
        Registry::new(generation, self.sinks.iter().cloned(), self.bindings.iter().cloned())
    }

    /// `SINK/EVENT`, with the first free number behind it where that name is taken.
    pub fn free_binding_name(&self, sink: &str, event: EventKind) -> String {
        let taken: BTreeSet<&str> = self.bindings.iter().map(|binding| binding.name.as_str()).collect();
        let plain = format!("{sink}/{event}");
        let numbered = (2..).map(|number| format!("{plain}/{number}"));
        std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name.as_str())).unwrap_or(plain)
    }
}

// The version is looked at before the keys: a newer file has keys that this program cannot know, and the
// honest complaint is about the version.
fn check_version(source: Source<'_>, table: &dyn TableLike) -> Result<(), FileError> {
    let Some(item) = table.get("version") else {
        return Err(source.error(None, format!("the version is missing; begin the file with version = {VERSION}")));
    };
    if item.as_integer() == Some(VERSION) {
        return Ok(());
    }
    let found = item.as_integer().map_or_else(|| item.type_name().to_owned(), |version| version.to_string());
    let problem = format!(
        "the version is {found}, and this basin reads version {VERSION}; use the basin that wrote the file, or \
         write version = {VERSION} if a slip of the pen did"
    );
    Err(source.error(item.span(), problem))
}

fn read_sink(source: Source<'_>, table: &toml_edit::Table) -> Result<(SinkEntry, Versions), FileError> {
    let mut fields = Fields::open(source, table, table.span(), "sink", SINK_KEYS)?;
    let name = fields.required("name")?;
    check_sink_name(name.value).map_err(|problem| fields.error_at(&name, problem))?;
    fields.what = format!("sink {:?}", name.value);
    let digest = fields.required("digest")?;
    check_digest(&fields, &digest)?;
    let grants = read_grants(&fields, "grants")?;
    let mut config = BTreeMap::new();
    for (key, value) in fields.texts("config")? {
        check_config(key, value.value).map_err(|problem| fields.error_at(&value, problem))?;
        config.insert(key.to_owned(), value.value.to_owned());
    }
    let mut secrets = BTreeMap::new();
    for (key, file) in fields.texts("secrets")? {
        check_config(key, file.value).map_err(|problem| fields.error_at(&file, problem))?;
        if config.contains_key(key) {
            return Err(fields.error_at(&file, format!("{key} is in `config` too; take one of the two away")));
        }
        secrets.insert(key.to_owned(), SinkSecret { file: file.value.to_owned(), value: Secret::default() });
    }
    let versions = Versions::read(&fields, source)?;
    let sink = SinkEntry {
        name: name.value.to_owned(),
        digest: digest.value.to_owned(),
        source: fields.string("source")?.map(|found| found.value.to_owned()).unwrap_or_default(),
        grants,
        budget: read_limits(&fields)?,
        config,
        secrets,
        is_enabled: fields.switch("enabled")?,
    };
    Ok((sink, versions))
}

fn read_limits(fields: &Fields<'_>) -> Result<BudgetOverride, FileError> {
    let mut budget = BudgetOverride::default();
    let Some(limits) = fields.table("limits", format!("limits of {}", fields.what), LIMIT_KEYS)? else {
        return Ok(budget);
    };
    if let Some(fuel) = limits.integer("fuel")? {
        budget.fuel = Some(check_fuel(fuel.value).map_err(|problem| limits.error_at(&fuel, problem))?);
    }
    if let Some(memory) = limits.string("memory")? {
        budget.memory = Some(parse_memory(memory.value).map_err(|problem| limits.error_at(&memory, problem))?);
    }
    if let Some(deadline) = limits.string("deadline")? {
        let parsed = parse_deadline(deadline.value).map_err(|problem| limits.error_at(&deadline, problem))?;
        budget.deadline_ms = Some(parsed);
    }
    Ok(budget)
}

fn read_binding(source: Source<'_>, table: &toml_edit::Table, file: &RegistryFile) -> Result<Binding, FileError> {
    let mut fields = Fields::open(source, table, table.span(), "binding", BINDING_KEYS)?;
    let at = |fields: &Fields<'_>, found: &Found<&str>, problem: String| fields.error_at(found, problem);
    let sink = fields.required("sink")?;
    let name = fields.string("name")?;
    fields.what = format!("binding {:?}", name.as_ref().map_or(sink.value, |name| name.value));
    if file.sink(sink.value).is_none() {
        let hint = suggest::hint(sink.value, file.sinks.iter().map(|sink| sink.name.as_str()));
        let problem = format!("there is no sink {:?} in this file{hint}", sink.value);
        return Err(at(&fields, &sink, problem));
    }
    let event = fields.required("event")?;
    let kind = parse_event(event.value).map_err(|problem| at(&fields, &event, problem))?;
    if let Some(name) = &name {
        check_binding_name(name.value).map_err(|problem| at(&fields, name, problem))?;
    }
    let rule = match fields.string("rule")? {
        Some(rule) => Rule::parse(rule.value, kind).map_err(|error| at(&fields, &rule, error.to_string()))?,
        None => Rule::default(),
    };
    let priority = match fields.integer("priority")? {
        Some(found) => check_priority(found.value).map_err(|problem| fields.error_at(&found, problem))?,
        None => PRIORITY_DEFAULT,
    };
    let mode = match fields.string("mode")? {
        Some(found) => parse_mode(found.value).map_err(|problem| at(&fields, &found, problem))?,
        None => Mode::default(),
    };
    let instance = match fields.string("instance")? {
        Some(found) => parse_instance(found.value).map_err(|problem| at(&fields, &found, problem))?,
        None => InstanceMode::default(),
    };
    let on_failure = match fields.string("on-failure")? {
        Some(found) => parse_policy(found.value, kind).map_err(|problem| at(&fields, &found, problem))?,
        None => default_policy(kind),
    };
    let max_firings = match fields.integer("max-firings")? {
        Some(found) => Some(check_firings(found.value).map_err(|problem| fields.error_at(&found, problem))?),
        None => None,
    };
    let expires = match fields.moment("expires")? {
        Some(found) => Some(parse_moment(&found.value).map_err(|problem| fields.error_at(&found, problem))?),
        None => None,
    };
    let listener = fields.string("listener")?;
    if let Some(listener) = &listener {
        check_place(kind).map_err(|problem| at(&fields, listener, problem))?;
    }
    let schedule = match fields.string("schedule")? {
        Some(found) => parse_schedule(Some(found.value), kind).map_err(|problem| at(&fields, &found, problem))?,
        None => parse_schedule(None, kind).map_err(|problem| fields.error(problem))?,
    };
    Ok(Binding {
        name: name.map_or_else(|| file.free_binding_name(sink.value, kind), |name| name.value.to_owned()),
        sink: sink.value.to_owned(),
        event: kind,
        rule,
        priority,
        listener: listener.map(|found| found.value.to_owned()),
        mode,
        instance,
        on_failure,
        is_enabled: fields.switch("enabled")?,
        expires,
        max_firings,
        schedule,
    })
}

#[cfg(test)]
mod tests;
