//! Runs Basin's event sinks: WebAssembly components behind limits and grants.
//!
//! [`Engine`] is made once for each process. [`Engine::load`] turns octets into a [`Component`] or says why not;
//! [`Engine::call`] asks a sink at an event in a fresh instance and reports the verdict or the failure, never
//! panics, never blocks longer than the budget of the call, and leaves no trace of a call that failed.
//!
//! This crate alone names wasmtime. The types that are generated from `wit/` stay inside it: `bindings` has them,
//! `convert` translates them, `host_api` answers to them.

mod call;
mod engine;
mod host;
mod load;
mod load_error;
mod pool;
mod report;

pub use engine::{CALLS_MAX_DEFAULT, Engine, EngineError, EngineOptions, PoolUse};
pub use host::{LogLevel, LogLine, SinkHost};
pub use load::Component;
pub use load_error::{COMPONENT_BYTES_MAX, LoadError};
pub use report::{CallReport, CallRequest, Usage};
