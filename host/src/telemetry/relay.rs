//! What happens to mail on its way to other servers.

use core::time::Duration;
use std::net::SocketAddr;

use basin_core::mail::{BySink, MessageId};
use basin_core::queue::Job;
use basin_core::reply::{Class, Reply};
use basin_core::smtp::client::TlsFacts;
use basin_core::time::Timestamp;
use basin_core::transport::Destination;
use basin_outbound::{HopAttempt, HopFacts};
use tracing::{debug, error, info, warn};

use crate::telemetry::Metrics;
use crate::tracking::{By, Step, Tracking};

/// What the spool had was put where it waits.
#[derive(Debug, Clone, Copy)]
pub struct SpoolEntered {
    /// Messages that were read.
    pub messages: u64,
    /// Messages that are there and cannot be read.
    pub unreadable: u64,
    /// How long it took.
    pub took: Duration,
}

impl SpoolEntered {
    /// Logs it.
    pub fn record(&self) {
        let milliseconds = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        info!(
            messages = self.messages,
            unreadable = self.unreadable,
            milliseconds,
            "everything in the spool is queued"
        );
    }
}

/// A message waits for other servers.
#[derive(Debug, Clone, Copy)]
pub struct MessageQueued<'a> {
    /// The message.
    pub message: &'a MessageId,
    /// One for each destination.
    pub jobs: &'a [Job],
}

impl MessageQueued<'_> {
    /// Logs it.
    pub fn record(&self) {
        for job in self.jobs {
            debug!(message_id = %self.message, destination = %job.destination, recipients = job.recipients,
                due = %job.due.to_rfc3339(), "queued");
        }
    }
}

/// A recipient failed for now.
#[derive(Debug, Clone, Copy)]
pub struct Deferred<'a> {
    /// The message.
    pub message: &'a MessageId,
    /// The recipient.
    pub recipient: &'a str,
    /// Why.
    pub reply: &'a Reply,
    /// The sink whose word it is.
    pub by: Option<&'a BySink>,
    /// The next try.
    pub until: Timestamp,
    /// Tries so far.
    pub attempts: u32,
}

impl Deferred<'_> {
    /// Logs, counts and tracks it.
    pub fn record(&self, metrics: &Metrics, tracking: &Tracking) {
        metrics.deferrals.inc();
        let (reply, until) = (self.reply.to_string(), self.until.to_rfc3339());
        let (recipient, attempts) = (self.recipient.into(), self.attempts);
        let by = self.by.map(By::from);
        let step =
            Step::Deferred { recipient, reply: reply.as_str().into(), by, until: until.as_str().into(), attempts };
        tracking.note(self.message, &step);
        info!(message_id = %self.message, recipient = self.recipient, reply, until, attempts = self.attempts, "deferred");
    }
}

/// A connection to another server was tried.
#[derive(Debug, Clone, Copy)]
pub struct HopTried<'a> {
    /// What it was for.
    pub destination: &'a Destination,
    /// What came of it.
    pub hop: &'a HopAttempt,
}

impl HopTried<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        let HopAttempt { host, address, source, tls, error, by, messages, took } = self.hop;
        let result = if error.is_none() || *messages > 0 { "used" } else { "failed" };
        metrics.outbound_connections.with_label_values(&[result]).inc();
        if result == "used" {
            metrics.outbound_tls.with_label_values(&[tls_word(tls.as_ref())]).inc();
        }
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let source = source.map(|source| source.to_string()).unwrap_or_default();
        let error = error.as_ref().map(ToString::to_string).unwrap_or_default();
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (destination, tls) = (self.destination, show_tls(tls.as_ref()));
        let sink = by.as_ref().map(|by| by.binding.as_str()).unwrap_or_default();
        info!(%destination, host, address, source, tls, messages, error, sink, milliseconds, "connection");
    }
}

