//! `basin queue show` and `basin queue cat`.

use std::process::ExitCode;

use basin_core::mail::{Handover, Last, Outcome, Recipient};
use basin_core::time::Timestamp;
use basin_core::transport::State;

use super::desk::Desk;
use crate::cli::table::{Table, print, print_json, printable};
use crate::clock::now;
use crate::control::queue::Shown;
use crate::registry::quantity::show_size;

/// Arguments of `basin queue show`.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Its id.
    id: String,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

/// Arguments of `basin queue cat`.
#[derive(Debug, clap::Args)]
pub(super) struct Cat {
    /// Its id.
    id: String,
}

impl Show {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        let shown = desk.message(&self.id)?;
        if self.json {
            print_json(&shown)?
        } else {
            print(show_text(&shown, now()))?
        };
        Ok(ExitCode::SUCCESS)
    }
}

impl Cat {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        print(desk.content(&self.id)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn show_text(shown: &Shown, now: Timestamp) -> String {
    let mut table = Table::plain();
    let arrival = &shown.arrival;
    let from = shown.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
    table.row(["message", shown.id.as_str()]);
    table.row([
        "arrived".to_owned(),
        format!("{} by {} at {}", arrival.at.to_rfc3339(), arrival.origin, arrival.listener),
    ]);
    if let Some(client) = arrival.client {
        table.row(["client".to_owned(), format!("{client} {}", arrival.helo.as_deref().unwrap_or("-"))]);
    }
    table.row(["session", arrival.session.as_deref().unwrap_or("-")]);
    table.row(["size".to_owned(), show_size(shown.size)]);
    table.row(["stage".to_owned(), stage(&shown.state, now)]);
    for destination in &shown.waits_for {
        table.row(["waits".to_owned(), destination.why(now)]);
    }
    table.row(["tries".to_owned(), shown.state.tries(&shown.envelope).to_string()]);
    table.row(["from".to_owned(), format!("<{from}>")]);
    for recipient in &shown.envelope.recipients {
        let via = recipient.route_domain.as_ref().map(|hop| format!(" by way of {hop}")).unwrap_or_default();
        table.row(["to".to_owned(), format!("<{}>{via} {}", recipient.address, outcome(recipient, now))]);
    }
    let header: String = shown.header.lines().map(|line| printable(line) + "\n").collect();
    table.text() + "\n" + &header
}

fn stage(state: &State, now: Timestamp) -> String {
    let word = state.stage.word();
    let reason = state.stage.reason().map(str::to_owned).or_else(|| state.put_off.as_ref().map(ToString::to_string));
    let stage = reason.map_or_else(|| word.to_owned(), |reason| format!("{word}: {reason}"));
    state
        .not_before
        .filter(|at| *at > now)
        .map_or(stage.clone(), |at| format!("{stage}, not before {}", at.to_rfc3339()))
}

fn outcome(recipient: &Recipient, now: Timestamp) -> String {
    let word = recipient.outcome.word();
    match &recipient.outcome {
        Outcome::Pending => word.to_owned(),
        Outcome::Delivered { at, to: Handover::Relayed { host: Some(host), reply, .. } } => {
            format!("{word} at {} to {host}: {reply}", at.to_rfc3339())
        }
        Outcome::Delivered { at, .. } => format!("{word} at {}", at.to_rfc3339()),
        Outcome::Deferred { until, reply, attempts, last } => {
            let by = last.as_ref().map(by).unwrap_or_default();
            // What was put off until a time that has passed is due, and waits for something else.
            let until = if *until > now { format!(" until {}", until.to_rfc3339()) } else { ", due again".to_owned() };
            format!("{word}{by}{until}, attempt {attempts}: {reply}")
        }
        Outcome::Failed { reply, last } => {
            format!("{word}{}: {reply}", last.as_ref().map(by).unwrap_or_default())
        }
        Outcome::Held { reason } => format!("{word}: {reason}"),
    }
}

// Whose word a reply is: the server's, or that of a sink, which may have judged the server's.
fn by(last: &Last) -> String {
    let host = last.host.as_deref().unwrap_or("the next server");
    match &last.by {
        None => last.host.as_ref().map(|host| format!(" by {host}")).unwrap_or_default(),
        Some(by) => {
            let said = by.said.as_ref().map(|said| format!(" ({host} said: {said})")).unwrap_or_default();
            format!(" by {by}{said}")
        }
    }
}
