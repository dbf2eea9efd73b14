//! The dialogue of a mechanism of this server's own.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::limits::{AUTH_RESPONSE_BYTES_MAX, USER_BYTES_MAX};
use crate::mail::Auth;
use crate::reply::Reply;
use crate::secret::Secret;
use crate::smtp::auth::accounts::prepare;
use crate::smtp::auth::command::decode;
use crate::smtp::auth::scram::{self, Final, First};
use crate::smtp::auth::verify::{Login, Verifying};
use crate::smtp::auth::{Failed, Mechanism};
use crate::smtp::awaiting::{Purpose, Wanted};
use crate::smtp::live::Live;
use crate::smtp::outbox::Outbox;
use crate::smtp::session::Step;
use crate::time::Timestamp;

/// What LOGIN asks; clients look for nothing else, and some look for just these words.
const LOGIN_USER: &[u8] = b"Username:";
const LOGIN_PASSWORD: &[u8] = b"Password:";

/// A mechanism and how far it has come.
#[derive(Debug)]
pub(in crate::smtp) struct Exchange {
    mechanism: Mechanism,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The client's first message, of whatever mechanism.
    First,
    /// LOGIN: the password of this user.
    Password(String),
    /// SCRAM: the client's proof.
    Proof(Box<Final>),
    /// SCRAM: the empty response to the server's own proof.
    Over { user: String },
}

// What a response leads to.
enum Turn {
    Challenge(Vec<u8>, Stage),
    /// To be compared; behind it SCRAM's proof of this server.
    Compare(Login, Option<Vec<u8>>),
    Done {
        user: String,
    },
}

impl Exchange {
    /// The command that opened it, for `on-reject` and logs.
    pub(in crate::smtp) fn line(&self) -> &'static [u8] {
        self.mechanism.line()
    }
}

impl Mechanism {
    /// The command that begins it, without what may follow.
    pub(super) fn line(self) -> &'static [u8] {
        match self {
            Self::Plain => b"AUTH PLAIN",
            Self::Login => b"AUTH LOGIN",
            Self::ScramSha256 => b"AUTH SCRAM-SHA-256",
            Self::ScramSha256Plus => b"AUTH SCRAM-SHA-256-PLUS",
        }
    }
}

impl Live {
    /// Begins a mechanism.
    pub(in crate::smtp) fn begin_auth(
        self: Box<Self>,
        mechanism: Mechanism,
        initial: Option<&Secret>,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        match initial {
            Some(response) => self.take_turn(mechanism, Stage::First, response.reveal(), now, outbox),
            None => {
                let challenge = if mechanism == Mechanism::Login { LOGIN_USER } else { b"" };
                self.challenge(mechanism, challenge, Stage::First, outbox)
            }
        }
    }

    /// Takes the response to a challenge, a line as it came.
    pub(in crate::smtp) fn respond(
        self: Box<Self>,
        exchange: Exchange,
        line: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let Exchange { mechanism, stage } = exchange;
        outbox.flush_now = true;
        // RFC 4954 §4: a lone asterisk gives up.
        if line == b"*" {
            return self.auth_failed(Failed::Cancelled, None, mechanism.line(), now, outbox);
        }
        match decode(line) {
            Some(response) => self.take_turn(mechanism, stage, response.reveal(), now, outbox),
            None => self.auth_failed(Failed::Malformed, None, mechanism.line(), now, outbox),
        }
    }

    fn take_turn(
        self: Box<Self>,
        mechanism: Mechanism,
        stage: Stage,
        response: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        match self.turn(mechanism, stage, response) {
            Ok(Turn::Challenge(challenge, stage)) => self.challenge(mechanism, &challenge, stage, outbox),
            Ok(Turn::Compare(login, signature)) => {
                let user = login.user.clone();
                Step::Verify(Verifying { live: self, mechanism, user, signature }, login)
            }
            Ok(Turn::Done { user }) => {
                let auth = Auth { user, mechanism: mechanism.name().to_owned() };
                self.auth_succeeded(auth, None, mechanism.line(), now, outbox)
            }
            Err(failed) => self.auth_failed(failed, None, mechanism.line(), now, outbox),
        }
    }

