//! What a listener demands of its clients before, and beside, what the session does.

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use basin_core::network::Network;
use basin_core::rate::{Buckets, Rate};
use basin_core::smtp::ListenerPolicy;
use basin_core::time::Timestamp;
use tokio::sync::Semaphore;

use crate::tls::ServerTls;

/// Handshakes that go on at a time. Each holds some 50 KiB; a client that does not go on with its own gives the place
/// back after [`HANDSHAKE_PATIENCE`].
const HANDSHAKES_MAX: usize = 1_000;

/// How long a handshake may take.
pub(crate) const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(20);

/// Passwords that are compared at a time. Each takes a processor for some ten milliseconds, and mail needs some too.
const LOGINS_MAX: usize = 2;

/// Failed logins from one client's network in ten minutes; then further ones are answered with 454.
const FAILURES_PER_NETWORK: Rate = Rate { count: 30, per: Duration::from_secs(600) };

/// Failed logins as one user in ten minutes, wherever they come from. More than for a network, or anybody could keep
/// a user out with little effort.
const FAILURES_PER_USER: Rate = Rate { count: 100, per: Duration::from_secs(600) };

/// Networks and users of a generation whose failures are remembered: some 3 MiB when all places are taken.
const FAILURES_REMEMBERED: usize = 10_000;

/// A listener as its next connection meets it; connections keep the one that they came through.
#[derive(Debug)]
pub(crate) struct Door {
    /// What the session demands.
    pub(crate) policy: Arc<ListenerPolicy>,
    /// Certificates; `None` where there is no TLS.
    pub(crate) tls: Option<ServerTls>,
    /// Proxies, whose connections begin with a header.
    pub(crate) proxies: Vec<Network>,
    /// How long the greeting waits.
    pub(crate) greet_delay: Duration,
}

/// What all listeners share to keep clients from using the server up.
#[derive(Debug)]
pub struct Guard {
    pub(crate) handshakes: Semaphore,
    pub(crate) logins: Semaphore,
    by_network: Mutex<Buckets<Network>>,
    by_user: Mutex<Buckets<String>>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            logins: Semaphore::new(LOGINS_MAX),
            by_network: Mutex::new(Buckets::new(FAILURES_PER_NETWORK, FAILURES_REMEMBERED)),
            by_user: Mutex::new(Buckets::new(FAILURES_PER_USER, FAILURES_REMEMBERED)),
        }
    }
}

impl Guard {
    /// Whether nobody guessed too often, from there or as that user.
    pub(crate) fn may_log_in(&self, network: Network, user: &str, now: Timestamp) -> bool {
        let from_there = self.by_network.lock().unwrap_or_else(PoisonError::into_inner).has_one(&network, now);
        from_there && self.by_user.lock().unwrap_or_else(PoisonError::into_inner).has_one(&user.to_owned(), now)
    }

    /// Counts a wrong password.
    pub(crate) fn login_failed(&self, network: Network, user: &str, now: Timestamp) {
        // Where a bucket is empty already there is nothing left to take.
        self.by_network.lock().unwrap_or_else(PoisonError::into_inner).take(network, 1, now);
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner).take(user.to_owned(), 1, now);
    }
}
