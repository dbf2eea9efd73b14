//! The one engine of the process.

use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;
use tracing::warn;
use wasmtime::EngineWeak;
use wasmtime::component::Linker;

use crate::cache::{self, CodeCache};
use crate::compile::Compiler;
use crate::host_api;
use crate::keep::Keep;
use crate::pool::{self, Code, Plan};
use crate::state::State;

/// How often the epoch moves on: how long a sink computes before others get their turn.
const TICK: Duration = Duration::from_millis(10);

/// How many calls run at once where the configuration does not say.
pub const CALLS_MAX_DEFAULT: u32 = 1_000;

/// How to make an [`Engine`].
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Most calls at once; the machine may allow fewer.
    pub calls_max: u32,
    /// Directory for compiled code; `None` compiles at every start.
    pub code_cache: Option<PathBuf>,
    /// Leaves code of other engines in that directory; for whoever uses that of a server.
    pub keeps_other_code: bool,
    /// Who compiles; `None` compiles in this process, which is for components that somebody answers for.
    pub compiler: Option<Compiler>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { calls_max: CALLS_MAX_DEFAULT, code_cache: None, keeps_other_code: false, compiler: None }
    }
}

/// Why there is no engine.
#[derive(Debug, Error)]
pub enum EngineError {
    /// wasmtime does not start on this machine.
    #[error("cannot set up the engine for sinks: {why}")]
    Setup {
        /// What it said.
        why: String,
    },
    /// The thread that moves the epoch does not start; without it a sink could run for ever.
    #[error("cannot start the thread that keeps the time of sinks: {0}")]
    Ticker(std::io::Error),
    /// The directory for compiled code cannot be used.
    #[error("cannot use {} for compiled code: {why}", .path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Compiles and calls sinks. Cloning is cheap; there is one in each process.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) permits: Semaphore,
    pub(crate) cache: Option<CodeCache>,
    pub(crate) compiler: Option<Compiler>,
    /// The kind of code that fits, and what tells its engine from others.
    pub(crate) code: (Code, [u8; 32]),
    pub(crate) calls_max: u32,
    pub(crate) keep: Arc<Keep>,
}

/// Places of the pool that are taken; all zero when no call runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolUse {
    /// Component instances.
    pub instances: u64,
    /// Linear memories.
    pub memories: u64,
    /// Tables.
    pub tables: u64,
    /// Stacks.
    pub stacks: u64,
}

impl Engine {
    /// Makes the engine, with as many places as the machine allows.
    ///
    /// Where the address space of the process is limited (`ulimit -v`), instances are mapped for each call and
    /// fewer run at once; the log says so.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let wanted = Plan::choose(options.calls_max);
        let (wasmtime, plan) = start(wanted).map_err(|why| EngineError::Setup { why: format!("{why:#}") })?;
        if plan.calls() < options.calls_max {
            warn!(
                calls = plan.calls(),
                wanted = options.calls_max,
                "fewer sinks can run at once than configured; raise vm.max_map_count or the address space limit"
            );
        }
        let linker = host_api::linker(&wasmtime).map_err(|why| EngineError::Setup { why: format!("{why:#}") })?;
        let fingerprint = cache::fingerprint(&wasmtime);
        let open = |path| CodeCache::open(path, fingerprint, options.keeps_other_code);
        let cache = options.code_cache.map(open).transpose()?;
        start_ticker(wasmtime.weak()).map_err(EngineError::Ticker)?;
        let permits = usize::try_from(plan.calls()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let permits = Semaphore::new(permits);
        let keep = Arc::new(Keep::new(plan.kept()));
        let (compiler, code) = (options.compiler, (plan.code(), fingerprint));
        let shared = Shared { wasmtime, linker, permits, cache, compiler, code, calls_max: plan.calls(), keep };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How many calls run at once at most.
    pub fn calls_max(&self) -> u32 {
        self.shared.calls_max
    }

    /// What is taken of the pool now; `None` where there is no pool.
    pub fn pool_use(&self) -> Option<PoolUse> {
        let metrics = self.shared.wasmtime.pooling_allocator_metrics()?;
        Some(PoolUse {
            instances: metrics.component_instances(),
            memories: metrics.memories() as u64,
            tables: metrics.tables() as u64,
            stacks: metrics.stacks() as u64,
        })
    }
}

// The pool reserves its whole address space when it is made. A container may limit that in ways that no
// rlimit shows, so a pool that fails falls back to mapping for each call.
fn start(plan: Plan) -> wasmtime::Result<(wasmtime::Engine, Plan)> {
    match pool::config(plan).and_then(|config| wasmtime::Engine::new(&config)) {
        Ok(engine) => {
            if let Plan::OnDemand { calls } = plan {
                warn!(calls, "the address space is limited (ulimit -v); sinks run without a pool, slower");
            }
            Ok((engine, plan))
        }
        Err(error) => match plan {
            Plan::OnDemand { .. } => Err(error),
            Plan::Pool { calls } => {
                let plan = Plan::OnDemand { calls: calls.min(FALLBACK_CALLS) };
                warn!(error = format!("{error:#}"), "no pool for sinks; they run without one, slower");
                wasmtime::Engine::new(&pool::config(plan)?).map(|engine| (engine, plan))
            }
        },
    }
}

/// Calls at once where the pool could not be made: little enough for the tightest container.
const FALLBACK_CALLS: u32 = 16;

#[expect(clippy::disallowed_methods, reason = "a thread of its own that does nothing but keep time")]
fn start_ticker(engine: EngineWeak) -> std::io::Result<()> {
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("basin-epoch".to_owned()).spawn(tick).map(drop)
}
