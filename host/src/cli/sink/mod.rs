//! `basin sink`: the registry of sinks.

use std::process::ExitCode;

use crate::cli::Context;

/// Arguments of `basin sink`.
#[derive(Debug, clap::Args)]
pub struct Sink {}

impl Sink {
    /// Runs the command.
    ///
    /// # Errors
    /// The command failed; the text says how.
    pub fn run(self, _context: &Context) -> anyhow::Result<ExitCode> {
        anyhow::bail!("this build has no `basin sink`")
    }
}
