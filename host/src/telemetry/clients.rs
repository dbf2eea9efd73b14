//! What clients prove of themselves: encryption and logins. No password is ever here.

use core::net::SocketAddr;

use basin_core::mail::TlsFacts;
use tracing::{debug, info};

use crate::audit;
use crate::telemetry::Metrics;

/// A connection was encrypted.
#[derive(Debug, Clone, Copy)]
pub struct Encrypted<'a> {
    /// Id of the session.
    pub session: &'a str,
    /// What came of the handshake.
    pub facts: &'a TlsFacts,
}

impl Encrypted<'_> {
    /// Logs it.
    pub fn record(&self) {
        let TlsFacts { version, cipher, client_subject, server_name } = self.facts;
        debug!(session = self.session, version, cipher, client_subject, server_name, "encrypted");
    }
}

/// A handshake failed.
#[derive(Debug, Clone, Copy)]
pub struct HandshakeFailed<'a> {
    /// Id of the session.
    pub session: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
    /// The client's end.
    pub client: SocketAddr,
    /// What went wrong.
    pub cause: &'a str,
}

impl HandshakeFailed<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        metrics.handshakes_failed.with_label_values(&[self.listener]).inc();
        let Self { session, listener, client, cause } = self;
        info!(session, listener, %client, cause, "no encryption");
    }
}

/// Somebody tried to log in with a password.
#[derive(Debug, Clone, Copy)]
pub struct LoginTried<'a> {
    /// Id of the session.
    pub session: &'a str,
    /// The client's end.
    pub client: SocketAddr,
    /// Who it said it is. Where the result is "wrong" this may be anything, a password put into the wrong field among
    /// them, so it is not logged then.
    pub user: &'a str,
    /// "right", "wrong", "barred" or "unavailable".
    pub result: &'static str,
}

impl LoginTried<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        metrics.logins.with_label_values(&[self.result]).inc();
        let Self { session, client, result, .. } = self;
        let user = (self.result == "right").then_some(self.user);
        info!(target: audit::TRAFFIC, session, %client, user, result, "login");
    }
}
