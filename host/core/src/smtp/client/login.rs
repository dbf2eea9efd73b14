//! Logging in (RFC 4954).

use crate::base64;
use crate::limits::AUTH_LINE_BYTES_MAX;
use crate::reply::Reply;
use crate::smtp::client::live::{Live, put_line};
use crate::smtp::client::policy::{Credentials, Mechanism};

/// A login on its way: the answers that are left.
#[derive(Debug)]
pub(super) struct Login {
    // The last is the next; a challenge beyond them has no answer.
    answers: Vec<Secret>,
    is_cancelled: bool,
}

// Answers carry the password.
struct Secret(String);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

impl Login {
    /// Begins a login, or says why it is not tried.
    pub(super) fn begin(live: &Live, credentials: &Credentials, wire: &mut Vec<u8>) -> Result<Self, Reply> {
        if live.tls.is_none() && !credentials.may_go_unencrypted {
            return Err(Reply::with(454, 7, 0, "the login is not tried: the connection is not encrypted"));
        }
        let is_offered = |mechanism: &&Mechanism| live.offered.mechanisms.contains(mechanism);
        let Some(mechanism) = credentials.mechanisms.iter().find(is_offered).copied() else {
            return Err(Reply::with(454, 7, 0, "the login is not tried: the next server offers no known way to"));
        };
        let mut answers = answers(mechanism, credentials);
        let mut command = format!("AUTH {}", mechanism.name());
        // LOGIN is older than initial responses, and servers that have it do not all take one.
        let initial = answers.last().filter(|_| mechanism != Mechanism::Login);
        let initial = initial.map(|initial| format!(" {}", initial.0)).unwrap_or_default();
        if !initial.is_empty() && command.len() + initial.len() + 2 <= AUTH_LINE_BYTES_MAX {
            command.push_str(&initial);
            answers.pop();
        }
        put_line(wire, &command);
        Ok(Self { answers, is_cancelled: false })
    }

    /// Answers a challenge.
    pub(super) fn answer(&mut self, wire: &mut Vec<u8>) {
        match self.answers.pop() {
            Some(answer) => put_line(wire, &answer.0),
            None => {
                // RFC 4954 §4: a lone asterisk gives up. XOAUTH2 wants an empty answer to its last challenge,
                // the reason of the refusal; the asterisk ends that as well.
                put_line(wire, "*");
                self.is_cancelled = true;
            }
        }
    }

    /// Whether the login was given up; a further challenge makes no sense then.
    pub(super) fn is_cancelled(&self) -> bool {
        self.is_cancelled
    }
}

// The answers in reverse order.
fn answers(mechanism: Mechanism, credentials: &Credentials) -> Vec<Secret> {
    let Credentials { user, secret, .. } = credentials;
    let texts = match mechanism {
        Mechanism::Plain => vec![format!("\0{user}\0{secret}")],
        Mechanism::Login => vec![secret.clone(), user.clone()],
        Mechanism::XOAuth2 => vec![format!("user={user}\u{1}auth=Bearer {secret}\u{1}\u{1}")],
    };
    texts.iter().map(|text| Secret(base64::encode(text.as_bytes()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials {
            user: "u".into(),
            secret: "hidden".into(),
            mechanisms: vec![Mechanism::Plain],
            may_go_unencrypted: false,
        };
        let shown = format!("{credentials:?} {:?}", answers(Mechanism::Plain, &credentials));
        assert!(!shown.contains("hidden") && !shown.contains(&base64::encode(b"\0u\0hidden")), "{shown}");
    }
}
