//! AUTH (RFC 4954) in the small.

use basin_fuzzing::world::{ATTEMPTS_MAX, USER};

use super::Model;
use crate::octets::base64;
use crate::words::{Greeting, Sasl};

/// Longest response to a challenge of AUTH, CR LF included (RFC 4954 §4).
const RESPONSE_BYTES_MAX: usize = 12_288;

/// What clients of SCRAM begin with here: a user that there is, and one that there is not.
const FIRST_MESSAGES: [&[u8]; 2] = [b"n,,n=alice,r=abc", b"n,,n=mallory,r=abc"];

impl Model<'_> {
    // RFC 4954 §4.
    pub(super) fn auth(&mut self, mechanism: Sasl, initial: Option<&'static str>) {
        if self.failures >= ATTEMPTS_MAX && self.offers.has_auth {
            return self.close(421);
        }
        if self.greeting != Some(Greeting::Ehlo) || self.is_logged_in || self.transaction.is_some() {
            return self.say(503);
        }
        if !self.offers.has_auth {
            return self.say(502);
        }
        if self.offers.auth_needs_tls && !self.has_tls {
            return self.say(538);
        }
        let end = match mechanism {
            Sasl::Unknown => Some(504),
            Sasl::Plain => self.plain(initial),
            Sasl::Login => self.login(initial),
            Sasl::Scram => self.scram(initial),
            // RFC 5802 §6: who binds to nothing has no business with it, and on a plain connection it is not offered.
            Sasl::Plus => Some(if self.has_tls { 535 } else { 504 }),
        };
        // No end: the input was over, or the server hung up.
        let Some(code) = end else { return };
        self.is_logged_in = code == 235;
        self.failures += u32::from(code == 535);
        self.say(code);
    }

    fn plain(&mut self, initial: Option<&'static str>) -> Option<u16> {
        let response = match self.response(initial)? {
            Ok(response) => response,
            Err(code) => return Some(code),
        };
        let parts: Vec<&[u8]> = response.split(|octet| *octet == 0).collect();
        let [authorize_as, user, password] = parts.as_slice() else { return Some(501) };
        let is_self = authorize_as.is_empty() || authorize_as == user;
        Some(if is_self && (*user, *password) == right() { 235 } else { 535 })
    }

    fn login(&mut self, initial: Option<&'static str>) -> Option<u16> {
        let user = match self.response(initial)? {
            Ok(user) => user,
            Err(code) => return Some(code),
        };
        // What can be no user's name is told at once.
        let is_name =
            core::str::from_utf8(&user).is_ok_and(|name| !name.is_empty() && !name.contains(char::is_control));
        if !is_name {
            return Some(535);
        }
        match self.response(None)? {
            Ok(password) => Some(if (user.as_slice(), password.as_slice()) == right() { 235 } else { 535 }),
            Err(code) => Some(code),
        }
    }

    // RFC 5802 §3, RFC 7677: two messages of the client, and an empty one when it has seen the server's own proof.
    fn scram(&mut self, initial: Option<&'static str>) -> Option<u16> {
        match self.response(initial)? {
            Ok(first) if FIRST_MESSAGES.contains(&first.as_slice()) => {}
            Ok(_) => return Some(501),
            Err(code) => return Some(code),
        }
        let place = self.at;
        if let Err(code) = self.response(None)? {
            return Some(code);
        }
        if !self.proofs.right.contains(&place) {
            return Some(if self.proofs.wrong.contains(&place) { 535 } else { 501 });
        }
        match self.response(None)? {
            Ok(nothing) => Some(if nothing.is_empty() { 235 } else { 501 }),
            Err(code) => Some(code),
        }
    }

    /// The response to a challenge, decoded; `None` where there is none, an error where it is not to be read.
    fn response(&mut self, initial: Option<&'static str>) -> Option<Result<Vec<u8>, u16>> {
        if let Some(initial) = initial {
            return Some(Ok(base64(initial.as_bytes()).unwrap_or_default()));
        }
        if self.arrived > self.at {
            self.close(503);
            return None;
        }
        self.say(334);
        let line = self.line()?;
        Some(if line.len() + 2 > RESPONSE_BYTES_MAX { Err(500) } else { base64(line).ok_or(501) })
    }
}

fn right() -> (&'static [u8], &'static [u8]) {
    (USER.0.as_bytes(), USER.1.as_bytes())
}
