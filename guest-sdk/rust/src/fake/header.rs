//! The header block: fields as they came, and the rules for new ones.

use super::world::MessageState;
use crate::bindings::basin::sink::types::{Error, Header};

impl MessageState {
    /// Splits a message into its fields and its body; line ends may be LF, as in a test's text.
    pub(crate) fn set_content(&mut self, eml: &[u8]) {
        let mut rest = eml;
        self.fields.clear();
        while !rest.is_empty() {
            let (line, after) = split_line(rest);
            if line.is_empty() {
                rest = after;
                break;
            }
            let mut field = line.to_vec();
            field.extend_from_slice(b"\r\n");
            match self.fields.last_mut() {
                Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => last.extend_from_slice(&field),
                _ => self.fields.push(field),
            }
            rest = after;
        }
        self.body = with_crlf(rest);
    }

    pub(crate) fn header_block(&self) -> Vec<u8> {
        self.fields.concat()
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        let mut content = self.header_block();
        content.extend_from_slice(b"\r\n");
        content.extend_from_slice(&self.body);
        content
    }

    pub(crate) fn headers(&self) -> Vec<Header> {
        self.fields.iter().map(|field| parse(field)).collect()
    }

    pub(crate) fn headers_named(&self, name: &str) -> Vec<String> {
        self.headers().into_iter().filter(|header| header.is(name)).map(|header| header.value).collect()
    }

    pub(crate) fn insert_field(&mut self, index: usize, name: &str, value: &str) -> Result<(), Error> {
        let field = make(name, value)?;
        if index > self.fields.len() {
            return Err(Error::NotFound);
        }
        self.fields.insert(index, field);
        Ok(())
    }

    pub(crate) fn set_field(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let field = make(name, value)?;
        let first = self.headers().iter().position(|header| header.is(name));
        self.fields.retain({
            let mut index = 0;
            move |field| {
                index += 1;
                Some(index - 1) == first || !parse(field).is(name)
            }
        });
        match first.and_then(|index| self.fields.get_mut(index)) {
            Some(place) => *place = field,
            None => self.fields.push(field),
        }
        Ok(())
    }

    pub(crate) fn edit_field(&mut self, index: usize, value: &str) -> Result<(), Error> {
        let place = self.fields.get_mut(index).ok_or(Error::NotFound)?;
        *place = make(&parse(place).name, value)?;
        Ok(())
    }
}

fn split_line(octets: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match octets.iter().position(|&octet| octet == b'\n') {
        Some(end) => octets.split_at(end + 1),
        None => (octets, Default::default()),
    };
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    for &octet in octets {
        if octet == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(octet);
    }
    out
}

/// A field unfolded (RFC 5322 §2.2.3), octets that are not UTF-8 replaced.
fn parse(field: &[u8]) -> Header {
    let text = String::from_utf8_lossy(field).replace("\r\n", "");
    let (name, value) = text.split_once(':').unwrap_or((&text, ""));
    Header { name: name.trim_end().to_owned(), value: value.trim().to_owned() }
}

/// A new field, if its name and value pass the grammar of RFC 5322 §2.2.
fn make(name: &str, value: &str) -> Result<Vec<u8>, Error> {
    if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':') {
        return Err(Error::Invalid(format!("header name {name:?}")));
    }
    if value.contains(['\r', '\n', '\0']) {
        return Err(Error::Invalid("header value with CR, LF or NUL".into()));
    }
    Ok(format!("{name}: {value}\r\n").into_bytes())
}
