//! `basin sink state`: what a sink keeps in its table.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use basin_core::limits::TABLES_BYTES_MAX;

use super::places::Places;
use crate::cli::Context;
use crate::cli::table::{Table, print, print_json, printable};
use crate::control::ClientError;
use crate::control::client::operator;
use crate::control::sink_state::{self, StateAct, StateAnswer, StateRequest};
use crate::registry::edit::missing;
use crate::registry::quantity::show_size;
use crate::sink_tables::{FILE_NAME, SinkTables};

/// Arguments of `basin sink state`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  basin sink state greylist
  basin sink state greylist get 192.0.2.0/24
  basin sink state greylist delete 192.0.2.0/24
A table outlives its sink. Where no server runs, the file in the spool directory is opened itself.")]
pub(super) struct StateOf {
    /// Name of the sink.
    sink: String,
    #[command(subcommand)]
    act: Option<Act>,
    /// For scripts.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Act {
    /// Show the keys, and how much of its quota the sink uses.
    List,
    /// Show the value of a key; what is no printable ASCII is escaped.
    Get {
        /// The key.
        key: String,
    },
    /// Remove a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Remove all keys.
    Clear,
}

impl StateOf {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let act = match self.act.clone().unwrap_or(Act::List) {
            Act::List => StateAct::List,
            Act::Get { key } => StateAct::Get(key),
            Act::Delete { key } => StateAct::Delete(key),
            Act::Clear => StateAct::Clear,
        };
        let answer = ask(&places, StateRequest { sink: self.sink.clone(), act: act.clone() })?;
        self.check_name(&places, &answer)?;
        let is_missing = match &act {
            StateAct::Get(_) => answer.entries.is_empty(),
            StateAct::Delete(_) => answer.removed == 0,
            StateAct::List | StateAct::Clear => false,
        };
        if let StateAct::Get(key) | StateAct::Delete(key) = &act
            && is_missing
        {
            bail!("sink {} keeps nothing under {key:?}", self.sink);
        }
        if self.json {
            print_json(&answer)?
        } else {
            print(text(&act, &answer))?
        }
        Ok(ExitCode::SUCCESS)
    }

    // A slip of the pen would look like a sink that keeps nothing.
    fn check_name(&self, places: &Places, answer: &StateAnswer) -> anyhow::Result<()> {
        let file = places.store.read()?;
        let is_known = file.sink(&self.sink).is_some() || answer.used > 0 || answer.removed > 0;
        if is_known {
            return Ok(());
        }
        Err(missing("sink", &self.sink, file.sinks.iter().map(|sink| sink.name.as_str())).into())
    }
}

fn ask(places: &Places, request: StateRequest) -> anyhow::Result<StateAnswer> {
    match places.client.post("/v1/sink/state", &request) {
        Err(ClientError::NotRunning(_)) => offline(places, request),
        asked => Ok(asked?),
    }
}

fn offline(places: &Places, request: StateRequest) -> anyhow::Result<StateAnswer> {
    let path = places.config.spool.join(FILE_NAME);
    if !path.exists() {
        // Made by the first server; one that is made here would belong to whoever asks.
        let StateRequest { sink, .. } = request;
        return Ok(StateAnswer { sink, used: 0, quota: TABLES_BYTES_MAX, entries: Vec::new(), removed: 0 });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start a runtime")?;
    let tables = SinkTables::open(&places.config.spool);
    let answer = runtime.block_on(sink_state::carry_out(&tables, request, &operator()));
    answer.with_context(|| format!("cannot use {}", path.display()))
}

fn text(act: &StateAct, answer: &StateAnswer) -> String {
    let mut text = match act {
        StateAct::Get(_) => {
            let values = answer.entries.iter().filter_map(|entry| entry.value.as_deref());
            return values.map(|value| format!("{value}\n")).collect();
        }
        StateAct::List if answer.entries.is_empty() => String::new(),
        StateAct::List => {
            let mut table = Table::new(&["KEY", "OCTETS"]);
            answer.entries.iter().for_each(|entry| table.row([printable(&entry.key), entry.bytes.to_string()]));
            table.text()
        }
        StateAct::Delete(_) | StateAct::Clear => format!("removed: {}\n", answer.removed),
    };
    let (used, quota) = (answer.used, show_size(answer.quota));
    text.push_str(&format!("sink {} keeps {used} octets of {quota}\n", answer.sink));
    text
}
