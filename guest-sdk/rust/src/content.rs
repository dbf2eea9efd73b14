//! Content: readers, MIME parts, and the writer of a new body.

use crate::raw::message as raw;
use crate::{Error, Message};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

/// Octets that go over the boundary in one call; the server never gives more at once.
const CHUNK_OCTETS: u32 = 64 * 1024;

#[derive(Debug, Clone, Copy)]
enum Source<'m> {
    Message(&'m raw::MailMsg),
    Body(&'m raw::MailMsg),
    Part(&'m raw::Part),
}

/// Reads content in chunks of 64 KiB, so that a message of any size fits a small memory.
///
/// It is buffered: small reads and [`BufRead::lines`] cost no call each.
#[derive(Debug)]
pub struct Reader<'m> {
    source: Source<'m>,
    /// Where the chunk begins.
    start: u64,
    chunk: Vec<u8>,
    /// How much of the chunk has been given out.
    taken: usize,
}

impl<'m> Reader<'m> {
    fn of(source: Source<'m>) -> Self {
        Self { source, start: 0, chunk: Vec::new(), taken: 0 }
    }
    pub(crate) fn of_message(raw: &'m raw::MailMsg) -> Self {
        Self::of(Source::Message(raw))
    }
    pub(crate) fn of_body(raw: &'m raw::MailMsg) -> Self {
        Self::of(Source::Body(raw))
    }

    /// Octets in all, read or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.source {
            Source::Message(raw) => raw.size(),
            Source::Body(raw) => raw.body_size(),
            Source::Part(raw) => raw.size(),
        }
    }

    fn position(&self) -> u64 {
        self.start.saturating_add(self.taken as u64)
    }

    fn fetch(&self, offset: u64) -> Result<Vec<u8>, Error> {
        Ok(match self.source {
            Source::Message(raw) => raw.read(offset, CHUNK_OCTETS)?,
            Source::Body(raw) => raw.read_body(offset, CHUNK_OCTETS)?,
            Source::Part(raw) => raw.read(offset, CHUNK_OCTETS)?,
        })
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut ready = self.fill_buf()?;
        let count = ready.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken >= self.chunk.len() {
            let position = self.position();
            self.chunk = self.fetch(position)?;
            self.start = position;
            self.taken = 0;
        }
        Ok(self.chunk.get(self.taken..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.taken = self.chunk.len().min(self.taken.saturating_add(count));
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.position().checked_add_signed(by),
        };
        let target = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the beginning"))?;
        self.start = target;
        self.chunk.clear();
        self.taken = 0;
        Ok(target)
    }
}

/// A leaf of the MIME tree, decoded by the server.
#[derive(Debug)]
pub struct Part {
    raw: raw::Part,
}

impl Part {
    /// Place in the tree, "1.2" say.
    pub fn path(&self) -> String {
        self.raw.path()
    }
    /// Type and subtype, in lower case.
    pub fn content_type(&self) -> String {
        self.raw.content_type()
    }
    /// The first field of that name in the part's own header.
    pub fn header(&self, name: &str) -> Option<String> {
        self.raw.header(name)
    }
    /// The file name that it is sent under, decoded. It is whatever the sender wrote.
    pub fn file_name(&self) -> Option<String> {
        self.raw.file_name()
    }
    /// Whether it is an attachment and not a body.
    pub fn is_attachment(&self) -> bool {
        self.raw.is_attachment()
    }
    /// Octets after decoding.
    pub fn size(&self) -> u64 {
        self.raw.size()
    }
    /// Reads the decoded content.
    pub fn reader(&self) -> Reader<'_> {
        Reader::of(Source::Part(&self.raw))
    }
    /// The text of a text part, cut at 1 MiB.
    pub fn text(&self) -> Option<String> {
        self.raw.text()
    }
    /// Offset and length in the raw message, boundary lines excluded.
    pub fn raw_range(&self) -> (u64, u64) {
        self.raw.raw_range()
    }
}

/// The leaves of the MIME tree, in order. Made by [`Message::parts`].
#[derive(Debug)]
pub struct Parts<'m> {
    raw: &'m raw::MailMsg,
    next: u32,
    count: u32,
}

impl<'m> Parts<'m> {
    pub(crate) fn of(raw: &'m raw::MailMsg) -> Self {
        Self { raw, next: 0, count: raw.part_count() }
    }
}

impl Iterator for Parts<'_> {
    type Item = Part;
    fn next(&mut self) -> Option<Part> {
        if self.next >= self.count {
            return None;
        }
        let part = self.raw.part(self.next);
        self.next += 1;
        part.map(Part::from_raw)
    }
}

/// A new body under construction, which the server keeps. It vanishes with the call unless it is used.
#[derive(Debug)]
pub struct BodyWriter {
    pub(crate) raw: raw::BodyWriter,
}

impl Write for BodyWriter {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let first = octets.chunks(CHUNK_OCTETS as usize).next().unwrap_or_default();
        self.raw.write(first).map_err(Error::from)?;
        Ok(first.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A message in the making, for [`NewMessage::submit`]. Grant `submit`.
#[derive(Debug)]
pub struct NewMessage {
    raw: raw::NewMessage,
}

impl NewMessage {
    /// An empty message for this envelope; an empty sender is the null path.
    pub fn new(sender: &str, recipients: &[&str]) -> Result<Self, Error> {
        Ok(Self { raw: raw::NewMessage::create(sender, &owned(recipients))? })
    }
    /// Header and body of a present message, for this envelope.
    pub fn copy_of(original: &Message, sender: &str, recipients: &[&str]) -> Result<Self, Error> {
        Ok(Self { raw: raw::NewMessage::copy_of(&original.raw, sender, &owned(recipients))? })
    }
    /// Adds a header field.
    pub fn header(&mut self, name: &str, value: &str) -> Result<&mut Self, Error> {
        self.raw.add_header(name, value)?;
        Ok(self)
    }
    /// Adds to the body.
    pub fn body(&mut self, octets: impl AsRef<[u8]>) -> Result<&mut Self, Error> {
        for chunk in octets.as_ref().chunks(CHUNK_OCTETS as usize) {
            self.raw.write_body(chunk)?;
        }
        Ok(self)
    }
    /// Puts it into the queue when the chain of this event is written, and returns its id.
    pub fn submit(self) -> Result<String, Error> {
        Ok(raw::submit(self.raw)?)
    }
}

fn owned(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|&address| address.to_owned()).collect()
}

crate::glue::wraps!(Part: raw::Part, BodyWriter: raw::BodyWriter);
