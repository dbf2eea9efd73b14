//! From the file as it is written to what it means, collecting everything that is wrong.

use core::time::Duration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use basin_core::addr::{Address, check_domain};
use basin_core::transport::directory::{Directory, DirectoryError, Tables, address_key, is_mailbox_letter};
use basin_sinks::{COMPILE_MEMORY_DEFAULT, COMPILE_TIME_DEFAULT};

use super::checked::{Config, Domain, Limits, Log};
use super::raw;
use super::source::{Problem, Source};
use crate::journal::JournalOptions;

/// The spool directory where none is written.
const SPOOL: &str = "/var/lib/basin/spool";

/// The registry's directory where none is written.
const REGISTRY: &str = "/var/lib/basin/registry";

/// Least time to compile a component; a second is enough for small ones.
const COMPILE_TIME_MIN: Duration = Duration::from_secs(1);

/// Most time: the registry is loaded before mail is taken, and service managers lose their patience.
const COMPILE_TIME_MAX: Duration = Duration::from_mins(10);

/// Least memory to compile a component, in octets: the program itself and a small component.
const COMPILE_MEMORY_MIN: u64 = 256 * 1024 * 1024;

/// Days for which the tracking log is kept: "what became of the mail of last month?" is asked, later is rare.
const TRACKING_DAYS: u32 = 30;

/// Octets of the tracking log: about two million messages.
const TRACKING_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Days for which the audit log is kept: what somebody did is asked for months later.
const AUDIT_DAYS: u32 = 90;

/// Octets of the audit log: a million lines, so that nobody who knocks at the door fills the disk.
const AUDIT_BYTES: u64 = 256 * 1024 * 1024;

/// Least octets of either log: it is kept in eight parts, each of which should hold a full buffer's line.
const JOURNAL_BYTES_MIN: u64 = 8 * 1024 * 1024;

mod listener;
mod message_auth;
mod names;
mod outgoing;
mod senders;
mod signing;

use listener::Common;

