//! The answer itself (RFC 3834 §3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use basin_sink::prelude::*;

/// Longest line that is written as it stands; RFC 5322 §2.1.1 allows 998 octets.
const LINE_OCTETS_MAX: usize = 900;
/// Octets of which a line of base64 is made: 76 characters (RFC 2045 §6.8).
const BASE64_OCTETS: usize = 57;
/// Longest subject that is taken over, in octets.
const SUBJECT_OCTETS_MAX: usize = 500;
/// Octets of text in one encoded word, which has at most 75 characters (RFC 2047 §2).
const WORD_OCTETS_MAX: usize = 42;
/// Message-IDs that References has at most; the oldest give way.
const REFERENCES_MAX: usize = 10;
/// Longest Message-ID that is taken over, in octets.
const ID_OCTETS_MAX: usize = 250;

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// What is answered.
    pub(crate) message: &'a Message,
    /// Who is away.
    pub(crate) from: &'a str,
    /// Who wrote.
    pub(crate) to: &'a str,
    /// The operator's subject.
    pub(crate) subject: Option<String>,
    /// What it says.
    pub(crate) text: &'a str,
}

impl Answer<'_> {
    /// Sends it.
    pub(crate) fn submit(&self) -> Result<(), Error> {
        // From the null path, so that nothing answers the answer (RFC 3834 §3.3).
        let mut answer = NewMessage::new("", &[self.to])?;
        answer.header("From", &format!("<{}>", self.from))?.header("To", &format!("<{}>", self.to))?;
        answer.header("Subject", &self.subject())?.header("Auto-Submitted", "auto-replied")?;
        if let Some(id) = self.message.message_id().and_then(|id| message_id(&id)) {
            answer.header("In-Reply-To", &id)?.header("References", &self.references(&id))?;
        }
        let text = lines(self.text);
        let is_plain = text.is_ascii() && text.lines().all(|line| line.len() <= LINE_OCTETS_MAX);
        answer.header("MIME-Version", "1.0")?.header("Content-Type", "text/plain; charset=utf-8")?;
        answer.header("Content-Transfer-Encoding", if is_plain { "7bit" } else { "base64" })?;
        if is_plain {
            answer.body(&text)?;
        } else {
            for octets in text.as_bytes().chunks(BASE64_OCTETS) {
                answer.body(STANDARD.encode(octets))?.body("\r\n")?;
            }
        }
        answer.submit().map(drop)
    }

    fn subject(&self) -> String {
        if let Some(subject) = &self.subject {
            return encoded(&subject.replace(['\r', '\n', '\0'], " "));
        }
        // As it stands, encoded words included.
        let theirs = self.message.headers().get("Subject").unwrap_or_default();
        let theirs = theirs.replace(['\r', '\n', '\0'], " ");
        if theirs.is_empty() || theirs.len() > SUBJECT_OCTETS_MAX {
            return "Auto: your message".to_owned();
        }
        // RFC 3834 §3.1.5 has this prefix.
        encoded(&format!("Auto: {theirs}"))
    }

    /// RFC 5322 §3.6.4: what it refers to, and its own Message-ID behind.
    fn references(&self, id: &str) -> String {
        let headers = self.message.headers();
        let theirs = headers.get("References").or_else(|| headers.get("In-Reply-To")).unwrap_or_default();
        let mut ids: Vec<String> = theirs.split_whitespace().filter_map(message_id).collect();
        ids.push(id.to_owned());
        let from = ids.len().saturating_sub(REFERENCES_MAX);
        ids.split_off(from).join(" ")
    }
}

/// A Message-ID with its angle brackets, if it is one.
fn message_id(text: &str) -> Option<String> {
    let bare = text.strip_prefix('<').unwrap_or(text);
    let bare = bare.strip_suffix('>').unwrap_or(bare);
    let is_good = bare.contains('@')
        && bare.len() <= ID_OCTETS_MAX
        && bare.bytes().all(|octet| octet.is_ascii_graphic() && !b"<>".contains(&octet));
    is_good.then(|| format!("<{bare}>"))
}

/// The text with line ends of mail.
fn lines(text: &str) -> String {
    text.lines().flat_map(|line| [line, "\r\n"]).collect()
}

/// Words of RFC 2047 where the text is beyond ASCII.
fn encoded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for character in text.chars() {
        // No character is divided between two words (RFC 2047 §5).
        if words.last().is_some_and(|word| word.len() + character.len_utf8() > WORD_OCTETS_MAX) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(character);
        }
    }
    let words: Vec<String> = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join(" ")
}
