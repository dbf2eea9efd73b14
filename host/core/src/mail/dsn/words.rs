//! The part of a notification for people.

use super::write::{escaped, line, neutral, wrapped};
use super::{Action, Maker, by_sink, reply_of};
use crate::mail::{BySink, Handover, Last, Message, Outcome, Recipient};
use crate::reply::{Class, Reply};
use crate::transport::is_expired;

impl Maker<'_> {
    /// What happened, to whom, and what the sender can do.
    pub(super) fn explain(&self, out: &mut Vec<u8>, original: &Message, recipients: &[&Recipient], is_whole: bool) {
        line(out, &format!("This is the mail server at {}.", neutral(self.host_name)));
        for action in Action::ALL {
            let of_action: Vec<_> = recipients.iter().filter(|recipient| Action::of(recipient) == action).collect();
            if of_action.is_empty() {
                continue;
            }
            line(out, "");
            for text in self.happened(action) {
                line(out, &text);
            }
            for recipient in of_action {
                line(out, "");
                let address = &recipient.address;
                let shown = address.to_ascii().unwrap_or_else(|| escaped(&address.to_string()));
                line(out, &format!("<{}>", neutral(&shown)));
                said(out, recipient);
            }
        }
        line(out, "");
        let what = if is_whole { "Your message is attached." } else { "The header of your message is attached." };
        line(out, what);
        line(out, &format!("It came here on {}.", original.arrival.at.to_rfc5322()));
    }

    fn happened(&self, action: Action) -> Vec<String> {
        let texts: &[&str] = match action {
            Action::Failed => {
                &["Your message could not be delivered to the recipients below, and it will", "not be tried again."]
            }
            Action::Delayed => {
                return vec![
                    "Your message could not be delivered to the recipients below yet. You need".to_owned(),
                    "not send it again: it will be tried until".to_owned(),
                    format!("{}.", self.will_retry_until.to_rfc5322()),
                ];
            }
            Action::Delivered => &["Your message was delivered to the mailboxes of the recipients below."],
            Action::Relayed => &[
                "Your message was handed to the next mail server for the recipients below. That",
                "server does not report what becomes of it; you will hear of failures alone.",
            ],
            Action::Expanded => &[
                "Your message was passed on to the members of the lists below. You will not hear",
                "of its delivery to each of them.",
            ],
        };
        texts.iter().map(|text| (*text).to_owned()).collect()
    }
}

fn said(out: &mut Vec<u8>, recipient: &Recipient) {
    let Some(reply) = reply_of(recipient) else { return };
    if let Some(by) = by_sink(recipient) {
        wrapped(out, &neutral(&format!("{}{reply}", judged(by))));
        return;
    }
    let host = match &recipient.outcome {
        Outcome::Failed { last: Some(Last { host: Some(host), .. }), .. }
        | Outcome::Deferred { last: Some(Last { host: Some(host), .. }), .. }
        | Outcome::Delivered { to: Handover::Relayed { host: Some(host), .. }, .. } => Some(host),
        Outcome::Failed { .. }
        | Outcome::Deferred { .. }
        | Outcome::Delivered { .. }
        | Outcome::Pending
        | Outcome::Held { .. } => None,
    };
    // What this server says when it gives up has the other's last answer in it, and is not that server's.
    let by = host.filter(|_| !is_expired(reply)).map(|host| format!("{host} said: ")).unwrap_or_default();
    wrapped(out, &neutral(&format!("{by}{reply}")));
    if let Some(advice) = advice(reply).filter(|_| Action::of(recipient) == Action::Failed) {
        wrapped(out, advice);
    }
}

// Which filter it was is nobody's business outside of this server.
fn judged(by: &BySink) -> String {
    let who = "a filter of this mail server";
    by.said.as_ref().map_or_else(
        || format!("Decided by {who}: "),
        |said| format!("The next mail server said \"{said}\", which {who} judged as: "),
    )
}

/// What a person can do about a failure, by its enhanced status code (RFC 3463 §3).
fn advice(reply: &Reply) -> Option<&'static str> {
    let enhanced = reply.enhanced().filter(|_| reply.class() == Class::Permanent)?;
    match (enhanced.subject, enhanced.detail) {
        (1, 1..=3 | 6 | 10) => Some("Look for a mistake in the address, or ask the recipient for the right one."),
        (2, 1) => Some("The mailbox is closed for now. Try to reach the recipient in another way."),
        (2, 2) => Some("The mailbox is full. Send it again later, or reach the recipient in another way."),
        (2 | 3, 3 | 4) => Some("The message is too large for the recipient. Send less, or a link to it."),
        (4, 6) => Some("The address leads back to where it came from. Its owner has to mend the forwarding."),
        (4, 7) => Some("It was tried for as long as this server tries. Send it again later."),
        (4, _) => Some("The recipient's mail server could not be reached for long. Send it again later."),
        (7, _) => Some("The recipient's mail server refuses it by its rules. Its operator can say more."),
        _ => None,
    }
}
