//! A reply of another server, and what a sink may make of it.

use crate::event::{OutState, Verdict};
use crate::limits::OUT_STATE_CHANGES_MAX;
use crate::reply::{Class, Reply};

/// A reply of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseFacts {
    /// Verb that it answers in upper case; empty for the banner, "." for the end of data.
    pub keyword: String,
    /// Command line that it answers, without line end; of AUTH the mechanism alone.
    pub line: String,
    /// What it said.
    pub reply: Reply,
    /// Whether further commands were sent before it came (RFC 2920).
    pub is_pipelined: bool,
    /// Whether the dialogue is over with it: content was refused before it had left whole, and only its end would
    /// make the other server listen to commands again.
    pub is_last: bool,
}

impl ResponseFacts {
    /// Why a verdict on this reply cannot be carried out; `None` where it can. What a sink says must leave the
    /// two servers agreed on what was said, and the results of recipients true.
    pub(crate) fn objection(&self, verdict: &Verdict, state_changes: u32) -> Option<String> {
        if let Verdict::TreatAs(other) = verdict {
            return self.no_treating_as(other).map(str::to_owned);
        }
        let Verdict::ChangeState(state) = verdict else { return None };
        if state_changes >= OUT_STATE_CHANGES_MAX {
            return Some(format!("the state of this session was changed {OUT_STATE_CHANGES_MAX} times"));
        }
        let Self { keyword, reply, .. } = self;
        let why = || format!("after a {} to {keyword:?} nothing leads to {}", reply.code(), state.word());
        (!self.leads_to(*state)).then(why)
    }

    fn no_treating_as(&self, other: &Reply) -> Option<&'static str> {
        let (is, becomes) = (self.reply.class(), other.class());
        if self.reply.code() == 421 || other.code() == 421 {
            return Some("whether the server closes the connection is no matter of judgement");
        }
        if (is == Class::Continue) != (becomes == Class::Continue) {
            return Some("whether the server waits for more is no matter of judgement");
        }
        let is_refused = self.reply.is_refusal();
        match self.keyword.as_str() {
            "STARTTLS" | "AUTH" => Some("TLS and the login are the operator's"),
            "DATA" if becomes == Class::Success => Some("no reply to DATA is a 2xx"),
            _ if self.is_last && becomes == Class::Success => Some("what the server refused it would not do"),
            "." | "BDAT" if becomes == Class::Success => Some("no reply to content can be turned into a 2xx"),
            "RCPT" | "RSET" if is_refused && becomes == Class::Success => {
                Some("what the server refused it would not do")
            }
            "EHLO" | "LHLO" if becomes == Class::Success && !self.has_lines_of(other) => {
                Some("the server offers no more than it says")
            }
            _ => None,
        }
    }

    // Whether every extension of the other reply is one of this.
    fn has_lines_of(&self, other: &Reply) -> bool {
        let offered = self.reply.lines().get(1..).unwrap_or_default();
        other.lines().iter().skip(1).all(|line| offered.contains(line))
    }

    /// Whether the dialogue can go on from that state after this reply.
    pub fn leads_to(&self, state: OutState) -> bool {
        use OutState::{Data, MessageStart, PerRecipient, SessionEnd, SessionStart};
        if self.is_last || self.reply.class() == Class::Continue || self.reply.code() == 421 {
            return false;
        }
        match self.keyword.as_str() {
            "" | "EHLO" | "LHLO" | "HELO" => matches!(state, SessionStart | SessionEnd),
            "STARTTLS" | "AUTH" | "BDAT" | "QUIT" => false,
            "MAIL" if !self.reply.is_refusal() => state != Data,
            "RCPT" => true,
            "DATA" => state != PerRecipient,
            // The end of data, RSET, MAIL where it was refused, and verbs of sinks.
            _ => matches!(state, SessionStart | MessageStart | SessionEnd),
        }
    }
}
