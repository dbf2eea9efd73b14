//! `basin queue`: the messages that wait.

use std::process::ExitCode;

use crate::cli::Context;

/// Arguments of `basin queue`.
#[derive(Debug, clap::Args)]
pub struct Queue {}

impl Queue {
    /// Runs the command.
    ///
    /// # Errors
    /// The command failed; the text says how.
    pub fn run(self, _context: &Context) -> anyhow::Result<ExitCode> {
        anyhow::bail!("this build has no `basin queue`")
    }
}
