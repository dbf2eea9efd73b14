//! Runs Basin's event sinks: WebAssembly components behind limits and grants.
//!
//! [`Engine`] is made once for each process. [`Engine::load`] turns octets into a [`Component`] or says why not;
//! [`Engine::call`] asks a sink at an event in a fresh instance and reports the verdict or the failure, never
//! panics, never blocks longer than the budget of the call, and leaves no trace of a call that failed.
//!
//! This crate alone names wasmtime. The types that are generated from `wit/` stay inside it: `bindings` has them,
//! `exports` and `host_api` implement what they ask for, `convert` translates their values.

mod bindings;
mod cache;
mod call;
mod clock;
mod compile;
mod convert;
mod convert_verdict;
mod ended;
mod engine;
mod exports;
mod failure;
mod files;
mod handle;
mod host;
mod host_api;
mod http;
mod instances;
mod invoke;
mod keep;
mod limiter;
mod load;
mod load_error;
mod pool;
mod report;
mod state;
mod store;
mod tariff;
mod text;
mod timely;
mod trial;
mod verdict;
mod wasi;

pub use compile::child::{Arguments as CompileArguments, run as compile_as_child};
pub use compile::{COMPILE_MEMORY_DEFAULT, COMPILE_TIME_DEFAULT, Compiler};
pub use engine::{CALLS_MAX_DEFAULT, Engine, EngineError, EngineOptions, PoolUse};
pub use host::{LogLevel, LogLine, Named, ServiceError, SinkHost, Waiting};
pub use http::{Duplex, HttpStream};
pub use instances::{Instances, Scopes};
pub use load::Component;
pub use load_error::{COMPONENT_BYTES_MAX, LoadError};
pub use report::{CallReport, CallRequest, Usage};
