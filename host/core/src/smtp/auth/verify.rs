//! A login that is being compared.

use core::net::SocketAddr;

use crate::mail::Auth;
use crate::secret::Secret;
use crate::smtp::auth::{Failed, Mechanism};
use crate::smtp::live::Live;
use crate::smtp::outbox::Outbox;
use crate::smtp::session::Step;
use crate::time::Timestamp;

/// A login that is tried: a user name and what is to show that it is that user's. The shell may refuse to have it
/// compared, because somebody guesses too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user, in the form that names are compared in. Nobody has shown yet that it is that user.
    pub user: String,
    pub(super) evidence: Evidence,
}

/// What is to show that a client is a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The password of PLAIN or LOGIN, as it came.
    Password(Secret),
    /// The proof of SCRAM, which costs nothing to check; whether it is right.
    Proof(bool),
}

impl Login {
    /// A login with a password.
    pub fn with_password(user: impl Into<String>, password: impl Into<Vec<u8>>) -> Self {
        Self { user: user.into(), evidence: Evidence::Password(Secret::new(password)) }
    }

    /// The password; `None` where the client has proved in another way that it knows it, or failed to.
    pub fn password(&self) -> Option<&Secret> {
        match &self.evidence {
            Evidence::Password(password) => Some(password),
            Evidence::Proof(_) => None,
        }
    }

    pub(super) fn with_proof(user: String, is_right: bool) -> Self {
        Self { user, evidence: Evidence::Proof(is_right) }
    }
}

/// What came of comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// It is the password of that user.
    Right,
    /// It is not, or there is no such user; which of them is nobody's business.
    Wrong,
    /// The users cannot be read now.
    Unavailable,
}

/// A session that waits until a login is compared.
///
/// The shell runs [`Accounts::verify`](crate::smtp::auth::Accounts::verify) of the listener's policy where computing
/// for some ten milliseconds keeps nobody waiting, and says what came of it.
#[derive(Debug)]
pub struct Verifying {
    pub(super) live: Box<Live>,
    pub(super) mechanism: Mechanism,
    pub(super) user: String,
    /// SCRAM: this server's own proof, which the client is to see before it hears that it is in.
    pub(super) signature: Option<Vec<u8>>,
}

impl Verifying {
    /// Who tries: the client, also where a proxy speaks for it.
    pub fn client(&self) -> SocketAddr {
        self.live.facts.client
    }

    /// Goes on with what came of comparing.
    pub fn verified(self, verified: Verified, now: Timestamp, outbox: &mut Outbox) -> Step {
        let Self { live, mechanism, user, signature } = self;
        let line = mechanism.line();
        match (verified, signature) {
            (Verified::Right, Some(signature)) => live.prove(mechanism, &signature, user, outbox),
            (Verified::Right, None) => {
                live.auth_succeeded(Auth { user, mechanism: mechanism.name().to_owned() }, None, line, now, outbox)
            }
            (Verified::Wrong, _) => live.auth_failed(Failed::Wrong, Some(user), line, now, outbox),
            (Verified::Unavailable, _) => live.auth_failed(Failed::Unavailable, Some(user), line, now, outbox),
        }
    }
}
