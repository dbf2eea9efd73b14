//! The parts of a message, found in one pass over its body.
//!
//! A client chooses how deep and how many; every count has a limit, and a message that passes one ends the call
//! of the sink that asked for its parts. Hiding the rest would let a message pass a scanner by being strange.

use basin_core::mail::{Field, HeaderBlock};
use bytes::Bytes;
use mail_parser::parsers::MessageStream;
use thiserror::Error;

use super::decode::Encoding;
use super::field::{line, line_with_parameters};

/// Deepest nesting of multiparts and messages.
const DEPTH_MAX: usize = 32;

/// Most parts of one message.
const PARTS_MAX: usize = 10_000;

/// Largest header of a part, in octets.
const PART_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Why a message has no view of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum MimeError {
    #[error("the message nests parts more than {DEPTH_MAX} deep")]
    Depth,
    #[error("the message has more than {PARTS_MAX} parts")]
    Parts,
    #[error("a part of the message has a header of more than {PART_HEADER_BYTES_MAX} octets")]
    Header,
    #[error("a part of the message has a Content-Type or Content-Disposition with far too many parameters")]
    Parameters,
}

/// One leaf of the tree, or a message within the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    /// In lower case, without parameters.
    pub(super) content_type: String,
    pub(super) charset: Option<String>,
    pub(super) file_name: Option<String>,
    pub(super) is_attachment: bool,
    pub(super) encoding: Encoding,
    /// Header of the part; `None` where it is the header of the message itself.
    pub(super) header: Option<Bytes>,
    /// Where its content begins in the body, in octets.
    pub(super) start: usize,
    /// Octets of the content as it is written, without the line end before the boundary.
    pub(super) len: usize,
}

impl Entry {
    /// Whether it is a text that can be shown.
    pub(super) fn is_text(&self) -> bool {
        self.content_type.starts_with("text/")
    }
}

/// Finds the parts of a message.
pub(super) fn parts(header: &HeaderBlock, body: &[u8]) -> Result<Vec<Entry>, MimeError> {
    let mut walker = Walker { body, entries: Vec::new(), levels: Vec::new(), open: Vec::new(), reading: None };
    walker.begin(header, None, 0, Place { prefix: String::new(), number: 1, is_root: true, is_digest: false })?;
    let mut at = 0;
    while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
        let len = rest.iter().position(|&octet| octet == b'\n').map_or(rest.len(), |end| end + 1);
        walker.line(rest.get(..len).unwrap_or_default(), at)?;
        at += len;
    }
    // A message that ends within a part's header or without its last boundary is read as far as it goes.
    if let Some((start, place)) = walker.reading.take() {
        walker.header_ends(start, body.len(), body.len(), place)?;
    }
    walker.close(0, body.len());
    walker.leave(0, body.len())?;
    Ok(walker.entries)
}

enum Level {
    Multipart { boundary: Vec<u8>, prefix: String, start: usize, count: u32, is_digest: bool },
    Message,
}

// Where a header belongs in the tree, numbered as IMAP does (RFC 3501 §6.4.5).
#[derive(Debug, Clone)]
struct Place {
    prefix: String,
    number: u32,
    is_root: bool,
    is_digest: bool,
}

impl Place {
    fn path(&self) -> String {
        if self.prefix.is_empty() { self.number.to_string() } else { format!("{}.{}", self.prefix, self.number) }
    }

    fn prefix_of_children(&self) -> String {
        if self.is_root { self.prefix.clone() } else { self.path() }
    }
}

struct Walker<'a> {
    body: &'a [u8],
    entries: Vec<Entry>,
    levels: Vec<Level>,
    // Entries whose end is not found yet, each with the number of levels around it.
    open: Vec<(usize, usize)>,
    // Start of the header that is being read.
    reading: Option<(usize, Place)>,
}

