//! The part of a notification for programs (RFC 3464).

use super::write::{decoded, escaped, field, line, unescaped};
use super::{Action, Maker, by_sink, reply_of};
use crate::mail::{BySink, Handover, Last, Message, Outcome, Recipient};
use crate::reply::Reply;
use crate::time::Timestamp;

impl Maker<'_> {
    /// RFC 3464 §2.2 and §2.3: one group about the message, then one for each recipient.
    pub(super) fn status(&self, out: &mut Vec<u8>, original: &Message, recipients: &[&Recipient]) {
        if let Some(envelope_id) = original.envelope.parameters.get("ENVID").filter(|id| !id.is_empty()) {
            field(out, "Original-Envelope-Id", &decoded(envelope_id));
        }
        field(out, "Reporting-MTA", &format!("dns; {}", self.host_name));
        field(out, "Arrival-Date", &original.arrival.at.to_rfc5322());
        line(out, "");
        for recipient in recipients {
            self.group(out, recipient);
            line(out, "");
        }
    }

    fn group(&self, out: &mut Vec<u8>, recipient: &Recipient) {
        if let Some(original) = original_recipient(&recipient.original) {
            field(out, "Original-Recipient", &original);
        }
        field(out, "Final-Recipient", &typed(&recipient.address.to_string()));
        let action = Action::of(recipient);
        field(out, "Action", action.word());
        let reply = reply_of(recipient);
        field(out, "Status", &status(action, reply));
        let (host, at) = last_attempt(recipient);
        let by = by_sink(recipient);
        // RFC 3464 §2.3.5, §2.3.6: of the server that reported the failure, in its words. A filter of this one is neither.
        if let Some(host) = host.filter(|_| by.is_none()) {
            field(out, "Remote-MTA", &format!("dns; {host}"));
        }
        if let Some(reply) = reply {
            field(out, "Diagnostic-Code", &diagnostic(reply, by));
        }
        if let Some(at) = at {
            field(out, "Last-Attempt-Date", &at.to_rfc5322());
        }
        if action == Action::Delayed {
            field(out, "Will-Retry-Until", &self.will_retry_until.to_rfc5322());
        }
    }
}

// RFC 3464 §2.1.1: a type of one's own begins with "X-".
fn diagnostic(reply: &Reply, by: Option<&BySink>) -> String {
    match by.map(|by| &by.said) {
        None => format!("smtp; {reply}"),
        Some(None) => format!("X-Basin; {reply}"),
        Some(Some(said)) => format!("X-Basin; {reply}; the next server said: {said}"),
    }
}

// ORCPT has its address type in front and is coded (RFC 3461 §4.2); an address as the client gave it is neither, and RFC
// 3464 §2.3.1 has the field for what the sender said alone.
fn original_recipient(original: &str) -> Option<String> {
    let (kind, address) = original.split_once(';').filter(|(kind, _)| !kind.contains(['@', '"']))?;
    let address = decoded(address);
    if kind.eq_ignore_ascii_case("utf-8") {
        return Some(typed(&unescaped(&address)));
    }
    Some(if address.is_ascii() { format!("{kind};{address}") } else { typed(&address) })
}

// RFC 6533 §3: an address with other letters than ASCII has a type of its own, and an ASCII form.
fn typed(address: &str) -> String {
    if address.is_ascii() { format!("rfc822; {address}") } else { format!("utf-8; {}", escaped(address)) }
}

// A status is required (RFC 3464 §2.3.4), and of the class that the action has.
fn status(action: Action, reply: Option<&Reply>) -> String {
    let class = match action {
        Action::Failed => '5',
        Action::Delayed => '4',
        Action::Delivered | Action::Relayed | Action::Expanded => '2',
    };
    let given = reply.and_then(Reply::enhanced_text).filter(|text| text.starts_with(class));
    given.unwrap_or_else(|| format!("{class}.0.0"))
}

fn last_attempt(recipient: &Recipient) -> (Option<&str>, Option<Timestamp>) {
    let of = |last: &'_ Option<Last>| last.as_ref().map(|last| last.at);
    match &recipient.outcome {
        Outcome::Failed { last, .. } | Outcome::Deferred { last, .. } => {
            (last.as_ref().and_then(|last| last.host.as_deref()), of(last))
        }
        Outcome::Delivered { at, to: Handover::Relayed { host, .. } } => (host.as_deref(), Some(*at)),
        Outcome::Delivered { at, to: Handover::Mailbox | Handover::Expanded | Handover::Sink { .. } } => {
            (None, Some(*at))
        }
        Outcome::Pending | Outcome::Held { .. } => (None, None),
    }
}
