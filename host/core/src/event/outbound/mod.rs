//! What sinks are told of a session in which this server is the client, and what they may change there.

mod command;
mod response;

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use command::{OutCommand, OutCommandError, STANDARD_VERBS, is_own_line, is_standard_verb, smuggled_verb, verb_of};
pub use response::ResponseFacts;

use crate::event::Verdict;
use crate::limits::OUT_ROUNDS_MAX;
use crate::reply::{Class, Reply};

/// The connection to another server; it does not change while the connection lasts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutSession {
    /// Identity, in logs and in the contract.
    pub id: String,
    /// Host name that was looked up.
    pub host: String,
    /// The other server's end; `None` for a socket on this machine.
    pub remote: Option<SocketAddr>,
    /// This server's end; `None` likewise.
    pub local: Option<SocketAddr>,
}

/// What is known of a session with another server when an event of it is raised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutFacts {
    /// The connection.
    pub session: Arc<OutSession>,
    /// Which attempt for the message in hand this is, from 1; before there is one, that of the first.
    pub attempt: u32,
    /// Text of the banner, without code.
    pub banner: String,
    /// Lines of the answer to EHLO: keywords with their arguments. Empty before EHLO.
    pub extensions: Vec<String>,
    /// Version of TLS, as in "TLSv1.3".
    pub tls: Option<String>,
    /// What the server answered to the lines and octets that a binding's sink sent first at this very event, and
    /// how often it has, by the binding's name.
    pub first: BTreeMap<String, SentFirst>,
    /// How often sinks changed the state of this session.
    pub state_changes: u32,
}

/// What came of lines that a sink sent before a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentFirst {
    /// Verb of the last line in upper case.
    pub verb: String,
    /// The reply to the last of them.
    pub reply: Reply,
    /// Lines and blobs so far.
    pub rounds: u32,
}

impl OutFacts {
    /// Reply to what the sink of that binding sent first at this event; none the first time.
    pub fn previous_reply(&self, binding: &str) -> Option<&Reply> {
        self.first.get(binding).map(|sent| &sent.reply)
    }

    // Verbs that the server knows besides those of the standard: the one that it answered, and those that it announces
    // (RFC 5321 §4.1.5: they begin with X).
    fn verbs_beyond_the_standard<'a>(&'a self, sent: Option<&'a SentFirst>) -> Vec<&'a str> {
        let announced = self.extensions.iter().filter_map(|line| line.split_ascii_whitespace().next());
        let private = announced.filter(|keyword| keyword.starts_with(['X', 'x']));
        private.chain(sent.map(|sent| sent.verb.as_str())).filter(|verb| !verb.is_empty()).collect()
    }

    /// Why a verdict of that binding cannot be carried out before a command; `None` where it can.
    pub(crate) fn objection(&self, verdict: &Verdict, binding: &str) -> Option<String> {
        let sent = self.first.get(binding);
        // Whoever got a 3xx waits for octets; any line would be taken for them.
        let is_blob_due = sent.is_some_and(|sent| sent.reply.class() == Class::Continue);
        let is_worn_out = sent.is_some_and(|sent| sent.rounds >= OUT_ROUNDS_MAX);
        let sends = matches!(verdict, Verdict::SendFirst(_) | Verdict::SendBlob(_));
        if sends && is_worn_out {
            return Some(format!("it has sent something first {OUT_ROUNDS_MAX} times at this event"));
        }
        if let Verdict::SendFirst(line) = verdict {
            if is_blob_due {
                return Some("the server waits for octets, not for a line".to_owned());
            }
            let why = "a line of a sink's own has printable characters and begins with a verb of its own";
            return (!is_own_line(line)).then(|| why.to_owned());
        }
        if let Verdict::SendBlob(octets) = verdict {
            if !is_blob_due {
                return Some("octets are sent after a 3xx to the sink's own line alone".to_owned());
            }
            return command::blob_objection(octets, &self.verbs_beyond_the_standard(sent));
        }
        None
    }
}

/// Where a dialogue with another server goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutState {
    /// Before EHLO: the session begins again.
    SessionStart,
    /// Before MAIL FROM of the next message.
    MessageStart,
    /// Before the next RCPT TO.
    PerRecipient,
    /// Before DATA or BDAT.
    Data,
    /// Before QUIT.
    SessionEnd,
}

impl OutState {
    /// Every state, in the order of a dialogue.
    pub const ALL: &'static [Self] =
        &[Self::SessionStart, Self::MessageStart, Self::PerRecipient, Self::Data, Self::SessionEnd];

    /// The word in `wit/` and in logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::SessionStart => "session-start",
            Self::MessageStart => "message-start",
            Self::PerRecipient => "per-recipient",
            Self::Data => "data",
            Self::SessionEnd => "session-end",
        }
    }
}

#[cfg(test)]
mod tests;
