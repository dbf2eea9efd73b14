//! `basin queue watch`.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use serde_json::json;

use super::desk::Desk;
use super::selection::Selection;
use super::{list, summary};
use crate::cli::table::{Table, print};
use crate::clock::now;
use crate::control::queue::ask::{ChangeRow, Changes, SummaryRequest};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Groups and changes that fit on a screen.
const GROUPS_SHOWN: usize = 10;
const CHANGES_SHOWN: usize = 10;

/// Clears the screen and goes to its first line (ECMA-48, ED and CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Arguments of `basin queue watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ends with Ctrl-C.
Examples:
  basin queue watch --by destination
  basin queue watch --json | jq -r 'select(.change == \"left\") | .id'")]
pub(super) struct Watch {
    #[command(flatten)]
    selection: Selection,
    /// What messages are put together by, as in `basin queue summary`.
    #[arg(long, value_name = "GROUPING", default_value = "domain")]
    by: String,
    /// For scripts: one JSON object in a line for each change.
    #[arg(long)]
    json: bool,
    /// End after so many looks, one each second.
    #[arg(long, value_name = "N")]
    looks: Option<u64>,
}

impl Watch {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        if !desk.is_server() {
            bail!("no server runs on this spool, so nothing changes; `basin queue summary` shows what is there");
        }
        let filter = self.selection.asked()?.filters.join(";");
        if self.json && !filter.is_empty() {
            bail!("--json names every change; filter its lines, or leave --json away");
        }
        let mut since = desk.changes(u64::MAX)?.next;
        let mut last: VecDeque<ChangeRow> = VecDeque::new();
        for _ in 0..self.looks.unwrap_or(u64::MAX) {
            if self.json {
                std::thread::park_timeout(LOOK);
            }
            let changes = desk.changes(since)?;
            since = changes.next;
            if self.json {
                print(lines(&changes))?;
                continue;
            }
            last.extend(changes.changes);
            last.drain(..last.len().saturating_sub(CHANGES_SHOWN));
            let request = SummaryRequest { filter: filter.clone(), by: self.by.clone(), limit: GROUPS_SHOWN };
            let found = desk.summary(&request)?;
            print(format!("{CLEAR}{}\n\n{}\n{}", found.at.to_rfc3339(), summary::text(&found), changes_text(&last)))?;
            std::thread::park_timeout(LOOK);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn lines(changes: &Changes) -> String {
    let missed = (changes.missed > 0).then(|| json!({ "change": "missed", "count": changes.missed }).to_string());
    let named =
        changes.changes.iter().map(|one| json!({ "id": one.id, "change": one.change, "row": one.row }).to_string());
    missed.into_iter().chain(named).map(|line| line + "\n").collect()
}

fn changes_text(last: &VecDeque<ChangeRow>) -> String {
    let mut table = Table::new(&["CHANGE", "ID", "STATE", "TO", "WHY"]);
    for change in last.iter().rev() {
        let row = change.row.as_ref();
        let why = row.map_or_else(|| "-".to_owned(), |row| list::why(row, now()));
        let to = row.and_then(|row| row.recipients.first()).map_or("-", |recipient| recipient.address.as_str());
        table.row([
            change.change.as_str(),
            change.id.as_str(),
            row.map_or("-", |row| row.state.word()),
            to,
            why.as_str(),
        ]);
    }
    table.text()
}
