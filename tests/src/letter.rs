//! Messages that are recognised octet for octet when they come back.

use crate::random::Random;

/// Header field that carries the letter's identity; the first of the letter, so that what stands before it in a
/// mailbox was put there by the server.
pub const FIELD: &str = "X-Ledger-Id";

/// A message whose whole text follows from its identity: nothing needs to be kept to compare it later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Letter {
    /// The run, so that letters of two runs are never taken for each other.
    pub run: u64,
    /// The sender within the run.
    pub author: u32,
    /// Its number at that sender.
    pub number: u32,
    /// Octets of the body, roughly.
    pub size: u32,
}

impl Letter {
    /// The identity as the header field holds it.
    pub fn id(&self) -> String {
        format!("{:016x}-{}-{}-{}", self.run, self.author, self.number, self.size)
    }

    /// Reads an identity back.
    pub fn parse(id: &str) -> Option<Self> {
        let mut parts = id.trim().split('-');
        let run = u64::from_str_radix(parts.next()?, 16).ok()?;
        let mut number = || parts.next()?.parse().ok();
        let letter = Self { run, author: number()?, number: number()?, size: number()? };
        parts.next().is_none().then_some(letter)
    }

    /// The text as it goes over the wire before dot stuffing, lines ended by CR LF.
    ///
    /// The body mixes what breaks storage and framing: lines that start with dots, "From ", 8-bit octets, empty
    /// lines at its end.
    pub fn text(&self) -> Vec<u8> {
        let id = self.id();
        let mut text = format!(
            "{FIELD}: {id}\r\nFrom: <load@client.example>\r\nTo: <user@basin.example>\r\nSubject: letter {id}\r\n\
             Message-ID: <{id}@client.example>\r\n\r\n"
        )
        .into_bytes();
        let mut random = Random::new(self.run ^ (u64::from(self.author) << 32) ^ u64::from(self.number));
        let start = text.len();
        while text.len() - start < usize::try_from(self.size).unwrap_or(usize::MAX) {
            push_line(&mut text, &mut random);
        }
        text.extend_from_slice(b"\r\n\r\n");
        text
    }
}

fn push_line(text: &mut Vec<u8>, random: &mut Random) {
    match random.between(0, 15) {
        0 => text.extend_from_slice(b"."),
        1 => text.extend_from_slice(b"..two dots"),
        2 => text.extend_from_slice(b"From here on it looks like an mbox"),
        3 => {}
        4 => text.extend_from_slice("Grüße, 8-bit".as_bytes()),
        5.. => {
            for _ in 0..4 {
                text.extend_from_slice(format!("{:016x} ", random.next_u64()).as_bytes());
            }
        }
    }
    text.extend_from_slice(b"\r\n");
}

/// Finds the letter inside of a stored message and compares it, octet for octet.
///
/// The server puts fields before the letter (RFC 5321 §4.4), a sink may have put one of the names in `added` among
/// or behind its own fields; everything else must be what was sent. The error says what differs.
pub fn recognise(stored: &[u8], added: &[&str]) -> Result<Letter, String> {
    let (header, body) = split(stored).ok_or("no empty line between header and body")?;
    let fields = unfolded(header);
    let name =
        |field: &[u8]| String::from_utf8_lossy(field.split(|&o| o == b':').next().unwrap_or_default()).into_owned();
    let first = fields.iter().position(|field| name(field) == FIELD).ok_or(format!("no field {FIELD}"))?;
    let own: Vec<&[u8]> = fields.get(first..).unwrap_or_default().to_vec();
    let id = own.first().and_then(|field| field.split(|&o| o == b':').nth(1)).unwrap_or_default();
    let letter = Letter::parse(&String::from_utf8_lossy(id)).ok_or("the identity cannot be read")?;
    let kept: Vec<u8> =
        own.into_iter().filter(|field| !added.contains(&name(field).as_str())).flatten().copied().collect();
    let text = letter.text();
    let (sent_header, sent_body) = split(&text).ok_or("letter without header")?;
    if kept != sent_header {
        return Err(format!("header of {} differs: {:?}", letter.id(), String::from_utf8_lossy(&kept)));
    }
    if body != sent_body {
        return Err(format!("body of {} differs: {} octets stored, {} sent", letter.id(), body.len(), sent_body.len()));
    }
    Ok(letter)
}

/// Header block with its last line end, and body, parted by the first empty line.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((text.get(..at + 2)?, text.get(at + 4..)?))
}

/// The fields of a header block, each with its continuation lines and line ends.
fn unfolded(header: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut start = 0;
    for (at, _) in header.iter().enumerate().filter(|&(_, &octet)| octet == b'\n') {
        let goes_on = matches!(header.get(at + 1), Some(b' ' | b'\t'));
        if !goes_on {
            fields.extend(header.get(start..=at));
            start = at + 1;
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::{Letter, recognise};

    fn letter() -> Letter {
        Letter { run: 7, author: 1, number: 2, size: 3000 }
    }

    #[test]
    fn a_letter_is_found_behind_the_fields_of_the_server_and_of_a_sink() {
        let text = String::from_utf8(letter().text()).expect("letters are UTF-8");
        let stored = format!("Return-Path: <a@b>\r\nReceived: from x\r\n\tby y\r\n{text}");
        assert_eq!(recognise(stored.as_bytes(), &[]), Ok(letter()));
        let stamped = stored.replacen("\r\n\r\n", "\r\nX-Stamp: 1\r\n folded\r\n\r\n", 1);
        assert_eq!(recognise(stamped.as_bytes(), &["X-Stamp"]), Ok(letter()));
        assert!(recognise(stamped.as_bytes(), &[]).is_err());
    }

    #[test]
    fn one_octet_too_few_too_many_or_other_is_noticed() {
        let text = letter().text();
        assert!(recognise(text.get(..text.len() - 1).expect("shorter"), &[]).is_err());
        assert!(recognise(&[&text[..], b"x"].concat(), &[]).is_err());
        let mut flipped = text.clone();
        *flipped.last_mut().expect("not empty") ^= 1;
        assert!(recognise(&flipped, &[]).is_err());
        assert_ne!(text, Letter { number: 3, ..letter() }.text());
    }
}
