//! What is made from the doc text of the keys: the reference page, the sample file, suggestions.

pub use super::keys::{KEYS, TABLES};

/// One key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Table that it stands in: empty for the top, `[[name]]` tables without brackets.
    pub table: &'static str,
    /// Name within the table.
    pub name: &'static str,
    /// What a value looks like.
    pub form: &'static str,
    /// The default as TOML; `None` where there is none.
    pub default: Option<&'static str>,
    /// An example as TOML, for the sample file.
    pub example: &'static str,
    /// What it does, in whole sentences.
    pub text: &'static str,
}

/// One table of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Name; empty for the top.
    pub name: &'static str,
    /// Whether it is `[[name]]`.
    pub is_list: bool,
    /// What it is about.
    pub text: &'static str,
}

/// Whether a path such as `listener[0].address` is a key or a table of the configuration.
pub(super) fn is_known(path: &str) -> bool {
    // An alias's key is an address, dots and all.
    if path.starts_with("aliases.") {
        return true;
    }
    let plain = without_indices(path);
    let (table, name) = plain.rsplit_once('.').unwrap_or(("", &plain));
    KEYS.iter().any(|key| key.table == table && key.name == name) || TABLES.iter().any(|table| table.name == plain)
}

/// The known key that is most like `path`; `None` where nothing is.
pub(super) fn nearest(path: &str) -> Option<String> {
    let plain = without_indices(path);
    let (table, name) = plain.rsplit_once('.').unwrap_or(("", &plain));
    let here = KEYS.iter().filter(|key| key.table == table).map(|key| (key.name.to_owned(), key.name));
    let tables = TABLES.iter().filter(|_| table.is_empty()).map(|table| (table.name.to_owned(), table.name));
    // A key in the wrong table is the other usual mistake.
    let elsewhere = KEYS.iter().filter(|key| key.table != table && !key.table.is_empty());
    let elsewhere = elsewhere.map(|key| (format!("{}.{}", key.table, key.name), key.name));
    let likeness = |known: &str| strsim::jaro_winkler(known, name);
    // Jaro-Winkler: 1 is equal; below 0.85 two words of this length have little in common.
    let best = here.chain(tables).chain(elsewhere).filter(|(_, known)| likeness(known) >= 0.85);
    // Of equals the first one of the page.
    best.rev().max_by(|a, b| likeness(a.1).total_cmp(&likeness(b.1))).map(|(shown, _)| shown)
}

fn without_indices(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut is_inside = false;
    for character in path.chars() {
        match character {
            '[' => is_inside = true,
            ']' => is_inside = false,
            _ if !is_inside => plain.push(character),
            _ => {}
        }
    }
    plain
}

/// The page `docs/configuration.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
        Basin reads one file, `/etc/basin/basin.toml` or what `--config` names. It is TOML. Times and sizes carry\n\
        their unit (`\"30s\"`, `\"25MiB\"`), an unknown key is an error, and `basin check` says what the file means and\n\
        what is wrong with it before a server does. `packaging/basin.toml` is a sample.\n\n\
        SIGHUP reads `listener`, `certificate`, `auth`, `sender`, `domain`, `aliases`, `postmaster`, `relay`, `queue`, `source`, `route`, `credentials`,\n\
        `dns`, `tls`, `dkim`, `arc`, `message-auth` and `log.level` again, `outbound` but for its number of connections, and the files that they name. Listeners come and\n\
        go; sessions that are open end by what they began with. All other keys need a restart; those among them that changed are named in the log. A file\n\
        with an error, or with a listener whose port cannot be had, changes nothing: what was in force stays.\n\n\
        This page is made from `host/src/config/keys.rs`.\n",
    );
    for table in TABLES {
        let title = match (table.name, table.is_list) {
            ("", _) => "At the top".to_owned(),
            (name, true) => format!("`[[{name}]]`"),
            (name, false) => format!("`[{name}]`"),
        };
        page.push_str(&format!("\n## {title}\n\n{}\n\n", table.text));
        page.push_str("| key | value | default | what it does |\n| --- | --- | --- | --- |\n");
        for key in KEYS.iter().filter(|key| key.table == table.name) {
            let default = key.default.map_or_else(|| "-".to_owned(), |default| format!("`{default}`"));
            let name = if key.name == "*" { "\"ADDRESS\"" } else { key.name };
            page.push_str(&format!("| `{name}` | {} | {default} | {} |\n", key.form, key.text));
        }
    }
    page
}

/// The file `packaging/basin.toml`: what everybody sets is set, what has a default stands as a comment.
pub fn sample() -> String {
    let mut sample = String::from(
        "# Basin's configuration; docs/configuration.md explains every key, `basin check` this file.\n\
         # A key that is commented out stands at its default.\n",
    );
    for table in TABLES {
        sample.push('\n');
        sample.push_str(&comment(table.text));
        match (table.name, table.is_list) {
            ("", _) => {}
            (name, true) if is_optional_table(name) => sample.push_str(&format!("# [[{name}]]\n")),
            (name, true) => sample.push_str(&format!("[[{name}]]\n")),
            (name, false) => sample.push_str(&format!("[{name}]\n")),
        }
        for key in KEYS.iter().filter(|key| key.table == table.name) {
            sample.push_str(&format!("\n{}", comment(key.text)));
            let name = if key.name == "*" { "\"info@example.org\"" } else { key.name };
            let is_comment = key.default.is_some() && key.name != "mailboxes" || is_optional(key);
            sample.push_str(&format!("{}{name} = {}\n", if is_comment { "# " } else { "" }, key.example));
        }
    }
    sample
}

// Keys without a default that most servers leave out.
fn is_optional(key: &Key) -> bool {
    is_optional_table(key.table)
        || matches!(
            (key.table, key.name),
            ("", "group")
                | ("domain", "mailbox-file" | "catch-all")
                | (
                    "listener",
                    "host-name"
                        | "tls"
                        | "certificates"
                        | "client-ca"
                        | "domains"
                        | "max-messages-per-session"
                        | "max-hold"
                        | "auth"
                        | "auth-mechanisms"
                        | "users-file"
                        | "hard-max-message-size"
                        | "relay-clients"
                        | "max-connections-per-minute"
                        | "max-messages-per-minute"
                        | "max-recipients-per-minute"
                )
                | ("outbound" | "dns" | "tls" | "arc" | "message-auth" | "pickup" | "auth", _)
        )
}

// Tables of a list that most servers have none of.
fn is_optional_table(name: &str) -> bool {
    matches!(name, "certificate" | "sender" | "source" | "route" | "credentials" | "dkim")
}

fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > 100 {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