/// Another server answered for a recipient, or none could be asked.
#[derive(Debug, Clone, Copy)]
pub struct RecipientTried<'a> {
    /// The message.
    pub message: &'a MessageId,
    /// The recipient.
    pub recipient: &'a str,
    /// Over which connection; `None` where there was none.
    pub hop: Option<&'a HopFacts>,
    /// What came of it.
    pub result: Result<&'a Reply, &'a Reply>,
    /// The sink whose word a refusal is.
    pub by: Option<&'a BySink>,
    /// No final reply came: the server may have the message all the same, and get it twice.
    pub may_be_delivered: bool,
    /// How long the message has been here.
    pub age: Duration,
}

impl RecipientTried<'_> {
    /// Logs and counts it; the tracking log has what it comes to in the end.
    pub fn record(&self, metrics: &Metrics) {
        let (result, reply) = match self.result {
            Ok(reply) => ("relayed", reply),
            Err(reply) if reply.class() == Class::Permanent => ("failed", reply),
            Err(reply) => ("deferred", reply),
        };
        metrics.relays.with_label_values(&[result]).inc();
        if self.result.is_ok() {
            metrics.relay_latency.observe(self.age.as_secs_f64());
        }
        let (host, tls) = self.hop.map_or(("", String::new()), |hop| (hop.host.as_str(), show_tls(hop.tls.as_ref())));
        let (reply, recipient) = (reply.to_string(), self.recipient);
        let sink = self.by.map(|by| by.binding.as_str()).unwrap_or_default();
        info!(message_id = %self.message, recipient, host, tls, reply, sink, result, "relay");
        if self.may_be_delivered {
            warn!(message_id = %self.message, recipient, host, "the answer was lost: this recipient may get the message twice");
        }
    }
}

/// A message was given to a server, or was to be given to one that could not be reached.
#[derive(Debug, Clone, Copy)]
pub struct MessageTried<'a> {
    /// The message.
    pub message: &'a MessageId,
    /// Where it goes.
    pub destination: &'a Destination,
    /// Name of the server; `None` where none was found.
    pub host: Option<&'a str>,
    /// Its address.
    pub address: Option<SocketAddr>,
    /// How the connection was protected.
    pub tls: Option<&'a TlsFacts>,
    /// The last reply, or why there was none.
    pub reply: &'a Reply,
    /// The sink whose word it is.
    pub by: Option<&'a BySink>,
    /// How long it took.
    pub took: Duration,
}

impl MessageTried<'_> {
    /// Tracks it.
    pub fn record(&self, tracking: &Tracking) {
        let step = Step::Attempt {
            destination: self.destination.as_str().into(),
            host: self.host.unwrap_or("none").into(),
            address: self.address.map(|address| address.to_string().into()),
            tls: self.tls.map(|tls| show_tls(Some(tls)).into()),
            reply: self.reply.to_string().into(),
            by: self.by.map(By::from),
            micros: u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
        };
        tracking.note(self.message, &step);
    }
}

/// A destination cannot be reached, or can again.
#[derive(Debug, Clone, Copy)]
pub struct DestinationChanged<'a> {
    /// The destination.
    pub destination: &'a Destination,
    /// When it is probed next and why it is left alone until then; `None` where it can be reached again.
    pub down: Option<(Timestamp, &'a Reply)>,
}

impl DestinationChanged<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        let destination = self.destination;
        match self.down {
            Some((until, reply)) => {
                metrics.destination_failures.inc();
                let (until, reply) = (until.to_rfc3339(), reply.to_string());
                warn!(%destination, reply, until, "destination left alone");
            }
            None => info!(%destination, "destination up"),
        }
    }
}

/// A visit ended by a mistake in this program.
#[derive(Debug, Clone, Copy)]
pub struct VisitBroke<'a> {
    /// What is known of it.
    pub what: &'a str,
}

impl VisitBroke<'_> {
    /// Logs it.
    pub fn record(&self) {
        error!(what = self.what, "a mistake in Basin ended a visit; its messages are tried again");
    }
}

fn tls_word(tls: Option<&TlsFacts>) -> &'static str {
    tls.map_or("plain", |tls| match tls.proof.word() {
        "none" => "unverified",
        word => word,
    })
}

fn show_tls(tls: Option<&TlsFacts>) -> String {
    tls.map_or_else(|| "none".to_owned(), |tls| format!("{} {} {}", tls.version, tls.cipher, tls_word(Some(tls))))
}
