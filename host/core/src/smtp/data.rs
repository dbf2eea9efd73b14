//! Message text on the wire: where it ends, and what in it is refused.

use memchr::memchr3;

/// Removes the transparency dots from message text and finds its end.
///
/// Only `CR LF . CR LF` ends a message. A bare CR or LF and NUL are refused, not repaired: servers that
/// disagree about line ends let one message be read as two ("SMTP smuggling"). The refusal comes at the real
/// end, so that nothing of the text is ever taken for commands. Feed chunks of any size: the split points do
/// not matter.
///
/// RFC 5321 §4.5.2 (transparency), §2.3.8 (lines), §4.1.1.4 (the end).
#[derive(Debug)]
pub struct DataDecoder {
    state: State,
    faults: Faults,
    /// Octets of text so far; counted on when nothing is put out any more.
    text_len: u64,
    line_len: usize,
    limits: TextLimits,
    is_dropping: bool,
}

/// How much text one message may have.
#[derive(Debug, Clone, Copy)]
pub struct TextLimits {
    /// Octets of the whole text, before dot-stuffing, line ends included (RFC 1870 §3).
    pub message_bytes_max: u64,
    /// Octets of one line, CR LF included, the transparency dot not (RFC 5321 §4.5.3.1.6).
    pub line_bytes_max: usize,
}

/// What is wrong with a text. Flags and no list, so that the answer does not depend on how it was split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// A CR without LF, or an LF without CR.
    pub has_bare_line_end: bool,
    /// A NUL.
    pub has_nul: bool,
    /// A line over its limit.
    pub has_long_line: bool,
    /// More octets than the limit.
    pub is_too_large: bool,
}

impl Faults {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Octets used; the rest belongs to the next command.
    pub consumed: usize,
    /// Whether the end of the text, or of the chunk, was among them.
    pub is_end: bool,
    /// Sinks are to be asked before more is read: call `Receiving::pause`.
    pub is_paused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    Line,
    /// A CR in a line.
    Cr,
    /// A dot at the start of a line.
    Dot,
    /// A dot at the start of a line and a CR.
    DotCr,
    End,
}

impl DataDecoder {
    /// Makes a decoder that stands right behind the 354 reply.
    pub fn new(limits: TextLimits) -> Self {
        let faults = Faults::default();
        Self { state: State::LineStart, faults, text_len: 0, line_len: 0, limits, is_dropping: false }
    }

    /// Octets of text so far, dropped ones included.
    pub fn text_len(&self) -> u64 {
        self.text_len
    }

    /// What is wrong with the text so far.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Puts nothing out from now on; the text is read to its end all the same.
    pub fn drop_text(&mut self) {
        self.is_dropping = true;
    }

    /// Sets another limit for the message.
    pub fn limit(&mut self, message_bytes_max: u64) {
        self.limits.message_bytes_max = message_bytes_max;
        self.faults.is_too_large = self.text_len > message_bytes_max;
    }

    /// Reads a chunk and appends its text to `text`, up to the first fault.
    pub fn feed(&mut self, input: &[u8], text: &mut Vec<u8>) -> Fed {
        let mut at = 0;
        // Start of the octets that are text and are not in `text` yet.
        let mut start = 0;
        while let (Some(&octet), true) = (input.get(at), self.state != State::End) {
            match self.state {
                State::Line => {
                    let rest = input.get(at..).unwrap_or_default();
                    let plain = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                    at += plain;
                    self.line_len = self.line_len.saturating_add(plain);
                    if let Some(&special) = rest.get(plain) {
                        self.line_octet(special);
                        at += 1;
                    }
                }
                State::LineStart if octet == b'.' => {
                    self.put(input.get(start..at), text);
                    at += 1;
                    start = at;
                    self.state = State::Dot;
                }
                State::Dot if octet == b'\r' => {
                    at += 1;
                    start = at;
                    self.state = State::DotCr;
                }
                State::DotCr if octet == b'\n' => {
                    at += 1;
                    start = at;
                    self.state = State::End;
                }
                State::DotCr => {
                    // The CR was a bare one; what follows it is looked at again as text.
                    self.faults.has_bare_line_end = true;
                    self.count(1);
                    self.line_len = self.line_len.saturating_add(1);
                    self.state = State::Cr;
                }
                State::LineStart | State::Dot | State::Cr => {
                    self.line_octet(octet);
                    at += 1;
                }
                State::End => {}
            }
        }
        self.put(input.get(start..at), text);
        self.check_line();
        Fed { consumed: at, is_end: self.state == State::End, is_paused: false }
    }

