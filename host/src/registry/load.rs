//! From the directory to what the server calls: the registry of the machines and its compiled components.

mod former;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use basin_core::event::{Binding, EventKind, Failure, FailureKind, Registry, SinkEntry};
use basin_core::time::Timestamp;
use basin_sinks::{Component, Engine};

use self::former::Stayed;
use crate::registry::secret::read_secret;
use crate::registry::{OwnPlaces, RegistryFile, Store, StoreError, Versions};

/// Why the file on disk is not the registry in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Since when the server knows.
    pub since: Timestamp,
    /// File, line and what is wrong.
    pub why: String,
}

/// A registry in force, with the code of its sinks. Never changes; a reload puts another in its place.
#[derive(Clone)]
pub struct Loaded {
    /// Sinks and bindings.
    pub registry: Arc<Registry>,
    /// When it came into force.
    pub since: Timestamp,
    /// Why the file on disk is another and was not taken; `None` where the two agree.
    pub broken: Option<Broken>,
    components: BTreeMap<String, Arc<Component>>,
    failures: BTreeMap<String, String>,
    // Sinks whose former component stays because the one of the file could not be loaded.
    stayed: BTreeMap<String, Stayed>,
    // Since when each sink has its component, as the file says.
    moments: BTreeMap<String, Option<Timestamp>>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |map: &mut dyn Iterator<Item = &String>| map.cloned().collect::<Vec<_>>();
        f.debug_struct("Loaded")
            .field("generation", &self.registry.generation())
            .field("components", &names(&mut self.components.keys()))
            .field("failures", &self.failures)
            .field("stayed", &names(&mut self.stayed.keys()))
            .field("broken", &self.broken)
            .finish()
    }
}

impl Loaded {
    /// A registry without sinks; what a server has before its first load.
    pub fn empty(now: Timestamp) -> Self {
        Self {
            registry: Arc::new(Registry::default()),
            since: now,
            broken: None,
            components: BTreeMap::new(),
            failures: BTreeMap::new(),
            stayed: BTreeMap::new(),
            moments: BTreeMap::new(),
        }
    }

    /// The code to call for a binding, at its event or at one that follows from it.
    ///
    /// # Errors
    /// The failure that the binding's policy decides about: its sink could not be loaded, or does not answer
    /// the event.
    pub fn component(&self, binding: &Binding, event: EventKind) -> Result<&Arc<Component>, Failure> {
        let failed = |detail: String| Failure {
            kind: FailureKind::Load,
            detail,
            backtrace: Vec::new(),
            stderr: String::new(),
            fuel: 0,
        };
        match self.components.get(&binding.sink) {
            Some(component) if component.events().contains(&event) => Ok(component),
            Some(_) => Err(failed(format!("the component of sink {} does not export {event}", binding.sink))),
            None => Err(failed(
                self.failures
                    .get(&binding.sink)
                    .cloned()
                    .unwrap_or_else(|| format!("sink {} is switched off, so it was not loaded", binding.sink)),
            )),
        }
    }

    /// The code of a sink, where it was loaded.
    pub fn component_of(&self, sink: &str) -> Option<&Arc<Component>> {
        self.components.get(sink)
    }

    /// Sinks that could not be loaded, and why.
    pub fn failures(&self) -> &BTreeMap<String, String> {
        &self.failures
    }

    /// The sinks, as the file has them, whose component is not in force for want of being loaded.
    pub fn not_loaded(&self) -> impl Iterator<Item = &Arc<SinkEntry>> {
        let failed = self.failures.keys().filter_map(|name| self.registry.sink(name));
        failed.chain(self.stayed.values().map(|stayed| &stayed.wanted))
    }

    /// What an operator should know, one line each: a file that was not taken, sinks that were not loaded,
    /// bindings to events that their component does not answer.
    pub fn problems(&self) -> Vec<String> {
        let broken = self.broken.iter().map(|broken| {
            let since = broken.since.to_rfc3339();
            format!("the registry file is not in force since {since}, the one before it is: {}", broken.why)
        });
        let failures = self.failures.values().chain(self.stayed.values().map(|stayed| &stayed.why)).cloned();
        let unanswered = self.registry.bindings().filter(|binding| self.components.contains_key(&binding.sink));
        let unanswered =
            unanswered.filter_map(|binding| self.component(binding, binding.event).err()).map(|failure| failure.detail);
        broken.chain(failures).chain(unanswered).collect()
    }
}

