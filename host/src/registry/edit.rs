//! Changing the registry file: under a lock, with its comments kept, as a whole or not at all.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use basin_core::event::binding::PRIORITY_DEFAULT;
use basin_core::event::{Binding, BudgetOverride, Grants, InstanceMode, Mode, SinkEntry};
use thiserror::Error;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::registry::words::default_policy;
use crate::registry::{FileError, RegistryFile, Store, StoreError, Versions, quantity};

/// How long to wait for another editor. An edit takes milliseconds; who holds the lock longer hangs.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often to look whether the lock is free.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// What a new registry file begins with.
const NEW_FILE: &str = "\
# Sinks and what they are bound to. `basin sink` edits this file under a lock and keeps your comments; you
# may edit it too. A running server applies a change within a second, and keeps what it has if the file is
# wrong: `basin sink list` says so.

version = 1
";

/// Why an edit did not happen. The file is as it was.
#[derive(Debug, Error)]
pub enum EditError {
    /// The directory could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else is editing.
    #[error("cannot edit the registry: another process has held {0} for {wait} s; see who with `fuser {0}`", wait = LOCK_WAIT_MAX.as_secs())]
    Locked(String),
    /// There is no such row.
    #[error("there is no {kind} {name:?}{hint}")]
    Missing {
        /// "sink" or "binding".
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What may have been meant, where anything was.
        hint: String,
    },
    /// The change would make a file that no server takes.
    #[error("the change is not possible: {0}")]
    Refused(String),
}

impl From<FileError> for EditError {
    fn from(error: FileError) -> Self {
        Self::Store(error.into())
    }
}

/// A change of the registry file that has begun; dropping it leaves the file as it was.
#[derive(Debug)]
pub struct Edit {
    store: Store,
    document: DocumentMut,
    before: RegistryFile,
    // Names of the bindings by their place in the document: the file need not give them any.
    binding_names: Vec<String>,
    // The lock is the open file; it ends when this is dropped.
    _lock: File,
}

impl Edit {
    /// Takes the lock and reads the file. A registry that does not exist yet is made.
    ///
    /// # Errors
    /// The directory cannot be written, somebody else holds the lock, or the file is broken: a broken file
    /// is mended by whoever broke it, not overwritten.
    pub fn begin(store: &Store) -> Result<Self, EditError> {
        store.create()?;
        let lock = lock(store, LOCK_WAIT_MAX)?;
        let text = store.text()?.unwrap_or_else(|| NEW_FILE.to_owned());
        let path = store.file_path();
        let before = RegistryFile::parse(&text, &path)?;
        let document = text.parse::<DocumentMut>().map_err(|error| FileError {
            path,
            line: 1,
            problem: error.message().to_owned(),
        })?;
        let binding_names = before.bindings.iter().map(|binding| binding.name.clone()).collect();
        Ok(Self { store: store.clone(), document, before, binding_names, _lock: lock })
    }

    /// The registry before this change.
    pub fn before(&self) -> &RegistryFile {
        &self.before
    }

    /// Adds a sink at the end.
    pub fn add_sink(&mut self, sink: &SinkEntry) {
        let mut table = Table::new();
        table.insert("name", text(&sink.name));
        table.insert("digest", text(&sink.digest));
        if !sink.source.is_empty() {
            table.insert("source", text(&sink.source));
        }
        put_grants(&mut table, &sink.grants);
        put_limits(&mut table, &sink.budget);
        if !sink.is_enabled {
            table.insert("enabled", toml_edit::value(false));
        }
        if !sink.config.is_empty() {
            let mut config = Table::new();
            sink.config.iter().for_each(|(key, value)| drop(config.insert(key, text(value))));
            table.insert("config", Item::Table(config));
        }
        if !sink.secrets.is_empty() {
            let mut secrets = Table::new();
            sink.secrets.iter().for_each(|(key, secret)| drop(secrets.insert(key, text(&secret.file))));
            table.insert("secrets", Item::Table(secrets));
        }
        self.rows("sink").push(table);
    }

