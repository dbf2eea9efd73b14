//! Notifications of what became of a message (RFC 3461, RFC 3462, RFC 3464, RFC 6533).
//!
//! multipart/report: a text for a person, the facts for a program, and the original. The body comes back only
//! where RET=FULL asks for it and it is small: the sender has it, and where the sender is forged the
//! notification goes to somebody who did not ask for it.

use bytes::Bytes;

use crate::addr::Address;
use crate::mail::{
    Arrival, Body, BySink, Envelope, Field, Handover, HeaderBlock, Message, MessageId, Origin, Outcome, Recipient,
    Vouched,
};
use crate::reply::Reply;
use crate::time::Timestamp;

mod returned;
mod status;
#[cfg(test)]
mod tests;
mod words;
mod write;

use returned::Returned;
pub use write::seven_bit;
use write::{field, line};

/// Octets of an id, from its end, that go into a boundary; with the number they stay under the 70 of RFC 2046 §5.1.1.
const BOUNDARY_ID_BYTES: usize = 48;

/// What became of a recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Failed,
    Delayed,
    Delivered,
    Relayed,
    Expanded,
}

impl Action {
    /// The worst first.
    const ALL: [Self; 5] = [Self::Failed, Self::Delayed, Self::Delivered, Self::Relayed, Self::Expanded];

    fn of(recipient: &Recipient) -> Self {
        match &recipient.outcome {
            Outcome::Failed { .. } => Self::Failed,
            // A notification is never about the last two.
            Outcome::Deferred { .. } | Outcome::Pending | Outcome::Held { .. } => Self::Delayed,
            Outcome::Delivered { to, .. } => match to {
                Handover::Mailbox | Handover::Sink { .. } => Self::Delivered,
                Handover::Relayed { .. } => Self::Relayed,
                Handover::Expanded => Self::Expanded,
            },
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Failed => "Undelivered mail returned to sender",
            Self::Delayed => "Your mail is late and still being tried",
            Self::Delivered => "Your mail was delivered",
            Self::Relayed => "Your mail was passed on",
            Self::Expanded => "Your mail was passed on to a list",
        }
    }
}

/// What a notification is made of besides the message that it is about.
#[derive(Debug, Clone)]
pub struct Maker<'a> {
    /// The notification's own id; its Message-ID and boundary come from it.
    pub id: MessageId,
    /// Name of this server.
    pub host_name: &'a str,
    /// The time.
    pub now: Timestamp,
    /// Until when what is late is tried.
    pub will_retry_until: Timestamp,
    /// Largest original that is returned whole, in octets.
    pub returned_bytes_max: u64,
}