impl Loaded {
    // An upgrade that fails must not take the filter away that mail passed until then. What goes on is the former
    // component with its own row: the new one's grants and secrets were given to other code.
    fn go_without(&mut self, sink: &mut SinkEntry, versions: &Versions, why: &str, before: &Loaded) {
        let name = &sink.name;
        let since = before.moments.get(name).copied().flatten();
        let former = before.components.get(name).zip(before.registry.sink(name));
        let Some((component, old)) = former.filter(|(_, old)| former::is_successor(versions, old, since)) else {
            self.failures.insert(name.clone(), format!("cannot load sink {name}: {why}"));
            return;
        };
        self.stayed.insert(name.clone(), Stayed::new(sink, old, why));
        self.components.insert(name.clone(), component.clone());
        *sink = former::narrowed(old, sink);
    }
}

/// Loads the registry of one directory.
#[derive(Clone)]
pub struct Loader {
    store: Store,
    engine: Engine,
    own: OwnPlaces,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Loader {
    /// Names the directory and the engine that compiles.
    pub fn new(store: Store, engine: Engine) -> Self {
        Self { store, engine, own: OwnPlaces::default() }
    }

    /// Names what is the server's own, and granted to no sink.
    #[must_use]
    pub fn guarding(self, own: OwnPlaces) -> Self {
        Self { own, ..self }
    }

    /// The directory.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Reads the file and loads every sink that is switched on. Code that `before` has is taken from there,
    /// so that a change of a rule compiles nothing. Compiling takes up to seconds: call it off the threads
    /// that serve clients.
    ///
    /// A sink that cannot be loaded does not keep the others from coming into force. Where it had another component
    /// before, that one stays; where it had none, its bindings follow their failure policy.
    ///
    /// # Errors
    /// The file cannot be read or is wrong; nothing comes into force then.
    pub fn load(&self, before: &Loaded, now: Timestamp) -> Result<Loaded, StoreError> {
        let mut file = self.store.read()?;
        let mut failures = read_secrets(&mut file);
        failures.extend(check_dirs(&file, &self.own));
        let mut loaded = Loaded { failures, moments: former::moments(&file), ..Loaded::empty(now) };
        self.load_components(&mut file, before, &mut loaded);
        let registry = file.to_registry(before.registry.generation() + 1).map_err(|error| {
            let path = self.store.file_path();
            StoreError::File(crate::registry::FileError { path, line: 1, problem: error.to_string() })
        })?;
        loaded.registry = Arc::new(registry);
        Ok(loaded)
    }

    // Where a former component stays, its row takes the place of the one in the file.
    fn load_components(&self, file: &mut RegistryFile, before: &Loaded, loaded: &mut Loaded) {
        let mut by_digest: BTreeMap<String, Arc<Component>> =
            before.components.values().map(|component| (component.digest().to_owned(), component.clone())).collect();
        for sink in file.sinks.iter_mut().filter(|sink| sink.is_enabled) {
            // Without its secret it would answer as somebody who does not know.
            if loaded.failures.contains_key(&sink.name) {
                continue;
            }
            if let Some(component) = by_digest.get(&sink.digest) {
                loaded.components.insert(sink.name.clone(), component.clone());
                continue;
            }
            match self.load_component(&sink.digest) {
                Ok(component) => {
                    by_digest.insert(sink.digest.clone(), component.clone());
                    loaded.components.insert(sink.name.clone(), component);
                }
                Err(why) => {
                    let versions = file.versions.get(&sink.name).cloned().unwrap_or_default();
                    loaded.go_without(sink, &versions, &why, before);
                }
            }
        }
    }

    fn load_component(&self, digest: &str) -> Result<Arc<Component>, String> {
        let octets = self.store.component(digest).map_err(|error| error.to_string())?;
        self.engine.load(&octets).map_err(|error| error.to_string())
    }
}

// The sinks with a directory that they cannot have, and why.
fn check_dirs<'a>(file: &'a RegistryFile, own: &OwnPlaces) -> impl Iterator<Item = (String, String)> + 'a {
    let own = own.with_secrets(file.secret_files());
    file.sinks.iter().filter(|sink| sink.is_enabled).filter_map(move |sink| {
        let why = own.check(&sink.grants).err()?;
        Some((sink.name.clone(), format!("cannot load sink {}: {why}", sink.name)))
    })
}

// Puts in what the files of secrets have; the sinks that lack one, and why.
fn read_secrets(file: &mut RegistryFile) -> BTreeMap<String, String> {
    let mut failures = BTreeMap::new();
    for sink in file.sinks.iter_mut().filter(|sink| sink.is_enabled) {
        for (key, secret) in &mut sink.secrets {
            match read_secret(Path::new(&secret.file)) {
                Ok(value) => secret.value = value,
                Err(why) => {
                    failures.insert(sink.name.clone(), format!("cannot load sink {}: {key}: {why}", sink.name));
                }
            }
        }
    }
    failures
}