    /// Adds a binding at the end. What has its default is not written.
    pub fn add_binding(&mut self, binding: &Binding) {
        let mut table = Table::new();
        table.insert("name", text(&binding.name));
        table.insert("sink", text(&binding.sink));
        table.insert("event", text(binding.event.name()));
        if !binding.rule.text().is_empty() {
            table.insert("rule", text(binding.rule.text()));
        }
        if binding.priority != PRIORITY_DEFAULT {
            table.insert("priority", toml_edit::value(i64::from(binding.priority)));
        }
        if let Some(listener) = &binding.listener {
            table.insert("listener", text(listener));
        }
        if binding.mode != Mode::default() {
            table.insert("mode", text(binding.mode.word()));
        }
        if binding.instance != InstanceMode::default() {
            table.insert("instance", text(binding.instance.word()));
        }
        if binding.on_failure != default_policy(binding.event) {
            table.insert("on-failure", text(binding.on_failure.word()));
        }
        if let Some(firings) = binding.max_firings.and_then(|firings| i64::try_from(firings).ok()) {
            table.insert("max-firings", toml_edit::value(firings));
        }
        if let Some(moment) = binding.expires.and_then(|expires| expires.to_rfc3339().parse().ok()) {
            table.insert("expires", toml_edit::value(Value::Datetime(toml_edit::Formatted::new(moment))));
        }
        if let Some(schedule) = &binding.schedule {
            table.insert("schedule", text(schedule.text()));
        }
        if !binding.is_enabled {
            table.insert("enabled", toml_edit::value(false));
        }
        self.rows("binding").push(table);
        self.binding_names.push(binding.name.clone());
    }

    /// Takes a sink away, with its bindings.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove_sink(&mut self, name: &str) -> Result<(), EditError> {
        self.sink_row(name)?;
        self.rows("sink").retain(|table| table.get("name").and_then(Item::as_str) != Some(name));
        let bindings: Vec<_> = self.before.bindings_of(name).map(|binding| binding.name.clone()).collect();
        bindings.iter().try_for_each(|binding| self.remove_binding(binding))
    }

    /// Takes a binding away.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove_binding(&mut self, name: &str) -> Result<(), EditError> {
        let index = self.index_of_binding(name)?;
        self.rows("binding").remove(index);
        self.binding_names.remove(index);
        Ok(())
    }

    /// Switches a sink on or off.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn enable_sink(&mut self, name: &str, is_enabled: bool) -> Result<(), EditError> {
        put_switch(self.sink_row(name)?, is_enabled);
        Ok(())
    }

    /// Switches a binding on or off.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn enable_binding(&mut self, name: &str, is_enabled: bool) -> Result<(), EditError> {
        let index = self.index_of_binding(name)?;
        if let Some(table) = self.rows("binding").get_mut(index) {
            put_switch(table, is_enabled);
        }
        Ok(())
    }

    /// Sets a key of a sink's configuration.
    ///
    /// # Errors
    /// There is no sink of that name.
    pub fn set_config(&mut self, sink: &str, key: &str, value: &str) -> Result<(), EditError> {
        self.set_value(sink, "config", key, value)
    }

    /// Names the file that a secret of a sink comes from.
    ///
    /// # Errors
    /// There is no sink of that name.
    pub fn set_secret(&mut self, sink: &str, key: &str, file: &str) -> Result<(), EditError> {
        self.set_value(sink, "secrets", key, file)
    }

    fn set_value(&mut self, sink: &str, table: &str, key: &str, value: &str) -> Result<(), EditError> {
        let values = self.sink_row(sink)?.entry(table).or_insert_with(|| Item::Table(Table::new()));
        if let Some(values) = values.as_table_like_mut() {
            put(values, key, text(value));
        }
        Ok(())
    }

    /// Takes a key out of a sink's configuration, or its secrets, and says whether it was there.
    ///
    /// # Errors
    /// There is no sink of that name.
    pub fn unset_config(&mut self, sink: &str, key: &str) -> Result<bool, EditError> {
        let row = self.sink_row(sink)?;
        let mut was_there = false;
        for table in ["config", "secrets"] {
            let Some(values) = row.get_mut(table).and_then(Item::as_table_like_mut) else { continue };
            was_there |= values.remove(key).is_some();
            if values.is_empty() {
                row.remove(table);
            }
        }
        Ok(was_there)
    }

    /// Puts a component in the place of the one that a sink has, and writes down what was before.
    ///
    /// # Errors
    /// There is no sink of that name.
    pub fn set_component(
        &mut self,
        sink: &str,
        (digest, source): (&str, &str),
        versions: &Versions,
    ) -> Result<(), EditError> {
        let row = self.sink_row(sink)?;
        put(row, "digest", text(digest));
        if source.is_empty() {
            row.remove("source");
        } else {
            put(row, "source", text(source));
        }
        versions.write(row);
        Ok(())
    }

    /// Replaces the grants of a sink.
    ///
    /// # Errors
    /// There is no sink of that name.
    pub fn set_grants(&mut self, sink: &str, grants: &Grants) -> Result<(), EditError> {
        put_grants(self.sink_row(sink)?, grants);
        Ok(())
    }

    /// Replaces the limits of a sink.
    ///
    /// # Errors
    /// There is no sink of that name.
    pub fn set_limits(&mut self, sink: &str, limits: &BudgetOverride) -> Result<(), EditError> {
        put_limits(self.sink_row(sink)?, limits);
        Ok(())
    }

    /// Writes the file, unless a server would refuse it.
    ///
    /// # Errors
    /// The new file would be broken, or cannot be written; the old one stands then.
    pub fn commit(self) -> Result<RegistryFile, EditError> {
        let text = self.document.to_string();
        let path = self.store.file_path();
        let after = RegistryFile::parse(&text, &path).map_err(|error| EditError::Refused(error.problem))?;
        self.store.write(&path, text.as_bytes())?;
        self.store.note_changes(&self.before, &after);
        self.store.sweep(&after)?;
        Ok(after)
    }

    // The file was parsed before, so where the key exists it is an array of tables; an empty inline array
    // cannot pass the parser.
    fn rows(&mut self, key: &str) -> &mut ArrayOfTables {
        let item = self.document.entry(key).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        if !item.is_array_of_tables() {
            *item = Item::ArrayOfTables(ArrayOfTables::new());
        }
        item.as_array_of_tables_mut().expect("the item was made an array of tables above")
    }

    fn sink_row(&mut self, name: &str) -> Result<&mut Table, EditError> {
        let missing = missing("sink", name, self.before.sinks.iter().map(|sink| sink.name.as_str()));
        let is_it = |table: &&mut Table| table.get("name").and_then(Item::as_str) == Some(name);
        self.rows("sink").iter_mut().find(is_it).ok_or(missing)
    }

    // Where the file gives a binding no name, its name is made from its place; so the place is what counts.
    fn index_of_binding(&self, name: &str) -> Result<usize, EditError> {
        let missing = || missing("binding", name, self.binding_names.iter().map(String::as_str));
        self.binding_names.iter().position(|binding| binding == name).ok_or_else(missing)
    }
}

