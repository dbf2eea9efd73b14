//! AUTH (RFC 4954): who a client is.
//!
//! PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS are this server's own; any other mechanism is a sink's, which
//! answers the command with `await-input` and ends it with `set-authenticated` and `consume` of a 235. All of them
//! end in `on-authenticated`, whose refusal takes the identity back before the client hears of it.
//!
//! `exchange` is the dialogue, `scram` the mechanism of that name, [`accounts`] the users and what is kept of
//! their passwords, [`verify`] the one step that takes long and that the shell therefore does elsewhere.

pub mod accounts;
pub(super) mod command;
mod ended;
mod exchange;
mod parameter;
mod pbkdf2;
mod scram;
pub mod verify;

use core::fmt;
use std::sync::Arc;

pub use accounts::{Accounts, AccountsError, BadCredential, StoredKeys};
pub(super) use ended::{Ended, Failed};
pub(super) use exchange::Exchange;
pub(super) use parameter::is_parameter;
pub use verify::{Login, Verified, Verifying};

use crate::limits::AUTH_ATTEMPTS_MAX;
use crate::smtp::live::Live;

/// How the clients of a listener may log in.
#[derive(Debug, Clone)]
pub struct AuthPolicy {
    /// Mechanisms of this server's own that are offered; none where sinks do all of it. SCRAM-SHA-256-PLUS is offered
    /// only where the connection has something to bind to.
    pub mechanisms: Vec<Mechanism>,
    /// Whether AUTH is offered and taken only on an encrypted connection, the mechanisms of sinks included.
    pub needs_tls: bool,
    /// Failed logins of one session; the next AUTH is answered with 421.
    pub attempts_max: u32,
    /// The users. A session keeps those that it began with.
    pub accounts: Arc<Accounts>,
}

impl AuthPolicy {
    /// Offers every mechanism, on encrypted connections alone.
    pub fn new(accounts: Arc<Accounts>) -> Self {
        let mechanisms = Mechanism::ALL.to_vec();
        Self { mechanisms, needs_tls: true, attempts_max: AUTH_ATTEMPTS_MAX, accounts }
    }
}

/// A mechanism of this server's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616: user and password in one response.
    Plain,
    /// User and password in two responses; never standardised, and all that some clients have.
    Login,
    /// RFC 7677: the password does not cross the wire, and the server proves that it knows it too.
    ScramSha256,
    /// The same, bound to the TLS connection.
    ScramSha256Plus,
}

impl Mechanism {
    /// All of them, the best first, as EHLO lists them.
    pub const ALL: &'static [Self] = &[Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    /// The name in the registry of SASL mechanisms.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// The mechanism of that name, which has no case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Live {
    /// The line of EHLO, where anything of the server's own is offered on this connection as it is now.
    pub(super) fn auth_keyword(&self) -> Option<String> {
        let offered: Vec<_> = self.offered_mechanisms().map(Mechanism::name).collect();
        (!offered.is_empty()).then(|| format!("AUTH {}", offered.join(" ")))
    }

    /// Whether AUTH has to wait for TLS, mechanisms of sinks included.
    pub(super) fn auth_needs_tls_first(&self) -> bool {
        self.policy.auth.as_ref().is_some_and(|auth| auth.needs_tls) && self.facts.vouched.tls.is_none()
    }

    /// Whether a line that a sink adds to EHLO may stand there now: no mechanism where nobody may log in, and none before
    /// TLS where AUTH needs it.
    pub(super) fn may_publish(&self, line: &str) -> bool {
        let keyword = line.split(' ').next().unwrap_or_default();
        let is_offered = self.policy.auth.is_some() && !self.auth_needs_tls_first();
        is_offered || !keyword.eq_ignore_ascii_case("AUTH")
    }

    fn offered_mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        let is_barred = self.auth_needs_tls_first();
        let allowed = self.policy.auth.as_ref().map(|auth| auth.mechanisms.as_slice()).unwrap_or_default();
        Mechanism::ALL.iter().copied().filter(move |mechanism| {
            let can_bind = *mechanism != Mechanism::ScramSha256Plus || self.channel.is_offered();
            allowed.contains(mechanism) && can_bind && !is_barred
        })
    }
}
