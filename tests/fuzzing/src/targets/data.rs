//! Message text: where it ends and what it says does not depend on how it arrives.

use basin_core::smtp::{DataDecoder, Faults, TextLimits};

use crate::random::Random;

/// Limits small enough to be passed.
const LIMITS: TextLimits = TextLimits { message_bytes_max: 300, line_bytes_max: 40 };

/// What came of decoding: the text where it was right, what is wrong with it, how much of the wire it was.
type Decoded = (Vec<u8>, Faults, Option<usize>);

/// Decodes a text in one piece, in pieces, octet by octet, and the slow way.
pub(super) fn run(wire: &[u8]) {
    let expected = reference(wire);
    let whole = decode(wire, &[]);
    // Before the end the long line and the size are known as far as they came; only a whole text is compared.
    if expected.2.is_some() {
        assert_eq!(whole, expected, "the decoder says what the rules say");
    } else {
        assert_eq!(whole.2, None, "only CR LF . CR LF ends a text");
    }
    for pieces in [vec![1], vec![2], Random::of(wire).pieces()] {
        assert_eq!(decode(wire, &pieces), whole, "cut into pieces of {pieces:?}");
    }
    check_stuffing(wire);
}

fn decode(wire: &[u8], pieces: &[usize]) -> Decoded {
    let (mut decoder, mut text, mut at, mut turn) = (DataDecoder::new(LIMITS), Vec::new(), 0, 0);
    while at < wire.len() {
        let piece = pieces.get(turn % pieces.len().max(1)).copied().unwrap_or(wire.len());
        turn += 1;
        let there = wire.get(at..(at + piece).min(wire.len())).unwrap_or_default();
        let fed = decoder.feed(there, &mut text);
        at += fed.consumed;
        assert!(text.len() as u64 <= LIMITS.message_bytes_max + there.len() as u64, "text over the limit is not kept");
        if fed.is_end {
            // What was put out before the first fault is nobody's text.
            let text = if decoder.faults().any() { Vec::new() } else { text };
            assert!(decoder.faults().any() || text.len() as u64 == decoder.text_len(), "octets are counted");
            return (text, decoder.faults(), Some(at));
        }
        assert_eq!(fed.consumed, there.len(), "before the end all is used");
    }
    (Vec::new(), decoder.faults(), None)
}

// RFC 5321 §4.5.2 and §4.1.1.4 the slow way: lines end with CR LF and nothing else, the line "." is the end, a dot
// at the start of any other line is taken off.
fn reference(wire: &[u8]) -> Decoded {
    let (mut text, mut faults, mut at) = (Vec::new(), Faults::default(), 0);
    while let Some(len) = wire.get(at..).and_then(|rest| rest.windows(2).position(|pair| pair == b"\r\n")) {
        let line = wire.get(at..at + len).unwrap_or_default();
        at += len + 2;
        if line == b"." {
            faults.is_too_large = text.len() as u64 > LIMITS.message_bytes_max;
            let text = if faults.any() { Vec::new() } else { text };
            return (text, faults, Some(at));
        }
        let line = line.strip_prefix(b".").unwrap_or(line);
        faults.has_bare_line_end |= line.iter().any(|octet| matches!(octet, b'\r' | b'\n'));
        faults.has_nul |= line.contains(&0);
        faults.has_long_line |= line.len() + 2 > LIMITS.line_bytes_max;
        text.extend_from_slice(line);
        text.extend_from_slice(b"\r\n");
    }
    (Vec::new(), faults, None)
}

// Any text of whole lines that goes through the transparency of DATA comes out as it was.
fn check_stuffing(text: &[u8]) {
    let mut text: Vec<u8> = text.iter().copied().filter(|octet| !matches!(octet, 0 | b'\r')).take(120).collect();
    text.push(b'\n');
    let (mut lines, mut wire) = (Vec::new(), Vec::new());
    for line in text.split_inclusive(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        for line in line.chunks(30).chain(line.is_empty().then_some(line)) {
            wire.extend(line.starts_with(b".").then_some(b'.'));
            wire.extend([line, b"\r\n"].concat());
            lines.extend([line, b"\r\n"].concat());
        }
    }
    if lines.len() as u64 <= LIMITS.message_bytes_max {
        wire.extend(b".\r\n");
        assert_eq!(decode(&wire, &[7]), (lines, Faults::default(), Some(wire.len())), "a text goes through as it is");
    }
}
