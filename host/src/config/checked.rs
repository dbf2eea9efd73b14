//! The configuration as it is meant: parsed, complete, consistent.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use basin_core::addr::{Address, check_domain};
use basin_core::limits;

use super::raw::{self, write_size, write_time};
use super::source::{ConfigErrors, Problem, Source};

/// A configuration that the server can run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that it came from.
    pub file: PathBuf,
    /// Name of this server.
    pub host_name: String,
    /// Whom to become after binding.
    pub user: Option<String>,
    /// The group that goes with it.
    pub group: Option<String>,
    /// The spool directory.
    pub spool: PathBuf,
    /// The registry directory.
    pub registry: PathBuf,
    /// The directory of all mailboxes.
    pub maildir: PathBuf,
    /// The admin port; `None` where it is off.
    pub admin: Option<SocketAddr>,
    /// Listeners; one at least, names differ.
    pub listeners: Vec<Listener>,
    /// Local domains; one at least.
    pub domains: Vec<Domain>,
    /// Aliases by address.
    pub aliases: Vec<(Address, Vec<Address>)>,
    /// Who reads mail for postmaster.
    pub postmaster: Address,
    /// What the server may use.
    pub limits: Limits,
    /// What is logged.
    pub log: Log,
    /// What is doubtful and does not prevent a start.
    pub warnings: Vec<Problem>,
}

/// A port that takes mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name.
    pub name: String,
    /// Address and port.
    pub address: SocketAddr,
    /// Largest message, in octets.
    pub message_bytes_max: u64,
    /// Most recipients of one message.
    pub recipients_max: usize,
    /// Wait for a command.
    pub command_timeout: Duration,
    /// Wait for a block of a message.
    pub data_timeout: Duration,
    /// Time for a whole message.
    pub data_total: Duration,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most connections of one client at once.
    pub connections_per_client_max: usize,
    /// Protocol errors before the session is closed.
    pub errors_max: u32,
}

/// A local domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// Name, in lower case.
    pub name: String,
    /// Mailboxes as addresses.
    pub mailboxes: Vec<Address>,
    /// Takes what no mailbox and no alias does.
    pub catch_all: Option<Address>,
}

/// What the server may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most calls of sinks at once.
    pub sink_calls: usize,
    /// Time of all sinks of one transaction.
    pub sink_time: Duration,
    /// Most notices that wait.
    pub waiting_notices: usize,
    /// Most stored messages worked on at once.
    pub deliveries: usize,
    /// Time to drain after SIGTERM.
    pub drain_time: Duration,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least important level that is logged.
    pub level: tracing::Level,
    /// JSON in place of text.
    pub is_json: bool,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every problem, with line, key and advice.
    pub fn read(file: &Path) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let advice = "name the file with --config, or write one: packaging/basin.toml is a sample";
            ConfigErrors::whole(file, format!("cannot read the file: {error}; {advice}"))
        })?;
        Self::parse(file, &text)
    }

    /// Checks the text of a file; `file` is for messages and for paths relative to it.
    ///
    /// # Errors
    /// Every problem, with line, key and advice.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let failed = |problems| ConfigErrors { file: file.to_owned(), problems };
        let source = Source::parse(text).map_err(|problem| failed(vec![problem]))?;
        let mut problems = source.unknown_keys();
        let written = match toml::from_str::<raw::File>(text) {
            Ok(written) => written,
            Err(error) => {
                problems.push(source.problem_of(&error));
                return Err(failed(problems));
            }
        };
        let mut check =
            Check { source, problems, warnings: Vec::new(), directory: file.parent().unwrap_or(Path::new("")) };
        let config = check.config(file, written);
        match config {
            Some(config) if check.problems.is_empty() => Ok(Self { warnings: check.warnings, ..config }),
            _ => Err(failed(check.problems)),
        }
    }

    /// The socket that `basin queue` and `basin sink` talk to a running server through.
    pub fn control_socket(&self) -> PathBuf {
        self.spool.join("control.sock")
    }

    /// What the file means, for `basin check`.
    pub fn describe(&self) -> String {
        let mut text = format!("host name    {}\n", self.host_name);
        text.push_str(&format!("runs as      {}\n", self.user.as_deref().unwrap_or("the user who starts it")));
        text.push_str(&format!("spool        {}\n", self.spool.display()));
        text.push_str(&format!("registry     {}\n", self.registry.display()));
        text.push_str(&format!("maildir      {}\n", self.maildir.display()));
        text.push_str(&format!("admin port   {}\n", self.admin.map_or("off".into(), |address| address.to_string())));
        for listener in &self.listeners {
            text.push_str(&format!(
                "listener     {} on {}: messages up to {}, {} recipients, {} connections ({} from one client), waits {} for commands and {} for data\n",
                listener.name,
                listener.address,
                write_size(listener.message_bytes_max),
                listener.recipients_max,
                listener.connections_max,
                listener.connections_per_client_max,
                write_time(listener.command_timeout),
                write_time(listener.data_timeout),
            ));
        }
        for domain in &self.domains {
            let catch_all = domain.catch_all.as_ref().map_or(String::new(), |to| format!(", everything else to {to}"));
            text.push_str(&format!("domain       {}: {} mailboxes{catch_all}\n", domain.name, domain.mailboxes.len()));
        }
        for (from, to) in &self.aliases {
            let to: Vec<String> = to.iter().map(ToString::to_string).collect();
            text.push_str(&format!("alias        {from} -> {}\n", to.join(", ")));
        }
        text + &format!("postmaster   {}\n", self.postmaster)
    }
}

