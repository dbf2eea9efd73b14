//! The parsed view of a message: parts, texts, fields with a meaning.

use basin_core::event::Grant;
use basin_core::mail::{Field, HeaderBlock};
use mail_parser::HeaderValue;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;
use wasmtime::component::Resource;

use super::decode::decode;
use super::mime::{self, Entry};
use super::{Part, Refused, field};
use crate::bindings::basin::sink::message::HostPart;
use crate::ended::Ended;
use crate::state::State;
use crate::text;

/// Longest text that is shown at once, in octets; `read` has the rest.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Longest chunk of one read, in octets.
pub(super) const CHUNK_BYTES_MAX: u32 = 64 * 1024;

/// The parts of the message, found on first use, and the content of the part that was decoded last.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    found: Option<Vec<Entry>>,
    decoded: Option<(usize, Vec<u8>)>,
    /// The message that they are of.
    message: u32,
}

impl Parts {
    /// Forgets them: the content has changed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl HostPart for State {
    fn path(&mut self, part: Resource<Part>) -> wasmtime::Result<String> {
        let path = self.entry(&part)?.path.clone();
        self.give(path)
    }

    fn content_type(&mut self, part: Resource<Part>) -> wasmtime::Result<String> {
        let content_type = self.entry(&part)?.content_type.clone();
        self.give(content_type)
    }

    fn header(&mut self, part: Resource<Part>, name: String) -> wasmtime::Result<Option<String>> {
        self.taken(&name);
        let Some(raw) = self.entry(&part)?.header.clone() else {
            // The header of the only part is the header of the message.
            self.read(Grant::ReadHeaders, "the header")?;
            let value = self.message()?.header.first(&name).map(Field::value);
            return self.give(value);
        };
        self.tariff.scanned(raw.len() as u64);
        let block = HeaderBlock::parse(&raw).map_err(|why| Ended::quota(why.to_string()))?;
        self.give(block.first(&name).map(Field::value))
    }

    fn file_name(&mut self, part: Resource<Part>) -> wasmtime::Result<Option<String>> {
        let name = self.entry(&part)?.file_name.clone();
        self.give(name)
    }

    fn is_attachment(&mut self, part: Resource<Part>) -> wasmtime::Result<bool> {
        Ok(self.entry(&part)?.is_attachment)
    }

    fn size(&mut self, part: Resource<Part>) -> wasmtime::Result<u64> {
        Ok(self.content(&part)?.len() as u64)
    }

    fn read(&mut self, part: Resource<Part>, offset: u64, len: u32) -> Result<Vec<u8>, Refused> {
        let content = self.content(&part)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let len = len.min(CHUNK_BYTES_MAX) as usize;
        let rest = content.get(start..).unwrap_or_default();
        let chunk = rest.get(..len.min(rest.len())).unwrap_or_default().to_vec();
        Ok(self.give(chunk)?)
    }

    fn text(&mut self, part: Resource<Part>) -> wasmtime::Result<Option<String>> {
        if !self.entry(&part)?.is_text() {
            return Ok(None);
        }
        let number = self.about_part(&part)?;
        let text = self.text_of(number)?;
        self.give(Some(text))
    }

    fn raw_range(&mut self, part: Resource<Part>) -> wasmtime::Result<(u64, u64)> {
        let (start, len) = {
            let entry = self.entry(&part)?;
            (entry.start as u64, entry.len as u64)
        };
        let message = self.message()?;
        Ok(((message.header.len() + message.separator().len()) as u64 + start, len))
    }

