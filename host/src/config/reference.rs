//! The doc text of every key, in one place: the reference page and the sample file are made from it.

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

/// The tables in the order of the page.
pub const TABLES: &[Table] = &[
    Table { name: "", is_list: false, text: "What stands at the top of the file, before the first table." },
    Table { name: "spool", is_list: false, text: "Where accepted messages are kept until they are delivered." },
    Table { name: "registry", is_list: false, text: "Where the registered sinks are kept." },
    Table { name: "maildir", is_list: false, text: "Where mail is delivered to." },
    Table { name: "admin", is_list: false, text: "The local HTTP port for `/metrics` and `/health`." },
    Table {
        name: "listener",
        is_list: true,
        text: "A port that takes mail. There must be one at least; each has a name of its own.",
    },
    Table {
        name: "domain",
        is_list: true,
        text: "A domain that this server takes mail for. Mail for any other domain is refused: Basin is no open relay.",
    },
    Table {
        name: "aliases",
        is_list: false,
        text: "Addresses that stand for others. Each key is an address of a local domain, its value an address or a list of them; an alias may lead to further aliases.",
    },
    Table { name: "limits", is_list: false, text: "What the server may use." },
    Table { name: "log", is_list: false, text: "What is logged, and how. Log lines go to standard error." },
];

macro_rules! keys {
    ($( $table:literal, $name:literal, $form:literal, $default:expr, $example:literal, $text:literal; )*) => {
        /// Every key, in the order of the page.
        pub const KEYS: &[Key] = &[ $( Key { table: $table, name: $name, form: $form, default: $default, example: $example, text: $text }, )* ];
    };
}

