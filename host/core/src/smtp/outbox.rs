//! What a machine has to say, until the shell sends it.

use core::net::IpAddr;
use core::time::Duration;

use crate::event::Question;
use crate::limits::RESPONSE_DELAY_MAX;
use crate::reply::Reply;
use crate::smtp::disagreement::Disagreement;

/// Collects replies and notices while a machine steps.
///
/// The shell writes [`Outbox::bytes`] out, after waiting for [`Outbox::delay`], before it waits for input
/// and whenever [`Outbox::flush_now`] says so, and hands the notices to their sinks without waiting for
/// them. RFC 2920 §3.2 lets the replies to a pipelined group leave together and forbids to keep them when
/// no input is left; nothing that happens between two lines changes their order.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Encoded replies in order; nothing but [`Reply::encode`] writes here.
    pub bytes: Vec<u8>,
    /// Notices to raise, in order.
    pub notices: Vec<Question>,
    /// What was refused, in order, for the server's own log; nobody need be bound to `on-reject` for it.
    pub refusals: Vec<Refusal>,
    /// Logins that failed, of whatever mechanism, for whoever counts guesses.
    pub failed_logins: Vec<FailedLogin>,
    /// Recipients who differed about a message, for [`Disagreements::remember`](crate::smtp::Disagreements::remember).
    pub disagreements: Vec<Disagreement>,
    /// How long to wait before the bytes are sent; at most [`RESPONSE_DELAY_MAX`].
    pub delay: Duration,
    /// The bytes must leave before the next line is handled (RFC 2920 §3.2, items 3 and 4).
    pub flush_now: bool,
}

/// The line of a refusal that is one of content, and of no command.
pub const CONTENT: &[u8] = b".";

/// A command or message that was answered with 4yz or 5yz.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The answer.
    pub reply: Reply,
    /// The line that it answers, without line end; [`CONTENT`] is a message.
    pub line: Vec<u8>,
}

/// A login that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedLogin {
    /// Who tried: the client, also where a proxy speaks for it.
    pub client: IpAddr,
    /// As whom, where that is known. Nobody has shown that there is such a user.
    pub user: Option<String>,
}

impl Outbox {
    /// Makes an empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the encoded replies out and forgets delay and urgency: they have been sent.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        self.delay = Duration::ZERO;
        self.flush_now = false;
        core::mem::take(&mut self.bytes)
    }

    /// Forgets the encoded replies, delay and urgency, and keeps the memory.
    pub fn sent(&mut self) {
        self.delay = Duration::ZERO;
        self.flush_now = false;
        self.bytes.clear();
    }

    pub(super) fn send(&mut self, reply: &Reply) {
        reply.encode(&mut self.bytes);
    }

    pub(super) fn wait(&mut self, delay: Duration) {
        self.delay = self.delay.saturating_add(delay).min(RESPONSE_DELAY_MAX);
    }
}
