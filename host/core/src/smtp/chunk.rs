//! Chunks of BDAT (RFC 3030): text that is counted, not searched for its end.

use memchr::memchr3;

use crate::smtp::data::{Faults, Fed, TextLimits};

/// Reads the text of a message out of the chunks that carry it.
///
/// There is no transparency here: a line that is a dot is a line that is a dot. What is refused in the text of DATA
/// is refused here too, because the message leaves with DATA one day; content that was declared binary is looked
/// at up to the end of its header block alone. Feed pieces of any size: the split points do not matter, and neither
/// do those of the chunks.
#[derive(Debug)]
pub struct ChunkDecoder {
    /// Octets that the chunk still has.
    left: u64,
    is_last: bool,
    is_binary: bool,
    is_past_header: bool,
    /// A CR came, and what follows it is not here yet.
    has_cr: bool,
    line_len: usize,
    text_len: u64,
    faults: Faults,
    limits: TextLimits,
    is_dropping: bool,
}

impl ChunkDecoder {
    /// Makes a decoder that stands before the first chunk.
    pub fn new(limits: TextLimits, is_binary: bool) -> Self {
        Self {
            left: 0,
            is_last: false,
            is_binary,
            is_past_header: false,
            has_cr: false,
            line_len: 0,
            text_len: 0,
            faults: Faults::default(),
            limits,
            is_dropping: false,
        }
    }

    /// A chunk of so many octets follows; a chunk begins only where the one before it was read whole.
    pub fn begin(&mut self, octets: u64, is_last: bool) {
        self.left = octets;
        self.is_last = is_last;
        // Known before an octet of it came, so none is kept.
        self.faults.is_too_large |= self.text_len.saturating_add(octets) > self.limits.message_bytes_max;
    }

    /// Octets that the chunk still has.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether the chunk is the last one of its message.
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// Octets of text so far, dropped ones included.
    pub fn text_len(&self) -> u64 {
        self.text_len
    }

    /// What is wrong with the text so far.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Puts nothing out from now on; the chunks are read to their end all the same.
    pub fn drop_text(&mut self) {
        self.is_dropping = true;
    }

    /// Sets another limit for the message.
    pub fn limit(&mut self, message_bytes_max: u64) {
        self.limits.message_bytes_max = message_bytes_max;
        self.faults.is_too_large = self.text_len.saturating_add(self.left) > message_bytes_max;
    }

    /// Reads a piece of the chunk and appends its text to `text`, up to the first fault. Call it at least once for a
    /// chunk, with nothing where the chunk is empty.
    pub fn feed(&mut self, input: &[u8], text: &mut Vec<u8>) -> Fed {
        let consumed = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let octets = input.get(..consumed).unwrap_or_default();
        self.left = self.left.saturating_sub(consumed as u64);
        self.text_len = self.text_len.saturating_add(consumed as u64);
        self.look_at(octets);
        let is_kept = !self.is_dropping && !self.faults.any();
        if is_kept {
            text.extend_from_slice(octets);
        }
        let is_end = self.left == 0;
        if is_end && self.is_last {
            self.end_text(text);
        }
        Fed { consumed, is_end, is_paused: false }
    }

    // Text ends with a line end: DATA knows no other (RFC 5321 §4.1.1.4), and neither do mailboxes.
    fn end_text(&mut self, text: &mut Vec<u8>) {
        if !self.is_looking() || self.line_len == 0 {
            return;
        }
        self.faults.has_bare_line_end |= self.has_cr;
        if !self.is_dropping && !self.faults.any() {
            text.extend_from_slice(b"\r\n");
            self.text_len = self.text_len.saturating_add(2);
        }
        self.line_len = 0;
    }

    fn is_looking(&self) -> bool {
        !(self.is_binary && self.is_past_header)
    }

    fn look_at(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while self.is_looking() && !rest.is_empty() {
            if !self.has_cr {
                let plain = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                self.line_len = self.line_len.saturating_add(plain);
                rest = rest.get(plain..).unwrap_or_default();
            }
            let Some((&octet, after)) = rest.split_first() else { break };
            rest = after;
            self.line_octet(octet);
        }
        self.faults.has_long_line |= self.line_len > self.limits.line_bytes_max;
    }

