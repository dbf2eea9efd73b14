//! From octets to a component that can be called.

use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use basin_core::event::EventKind;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use wasmtime::component::{InstancePre, types};

use crate::exports::{CONTRACT, Exports};
use crate::files::Gate;
use crate::load_error::{COMPONENT_BYTES_MAX, LoadError};
use crate::state::State;
use crate::{Engine, cache, trial};

/// The code of a sink, checked and ready to be instantiated.
pub struct Component {
    digest: String,
    size: u64,
    events: Vec<EventKind>,
    imports: Vec<String>,
    compile_time: Duration,
    is_from_cache: bool,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
    pub(crate) permits: Semaphore,
    pub(crate) gate: Gate,
}

/// Interfaces of the contract that the host has; what an event interface is called says `EventKind`.
const INTERFACES: [&str; 12] = [
    "types",
    "message",
    "inbound",
    "outbound",
    "transport",
    "log",
    "config",
    "metrics",
    "server",
    "state",
    "dns",
    "message-auth",
];

/// Packages of WASI 0.2 that are linked.
const WASI_PACKAGES: [&str; 7] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:http", "wasi:io", "wasi:random", "wasi:sockets"];

impl Engine {
    /// Checks and compiles a component, or takes its code from the cache, and instantiates it once to see that it
    /// starts.
    ///
    /// Takes a millisecond from the cache and 60 ms to seconds without: call it off the threads that serve clients.
    ///
    /// # Errors
    /// See [`LoadError`]; every text says what to do.
    pub fn load(&self, octets: &[u8]) -> Result<Arc<Component>, LoadError> {
        check_form(octets)?;
        let start = Instant::now();
        let digest: [u8; 32] = Sha256::digest(octets).into();
        let engine = &self.shared.wasmtime;
        let cached = self.shared.cache.as_ref().and_then(|cache| cache.load(engine, &digest));
        let is_from_cache = cached.is_some();
        let component = match cached {
            Some(component) => component,
            None => self.compile(octets, &digest)?,
        };
        let compile_time = start.elapsed();
        let ty = component.component_type();
        let imports = self.check_imports(&ty)?;
        let events = self.check_exports(&ty)?;
        let pre = self.shared.linker.instantiate_pre(&component).map_err(|error| misfit(error, &imports))?;
        let mut exports = Exports::default();
        events.iter().try_for_each(|event| exports.find(*event, &pre)).map_err(types_error)?;
        trial::start(self, &pre, &exports)?;
        // Half of the places at most: one sink that waits must not keep all others out.
        let permits = usize::try_from(self.calls_max()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS).div_ceil(2);
        Ok(Arc::new(Component {
            digest: cache::hex(&digest),
            size: octets.len() as u64,
            events,
            imports,
            compile_time,
            is_from_cache,
            pre,
            exports,
            permits: Semaphore::new(permits),
            gate: Gate::default(),
        }))
    }

    fn compile(&self, octets: &[u8], digest: &[u8; 32]) -> Result<wasmtime::component::Component, LoadError> {
        let engine = &self.shared.wasmtime;
        let keep = |code: &[u8]| self.shared.cache.iter().for_each(|cache| cache.store(code, digest));
        let Some(compiler) = &self.shared.compiler else {
            let component = wasmtime::component::Component::new(engine, octets).map_err(compile_error)?;
            keep(&component.serialize().map_err(compile_error)?);
            return Ok(component);
        };
        let (kind, fingerprint) = &self.shared.code;
        let artefact = compiler.compile(octets, (fingerprint, digest), *kind)?;
        let component = cache::open(engine, &artefact).map_err(compile_error)?;
        keep(artefact.code());
        Ok(component)
    }

    fn check_imports(&self, ty: &types::Component) -> Result<Vec<String>, LoadError> {
        let imports: Vec<String> = ty.imports(&self.shared.wasmtime).map(|(name, _)| name.to_owned()).collect();
        imports.iter().try_for_each(|name| check_version(name))?;
        let missing: Vec<String> = imports.iter().filter(|name| !is_linked(name)).cloned().collect();
        if missing.is_empty() { Ok(imports) } else { Err(LoadError::Imports { imports: missing }) }
    }

