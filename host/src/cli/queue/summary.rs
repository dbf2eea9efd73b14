//! `basin queue summary`.

use std::process::ExitCode;

use super::desk::Desk;
use super::selection::Selection;
use crate::cli::table::{Table, print, print_json};
use crate::control::queue::ask::{GroupView, Summary as Found, SummaryRequest};
use crate::registry::quantity::show_size;

/// Arguments of `basin queue summary`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Groupings: domain, destination, sender, sender-domain, state, reply, origin.
Examples:
  basin queue summary
  basin queue summary 'state=deferred' --by reply --limit 10")]
pub(super) struct Summary {
    #[command(flatten)]
    selection: Selection,
    /// What messages are put together by.
    #[arg(long, value_name = "GROUPING", default_value = "domain")]
    by: String,
    /// At most so many groups, the largest.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

impl Summary {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        let filter = self.selection.asked()?.filters.join(";");
        let found = desk.summary(&SummaryRequest { filter, by: self.by, limit: self.limit })?;
        if self.json {
            print_json(&found)?
        } else {
            print(text(&found))?
        };
        if !found.is_complete {
            eprintln!("basin: the server has just started and is still reading its queue; there may be more");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A summary as a table.
pub(super) fn text(found: &Found) -> String {
    let mut ages: Vec<String> = found.age_bounds.iter().map(|bound| format!("<{}", short_time(*bound))).collect();
    ages.push("older".to_owned());
    let by = found.by.to_uppercase();
    let head = ["MESSAGES", "RECIPIENTS", "SIZE", "OLDEST"].map(str::to_owned);
    let columns: Vec<String> = [by].into_iter().chain(head).chain(ages).collect();
    let mut table = Table::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    for group in &found.groups {
        let name = if group.name.is_empty() { "-" } else { &group.name };
        table.row(row(name, group, found));
    }
    table.row(row("total", &found.total, found));
    let hidden = found.group_count.saturating_sub(found.groups.len());
    let more = if hidden == 0 { String::new() } else { format!("and {hidden} more groups; --limit shows them\n") };
    table.text() + &more + &destinations(found)
}

// Where mail does not go, and why.
fn destinations(found: &Found) -> String {
    if found.destinations.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["DESTINATION", "STATE", "MESSAGES", "CONNECTIONS", "NEXT TRY", "LAST REPLY"]);
    for row in &found.destinations {
        let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let next = row.next_probe.map(|at| i64::try_from(at.since(found.at).as_secs()).unwrap_or(i64::MAX));
        table.row([
            row.name.clone(),
            row.state.clone(),
            number(row.jobs),
            number(row.connections),
            next.map_or_else(|| "-".to_owned(), short_time),
            row.reply.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    format!("\n{}", table.text())
}

fn row(name: &str, group: &GroupView, found: &Found) -> Vec<String> {
    let age = group.oldest.map(|oldest| i64::try_from(found.at.since(oldest).as_secs()).unwrap_or(i64::MAX));
    let mut cells = vec![
        name.to_owned(),
        group.messages.to_string(),
        group.recipients.to_string(),
        show_size(group.octets),
        age.map_or_else(|| "-".to_owned(), short_time),
    ];
    cells.extend(group.ages.iter().map(ToString::to_string));
    cells
}

fn short_time(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
