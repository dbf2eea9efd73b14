//! `basin queue hold|release|retry|reroute|expire|delete`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use basin_core::addr::check_domain;
use basin_core::mail::MessageId;
use basin_core::queue::index::{Filter, GroupBy, parse_time};
use serde_json::json;

use super::desk::Desk;
use super::nothing;
use super::selection::{Asked, Selection, confirmed};
use crate::cli::table::print;
use crate::control::queue::act::{ActReport, ActRequest};
use crate::control::queue::ask::ListRequest;
use crate::control::queue::destinations::{HoldReport, HoldRequest};
use crate::transport::Action;

/// How long messages that are being delivered are waited for, unless the command says otherwise.
const BUSY_WAIT: &str = "5s";

/// Ids of messages that are named in the report for a person.
const NAMED: usize = 20;

/// Arguments that all actions share.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    #[command(flatten)]
    selection: Selection,
    /// The whole queue; asks first.
    #[arg(long)]
    all: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Say how many messages are meant, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// How long to wait for messages that are being delivered at this moment.
    #[arg(long, value_name = "TIME", default_value = BUSY_WAIT, value_parser = wait)]
    wait: Duration,
    /// For scripts: one JSON object for each message, and one for the whole at the end.
    #[arg(long)]
    json: bool,
}

fn wait(text: &str) -> Result<Duration, String> {
    parse_time(text).ok_or_else(|| "write a time such as 5s or 1m".to_owned())
}

/// Arguments of `basin queue hold`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  basin queue hold 'sender=*@news.example' 'age<1h' --reason 'wrong list'")]
pub(super) struct Hold {
    #[command(flatten)]
    common: Common,
    /// Why; it is shown in lists.
    #[arg(long, default_value = "held by an operator")]
    reason: String,
    /// All mail for one destination, come or still to come, instead of messages: a domain, or [host]:port of a route.
    #[arg(long, value_name = "DESTINATION")]
    destination: Option<String>,
}

/// Arguments of `basin queue release`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  basin queue release 'state=held' 'reply=~until we know more'")]
pub(super) struct Release {
    #[command(flatten)]
    common: Common,
    /// All mail for one destination, come or still to come, instead of messages: a domain, or [host]:port of a route.
    #[arg(long, value_name = "DESTINATION")]
    destination: Option<String>,
}

/// Arguments of `basin queue retry`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  basin queue retry 'destination=example.org'
A destination that is down is probed at once. An attempt before its time does not lengthen the waits after it.")]
pub(super) struct Retry {
    #[command(flatten)]
    common: Common,
}

/// Arguments of `basin queue reroute`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A filter on recipient, domain, destination or reply chooses recipients; the others of the same message stay.
Examples:
  basin queue reroute 'domain=example.org' --to '[relay.example.net]:587'
  basin queue reroute 'domain=example.org' --to backup.example.org
  basin queue reroute 'domain=example.org' --back")]
pub(super) struct Reroute {
    #[command(flatten)]
    common: Common,
    /// The next hop: [host]:port, or a domain whose mail servers take it.
    #[arg(long, value_name = "HOP", required_unless_present = "back")]
    to: Option<String>,
    /// Back to where the addresses say.
    #[arg(long, conflicts_with = "to")]
    back: bool,
}

/// Arguments of `basin queue rerun`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is held or bad mail goes through its sinks too. Who has a message already does not get it again; a message goes
whole, also where the filter chose one of its recipients.
Example:
  basin queue rerun 'state=held'")]
pub(super) struct Rerun {
    #[command(flatten)]
    common: Common,
}

/// Arguments of `basin queue expire`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A filter on recipient, domain, destination or reply chooses recipients; the others of the same message stay.
Example:
  basin queue expire 'domain=gone.example' 'age>1d'")]
pub(super) struct Expire {
    #[command(flatten)]
    common: Common,
}

/// Arguments of `basin queue delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A message is deleted whole, also where the filter chose one of its recipients. The log names each.
Example:
  basin queue delete 'sender=*@spam.example' --dry-run")]
pub(super) struct Delete {
    #[command(flatten)]
    common: Common,
}

impl Hold {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        match self.destination {
            Some(name) => self.common.destination(desk, name, true),
            None => self.common.run(desk, &Action::Hold { reason: self.reason }),
        }
    }
}

impl Release {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        match self.destination {
            Some(name) => self.common.destination(desk, name, false),
            None => self.common.run(desk, &Action::Release),
        }
    }
}

