//! Replies of another server, out of whatever it sends.

use memchr::memchr;
use thiserror::Error;

use crate::limits::{REMOTE_REPLY_BYTES_MAX, REMOTE_REPLY_LINE_BYTES_MAX, REMOTE_REPLY_LINES_MAX};
use crate::reply::Reply;

/// Why octets are no reply. After any of these nothing that follows can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum ReplyFault {
    /// A line over its limit.
    #[error("a reply line has over {REMOTE_REPLY_LINE_BYTES_MAX} octets")]
    LongLine,
    /// Too many lines or octets.
    #[error("a reply has over {REMOTE_REPLY_LINES_MAX} lines or {REMOTE_REPLY_BYTES_MAX} octets")]
    TooLong,
    /// CR or LF alone. A server that thinks otherwise of line ends would be read otherwise than it speaks.
    #[error("a reply has a bare CR or LF")]
    BareLineEnd,
    /// No code of 200 to 599, or no blank or hyphen behind it (RFC 5321 §4.2).
    #[error("a reply line does not begin with a reply code")]
    Form,
    /// Lines of one reply with different codes (RFC 5321 §4.2.1).
    #[error("the lines of a reply have different codes")]
    Codes,
}

/// Collects a reply from chunks of any size; what it holds is bounded by [`REMOTE_REPLY_BYTES_MAX`].
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    line: Vec<u8>,
    lines: Vec<Vec<u8>>,
    code: Option<u16>,
    len: usize,
}

impl ReplyReader {
    /// Whether no part of a reply has been read.
    pub(super) fn is_between(&self) -> bool {
        self.line.is_empty() && self.code.is_none()
    }

    /// Reads from the front of `input` up to the end of one reply, at most.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, ReplyFault> {
        while !input.is_empty() {
            let end = memchr(b'\n', input);
            let (head, tail) = input.split_at_checked(end.map_or(input.len(), |at| at + 1)).unwrap_or((input, &[]));
            if self.line.len() + head.len() > REMOTE_REPLY_LINE_BYTES_MAX {
                return Err(ReplyFault::LongLine);
            }
            self.len += head.len();
            if self.len > REMOTE_REPLY_BYTES_MAX {
                return Err(ReplyFault::TooLong);
            }
            self.line.extend_from_slice(head);
            *input = tail;
            if end.is_some() && self.end_line()? {
                let lines = core::mem::take(&mut self.lines);
                let code = self.code.take().unwrap_or_default();
                self.len = 0;
                return Ok(Some(Reply::heard(code, &lines)));
            }
        }
        Ok(None)
    }

    // Takes the line that is complete; true where it is the last of its reply.
    fn end_line(&mut self) -> Result<bool, ReplyFault> {
        let line = self.line.strip_suffix(b"\r\n").filter(|line| memchr(b'\r', line).is_none());
        let line = line.ok_or(ReplyFault::BareLineEnd)?;
        let code = line.get(..3).and_then(parse_code).ok_or(ReplyFault::Form)?;
        // RFC 5321 §4.2.1 has a blank behind the code even without text, and asks to take it without one.
        let is_last = match line.get(3) {
            None | Some(b' ') => true,
            Some(b'-') => false,
            Some(_) => return Err(ReplyFault::Form),
        };
        if self.code.is_some_and(|first| first != code) {
            return Err(ReplyFault::Codes);
        }
        if self.lines.len() >= REMOTE_REPLY_LINES_MAX {
            return Err(ReplyFault::TooLong);
        }
        self.code = Some(code);
        self.lines.push(line.get(4..).unwrap_or_default().to_vec());
        self.line.clear();
        Ok(is_last)
    }
}

fn parse_code(digits: &[u8]) -> Option<u16> {
    let number = digits
        .iter()
        .try_fold(0, |number: u16, digit| digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0')))?;
    (200..=599).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]]) -> Result<Vec<String>, ReplyFault> {
        let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
        for mut chunk in chunks.iter().copied() {
            while let Some(reply) = reader.read(&mut chunk)? {
                replies.push(reply.to_string());
            }
        }
        Ok(replies)
    }

    #[test]
    fn replies_are_read_wherever_they_are_cut() {
        let wire = b"250-mx\r\n250-SIZE 5\r\n250 DSN\r\n354\r\n550 5.1.1 no\r\n";
        let whole = ["250 mx SIZE 5 DSN", "354 ", "550 5.1.1 no"].map(str::to_owned).to_vec();
        assert_eq!(read(&[wire]), Ok(whole.clone()));
        let octets: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(read(&octets), Ok(whole));
    }

    #[test]
    fn what_is_no_reply_is_a_fault() {
        for (wire, fault) in [
            (&b"250 a\n"[..], ReplyFault::BareLineEnd),
            (b"250 a\rb\r\n", ReplyFault::BareLineEnd),
            (b"250 a\r\r\n", ReplyFault::BareLineEnd),
            (b"\r\n", ReplyFault::Form),
            (b"25\r\n", ReplyFault::Form),
            (b"2500 a\r\n", ReplyFault::Form),
            (b"150 a\r\n", ReplyFault::Form),
            (b"600 a\r\n", ReplyFault::Form),
            (b"+50 a\r\n", ReplyFault::Form),
            (b"250\ta\r\n", ReplyFault::Form),
            (b"250-a\r\n251 b\r\n", ReplyFault::Codes),
        ] {
            assert_eq!(read(&[wire]), Err(fault), "{wire:?}");
        }
    }

    #[test]
    fn an_endless_reply_ends_at_the_limits() {
        assert_eq!(read(&[&[b'2'; REMOTE_REPLY_LINE_BYTES_MAX + 1]]), Err(ReplyFault::LongLine));
        let line = [b"220-".as_slice(), &[b'x'; 1_000], b"\r\n"].concat();
        assert_eq!(read(&vec![line.as_slice(); 40]), Err(ReplyFault::TooLong));
        assert_eq!(read(&vec![b"220-x\r\n".as_slice(); REMOTE_REPLY_LINES_MAX + 1]), Err(ReplyFault::TooLong));
    }
}