    fn check_exports(&self, ty: &types::Component) -> Result<Vec<EventKind>, LoadError> {
        let exports: Vec<String> = ty.exports(&self.shared.wasmtime).map(|(name, _)| name.to_owned()).collect();
        exports.iter().try_for_each(|name| check_version(name))?;
        let event = |name: &String| {
            let interface = name.strip_prefix("basin:sink/")?.split('@').next()?;
            interface.parse::<EventKind>().ok()
        };
        let exported: Vec<EventKind> = exports.iter().filter_map(event).collect();
        let events: Vec<EventKind> = EventKind::ALL.iter().copied().filter(|event| exported.contains(event)).collect();
        if !events.is_empty() {
            return Ok(events);
        }
        if exports.iter().any(|name| name.starts_with("wasi:cli/run@")) {
            return Err(LoadError::Command);
        }
        Err(LoadError::NoEvent { ours: CONTRACT, exports })
    }
}

impl Component {
    /// SHA-256 of the component, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Octets of the component.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The events that it answers, in the order of a message's way.
    pub fn events(&self) -> &[EventKind] {
        &self.events
    }

    /// The interfaces that it imports, with their versions.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// How long it took to compile it, or to take it from the cache.
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    /// Whether its code came from the cache.
    pub fn is_from_cache(&self) -> bool {
        self.is_from_cache
    }
}

fn check_form(octets: &[u8]) -> Result<(), LoadError> {
    if octets.is_empty() {
        return Err(LoadError::Empty);
    }
    if octets.len() > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge { octets: octets.len() });
    }
    if octets.starts_with(b"\x7fELF") || wasmtime::Engine::detect_precompiled(octets).is_some() {
        return Err(LoadError::Precompiled);
    }
    // After the magic come two octets of version and two of layer: a core module is layer 0, a component 1.
    match (octets.strip_prefix(b"\0asm"), octets.get(6)) {
        (Some(_), Some(1)) => Ok(()),
        (Some(_), Some(0)) => Err(LoadError::CoreModule),
        (Some(_), _) => Err(LoadError::NotWasm { what: "a WebAssembly file that is cut short or of an unknown layer" }),
        (None, _) => Err(LoadError::NotWasm { what: kind_of(octets) }),
    }
}

fn kind_of(octets: &[u8]) -> &'static str {
    if octets.starts_with(b"\x1f\x8b") || octets.starts_with(b"PK\x03\x04") {
        "an archive; unpack it"
    } else if octets.trim_ascii_start().starts_with(b"(") {
        "WebAssembly text; assemble it with `wasm-tools parse`"
    } else if std::str::from_utf8(octets.get(..octets.len().min(512)).unwrap_or_default()).is_ok() {
        "a text file"
    } else {
        "something else"
    }
}

fn check_version(name: &str) -> Result<(), LoadError> {
    let Some((_, version)) = name.strip_prefix("basin:sink/").and_then(|rest| rest.split_once('@')) else {
        return Ok(());
    };
    let (ours, wanted) = (track(CONTRACT.split_once('@').map_or("", |(_, version)| version)), track(version));
    if ours == wanted {
        return Ok(());
    }
    let wanted_name = format!("basin:sink@{version}");
    Err(LoadError::Contract { wanted: wanted_name, ours: CONTRACT, is_newer: wanted > ours })
}

// What must be equal: `0.1` of 0.1.z, and from 1.0 on the first number alone.
fn track(version: &str) -> (u64, u64) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    match (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) {
        (0, minor) => (0, minor),
        (major, _) => (major, 0),
    }
}

// A component of a later 0.1.z fits as long as it imports nothing new; where it does not fit, that is why.
fn misfit(error: wasmtime::Error, imports: &[String]) -> LoadError {
    let patch = |version: &str| version.rsplit('.').next().and_then(|patch| patch.parse::<u64>().ok()).unwrap_or(0);
    let versions = imports.iter().filter_map(|name| name.strip_prefix("basin:sink/")?.split('@').nth(1));
    match versions.max_by_key(|version| patch(version)) {
        Some(version) if patch(version) > patch(CONTRACT) => {
            LoadError::Contract { wanted: format!("basin:sink@{version}"), ours: CONTRACT, is_newer: true }
        }
        Some(_) | None => types_error(error),
    }
}

fn is_linked(import: &str) -> bool {
    let (name, version) = import.split_once('@').unwrap_or((import, ""));
    match name.split_once('/') {
        Some(("basin:sink", interface)) => INTERFACES.contains(&interface),
        Some((package, _)) => WASI_PACKAGES.contains(&package) && version.starts_with("0.2."),
        None => false,
    }
}

// The outermost texts of wasmtime name its own steps; the whole chain has the reason.
fn compile_error(error: wasmtime::Error) -> LoadError {
    LoadError::Compile { why: format!("{error:#}") }
}

fn types_error(error: wasmtime::Error) -> LoadError {
    LoadError::Types { why: format!("{error:#}") }
}