impl Walker<'_> {
    fn line(&mut self, line: &[u8], at: usize) -> Result<(), MimeError> {
        if let Some((level, is_last)) = self.boundary(line) {
            return self.boundary_at(level, is_last, at, line.len());
        }
        let Some((start, place)) = self.reading.take() else { return Ok(()) };
        if line.trim_ascii_end().is_empty() {
            return self.header_ends(start, at, at + line.len(), place);
        }
        if at + line.len() - start > PART_HEADER_BYTES_MAX {
            return Err(MimeError::Header);
        }
        self.reading = Some((start, place));
        Ok(())
    }

    // RFC 2046 §5.1.1 compares a boundary with the beginning of a line; the innermost one wins.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        let candidate = line.strip_prefix(b"--")?;
        self.levels.iter().enumerate().rev().find_map(|(index, level)| match level {
            Level::Multipart { boundary, .. } => {
                candidate.strip_prefix(boundary.as_slice()).map(|rest| (index, rest.starts_with(b"--")))
            }
            Level::Message => None,
        })
    }

    fn boundary_at(&mut self, level: usize, is_last: bool, at: usize, len: usize) -> Result<(), MimeError> {
        // The line end before a boundary belongs to the boundary.
        let before = self.body.get(..at).unwrap_or_default();
        let end = before.strip_suffix(b"\r\n").or_else(|| before.strip_suffix(b"\n")).unwrap_or(before).len();
        if let Some((start, place)) = self.reading.take() {
            self.header_ends(start, at, at, place)?;
            self.reading = None;
        }
        self.close(level + 1, end);
        if is_last {
            return self.leave(level, end);
        }
        self.leave(level + 1, end)?;
        if let Some(Level::Multipart { prefix, count, is_digest, .. }) = self.levels.last_mut() {
            *count += 1;
            let place = Place { prefix: prefix.clone(), number: *count, is_root: false, is_digest: *is_digest };
            self.reading = Some((at + len, place));
        }
        Ok(())
    }

    fn header_ends(&mut self, start: usize, end: usize, body_start: usize, place: Place) -> Result<(), MimeError> {
        let raw = Bytes::copy_from_slice(self.body.get(start..end).unwrap_or_default());
        let header = HeaderBlock::parse(&raw).map_err(|_| MimeError::Header)?;
        self.begin(&header, Some(raw), body_start, place)
    }

    fn begin(&mut self, header: &HeaderBlock, raw: Option<Bytes>, start: usize, place: Place) -> Result<(), MimeError> {
        let described = Described::of(header, place.is_digest)?;
        if let Some(boundary) = described.boundary {
            let prefix = place.prefix_of_children();
            let is_digest = described.content_type == "multipart/digest";
            return self.enter(Level::Multipart { boundary, prefix, start, count: 0, is_digest });
        }
        if self.entries.len() >= PARTS_MAX {
            return Err(MimeError::Parts);
        }
        let is_message = described.content_type == "message/rfc822" || described.content_type == "message/global";
        let path = place.path();
        self.open.push((self.entries.len(), self.levels.len()));
        self.entries.push(Entry {
            path: path.clone(),
            content_type: described.content_type,
            charset: described.charset,
            file_name: described.file_name,
            is_attachment: described.is_attachment,
            encoding: described.encoding,
            header: raw,
            start,
            len: 0,
        });
        if is_message && described.encoding == Encoding::Identity {
            self.enter(Level::Message)?;
            self.reading = Some((start, Place { prefix: path, number: 1, is_root: true, is_digest: false }));
        }
        Ok(())
    }

    fn enter(&mut self, level: Level) -> Result<(), MimeError> {
        if self.levels.len() >= DEPTH_MAX {
            return Err(MimeError::Depth);
        }
        self.levels.push(level);
        Ok(())
    }

    // Leaves levels. A multipart that had no boundary has its text where its parts would be; mail programs show that,
    // so it is a part for scanners too.
    fn leave(&mut self, levels: usize, end: usize) -> Result<(), MimeError> {
        let innermost = self.levels.get(levels..).unwrap_or_default().last();
        if let Some(Level::Multipart { prefix, start, count: 0, .. }) = innermost {
            if self.entries.len() >= PARTS_MAX {
                return Err(MimeError::Parts);
            }
            let place = Place { prefix: prefix.clone(), number: 1, is_root: false, is_digest: false };
            self.entries.push(Entry {
                path: place.path(),
                content_type: "text/plain".to_owned(),
                charset: None,
                file_name: None,
                is_attachment: false,
                encoding: Encoding::Identity,
                header: Some(Bytes::new()),
                start: *start,
                len: end.saturating_sub(*start),
            });
        }
        self.levels.truncate(levels);
        Ok(())
    }

    // Ends every entry that has at least so many levels around it.
    fn close(&mut self, levels: usize, end: usize) {
        while let Some((index, around)) = self.open.last().copied().filter(|(_, around)| *around >= levels) {
            debug_assert!(around >= levels);
            if let Some(entry) = self.entries.get_mut(index) {
                entry.len = end.saturating_sub(entry.start);
            }
            self.open.pop();
        }
    }
}

