//! The table: `pattern action words`, entries with a semicolon or a line end between them.

use basin_sink::prelude::*;

/// What happens to a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// 550 with this text.
    Reject(String),
    /// 450 with this text.
    Defer(String),
    /// Only these senders.
    Only(Vec<String>),
    /// Only clients that have authenticated.
    Users,
    /// That address in place of it.
    To(String),
    /// Take it, even where the server would not.
    Accept,
}

/// All entries, in their order.
#[derive(Debug)]
pub(crate) struct Table(Vec<(String, Action)>);

impl Table {
    /// Reads the table. A line that cannot be understood is an error and not skipped: a protection with a
    /// mistyped word must not be off in silence.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let lines = text.split([';', '\n']).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(entry).collect::<Result<_>>().map(Self)
    }

    /// What the first entry that matches says.
    pub(crate) fn action_for(&self, address: &str) -> Option<&Action> {
        self.0.iter().find(|(pattern, _)| matches(pattern, address)).map(|(_, action)| action)
    }
}

fn entry(line: &str) -> Result<(String, Action)> {
    let wrong = |why: &str| Failure::new(format!("table: {line:?}: {why}"));
    let mut words = line.splitn(3, char::is_whitespace);
    let (pattern, action) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rest = words.next().unwrap_or_default().trim();
    if !pattern.contains('@') {
        return Err(wrong("a pattern is an address or @domain"));
    }
    let action = match (action, rest) {
        ("reject", text) => Action::Reject(text.to_owned()),
        ("defer", text) => Action::Defer(text.to_owned()),
        ("users", "") => Action::Users,
        ("accept", "") => Action::Accept,
        ("to", address) if address.contains('@') => Action::To(address.to_owned()),
        ("only", senders) if senders.contains('@') => {
            Action::Only(senders.split([',', ' ']).filter(|sender| !sender.is_empty()).map(str::to_owned).collect())
        }
        _ => return Err(wrong("an action is reject [text], defer [text], only SENDERS, users, to ADDRESS or accept")),
    };
    Ok((pattern.to_owned(), action))
}

/// Whether an address is the pattern, or of the domain that the pattern is.
pub(crate) fn matches(pattern: &str, address: &str) -> bool {
    if !pattern.starts_with('@') {
        return pattern.eq_ignore_ascii_case(address);
    }
    // The domain stands behind the last "@"; a quoted local part may have others (RFC 5321 §4.1.2).
    address.rfind('@').and_then(|at| address.get(at..)).is_some_and(|domain| pattern.eq_ignore_ascii_case(domain))
}
