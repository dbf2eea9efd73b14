//! The message: envelope, header block, content, properties and fate.

use crate::headers::{Headers, HeadersMut};
use crate::raw::message as raw;
use crate::{BodyWriter, Datetime, Endpoint, Error, Part, Parts, Reader, Recipient};

/// One message, from MAIL FROM to its last delivery.
///
/// Edits are a transaction: this sink sees them at once, and they take effect when every sink of the event has
/// been asked. They vanish when the sink fails. Reading what the binding does not grant ends the call, so that
/// a filter never takes a forbidden message for an empty one; an edit that is not granted answers
/// [`Error::Denied`], and one at an event that cannot change the message [`Error::ReadOnly`].
#[derive(Debug)]
pub struct Message {
    pub(crate) raw: raw::MailMsg,
}

/// Facts about the message.
impl Message {
    /// Stable for the life of the message.
    pub fn id(&self) -> String {
        self.raw.id()
    }
    /// "smtp", "pickup", "sink:NAME" or "notification"; others may come.
    pub fn origin(&self) -> String {
        self.raw.origin()
    }
    /// Name of the listener that took the message.
    pub fn listener(&self) -> String {
        self.raw.listener()
    }
    /// When this server took it.
    pub fn arrived(&self) -> Datetime {
        self.raw.arrived()
    }
    /// When the first server of the organisation took it, where that is known.
    pub fn first_arrived(&self) -> Option<Datetime> {
        self.raw.first_arrived()
    }
    /// "normal", "delivery-report", "failure-report", "auto-reply"; others may come.
    pub fn class(&self) -> String {
        self.raw.message_class()
    }
    /// Priority in the queue; 0 is normal, more is earlier.
    pub fn priority(&self) -> i32 {
        self.raw.priority()
    }
    /// Changes the priority in the queue. Grant `edit-envelope`.
    pub fn set_priority(&mut self, priority: i32) -> Result<(), Error> {
        Ok(self.raw.set_priority(priority)?)
    }
}

/// The session that brought it; `None` for other origins.
impl Message {
    /// The client's end of the connection.
    pub fn client(&self) -> Option<Endpoint> {
        self.raw.client()
    }
    /// This server's end of the connection.
    pub fn server(&self) -> Option<Endpoint> {
        self.raw.server()
    }
    /// Argument of HELO or EHLO.
    pub fn helo_domain(&self) -> Option<String> {
        self.raw.helo_domain()
    }
    /// Who the client had proved to be.
    pub fn auth_user(&self) -> Option<String> {
        self.raw.auth_user()
    }
    /// Mechanism of AUTH by which it did.
    pub fn auth_mechanism(&self) -> Option<String> {
        self.raw.auth_mechanism()
    }
    /// Version of TLS.
    pub fn tls_version(&self) -> Option<String> {
        self.raw.tls_version()
    }
    /// Cipher suite of TLS.
    pub fn tls_cipher(&self) -> Option<String> {
        self.raw.tls_cipher()
    }
    /// Name of the pickup file it was, for the origin "pickup".
    pub fn pickup_file(&self) -> Option<String> {
        self.raw.pickup_file()
    }
}

/// The envelope. Reading needs the grant `read-envelope`, changing `edit-envelope`.
impl Message {
    /// Reverse path without angle brackets; empty for the null path.
    pub fn sender(&self) -> String {
        self.raw.sender()
    }
    /// Replaces the reverse path; "" is the null path.
    pub fn set_sender(&mut self, address: &str) -> Result<(), Error> {
        Ok(self.raw.set_sender(address)?)
    }
    /// How many recipients there are.
    pub fn recipient_count(&self) -> u32 {
        self.raw.recipient_count()
    }
    /// The recipient at that place.
    pub fn recipient(&self, index: u32) -> Option<Recipient> {
        self.raw.recipient(index).map(Recipient::from_raw)
    }
    /// The recipients, as they are now; the list may change while they are walked.
    pub fn recipients(&self) -> impl ExactSizeIterator<Item = Recipient> + use<> {
        self.raw.recipients().into_iter().map(Recipient::from_raw)
    }
    /// Those that the `rcpt to` condition of the binding's rule selected; all where it has none.
    pub fn matched_recipients(&self) -> impl ExactSizeIterator<Item = Recipient> + use<> {
        self.raw.matched_recipients().into_iter().map(Recipient::from_raw)
    }
    /// All addresses at once, for sinks that only look.
    pub fn recipient_addresses(&self) -> Vec<String> {
        self.raw.recipient_addresses()
    }
    /// Adds a recipient; [`Error::Duplicate`] where the address is on the list already.
    pub fn add_recipient(&mut self, address: &str) -> Result<Recipient, Error> {
        Ok(Recipient::from_raw(self.raw.add_recipient(address)?))
    }
    /// ENVID, RET (RFC 3461), AUTH (RFC 4954) and other parameters of MAIL, by keyword.
    pub fn parameter(&self, keyword: &str) -> Option<String> {
        self.raw.parameter(keyword)
    }
    /// Replaces, adds or (with `None`) removes a parameter of MAIL.
    pub fn set_parameter(&mut self, keyword: &str, value: Option<&str>) -> Result<(), Error> {
        Ok(self.raw.set_parameter(keyword, value)?)
    }
    /// "7bit", "8bitmime" or "binarymime".
    pub fn body_type(&self) -> String {
        self.raw.body_type()
    }
    /// Whether the client asked for SMTPUTF8 (RFC 6531).
    pub fn is_smtputf8(&self) -> bool {
        self.raw.is_smtputf8()
    }
}

