//! The field of this server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::mail::authres::{Authority, NAME};
use crate::mail::{Arrival, AuthMethod, AuthResult, Field};

/// Longest value of a property, in octets: an address of the largest size (RFC 5321 §4.5.3.1) with room for its quotes. A
/// longer one is left out, for a part of it would be about something else.
const VALUE_BYTES_MAX: usize = 330;

/// Longest reason, in octets; it is for people.
const REASON_BYTES_MAX: usize = 120;

/// Octets of a signature that tell it from the others of a message: 12 characters of its text, RFC 6008 §4 wants 8.
const SIGNATURE_OCTETS: usize = 9;

/// Makes the field out of what was found about a message; `None` where there is nothing to say.
///
/// Results of messages whose sender logged in are left to that: `auth=` is all that is stated. Values are what others
/// wrote: they stand there as tokens where they are some, else quoted, without controls, and without letters beyond ASCII
/// where the message must not have any.
pub fn own_field(authority: &Authority, arrival: &Arrival, results: &[AuthResult], is_utf8: bool) -> Option<Field> {
    let mut statements = Vec::new();
    if let Some(auth) = &arrival.vouched.auth {
        statements.push(property("auth=pass".to_owned(), "smtp.auth", &auth.user, is_utf8));
    } else {
        // RFC 8601 §2.7.3: the address has a name that leads back to it. Whether it has none nobody may have asked.
        let address = arrival.client.map(|client| client.ip().to_canonical().to_string());
        if let (Some(_), Some(address), false) = (&arrival.vouched.client_name, &address, results.is_empty()) {
            statements.push(property("iprev=pass".to_owned(), "policy.iprev", address, is_utf8));
        }
        statements.extend(results.iter().map(|result| statement(result, address.as_deref(), is_utf8)));
    }
    if statements.is_empty() {
        return None;
    }
    Field::new(NAME, &format!("{}; {}", authority.id(), statements.join("; "))).ok()
}

/// The start of a signature as the field has it (`header.b`, RFC 6008), which tells several ones apart.
pub fn signature_start(signature: &[u8]) -> String {
    STANDARD.encode(signature.get(..SIGNATURE_OCTETS).unwrap_or(signature))
}

fn statement(result: &AuthResult, client: Option<&str>, is_utf8: bool) -> String {
    let AuthResult { method, outcome, properties, reason, .. } = result;
    let mut text = format!("{method}={outcome}");
    if !matches!(*outcome, "pass" | "none") {
        let end = reason.floor_char_boundary(REASON_BYTES_MAX);
        text = format!("{text} reason={}", quoted(reason.get(..end).unwrap_or_default(), is_utf8));
    }
    // RFC 8601 §2.7, RFC 7489 §11.1 and RFC 8617 §10.2 have these names.
    let names: &[&str] = match method {
        AuthMethod::Spf => &["smtp.mailfrom", "smtp.helo"],
        AuthMethod::Dkim => &["header.d", "header.s", "header.a", "header.b"],
        AuthMethod::Dmarc => &["header.from", "policy.dmarc"],
        AuthMethod::Arc => &[],
    };
    for name in names {
        if let Some(value) = properties.get(name) {
            text = property(text, name, value, is_utf8);
        }
    }
    match client {
        Some(client) if *method == AuthMethod::Arc && *outcome != "none" => {
            property(text, "smtp.remote-ip", client, is_utf8)
        }
        Some(_) | None => text,
    }
}

fn property(text: String, name: &str, value: &str, is_utf8: bool) -> String {
    if value.is_empty() || value.len() > VALUE_BYTES_MAX {
        return text;
    }
    // RFC 8601 §2.2: pvalue is a token, a quoted string, or an address.
    let parts = value.rsplit_once('@').filter(|(local, _)| !local.is_empty());
    let is_plain = parts.map_or_else(|| is_token(value), |(local, domain)| is_token(local) && is_token(domain));
    let value = if is_plain { value.to_owned() } else { quoted(value, is_utf8) };
    format!("{text} {name}={value}")
}

// RFC 2045 §5.1.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&octet))
}

fn quoted(text: &str, is_utf8: bool) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Separators of lines are none to SMTP, and are some to who reads the field.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => quoted.push('?'),
            c if !c.is_ascii() && !is_utf8 => quoted.push('?'),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
