//! The command AUTH: its form, and whether its time is right.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::reply::Reply;
use crate::secret::Secret;
use crate::smtp::auth::{Failed, Mechanism};
use crate::smtp::command::{CommandError, Request};
use crate::smtp::intent::{Action, Intent, OutOfSequence, Refusal, Tally};
use crate::smtp::live::Live;

/// Longest name of a mechanism (RFC 4422 §3.1).
const MECHANISM_BYTES_MAX: usize = 20;

/// Reads what stands behind the verb (RFC 4954 §4): a mechanism, and perhaps a response for it.
pub(in crate::smtp) fn parse(argument: &[u8]) -> Result<Request, CommandError> {
    let mut words = argument.split(|&octet| octet == b' ');
    let mechanism = words.next().and_then(|word| core::str::from_utf8(word).ok()).unwrap_or_default();
    let is_name = (1..=MECHANISM_BYTES_MAX).contains(&mechanism.len())
        && mechanism.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'));
    let (initial, rest) = (words.next(), words.next());
    if !is_name || rest.is_some() {
        return Err(CommandError::Argument("AUTH mechanism [initial-response]"));
    }
    let initial = match initial {
        None => None,
        // RFC 4954 §4: an empty response is written so, or it could not be told from none.
        Some(b"=") => Some(Secret::default()),
        Some(coded) => Some(decode(coded).ok_or(CommandError::InitialResponse)?),
    };
    Ok(Request::Auth { mechanism: mechanism.to_ascii_uppercase(), initial })
}

/// Decodes a response (RFC 4648 §4): what is not exactly base64 is not guessed at.
pub(super) fn decode(coded: &[u8]) -> Option<Secret> {
    BASE64_STANDARD.decode(coded).ok().map(Secret::new)
}

/// A line as it may be shown and kept: of AUTH what stands behind the mechanism is left out. Clients send it
/// unasked, and it may be a password (RFC 4954 §4, initial response).
///
/// A bare CR, LF or NUL makes the line no command, and the password behind it no other one: AUTH counts wherever a
/// client that ends its lines so would begin one.
pub fn without_secrets(line: &[u8]) -> &[u8] {
    let starts = line.iter().enumerate().filter(|(_, octet)| is_line_end(octet)).map(|(at, _)| at + 1);
    let mut ends = [0].into_iter().chain(starts).filter_map(|start| {
        let rest = line.get(start..)?;
        response_at(rest).map(|end| start + end)
    });
    ends.next().and_then(|end| line.get(..end)).unwrap_or(line)
}

// Where the mechanism of AUTH ends and something follows.
fn response_at(line: &[u8]) -> Option<usize> {
    let is_blank = |octet: &u8| matches!(octet, b' ' | b'\t') || is_line_end(octet);
    // Blanks in front make it no command, and the password no other one.
    let start = line.iter().position(|octet| !is_blank(octet))?;
    let mut blanks = line.iter().enumerate().skip(start).filter(|(_, octet)| is_blank(octet)).map(|(at, _)| at);
    let verb = blanks.next().and_then(|end| line.get(start..end))?;
    blanks.next().filter(|_| verb.eq_ignore_ascii_case(b"AUTH"))
}

fn is_line_end(octet: &u8) -> bool {
    octet.is_ascii_control() && *octet != b'\t'
}

