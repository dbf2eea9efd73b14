//! `basin check`: what the configuration means, and what is wrong with it.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::Context;
use crate::clock::now;
use crate::tls::{Certificate, Validity};

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
        let mut is_usable = true;
        for files in &config.certificates {
            match Certificate::read(&files.chain, &files.key) {
                Ok(certificate) => println!("certificate  {}", describe(&files.name, &certificate)),
                Err(error) => {
                    is_usable = false;
                    println!("certificate  {}: {error}", files.name);
                }
            }
        }
        for warning in &config.warnings {
            println!("warning: {}", warning.at(&config.file));
        }
        if !is_usable {
            bail!("{} cannot be used: a certificate cannot", config.file.display());
        }
        println!("{} can be used, {} warnings", config.file.display(), config.warnings.len());
        Ok(ExitCode::SUCCESS)
    }
}

fn describe(name: &str, certificate: &Certificate) -> String {
    let validity = match certificate.validity(now()) {
        Validity::Valid => format!("valid until {}", certificate.not_after().to_rfc3339()),
        Validity::ExpiresSoon(end) => format!("EXPIRES SOON, {}", end.to_rfc3339()),
        Validity::Expired(end) => format!("EXPIRED {}", end.to_rfc3339()),
        Validity::NotYet(start) => format!("NOT VALID before {}", start.to_rfc3339()),
    };
    format!("{name}: for {}; {validity}", certificate.names().join(", "))
}
