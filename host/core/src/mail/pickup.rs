//! Messages that a program leaves as files: their text made regular, their envelope out of their header.
//!
//! A file begins with `x-sender:` and `x-receiver:` lines, which give the envelope and are taken out; where there are
//! none, the envelope comes from the header, as in `sendmail -t`.

use std::sync::Arc;

use bytes::Bytes;
use mail_parser::parsers::MessageStream;
use mail_parser::{Address as Addresses, HeaderValue};
use memchr::memmem;
use thiserror::Error;

use crate::addr::Address;
use crate::limits::{HEADER_BLOCK_BYTES_MAX, RECEIVED_FIELDS_MAX, TEXT_LINE_BYTES_MAX};
use crate::mail::{Arrival, Authority, Body, Content, Envelope, Field, HeaderBlock, Message, MessageId, trace};
use crate::time::Timestamp;

/// Why a file is no message that can be taken. It is set aside with this text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PickupError {
    /// A CR that no LF follows.
    #[error("line {0} has a CR without LF; lines end with LF or CR LF")]
    BareCr(u64),
    /// A NUL.
    #[error("line {0} has a NUL")]
    Nul(u64),
    /// A line over the limit.
    #[error("line {0} is longer than {TEXT_LINE_BYTES_MAX} octets")]
    LongLine(u64),
    /// More than a message may have.
    #[error("the message is larger than {0} octets, the most that is taken here")]
    TooLarge(u64),
    /// The header block does not end, or passes its limits.
    #[error("the header block is larger than this server takes")]
    Header,
    /// An address that is none.
    #[error("`{field}` has {text:?}, which is no address")]
    Address {
        /// Name of the field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// Nobody it is from.
    #[error("there is no sender: add `x-sender: <address>` at the top, or a From field")]
    NoSender,
    /// Nobody it is for.
    #[error("there is no recipient: add `x-receiver: <address>` lines at the top, or a To, Cc or Bcc field")]
    NoRecipient,
    /// Too many it is for.
    #[error("there are more than {0} recipients")]
    Recipients(usize),
    /// It was here too often.
    #[error("the message has more than {RECEIVED_FIELDS_MAX} Received fields: it goes in a circle")]
    Circle,
    /// The text cannot be read again.
    #[error("the text cannot be read: {0}")]
    Read(String),
}

/// Makes the lines of a file end in CR LF, and finds what must not be in one.
///
/// Feed pieces of any size; the places of the cuts do not matter.
#[derive(Debug)]
pub struct Lines {
    message_bytes_max: u64,
    written: u64,
    line: u64,
    line_bytes: usize,
    is_after_cr: bool,
    is_8bit: bool,
}

impl Lines {
    /// Takes up to that many octets of text.
    pub fn new(message_bytes_max: u64) -> Self {
        Self { message_bytes_max, written: 0, line: 1, line_bytes: 0, is_after_cr: false, is_8bit: false }
    }

    /// Reads octets of the file and appends the text to `text`.
    ///
    /// # Errors
    /// The file is no message; what is in `text` is worth nothing then.
    pub fn feed(&mut self, octets: &[u8], text: &mut Vec<u8>) -> Result<(), PickupError> {
        let before = text.len();
        for octet in octets {
            if self.is_after_cr && *octet != b'\n' {
                return Err(PickupError::BareCr(self.line));
            }
            self.is_after_cr = *octet == b'\r';
            match octet {
                b'\r' => {}
                b'\n' => {
                    text.extend_from_slice(b"\r\n");
                    self.line += 1;
                    self.line_bytes = 0;
                }
                0 => return Err(PickupError::Nul(self.line)),
                octet => {
                    text.push(*octet);
                    self.line_bytes += 1;
                    self.is_8bit |= *octet > 127;
                    if self.line_bytes > TEXT_LINE_BYTES_MAX {
                        return Err(PickupError::LongLine(self.line));
                    }
                }
            }
        }
        self.written += (text.len() - before) as u64;
        if self.written > self.message_bytes_max {
            return Err(PickupError::TooLarge(self.message_bytes_max));
        }
        Ok(())
    }