impl Retry {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        self.common.run(desk, &Action::Retry)
    }
}

impl Reroute {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        let to = self.to.as_deref().map(hop).transpose()?;
        self.common.run(desk, &Action::Reroute { to })
    }
}

impl Rerun {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        self.common.run(desk, &Action::Rerun)
    }
}

impl Expire {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        self.common.run(desk, &Action::Expire)
    }
}

impl Delete {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        self.common.run(desk, &Action::Delete)
    }
}

/// A next hop as the queue keeps it.
fn hop(text: &str) -> anyhow::Result<String> {
    let wrong = || anyhow!("--to: {text:?} is no next hop; write [host]:port or a domain");
    let Some(rest) = text.strip_prefix('[') else {
        return check_domain(text).map(|()| text.to_ascii_lowercase()).map_err(|_| wrong());
    };
    let (host, port) = rest.split_once("]:").ok_or_else(wrong)?;
    let is_host = host.parse::<std::net::IpAddr>().is_ok() || check_domain(host).is_ok();
    let port: u16 = port.parse().ok().filter(|port| *port > 0).filter(|_| is_host).ok_or_else(wrong)?;
    Ok(format!("[{}]:{port}", host.to_ascii_lowercase()))
}

/// What came of all slices together.
#[derive(Debug, Default)]
struct Sum {
    matched: u64,
    meant: Vec<(String, String)>,
    changed: u64,
    unchanged: u64,
    gone: u64,
    busy: Vec<MessageId>,
    failed: u64,
    first_failure: Option<String>,
    unknown: Vec<MessageId>,
}

