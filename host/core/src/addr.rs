//! Mail addresses.
//!
//! An address is data: parsed once at the edge, kept as it came, compared in a canonical form, and never
//! handed to a shell, a file name or a format string.

use core::fmt;
use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

use crate::limits::{DOMAIN_BYTES_MAX, LABEL_BYTES_MAX, LOCAL_PART_BYTES_MAX, PATH_BYTES_MAX};

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Nothing, or only white space.
    #[error("the address is empty")]
    Empty,
    /// A control octet or white space outside a quoted string.
    #[error("the address has a character that is not allowed")]
    Character,
    /// An octet above 127; SMTPUTF8 (RFC 6531) was not asked for.
    #[error("the address is not ASCII")]
    NotAscii,
    /// No at sign, two of them, or a part missing.
    #[error("the address is not local-part@domain")]
    Form,
    /// Local part, domain, label or path over its limit (RFC 5321 §4.5.3.1).
    #[error("the address is too long")]
    TooLong,
    /// The domain breaks RFC 5321 §4.1.2.
    #[error("the domain is not valid")]
    Domain,
}

/// A mailbox: local part and domain (RFC 5321 §4.1.2).
///
/// Kept as the client wrote it; [`Address::is_same`] compares the domain without regard to case and to the way
/// in which it writes other letters than ASCII (RFC 5890), and the local part after removing needless quoting and
/// in the normal form C of Unicode. Never in a form K: letters that only look alike are other people's. `postmaster` without a domain is the one mailbox that has
/// none (RFC 5321 §4.5.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    local: String,
    domain: Option<String>,
}

