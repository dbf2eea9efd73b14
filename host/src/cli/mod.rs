//! The command line: one file for each subcommand.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigErrors};

pub mod check;
pub mod compile;
pub mod demo;
pub mod dkim;
pub mod queue;
pub mod send;
pub mod serve;
pub mod sink;
pub mod spool;
pub mod table;
pub mod tls;
pub mod trace;
pub mod user;
pub mod version;

/// Where the configuration lies when nobody says otherwise.
const CONFIG_FILE_DEFAULT: &str = "/etc/basin/basin.toml";

/// An SMTP server that runs every event sink as a sandboxed WebAssembly component.
#[derive(Debug, Parser)]
#[command(name = "basin", version, about, long_about = None)]
struct Arguments {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand may need: where the configuration is.
#[derive(Debug, Clone, clap::Args)]
pub struct Context {
    /// The configuration file.
    #[arg(long, short, global = true, value_name = "FILE", env = "BASIN_CONFIG", default_value = CONFIG_FILE_DEFAULT)]
    pub config: PathBuf,
}

impl Context {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// Every problem of the file, each with line, key and advice.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        Config::read(&self.config)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Serve),
    /// Read the configuration, say what it means and what is wrong with it.
    Check(check::Check),
    /// Submit a message to a server, to see whether it takes it.
    Send(send::Send),
    /// Register, bind, test and inspect sinks.
    Sink(sink::Sink),
    /// Look at the queue, release and delete messages.
    Queue(queue::Queue),
    /// Tell what became of a message.
    Trace(trace::Trace),
    /// Back up, restore, check and repair the storage of accepted messages.
    Spool(spool::Spool),
    /// Make, publish and check the keys that sign mail.
    Dkim(dkim::Dkim),
    /// Make a certificate for first steps.
    Tls(tls::Tls),
    /// Say who may log in.
    User(user::User),
    /// Say which version this is.
    Version(version::Version),
    /// Compile a component for the server that started this.
    #[command(name = crate::registry::compiler::SUBCOMMAND, hide = true)]
    CompileComponent(compile::CompileComponent),
}

/// Runs the program and says how it ended: 0 done, 1 failed, 2 a mistake on the command line.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let context = arguments.context;
    let result = match arguments.command {
        Command::Serve(serve) => serve.run(&context),
        Command::Send(send) => send.run(),
        Command::Check(check) => check.run(&context),
        Command::Sink(sink) => sink.run(&context),
        Command::Queue(queue) => queue.run(&context),
        Command::Trace(trace) => trace.run(&context),
        Command::Spool(spool) => spool.run(&context),
        Command::Dkim(dkim) => dkim.run(&context),
        Command::Tls(tls) => tls.run(&context),
        Command::User(user) => user.run(&context),
        Command::Version(version) => version.run(),
        Command::CompileComponent(compile) => compile.run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // `{:#}` puts the causes behind the message, on one line.
            eprintln!("basin: {error:#}");
            ExitCode::FAILURE
        }
    }
}
