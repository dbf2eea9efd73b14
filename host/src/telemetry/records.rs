//! What happens to connections, messages and the server itself.

use core::net::SocketAddr;
use std::path::Path;

use basin_core::mail::{Message, MessageId};
use basin_core::reply::{Class, Reply};
use basin_core::smtp::command::without_secrets;
use tracing::{debug, error, info, warn};

use crate::audit;
use crate::telemetry::Metrics;
use crate::tracking::{Operation, Step, Tracking};

/// A client was let in.
#[derive(Debug, Clone, Copy)]
pub struct SessionBegun<'a> {
    /// Id of the session.
    pub session: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
    /// The client's end.
    pub client: SocketAddr,
}

impl SessionBegun<'_> {
    /// Logs it.
    pub fn record(&self) {
        debug!(session = self.session, listener = self.listener, client = %self.client, "session begins");
    }
}

/// A session is over.
#[derive(Debug, Clone, Copy)]
pub struct SessionEnded<'a> {
    /// Id of the session.
    pub session: &'a str,
    /// How it ended: "quit", "dropped", "timeout", "error", "refused", "shutdown".
    pub reason: &'a str,
    /// Messages accepted in it.
    pub messages: u32,
}

impl SessionEnded<'_> {
    /// Logs it.
    pub fn record(&self) {
        debug!(session = self.session, reason = self.reason, messages = self.messages, "session ends");
    }
}

/// A command came.
#[derive(Debug, Clone, Copy)]
pub struct CommandReceived<'a> {
    /// Id of the session.
    pub session: &'a str,
    /// The line, without line end.
    pub line: &'a [u8],
}

impl CommandReceived<'_> {
    /// Logs it.
    pub fn record(&self) {
        debug!(session = self.session, line = %without_secrets(self.line).escape_ascii(), "command");
    }
}

/// A command or a message was refused.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// Id of the session.
    pub session: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
    /// The answer.
    pub reply: &'a Reply,
    /// The line that it answers; a lone dot is a message.
    pub line: &'a [u8],
}

impl Refused<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        let class = if self.reply.class() == Class::Transient { "4yz" } else { "5yz" };
        metrics.refusals.with_label_values(&[self.listener, class]).inc();
        // Both texts may be anybody's: shown so that they stay on their line.
        let reply = self.reply.to_string();
        info!(session = self.session, reply, line = %self.line.escape_ascii(), "refused");
    }
}

/// A connection was answered with 421 because a limit was reached.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionRefused<'a> {
    /// Name of the listener.
    pub listener: &'a str,
    /// The client's end.
    pub client: SocketAddr,
    /// "connections", "client" or "shutdown".
    pub limit: &'static str,
}

impl ConnectionRefused<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        metrics.connections_refused.with_label_values(&[self.listener, self.limit]).inc();
        info!(listener = self.listener, client = %self.client, limit = self.limit, "connection refused");
    }
}

/// A message was acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct MessageAccepted<'a> {
    /// Id of the session.
    pub session: &'a str,
    /// The message.
    pub message: &'a Message,
    /// "accept", "hold" or "discard".
    pub disposition: &'static str,
}

impl MessageAccepted<'_> {
    /// Logs it; the listener counts.
    pub fn record(&self) {
        // Texts are made only where the line is written.
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let envelope = &self.message.envelope;
        let sender = envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
        info!(
            session = self.session,
            message_id = %self.message.id,
            sender,
            recipients = envelope.recipients.len(),
            size = self.message.size(),
            disposition = self.disposition,
            "message accepted"
        );
    }
}

/// A message could not be stored; the client was told to come again.
#[derive(Debug, Clone, Copy)]
pub struct StorageFailed<'a> {
    /// Id of the session; empty where no session waits.
    pub session: &'a str,
    /// Id of the message; empty where it has none yet.
    pub message: &'a str,
    /// A word for the kind of fault.
    pub kind: &'static str,
    /// What failed.
    pub cause: &'a str,
}

impl StorageFailed<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        metrics.storage_faults.with_label_values(&[self.kind]).inc();
        error!(session = self.session, message_id = self.message, kind = self.kind, cause = self.cause, "not stored");
    }
}

/// One copy of a message was put into a mailbox, or was not.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// Id of the message.
    pub message: &'a MessageId,
    /// Name of the mailbox.
    pub mailbox: &'a str,
    /// What came of it.
    pub result: &'a Result<(), Reply>,
    /// What failed, for the operator.
    pub cause: &'a str,
}

