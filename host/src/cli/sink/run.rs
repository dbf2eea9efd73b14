//! `basin sink run`: a timer's call out of turn.

use std::process::ExitCode;

use super::places::Places;
use crate::cli::Context;
use crate::cli::table::{print, print_json, printable};
use crate::control::report::RunRequest;
use crate::timer::Ran;

/// Arguments of `basin sink run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  basin sink run digest/on-timer
It is a call as any other: what the sink sets and sends holds. When it is due next stays as
it was. Exit code 1 where the sink failed.")]
pub(super) struct Run {
    /// Name of a binding of on-timer, as `basin sink list` shows it.
    binding: String,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let ran: Ran = places.client.post("/v1/sink/run", &RunRequest { binding: self.binding })?;
        if self.json {
            print_json(&ran)?;
        } else {
            let text = match &ran.failure {
                None => format!("{} ran; messages put into the queue: {}", ran.binding, ran.messages),
                Some(failure) => format!("{} failed: {failure}", ran.binding),
            };
            print(printable(&text) + "\n")?;
        }
        Ok(if ran.failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
