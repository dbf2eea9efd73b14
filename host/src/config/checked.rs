//! The configuration as it is meant: parsed, complete, consistent.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::network::Network;
use basin_core::smtp::SenderTable;
use basin_core::transport::RouteTable;
use basin_core::transport::directory::Directory;

use super::check::Check;
use super::listener::{CertificateFiles, Listener};
use super::message_auth::MessageAuth;
use super::outgoing::{Credentials, Dns, Outbound, Queue, Tls};
use super::raw::{self, write_time};
use super::signing::{ArcKey, DkimKey, Pickup};
use super::source::{ConfigErrors, Problem, Source};
use crate::journal::JournalOptions;

/// A configuration that the server can run with.
#[derive(Debug, Clone)]
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
    /// The directory of compiled code.
    pub cache: PathBuf,
    /// The directory of all mailboxes.
    pub maildir: PathBuf,
    /// The admin port; `None` where it is off.
    pub admin: Option<SocketAddr>,
    /// Listeners; one at least, names differ.
    pub listeners: Vec<Listener>,
    /// Certificates of this server.
    pub certificates: Vec<CertificateFiles>,
    /// The file of users, where listeners name no other.
    pub users_file: Option<PathBuf>,
    /// Which addresses users of submission listeners send from.
    pub senders: Arc<SenderTable>,
    /// Local domains; one at least.
    pub domains: Vec<Domain>,
    /// Aliases by address.
    pub aliases: Vec<(Address, Vec<Address>)>,
    /// Who reads mail for postmaster.
    pub postmaster: Address,
    /// Domains, mailboxes and aliases as the machines look them up.
    pub directory: Arc<Directory>,
    /// Clients that may send to any domain.
    pub relay_clients: Vec<Network>,
    /// How long and how often mail is tried.
    pub queue: Queue,
    /// How mail leaves.
    pub outbound: Outbound,
    /// Which way the mail of which domain leaves.
    pub routes: Arc<RouteTable>,
    /// Names and passwords for other servers, by name.
    pub credentials: Vec<Credentials>,
    /// Where names are looked up.
    pub dns: Dns,
    /// Which certificates are trusted.
    pub tls: Tls,
    /// Keys that sign.
    pub dkim: Vec<DkimKey>,
    /// The key that seals.
    pub arc: Option<ArcKey>,
    /// What is stated of messages that come.
    pub message_auth: MessageAuth,
    /// The pickup directory.
    pub pickup: Option<Pickup>,
    /// What the server may use.
    pub limits: Limits,
    /// What is logged.
    pub log: Log,
    /// Where steps of messages are taken down; `None` where they are not.
    pub tracking: Option<JournalOptions>,
    /// The audit log, where one is kept.
    pub audit: Option<JournalOptions>,
    /// What is doubtful and does not prevent a start.
    pub warnings: Vec<Problem>,
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
    /// Time to compile one component.
    pub compile_time: Duration,
    /// Memory to compile one component, in octets.
    pub compile_memory: u64,
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
            let advice =
                "name the file with --config or in BASIN_CONFIG, or write one: packaging/basin.toml is a sample";
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
        let problems = source.unknown_keys();
        let written = match source.read::<raw::File>() {
            Ok(written) => written,
            Err((mistaken, rest)) => return Err(failed(Self::all_problems(file, source, problems, mistaken, rest))),
        };
        let mut check =
            Check { source, problems, warnings: Vec::new(), folder: file.parent().unwrap_or(Path::new("")) };
        let config = check.config(file, written);
        match config {
            Some(config) if check.problems.is_empty() => Ok(Self { warnings: check.warnings, ..config }),
            _ => Err(failed(check.problems)),
        }
    }

    // Where values are of the wrong kind, what is wrong with the others is told as well; but not that a value is missing
    // that is only mistaken.
    fn all_problems(
        file: &Path,
        source: Source<'_>,
        mut problems: Vec<Problem>,
        mistaken: Vec<Problem>,
        rest: Option<raw::File>,
    ) -> Vec<Problem> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut check = Check { source, problems: Vec::new(), warnings: Vec::new(), folder };
        if let Some(rest) = rest {
            check.config(file, rest);
        }
        let follows = |problem: &Problem| mistaken.iter().any(|first| problem.follows(first));
        check.problems.retain(|problem| !follows(problem));
        problems.extend(mistaken);
        problems.append(&mut check.problems);
        problems
    }

    /// Whether others than this machine reach a listener.
    pub fn is_exposed(&self) -> bool {
        self.listeners.iter().any(|listener| !listener.address.ip().is_loopback())
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
        let tracking = self.tracking.as_ref().map_or("off".into(), |tracking| tracking.directory.display().to_string());
        text.push_str(&format!("tracking     {tracking}\n"));
        let audit = self.audit.as_ref().map_or("off".into(), |audit| audit.directory.display().to_string());
        text.push_str(&format!("audit        {audit}\n"));
        text.push_str(&format!("admin port   {}\n", self.admin.map_or("off".into(), |address| address.to_string())));
        for listener in &self.listeners {
            text.push_str(&listener.describe(&self.certificates));
        }
        for (user, addresses) in &self.senders.rows {
            text.push_str(&format!("sender       {user}: {}\n", addresses.join(", ")));
        }
        for domain in &self.domains {
            let catch_all = domain.catch_all.as_ref().map_or(String::new(), |to| format!(", everything else to {to}"));
            text.push_str(&format!("domain       {}: {} mailboxes{catch_all}\n", domain.name, domain.mailboxes.len()));
        }
        for (from, to) in &self.aliases {
            let to: Vec<String> = to.iter().map(ToString::to_string).collect();
            text.push_str(&format!("alias        {from} -> {}\n", to.join(", ")));
        }
        text.push_str(&format!("postmaster   {}\n", self.postmaster));
        text + &self.describe_outgoing()
    }

    fn describe_outgoing(&self) -> String {
        let clients: Vec<String> = self.relay_clients.iter().map(ToString::to_string).collect();
        let clients = if clients.is_empty() { "nobody".to_owned() } else { clients.join(", ") };
        let mut text = format!("relay for    {clients}\n");
        let delay = self.queue.delay_notice.map_or("never".to_owned(), |after| format!("after {}", write_time(after)));
        text.push_str(&format!(
            "queue        tried for {} (notifications {}), senders told of a delay {delay}, {} messages at most\n",
            write_time(self.queue.lifetime),
            write_time(self.queue.bounce_lifetime),
            self.queue.messages_max,
        ));
        text.push_str(&format!(
            "outbound     {} connections, {} to one destination, as {}\n",
            self.outbound.connections, self.outbound.limits.connections_max, self.outbound.helo_name,
        ));
        for (name, addresses) in &self.outbound.sources {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            text.push_str(&format!("source       {name}: {}\n", addresses.join(", ")));
        }
        for (patterns, route) in self.routes.rules() {
            let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            if !patterns.is_empty() {
                text.push_str(&format!("route        {} -> {route}\n", patterns.join(", ")));
            }
        }
        for (name, route) in self.routes.names() {
            text.push_str(&format!("route        what sinks send to {name} -> {route}\n"));
        }
        for key in &self.dkim {
            let below = if key.covers_subdomains { " and below" } else { "" };
            text.push_str(&format!("dkim         {}{below}: {} in {}\n", key.domain, key.selector, key.file.display()));
        }
        if let Some(key) = &self.arc {
            text.push_str(&format!("arc          {}: {} in {}\n", key.domain, key.selector, key.file.display()));
        }
        text.push_str(&self.message_auth.describe());
        if let Some(pickup) = &self.pickup {
            text.push_str(&format!("pickup       {}\n", pickup.directory.display()));
        }
        text
    }
}

#[cfg(test)]
#[path = "checked_tests.rs"]
mod tests;