// What the header of a part says about it.
struct Described {
    content_type: String,
    charset: Option<String>,
    file_name: Option<String>,
    is_attachment: bool,
    encoding: Encoding,
    boundary: Option<Vec<u8>>,
}

impl Described {
    fn of(header: &HeaderBlock, is_digest: bool) -> Result<Self, MimeError> {
        let kind = header.first("Content-Type").map(parameters).transpose()?;
        let disposition = header.first("Content-Disposition").map(parameters).transpose()?;
        let content_type = kind.as_ref().map(|kind| kind.word.clone()).filter(|word| word.contains('/'));
        let content_type =
            content_type.unwrap_or_else(|| if is_digest { "message/rfc822" } else { "text/plain" }.to_owned());
        let file_name = disposition.as_ref().and_then(|disposition| disposition.value("filename"));
        let file_name = file_name.or_else(|| kind.as_ref()?.value("name"));
        let is_inline = disposition.as_ref().is_some_and(|disposition| disposition.word == "inline");
        let is_declared = disposition.as_ref().is_some_and(|disposition| disposition.word == "attachment");
        let is_multipart = content_type.starts_with("multipart/");
        Ok(Self {
            charset: kind.as_ref().and_then(|kind| kind.value("charset")),
            boundary: kind
                .as_ref()
                .and_then(|kind| kind.value("boundary"))
                .filter(|boundary| is_multipart && !boundary.is_empty())
                .map(String::into_bytes),
            is_attachment: is_declared || !is_inline && (file_name.is_some() || !content_type.starts_with("text/")),
            encoding: header.first("Content-Transfer-Encoding").map_or(Encoding::Identity, Encoding::of),
            file_name,
            content_type,
        })
    }
}

struct Parameters {
    word: String,
    values: Vec<(String, String)>,
}

