//! `basin version`: what this program is.

use std::process::ExitCode;

/// Arguments of `basin version`.
#[derive(Debug, clap::Args)]
pub struct Version {}

impl Version {
    /// Prints the version of the server and of the contract that it speaks.
    ///
    /// # Errors
    /// None; the type is that of every subcommand.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        println!("basin {}", env!("CARGO_PKG_VERSION"));
        println!("contract basin:sink@0.1.0");
        Ok(ExitCode::SUCCESS)
    }
}
