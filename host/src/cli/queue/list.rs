//! `basin queue list`.

use std::process::ExitCode;

use basin_core::mail::MessageId;
use basin_core::time::Timestamp;

use super::desk::Desk;
use super::nothing;
use super::selection::Selection;
use crate::cli::table::{Table, print};
use crate::clock::now;
use crate::control::queue::ask::{ListRequest, PAGE_ROWS_MAX, Page, Row};

/// Messages that are shown to a person who does not say how many.
const SHOWN: usize = 1_000;

/// Arguments of `basin queue list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  basin queue list 'state=deferred' 'reply=4*'
  basin queue list 'sender=<>' --limit 20
  basin queue list --json | jq -r 'select(.size > 1000000) | .id'")]
pub(super) struct List {
    #[command(flatten)]
    selection: Selection,
    /// At most so many messages; without it 1000, with --json all.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Begin behind this message: the last one of the page before.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// For scripts: one JSON object in each line.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        let asked = self.selection.asked()?;
        let after = self.after.as_deref().map(crate::control::queue::parse_id).transpose()?;
        let mut left = self.limit.unwrap_or(if self.json { usize::MAX } else { SHOWN });
        let (mut printed, mut more) = (0, None);
        for filter in &asked.filters {
            let mut after = after.clone();
            while left > 0 {
                let limit = left.min(PAGE_ROWS_MAX);
                let page = desk.list(&ListRequest { filter: filter.clone(), after, limit })?;
                tell_incomplete(&page);
                print(if self.json { lines(&page.rows)? } else { text(&page.rows) })?;
                left -= page.rows.len().min(left);
                printed += page.rows.len();
                more = page.next;
                if more.is_none() {
                    break;
                }
                after = more.clone();
            }
        }
        if !self.json {
            print(footer(printed, self.selection.is_empty(), more.as_ref()))?;
            if printed == 0 && !asked.filters.iter().all(String::is_empty) {
                print(nothing::hint(desk, &asked.filters)?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn tell_incomplete(page: &Page) {
    if !page.is_complete && page.next.is_none() {
        eprintln!("basin: the server has just started and is still reading its queue; there may be more");
    }
}

fn lines(rows: &[Row]) -> serde_json::Result<String> {
    let lines: Result<Vec<String>, _> = rows.iter().map(serde_json::to_string).collect();
    Ok(lines?.into_iter().map(|line| line + "\n").collect())
}

fn footer(printed: usize, is_everything: bool, more: Option<&MessageId>) -> String {
    let plural = if printed == 1 { "" } else { "s" };
    match more {
        Some(last) => format!("{printed} message{plural}, and perhaps more: --after {last}\n"),
        None if printed == 0 && is_everything => "the queue is empty\n".to_owned(),
        None if printed == 0 => "no message of the queue is meant by that\n".to_owned(),
        None => format!("{printed} message{plural}\n"),
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ID", "ARRIVED", "SIZE", "STATE", "TRIES", "FROM", "TO", "WHY"]);
    for row in rows {
        let more = row.waiting_count.saturating_sub(1);
        let first = row.recipients.first().map_or("-", |recipient| recipient.address.as_str());
        let to = if more == 0 { first.to_owned() } else { format!("{first} +{more}") };
        table.row([
            row.id.to_string(),
            row.arrived.to_rfc3339(),
            row.size.to_string(),
            row.state.to_string(),
            row.attempts.to_string(),
            format!("<{}>", row.sender),
            to,
            why(row, now()),
        ]);
    }
    table.text()
}

/// Why a message waits, and until when.
pub(super) fn why(row: &Row, now: Timestamp) -> String {
    if let Some(first) = row.waits_for.first().filter(|_| row.state.is_waiting()) {
        let more = row.waits_for.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" (and {more} more destinations)") };
        return first.why(now) + &more;
    }
    match (row.reason.as_deref(), row.next_attempt) {
        (Some(reason), None) => reason.to_owned(),
        (Some(reason), Some(at)) => format!("until {}: {reason}", at.to_rfc3339()),
        (None, Some(at)) => format!("until {}", at.to_rfc3339()),
        (None, None) => "-".to_owned(),
    }
}