impl Common {
    fn run(self, desk: &Desk, action: &Action) -> anyhow::Result<ExitCode> {
        let word = action.word();
        if self.selection.is_empty() && !self.all {
            bail!("{word} what? name messages by id or filter, or the whole queue with --all");
        }
        if self.all && !self.selection.is_empty() {
            bail!("--all is the whole queue; leave it or the ids and filters away");
        }
        let asked = self.selection.asked()?;
        if self.all && !self.yes && !self.dry_run && !confirmed(&format!("This will {word} every message."))? {
            return Ok(ExitCode::FAILURE);
        }
        if !self.is_meant(desk, action, &asked)? {
            return Ok(ExitCode::FAILURE);
        }
        // A message that left while it was changed did what was asked for; one that was not there did not.
        let mut sum = Sum { unknown: unknown(desk, &asked.ids)?, ..Sum::default() };
        for filter in &asked.filters {
            let mut after = None;
            loop {
                let request = ActRequest {
                    action: action.clone(),
                    filter: filter.clone(),
                    after,
                    is_dry_run: self.dry_run,
                    busy_wait_ms: u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX),
                };
                let report = desk.act(request)?;
                if self.json {
                    print(report_lines(word, &report)?)?;
                }
                after = report.next.clone();
                sum.add(report);
                if after.is_none() {
                    break;
                }
            }
        }
        print(if self.json { sum.json(word, self.dry_run) } else { sum.text(word, self.dry_run) })?;
        if sum.matched == 0 && !self.json && asked.ids.is_empty() {
            print(nothing::hint(desk, &asked.filters)?)?;
        }
        let is_done = sum.busy.is_empty() && sum.failed == 0 && sum.unknown.is_empty();
        Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Common {
    // A domain may stand for a server with the mail of others. Where nothing can be undone, that is said before.
    fn is_meant(&self, desk: &Desk, action: &Action, asked: &Asked) -> anyhow::Result<bool> {
        let is_final = action.removes().is_some() || *action == Action::Expire;
        let Some(filter) = asked.filters.first().filter(|_| is_final && !self.yes && !self.dry_run) else {
            return Ok(true);
        };
        if !Filter::parse(filter)?.groupings().contains(&GroupBy::Destination) {
            return Ok(true);
        }
        let (action, word) = (action.clone(), action.word());
        let request = ActRequest { action, filter: filter.clone(), after: None, is_dry_run: true, busy_wait_ms: 0 };
        let meant = desk.act(request)?.meant;
        let stands: Vec<String> = meant.iter().map(|(name, destination)| stands_for(name, destination)).collect();
        Ok(stands.is_empty() || confirmed(&format!("This will {word} by {}.", stands.join("; ")))?)
    }

    // Holds a destination or lets it go.
    fn destination(&self, desk: &Desk, destination: String, is_held: bool) -> anyhow::Result<ExitCode> {
        if !self.selection.is_empty() || self.all || self.dry_run {
            bail!("--destination is about all mail there; leave ids, filters, --all and --dry-run away");
        }
        let report = desk.hold_destination(&HoldRequest { destination, is_held })?;
        let HoldReport { destination, is_changed } = report;
        print(if self.json {
            let json = json!({ "destination": destination, "is_held": is_held, "is_changed": is_changed });
            format!("{json}\n")
        } else {
            let was = if is_changed { "now" } else { "already" };
            format!("{destination}: {was} {}\n", if is_held { "held" } else { "not held" })
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn unknown(desk: &Desk, ids: &[MessageId]) -> anyhow::Result<Vec<MessageId>> {
    let mut unknown = Vec::new();
    for id in ids {
        let page = desk.list(&ListRequest { filter: format!("id={id}"), after: None, limit: 1 })?;
        if page.rows.is_empty() {
            unknown.push(id.clone());
        }
    }
    Ok(unknown)
}

fn report_lines(word: &str, report: &ActReport) -> anyhow::Result<String> {
    let line = |id: &MessageId, result: &str, why: Option<&str>| {
        serde_json::to_string(&json!({ "id": id, "action": word, "result": result, "why": why }))
    };
    let changed = report.changed.iter().map(|id| line(id, "changed", None));
    let busy = report.busy.iter().map(|id| line(id, "busy", None));
    let failed = report.failed.iter().map(|failure| line(&failure.id, "failed", Some(&failure.why)));
    let lines: Result<Vec<String>, _> = changed.chain(busy).chain(failed).collect();
    Ok(lines?.into_iter().map(|line| line + "\n").collect())
}

impl Sum {
    fn add(&mut self, report: ActReport) {
        self.matched += report.matched;
        self.meant = report.meant;
        self.changed += report.changed.len() as u64;
        self.unchanged += report.unchanged;
        self.gone += report.gone;
        self.busy.extend(report.busy);
        self.failed += report.failed.len() as u64;
        let first = report.failed.into_iter().next().map(|failure| format!("{}: {}", failure.id, failure.why));
        self.first_failure = self.first_failure.take().or(first);
    }

    fn json(&self, word: &str, is_dry_run: bool) -> String {
        let sum = json!({
            "action": word,
            "dry_run": is_dry_run,
            "matched": self.matched,
            "meant": self.meant.iter().cloned().collect::<BTreeMap<_, _>>(),
            "changed": self.changed,
            "unchanged": self.unchanged,
            "gone": self.gone,
            "busy": self.busy.len(),
            "failed": self.failed,
            "unknown": self.unknown,
        });
        format!("{sum}\n")
    }

    fn text(&self, word: &str, is_dry_run: bool) -> String {
        let messages = |count: u64| format!("{count} message{}", if count == 1 { "" } else { "s" });
        let mut text = if self.matched == 0 && self.unknown.is_empty() {
            format!("{word}: no message of the queue is meant by that, nothing was changed\n")
        } else if is_dry_run {
            format!("{word}: {} meant, nothing was changed\n", messages(self.matched))
        } else {
            format!("{word}: {} changed\n", messages(self.changed))
        };
        for (name, destination) in &self.meant {
            text.push_str(&format!("  {}\n", stands_for(name, destination)));
        }
        let mut line = |count: u64, what: &str| {
            if count > 0 {
                text.push_str(&format!("  {}: {what}\n", messages(count)));
            }
        };
        line(self.unchanged, "nothing to do, they stand that way or are held");
        line(self.gone, "went on before their turn");
        let busy = format!("being delivered at this moment; try again, or with a longer --wait{}", named(&self.busy));
        line(self.busy.len() as u64, &busy);
        line(self.failed, &format!("not changed; the first is {}", self.first_failure.as_deref().unwrap_or("-")));
        line(self.unknown.len() as u64, &format!("not in the queue, perhaps delivered{}", named(&self.unknown)));
        text
    }
}

fn stands_for(name: &str, destination: &str) -> String {
    format!(
        "destination={name} is all mail for {destination}, the server of its route; domain={name} is about that domain alone"
    )
}

fn named(ids: &[MessageId]) -> String {
    let shown: Vec<&str> = ids.iter().take(NAMED).map(MessageId::as_str).collect();
    let more = if ids.len() > NAMED { " ..." } else { "" };
    format!(": {}{more}", shown.join(" "))
}
