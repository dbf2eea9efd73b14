//! Messages of the list's own.

use super::lists::List;
use basin_sink::prelude::*;

/// Longest Message-ID that is taken over, in octets.
const ID_OCTETS_MAX: usize = 250;

/// Whether a program sent it (RFC 3834 §5).
pub(crate) fn is_automatic(message: &Message) -> bool {
    let value = message.headers().get("Auto-Submitted").unwrap_or_default();
    let word = value.split([';', ' ', '(']).next().unwrap_or_default();
    !word.is_empty() && !word.eq_ignore_ascii_case("no")
}

/// Sends a text from `LIST-request`. From the null path, so that nothing answers it.
pub(crate) fn send(list: &List, to: &[&str], subject: &str, text: &str, about: Option<&Message>) -> Result<()> {
    let mut new = NewMessage::new("", to)?;
    new.header("From", &format!("<{}>", list.with("request")))?;
    new.header("To", &to.iter().map(|address| format!("<{address}>")).collect::<Vec<_>>().join(", "))?;
    new.header("Subject", subject)?.header("List-Id", &format!("<{}>", list.id()))?;
    new.header("Auto-Submitted", if about.is_some() { "auto-replied" } else { "auto-generated" })?;
    let id = about.and_then(Message::message_id).filter(|id| id.len() <= ID_OCTETS_MAX);
    if let Some(id) = id.filter(|id| id.bytes().all(|octet| octet.is_ascii_graphic() && !b"<>".contains(&octet))) {
        new.header("In-Reply-To", &format!("<{id}>"))?.header("References", &format!("<{id}>"))?;
    }
    let lines: String = text.lines().flat_map(|line| [line, "\r\n"]).collect();
    new.body(lines)?;
    new.submit()?;
    Ok(())
}