/// Collects what is wrong, so that one run of `basin check` shows all of it.
pub(super) struct Check<'a> {
    pub(super) source: Source<'a>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) folder: &'a Path,
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
    pub(super) fn config(&mut self, file: &Path, written: raw::File) -> Option<Config> {
        let (tracking, audit) = self.journals(&written);
        let host_name = self.host_name(written.host_name);
        let certificates = self.certificates(written.certificate);
        let users_file = written.auth.users_file.map(|file| self.folder.join(file));
        let domains = self.domains(written.domain);
        let common = Common { certificates: &certificates, users: users_file.clone(), domains: &domains };
        let listeners = self.listeners(written.listener, &common);
        let senders = Arc::new(self.senders(written.sender, &listeners));
        let aliases = self.aliases(&written.aliases);
        let postmaster = self.postmaster(written.postmaster, &domains);
        let names = host_name.iter().chain(listeners.iter().filter_map(|listener| listener.host_name.as_ref()));
        let directory = self.directory(&domains, &aliases, postmaster.as_ref(), names.cloned().collect());
        let admin = self.admin(written.admin.address);
        let relay_clients = self.relay(&written.relay);
        let queue = self.queue(&written.queue);
        let sources = self.sources(written.source);
        let outbound = self.outbound(&written.outbound, sources, host_name.as_ref());
        let credentials = self.credentials(written.credentials);
        let routes = Arc::new(self.routes(written.route, &outbound, &credentials));
        let (dns, tls) = (self.dns(&written.dns), self.tls(&written.tls));
        let (dkim, arc, pickup) = (self.dkim(written.dkim), self.arc(written.arc), self.pickup(written.pickup));
        let message_auth = self.message_auth(&written.message_auth, host_name.as_ref());
        let limits = self.limits(&written.limits);
        let log = self.log(written.log);
        let path =
            |written: Option<String>, default: &str| self.folder.join(written.unwrap_or_else(|| default.to_owned()));
        Some(Config {
            file: file.to_owned(),
            host_name: host_name?,
            user: written.user,
            group: written.group,
            spool: path(written.spool.directory, SPOOL),
            cache: match written.registry.cache {
                Some(cache) => self.folder.join(cache),
                None => path(written.registry.directory.clone(), REGISTRY).join("cache"),
            },
            registry: path(written.registry.directory, REGISTRY),
            maildir: path(written.maildir.directory, "/var/lib/basin/mail"),
            admin: admin?,
            listeners,
            certificates,
            users_file,
            senders,
            domains,
            aliases,
            postmaster: postmaster?,
            directory: directory?,
            relay_clients,
            queue,
            outbound,
            routes,
            credentials,
            dns,
            tls,
            dkim,
            arc,
            message_auth: message_auth?,
            pickup,
            limits,
            log: log?,
            tracking,
            audit,
            warnings: Vec::new(),
        })
    }

    // The tables that the machines look addresses up in; they have the last word on what fits together.
    fn directory(
        &mut self,
        domains: &[Domain],
        aliases: &[(Address, Vec<Address>)],
        postmaster: Option<&Address>,
        host_names: Vec<String>,
    ) -> Option<Arc<Directory>> {
        let named = |domain: &Domain| Some((domain.name.clone(), address_key(domain.catch_all.as_ref()?)));
        let mailboxes = domains.iter().flat_map(|domain| &domain.mailboxes);
        let tables = Tables {
            domains: domains.iter().map(|domain| domain.name.clone()).collect(),
            mailboxes: mailboxes.map(|mailbox| (mailbox.clone(), address_key(mailbox))).collect(),
            aliases: aliases.to_vec(),
            postmaster: address_key(postmaster?),
            catch_all: domains.iter().filter_map(named).collect(),
            host_names,
        };
        let (directory, errors) = Directory::checked(tables);
        errors.iter().for_each(|error| self.wrong(&place_of(error), error.to_string()));
        errors.is_empty().then(|| Arc::new(directory))
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
        parse_mailbox(local, domain).map_err(|text| self.wrong(key, text)).ok()
    }

    fn mailbox_file(&mut self, key: &str, file: &str, domain: &str) -> Vec<Address> {
        let path = self.folder.join(file);
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
            match parse_mailbox(local, domain) {
                Ok(address) => mailboxes.push(address),
                Err(text) => self.wrong(key, format!("{}:{}: {text}", path.display(), index + 1)),
            }
        }
        mailboxes
    }

    fn aliases(&mut self, written: &BTreeMap<String, raw::OneOrMany>) -> Vec<(Address, Vec<Address>)> {
        let mut aliases = Vec::new();
        for (from, to) in written {
            let key = format!("aliases.{from}");
            let parse =
                |text: &String| Address::parse_utf8(text).map_err(|error| format!("{text:?} is no address: {error}"));
            let targets: Result<Vec<Address>, String> = to.as_slice().iter().map(parse).collect();
            match (parse(from), targets) {
                (Ok(_), Ok(targets)) if targets.is_empty() => self.wrong(&key, "an alias needs one address at least"),
                (Ok(from), Ok(targets)) => aliases.push((from, targets)),
                (Err(text), _) | (_, Err(text)) => self.wrong(&key, text),
            }
        }
        aliases
    }

    fn postmaster(&mut self, written: Option<String>, domains: &[Domain]) -> Option<Address> {
        let first = domains.first()?;
        let text = written.clone().unwrap_or_else(|| format!("postmaster@{}", first.name));
        let address = match Address::parse_utf8(&text) {
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

    fn admin(&mut self, written: Option<String>) -> Option<Option<core::net::SocketAddr>> {
        let text = written.as_deref().unwrap_or("127.0.0.1:9525");
        if text == "off" {
            return Some(None);
        }
        let Ok(address) = text.parse::<core::net::SocketAddr>() else {
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
        let deliveries = raw.deliveries.unwrap_or(32);
        if deliveries > 256 {
            self.wrong(
                "limits.deliveries",
                "expected 0 to 256: each takes a place in the batches of the delivery thread",
            );
        }
        if deliveries == 0 {
            self.warn(
                "limits.deliveries",
                "0 delivers nothing: mail is taken and stays in the spool until this is changed",
            );
        }
        let compile_time = raw.compile_time.map_or(COMPILE_TIME_DEFAULT, |time| time.0);
        if !(COMPILE_TIME_MIN..=COMPILE_TIME_MAX).contains(&compile_time) {
            self.wrong("limits.compile-time", "expected 1s to 10m: longer, and a start of the server seems to hang");
        }
        let compile_memory = raw.compile_memory.map_or(COMPILE_MEMORY_DEFAULT, |size| size.0);
        if compile_memory < COMPILE_MEMORY_MIN {
            self.wrong("limits.compile-memory", "expected 256MiB or more: less, and not even the compiler starts");
        }
        Limits {
            sink_calls,
            compile_time,
            compile_memory,
            sink_time: raw.sink_time_per_transaction.map_or(Duration::from_secs(60), |time| time.0),
            waiting_notices: raw.waiting_notices.unwrap_or(4_096).max(1),
            deliveries,
            drain_time: raw.drain_time.map_or(Duration::from_secs(30), |time| time.0),
        }
    }

    fn journals(&mut self, written: &raw::File) -> (Option<JournalOptions>, Option<JournalOptions>) {
        let tracking = self.folder.join(written.spool.directory.as_deref().unwrap_or(SPOOL)).join("tracking");
        let registry = self.folder.join(written.registry.directory.as_deref().unwrap_or(REGISTRY));
        // An operator who changes sinks writes there as well, and may not open the spool.
        let audit = registry.join("audit");
        let tracking = self.journal("tracking", &written.tracking, (tracking, TRACKING_DAYS, TRACKING_BYTES));
        let audit = self.journal("audit", &written.audit, (audit, AUDIT_DAYS, AUDIT_BYTES));
        let place = |log: &Option<JournalOptions>| log.as_ref().map(|log| log.directory.clone());
        if place(&tracking).is_some() && place(&tracking) == place(&audit) {
            self.wrong("audit.directory", "the tracking log is there, and each would delete the other's files");
        }
        (tracking, audit)
    }

    fn journal(&mut self, table: &str, raw: &raw::Journal, usual: (PathBuf, u32, u64)) -> Option<JournalOptions> {
        let days_max = raw.days.unwrap_or(usual.1);
        if days_max == 0 {
            let advice = "0 keeps nothing; write `enabled = false` to switch the log off";
            self.wrong(&format!("{table}.days"), advice);
        }
        let total_bytes_max = raw.max_size.map_or(usual.2, |size| size.0);
        if total_bytes_max < JOURNAL_BYTES_MIN {
            self.wrong(&format!("{table}.max-size"), "too small to be of use; write 8MiB or more");
        }
        let directory = raw.directory.as_ref().map_or(usual.0, |directory| self.folder.join(directory));
        let free_bytes_min = basin_spool::Options::default().free_bytes_min;
        let options = JournalOptions { directory, days_max, total_bytes_max, free_bytes_min };
        raw.enabled.unwrap_or(true).then_some(options)
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

// The key that the tables cannot be read for: what stands there twice, or where it does not belong, is an alias.
fn place_of(error: &DirectoryError) -> String {
    match error {
        DirectoryError::NotLocal { address } | DirectoryError::Twice { address } => format!("aliases.{address}"),
        DirectoryError::AliasTarget { alias, .. } | DirectoryError::AliasTooLarge { alias } => {
            format!("aliases.{alias}")
        }
        DirectoryError::Domain { .. } | DirectoryError::CatchAllDomain { .. } => "domain".to_owned(),
        DirectoryError::MailboxName { .. } => String::new(),
    }
}

// A mailbox is a directory of that name on disk, so it is plainer than an address may be.
fn parse_mailbox(local: &str, domain: &str) -> Result<Address, String> {
    let is_inner = |character: char| is_mailbox_letter(character) || "._+-".contains(character);
    let is_plain = local.starts_with(is_mailbox_letter) && local.chars().all(is_inner);
    let advice = "a mailbox has letters, digits, \".\", \"_\", \"+\" and \"-\", the first a letter or digit; \
                  an alias can give it any other address";
    let parsed = Address::parse_utf8(&format!("{local}@{domain}"));
    parsed.ok().filter(|_| is_plain).ok_or_else(|| format!("{local:?} is no local part of a mailbox: {advice}"))
}