impl Address {
    /// Parses `local@domain`, without angle brackets. Source routes are not part of it.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_ascii() { Self::parse_utf8(text) } else { Err(AddressError::NotAscii) }
    }

    /// Parses an address that may have other letters than ASCII (RFC 6531 §3.3).
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse_utf8(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        // The controls beyond ASCII, and the marks by which some editors end a line.
        if text.chars().any(|it| !it.is_ascii() && (it.is_control() || matches!(it, '\u{2028}' | '\u{2029}'))) {
            return Err(AddressError::Character);
        }
        // Two octets of the limit belong to the angle brackets.
        if text.len() > PATH_BYTES_MAX - 2 {
            return Err(AddressError::TooLong);
        }
        let local_len = local_part_len(text)?;
        let (local, rest) = text.split_at(local_len);
        if local.len() > LOCAL_PART_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        match rest.strip_prefix('@') {
            Some(domain) => {
                check_domain(&domain_to_ascii(domain).ok_or(AddressError::Domain)?)?;
                Ok(Self { local: local.to_owned(), domain: Some(domain.to_owned()) })
            }
            None if rest.is_empty() && local.eq_ignore_ascii_case("postmaster") => {
                Ok(Self { local: local.to_owned(), domain: None })
            }
            None => Err(AddressError::Form),
        }
    }

    /// The local part as it was written, quotes included.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The local part without quoting: `"a\ b"` is `a b`, and equals an unquoted one of the same text.
    pub fn local_unquoted(&self) -> String {
        match self.local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            None => self.local.clone(),
            Some(quoted) => {
                let mut text = String::with_capacity(quoted.len());
                let mut characters = quoted.chars();
                while let Some(character) = characters.next() {
                    text.extend(if character == '\\' { characters.next() } else { Some(character) });
                }
                text
            }
        }
    }

    /// The domain as it was written; `None` for `postmaster` alone.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// The address of the host, where the domain is a literal (RFC 5321 §4.1.3).
    pub fn literal(&self) -> Option<core::net::IpAddr> {
        let literal = self.domain.as_deref()?.strip_prefix('[')?.strip_suffix(']')?;
        parse_literal(literal).map(|address| address.to_canonical())
    }

    /// The domain as DNS knows it: letters beyond ASCII as A-labels (RFC 5891).
    pub fn ascii_domain(&self) -> Option<Cow<'_, str>> {
        self.domain.as_deref().map(|domain| domain_to_ascii(domain).unwrap_or(Cow::Borrowed(domain)))
    }

    /// The same address in ASCII, with A-labels for a domain (RFC 6531 §3.2); `None` where the local part has other letters,
    /// which mean something to its own server alone.
    pub fn to_ascii(&self) -> Option<String> {
        let domain = self.ascii_domain().map(|domain| format!("@{domain}")).unwrap_or_default();
        Some(format!("{}{domain}", self.local)).filter(|text| text.is_ascii())
    }

    /// Whether it has other letters than ASCII, so that it goes to those alone who offer SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain.as_deref().is_none_or(str::is_ascii)
    }

    /// The local part in the form in which it is compared: without quoting, in normal form C.
    pub fn local_key(&self) -> String {
        let local = self.local_unquoted();
        if local.is_ascii() { local } else { local.nfc().collect() }
    }

    /// Whether both name the same mailbox as far as SMTP can tell: domains without regard to case, local
    /// parts exactly, but `"a"` and `a` are one (RFC 5321 §2.4, §4.1.2).
    pub fn is_same(&self, other: &Self) -> bool {
        let same_domain = match (&self.domain, &other.domain) {
            (Some(a), Some(b)) if a.is_ascii() && b.is_ascii() => a.eq_ignore_ascii_case(b),
            (Some(_), Some(_)) => match (self.ascii_domain(), other.ascii_domain()) {
                (Some(a), Some(b)) => a.eq_ignore_ascii_case(&b),
                _ => false,
            },
            (None, None) => true,
            _ => false,
        };
        // Nearly every local part is unquoted; a message with a thousand recipients compares half a million.
        let is_plain = |local: &str| local.is_ascii() && !local.starts_with('"');
        let is_key_needed = !(is_plain(&self.local) && is_plain(&other.local));
        same_domain && (self.local == other.local || is_key_needed && self.local_key() == other.local_key())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.local)?;
        match &self.domain {
            Some(domain) => write!(f, "@{domain}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse_utf8(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

// Length of the local part at the start of `text`: a dot-string or a quoted string (RFC 5321 §4.1.2).
fn local_part_len(text: &str) -> Result<usize, AddressError> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut is_escaped = false;
        for (index, octet) in quoted.bytes().enumerate() {
            match octet {
                _ if octet < b' ' || octet == 0x7f => return Err(AddressError::Character),
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' if index == 0 => return Err(AddressError::Form),
                b'"' => return Ok(index + 2),
                _ => {}
            }
        }
        return Err(AddressError::Form);
    }
    let len = text.bytes().position(|octet| octet == b'@').unwrap_or(text.len());
    let local = text.get(..len).unwrap_or_default();
    let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_atext);
    if local.bytes().any(|octet| octet != b'.' && !is_atext(octet)) {
        return Err(AddressError::Character);
    }
    if local.split('.').all(is_atom) { Ok(len) } else { Err(AddressError::Form) }
}

fn is_atext(octet: u8) -> bool {
    // RFC 6531 §3.3: every letter beyond ASCII is one of an atom.
    !octet.is_ascii() || octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

/// A domain as DNS knows it: letters beyond ASCII as A-labels (RFC 5891); `None` where it has no such form.
pub fn domain_to_ascii(domain: &str) -> Option<Cow<'_, str>> {
    if domain.is_ascii() {
        return Some(Cow::Borrowed(domain));
    }
    idna::domain_to_ascii_strict(domain).ok().map(Cow::Owned)
}

/// Checks a domain or an address literal (RFC 5321 §4.1.2, §4.1.3).
///
/// # Errors
/// [`AddressError::Domain`], or [`AddressError::TooLong`] where it or a label is over its limit.
pub fn check_domain(domain: &str) -> Result<(), AddressError> {
    if domain.len() > DOMAIN_BYTES_MAX {
        return Err(AddressError::TooLong);
    }
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return parse_literal(literal).map(drop).ok_or(AddressError::Domain);
    }
    for label in domain.split('.') {
        if label.len() > LABEL_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        // RFC 1123 lets a label begin with a digit. Underscores are outside the grammar but live in names of
        // hosts that send mail; they harm nobody.
        let is_inner = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
        let is_label =
            !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-');
        if !is_label {
            return Err(AddressError::Domain);
        }
    }
    Ok(())
}

