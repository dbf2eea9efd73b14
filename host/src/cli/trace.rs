//! `basin trace`: the story of a message, out of the tracking log.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use basin_core::time::Timestamp;
use clap::Args;

use crate::cli::Context;
use crate::cli::table::{print, printable};
use crate::control::queue::{self, Shown};
use crate::control::{Client, ClientError};
use crate::registry::quantity;
use crate::tracking::parse_time;
use crate::tracking::search::{Log, Story, Wanted};

mod story;

/// Stories that are told where nobody says how many.
const STORIES_DEFAULT: usize = 20;

/// Most stories of one run: each may have thousands of lines in memory.
const STORIES_MAX: usize = 1_000;

/// Arguments of `basin trace`.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads the tracking log itself, so it needs no running server. Times are relative to the first line.
Where a server runs, it is asked for which destination a message waits that is down or held; --json has the
lines of the log alone, and `basin queue show ID --json` has that.
Examples:
  basin trace 00063a1f2c4d5e-89ab12cd34ef5678
  basin trace --message-id '<20260102.1234@example.org>'
  basin trace --sender alice@example.org --since 2h
  basin trace --recipient @example.net --since 2026-11-22T08:00:00Z --until 2026-11-22T09:00:00Z")]
pub struct Trace {
    /// Ids of messages.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Messages with this Message-ID in their header.
    #[arg(long, value_name = "TEXT")]
    message_id: Option<String>,
    /// Messages from this address; `@domain` for all of a domain, `<>` for the null sender.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Messages to this address, or `@domain`.
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Received since then: a date-time of RFC 3339, or how long ago, as 30m, 2h, 3d.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Received before then.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Most messages to tell of.
    #[arg(long, value_name = "NUMBER", default_value_t = STORIES_DEFAULT, value_parser = stories)]
    limit: usize,
    /// The lines as they are in the log, for scripts.
    #[arg(long)]
    json: bool,
    /// The directory of the log, where it is not the one of the configuration.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    if let Some(at) = parse_time(text) {
        return Ok(at);
    }
    let ago = quantity::duration(text).map_err(|_| "write 2026-11-22T08:00:00Z, or 30m, 2h, 3d for a time ago")?;
    let now = crate::clock::now();
    let seconds = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
    Ok(Timestamp { seconds: now.seconds.saturating_sub(seconds), ..now })
}

fn stories(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=STORIES_MAX).contains(number));
    number.ok_or_else(|| format!("write a number from 1 to {STORIES_MAX}"))
}

impl Trace {
    /// Runs the command.
    ///
    /// # Errors
    /// The log cannot be read, or nothing was found; the text says what to try.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let directory = match self.directory {
            Some(directory) => directory,
            None => {
                let tracking = context.load()?.tracking;
                tracking.context("there is no tracking log: `enabled = false` in [tracking]")?.directory
            }
        };
        let unreadable = || format!("cannot read the tracking log in {}", directory.display());
        let log = Log::new(&directory);
        let wanted = Wanted {
            sender: self.sender,
            recipient: self.recipient,
            message_id: self.message_id,
            since: self.since,
            until: self.until,
        };
        let mut ids: Vec<(Option<Timestamp>, String)> = self.ids.into_iter().map(|id| (None, id)).collect();
        let mut is_more = false;
        if ids.is_empty() {
            if wanted == Wanted::default() {
                bail!("name a message: its id, --message-id, --sender, --recipient or --since; see basin trace --help");
            }
            let (found, more) = log.find(&wanted, self.limit).with_context(unreadable)?;
            is_more = more;
            ids = found.into_iter().map(|(at, id)| (Some(at), id)).collect();
        }
        let stories = log.stories(&ids).with_context(unreadable)?;
        let told: Vec<(&str, &Story)> = ids
            .iter()
            .filter_map(|(_, id)| stories.get_key_value(id))
            .filter(|(_, story)| !story.lines.is_empty())
            .map(|(id, story)| (id.as_str(), story))
            .collect();
        if told.is_empty() {
            bail!(
                "nothing in the tracking log below {}; it keeps what [tracking] says, and an id stands in the log of the server, in replies to clients and in Received fields",
                directory.display()
            );
        }
        for (id, story) in told {
            if self.json {
                for line in &story.lines {
                    print(serde_json::to_string(line)? + "\n")?;
                }
            } else {
                let waits = waits(context, id, story);
                print(story::tell(id, story, &waits) + "\n")?;
            }
        }
        if is_more {
            eprintln!("basin: there are more; narrow the search, or raise --limit (now {})", self.limit);
        }
        Ok(ExitCode::SUCCESS)
    }
}

// The log has what happened to a message; that nothing happens, and why, the server knows. Where it cannot be asked, the
// log is all there is.
fn waits(context: &Context, id: &str, story: &Story) -> Vec<String> {
    let shown = || -> Option<Shown> {
        let id = queue::parse_id(id).ok().filter(|_| story::is_here(&story.lines))?;
        let client = Client::new(&context.load().ok()?.spool);
        let asked: Result<Shown, ClientError> = client.get(&format!("/v1/queue/{id}"));
        asked.ok()
    };
    let now = crate::clock::now();
    shown().into_iter().flat_map(|shown| shown.waits_for).map(|destination| destination.why(now)).collect()
}

// Milliseconds where they matter, seconds and more where they do not.
fn show_time(time: Duration) -> String {
    match time.as_secs() {
        0..=9 => format!("{:.3} s", time.as_secs_f64()),
        10..=599 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 600..=86_399 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        seconds => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

// Everything in a line came from somebody else.
fn plain(text: &str) -> String {
    printable(text)
}
