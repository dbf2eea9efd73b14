//! Replies as a strict client reads them.

use basin_core::limits::{REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX};

/// A reply as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its code.
    pub code: u16,
    /// The text of its lines, enhanced codes included.
    pub lines: Vec<String>,
}

impl Heard {
    /// Whether it only says that something else is awaited: 3yz.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }
}

/// Reads the replies in `wire`.
///
/// # Panics
/// Where they are not well formed: a line without CR LF or over 512 octets, an octet that does not print, a code
/// that changes between the lines of one reply, an enhanced code of another class (RFC 5321 §4.2, RFC 2034 §4).
pub fn replies(wire: &[u8]) -> Vec<Heard> {
    assert!(wire.is_empty() || wire.ends_with(b"\r\n"), "the replies end in the middle of a line");
    let text = core::str::from_utf8(wire).expect("replies are ASCII");
    let mut heard: Vec<Heard> = Vec::new();
    let mut is_open = false;
    for line in text.split_terminator("\r\n") {
        assert!(line.len() + 2 <= REPLY_LINE_BYTES_MAX, "a reply line of {} octets", line.len() + 2);
        assert!(line.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "octets that do not print: {line:?}");
        let code: u16 = line.get(..3).and_then(|code| code.parse().ok()).expect("a code of three digits");
        assert!((200..=599).contains(&code), "no code of SMTP: {line:?}");
        let mark = line.as_bytes().get(3).copied();
        assert!(matches!(mark, Some(b' ' | b'-')), "a space or a hyphen follows the code: {line:?}");
        let text = line.get(4..).unwrap_or_default().to_owned();
        match heard.last_mut().filter(|_| is_open) {
            Some(reply) => {
                assert_eq!(reply.code, code, "one code in all lines: {line:?}");
                reply.lines.push(text);
                assert!(reply.lines.len() <= REPLY_LINES_MAX, "a reply without end");
            }
            None => heard.push(Heard { code, lines: vec![text] }),
        }
        is_open = mark == Some(b'-');
    }
    assert!(!is_open, "the last reply has no end: {text:?}");
    heard.iter().for_each(check_enhanced);
    heard
}

// RFC 2034 §4: the class of an enhanced code is the first digit of the code.
fn check_enhanced(reply: &Heard) {
    for line in &reply.lines {
        let word = line.split(' ').next().unwrap_or_default();
        let numbers: Vec<_> = word.split('.').collect();
        let is_enhanced = numbers.len() == 3
            && numbers.iter().all(|number| !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit()));
        if is_enhanced && matches!(reply.code / 100, 2 | 4 | 5) && numbers.first().is_some_and(|class| class.len() == 1)
        {
            let class = numbers.first().and_then(|class| class.parse::<u16>().ok());
            assert_eq!(class, Some(reply.code / 100), "the enhanced code has the class of the reply: {reply:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_in_order() {
        let heard = replies(b"250-a\r\n250 b\r\n354 go\r\n");
        assert_eq!(heard.iter().map(|reply| reply.code).collect::<Vec<_>>(), [250, 354]);
        assert_eq!(heard.first().map(|reply| reply.lines.len()), Some(2));
    }

    #[test]
    fn a_wire_that_is_not_well_formed_is_noticed() {
        for wire in [
            &b"250 ok"[..],
            b"250 ok\n",
            b"250 o\rk\r\n",
            b"250-a\r\n",
            b"250-a\r\n251 b\r\n",
            b"250 5.0.0 no\r\n",
            b"25 x\r\n",
            b"600 x\r\n",
            b"250\r\n",
        ] {
            let wire = wire.to_vec();
            assert!(std::panic::catch_unwind(|| replies(&wire)).is_err());
        }
    }
}