keys! {
    "", "host-name", "domain name", None, "\"mail.example.org\"",
        "The name of this server: in the banner, in the reply to EHLO, in Received fields. The default is the name of the machine, if that has a domain.";
    "", "user", "user name or number", None, "\"basin\"",
        "Whom to become after the ports are bound. A server started as root refuses to run without it, unless all listeners are on loopback or `--allow-root` is given; one that is not started as root cannot change and warns.";
    "", "group", "group name or number", None, "\"basin\"",
        "The group that goes with `user`. The default is that user's own group.";
    "", "postmaster", "address", None, "\"alice@example.org\"",
        "Who reads mail for `postmaster`, which every domain must accept (RFC 5321 §4.5.1). The default is a mailbox `postmaster` in the first domain.";
    "spool", "directory", "path", Some("\"/var/lib/basin/spool\""), "\"/var/lib/basin/spool\"",
        "The spool directory. It is made if it is missing, must belong to the server's user, and needs a file system that honours fsync. The control socket lies in it.";
    "registry", "directory", "path", Some("\"/var/lib/basin/registry\""), "\"/var/lib/basin/registry\"",
        "The registry directory: `registry.toml`, the components under their digests, and the cache of compiled code. Changed by `basin sink`; a running server applies a change within a second.";
    "maildir", "directory", "path", Some("\"/var/lib/basin/mail\""), "\"/var/lib/basin/mail\"",
        "Each mailbox is a Maildir below this directory, named `DOMAIN/LOCAL-PART`.";
    "admin", "address", "IP:PORT, or \"off\"", Some("\"127.0.0.1:9525\""), "\"127.0.0.1:9525\"",
        "Address of the admin port. It has no access control, so keep it on loopback; another address is a warning.";
    "listener", "name", "word", None, "\"inbound\"",
        "Name of the listener: in rules (`listener=`), bindings, logs and metrics.";
    "listener", "address", "IP:PORT", None, "\"[::]:25\"",
        "Address and port. `[::]:25` takes IPv4 as well.";
    "listener", "max-message-size", "size", Some("\"25MiB\""), "\"25MiB\"",
        "Largest message, announced with SIZE (RFC 1870). A larger one is refused with 552.";
    "listener", "max-recipients", "number, 100 or more", Some("1000"), "1000",
        "Most recipients of one message; more are answered with 452 (RFC 5321 §4.5.3.1.10). RFC 5321 requires 100 at least.";
    "listener", "command-timeout", "time", Some("\"5m\""), "\"5m\"",
        "How long to wait for the next command. RFC 5321 §4.5.3.2.7 asks for 5 minutes at least.";
    "listener", "data-timeout", "time", Some("\"3m\""), "\"3m\"",
        "How long to wait for the next block of a message.";
    "listener", "data-total", "time", Some("\"1h\""), "\"1h\"",
        "How long one message may take in all.";
    "listener", "max-connections", "number", Some("1000"), "1000",
        "Most connections of this listener at once; the next one gets 421.";
    "listener", "max-connections-per-client", "number", Some("100"), "100",
        "Most connections from one address at once (IPv6: from one /64); the next one gets 421.";
    "listener", "max-errors", "number", Some("20"), "20",
        "Protocol errors of one session before it is closed with 421.";
    "domain", "name", "domain name", None, "\"example.org\"",
        "Name of the domain.";
    "domain", "mailboxes", "list of local parts", Some("[]"), "[\"alice\", \"bob\"]",
        "Mailboxes of the domain. Mail for any other local part is refused with 550 at RCPT, unless an alias or `catch-all` takes it.";
    "domain", "mailbox-file", "path", None, "\"/etc/basin/mailboxes.example.org\"",
        "A file with further local parts, one on a line; empty lines and lines that begin with `#` are left out. Read again at SIGHUP.";
    "domain", "catch-all", "local part", None, "\"alice\"",
        "The mailbox that takes what no other one and no alias does. It must be one of the domain's mailboxes.";
    "aliases", "*", "address or list of addresses", None, "[\"alice@example.org\", \"bob@example.org\"]",
        "Where mail for the address in the key goes.";
    "limits", "sink-calls", "number, 1 to 8000", Some("1000"), "1000",
        "Most calls of sinks at once. Each takes up to 64 MiB of address space at the default memory limit, and 6 memory maps of the kernel's `vm.max_map_count`.";
    "limits", "sink-time-per-transaction", "time", Some("\"60s\""), "\"60s\"",
        "What all sinks of one message together may take before it is accepted. Clients wait 10 minutes after the final dot at most (RFC 5321 §4.5.3.2.6) and send again when they give up.";
    "limits", "waiting-notices", "number", Some("4096"), "4096",
        "Most notices (`on-reject`, `on-disconnect`, bindings that observe) that wait for their sinks. More are dropped and counted in `basin_notices_dropped_total`.";
    "limits", "deliveries", "number, 0 to 256", Some("32"), "32",
        "Most stored messages worked on at once: their sinks at `on-submission`, their way into mailboxes. 0 takes mail in and delivers none of it.";
    "limits", "drain-time", "time", Some("\"30s\""), "\"30s\"",
        "How long sessions and deliveries may go on after SIGTERM before they are cut off. What was not acknowledged will be sent again by the client; what was is in the spool.";
    "log", "level", "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"", Some("\"info\""), "\"info\"",
        "How much is logged: error, a person must act; warn, a person should look this week; info, a line for each stage of a message; debug, a line for each command.";
    "log", "format", "\"text\" or \"json\"", Some("\"text\""), "\"text\"",
        "One line of text or one JSON object for each occurrence.";
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
    best.max_by(|a, b| likeness(a.1).total_cmp(&likeness(b.1))).map(|(shown, _)| shown)
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
        SIGHUP reads `domain`, `aliases`, `postmaster` and `log.level` again, and the registry of sinks; all other\n\
        keys need a restart. A file with an error changes nothing: what was in force stays.\n\n\
        This page is made from `host/src/config/reference.rs`.\n",
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
    matches!((key.table, key.name), ("", "group") | ("domain", "mailbox-file" | "catch-all"))
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