impl Live {
    /// Checks whether the time for AUTH is right, and the mechanism one that is offered.
    pub(in crate::smtp) fn intend_auth(
        &self,
        mechanism: String,
        initial: Option<Secret>,
    ) -> Result<Intent, OutOfSequence> {
        let refused = |reply, tally| Err(OutOfSequence { reply, tally });
        let attempts_max = self.policy.auth.as_ref().map_or(crate::limits::AUTH_ATTEMPTS_MAX, |auth| auth.attempts_max);
        if self.auth_failures >= attempts_max {
            return refused(Reply::with(421, 7, 0, "too many failed logins; closing"), Tally::Fault);
        }
        // RFC 4954 §4: after EHLO, once, and not within a transaction.
        if !self.facts.is_esmtp {
            return refused(Reply::with(503, 5, 1, "send EHLO first"), Tally::Fault);
        }
        if self.facts.vouched.auth.is_some() {
            return refused(Reply::with(503, 5, 1, "you are logged in already"), Tally::Fault);
        }
        if self.transaction.is_some() {
            return refused(Reply::with(503, 5, 1, "a transaction is open; RSET ends it"), Tally::Fault);
        }
        if self.policy.auth.is_none() {
            // Nor for a mechanism of a sink: a login lets its user send anywhere, and that is the operator's to allow.
            return refused(Reply::with(502, 5, 1, "AUTH is not offered"), Tally::Idle);
        }
        if self.auth_needs_tls_first() {
            // RFC 4954 §6; not a word about the mechanism or the password that may have come with it.
            return refused(
                Reply::with(538, 7, 11, "encryption is required to log in; send STARTTLS first"),
                Tally::Idle,
            );
        }
        if self.is_barred {
            return refused(Failed::Unavailable.reply().0, Tally::Idle);
        }
        let own = Mechanism::parse(&mechanism).filter(|own| self.offered_mechanisms().any(|offered| offered == *own));
        let refusal = own.is_none().then(|| Reply::with(504, 5, 4, "mechanism not offered"));
        let tally = Tally::Idle;
        let refusal = refusal.map(|reply| Refusal { reply, tally, is_policy: false, is_size: false });
        // How a login ends is not known before it is tried; `on-authenticated` has that.
        let reply = Reply::new(334, None, "");
        Ok(Intent { action: Action::Auth { own, initial }, reply, tally, refusal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(argument: &str) -> Result<(String, Option<Vec<u8>>), CommandError> {
        let Request::Auth { mechanism, initial } = parse(argument.as_bytes())? else { unreachable!("it is AUTH") };
        Ok((mechanism, initial.map(|initial| initial.reveal().to_vec())))
    }

    #[test]
    fn a_mechanism_and_a_response_are_read() {
        assert_eq!(read("plain"), Ok(("PLAIN".into(), None)));
        assert_eq!(read("PLAIN AGEAYg=="), Ok(("PLAIN".into(), Some(b"\0a\0b".to_vec()))));
        assert_eq!(read("X-OWN_1 ="), Ok(("X-OWN_1".into(), Some(Vec::new()))));
    }

    #[test]
    fn what_may_be_a_password_is_left_out() {
        let shown = |line: &'static str| String::from_utf8_lossy(without_secrets(line.as_bytes()));
        assert_eq!(shown("auth PLAIN AGEAYg=="), "auth PLAIN");
        assert_eq!(shown("AUTH\tPLAIN\tAGEAYg== x"), "AUTH\tPLAIN");
        assert_eq!(shown("AUTH  AGEAYg=="), "AUTH ");
        assert_eq!(shown(" \tAUTH PLAIN AGEAYg=="), " \tAUTH PLAIN");
        for line in ["AUTH LOGIN", "AUTH", "", "RCPT TO:<a@b.example> X=Y Z", "AUTHOR a b", "NOOP\nNOOP"] {
            assert_eq!(shown(line), line);
        }
    }

    #[test]
    fn what_may_be_a_password_is_left_out_of_lines_that_end_wrongly_too() {
        let shown = |line: &'static str| String::from_utf8_lossy(without_secrets(line.as_bytes()));
        assert_eq!(shown("\nAUTH PLAIN AGEAYg=="), "\nAUTH PLAIN");
        assert_eq!(shown("EHLO c\nAUTH PLAIN AGEAYg==\nQUIT"), "EHLO c\nAUTH PLAIN");
        assert_eq!(shown("EHLO c\r\0\n auth login\rYQ=="), "EHLO c\r\0\n auth login");
    }

    #[test]
    fn nothing_is_guessed() {
        for bad in
            ["", "PLAIN  AGEAYg==", "PLAIN AGEAYg== x", "PL\u{e4}IN", "A23456789012345678901", "PLAIN\tx", " PLAIN"]
        {
            assert!(matches!(read(bad), Err(CommandError::Argument(_))), "{bad:?}");
        }
        for bad in ["AGEAYg", "AGEAYg=", "AGEAYh==", "A*==", "==", "\u{e4}"] {
            assert_eq!(read(&format!("PLAIN {bad}")), Err(CommandError::InitialResponse), "{bad:?}");
        }
    }
}