    /// The file is at its end: a last line without a line end gets one. Says whether an octet above 127 was there.
    ///
    /// # Errors
    /// [`PickupError::BareCr`] for a CR that is the last octet.
    pub fn finish(self, text: &mut Vec<u8>) -> Result<bool, PickupError> {
        if self.is_after_cr {
            return Err(PickupError::BareCr(self.line));
        }
        if self.line_bytes > 0 {
            text.extend_from_slice(b"\r\n");
        }
        Ok(self.is_8bit)
    }
}

/// What a message from a file is made with.
#[derive(Debug)]
pub struct Making<'a> {
    /// Its identity, which comes from the file: the same file never becomes two messages.
    pub id: MessageId,
    /// How it came.
    pub arrival: Arrival,
    /// Name of this server.
    pub host_name: &'a str,
    /// The names that only this server states results under.
    pub authority: &'a Authority,
    /// Most recipients.
    pub recipients_max: usize,
    /// Whether [`Lines::finish`] found 8-bit octets.
    pub is_8bit: bool,
    /// Now.
    pub now: Timestamp,
}

/// Makes a message out of a regular text.
///
/// # Errors
/// See [`PickupError`].
pub fn message(content: &Content, making: Making<'_>) -> Result<Message, PickupError> {
    let (block, is_header_only) = read_header(content)?;
    let body_start = if is_header_only { content.len } else { block.len() as u64 + 2 };
    let mut header = HeaderBlock::parse(&block).map_err(|_| PickupError::Header)?;
    if trace::hops(&header) > RECEIVED_FIELDS_MAX {
        return Err(PickupError::Circle);
    }
    let mut envelope = envelope(&mut header, making.recipients_max)?;
    // A program says what its mail is, not what this server found of it (RFC 8601 §5).
    header.retain(|field| !making.authority.is_claimed_by(field));
    // Blind copies are no longer blind where the field stays (RFC 5322 §3.6.3).
    header.remove("Bcc");
    complete(&mut header, &envelope, &making)?;
    if making.is_8bit {
        envelope.parameters.insert("BODY".to_owned(), "8BITMIME".to_owned());
    }
    let is_utf8_header = header.fields().iter().any(|field| !field.raw().is_ascii());
    if is_utf8_header {
        envelope.parameters.insert("SMTPUTF8".to_owned(), String::new());
    }
    let mut message = Message::new(making.id, making.arrival, envelope);
    message.header = Arc::new(header);
    message.body = Body::window(content.octets.clone(), body_start, content.len.saturating_sub(body_start));
    message.is_header_only = is_header_only;
    Ok(message)
}

// What every message has (RFC 5322 §3.6): From, Date, and a Message-ID, which should be there. On top our Received.
fn complete(header: &mut HeaderBlock, envelope: &Envelope, making: &Making<'_>) -> Result<(), PickupError> {
    let date = making.now.to_rfc5322();
    let mut missing = Vec::new();
    if header.first("From").is_none() {
        let sender = envelope.sender.as_ref().ok_or(PickupError::NoSender)?;
        missing.push(("From", format!("<{sender}>")));
    }
    if header.first("Date").is_none() {
        missing.push(("Date", date.clone()));
    }
    if header.first("Message-ID").is_none() {
        missing.push(("Message-ID", format!("<{}@{}>", making.id, making.host_name)));
    }
    for (name, value) in missing {
        let field = Field::new(name, &value).map_err(|_| PickupError::Header)?;
        header.insert(header.fields().len(), field).map_err(|_| PickupError::Header)?;
    }
    let text = format!("by {} (pickup) id {}; {date}", making.host_name, making.id);
    let received = Field::new("Received", &text).map_err(|_| PickupError::Header)?;
    header.insert(0, received).map_err(|_| PickupError::Header)
}

