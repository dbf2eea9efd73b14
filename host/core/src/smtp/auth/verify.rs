//! A password that is being compared.

use crate::mail::Auth;
use crate::secret::Secret;
use crate::smtp::auth::{Failed, Mechanism};
use crate::smtp::live::Live;
use crate::smtp::outbox::Outbox;
use crate::smtp::session::Step;
use crate::time::Timestamp;

/// A user name and a password of PLAIN or LOGIN, to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user, in the form that names are compared in. Nobody has shown yet that it is that user.
    pub user: String,
    /// The password, as it came.
    pub password: Secret,
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

/// A session that waits until a password is compared.
///
/// The shell runs [`Accounts::verify`](crate::smtp::auth::Accounts::verify) of the listener's policy where computing
/// for some ten milliseconds keeps nobody waiting, and says what came of it.
#[derive(Debug)]
pub struct Verifying {
    pub(super) live: Box<Live>,
    pub(super) mechanism: Mechanism,
    pub(super) user: String,
}

impl Verifying {
    /// Goes on with what came of comparing.
    pub fn verified(self, verified: Verified, now: Timestamp, outbox: &mut Outbox) -> Step {
        let Self { live, mechanism, user } = self;
        let line = mechanism.line();
        match verified {
            Verified::Right => {
                live.auth_succeeded(Auth { user, mechanism: mechanism.name().to_owned() }, None, line, now, outbox)
            }
            Verified::Wrong => live.auth_failed(Failed::Wrong, line, now, outbox),
            Verified::Unavailable => live.auth_failed(Failed::Unavailable, line, now, outbox),
        }
    }
}
