//! `basin queue`: the messages that wait.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use anyhow::{Context as _, anyhow, bail};
use basin_core::event::EventSet;
use basin_core::mail::{Outcome, Recipient};
use basin_core::time::Timestamp;
use basin_core::transport::{Stage, State, Transport, TransportPolicy, Work};
use basin_spool::{Options, RealStorage, Spool, SpoolFault};
use clap::Subcommand;

use crate::cli::Context;
use crate::cli::table::{Table, print, print_json, printable};
use crate::config::Config;
use crate::control::queue::{self, Row, Shown};
use crate::control::{Client, ClientError};
use crate::privileges::Identity;
use crate::registry::quantity::show_size;

/// Arguments of `basin queue`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Asks the running server through its control socket; where none runs, opens the spool itself.
Examples:
  basin queue list
  basin queue cat 00063a1f2c4d5e-89ab12cd34ef5678 > letter.eml
  basin queue release 00063a1f2c4d5e-89ab12cd34ef5678")]
pub struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show all messages, oldest first.
    List {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Show one message: envelope, what became of each recipient, header block.
    Show {
        /// Its id.
        id: String,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Write one message to standard output, octet for octet.
    Cat {
        /// Its id.
        id: String,
    },
    /// Let held messages go on, and try waiting ones now.
    Release {
        /// Their ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Take messages out of the queue for good; nobody is notified.
    Delete {
        /// Their ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

impl Queue {
    /// Runs the command.
    ///
    /// # Errors
    /// The command failed; the text says how.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let source = Source::find(context.load()?)?;
        match self.command {
            Command::List { json } => {
                let rows = source.rows()?;
                if json { print_json(&rows) } else { print(list_text(&rows)) }
            }
            Command::Show { id, json } => {
                let shown = source.message(&id)?;
                if json { print_json(&shown) } else { print(show_text(&shown)) }
            }
            Command::Cat { id } => print(source.content(&id)?),
            Command::Release { ids } => ids.iter().try_for_each(|id| {
                source.release(id)?;
                print(format!("released: {id}\n"))
            }),
            Command::Delete { ids } => ids.iter().try_for_each(|id| {
                source.delete(id)?;
                print(format!("deleted: {id}\n"))
            }),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the queue is looked at: the server that runs, or the spool where none does.
enum Source {
    Server(Client),
    Spool(Box<Config>, Spool),
}

impl Source {
    fn find(config: Config) -> anyhow::Result<Self> {
        let client = Client::new(&config.spool);
        match client.ping() {
            Ok(()) => Ok(Self::Server(client)),
            Err(ClientError::NotRunning(_)) => {
                let spool = open(&config.spool)?;
                Ok(Self::Spool(Box::new(config), spool))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn rows(&self) -> anyhow::Result<Vec<Row>> {
        match self {
            Self::Server(client) => Ok(client.get("/v1/queue")?),
            Self::Spool(_, spool) => Ok(queue::rows(spool)),
        }
    }

    fn message(&self, id: &str) -> anyhow::Result<Shown> {
        match self {
            Self::Server(client) => Ok(client.get(&format!("/v1/queue/{}", queue::parse_id(id)?))?),
            Self::Spool(_, spool) => Ok(queue::message(spool, id)?),
        }
    }

    fn content(&self, id: &str) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Server(client) => {
                let url = format!("/v1/queue/{}/content", queue::parse_id(id)?);
                Ok(client.get_octets(&url)?.to_vec())
            }
            Self::Spool(_, spool) => Ok(queue::content(spool, id)?),
        }
    }

    fn release(&self, id: &str) -> anyhow::Result<()> {
        match self {
            Self::Server(client) => Ok(client.post(&format!("/v1/queue/{}/release", queue::parse_id(id)?))?),
            Self::Spool(config, spool) => release_in(spool, config, id),
        }
    }

    fn delete(&self, id: &str) -> anyhow::Result<()> {
        let parsed = queue::parse_id(id)?;
        match self {
            Self::Server(client) => Ok(client.post(&format!("/v1/queue/{parsed}/delete"))?),
            Self::Spool(_, spool) => {
                if !spool.contains(&parsed) {
                    return Err(queue::LookupError::Unknown(parsed).into());
                }
                wait(|done| spool.remove(parsed, done)).with_context(|| format!("cannot delete message {id}"))
            }
        }
    }
}

fn open(directory: &Path) -> anyhow::Result<Spool> {
    if !directory.is_dir() {
        bail!("there is no spool at {}; `basin serve` makes it at its first start", directory.display());
    }
    // Opening writes. What root wrote here, the server could not open any more.
    let owner = Identity::owner_of(directory)?;
    if owner.is_below_us() {
        owner.assume().with_context(|| format!("cannot become the owner of {}", directory.display()))?;
    }
    let opened = Spool::open(directory, Options::default(), Arc::new(RealStorage));
    opened.map(|(spool, _)| spool).with_context(|| format!("cannot open the spool {}", directory.display()))
}

// The machine decides what a release means; here nobody goes on with it but the next start of the server.
fn release_in(spool: &Spool, config: &Config, id: &str) -> anyhow::Result<()> {
    let (message, state) = queue::load(spool, &queue::parse_id(id)?)?;
    let policy = Arc::new(TransportPolicy::new(config.host_name.clone(), config.directory.clone()));
    let work = Transport::release(policy, message, state, EventSet::ALL, crate::clock::now());
    let Work::Save(_, message, state) = work else {
        return Err(anyhow!("cannot release message {id}: it is at its end already"));
    };
    wait(|done| spool.save(*message, state, done)).with_context(|| format!("cannot release message {id}"))
}

/// A caller that waits for the spool's writer.
type Done = Box<dyn FnOnce(Result<(), SpoolFault>) + Send>;

fn wait(ask: impl FnOnce(Done)) -> anyhow::Result<()> {
    let (sender, answers) = mpsc::channel();
    // Nobody listens any more only where this function returned, which it does after the answer.
    ask(Box::new(move |result| drop(sender.send(result))));
    Ok(answers.recv().context("the spool closed")??)
}

fn list_text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "the queue is empty\n".to_owned();
    }
    let mut table = Table::new(&["ID", "ARRIVED", "SIZE", "STAGE", "TRIES", "FROM", "TO", "WHY"]);
    for row in rows {
        let more = row.recipient_count.saturating_sub(1);
        let first = row.recipients.first().map_or("-", String::as_str);
        let to = if more == 0 { first.to_owned() } else { format!("{first} +{more}") };
        table.row([
            row.id.to_string(),
            row.arrived.to_rfc3339(),
            row.size.to_string(),
            row.stage.clone(),
            row.attempts.to_string(),
            format!("<{}>", row.sender),
            to,
            reason(row.reason.as_deref(), row.not_before),
        ]);
    }
    let plural = if rows.len() == 1 { "" } else { "s" };
    table.text() + &format!("{} message{plural}\n", rows.len())
}

fn reason(reason: Option<&str>, not_before: Option<Timestamp>) -> String {
    match (reason, not_before) {
        (Some(reason), None) => reason.to_owned(),
        (Some(reason), Some(at)) => format!("until {}: {reason}", at.to_rfc3339()),
        (None, Some(at)) => format!("until {}", at.to_rfc3339()),
        (None, None) => "-".to_owned(),
    }
}

fn show_text(shown: &Shown) -> String {
    let mut table = Table::plain();
    let arrival = &shown.arrival;
    let from = shown.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
    table.row(["message", shown.id.as_str()]);
    table.row([
        "arrived".to_owned(),
        format!("{} by {} at {}", arrival.at.to_rfc3339(), arrival.origin, arrival.listener),
    ]);
    if let Some(client) = arrival.client {
        table.row(["client".to_owned(), format!("{client} {}", arrival.helo.as_deref().unwrap_or("-"))]);
    }
    table.row(["session", arrival.session.as_deref().unwrap_or("-")]);
    table.row(["size".to_owned(), show_size(shown.size)]);
    table.row(["stage".to_owned(), stage(&shown.state)]);
    table.row(["tries".to_owned(), shown.state.attempts.to_string()]);
    table.row(["from".to_owned(), format!("<{from}>")]);
    for recipient in &shown.envelope.recipients {
        table.row(["to".to_owned(), format!("<{}> {}", recipient.address, outcome(recipient))]);
    }
    let header: String = shown.header.lines().map(|line| printable(line) + "\n").collect();
    table.text() + "\n" + &header
}

fn stage(state: &State) -> String {
    let stage = match &state.stage {
        Stage::Submission => "submission".to_owned(),
        Stage::Delivery => "delivery".to_owned(),
        Stage::Discarded => "discarded".to_owned(),
        Stage::Held { reason, .. } => format!("held: {reason}"),
        Stage::Bad { reason } => format!("bad: {reason}"),
    };
    state.not_before.map_or(stage.clone(), |at| format!("{stage}, not before {}", at.to_rfc3339()))
}

fn outcome(recipient: &Recipient) -> String {
    let word = recipient.outcome.word();
    match &recipient.outcome {
        Outcome::Pending => word.to_owned(),
        Outcome::Delivered { at, .. } => format!("{word} at {}", at.to_rfc3339()),
        Outcome::Deferred { until, reply, .. } => format!("{word} until {}: {reply}", until.to_rfc3339()),
        Outcome::Failed { reply, .. } => format!("{word}: {reply}"),
        Outcome::Held { reason } => format!("{word}: {reason}"),
    }
}
