//! What is said where a selection means no message: what the queue has in its place.

use basin_core::queue::index::{Filter, GroupBy};

use super::desk::Desk;
use crate::control::queue::ask::SummaryRequest;

/// Groups that are named for each condition.
const GROUPS_SHOWN: usize = 5;

/// Lines for a person whose filters selected nothing.
pub(super) fn hint(desk: &Desk, filters: &[String]) -> anyhow::Result<String> {
    let mut groupings = match filters.first() {
        Some(filter) => Filter::parse(filter)?.groupings(),
        None => Vec::new(),
    };
    groupings.dedup();
    let lines: Vec<String> = groupings.into_iter().map(|by| there_is(desk, by)).collect::<Result<_, _>>()?;
    let text = lines.concat();
    Ok(text + "  `basin queue list` shows all messages, `basin queue --help` explains filters\n")
}

fn there_is(desk: &Desk, by: GroupBy) -> anyhow::Result<String> {
    let request = SummaryRequest { filter: String::new(), by: by.word().to_owned(), limit: GROUPS_SHOWN };
    let found = desk.summary(&request)?;
    let name = |name: &str| if name.is_empty() { "-".to_owned() } else { crate::cli::table::printable(name) };
    let groups: Vec<String> =
        found.groups.iter().map(|group| format!("{} ({})", name(&group.name), group.messages)).collect();
    if groups.is_empty() {
        return Ok(format!("  nothing in the queue has a {by}\n"));
    }
    let more = found.group_count.saturating_sub(groups.len());
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    Ok(format!("  messages in the queue by {by}: {}{more}\n", groups.join(", ")))
}
