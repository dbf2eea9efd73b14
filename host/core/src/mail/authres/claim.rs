//! Whose field it is, or could be taken for.

use crate::addr::domain_to_ascii;
use crate::mail::authres::NAME;

/// A name as it is compared: lower case, A-labels, no dot at its end.
pub(super) fn canonical(name: &str) -> String {
    let name = name.trim_matches('.');
    domain_to_ascii(name).map_or_else(|| name.to_lowercase(), |name| name.to_ascii_lowercase())
}

/// The value of a field that has our name; `None` for any other.
///
/// What is no printable ASCII does not count: some readers step over a space, a control or a byte order mark in front
/// of the colon or of the name, and what is no field for one of them is one for the next.
pub(super) fn value_of(raw: &[u8]) -> Option<String> {
    let colon = memchr::memchr(b':', raw)?;
    let name = raw.get(..colon)?.iter().filter(|octet| octet.is_ascii_graphic());
    let is_ours = name.map(u8::to_ascii_lowercase).eq(NAME.bytes().map(|octet| octet.to_ascii_lowercase()));
    is_ours.then(|| String::from_utf8_lossy(raw.get(colon + 1..).unwrap_or_default()).into_owned())
}

/// Whether one of the names stands where a reader could look for the authserv-id.
///
/// In a regular field that is what comes before the first semicolon, comments included: readers do not agree about
/// nested ones. A field that does not begin in the regular way has to be free of our names altogether.
pub(super) fn names_any(value: &str, names: &[String]) -> bool {
    let (id, head) = regular_head(value).unwrap_or((value, value));
    // RFC 2047 §5 allows no encoded word here. Readers that decode it all the same could find anything in one.
    if head.contains("=?") {
        return true;
    }
    let is_ours = |word: &str| is_one_of(word, names);
    words(head).any(is_ours) || words(&flat(id)).any(is_ours)
}

fn is_one_of(word: &str, names: &[String]) -> bool {
    let is_name = |word: &str| names.contains(&canonical(word));
    // Octets that are no UTF-8, and letters that only look like ours, are dropped by some readers.
    is_name(word) || !word.is_ascii() && is_name(&word.chars().filter(char::is_ascii).collect::<String>())
}

// Whatever could be a domain name in the text, however it is set apart from the rest.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c) || !c.is_ascii();
    text.split(move |c: char| !is_inner(c)).filter(|word| !word.trim_matches('.').is_empty())
}

// The text without comments, white space and what quotes: `"mx\.ex\r\n ample"` is `mx.example`.
fn flat(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut scan = Scan(text);
    while let Some(first) = scan.0.chars().next() {
        if first == '(' && scan.comment().is_some() {
            continue;
        }
        scan.0 = scan.0.get(first.len_utf8()..).unwrap_or_default();
        if !is_space(first) && !matches!(first, '"' | '\\') {
            kept.push(first);
        }
    }
    kept
}

// RFC 8601 §2.2: [CFWS] authserv-id [CFWS version] [CFWS] up to a semicolon or the end. What ends with the authserv-id,
// and what ends there.
fn regular_head(value: &str) -> Option<(&str, &str)> {
    let mut scan = Scan(value);
    scan.space()?;
    scan.id()?;
    let id = value.get(..value.len() - scan.0.len())?;
    scan.space()?;
    scan.take_while(|c| c.is_ascii_digit());
    scan.space()?;
    let is_end = scan.0.is_empty() || scan.0.starts_with(';');
    value.get(..value.len() - scan.0.len()).filter(|_| is_end).map(|head| (id, head))
}

/// What is left of a text.
struct Scan<'a>(&'a str);

impl Scan<'_> {
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> usize {
        let len = self.0.find(|c| !wanted(c)).unwrap_or(self.0.len());
        self.0 = self.0.get(len..).unwrap_or_default();
        len
    }

    // White space and comments; `None` where a comment does not end.
    fn space(&mut self) -> Option<()> {
        loop {
            self.take_while(is_space);
            if !self.0.starts_with('(') {
                return Some(());
            }
            self.comment()?;
        }
    }

    // RFC 5322 §3.2.2: comments nest. Nothing is taken where it does not end.
    fn comment(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        let mut is_escaped = false;
        for (at, c) in self.0.char_indices() {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '(' => depth += 1,
                ')' if depth == 1 => {
                    self.0 = self.0.get(at + 1..).unwrap_or_default();
                    return Some(());
                }
                ')' => depth -= 1,
                _ => {}
            }
        }
        None
    }

    // A token of RFC 2045 §5.1, which may have letters beyond ASCII (RFC 8616 §5), or a quoted string.
    fn id(&mut self) -> Option<()> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            let is_token = |c: char| !c.is_ascii() || c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c);
            return (self.take_while(is_token) > 0).then_some(());
        };
        let mut is_escaped = false;
        for (at, c) in quoted.char_indices() {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '"' => {
                    self.0 = quoted.get(at + 1..).unwrap_or_default();
                    return Some(());
                }
                _ => {}
            }
        }
        None
    }
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}