impl Delivery<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        match self.result {
            Ok(()) => {
                metrics.deliveries.with_label_values(&["delivered"]).inc();
                info!(message_id = %self.message, mailbox = self.mailbox, "delivered");
            }
            Err(reply) => {
                metrics.deliveries.with_label_values(&["deferred"]).inc();
                warn!(message_id = %self.message, mailbox = self.mailbox, %reply, cause = self.cause, "not delivered");
            }
        }
    }
}

/// A stored message came to its end.
#[derive(Debug, Clone, Copy)]
pub struct MessageEnded<'a> {
    /// Id of the message.
    pub message: &'a MessageId,
    /// "delivered", "failed", "discarded", "no-recipients".
    pub end: &'static str,
}

impl MessageEnded<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        metrics.messages_ended.with_label_values(&[self.end]).inc();
        info!(message_id = %self.message, end = self.end, "message ended");
    }
}

/// A stored message waits: for a time, or for an operator.
#[derive(Debug, Clone, Copy)]
pub struct MessageWaits<'a> {
    /// Id of the message.
    pub message: &'a MessageId,
    /// Until when, or why.
    pub until: &'a str,
    /// Whether an operator has to act.
    pub is_parked: bool,
}

impl MessageWaits<'_> {
    /// Logs it.
    pub fn record(&self) {
        if self.is_parked {
            warn!(message_id = %self.message, reason = self.until, "message held; basin queue release lets it go on");
        } else {
            info!(message_id = %self.message, until = self.until, "message waits");
        }
    }
}

/// The server takes mail.
#[derive(Debug, Clone, Copy)]
pub struct Listening<'a> {
    /// Name of the listener.
    pub listener: &'a str,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Listening<'_> {
    /// Logs it.
    pub fn record(&self) {
        info!(listener = self.listener, address = %self.address, "listening");
    }
}

/// What the spool found at the start.
#[derive(Debug, Clone, Copy)]
pub struct Recovered<'a> {
    /// The spool directory.
    pub spool: &'a Path,
    /// Messages that are there.
    pub messages: usize,
    /// Descriptions of what was damaged and set aside.
    pub damaged: &'a [String],
}

impl Recovered<'_> {
    /// Logs it.
    pub fn record(&self) {
        info!(spool = %self.spool.display(), messages = self.messages, "spool opened");
        for what in self.damaged {
            error!(spool = %self.spool.display(), what = what.as_str(), "damaged, set aside");
        }
    }
}

/// The server stops.
#[derive(Debug, Clone, Copy)]
pub struct Stopping {
    /// What asked for it.
    pub reason: &'static str,
}

impl Stopping {
    /// Logs it.
    pub fn record(&self) {
        info!(target: audit::TARGET, reason = self.reason, "stopping: no new connections, work in progress is finished");
    }
}

/// The configuration was read again.
#[derive(Debug, Clone, Copy)]
pub struct Reloaded<'a> {
    /// What is wrong with it; the old one stays in force then. Else the keys that changed and need a restart.
    pub result: Result<&'a [&'static str], &'a str>,
}

impl Reloaded<'_> {
    /// Logs it.
    pub fn record(&self) {
        match self.result {
            Ok([]) => info!(target: audit::TARGET, "configuration read again"),
            Ok(keys) => {
                let keys = keys.join(", ");
                warn!(target: audit::TARGET, keys, "configuration read again; these keys changed and need a restart");
            }
            Err(problem) => {
                error!(target: audit::TARGET, problem, "configuration not read again; what was in force stays")
            }
        }
    }
}

/// An operator changed a message of the queue.
#[derive(Debug, Clone, Copy)]
pub struct OperatorActed<'a> {
    /// The message.
    pub message: &'a MessageId,
    /// What.
    pub did: Operation,
    /// Who, as the command line named itself.
    pub by: &'a str,
    /// With what argument.
    pub detail: Option<&'a str>,
}

impl OperatorActed<'_> {
    /// Logs and tracks it. A deletion leaves no other trace.
    pub fn record(&self, tracking: &Tracking) {
        let (did, by, detail) = (self.did, self.by, self.detail);
        tracking.note(self.message, &Step::Operator { did, by: Some(by.into()), detail: detail.map(Into::into) });
        let action = did.word();
        info!(target: audit::TARGET, message_id = %self.message, action, by, detail, "changed by an operator");
    }
}
