//! `basin tls`: certificates of this server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use crate::cli::Context;
use crate::cli::table::print;
use crate::clock::now;
use crate::tls::make::{self_signed, write_new};

/// Years for which a certificate that nobody vouches for is valid.
const YEARS: i32 = 10;

/// Arguments of `basin tls`.
#[derive(Debug, clap::Args)]
pub struct Tls {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a certificate that signs itself, and its key: for tests and first steps.
    ///
    /// Other mail servers encrypt with it, as they do with any; mail programs warn their users of it. Put one of an
    /// authority into its place as soon as there is one: the server takes it without a restart.
    #[command(after_help = "Example:\n  basin tls self-signed mail.example.org --out /etc/basin/tls/mail.example.org")]
    SelfSigned {
        /// Names of the server, as clients ask for it.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Where the files go: `.pem` and `.key` are put behind it. Files that exist are not overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

impl Tls {
    /// Does what is asked.
    ///
    /// # Errors
    /// A name is none, or a file cannot be written.
    pub fn run(self, _context: &Context) -> anyhow::Result<ExitCode> {
        let Command::SelfSigned { names, out } = self.command;
        let year = now().to_rfc3339().get(..4).and_then(|year| year.parse().ok()).context("the clock is not set")?;
        let made = self_signed(&names, year, YEARS)?;
        let beside = |end: &str| {
            let mut path = out.clone().into_os_string();
            path.push(end);
            PathBuf::from(path)
        };
        let (chain, key) = (beside(".pem"), beside(".key"));
        let written = |file: &PathBuf| format!("cannot write {}", file.display());
        write_new(&key, &made.key, 0o600).with_context(|| written(&key))?;
        write_new(&chain, &made.certificate, 0o644).with_context(|| written(&chain))?;
        let (chain, key) = (chain.display(), key.display());
        print(format!(
            "made {chain} and {key}; give the key to the server's user, and add this to the configuration:\n\n\
             [[certificate]]\nchain-file = \"{chain}\"\nkey-file = \"{key}\"\n"
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
