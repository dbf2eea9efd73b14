//! Where registry and server are, and how a component is read.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use basin_core::event::Grants;
use basin_sinks::{Component, Engine, EngineError, EngineOptions};

use crate::cli::Context;
use crate::config::Config;
use crate::control::report::RegistryState;
use crate::control::{Client, ClientError};
use crate::registry::compiler::compiler;
use crate::registry::store::COMPONENT_BYTES_MAX;
use crate::registry::{OwnPlaces, Store};

/// What most subcommands need.
pub(super) struct Places {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) client: Client,
}

impl Places {
    pub(super) fn find(context: &Context) -> anyhow::Result<Self> {
        let config = context.load()?;
        let (store, client) = (Store::new(&config.registry).audited(config.audit.clone()), Client::new(&config.spool));
        Ok(Self { config, store, client })
    }

    /// Whether the directories among these grants can be given here, to a sink with secrets in those files.
    pub(super) fn check_dirs<'a>(&self, grants: &Grants, secrets: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
        if grants.dirs().next().is_none() {
            return Ok(());
        }
        let file = self.store.read()?;
        let own = OwnPlaces::of(&self.config).with_secrets(file.secret_files()).with_secrets(secrets);
        own.check(grants).map_err(|why| anyhow::anyhow!(why))
    }

    /// What the running server knows, or why nobody can be asked. Live facts are a bonus: the command goes on
    /// without them and says so.
    pub(super) fn live(&self) -> Result<RegistryState, ClientError> {
        self.client.get("/v1/registry")
    }

    /// Waits until a running server has applied a change, and says what came of it, for the last line of the output.
    pub(super) fn aftermath(&self) -> String {
        match self.client.post_for::<RegistryState>("/v1/registry/look") {
            Ok(RegistryState { broken: Some(why), .. }) => {
                format!("the running server did not take it and goes on with what it has: {why}")
            }
            Ok(RegistryState { generation, problems, .. }) => {
                let problems: String = problems.iter().map(|problem| format!("\nproblem: {problem}")).collect();
                format!("the running server has applied it, generation {generation}{problems}")
            }
            Err(ClientError::NotRunning(_)) => "no server runs on this spool; the next start applies it".to_owned(),
            Err(error) => format!("a running server applies it within a second, and could not be asked: {error}"),
        }
    }
}

/// Reads a component that the operator named.
pub(super) fn read_component(file: &Path) -> anyhow::Result<Vec<u8>> {
    let metadata = fs::metadata(file).with_context(|| format!("cannot read the component {}", file.display()))?;
    if metadata.is_dir() {
        anyhow::bail!("cannot read the component {}: it is a directory; name the .wasm file in it", file.display());
    }
    // Engine::load has the same limit; this one keeps a wrong file out of memory.
    if metadata.len() > COMPONENT_BYTES_MAX {
        let len = metadata.len();
        anyhow::bail!("{}: the file has {len} octets, a component has at most {COMPONENT_BYTES_MAX}", file.display());
    }
    fs::read(file).with_context(|| format!("cannot read the component {}", file.display()))
}

/// Compiles a component, in an engine of its own that is as small as this one process needs. Where there is a configuration,
/// its limits hold, and what its server has compiled need not be compiled again, nor the other way round.
pub(super) fn compile(file: &Path, octets: &[u8], config: Option<&Config>) -> anyhow::Result<(Engine, Arc<Component>)> {
    // A directory that is missing is left to the server to make: whoever types this may be root, and the server is not.
    let cache = config.map(|config| config.cache.clone()).filter(|cache| cache.is_dir());
    let engine = |code_cache| {
        let compiler = Some(compiler(config));
        Engine::new(EngineOptions { calls_max: 1, code_cache, keeps_other_code: true, compiler })
    };
    let engine = match engine(cache) {
        // It is the server's user's, and this is another one.
        Err(EngineError::Cache { .. }) => engine(None)?,
        made => made?,
    };
    let component = engine.load(octets).with_context(|| format!("cannot use {} as a sink", file.display()))?;
    Ok((engine, component))
}