    // One octet inside a line, or at its start where it is no dot.
    fn line_octet(&mut self, octet: u8) {
        let was_cr = self.state == State::Cr;
        self.line_len = self.line_len.saturating_add(1);
        self.faults.has_nul |= octet == 0;
        // Either half of CR LF without the other.
        self.faults.has_bare_line_end |= was_cr != (octet == b'\n');
        self.state = match octet {
            b'\r' => State::Cr,
            b'\n' if was_cr => {
                self.check_line();
                self.line_len = 0;
                State::LineStart
            }
            _ => State::Line,
        };
    }

    fn check_line(&mut self) {
        self.faults.has_long_line |= self.line_len > self.limits.line_bytes_max;
    }

    fn count(&mut self, octets: usize) {
        self.text_len = self.text_len.saturating_add(octets as u64);
        self.faults.is_too_large |= self.text_len > self.limits.message_bytes_max;
    }

    fn put(&mut self, octets: Option<&[u8]>, text: &mut Vec<u8>) {
        let octets = octets.unwrap_or_default();
        self.count(octets.len());
        if !self.is_dropping && !self.faults.any() {
            text.extend_from_slice(octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: TextLimits = TextLimits { message_bytes_max: 1_000_000, line_bytes_max: 100_000 };

    // What the decoder has to do, said the slow way: cut at CR LF, look for the line ".".
    fn reference(wire: &[u8], limits: TextLimits) -> (Vec<u8>, Faults, Option<usize>) {
        let (mut text, mut faults, mut at) = (Vec::new(), Faults::default(), 0);
        let mut end = None;
        while let Some(len) = wire[at..].windows(2).position(|pair| pair == b"\r\n") {
            let line = &wire[at..at + len];
            at += len + 2;
            if line == b"." {
                end = Some(at);
                break;
            }
            let line = line.strip_prefix(b".").unwrap_or(line);
            faults.has_bare_line_end |= line.iter().any(|octet| matches!(octet, b'\r' | b'\n'));
            faults.has_nul |= line.contains(&0);
            faults.has_long_line |= line.len() + 2 > limits.line_bytes_max;
            text.extend_from_slice(line);
            text.extend_from_slice(b"\r\n");
        }
        faults.is_too_large = text.len() as u64 > limits.message_bytes_max;
        (text, faults, end)
    }

    fn decode(chunks: &[&[u8]], limits: TextLimits) -> (Vec<u8>, Faults, Option<usize>) {
        let (mut decoder, mut text, mut total) = (DataDecoder::new(limits), Vec::new(), 0);
        for chunk in chunks {
            let fed = decoder.feed(chunk, &mut text);
            total += fed.consumed;
            if fed.is_end {
                return (text, decoder.faults(), Some(total));
            }
            assert_eq!(fed.consumed, chunk.len(), "all is used before the end");
        }
        (text, decoder.faults(), None)
    }

    #[test]
    fn dots_are_removed_and_the_end_is_found() {
        let (text, faults, end) = decode(&[b"a\r\n..b\r\n.c\r\n...\r\n.\r\nQUIT\r\n"], LIMITS);
        assert_eq!(text, b"a\r\n.b\r\nc\r\n..\r\n");
        assert_eq!((faults, end), (Faults::default(), Some(20)));
        assert_eq!(decode(&[b".\r\n"], LIMITS), (vec![], Faults::default(), Some(3)));
    }

    #[test]
    fn only_the_true_sequence_ends_a_message() {
        // Every form that some server has taken for the end of a message.
        let forms: &[&[u8]] = &[
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r\n.\r",
            b"\r.\r",
            b"\r.\r\n",
            b"\r.\n",
            b"\n.\r",
            b"\r\n.\r\r\n",
            b"\r\n.\n\r",
            b"\n\r.\n\r",
            b"\n\n.\n\n",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\0\n.\r\0\n",
            b"\r\n.\r\0\n",
            b"\\\r\\\n.\\\r\\\n",
        ];
        for form in forms {
            for first in [&b""[..], b"text"] {
                let wire = [first, form, b"MAIL FROM:<x@y>\r\n.\r\n"].concat();
                let (_, faults, end) = decode(&[&wire], LIMITS);
                assert_eq!(end, Some(wire.len()), "{form:?} after {first:?} ends nothing");
                assert!(faults.has_bare_line_end || faults.has_nul, "{form:?} after {first:?} is refused");
            }
        }
        for form in [&b"\r\n. \r\n"[..], b"\r\n .\r\n", b"\r\n.\t\r\n", b"\r\n..\r\n", b"\r\n\xc2\x85.\xc2\x85\r\n"] {
            let wire = [b"text", form, b"more\r\n.\r\n"].concat();
            let (_, faults, end) = decode(&[&wire], LIMITS);
            assert_eq!((faults, end), (Faults::default(), Some(wire.len())), "{form:?} is text");
        }
        assert!(decode(&[b"text\r\n..\nmore\r\n.\r\n"], LIMITS).1.has_bare_line_end);
    }

    #[test]
    fn limits_are_exact_and_the_text_is_read_to_its_end() {
        let limits = TextLimits { message_bytes_max: 12, line_bytes_max: 6 };
        assert_eq!(decode(&[b"1234\r\n..34\r\n.\r\n"], limits).1, Faults::default());
        let (text, faults, end) = decode(&[b"1234\r\n", b"1234\r\n", b"\r\n.\r\n"], limits);
        assert_eq!((text.len(), faults.is_too_large, end), (12, true, Some(17)));
        let (_, faults, end) = decode(&[b"12345\r\n.\r\n"], limits);
        assert_eq!((faults.has_long_line, end), (true, Some(10)));
    }

    #[test]
    fn nothing_is_put_out_after_a_fault() {
        let (text, _, _) = decode(&[b"a\nb\r\n", b"c\r\n.\r\n"], LIMITS);
        assert_eq!(text, b"");
    }

    proptest! {
        #[test]
        fn split_points_do_not_matter(
            pieces in prop::collection::vec(prop::sample::select(
                vec![&b"\r\n"[..], b"\r", b"\n", b".", b"\0", b"a", b"bcdefgh", b"\r\n.\r\n", b"\r\n.."]), 0..40),
            cuts in prop::collection::vec(1..8usize, 0..200),
            line_bytes_max in 2..20usize,
            message_bytes_max in 0..60u64,
        ) {
            let wire = [pieces.concat(), b"\r\n.\r\n".to_vec()].concat();
            let limits = TextLimits { message_bytes_max, line_bytes_max };
            let (mut chunks, mut rest) = (Vec::new(), wire.as_slice());
            for cut in cuts {
                let (chunk, more) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = more;
            }
            chunks.push(rest);
            let (text, faults, end) = decode(&chunks, limits);
            let (whole_text, whole_faults, whole_end) = reference(&wire, limits);
            prop_assert_eq!(end, whole_end);
            prop_assert_eq!(faults, whole_faults);
            if !faults.any() {
                prop_assert_eq!(text, whole_text);
            }
        }
    }
}
