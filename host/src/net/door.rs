//! What a listener demands of its clients before, and beside, what the session does.

use core::net::IpAddr;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basin_core::network::{Network, Prefixes};
use basin_core::rate::{Buckets, Rate};
use basin_core::smtp::{Disagreements, FailedLogin, ListenerPolicy, Outbox};
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

/// Failed logins from one client's network at once; then further ones are answered with 454. They come back over ten
/// minutes, one every twenty seconds, so that in ten minutes there are twice as many at most.
const FAILURES_PER_NETWORK: Rate = Rate { count: 30, per: Duration::from_secs(600) };

/// Failed logins as one user at once, wherever they come from; one comes back every six seconds. More than for a network, or anybody could keep
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
    /// Whether the names of clients are looked up.
    pub(crate) has_client_names: bool,
}

/// What all listeners share to keep clients from using the server up.
#[derive(Debug)]
pub struct Guard {
    pub(crate) handshakes: Semaphore,
    pub(crate) logins: Semaphore,
    by_network: Mutex<Buckets<Network>>,
    by_user: Mutex<Buckets<String>>,
    disagreements: Mutex<Disagreements>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            logins: Semaphore::new(LOGINS_MAX),
            by_network: Mutex::new(Buckets::new(FAILURES_PER_NETWORK, FAILURES_REMEMBERED)),
            by_user: Mutex::new(Buckets::new(FAILURES_PER_USER, FAILURES_REMEMBERED)),
            disagreements: Mutex::default(),
        }
    }
}

impl Guard {
    /// Whether somebody guessed too often from where that client is.
    pub(crate) fn is_barred(&self, client: IpAddr, now: Timestamp) -> bool {
        !locked(&self.by_network).has_one(&network(client), now)
    }

    /// Whether nobody guessed too often, from there or as that user.
    pub(crate) fn may_log_in(&self, client: IpAddr, user: &str, now: Timestamp) -> bool {
        !self.is_barred(client, now) && locked(&self.by_user).has_one(&user.to_owned(), now)
    }

    /// Takes note of what a step of a session led to that concerns all sessions.
    pub(crate) fn take_note(&self, outbox: &mut Outbox, now: Timestamp) {
        for FailedLogin { client, user } in outbox.failed_logins.drain(..) {
            // Where a bucket is empty already there is nothing left to take.
            locked(&self.by_network).take(network(client), 1, now);
            if let Some(user) = user {
                locked(&self.by_user).take(user, 1, now);
            }
        }
        for found in outbox.disagreements.drain(..) {
            locked(&self.disagreements).remember(&found, now);
        }
    }

    /// What is known of recipients who differed about earlier messages.
    pub(crate) fn disagreements(&self) -> MutexGuard<'_, Disagreements> {
        locked(&self.disagreements)
    }
}

// One measure for all listeners, whatever is one client to them: else each would have guesses of its own.
fn network(client: IpAddr) -> Network {
    Network::around(client, Prefixes::default())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    fn fail(guard: &Guard, client: &str, user: Option<&str>, times: u32) {
        let mut outbox = Outbox::new();
        for _ in 0..times {
            let client = client.parse().expect("an address");
            outbox.failed_logins.push(FailedLogin { client, user: user.map(str::to_owned) });
        }
        guard.take_note(&mut outbox, NOW);
        assert!(outbox.failed_logins.is_empty());
    }

    #[test]
    fn guesses_count_by_network_and_by_user_also_where_nobody_knows_as_whom() {
        let guard = Guard::default();
        let may = |client: &str, user: &str| guard.may_log_in(client.parse().expect("an address"), user, NOW);
        fail(&guard, "2001:db8::1", None, FAILURES_PER_NETWORK.count);
        assert!(!may("2001:db8::ffff:2", "alice"), "the whole /64 is one client");
        assert!(may("2001:db8:0:1::1", "alice"));
        for host in 0..4 {
            fail(&guard, &format!("192.0.2.{host}"), Some("alice"), FAILURES_PER_NETWORK.count - 1);
        }
        assert!(!may("198.51.100.1", "alice") && may("198.51.100.1", "bob") && may("192.0.2.1", "bob"));
    }
}