/// The error for a row that is not there, with what may have been meant.
pub fn missing<'a>(kind: &'static str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> EditError {
    let hint = crate::registry::suggest::hint(name, known.clone());
    let hint = match (hint.is_empty(), known.clone().next()) {
        (false, _) => hint,
        (true, Some(_)) => format!("; there is {}", known.collect::<Vec<_>>().join(", ")),
        (true, None) => "; the registry has none".to_owned(),
    };
    EditError::Missing { kind, name: name.to_owned(), hint }
}

#[expect(clippy::disallowed_methods, reason = "the system has no wait for a file lock that ends")]
fn lock(store: &Store, wait: Duration) -> Result<File, EditError> {
    let path = store.lock_path();
    let io = |source| StoreError::Io { doing: "lock", path: path.clone(), source };
    let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(no_link);
    // Only what was made here is given to the server's user, who might have put another's file there.
    let file = match options.clone().create_new(true).open(&path) {
        Ok(made) => store.hand_over(&made).map(|()| made),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(&path),
        Err(error) => Err(error),
    };
    let file = file.map_err(io)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(io(source).into()),
            Err(TryLockError::WouldBlock) if started.elapsed() >= wait => {
                return Err(EditError::Locked(path.display().to_string()));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
        }
    }
}

fn text(text: &str) -> Item {
    toml_edit::value(text)
}

// Replaces the value and leaves the comment behind it and the white space around it.
fn put(table: &mut dyn TableLike, key: &str, item: Item) {
    match (table.get_mut(key).and_then(Item::as_value_mut), item) {
        (Some(old), Item::Value(mut new)) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        (_, item) => drop(table.insert(key, item)),
    }
}

fn put_switch(table: &mut Table, is_enabled: bool) {
    put(table, "enabled", toml_edit::value(is_enabled));
}

fn put_grants(table: &mut Table, grants: &Grants) {
    let names: Array = grants.iter().map(|grant| grant.name()).collect();
    put(table, "grants", toml_edit::value(names));
}

fn put_limits(table: &mut Table, limits: &BudgetOverride) {
    let mut inline = InlineTable::new();
    if let Some(fuel) = limits.fuel.and_then(|fuel| i64::try_from(fuel).ok()) {
        inline.insert("fuel", fuel.into());
    }
    if let Some(memory) = limits.memory {
        inline.insert("memory", quantity::show_size(memory).into());
    }
    if let Some(deadline) = limits.deadline_ms {
        inline.insert("deadline", quantity::show_duration(deadline).into());
    }
    if inline.is_empty() {
        table.remove("limits");
    } else {
        put(table, "limits", toml_edit::value(inline));
    }
}

#[cfg(test)]
mod tests;
