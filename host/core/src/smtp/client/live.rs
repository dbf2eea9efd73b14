//! What a connection knows in every state, and what all states share.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::SentFirst;
use crate::mail::Bag;
use crate::reply::{Class, Reply};
use crate::smtp::client::listen::{ReplyFault, ReplyReader};
use crate::smtp::client::offered::Offered;
use crate::smtp::client::outgoing::Outgoing;
use crate::smtp::client::policy::{ClientPolicy, TlsFacts};
use crate::smtp::client::sent::{Closed, Why};
use crate::smtp::client::step::ClientStep;
use crate::time::Timestamp;

/// A connection.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) policy: Arc<ClientPolicy>,
    pub(super) tls: Option<TlsFacts>,
    pub(super) offered: Offered,
    pub(super) reader: ReplyReader,
    /// What the other server calls itself: the first word of its answer to EHLO, else of its greeting.
    pub(super) peer_name: String,
    /// STARTTLS was refused, or the connection is past it.
    pub(super) is_past_starttls: bool,
    /// The login succeeded.
    pub(super) is_logged_in: bool,
    /// MAIL commands sent since the last EHLO.
    pub(super) mails: u32,
    /// A transaction was begun that no end of content closed; RSET goes before the next one.
    pub(super) needs_reset: bool,
    /// When the wait that goes on began.
    pub(super) waits_since: Timestamp,
    /// When the other server began to wait.
    pub(super) quiet_since: Timestamp,
    /// What sinks keep about the session.
    pub(super) bag: Arc<Bag>,
    /// Text of the greeting.
    pub(super) banner: String,
    /// Lines of the answer to EHLO, where sinks hear of the session.
    pub(super) extensions: Arc<[String]>,
    /// The EHLO or QUIT that was said, where sinks hear of the session.
    pub(super) said: String,
    /// What sinks sent before the command that they are asked about, by binding.
    pub(super) first: BTreeMap<String, SentFirst>,
    /// The line that a sink sent last.
    pub(super) own_line: String,
    /// The binding whose line got a 3xx: the other server waits for its octets.
    pub(super) blob_due: Option<String>,
    /// Octets of a sink have left, and nothing has shown that the other server took them for what they are.
    pub(super) is_proof_due: bool,
    /// The sink that changed the state last.
    pub(super) judge: String,
    /// The message that goes on when the session has begun again, and the number of its transaction.
    pub(super) resume: Option<(Box<Outgoing>, u32)>,
    /// How often sinks changed the state.
    pub(super) state_changes: u32,
    /// Commands that sinks were asked about.
    pub(super) commands_raised: u32,
    /// Replies that sinks were asked about.
    pub(super) replies_raised: u32,
}

impl Live {
    pub(super) fn new(policy: Arc<ClientPolicy>, tls: Option<TlsFacts>, now: Timestamp) -> Self {
        Self {
            policy,
            is_past_starttls: tls.is_some(),
            tls,
            offered: Offered::default(),
            reader: ReplyReader::default(),
            peer_name: String::new(),
            is_logged_in: false,
            mails: 0,
            needs_reset: false,
            waits_since: now,
            quiet_since: now,
            bag: Arc::default(),
            banner: String::new(),
            extensions: Arc::from([]),
            said: String::new(),
            first: BTreeMap::new(),
            own_line: String::new(),
            blob_due: None,
            is_proof_due: false,
            judge: String::new(),
            resume: None,
            state_changes: 0,
            commands_raised: 0,
            replies_raised: 0,
        }
    }

    /// The other server has said what it had to say.
    pub(super) fn begins_to_wait(&mut self, now: Timestamp) {
        (self.waits_since, self.quiet_since) = (now, now);
    }

    /// How long the wait may still last, of `limit` and up to `end` at the latest.
    pub(super) fn patience(&self, limit: Duration, end: Option<Timestamp>, now: Timestamp) -> Duration {
        let deadline = self.waits_since.plus(limit);
        end.map_or(deadline, |end| end.min(deadline)).since(now)
    }

    /// Judges octets that answer nothing that was sent: 421 says that the server goes (RFC 5321 §3.8), anything
    /// else that no later reply would be the one to its command. `None` where they are not a whole reply yet.
    pub(super) fn unasked(&mut self, mut input: &[u8]) -> Option<(Why, Reply)> {
        match self.reader.read(&mut input) {
            Ok(None) => None,
            Ok(Some(reply)) if reply.code() == 421 => Some((Why::ServiceClosing, reply)),
            Ok(Some(_)) => Some((Why::Violation, unasked_reply())),
            Err(fault) => Some((Why::Violation, fault_reply(fault))),
        }
    }

    /// Ends the connection. The message that was to go on comes back.
    pub(super) fn close(mut self: Box<Self>, why: Why, reply: &Reply) -> ClientStep {
        close_with(why, reply, self.resume.take().map(|(outgoing, _)| *outgoing))
    }

    /// Whether the server takes no more transactions (RFC 9422 §4.1).
    pub(super) fn is_used_up(&self) -> bool {
        self.offered.mails_max.is_some_and(|mails_max| self.mails >= mails_max)
    }
}

/// Ends a connection that no message is in hand of.
pub(super) fn close(why: Why, reply: &Reply) -> ClientStep {
    close_with(why, reply, None)
}

/// Ends a connection.
pub(super) fn close_with(why: Why, reply: &Reply, unsent: Option<Outgoing>) -> ClientStep {
    ClientStep::Close(Closed::of(why, reply, unsent))
}

/// Appends a command line. Everything in it was checked where it came from; were a control octet left all the
/// same, it could not begin another command.
pub(super) fn put_line(wire: &mut Vec<u8>, line: &str) {
    wire.extend(line.bytes().map(|octet| if octet.is_ascii_control() { b'?' } else { octet }));
    wire.extend_from_slice(b"\r\n");
}

/// What a refusal means that was said to this server, not to a message: another host or another day may be
/// better, so it is temporary, whatever the other server calls it. 521 alone says that a host never takes mail
/// (RFC 7504 §3).
pub(super) fn of_host(reply: &Reply, what: &str) -> Reply {
    match reply.class() {
        Class::Transient => reply.shortened(),
        Class::Permanent if reply.code() == 521 => reply.shortened(),
        Class::Permanent | Class::Success | Class::Continue => {
            Reply::new(451, reply.enhanced(), format!("the next server refused {what}: {reply}")).shortened()
        }
    }
}

pub(super) fn violation(what: &str) -> Reply {
    Reply::with(451, 5, 0, format!("the next server broke the protocol: {what}"))
}

pub(super) fn unasked_reply() -> Reply {
    violation("it replied before it was asked")
}

pub(super) fn fault_reply(fault: ReplyFault) -> Reply {
    violation(&fault.to_string())
}

pub(super) fn odd(reply: &Reply, awaited: &str) -> Reply {
    violation(&format!("{} in answer to {awaited}", reply.code()))
}