/// The header block. Reading needs the grant `read-headers`, changing `edit-headers`.
impl Message {
    /// The first field of that name, upper and lower case alike.
    pub fn header(&self, name: &str) -> Option<String> {
        self.raw.header(name)
    }
    /// The header block, for reading.
    pub fn headers(&self) -> Headers<'_> {
        Headers::of(&self.raw)
    }
    /// The header block, for changing.
    pub fn headers_mut(&mut self) -> HeadersMut<'_> {
        HeadersMut::of(&self.raw)
    }
}

/// The content. Reading needs the grant `read-body`, changing `edit-body`.
impl Message {
    /// Octets of the whole message, header block included, before dot-stuffing.
    pub fn size(&self) -> u64 {
        self.raw.size()
    }
    /// Octets of the body.
    pub fn body_size(&self) -> u64 {
        self.raw.body_size()
    }
    /// Reads the whole message, header block included.
    pub fn content(&self) -> Reader<'_> {
        Reader::of_message(&self.raw)
    }
    /// Reads the body.
    pub fn body(&self) -> Reader<'_> {
        Reader::of_body(&self.raw)
    }
    /// Starts a new body, which the server keeps; [`Message::replace_body`] puts it in place.
    ///
    /// ```
    /// use basin_sink::prelude::*;
    /// use std::io::Write as _;
    ///
    /// fn disclaim(message: &mut Message) -> Result<()> {
    ///     let mut body = message.new_body()?;
    ///     std::io::copy(&mut message.body(), &mut body)?;
    ///     body.write_all(b"\r\n-- \r\nThis message was checked.\r\n")?;
    ///     Ok(message.replace_body(body)?)
    /// }
    /// # let _ = disclaim;
    /// ```
    pub fn new_body(&self) -> Result<BodyWriter, Error> {
        Ok(BodyWriter::from_raw(self.raw.new_body()?))
    }
    /// Puts the written body in the place of the present one.
    pub fn replace_body(&mut self, body: BodyWriter) -> Result<(), Error> {
        Ok(self.raw.replace_body(body.raw)?)
    }
    /// What an edit would break, worst first: "encrypted", "signed", "dkim-signed" or "none"; others may come.
    pub fn protection(&self) -> String {
        self.raw.protection()
    }
}

/// The parsed view: decoded by the server on first use; it never changes an octet.
impl Message {
    /// The subject, decoded.
    pub fn subject(&self) -> Option<String> {
        self.raw.subject()
    }
    /// The first address of From.
    pub fn from_address(&self) -> Option<String> {
        self.raw.from_address()
    }
    /// The Message-ID, without angle brackets.
    pub fn message_id(&self) -> Option<String> {
        self.raw.message_id()
    }
    /// The time in Date.
    pub fn date(&self) -> Option<Datetime> {
        self.raw.date()
    }
    /// The first text body, cut at 1 MiB.
    pub fn text_body(&self) -> Option<String> {
        self.raw.text_body()
    }
    /// The first HTML body, cut at 1 MiB.
    pub fn html_body(&self) -> Option<String> {
        self.raw.html_body()
    }
    /// The leaves of the MIME tree, in order.
    pub fn parts(&self) -> Parts<'_> {
        Parts::of(&self.raw)
    }
    /// The leaf at that place.
    pub fn part(&self, index: u32) -> Option<Part> {
        self.raw.part(index).map(Part::from_raw)
    }
}

/// Properties: kept with the message until it leaves; names that begin with "shared." are seen by every sink.
impl Message {
    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<Vec<u8>> {
        self.raw.property(name)
    }
    /// Sets a property.
    pub fn set_property(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        Ok(self.raw.set_property(name, value.as_ref())?)
    }
    /// Removes a property.
    pub fn remove_property(&mut self, name: &str) -> Result<(), Error> {
        Ok(self.raw.remove_property(name)?)
    }
    /// The names of the properties that this sink sees.
    pub fn property_names(&self) -> Vec<String> {
        self.raw.property_names()
    }
}

/// Fate.
impl Message {
    /// Not to be delivered before that time.
    pub fn set_deliver_after(&mut self, at: Datetime) -> Result<(), Error> {
        Ok(self.raw.set_deliver_after(at)?)
    }
    /// When to tell the sender of a delay, and when to give up.
    pub fn set_expiry(&mut self, notify_delay: Datetime, give_up: Datetime) -> Result<(), Error> {
        Ok(self.raw.set_expiry(notify_delay, give_up)?)
    }
    /// A queued message with this key is dropped in favour of this one.
    pub fn set_supersede_key(&mut self, key: &str) -> Result<(), Error> {
        Ok(self.raw.set_supersede_key(key)?)
    }
    /// Moves these recipients (by [`Recipient::id`]) to a message of their own, with a copy of everything else.
    pub fn fork(&mut self, recipient_ids: &[u32]) -> Result<Message, Error> {
        Ok(Message::from_raw(self.raw.fork(recipient_ids)?))
    }
}

crate::glue::wraps!(Message: raw::MailMsg);
