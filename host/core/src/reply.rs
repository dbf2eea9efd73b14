//! Replies, and the only code that makes bytes for a peer out of them.

use core::fmt;
use serde::{Deserialize, Serialize};

use crate::limits::{REPLY_LINE_BYTES_MAX, REPLY_LINES_KEPT, REPLY_LINES_MAX};

/// The class of a reply: its first digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 2yz: done.
    Success,
    /// 3yz: go on.
    Continue,
    /// 4yz: not now.
    Transient,
    /// 5yz: never.
    Permanent,
}

/// An enhanced status code (RFC 3463): class, subject and detail.
///
/// The class is not stored: it is the first digit of the reply that carries the code, so the two cannot
/// disagree (RFC 2034 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Enhanced {
    /// Subject, 0 to 999.
    pub subject: u16,
    /// Detail, 0 to 999.
    pub detail: u16,
}

impl Enhanced {
    /// Makes a code out of its last two numbers; `x.1.1` is `Enhanced::new(1, 1)`.
    pub const fn new(subject: u16, detail: u16) -> Self {
        Self { subject, detail }
    }

    /// Reads "5.7.1"; the class is dropped. `None` where the text is not a status code.
    pub fn parse(text: &str) -> Option<Self> {
        // A number's own parser would take a sign.
        if text.bytes().any(|octet| octet == b'+') {
            return None;
        }
        let mut numbers = text.split('.');
        let class: u16 = numbers.next()?.parse().ok()?;
        let subject: u16 = numbers.next()?.parse().ok()?;
        let detail: u16 = numbers.next()?.parse().ok()?;
        let is_code = matches!(class, 2 | 4 | 5) && subject <= 999 && detail <= 999 && numbers.next().is_none();
        is_code.then_some(Self { subject, detail })
    }
}

/// A reply as SMTP knows it (RFC 5321 §4.2).
///
/// Whatever text goes in, what [`Reply::encode`] puts out is well formed: no CR, LF or NUL, no octet
/// outside printable ASCII, no line over 512 octets, at most [`REPLY_LINES_MAX`] lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    code: u16,
    enhanced: Option<Enhanced>,
    lines: Vec<String>,
}

impl Reply {
    /// Makes a reply of one line. A code outside 200..=599 becomes 451: a bad code never reaches a peer.
    pub fn new(code: u16, enhanced: Option<Enhanced>, text: impl Into<String>) -> Self {
        Self::multi_line(code, enhanced, vec![text.into()])
    }

    /// Makes a reply of several lines.
    pub fn multi_line(code: u16, enhanced: Option<Enhanced>, lines: Vec<String>) -> Self {
        let code = if (200..=599).contains(&code) { code } else { 451 };
        Self { code, enhanced, lines }
    }

    /// Makes a reply with an enhanced status code; the usual constructor in Basin's own code.
    pub fn with(code: u16, subject: u16, detail: u16, text: impl Into<String>) -> Self {
        Self::new(code, Some(Enhanced::new(subject, detail)), text)
    }

    /// Makes a reply out of what another server said. Its text is neutralised here, before anybody keeps, logs or
    /// repeats it; an enhanced status code at the start of its lines is taken off them (RFC 2034 §4), where its
    /// class is that of the code.
    pub fn heard(code: u16, lines: &[Vec<u8>]) -> Self {
        let text = |line: &Vec<u8>| line.iter().map(|&octet| char::from(printable(octet))).collect::<String>();
        let mut lines: Vec<String> = lines.iter().map(text).collect();
        let class = code / 100;
        let status = |line: &str| {
            let word = line.split(' ').next().unwrap_or_default();
            let is_of_class = word.split('.').next().and_then(|digit| digit.parse().ok()) == Some(class);
            Enhanced::parse(word).filter(|_| is_of_class).map(|enhanced| (enhanced, word.len()))
        };
        let enhanced = lines.first().and_then(|line| status(line)).map(|(enhanced, _)| enhanced);
        if enhanced.is_some() {
            for line in &mut lines {
                if let Some((_, len)) = status(line) {
                    *line = line.get(len..).unwrap_or_default().trim_start().to_owned();
                }
            }
        }
        Self::multi_line(code, enhanced, lines)
    }

    /// The reply code, 200 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code, where there is one.
    pub fn enhanced(&self) -> Option<Enhanced> {
        self.enhanced
    }

    /// "5.7.1", with the class that the code has; `None` for 3yz and where there is none.
    pub fn enhanced_text(&self) -> Option<String> {
        let enhanced = self.enhanced?;
        (self.class() != Class::Continue)
            .then(|| format!("{}.{}.{}", self.code / 100, enhanced.subject, enhanced.detail))
    }

    /// The text lines, without code and line end.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The class of the code.
    pub fn class(&self) -> Class {
        match self.code / 100 {
            2 => Class::Success,
            3 => Class::Continue,
            4 => Class::Transient,
            _ => Class::Permanent,
        }
    }