// Takes the lines of the envelope off the top, and what they do not say out of the fields.
fn envelope(header: &mut HeaderBlock, recipients_max: usize) -> Result<Envelope, PickupError> {
    let (mut sender, mut receivers) = (None, Vec::new());
    while let Some(field) = header.fields().first() {
        if field.is("x-sender") {
            sender = Some(path(&field.value(), "x-sender")?);
        } else if field.is("x-receiver") {
            let receiver = path(&field.value(), "x-receiver")?;
            receivers.push(receiver.ok_or_else(|| bad("x-receiver", "<>"))?);
        } else {
            break;
        }
        header.remove_at(0).map_err(|_| PickupError::Header)?;
    }
    let sender = match sender {
        Some(sender) => sender,
        None => Some(author(header)?),
    };
    if receivers.is_empty() {
        for name in ["To", "Cc", "Bcc"] {
            for field in header.all(name) {
                receivers.extend(addresses(field, name)?);
            }
        }
    }
    let mut envelope = Envelope::new(sender);
    for receiver in receivers {
        let original = receiver.to_string();
        envelope.add(receiver, original);
        if envelope.recipients.len() > recipients_max {
            return Err(PickupError::Recipients(recipients_max));
        }
    }
    if envelope.recipients.is_empty() { Err(PickupError::NoRecipient) } else { Ok(envelope) }
}

// Who sends it: Sender, which is one address, else the first author (RFC 5322 §3.6.2).
fn author(header: &HeaderBlock) -> Result<Address, PickupError> {
    for name in ["Sender", "From"] {
        if let Some(field) = header.first(name) {
            return addresses(field, name)?.into_iter().next().ok_or(PickupError::NoSender);
        }
    }
    Err(PickupError::NoSender)
}

// An address of the envelope, with or without angle brackets; `<>` is the null sender.
fn path(text: &str, field: &'static str) -> Result<Option<Address>, PickupError> {
    let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text).trim();
    if bare.is_empty() && text.starts_with('<') {
        return Ok(None);
    }
    Address::parse(bare).map(Some).map_err(|_| bad(field, text))
}

fn addresses(field: &Field, name: &'static str) -> Result<Vec<Address>, PickupError> {
    let raw = field.raw();
    let colon = raw.iter().position(|octet| *octet == b':').map_or(0, |at| at + 1);
    let parsed = MessageStream::new(raw.get(colon..).unwrap_or_default()).parse_address();
    // Neither, for an empty field and for one with nothing that looks like an address.
    let (list, groups) = match &parsed {
        HeaderValue::Address(Addresses::List(list)) => (list.as_slice(), &[][..]),
        HeaderValue::Address(Addresses::Group(groups)) => (&[][..], groups.as_slice()),
        HeaderValue::Text(_)
        | HeaderValue::TextList(_)
        | HeaderValue::DateTime(_)
        | HeaderValue::ContentType(_)
        | HeaderValue::Received(_)
        | HeaderValue::Empty => (&[][..], &[][..]),
    };
    let all = list.iter().chain(groups.iter().flat_map(|group| &group.addresses));
    let found: Vec<String> = all.map(text_of).collect();
    found.iter().map(|text| Address::parse(text).map_err(|_| bad(name, text))).collect()
}

fn text_of(address: &mail_parser::Addr<'_>) -> String {
    address.address.as_deref().or(address.name.as_deref()).unwrap_or_default().to_owned()
}

fn bad(field: &'static str, text: &str) -> PickupError {
    // As much as helps to find it.
    PickupError::Address { field, text: text.chars().take(80).collect() }
}

// The octets before the first empty line, and whether they are all there is.
fn read_header(content: &Content) -> Result<(Bytes, bool), PickupError> {
    let whole = Body::window(content.octets.clone(), 0, content.len);
    let octets = whole.read(0, HEADER_BLOCK_BYTES_MAX + 4).map_err(|error| PickupError::Read(error.to_string()))?;
    if octets.starts_with(b"\r\n") {
        return Ok((Bytes::new(), false));
    }
    match memmem::find(&octets, b"\r\n\r\n") {
        Some(at) => Ok((Bytes::copy_from_slice(octets.get(..at + 2).unwrap_or_default()), false)),
        None if octets.len() as u64 == content.len => Ok((octets.into(), true)),
        None => Err(PickupError::Header),
    }
}

#[cfg(test)]
#[path = "pickup_tests.rs"]
mod tests;
