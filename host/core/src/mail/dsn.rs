//! The notification that a message could not be delivered.
//!
//! multipart/report as RFC 3462 and RFC 3464 have it: a text for a person, the facts for a program, and
//! the header block of the message that it is about. The body is never returned: the sender has it, and
//! where the sender is forged the notification goes to somebody who did not ask for it.

use bytes::Bytes;

use crate::addr::Address;
use crate::mail::{Arrival, Body, Envelope, Field, HeaderBlock, Message, MessageId, Origin, Outcome, Recipient};
use crate::reply::Reply;
use crate::time::Timestamp;

/// Octets of the original's header block that are returned; whole fields, real blocks stay under it.
const HEADER_RETURNED_BYTES_MAX: usize = 64 * 1024;

/// Longest line that is returned, CR LF excluded (RFC 5322 §2.1.1).
const LINE_BYTES_MAX: usize = 998;

/// Longest text out of anyone's reply or address, in octets.
const TEXT_BYTES_MAX: usize = 1_000;

/// Longest word of such a text, in octets, so that every line can be folded.
const WORD_BYTES_MAX: usize = 300;

/// Octets of an id, from its end, that go into a boundary; with the number they stay under the 70 of RFC 2046 §5.1.1.
const BOUNDARY_ID_BYTES: usize = 48;

/// What a notification is made of besides the message that it is about.
#[derive(Debug, Clone)]
pub struct Maker<'a> {
    /// The notification's own id; its Message-ID and boundary come from it.
    pub id: MessageId,
    /// Name of this server.
    pub host_name: &'a str,
    /// The time.
    pub now: Timestamp,
}

