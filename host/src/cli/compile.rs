//! `basin compile-component`: what a server starts to compile a component apart from itself. Nobody types it.

use std::io;
use std::process::ExitCode;

use anyhow::anyhow;
use basin_sinks::{CompileArguments, compile_as_child};

/// Arguments of `basin compile-component`.
#[derive(Debug, clap::Args)]
pub struct CompileComponent {
    /// The kind of code, octets of address space, seconds of processor time.
    #[arg(required = true, num_args = 3)]
    words: Vec<String>,
}

impl CompileComponent {
    /// Reads a component from standard input and writes its code to standard output, under limits.
    ///
    /// # Errors
    /// Why there is no code, for the server that started it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let arguments = CompileArguments::parse(&self.words).ok_or_else(|| anyhow!("no arguments of this version"))?;
        compile_as_child(arguments, io::stdin().lock(), io::stdout().lock()).map_err(|why| anyhow!(why))?;
        Ok(ExitCode::SUCCESS)
    }
}
