//! One recipient of a message.

use crate::raw::message as raw;
use crate::{Error, Later, Reply};

/// One recipient of a message. Reading needs the grant `read-envelope`, changing `edit-envelope`.
#[derive(Debug)]
pub struct Recipient {
    raw: raw::Recipient,
}

impl Recipient {
    /// Stable over removal, fork and retry.
    pub fn id(&self) -> u32 {
        self.raw.id()
    }
    /// The address, without angle brackets.
    pub fn address(&self) -> String {
        self.raw.address()
    }
    /// Replaces the address.
    pub fn set_address(&mut self, address: &str) -> Result<(), Error> {
        Ok(self.raw.set_address(address)?)
    }
    /// ORCPT of RFC 3461, else the address as the client gave it.
    pub fn original_address(&self) -> String {
        self.raw.original_address()
    }
    /// The domain of the address.
    pub fn domain(&self) -> String {
        self.raw.domain()
    }
    /// NOTIFY of RFC 3461: "NEVER", or any of "SUCCESS", "FAILURE", "DELAY".
    pub fn notify(&self) -> Vec<String> {
        self.raw.notify()
    }
    /// Replaces NOTIFY.
    pub fn set_notify(&mut self, notify: &[&str]) -> Result<(), Error> {
        let notify: Vec<String> = notify.iter().map(|&word| word.to_owned()).collect();
        Ok(self.raw.set_notify(&notify)?)
    }
    /// Sends this recipient as if it were at that domain.
    pub fn set_route_domain(&mut self, domain: &str) -> Result<(), Error> {
        Ok(self.raw.set_route_domain(domain)?)
    }
    /// Takes the recipient off the list; nobody is notified.
    pub fn remove(self) -> Result<(), Error> {
        Ok(self.raw.remove()?)
    }
    /// Fails this recipient alone; the reply goes into the notification.
    pub fn fail(&mut self, why: &Reply) -> Result<(), Error> {
        Ok(self.raw.fail(why)?)
    }
    /// Defers this recipient alone.
    pub fn defer(&mut self, until: &Later) -> Result<(), Error> {
        Ok(self.raw.defer(until)?)
    }
    /// Holds this recipient alone until an operator releases it.
    pub fn hold(&mut self, why: &str) -> Result<(), Error> {
        Ok(self.raw.hold(why)?)
    }
    /// "pending", "delivered", "deferred", "failed", "expanded", "held"; others may come.
    pub fn outcome(&self) -> String {
        self.raw.outcome()
    }
    /// The last reply about this recipient.
    pub fn last_reply(&self) -> Option<Reply> {
        self.raw.last_reply()
    }
    /// A property that this sink gave the recipient; names that begin with "shared." are seen by every sink.
    pub fn property(&self, name: &str) -> Option<Vec<u8>> {
        self.raw.property(name)
    }
    /// Sets a property.
    pub fn set_property(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        Ok(self.raw.set_property(name, value.as_ref())?)
    }
}

crate::glue::wraps!(Recipient: raw::Recipient);
