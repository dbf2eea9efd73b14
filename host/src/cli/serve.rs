//! `basin serve`: the server.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::app;
use crate::cli::{Context, demo};
use crate::shutdown::HangUps;

/// Arguments of `basin serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Try Basin out: make a configuration, mailboxes and sample sinks in DIR, and serve them on loopback.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    demo: Option<std::path::PathBuf>,
    /// Run as root although the network can reach a listener; for containers whose root is nobody outside.
    #[arg(long)]
    allow_root: bool,
}

impl Serve {
    /// Runs the server until a signal ends it.
    ///
    /// # Errors
    /// It cannot start; the text says what to do.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        // First thing of all: see there.
        let hang_ups = HangUps::take().context("cannot take over SIGHUP")?;
        let config = match &self.demo {
            Some(directory) => demo::prepare(directory)?,
            None => context.load()?,
        };
        app::serve(config, self.allow_root, hang_ups)
    }
}