impl Maker<'_> {
    /// Makes the notification of what became of those recipients of `original`, by their outcomes.
    ///
    /// `None` where there is nobody to notify: the null sender, or a message that is a notification itself
    /// (RFC 5321 §4.5.5, §6.1: a bounce of a bounce is a loop).
    pub fn report(&self, original: &Message, recipients: &[&Recipient]) -> Option<Message> {
        let sender = original.envelope.sender.clone()?;
        if original.arrival.origin == Origin::Notification {
            return None;
        }
        let worst = Action::ALL.into_iter().find(|action| recipients.iter().any(|r| Action::of(r) == *action))?;
        // RFC 3461 §4.3: RET is about failures; whatever else is told comes with the header alone.
        let ret = original.envelope.parameters.get("RET");
        // RFC 8689 §5: what was to travel protected alone comes back as if RET=HDRS had been said.
        let needs_tls = original.envelope.parameters.contains_key("REQUIRETLS");
        let is_failure = worst == Action::Failed && !needs_tls;
        let is_full = is_failure && ret.is_some_and(|ret| ret.eq_ignore_ascii_case("FULL"));
        let returned = Returned::of(original, is_full.then_some(self.returned_bytes_max));
        let boundary = self.boundary(&returned.octets);
        let mut envelope = Envelope::new(None);
        if !returned.is_ascii() {
            envelope.parameters.insert("BODY".to_owned(), "8BITMIME".to_owned());
        }
        if needs_tls {
            // RFC 8689 §5: even so it holds the header of the original, and is protected as that was.
            envelope.parameters.insert("REQUIRETLS".to_owned(), String::new());
        }
        let header = self.header(original, &sender, &boundary, worst, returned.is_ascii());
        let body = self.body(original, recipients, &boundary, &returned);
        let added = envelope.add(sender.clone(), sender.to_string());
        if let Some(recipient) = added.and_then(|id| envelope.recipient_mut(id)) {
            // Nor may the servers on its way answer it (RFC 3461 §4.1).
            recipient.notify = vec!["NEVER".to_owned()];
        }
        let mut message = Message::new(self.id.clone(), self.arrival(original, worst), envelope);
        message.header = header.into();
        message.body = Body::from_bytes(body);
        Some(message)
    }

    fn arrival(&self, original: &Message, worst: Action) -> Arrival {
        Arrival {
            origin: Origin::Notification,
            at: self.now,
            listener: String::new(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: false,
            session: None,
            depth: original.arrival.depth.saturating_add(1),
            vouched: Vouched { is_failure_report: worst == Action::Failed, ..Vouched::default() },
        }
    }

    // The id has 64 random bits that nobody knew when the header block was written; a sink may have put it
    // there since, and then the next number is tried.
    fn boundary(&self, returned: &[u8]) -> String {
        // A number in place of ever more characters: a boundary has at most 70 (RFC 2046 §5.1.1). The block holds
        // few enough of them that a free one comes soon.
        let id = self.id.as_str();
        let id = id.get(id.len().saturating_sub(BOUNDARY_ID_BYTES)..).unwrap_or(id);
        let numbered = (0_u32..).map(|number| match number {
            0 => format!("=_basin-{id}"),
            _ => format!("=_b{number}-{id}"),
        });
        let is_free = |boundary: &String| !returned.windows(boundary.len()).any(|window| window == boundary.as_bytes());
        numbered.into_iter().find(is_free).unwrap_or_default()
    }

    fn header(
        &self,
        original: &Message,
        sender: &Address,
        boundary: &str,
        worst: Action,
        is_ascii: bool,
    ) -> HeaderBlock {
        let host = self.host_name;
        let mut out = Vec::new();
        field(&mut out, "Date", &self.now.to_rfc5322());
        field(&mut out, "From", &format!("Mail Delivery System <postmaster@{host}>"));
        field(&mut out, "To", &format!("<{sender}>"));
        field(&mut out, "Subject", worst.subject());
        field(&mut out, "Message-ID", &format!("<{}@{host}>", self.id));
        if let Some(about) = original.header.first("Message-ID").map(Field::value) {
            field(&mut out, "In-Reply-To", &about);
            field(&mut out, "References", &about);
        }
        // RFC 3834 §5: an automatic answer to this one would be a loop.
        field(&mut out, "Auto-Submitted", "auto-replied");
        field(&mut out, "MIME-Version", "1.0");
        let report = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
        field(&mut out, "Content-Type", &report);
        if !is_ascii {
            field(&mut out, "Content-Transfer-Encoding", "8bit");
        }
        // A dozen short fields never pass the limits of a block.
        HeaderBlock::parse(&Bytes::from(out)).unwrap_or_default()
    }

    fn body(&self, original: &Message, recipients: &[&Recipient], boundary: &str, returned: &Returned) -> Vec<u8> {
        let mut out = Vec::new();
        line(&mut out, &format!("--{boundary}"));
        field(&mut out, "Content-Type", "text/plain; charset=us-ascii");
        line(&mut out, "");
        self.explain(&mut out, original, recipients, returned.is_whole);
        line(&mut out, "");
        line(&mut out, &format!("--{boundary}"));
        field(&mut out, "Content-Type", "message/delivery-status");
        line(&mut out, "");
        self.status(&mut out, original, recipients);
        line(&mut out, &format!("--{boundary}"));
        field(&mut out, "Content-Type", returned.content_type());
        if !returned.is_ascii() {
            field(&mut out, "Content-Transfer-Encoding", "8bit");
        }
        line(&mut out, "");
        out.extend_from_slice(&returned.octets);
        line(&mut out, "");
        line(&mut out, &format!("--{boundary}--"));
        out
    }
}

/// The sink whose word that reply is.
fn by_sink(recipient: &Recipient) -> Option<&BySink> {
    match &recipient.outcome {
        Outcome::Failed { last, .. } | Outcome::Deferred { last, .. } => last.as_ref()?.by.as_ref(),
        Outcome::Pending | Outcome::Delivered { .. } | Outcome::Held { .. } => None,
    }
}

fn reply_of(recipient: &Recipient) -> Option<&Reply> {
    match &recipient.outcome {
        Outcome::Failed { reply, .. } | Outcome::Deferred { reply, .. } => Some(reply),
        Outcome::Delivered { to: Handover::Relayed { reply, .. }, .. } => Some(reply),
        Outcome::Pending | Outcome::Delivered { .. } | Outcome::Held { .. } => None,
    }
}
