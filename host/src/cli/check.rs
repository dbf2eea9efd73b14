//! `basin check`: what the configuration means, and what is wrong with it.

use std::process::ExitCode;

use crate::cli::Context;

/// Arguments of `basin check`.
#[derive(Debug, clap::Args)]
pub struct Check {}

impl Check {
    /// Prints what the file means and its warnings.
    ///
    /// # Errors
    /// The configuration cannot be used; the text has every problem.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load()?;
        print!("{}", config.describe());
        for warning in &config.warnings {
            println!("warning: {}", warning.at(&config.file));
        }
        println!("{} can be used, {} warnings", config.file.display(), config.warnings.len());
        Ok(ExitCode::SUCCESS)
    }
}