fn parse_literal(literal: &str) -> Option<core::net::IpAddr> {
    let is_tagged = literal.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    match literal.get(5..).filter(|_| is_tagged) {
        Some(address) => address.parse().ok().map(core::net::IpAddr::V6),
        None => literal.parse().ok().map(core::net::IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_addresses_parse_and_print_alike() {
        for text in [
            "a@b.example",
            "a.b+c@d.example",
            "\"a b\"@x.example",
            "\"a@b\"@x.example",
            "\"a\\\"b\"@x.example",
            "a@[192.0.2.1]",
            "a@[IPv6:2001:db8::1]",
            "postmaster",
            "PostMaster",
            "a@localhost",
            "=?utf-8?q?u?=@x.example",
        ] {
            assert_eq!(Address::parse(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn invalid_addresses_say_why() {
        let long_local = format!("{}@x.example", "a".repeat(65));
        let long_label = format!("a@{}.example", "b".repeat(64));
        for (text, why) in [
            ("", AddressError::Empty),
            ("a", AddressError::Form),
            ("a@", AddressError::Domain),
            ("@b", AddressError::Form),
            ("a@b@c", AddressError::Domain),
            ("a b@c", AddressError::Character),
            ("a\0@c", AddressError::Character),
            ("a@b\r", AddressError::Domain),
            (".a@c", AddressError::Form),
            ("a..b@c", AddressError::Form),
            ("(x)a@c", AddressError::Character),
            ("\"\"@c", AddressError::Form),
            ("\"a@c", AddressError::Form),
            ("a@-b.example", AddressError::Domain),
            ("a@b..example", AddressError::Domain),
            ("a@b.example.", AddressError::Domain),
            ("a@[300.1.1.1]", AddressError::Domain),
            ("ü@c", AddressError::NotAscii),
            (long_local.as_str(), AddressError::TooLong),
            (long_label.as_str(), AddressError::TooLong),
        ] {
            assert_eq!(Address::parse(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn letters_beyond_ascii_are_compared_as_what_they_mean() {
        let parse = |text: &str| Address::parse_utf8(text);
        let is_same = |a: &str, b: &str| parse(a).expect("valid").is_same(&parse(b).expect("valid"));
        assert!(is_same("j\u{f6}rg@b\u{fc}cher.example", "jo\u{308}rg@xn--bcher-kva.EXAMPLE"));
        assert!(is_same("\"j\u{f6}rg\"@x.example", "j\u{f6}rg@x.example"));
        // The ligature looks like "fi", and is another address.
        assert!(!is_same("\u{fb01}@x.example", "fi@x.example"));
        assert_eq!(
            parse("a@b\u{fc}cher.example").expect("valid").ascii_domain().as_deref(),
            Some("xn--bcher-kva.example")
        );
        for (bad, why) in [
            ("a\u{85}b@x.example", AddressError::Character),
            ("a\u{2028}b@x.example", AddressError::Character),
            ("a@x\u{2024}\u{2024}y.example", AddressError::Domain),
            ("a@x\u{3002}\u{3002}y.example", AddressError::Domain),
            ("a@\u{200d}.example", AddressError::Domain),
        ] {
            assert_eq!(parse(bad), Err(why), "{bad:?}");
        }
        assert_eq!(parse(&format!("{}@x.example", "\u{f6}".repeat(33))), Err(AddressError::TooLong));
        assert_eq!(Address::parse("\u{f6}@x.example"), Err(AddressError::NotAscii));
    }

    #[test]
    fn an_ascii_local_part_goes_anywhere_and_another_does_not() {
        let ascii = |text| Address::parse_utf8(text).expect("valid").to_ascii();
        assert_eq!(ascii("a@b\u{fc}cher.example").as_deref(), Some("a@xn--bcher-kva.example"));
        assert_eq!(ascii("\"a b\"@x.example").as_deref(), Some("\"a b\"@x.example"));
        assert_eq!(ascii("postmaster").as_deref(), Some("postmaster"));
        assert_eq!(ascii("j\u{f6}rg@x.example"), None);
    }

    #[test]
    fn quoting_and_domain_case_do_not_make_another_mailbox() {
        let parse = |text| Address::parse(text).expect("valid");
        assert!(parse("\"a\"@X.example").is_same(&parse("a@x.EXAMPLE")));
        assert!(!parse("A@x.example").is_same(&parse("a@x.example")));
    }
}