    /// Whether the code is 4yz or 5yz.
    pub fn is_refusal(&self) -> bool {
        matches!(self.class(), Class::Transient | Class::Permanent)
    }

    /// The reply with no more than its first lines, each as long as it may be on the wire: what is kept with a
    /// recipient.
    #[must_use]
    pub fn shortened(&self) -> Self {
        let shorten = |line: &String| line.chars().map(keepable).take(REPLY_LINE_BYTES_MAX).collect();
        let lines = self.lines.iter().take(REPLY_LINES_KEPT).map(shorten).collect();
        Self { code: self.code, enhanced: self.enhanced, lines }
    }

    /// Adds a text line at the end.
    pub fn push_line(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    /// Writes the reply as it goes over the wire, CR LF included (RFC 5321 §4.2.1).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let shown = self.lines.len().clamp(1, REPLY_LINES_MAX);
        for index in 0..shown {
            let separator = if index + 1 == shown { b' ' } else { b'-' };
            let start = out.len();
            out.extend_from_slice(&[digit(self.code / 100), digit(self.code / 10), digit(self.code), separator]);
            if let Some(enhanced) = self.enhanced_text() {
                out.extend_from_slice(enhanced.as_bytes());
                out.push(b' ');
            }
            let room = REPLY_LINE_BYTES_MAX - 2 - (out.len() - start);
            let text = self.lines.get(index).map_or("", String::as_str);
            out.extend(text.bytes().take(room).map(printable));
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced_text() {
            write!(f, " {enhanced}")?;
        }
        for line in &self.lines {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

fn digit(number: u16) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or(0)
}

fn keepable(character: char) -> char {
    if character == '\t' || (' '..='~').contains(&character) { character } else { '?' }
}

// Anything else could forge a second reply or upset a terminal; RFC 5321 §4.2 allows HT and printable ASCII.
fn printable(octet: u8) -> u8 {
    if octet == b'\t' || (b' '..=b'~').contains(&octet) { octet } else { b'?' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.encode(&mut out);
        String::from_utf8(out).expect("replies are ASCII")
    }

    #[test]
    fn every_line_carries_the_enhanced_code() {
        let reply = Reply::multi_line(550, Some(Enhanced::new(7, 1)), vec!["no".into(), "really".into()]);
        assert_eq!(encoded(&reply), "550-5.7.1 no\r\n550 5.7.1 really\r\n");
    }

    #[test]
    fn text_cannot_forge_a_second_reply() {
        assert_eq!(encoded(&Reply::with(550, 1, 1, "a\r\n250 ok\0")), "550 5.1.1 a??250 ok?\r\n");
    }

    #[test]
    fn a_line_is_cut_at_512_octets() {
        let out = encoded(&Reply::new(250, None, "x".repeat(10_000)));
        assert_eq!(out.len(), 512);
        assert!(out.ends_with("x\r\n"));
    }

    #[test]
    fn a_reply_without_text_still_has_its_line() {
        assert_eq!(encoded(&Reply::multi_line(250, None, vec![])), "250 \r\n");
    }

    #[test]
    fn what_is_kept_with_a_recipient_is_short_and_printable() {
        let long = Reply::multi_line(550, None, vec!["\u{1}".repeat(100_000); 100]).shortened();
        assert_eq!(long.lines().len(), REPLY_LINES_KEPT);
        assert!(long.lines().iter().all(|line| *line == "?".repeat(REPLY_LINE_BYTES_MAX)));
    }

    #[test]
    fn a_code_out_of_range_becomes_451() {
        assert_eq!(Reply::new(99, None, "x").code(), 451);
        assert_eq!(Reply::new(600, None, "x").code(), 451);
    }

    #[test]
    fn what_another_server_says_is_made_harmless() {
        let heard =
            |code, lines: &[&[u8]]| Reply::heard(code, &lines.iter().map(|line| line.to_vec()).collect::<Vec<_>>());
        let reply = heard(550, &[b"5.1.1 no such", b"5.1.1 user\x1b[2J\xff"]);
        assert_eq!(
            (reply.enhanced(), reply.lines().join("/").as_str()),
            (Some(Enhanced::new(1, 1)), "no such/user?[2J?")
        );
        let reply = heard(450, &[b"5.1.1 another class", b"4.2.1 late"]);
        assert_eq!((reply.enhanced(), reply.lines().join("/").as_str()), (None, "5.1.1 another class/4.2.1 late"));
        assert_eq!(heard(250, &[]).lines().len(), 0);
    }

    #[test]
    fn enhanced_codes_parse_strictly() {
        assert_eq!(Enhanced::parse("5.7.1"), Some(Enhanced::new(7, 1)));
        for bad in ["", "5", "5.7", "3.7.1", "5.7.1.1", "5.1000.1", "a.b.c", "5.+7.1"] {
            assert_eq!(Enhanced::parse(bad), None, "{bad}");
        }
    }
}
