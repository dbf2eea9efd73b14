//! Why a component was refused; every text says what to do.

use core::time::Duration;

use thiserror::Error;

/// Largest component, in octets. The largest known useful ones (Python) have some 20 MiB.
pub const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why [`crate::Engine::load`] refused a component.
#[derive(Debug, Error)]
pub enum LoadError {
    /// No octets at all.
    #[error("the file is empty; build the sink again (cargo build --release --target wasm32-wasip2)")]
    Empty,
    /// Over [`COMPONENT_BYTES_MAX`].
    #[error(
        "the component has {octets} octets, the limit is {COMPONENT_BYTES_MAX}; build it optimised and strip debug \
         information (wasm-tools strip)"
    )]
    TooLarge {
        /// Octets there are.
        octets: usize,
    },
    /// Something that is no WebAssembly.
    #[error("this is not WebAssembly but {what}; give the .wasm file that the build made")]
    NotWasm {
        /// What it looks like.
        what: &'static str,
    },
    /// A core module.
    #[error(
        "this is a WebAssembly core module, a sink is a component; build with --target wasm32-wasip2, or turn the \
         module into a component with `wasm-tools component new`"
    )]
    CoreModule,
    /// Machine code that wasmtime compiled earlier.
    #[error(
        "this is precompiled machine code, which is never accepted because it would run outside the sandbox; give \
         the component it was compiled from"
    )]
    Precompiled,
    /// Made for another version of the contract.
    #[error(
        "the component is built for {wanted}, this server has {ours}; {}",
        if *.is_newer { "it needs a newer basin" } else { "build it again with the SDK of this version" }
    )]
    Contract {
        /// What it names.
        wanted: String,
        /// What there is.
        ours: &'static str,
        /// Whether the component is ahead of the server.
        is_newer: bool,
    },
    /// It exports `wasi:cli/run` and no event.
    #[error(
        "the component is a command (it exports wasi:cli/run), a sink is a library that answers events; build it as a \
         cdylib and export an event of basin:sink"
    )]
    Command,
    /// It exports no event.
    #[error(
        "the component exports no event of {ours}, so it would never be called; it exports {}; \
         `basin sink new` makes one that does",
        none_or_list(.exports)
    )]
    NoEvent {
        /// What there is.
        ours: &'static str,
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// It imports what the host does not have.
    #[error("the component imports what this server does not have: {}; build it without them", .imports.join(", "))]
    Imports {
        /// The interfaces or functions.
        imports: Vec<String>,
    },
    /// Names are right and types are not.
    #[error("the component does not fit the contract: {why}; build it again with the WIT files of this version")]
    Types {
        /// What the linker said.
        why: String,
    },
    /// It does not validate, or uses what is switched off.
    #[error("cannot compile the component: {why}")]
    Compile {
        /// What the compiler said.
        why: String,
    },
    /// Compiling it takes longer than anybody waits.
    #[error(
        "the component is not compiled after {} s; build it smaller, or raise limits.compile-time if you trust it",
        .limit.as_secs()
    )]
    CompileTime {
        /// What it had.
        limit: Duration,
    },
    /// Compiling it takes more memory than there is for it.
    #[error(
        "compiling the component takes more than {} MiB of memory; build it smaller, or raise limits.compile-memory if you \
         trust it",
        .limit >> 20
    )]
    CompileMemory {
        /// What it had, in octets.
        limit: u64,
    },
    /// The process that compiles does not work.
    #[error("cannot have the component compiled in a process of its own: {why}")]
    Compiler {
        /// What happened.
        why: String,
    },
    /// It cannot even be instantiated.
    #[error("the component does not start: {why}")]
    Start {
        /// What happened.
        why: String,
    },
}

fn none_or_list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
