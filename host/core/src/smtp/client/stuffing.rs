//! Content as it goes over the wire.

use memchr::{memchr, memchr3};

/// A CR without LF, an LF without CR or a NUL: content that one server reads otherwise than another ("SMTP
/// smuggling"). It never leaves, and it is not repaired either: a repair would break signatures, and the message
/// would not be the one that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadLineEnd;

/// Looks whether text has proper lines, chunk by chunk.
#[derive(Debug, Default)]
pub(super) struct LineCheck {
    is_after_cr: bool,
}

impl LineCheck {
    /// Looks at the next chunk.
    pub(super) fn check(&mut self, text: &[u8]) -> Result<(), BadLineEnd> {
        let mut rest = text;
        while let Some((&first, tail)) = rest.split_first() {
            if self.is_after_cr {
                if first != b'\n' {
                    return Err(BadLineEnd);
                }
                self.is_after_cr = false;
                rest = tail;
                continue;
            }
            let Some(at) = memchr3(b'\r', b'\n', 0, rest) else { break };
            if rest.get(at) != Some(&b'\r') {
                return Err(BadLineEnd);
            }
            self.is_after_cr = true;
            rest = rest.get(at + 1..).unwrap_or_default();
        }
        Ok(())
    }

    /// Looks at the end of the text.
    pub(super) fn finish(&self) -> Result<(), BadLineEnd> {
        if self.is_after_cr { Err(BadLineEnd) } else { Ok(()) }
    }
}

/// Puts the transparency dots into text and the final dot behind it (RFC 5321 §4.5.2). Feed chunks of any size:
/// the split points do not matter.
#[derive(Debug)]
pub(super) struct DotStuffer {
    check: LineCheck,
    is_line_start: bool,
}

impl Default for DotStuffer {
    fn default() -> Self {
        Self { check: LineCheck::default(), is_line_start: true }
    }
}

impl DotStuffer {
    /// Appends a chunk of text to `wire`; nothing of a chunk with a bad line end.
    pub(super) fn push(&mut self, text: &[u8], wire: &mut Vec<u8>) -> Result<(), BadLineEnd> {
        self.check.check(text)?;
        let mut rest = text;
        while !rest.is_empty() {
            if self.is_line_start && rest.first() == Some(&b'.') {
                wire.push(b'.');
            }
            // Every LF stands behind a CR by now, so it ends a line; a CR alone at the end does not yet.
            let line = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (head, tail) = rest.split_at_checked(line).unwrap_or((rest, &[]));
            wire.extend_from_slice(head);
            self.is_line_start = head.last() == Some(&b'\n');
            rest = tail;
        }
        Ok(())
    }

    /// Appends the end of the text. Text whose last line has no end gets one: DATA knows no other (RFC 5321
    /// §4.1.1.4).
    pub(super) fn finish(&self, wire: &mut Vec<u8>) -> Result<(), BadLineEnd> {
        self.check.finish()?;
        wire.extend_from_slice(if self.is_line_start { b".\r\n" } else { b"\r\n.\r\n" });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::data::{DataDecoder, TextLimits};

    fn stuffed(chunks: &[&[u8]]) -> Result<Vec<u8>, BadLineEnd> {
        let (mut stuffer, mut wire) = (DotStuffer::default(), Vec::new());
        for chunk in chunks {
            stuffer.push(chunk, &mut wire)?;
        }
        stuffer.finish(&mut wire)?;
        Ok(wire)
    }

    #[test]
    fn dots_at_the_start_of_lines_are_doubled() {
        assert_eq!(stuffed(&[b".\r\n..\r\na.b\r\n"]), Ok(b"..\r\n...\r\na.b\r\n.\r\n".to_vec()));
        assert_eq!(stuffed(&[b"a\r", b"\n", b".", b"b\r\n"]), Ok(b"a\r\n..b\r\n.\r\n".to_vec()));
        assert_eq!(stuffed(&[b""]), Ok(b".\r\n".to_vec()));
        assert_eq!(stuffed(&[b"a"]), Ok(b"a\r\n.\r\n".to_vec()));
    }

    #[test]
    fn a_bare_line_end_never_leaves() {
        for text in [&b"a\nb\r\n"[..], b"\n", b"a\rb\r\n", b"a\r\r\n", b"a\r", b"\r\n.\n\r\n", b"a\0b\r\n"] {
            assert_eq!(stuffed(&[text]), Err(BadLineEnd), "{text:?}");
            let octets: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(stuffed(&octets), Err(BadLineEnd), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_server_reads_what_was_sent(
            pieces in prop::collection::vec(
                prop::sample::select(vec![&b"\r\n"[..], b".", b"..", b"a", b"bcd", b"\r\n.\r\n", b"\xc3\xa9"]), 0..40),
            cut in 1..9usize,
        ) {
            let text = [pieces.concat(), b"\r\n".to_vec()].concat();
            let chunks: Vec<&[u8]> = text.chunks(cut).collect();
            let wire = stuffed(&chunks).expect("proper lines");
            let limits = TextLimits { message_bytes_max: 100_000, line_bytes_max: 1_000 };
            let (mut decoder, mut read) = (DataDecoder::new(limits), Vec::new());
            let fed = decoder.feed(&wire, &mut read);
            prop_assert!(fed.is_end && fed.consumed == wire.len());
            prop_assert_eq!(read, text);
        }
    }
}