/// Collects what is wrong, so that one run of `basin check` shows all of it.
struct Check<'a> {
    source: Source<'a>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    directory: &'a Path,
}

impl Check<'_> {
    fn wrong(&mut self, key: &str, text: impl Into<String>) {
        let problem = self.source.problem(key, text);
        self.problems.push(problem);
    }

    fn warn(&mut self, key: &str, text: impl Into<String>) {
        let problem = self.source.problem(key, text);
        self.warnings.push(problem);
    }

    // `None` only where a problem was recorded.
    fn config(&mut self, file: &Path, written: raw::File) -> Option<Config> {
        let host_name = self.host_name(written.host_name);
        let listeners = self.listeners(written.listener);
        let domains = self.domains(written.domain);
        let aliases = self.aliases(&written.aliases, &domains);
        let postmaster = self.postmaster(written.postmaster, &domains);
        let admin = self.admin(written.admin.address);
        let limits = self.limits(&written.limits);
        let log = self.log(written.log);
        let path = |written: Option<String>, default: &str| {
            let path = written.unwrap_or_else(|| default.to_owned());
            self.directory.join(path)
        };
        Some(Config {
            file: file.to_owned(),
            host_name: host_name?,
            user: written.user,
            group: written.group,
            spool: path(written.spool.directory, "/var/lib/basin/spool"),
            registry: path(written.registry.directory, "/var/lib/basin/registry"),
            maildir: path(written.maildir.directory, "/var/lib/basin/mail"),
            admin: admin?,
            listeners,
            domains,
            aliases,
            postmaster: postmaster?,
            limits,
            log: log?,
            warnings: Vec::new(),
        })
    }

    fn host_name(&mut self, written: Option<String>) -> Option<String> {
        let name = match written {
            Some(name) => name,
            None => {
                let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
                if !name.contains('.') {
                    self.warn("host-name", format!("not set, so it is the name of the machine, {name:?}, which has no domain; many servers refuse mail from such a name"));
                }
                name
            }
        };
        if check_domain(&name).is_err() {
            self.wrong("host-name", format!("{name:?} is no domain name; write one such as \"mail.example.org\""));
            return None;
        }
        Some(name)
    }

    fn listeners(&mut self, written: Vec<raw::Listener>) -> Vec<Listener> {
        if written.is_empty() {
            self.wrong(
                "listener",
                "there is no listener; add [[listener]] with name = \"inbound\" and address = \"[::]:25\"",
            );
        }
        let mut listeners: Vec<Listener> = Vec::new();
        for (index, raw) in written.into_iter().enumerate() {
            let at = |name: &str| format!("listener[{index}].{name}");
            let listener = self.listener(&at, raw);
            if let Some(same) =
                listeners.iter().find(|other| listener.as_ref().is_some_and(|new| new.name == other.name))
            {
                let text = format!("two listeners are named {:?}; each needs a name of its own", same.name);
                self.wrong(&at("name"), text);
            }
            listeners.extend(listener);
        }
        listeners
    }

    fn listener(&mut self, at: &dyn Fn(&str) -> String, raw: raw::Listener) -> Option<Listener> {
        let is_name = |name: &String| !name.is_empty() && name.bytes().all(|o| o.is_ascii_alphanumeric() || o == b'-');
        let name = raw.name.filter(is_name);
        if name.is_none() {
            self.wrong(&at("name"), "a listener needs a name of letters, digits and hyphens, such as \"inbound\"");
        }
        let address = raw.address.as_deref().and_then(|text| text.parse().ok());
        if address.is_none() {
            let found = raw.address.map_or("nothing".to_owned(), |text| format!("{text:?}"));
            self.wrong(
                &at("address"),
                format!("expected IP:PORT such as \"0.0.0.0:25\" or \"[::]:25\", found {found}"),
            );
        }
        let recipients_max = raw.max_recipients.unwrap_or(limits::RECIPIENTS_DEFAULT);
        if recipients_max < 100 {
            self.wrong(&at("max-recipients"), "RFC 5321 §4.5.3.1.8 requires 100 at least");
        }
        let message_bytes_max = raw.max_message_size.map_or(limits::MESSAGE_BYTES_DEFAULT, |size| size.0);
        if message_bytes_max < 64 * 1024 {
            self.wrong(&at("max-message-size"), "RFC 5321 §4.5.3.1.7 requires \"64KiB\" at least");
        }
        let command_timeout = raw.command_timeout.map_or(limits::COMMAND_TIMEOUT_DEFAULT, |time| time.0);
        if command_timeout < limits::COMMAND_TIMEOUT_DEFAULT {
            self.warn(
                &at("command-timeout"),
                "RFC 5321 §4.5.3.2.7 asks for \"5m\" at least; slow clients will be cut off",
            );
        }
        let mut positive = |name: &str, value: usize| {
            if value == 0 {
                self.wrong(&at(name), "0 would let nobody in; leave the key out for the default");
            }
            value
        };
        Some(Listener {
            connections_max: positive("max-connections", raw.max_connections.unwrap_or(1_000)),
            connections_per_client_max: positive(
                "max-connections-per-client",
                raw.max_connections_per_client.unwrap_or(100),
            ),
            name: name?,
            address: address?,
            message_bytes_max,
            recipients_max,
            command_timeout,
            data_timeout: raw.data_timeout.map_or(limits::DATA_TIMEOUT_DEFAULT, |time| time.0),
            data_total: raw.data_total.map_or(limits::DATA_TOTAL_DEFAULT, |time| time.0),
            errors_max: raw.max_errors.unwrap_or(limits::ERRORS_MAX),
        })
    }

    fn domains(&mut self, written: Vec<raw::Domain>) -> Vec<Domain> {
        if written.is_empty() {
            self.wrong(
                "domain",
                "there is no domain; add [[domain]] with name = \"example.org\" and mailboxes = [\"alice\"]",
            );
        }
        let mut domains: Vec<Domain> = Vec::new();
        for (index, raw) in written.into_iter().enumerate() {
            let at = |name: &str| format!("domain[{index}].{name}");
            let Some(name) = raw.name.clone().filter(|name| check_domain(name).is_ok()) else {
                let found = raw.name.map_or("nothing".to_owned(), |text| format!("{text:?}"));
                self.wrong(&at("name"), format!("expected a domain name such as \"example.org\", found {found}"));
                continue;
            };
            let name = name.to_ascii_lowercase();
            if domains.iter().any(|domain| domain.name == name) {
                self.wrong(&at("name"), format!("{name} stands here twice; write all its mailboxes in one [[domain]]"));
            }
            let mut mailboxes = Vec::new();
            for (number, local) in raw.mailboxes.iter().enumerate() {
                mailboxes.extend(self.mailbox(&at(&format!("mailboxes[{number}]")), local, &name));
            }
            if let Some(file) = &raw.mailbox_file {
                mailboxes.extend(self.mailbox_file(&at("mailbox-file"), file, &name));
            }
            if mailboxes.is_empty() {
                self.warn(&at("mailboxes"), format!("{name} has no mailbox; only its aliases take mail"));
            }
            let catch_all = raw.catch_all.and_then(|local| self.mailbox(&at("catch-all"), &local, &name));
            if catch_all.as_ref().is_some_and(|to| !mailboxes.iter().any(|mailbox| mailbox.is_same(to))) {
                self.wrong(&at("catch-all"), "this is none of the domain's mailboxes; add it to `mailboxes`");
            }
            domains.push(Domain { name, mailboxes, catch_all });
        }
        domains
    }

    fn mailbox(&mut self, key: &str, local: &str, domain: &str) -> Option<Address> {
        match Address::parse(&format!("{local}@{domain}")) {
            Ok(address) => Some(address),
            Err(error) => {
                self.wrong(key, format!("{local:?} is no local part, the text before the at sign: {error}"));
                None
            }
        }
    }

    fn mailbox_file(&mut self, key: &str, file: &str, domain: &str) -> Vec<Address> {
        let path = self.directory.join(file);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                self.wrong(key, format!("cannot read {}: {error}", path.display()));
                return Vec::new();
            }
        };
        let mut mailboxes = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let local = line.trim();
            if local.is_empty() || local.starts_with('#') {
                continue;
            }
            match Address::parse(&format!("{local}@{domain}")) {
                Ok(address) => mailboxes.push(address),
                Err(error) => {
                    let text = format!("{}:{}: {local:?} is no local part: {error}", path.display(), index + 1);
                    self.wrong(key, text);
                }
            }
        }
        mailboxes
    }

    fn aliases(
        &mut self,
        written: &BTreeMap<String, raw::OneOrMany>,
        domains: &[Domain],
    ) -> Vec<(Address, Vec<Address>)> {
        let is_local = |address: &Address| {
            domains.iter().any(|domain| address.domain().is_some_and(|name| name.eq_ignore_ascii_case(&domain.name)))
        };
        let mut aliases = Vec::new();
        for (from, to) in written {
            let key = format!("aliases.{from}");
            let parse =
                |text: &String| Address::parse(text).map_err(|error| format!("{text:?} is no address: {error}"));
            let from = match parse(from) {
                Ok(from) if is_local(&from) => from,
                Ok(from) => {
                    self.wrong(&key, format!("{from} is in no local domain; add [[domain]] for it"));
                    continue;
                }
                Err(text) => {
                    self.wrong(&key, text);
                    continue;
                }
            };
            let targets: Result<Vec<Address>, String> = to.as_slice().iter().map(parse).collect();
            match targets {
                Ok(targets) if targets.is_empty() => self.wrong(&key, "an alias needs one address at least"),
                Ok(targets) => {
                    for target in targets.iter().filter(|target| !is_local(target)) {
                        self.warn(&key, format!("{target} is not local, and this version of basin delivers nowhere else: its mail will be held"));
                    }
                    aliases.push((from, targets));
                }
                Err(text) => self.wrong(&key, text),
            }
        }
        aliases
    }

    fn postmaster(&mut self, written: Option<String>, domains: &[Domain]) -> Option<Address> {
        let first = domains.first()?;
        let text = written.clone().unwrap_or_else(|| format!("postmaster@{}", first.name));
        let address = match Address::parse(&text) {
            Ok(address) if address.domain().is_some() => address,
            Ok(_) | Err(_) => {
                self.wrong("postmaster", format!("{text:?} is no address; write one such as \"alice@{}\"", first.name));
                return None;
            }
        };
        let is_mailbox = domains.iter().flat_map(|domain| &domain.mailboxes).any(|mailbox| mailbox.is_same(&address));
        if written.is_none() && !is_mailbox {
            self.warn(
                "postmaster",
                format!("not set, so mail for postmaster goes to the mailbox {address}; is it read?"),
            );
        } else if !is_mailbox {
            self.wrong("postmaster", format!("{address} is no mailbox of a local domain; add it to `mailboxes`"));
        }
        Some(address)
    }

    fn admin(&mut self, written: Option<String>) -> Option<Option<SocketAddr>> {
        let text = written.as_deref().unwrap_or("127.0.0.1:9525");
        if text == "off" {
            return Some(None);
        }
        let Ok(address) = text.parse::<SocketAddr>() else {
            self.wrong(
                "admin.address",
                format!("expected IP:PORT such as \"127.0.0.1:9525\", or \"off\", found {text:?}"),
            );
            return None;
        };
        if !address.ip().is_loopback() {
            self.warn("admin.address", "this port has no access control, and the address is not loopback: whoever reaches it reads the metrics");
        }
        Some(Some(address))
    }

    fn limits(&mut self, raw: &raw::Limits) -> Limits {
        let sink_calls = raw.sink_calls.unwrap_or(1_000);
        if !(1..=8_000).contains(&sink_calls) {
            self.wrong("limits.sink-calls", "expected 1 to 8000: each call takes 6 of the kernel's 65,530 memory maps");
        }
        let deliveries = raw.deliveries.unwrap_or(8);
        if deliveries == 0 {
            self.wrong("limits.deliveries", "0 would deliver nothing; leave the key out for the default");
        }
        Limits {
            sink_calls,
            sink_time: raw.sink_time_per_transaction.map_or(Duration::from_secs(60), |time| time.0),
            waiting_notices: raw.waiting_notices.unwrap_or(4_096).max(1),
            deliveries,
            drain_time: raw.drain_time.map_or(Duration::from_secs(30), |time| time.0),
        }
    }

    fn log(&mut self, raw: raw::Log) -> Option<Log> {
        let level = match raw.level.as_deref().unwrap_or("info") {
            "error" => Some(tracing::Level::ERROR),
            "warn" => Some(tracing::Level::WARN),
            "info" => Some(tracing::Level::INFO),
            "debug" => Some(tracing::Level::DEBUG),
            "trace" => Some(tracing::Level::TRACE),
            other => {
                self.wrong("log.level", format!("expected error, warn, info, debug or trace, found {other:?}"));
                None
            }
        };
        let is_json = match raw.format.as_deref().unwrap_or("text") {
            "text" => Some(false),
            "json" => Some(true),
            other => {
                self.wrong("log.format", format!("expected \"text\" or \"json\", found {other:?}"));
                None
            }
        };
        Some(Log { level: level?, is_json: is_json? })
    }
}

#[cfg(test)]
#[path = "checked_tests.rs"]
mod tests;