impl Maker<'_> {
    /// Makes the notification that `original` failed for those recipients.
    ///
    /// `None` where there is nobody to notify: the null sender, or a message that is a notification itself
    /// (RFC 5321 §4.5.5, §6.1: a bounce of a bounce is a loop).
    pub fn failed(&self, original: &Message, recipients: &[&Recipient]) -> Option<Message> {
        let sender = original.envelope.sender.clone()?;
        if original.arrival.origin == Origin::Notification {
            return None;
        }
        let returned = returned_header(&original.header);
        let boundary = self.boundary(&returned);
        let arrival = Arrival {
            origin: Origin::Notification,
            at: self.now,
            listener: String::new(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: false,
            session: None,
            depth: original.arrival.depth.saturating_add(1),
        };
        let mut envelope = Envelope::new(None);
        if !returned.is_ascii() {
            envelope.parameters.insert("BODY".to_owned(), "8BITMIME".to_owned());
        }
        let header = self.header(original, &sender, &boundary, returned.is_ascii());
        let body = self.body(original, recipients, &boundary, &returned);
        envelope.add(sender.clone(), sender.to_string());
        let mut message = Message::new(self.id.clone(), arrival, envelope);
        message.header = header.into();
        message.body = Body::from_bytes(body);
        Some(message)
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

    fn header(&self, original: &Message, sender: &Address, boundary: &str, is_ascii: bool) -> HeaderBlock {
        let host = self.host_name;
        let mut out = Vec::new();
        field(&mut out, "Date", &self.now.to_rfc5322());
        field(&mut out, "From", &format!("Mail Delivery System <postmaster@{host}>"));
        field(&mut out, "To", &format!("<{sender}>"));
        field(&mut out, "Subject", "Undelivered mail returned to sender");
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

    fn body(&self, original: &Message, recipients: &[&Recipient], boundary: &str, returned: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        line(&mut out, &format!("--{boundary}"));
        field(&mut out, "Content-Type", "text/plain; charset=us-ascii");
        line(&mut out, "");
        self.explain(&mut out, recipients);
        line(&mut out, &format!("--{boundary}"));
        field(&mut out, "Content-Type", "message/delivery-status");
        line(&mut out, "");
        self.status(&mut out, original, recipients);
        line(&mut out, &format!("--{boundary}"));
        field(&mut out, "Content-Type", "text/rfc822-headers");
        if !returned.is_ascii() {
            field(&mut out, "Content-Transfer-Encoding", "8bit");
        }
        line(&mut out, "");
        out.extend_from_slice(returned);
        line(&mut out, "");
        line(&mut out, &format!("--{boundary}--"));
        out
    }

    fn explain(&self, out: &mut Vec<u8>, recipients: &[&Recipient]) {
        line(out, &format!("This is the mail server at {}.", neutral(self.host_name)));
        line(out, "");
        line(out, "Your message could not be delivered to the recipients below, and it will");
        line(out, "not be tried again. The header of your message is attached.");
        line(out, "");
        for recipient in recipients {
            line(out, &format!("<{}>", neutral(&recipient.address.to_string())));
            let reply = reply_of(recipient);
            let words = reply.map(Reply::to_string).unwrap_or_default();
            wrapped(out, &neutral(&words));
            line(out, "");
        }
    }

    // RFC 3464 §2.2 and §2.3: one group about the message, then one for each recipient.
    fn status(&self, out: &mut Vec<u8>, original: &Message, recipients: &[&Recipient]) {
        if let Some(envelope_id) = original.envelope.parameters.get("ENVID").filter(|id| !id.is_empty()) {
            field(out, "Original-Envelope-Id", envelope_id);
        }
        field(out, "Reporting-MTA", &format!("dns; {}", self.host_name));
        field(out, "Arrival-Date", &original.arrival.at.to_rfc5322());
        line(out, "");
        for recipient in recipients {
            // An ORCPT has its address type in front already (RFC 3461 §4.2).
            let is_typed = recipient.original.split_once(';').is_some_and(|(kind, _)| !kind.contains('@'));
            let original =
                if is_typed { recipient.original.clone() } else { format!("rfc822; {}", recipient.original) };
            field(out, "Original-Recipient", &original);
            field(out, "Final-Recipient", &format!("rfc822; {}", recipient.address));
            field(out, "Action", "failed");
            let reply = reply_of(recipient);
            // A status is required (RFC 3464 §2.3.4); 5.0.0 says no more than that it failed.
            field(out, "Status", &reply.and_then(Reply::enhanced_text).unwrap_or_else(|| "5.0.0".to_owned()));
            if let Some(reply) = reply {
                field(out, "Diagnostic-Code", &format!("smtp; {reply}"));
            }
            field(out, "Last-Attempt-Date", &self.now.to_rfc5322());
            line(out, "");
        }
    }
}

fn reply_of(recipient: &Recipient) -> Option<&Reply> {
    match &recipient.outcome {
        Outcome::Failed { reply, .. } | Outcome::Deferred { reply, .. } => Some(reply),
        Outcome::Pending | Outcome::Delivered { .. } | Outcome::Held { .. } => None,
    }
}

fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

// Writes a field, folded. A neutral value has no line end and no word that cannot be folded, so every
// field that this file names can be written.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    if let Ok(field) = Field::new(name, &neutral(value)) {
        out.extend_from_slice(field.raw());
    }
}

// Indented lines of at most 78 octets where words allow.
fn wrapped(out: &mut Vec<u8>, text: &str) {
    let mut current = String::from("   ");
    for word in text.split_whitespace() {
        if current.len() > 3 && current.len() + 1 + word.len() > 78 {
            line(out, &current);
            current.truncate(3);
        }
        current.push(' ');
        current.push_str(word);
    }
    line(out, &current);
}

// Text of a sink, a client or another server, fit to stand in a field or a line: printable ASCII, bounded.
fn neutral(text: &str) -> String {
    let mut word = 0;
    let mut out = String::new();
    for character in text.chars() {
        word = if character == ' ' { 0 } else { word + 1 };
        if word > WORD_BYTES_MAX {
            continue;
        }
        if out.len() == TEXT_BYTES_MAX {
            break;
        }
        out.push(if matches!(character, ' '..='~') { character } else { '?' });
    }
    out
}

// Whole fields up to the limit; one with a line that no server need accept is left out.
fn returned_header(header: &HeaderBlock) -> Vec<u8> {
    let mut out = Vec::new();
    for field in header.fields() {
        let raw = field.raw();
        let is_short = raw.split(|&octet| octet == b'\n').all(|line| line.len() <= LINE_BYTES_MAX + 1);
        if !is_short || raw.contains(&0) {
            continue;
        }
        if out.len() + raw.len() > HEADER_RETURNED_BYTES_MAX {
            break;
        }
        out.extend_from_slice(raw);
        if !raw.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

#[cfg(test)]
mod tests;