impl Parameters {
    fn value(&self, name: &str) -> Option<String> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

// `word; name=value` with comments, quoting and RFC 2231 out of the way; RFC 2047 words in values are decoded
// because real senders write them there.
fn parameters(field: &Field) -> Result<Parameters, MimeError> {
    let value = line_with_parameters(&field.value()).ok_or(MimeError::Parameters)?;
    let parsed = MessageStream::new(value.as_bytes()).parse_content_type();
    let Some(parsed) = parsed.as_content_type() else {
        return Ok(Parameters { word: String::new(), values: Vec::new() });
    };
    let subtype = parsed.subtype().map(|subtype| format!("/{subtype}")).unwrap_or_default();
    let attributes = parsed.attributes().unwrap_or_default();
    Ok(Parameters {
        word: format!("{}{subtype}", parsed.ctype()).to_ascii_lowercase(),
        values: attributes
            .iter()
            .map(|attribute| (attribute.name.to_ascii_lowercase(), decoded_words(&attribute.value)))
            .collect(),
    })
}

/// Decodes RFC 2047 words in a text.
pub(super) fn decoded_words(text: &str) -> String {
    if !text.contains("=?") {
        return text.to_owned();
    }
    let line = line(text);
    let decoded = MessageStream::new(line.as_bytes()).parse_unstructured();
    decoded.as_text().unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<(String, String, String)>, MimeError> {
        let (header, body) = text.split_once("\n\n").expect("two halves");
        let header = format!("{header}\n").replace('\n', "\r\n");
        let body = body.replace('\n', "\r\n");
        let block = HeaderBlock::parse(&Bytes::from(header)).expect("small");
        let shown = |entry: Entry| {
            let content = body.get(entry.start..entry.start + entry.len).expect("inside").replace("\r\n", "|");
            (entry.path, entry.content_type, content)
        };
        parts(&block, body.as_bytes()).map(|entries| entries.into_iter().map(shown).collect())
    }

    fn row(path: &str, kind: &str, content: &str) -> (String, String, String) {
        (path.to_owned(), kind.to_owned(), content.to_owned())
    }

    #[test]
    fn a_plain_message_is_one_part() {
        assert_eq!(of("Subject: a\n\nhello\nworld\n"), Ok(vec![row("1", "text/plain", "hello|world|")]));
    }

    #[test]
    fn nested_multiparts_are_numbered_as_imap_does() {
        let text = "Content-Type: multipart/mixed; boundary=\"A\"\n\npreamble\n--A\nContent-Type: \
                    multipart/alternative; boundary=AB\n\n--AB\n\nplain\n--AB\nContent-Type: \
                    text/html\n\n<p>\n--AB--\nepilogue\n--A\nContent-Type: image/png\n\nPNG\n--A--\n--A\n\nafter\n";
        let expected =
            [row("1.1", "text/plain", "plain"), row("1.2", "text/html", "<p>"), row("2", "image/png", "PNG")];
        assert_eq!(of(text), Ok(expected.to_vec()));
    }

    #[test]
    fn a_message_within_the_message_is_listed_with_its_parts() {
        let text = "Content-Type: multipart/mixed; boundary=A\n\n--A\nContent-Type: message/rfc822\n\nSubject: \
                    inner\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: \
                    application/x-evil\n\nx\n--B--\n--A\n\nlast\n--A--\n";
        let parts = of(text).expect("small");
        let paths: Vec<_> = parts.iter().map(|(path, kind, _)| format!("{path} {kind}")).collect();
        assert_eq!(paths, ["1 message/rfc822", "1.1 application/x-evil", "2 text/plain"]);
    }

    #[test]
    fn a_multipart_without_any_boundary_hides_nothing() {
        let text = "Content-Type: multipart/mixed; boundary=A\n\nevil\n";
        assert_eq!(of(text), Ok(vec![row("1", "text/plain", "evil|")]));
        let text = "Content-Type: multipart/mixed; boundary=A\n\nevil\n--A--\n";
        assert_eq!(of(text), Ok(vec![row("1", "text/plain", "evil")]));
        let text = "Content-Type: multipart/mixed; boundary=A\n\n--A\nContent-Type: multipart/mixed; \
                    boundary=B\n\nevil\n--A\n\nlast\n--A--\n";
        assert_eq!(of(text), Ok(vec![row("1.1", "text/plain", "evil"), row("2", "text/plain", "last")]));
    }

    #[test]
    fn a_message_without_its_last_boundary_is_read_to_the_end() {
        let text = "Content-Type: multipart/mixed; boundary=A\n\n--A\nContent-Type: text/x\n\nopen\n";
        assert_eq!(of(text), Ok(vec![row("1", "text/x", "open|")]));
        let text = "Content-Type: multipart/mixed; boundary=A\n\n--A\nContent-Type: text/x\n";
        assert_eq!(of(text), Ok(vec![row("1", "text/x", "")]));
    }

    #[test]
    fn nesting_parts_and_headers_are_bounded() {
        let nested = "Content-Type: message/rfc822\n\n".repeat(100);
        assert_eq!(of(&format!("X: y\n{nested}")), Err(MimeError::Depth));
        let many = "--A\n\n".repeat(PARTS_MAX + 1);
        assert_eq!(of(&format!("Content-Type: multipart/mixed; boundary=A\n\n{many}")), Err(MimeError::Parts));
        let crowd = "; a=b".repeat(1_000);
        assert_eq!(of(&format!("Content-Type: text/plain{crowd}\n\nx")), Err(MimeError::Parameters));
        let long = "X: y\n".repeat(PART_HEADER_BYTES_MAX);
        assert_eq!(of(&format!("Content-Type: multipart/mixed; boundary=A\n\n--A\n{long}")), Err(MimeError::Header));
    }

    #[test]
    fn file_names_are_found_where_senders_write_them() {
        let name = |header: &'static str| {
            let block = HeaderBlock::parse(&Bytes::from_static(header.as_bytes())).expect("small");
            parts(&block, b"").expect("small").remove(0).file_name
        };
        assert_eq!(name("Content-Disposition: attachment; filename=\"a b.exe\"\r\n").as_deref(), Some("a b.exe"));
        assert_eq!(name("Content-Type: x/y; NAME=a.exe\r\n").as_deref(), Some("a.exe"));
        assert_eq!(
            name("Content-Disposition: attachment; filename*=utf-8''%e2%82%ac.exe\r\n").as_deref(),
            Some("€.exe")
        );
        assert_eq!(
            name("Content-Disposition: attachment; filename=\"=?utf-8?q?=E2=82=AC.exe?=\"\r\n").as_deref(),
            Some("€.exe")
        );
    }
}
