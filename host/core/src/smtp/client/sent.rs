//! What came of a transaction, and of a connection.

use std::collections::BTreeMap;

use crate::mail::{BySink, MessageId, RecipientId};
use crate::reply::Reply;
use crate::smtp::client::outgoing::Outgoing;

/// A recipient for whom the other server took the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its reply to the end of the content.
    pub reply: Reply,
    /// Whether it was handed the wishes for notifications (RFC 3461), so that nothing is left to tell from
    /// here; else this server owes the sender who asked for SUCCESS the "relayed" notification (§5.2.2).
    pub is_dsn_passed: bool,
}

/// What came of one transaction: results for some recipients of an [`Outgoing`] or for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub message: MessageId,
    /// Each recipient once: taken there, or why not. A 4yz reply may be tried again later, a 5yz one is final;
    /// the reply is the other server's, or one of this server's own about it.
    pub results: Vec<(RecipientId, Result<Accepted, Reply>)>,
    /// Those of them whose refusal is a sink's word.
    pub by_sinks: BTreeMap<RecipientId, BySink>,
    /// The end of the content left, and no final reply came: some of those that were not taken may have the
    /// message all the same, and get it a second time (RFC 1047).
    pub may_be_delivered: bool,
    /// Whether every recipient of the outgoing message has its result now. Where not, the others follow in
    /// another `Sent`, or come back in [`Closed::unsent`].
    pub is_complete: bool,
}

impl Sent {
    /// The same, as the word of a sink.
    #[must_use]
    pub fn by(self, sink: Option<&BySink>) -> Self {
        let by_sinks = sink.map(|sink| self.results.iter().map(|(id, _)| (*id, sink.clone())).collect());
        Self { by_sinks: by_sinks.unwrap_or_default(), ..self }
    }
}

/// A connection that is over.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Why.
    pub why: Why,
    /// What that means for mail: the other server's words or this server's own. It is never permanent for
    /// something that only this connection or this host is at fault for, except 521 (RFC 7504); a refusal of the
    /// content while it left ([`Why::Refused`]) is the other server's word on the message.
    pub reply: Reply,
    /// The sink whose word the reply is, where one of this server's ended the session.
    pub by: Option<Box<BySink>>,
    /// The message in hand, with those recipients of whom nothing is decided: it may go over another
    /// connection or to another host of the same destination at once.
    pub unsent: Option<Outgoing>,
}

impl Closed {
    pub(super) fn of(why: Why, reply: &Reply, unsent: Option<Outgoing>) -> Self {
        Self { why, reply: reply.shortened(), by: None, unsent }
    }

    /// Names the sink that ended the session, where one did and none is named.
    pub(super) fn dropped_by(&mut self, sink: BySink) {
        if self.why == Why::Dropped {
            self.by.get_or_insert_with(|| Box::new(sink));
        }
    }
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// This server was done and said QUIT.
    Quit,
    /// The other server takes no more messages over this connection (RFC 9422); a new one may be opened at once.
    LimitReached,
    /// The greeting, EHLO or the go-ahead was refused.
    Refused,
    /// The other server said 421.
    ServiceClosing,
    /// The connection broke or was closed.
    Lost,
    /// A reply, or room for content, did not come in time.
    TimedOut,
    /// The other server broke the protocol so that no reply of it can be trusted any more.
    Violation,
    /// TLS is demanded and not offered, or it failed.
    Tls,
    /// The login failed or could not be tried.
    Login,
    /// The content could not be read here, or must not be sent as it is.
    Content,
    /// A sink ended the session, or failed, or would have left it out of step. What is not done is tried again.
    Dropped,
    /// This server stops.
    ShutDown,
}

impl Why {
    /// The word for logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::LimitReached => "limit-reached",
            Self::Refused => "refused",
            Self::ServiceClosing => "service-closing",
            Self::Lost => "lost",
            Self::TimedOut => "timed-out",
            Self::Violation => "violation",
            Self::Tls => "tls",
            Self::Login => "login",
            Self::Content => "content",
            Self::Dropped => "dropped",
            Self::ShutDown => "shut-down",
        }
    }
}
