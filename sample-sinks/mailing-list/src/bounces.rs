//! Mail that comes back: counted for each member, and too much of it suspends.

use super::lists::List;
use super::own;
use basin_sink::prelude::*;
use std::io::Read as _;
use std::time::Duration;

/// Bounces that suspend a member where the configuration has no `bounce-limit`.
const LIMIT: usize = 5;
/// How long a bounce counts where it has no `bounce-window`.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How much of a delivery status is read, in octets.
const STATUS_OCTETS: u64 = 64 * 1024;

/// Counts a failure report for the member of that tag.
pub(crate) fn count(list: &List, tag: &str, message: &Message, call: &Call) -> Result<()> {
    let Some(member) = list.member_by_tag(tag)? else { return Ok(()) };
    // A delay is no failure, and an answer of somebody who is away is none either (RFC 3834 §4 sends it here).
    if !message.sender().is_empty() || !is_failure(message)? {
        metrics::count("dropped");
        return Ok(());
    }
    let window = config::duration("bounce-window")?.unwrap_or(WINDOW);
    let limit = config::parse::<usize>("bounce-limit")?.unwrap_or(LIMIT).max(1);
    // One key for each report and not a sum: a report that is looked at again after a crash counts once.
    let prefix = format!("{}/", list.key("bounce", tag));
    state::set(&format!("{prefix}{}", message.id()), "", Some(window))?;
    metrics::count("bounces");
    let suspended = list.key("suspended", tag);
    let before = state::get(&suspended)?;
    let is_news = before.is_none_or(|before| before == call.idempotency_key().as_bytes());
    if state::keys(&prefix, None)?.len() < limit || !is_news {
        return Ok(());
    }
    state::set(&suspended, call.idempotency_key(), None)?;
    metrics::count("suspended");
    let owners: Vec<&str> = list.owners.iter().map(String::as_str).collect();
    let text = format!(
        "Mail of {} to\n  {member}\ncame back {limit} times, so it gets none until it subscribes again.\n",
        list.address
    );
    own::send(list, &owners, &format!("{}: a member is suspended", list.address), &text, None)
}

/// Whether it is a report (RFC 3464) of a recipient that failed.
fn is_failure(message: &Message) -> Result<bool> {
    let content_type = message.headers().get("Content-Type").unwrap_or_default().to_ascii_lowercase();
    if !content_type.starts_with("multipart/report") {
        return Ok(false);
    }
    let Some(status) = message.parts().find(|part| part.content_type() == "message/delivery-status") else {
        return Ok(false);
    };
    let mut octets = Vec::new();
    status.reader().take(STATUS_OCTETS).read_to_end(&mut octets)?;
    let text = String::from_utf8_lossy(&octets).to_ascii_lowercase();
    Ok(text.lines().filter_map(|line| line.strip_prefix("action:")).any(|action| action.trim() == "failed"))
}