    fn line_octet(&mut self, octet: u8) {
        let was_cr = core::mem::replace(&mut self.has_cr, octet == b'\r');
        self.line_len = self.line_len.saturating_add(1);
        self.faults.has_nul |= octet == 0;
        // Either half of CR LF without the other.
        self.faults.has_bare_line_end |= was_cr != (octet == b'\n');
        if was_cr && octet == b'\n' {
            self.faults.has_long_line |= self.line_len > self.limits.line_bytes_max;
            self.is_past_header |= self.line_len == 2;
            self.line_len = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: TextLimits = TextLimits { message_bytes_max: 1_000, line_bytes_max: 100 };

    fn decode(chunks: &[&[u8]], piece: usize, is_binary: bool, limits: TextLimits) -> (Vec<u8>, Faults) {
        let (mut decoder, mut text) = (ChunkDecoder::new(limits, is_binary), Vec::new());
        for (index, chunk) in chunks.iter().enumerate() {
            decoder.begin(chunk.len() as u64, index + 1 == chunks.len());
            let mut rest = *chunk;
            loop {
                // What follows the chunk is there already and is left alone.
                let mut input = rest[..piece.min(rest.len())].to_vec();
                if input.len() == rest.len() {
                    input.extend_from_slice(b"QUIT\r\n");
                }
                let fed = decoder.feed(&input, &mut text);
                rest = &rest[fed.consumed..];
                if fed.is_end {
                    break;
                }
            }
            assert!(rest.is_empty());
        }
        (text, decoder.faults())
    }

    #[test]
    fn a_dot_is_a_dot() {
        let (text, faults) = decode(&[b"a\r\n.\r\n..b\r", b"\n.\r\n", b""], 3, false, LIMITS);
        assert_eq!((text.as_slice(), faults), (&b"a\r\n.\r\n..b\r\n.\r\n"[..], Faults::default()));
    }

    #[test]
    fn what_data_refuses_is_refused_here_unless_it_is_binary() {
        for (chunks, is_fine_as_binary) in [
            (vec![&b"a: b\r\n\r\nx\ny\r\n"[..]], true),
            (vec![b"a: b\r\n\r\nx\r", b"y\r\n"], true),
            (vec![b"a: b\r\n\r\nx\r", b""], true),
            (vec![b"a: b\r\n\r\nx\0"], true),
            // The header block of a binary message has lines like any other.
            (vec![b"a: b\nc: d\r\n\r\n"], false),
            (vec![b"a: b\0\r\n\r\n"], false),
            (vec![b"a: b\r", b""], false),
        ] {
            assert!(decode(&chunks, 100, false, LIMITS).1.any(), "{chunks:?}");
            let (text, faults) = decode(&chunks, 100, true, LIMITS);
            assert_eq!(!faults.any(), is_fine_as_binary, "{chunks:?}");
            assert!(faults.any() || text == chunks.concat(), "{chunks:?} comes as it was sent");
        }
    }

    #[test]
    fn text_ends_with_a_line_end_and_binary_content_as_it_ends() {
        assert_eq!(decode(&[b"a: b\r\n\r\nx", b""], 9, false, LIMITS).0, b"a: b\r\n\r\nx\r\n");
        assert_eq!(decode(&[b"a: b\r\n\r\nx", b""], 9, true, LIMITS).0, b"a: b\r\n\r\nx");
        assert_eq!(decode(&[b""], 9, false, LIMITS).0, b"");
    }

    #[test]
    fn limits_are_exact() {
        let limits = TextLimits { message_bytes_max: 6, line_bytes_max: 6 };
        assert_eq!(decode(&[b"1234", b"\r\n"], 9, false, limits).1, Faults::default());
        assert!(decode(&[b"123", b"4\r\n\r\n"], 9, false, limits).1.is_too_large);
        let limits = TextLimits { message_bytes_max: 60, line_bytes_max: 6 };
        assert!(decode(&[b"123", b"45\r\n"], 1, false, limits).1.has_long_line);
    }

    proptest! {
        #[test]
        fn split_points_do_not_matter(
            pieces in prop::collection::vec(prop::sample::select(
                vec![&b"\r\n"[..], b"\r", b"\n", b".", b"\0", b"a", b"bcdefgh", b"\r\n.\r\n"]), 0..30),
            cuts in prop::collection::vec(0..9usize, 0..30),
            piece in 1..9usize,
            is_binary: bool,
        ) {
            let whole = pieces.concat();
            let (mut chunks, mut rest) = (Vec::new(), whole.as_slice());
            for cut in cuts {
                let (chunk, more) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = more;
            }
            chunks.push(rest);
            let limits = TextLimits { message_bytes_max: 90, line_bytes_max: 20 };
            let (text, faults) = decode(&chunks, piece, is_binary, limits);
            let (once, once_faults) = decode(&[&whole], usize::MAX, is_binary, limits);
            prop_assert_eq!(faults, once_faults);
            if !faults.any() {
                prop_assert!(text == once && text.starts_with(&whole));
            }
        }
    }
}