    fn drop(&mut self, _: Resource<Part>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl State {
    /// Number of parts.
    pub(super) fn count_parts(&mut self) -> wasmtime::Result<u32> {
        Ok(u32::try_from(self.entries()?.len()).unwrap_or(u32::MAX))
    }

    /// The first text part of that type that is no attachment, decoded.
    pub(super) fn first_text(&mut self, content_type: &str) -> wasmtime::Result<Option<String>> {
        let is_it = |entry: &Entry| entry.content_type == content_type && !entry.is_attachment;
        match self.entries()?.iter().position(is_it).and_then(|index| u32::try_from(index).ok()) {
            Some(index) => {
                let text = self.text_of(index)?;
                self.give(Some(text))
            }
            None => Ok(None),
        }
    }

    /// The value of a field through a parser of its grammar; `None` where there is no such field.
    pub(super) fn parsed_field<T>(
        &mut self,
        name: &str,
        read: impl Fn(&mut MessageStream<'_>) -> Option<T>,
    ) -> wasmtime::Result<Option<T>> {
        self.read(Grant::ReadHeaders, "the header")?;
        let Some(value) = self.message()?.header.first(name).map(Field::value) else { return Ok(None) };
        self.tariff.scanned(value.len() as u64);
        let value = field::line(&value);
        Ok(read(&mut MessageStream::new(value.as_bytes())))
    }

    /// The addresses of every field of that name, decoded, without display names.
    pub(super) fn addresses_of(&mut self, name: &str) -> wasmtime::Result<Vec<String>> {
        self.read(Grant::ReadHeaders, "the header")?;
        let values: Vec<String> = self.message()?.header.all(name).map(Field::value).collect();
        let mut found = Vec::new();
        for value in values {
            self.tariff.scanned(value.len() as u64);
            let value = field::line(&value);
            if let HeaderValue::Address(list) = MessageStream::new(value.as_bytes()).parse_address() {
                found.extend(list.iter().filter_map(|one| one.address.as_deref().map(str::to_owned)));
            }
        }
        Ok(found)
    }

    fn entries(&mut self) -> wasmtime::Result<&[Entry]> {
        self.read(Grant::ReadBody, "the parts of the message")?;
        if self.parts.message != self.message_number {
            self.parts = Parts { message: self.message_number, ..Parts::default() };
        }
        if self.parts.found.is_none() {
            let (header, body) = {
                let message = self.message()?;
                (message.header.clone(), message.body.clone())
            };
            self.tariff.scanned(body.len());
            let octets = read_all(&body, 0, body.len())?;
            let found = mime::parts(&header, &octets)
                .map_err(|why| Ended::quota(format!("{why}; its parts are not shown to sinks")))?;
            self.parts.found = Some(found);
        }
        Ok(self.parts.found.as_deref().unwrap_or_default())
    }

    fn entry(&mut self, part: &Resource<Part>) -> wasmtime::Result<&Entry> {
        let number = self.about_part(part)?;
        self.entry_at(number)
    }

    // An edit of the content in the same call may leave fewer parts than a handle was made for.
    fn entry_at(&mut self, number: u32) -> wasmtime::Result<&Entry> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let entry = self.entries()?.get(index);
        entry.ok_or_else(|| Ended::stale("a part of the message that it had replaced").into())
    }

    fn content(&mut self, part: &Resource<Part>) -> wasmtime::Result<&[u8]> {
        let number = self.about_part(part)?;
        self.content_at(number)
    }

    fn content_at(&mut self, number: u32) -> wasmtime::Result<&[u8]> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let (encoding, start, len, text) = {
            let entry = self.entry_at(number)?;
            let text = entry.is_text().then(|| entry.charset.clone().unwrap_or_default());
            (entry.encoding, entry.start as u64, entry.len as u64, text)
        };
        if self.parts.decoded.as_ref().is_none_or(|(known, _)| *known != index) {
            self.tariff.scanned(len);
            let octets = read_all(&self.message()?.body, start, len)?;
            let content = decode(encoding, octets);
            let content = match text {
                Some(charset) => utf8(content, &charset),
                None => content,
            };
            self.parts.decoded = Some((index, content));
        }
        Ok(self.parts.decoded.as_ref().map(|(_, content)| content.as_slice()).unwrap_or_default())
    }

    fn text_of(&mut self, number: u32) -> wasmtime::Result<String> {
        let content = self.content_at(number)?;
        let start = content.get(..content.len().min(TEXT_BYTES_MAX)).unwrap_or_default();
        // The cut may go through a character, which then is none.
        Ok(text::cut(String::from_utf8_lossy(start).into_owned(), TEXT_BYTES_MAX))
    }
}

// Text in UTF-8, whatever it came in; what cannot be read comes as U+FFFD.
fn utf8(content: Vec<u8>, charset: &str) -> Vec<u8> {
    let is_utf8 = charset.is_empty() || ["utf-8", "us-ascii"].iter().any(|known| known.eq_ignore_ascii_case(charset));
    match charset_decoder(charset.as_bytes()).filter(|_| !is_utf8) {
        Some(decode) => decode(&content).into_bytes(),
        None => match String::from_utf8(content) {
            Ok(text) => text.into_bytes(),
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned().into_bytes(),
        },
    }
}

/// A stretch of the body; the content is bounded by the listener's size limit.
fn read_all(body: &basin_core::mail::Body, start: u64, len: u64) -> wasmtime::Result<Vec<u8>> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let octets = body.read(start, len).map_err(|why| Ended::host(format!("cannot read the body: {why}")))?;
    Ok(octets)
}
