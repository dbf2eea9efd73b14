//! The header block of a message, for reading and for changing.

use crate::raw::message as raw;
use crate::{Error, Header, Position};
use std::fmt;

/// The header block, for reading. Names are compared without regard to case.
#[derive(Clone, Copy)]
pub struct Headers<'m> {
    raw: &'m raw::MailMsg,
}

/// The header block, for changing; it can be read too.
///
/// A field that nobody touches leaves octet for octet as it came. A value with a bare CR, LF or NUL is
/// [`Error::Invalid`], as is a name that RFC 5322 §2.2 does not allow.
pub struct HeadersMut<'m> {
    raw: &'m raw::MailMsg,
}

impl<'m> Headers<'m> {
    pub(crate) fn of(raw: &'m raw::MailMsg) -> Self {
        Self { raw }
    }
    /// The first field of that name, unfolded, encoded words left as they are.
    pub fn get(&self, name: &str) -> Option<String> {
        self.raw.header(name)
    }
    /// Every field of that name, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.raw.headers_named(name)
    }
    /// Whether there is a field of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
    /// All fields, in order.
    pub fn iter(&self) -> std::vec::IntoIter<Header> {
        self.raw.headers().into_iter()
    }
    /// The addresses of a field such as "To", without display names.
    pub fn addresses(&self, name: &str) -> Vec<String> {
        self.raw.addresses(name)
    }
    /// The whole block as it will leave, octet for octet.
    pub fn raw(&self) -> Vec<u8> {
        self.raw.raw_header()
    }
}

impl IntoIterator for Headers<'_> {
    type Item = Header;
    type IntoIter = std::vec::IntoIter<Header>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'m> HeadersMut<'m> {
    pub(crate) fn of(raw: &'m raw::MailMsg) -> Self {
        Self { raw }
    }
    /// The block, for reading.
    pub fn as_headers(&self) -> Headers<'_> {
        Headers { raw: self.raw }
    }
    /// Adds a field after the others.
    pub fn append(&mut self, name: &str, value: &str) -> Result<(), Error> {
        Ok(self.raw.add_header(name, value, Position::Last)?)
    }
    /// Adds a field before the others.
    pub fn prepend(&mut self, name: &str, value: &str) -> Result<(), Error> {
        Ok(self.raw.add_header(name, value, Position::First)?)
    }
    /// Adds a field before the one at that index of [`Headers::iter`].
    pub fn insert(&mut self, index: u32, name: &str, value: &str) -> Result<(), Error> {
        Ok(self.raw.insert_header(index, name, value)?)
    }
    /// Replaces the first field of that name in place, or adds it; drops further ones.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        Ok(self.raw.set_header(name, value)?)
    }
    /// Replaces the value of the field at that index.
    pub fn edit(&mut self, index: u32, value: &str) -> Result<(), Error> {
        Ok(self.raw.edit_header_at(index, value)?)
    }
    /// Removes every field of that name and says how many there were.
    pub fn remove(&mut self, name: &str) -> Result<u32, Error> {
        Ok(self.raw.remove_header(name)?)
    }
    /// Removes the field at that index.
    pub fn remove_at(&mut self, index: u32) -> Result<(), Error> {
        Ok(self.raw.remove_header_at(index)?)
    }
    /// Replaces the whole block.
    pub fn replace_block(&mut self, octets: &[u8]) -> Result<(), Error> {
        Ok(self.raw.replace_header_block(octets)?)
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers")
    }
}

impl fmt::Debug for HeadersMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeadersMut")
    }
}
