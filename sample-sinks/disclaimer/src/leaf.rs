//! A text part, and how it goes on.

use super::Words;
use super::encoding::{self, Charset};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use basin_sink::prelude::*;
use std::io::{Read as _, Seek as _, SeekFrom};

/// How much of the end of a part is looked at, for `</body>` and for the last characters of base64, in octets.
const TAIL_OCTETS: u64 = 64 * 1024;

/// The first body of a kind.
#[derive(Debug)]
pub(crate) struct Leaf {
    part: Part,
    is_html: bool,
}

/// Octets of the body that give way to others.
#[derive(Debug)]
pub(crate) struct Splice {
    /// Where, behind the header block.
    pub(crate) at: u64,
    /// How many go.
    pub(crate) cut: u64,
    /// What comes.
    pub(crate) put: Vec<u8>,
}

impl Leaf {
    /// The first leaf of that type that is no attachment.
    pub(crate) fn first(message: &Message, kind: &str) -> Option<Self> {
        let part = message.parts().find(|part| part.content_type() == kind && !part.is_attachment())?;
        Some(Self { part, is_html: kind == "text/html" })
    }

    /// The piece that goes on with it; none where its charset or its encoding has no room for the words.
    pub(crate) fn continued(&self, message: &Message, words: &Words) -> Result<Option<Splice>> {
        let content_type = self.part.header("Content-Type").unwrap_or_default();
        let charset = Charset::of(&content_type);
        let words = if self.is_html { &words.html } else { &words.text };
        let Some(octets) = charset.octets(words) else { return Ok(None) };
        let encoding = self.part.header("Content-Transfer-Encoding").unwrap_or_default();
        let encoding = encoding.trim().to_ascii_lowercase();
        // The range is in the whole message; the new body begins behind the header block.
        let (start, len) = self.part.raw_range();
        let block = message.size().saturating_sub(message.body_size());
        let end = start.saturating_add(len).saturating_sub(block);
        let tail = tail(message, end, len)?;
        Ok(match encoding.as_str() {
            "base64" => base64_end(&tail, end, &octets),
            "quoted-printable" => Some(self.text_end(&tail, end, &octets, true)),
            "8bit" | "binary" => Some(self.text_end(&tail, end, &octets, false)),
            "" | "7bit" if octets.is_ascii() => Some(self.text_end(&tail, end, &octets, false)),
            _ => None,
        })
    }

    fn text_end(&self, tail: &[u8], end: u64, octets: &[u8], is_quoted: bool) -> Splice {
        let encode = |octets: &[u8]| if is_quoted { encoding::quoted_printable(octets) } else { octets.to_vec() };
        if let Some(place) = self.body_end(tail) {
            let edge: &[u8] = if is_quoted { b"=\r\n" } else { b"\r\n" };
            let put = [edge, &encode(octets), edge].concat();
            return Splice { at: end - (tail.len() - place) as u64, cut: 0, put };
        }
        let line_end: &[u8] = if tail.is_empty() || tail.ends_with(b"\r\n") { b"" } else { b"\r\n" };
        Splice { at: end, cut: 0, put: [line_end, b"\r\n", &encode(octets)].concat() }
    }

    // Where the tag is divided by a soft line break it is not found, and the words stand behind it; browsers show them.
    fn body_end(&self, tail: &[u8]) -> Option<usize> {
        let is_tag = |window: &[u8]| window.eq_ignore_ascii_case(b"</body");
        self.is_html.then(|| tail.windows(b"</body".len()).rposition(is_tag)).flatten()
    }
}

/// The last octets of a part that ends there in the body.
fn tail(message: &Message, end: u64, len: u64) -> Result<Vec<u8>> {
    let wanted = len.min(TAIL_OCTETS).min(end);
    let mut body = message.body();
    body.seek(SeekFrom::Start(end - wanted))?;
    let mut tail = Vec::new();
    (&mut body).take(wanted).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Opens the last four characters, which may be filled up with `=`, and goes on from there.
fn base64_end(tail: &[u8], end: u64, octets: &[u8]) -> Option<Splice> {
    let is_character = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=');
    let mut last: Vec<(usize, u8)> =
        tail.iter().copied().enumerate().rev().filter(|(_, octet)| is_character(*octet)).take(4).collect();
    last.reverse();
    let (at, mut plain) = match last.first() {
        None => (tail.len(), Vec::new()),
        Some((at, _)) => {
            let characters: Vec<u8> = last.iter().map(|(_, octet)| *octet).collect();
            (*at, STANDARD.decode(characters).ok()?)
        }
    };
    // The end of what is there is not known, so the words begin a line of their own in any case.
    plain.extend_from_slice(b"\r\n\r\n");
    plain.extend_from_slice(octets);
    let mut put = if at == 0 || tail.get(..at).is_some_and(|before| before.ends_with(b"\n")) {
        Vec::new()
    } else {
        b"\r\n".to_vec()
    };
    put.extend_from_slice(encoding::base64_lines(&plain).as_bytes());
    let rest = (tail.len() - at) as u64;
    Some(Splice { at: end - rest, cut: rest, put })
}
