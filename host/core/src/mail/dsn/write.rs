//! Lines and fields that nobody's text can break out of.

use crate::mail::Field;

/// Longest text out of anyone's reply or address, in octets.
const TEXT_BYTES_MAX: usize = 1_000;

/// Longest word of such a text, in octets, so that every line can be folded.
const WORD_BYTES_MAX: usize = 300;

pub(super) fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

// Writes a field, folded. A neutral value has no line end and no word that cannot be folded, so every
// field that this file names can be written.
pub(super) fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    if let Ok(field) = Field::new(name, &neutral(value)) {
        out.extend_from_slice(field.raw());
    }
}

// Indented lines of at most 78 octets where words allow.
pub(super) fn wrapped(out: &mut Vec<u8>, text: &str) {
    let mut current = String::from("   ");
    for word in text.split_whitespace() {
        if current.len() > 3 && current.len() + 1 + word.len() > 78 {
            line(out, &current);
            current.truncate(3);
        }
        current.push(' ');
        current.push_str(word);
    }
    line(out, &current);
}

// Text of a sink, a client or another server, fit to stand in a field or a line: printable ASCII, bounded.
pub(super) fn neutral(text: &str) -> String {
    let mut word = 0;
    let mut out = String::new();
    for character in text.chars() {
        word = if character == ' ' { 0 } else { word + 1 };
        if word > WORD_BYTES_MAX {
            continue;
        }
        if out.len() == TEXT_BYTES_MAX {
            break;
        }
        out.push(if matches!(character, ' '..='~') { character } else { '?' });
    }
    out
}

/// An ORCPT with the letters beyond ASCII as `\x{E9}` (RFC 6533 §3, utf-8-addr-xtext); the octets that have a meaning
/// there are coded in what comes over the wire.
pub fn seven_bit(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            out.push_str(&format!("\\x{{{:02X}}}", u32::from(character)));
        }
    }
    out
}

/// Takes the coding of RFC 3461 §4 off: `+2B` is a plus sign. What is not coded right stays as it is; line
/// ends that come out are made harmless by [`field`].
pub(super) fn decoded(xtext: &str) -> String {
    let mut out = Vec::with_capacity(xtext.len());
    let mut rest = xtext.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|two| core::str::from_utf8(two).ok());
        let is_hex = |text: &&str| text.bytes().all(|octet| octet.is_ascii_digit() || (b'A'..=b'F').contains(&octet));
        let coded = digits.filter(|_| *first == b'+').filter(is_hex).and_then(|two| u8::from_str_radix(two, 16).ok());
        out.push(coded.unwrap_or(*first));
        rest = if coded.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The ASCII form of an address with other letters (RFC 6533 §3, `utf-8-addr-xtext`): `\x{F6}` is an ö.
pub(super) fn escaped(address: &str) -> String {
    let mut out = String::with_capacity(address.len());
    for character in address.chars() {
        // QCHAR has no `+`, `=`, backslash or space.
        if character.is_ascii_graphic() && !matches!(character, '+' | '=' | '\\') {
            out.push(character);
        } else {
            out.push_str(&format!("\\x{{{:02X}}}", u32::from(character)));
        }
    }
    out
}

/// Takes that form off. What is not written right stays as it is.
pub(super) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x{") {
        out.push_str(before);
        let coded = behind.split_once('}').and_then(|(digits, after)| {
            let is_point = (1..=6).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
            let point = u32::from_str_radix(digits, 16).ok().filter(|_| is_point)?;
            Some((char::from_u32(point)?, after))
        });
        match coded {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => {
                out.push_str("\\x{");
                rest = behind;
            }
        }
    }
    out + rest
}