    fn turn(&self, mechanism: Mechanism, stage: Stage, response: &[u8]) -> Result<Turn, Failed> {
        // The listener's policy has not changed since AUTH was let through.
        let Some(policy) = &self.policy.auth else { return Err(Failed::Unavailable) };
        if !policy.accounts.is_available() {
            return Err(Failed::Unavailable);
        }
        match (stage, mechanism) {
            (Stage::First, Mechanism::Plain) => plain(response).map(|login| Turn::Compare(login, None)),
            (Stage::First, Mechanism::Login) => {
                Ok(Turn::Challenge(LOGIN_PASSWORD.to_vec(), Stage::Password(user_name(response)?)))
            }
            (Stage::First, Mechanism::ScramSha256 | Mechanism::ScramSha256Plus) => {
                let first = First::parse(response)?;
                first.check_binding(mechanism, &self.channel, policy)?;
                // Unique on this server: the session, and the command within it.
                let nonce = policy.accounts.nonce(&[self.facts.id.as_bytes(), b" ", &self.commands.to_be_bytes()]);
                let (challenge, next) = scram::challenge(first, &nonce, &policy.accounts);
                Ok(Turn::Challenge(challenge, Stage::Proof(Box::new(next))))
            }
            (Stage::Password(user), _) => Ok(Turn::Compare(Login::with_password(user, response), None)),
            (Stage::Proof(expected), _) => {
                let signature = match expected.check(response, &self.channel) {
                    Ok(signature) => Some(signature),
                    Err(Failed::Wrong) => None,
                    Err(failed) => return Err(failed),
                };
                // Whoever counts guesses counts these too, and may have had enough of them.
                let login = Login::with_proof(expected.user, signature.is_some());
                Ok(Turn::Compare(login, signature))
            }
            // RFC 4954 §4: the server's last message of a mechanism goes into a challenge, and the client's answer to
            // it is empty.
            (Stage::Over { user }, _) if response.is_empty() => Ok(Turn::Done { user }),
            (Stage::Over { .. }, _) => Err(Failed::Malformed),
        }
    }

    /// Shows a client that proved who it is that this server knows its password too.
    pub(super) fn prove(
        self: Box<Self>,
        mechanism: Mechanism,
        signature: &[u8],
        user: String,
        outbox: &mut Outbox,
    ) -> Step {
        self.challenge(mechanism, signature, Stage::Over { user }, outbox)
    }

    fn challenge(self: Box<Self>, mechanism: Mechanism, challenge: &[u8], stage: Stage, outbox: &mut Outbox) -> Step {
        let reply = Reply::new(334, None, BASE64_STANDARD.encode(challenge));
        let purpose = Purpose::Auth(Exchange { mechanism, stage });
        self.await_input(&reply, purpose, Wanted::Line { bytes_max: AUTH_RESPONSE_BYTES_MAX }, outbox)
    }
}

// RFC 4616 §2: [authorization identity] NUL user NUL password.
fn plain(response: &[u8]) -> Result<Login, Failed> {
    let mut parts = response.split(|&octet| octet == 0);
    let (Some(authorize_as), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failed::Malformed);
    };
    let user = user_name(user)?;
    // Nobody acts for somebody else here.
    if !authorize_as.is_empty() && user_name(authorize_as)? != user {
        return Err(Failed::Wrong);
    }
    Ok(Login::with_password(user, password))
}

/// A user's name as it is compared. What cannot be one is no user's.
pub(super) fn user_name(octets: &[u8]) -> Result<String, Failed> {
    let text = core::str::from_utf8(octets).ok().filter(|text| text.len() <= USER_BYTES_MAX);
    text.and_then(|text| prepare(text).ok()).ok_or(Failed::Wrong)
}
