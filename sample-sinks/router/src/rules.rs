//! The table: `PATTERN HOP HOP ... [else HOP ...]`, entries with a semicolon or a line end between them.

use basin_sink::prelude::*;

/// Port where an entry names none (RFC 5321 §4.5.4.2).
const PORT: u16 = 25;

/// All rules, in their order.
#[derive(Debug)]
pub(crate) struct Routes(Vec<Rule>);

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    whose: Whose,
    pattern: String,
    /// What is done at first.
    pub(crate) first: Action,
    /// What is done when that failed, where it is something else.
    pub(crate) otherwise: Option<Action>,
}

/// Whose domain a pattern is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Destination,
    Sender,
}

/// What becomes of the mail.
#[derive(Debug)]
pub(crate) enum Action {
    /// The server routes.
    Direct,
    /// It fails, with this text.
    Reject(String),
    /// It goes to these.
    Hops(Vec<Hop>),
}

/// A hop and what the server calls it when it has failed.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) name: String,
    pub(crate) next: NextHop,
}

impl Routes {
    /// Reads the table. An entry that cannot be understood is an error: mail that should go through a filter must not
    /// go past it because of a typing error.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let lines = text.split([';', '\n']).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(rule).collect::<Result<_>>().map(Self)
    }

    /// Whether a rule looks at the sender.
    pub(crate) fn needs_sender(&self) -> bool {
        self.0.iter().any(|rule| rule.whose == Whose::Sender)
    }

    /// The first rule that fits. Mail for this server itself is routed by rules that name its domain and by no others.
    pub(crate) fn rule_for(&self, domain: &str, sender: &str, is_local: bool) -> Option<&Rule> {
        // The domain stands behind the last "@"; a quoted local part may have others (RFC 5321 §4.1.2).
        let from = sender.rsplit_once('@').map_or("", |(_, from)| from);
        let is_general = |rule: &Rule| rule.whose == Whose::Sender || rule.pattern == "*";
        self.0.iter().filter(|rule| !is_local || !is_general(rule)).find(|rule| match rule.whose {
            Whose::Destination => fits(&rule.pattern, domain),
            Whose::Sender => fits(&rule.pattern, from),
        })
    }
}

fn fits(pattern: &str, domain: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(end) => domain.len() > end.len() && domain.ends_with(end),
        None => domain == pattern,
    }
}

fn rule(line: &str) -> Result<Rule> {
    let wrong = |why: &str| Failure::new(format!("routes: {line:?}: {why}"));
    let (pattern, actions) = line.split_once(char::is_whitespace).ok_or_else(|| wrong("where to?"))?;
    let (whose, pattern) = match pattern.strip_prefix("from=") {
        Some(pattern) => (Whose::Sender, pattern),
        None => (Whose::Destination, pattern),
    };
    let end = pattern.strip_prefix('*').unwrap_or(pattern);
    let is_pattern =
        !end.contains(['*', '@', ':', '/']) && (end.len() == pattern.len() || end.is_empty() || end.starts_with('.'));
    if pattern.is_empty() || !is_pattern {
        return Err(wrong("a pattern is a domain, *.DOMAIN or *, perhaps with from= before it"));
    }
    let (first, otherwise) = match actions.split_once(" else ") {
        Some((first, otherwise)) => (first, Some(otherwise)),
        None => (actions, None),
    };
    let action = |text: &str| action(text.trim()).map_err(|why| wrong(&why));
    let pattern = pattern.to_ascii_lowercase();
    Ok(Rule { whose, pattern, first: action(first)?, otherwise: otherwise.map(action).transpose()? })
}

fn action(text: &str) -> Result<Action, String> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match (word, rest.trim()) {
        ("direct", "") => Ok(Action::Direct),
        ("reject", "") => Ok(Action::Reject("no mail goes there from here".to_owned())),
        ("reject", words) => Ok(Action::Reject(words.to_owned())),
        ("", _) => Err("where to?".to_owned()),
        _ => text.split_whitespace().map(hop).collect::<Result<_, _>>().map(Action::Hops),
    }
}

fn hop(text: &str) -> Result<Hop, String> {
    let mut options = text.split('/');
    let to = options.next().unwrap_or_default();
    if ["direct", "reject", "else"].contains(&to) {
        return Err(format!("{to:?} stands alone"));
    }
    let (name, mut next) = match to.split_once(':') {
        Some(("mx", domain)) if !domain.is_empty() => {
            (format!("mx {}", domain.to_ascii_lowercase()), NextHop::mx(domain))
        }
        Some(("lmtp", name)) if !name.is_empty() => (format!("lmtp {name}"), NextHop::lmtp(name)),
        _ if to == "local" => ("local".to_owned(), NextHop::local()),
        _ => {
            let (host, port) = host_and_port(to).ok_or_else(|| format!("{to:?} is no hop"))?;
            let bare = host.trim_matches(['[', ']']).to_ascii_lowercase();
            let shown = if bare.contains(':') { format!("[{bare}]") } else { bare };
            (format!("host {shown}:{port}"), NextHop::host(host, port))
        }
    };
    for option in options {
        next = match (option, option.strip_prefix("login=")) {
            ("none", _) => next.tls(Tls::None),
            ("opportunistic", _) => next.tls(Tls::Opportunistic),
            ("required", _) => next.tls(Tls::Required),
            ("verified", _) => next.tls(Tls::Verified),
            (_, Some(login)) if !login.is_empty() => next.credentials(login),
            _ => return Err(format!("{option:?} is none of none, opportunistic, required, verified, login=NAME")),
        };
    }
    Ok(Hop { name, next })
}

// An IPv6 literal stands in brackets, so the port is what follows the last colon behind them.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ => (text, PORT),
    };
    let is_host = !host.is_empty() && (host.starts_with('[') == host.ends_with(']')) && !host.contains(['=', '*', '@']);
    is_host.then_some((host, port))
}
