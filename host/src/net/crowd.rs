//! How many connections there are, and how many more there may be.

use core::net::IpAddr;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basin_core::network::{Network, Prefixes};
use basin_core::rate::{Buckets, Rate};
use basin_core::time::Timestamp;

use crate::config::Rates;

/// Clients of a generation whose connections are remembered, where there is a limit of them in a minute.
const CLIENTS_REMEMBERED: usize = 20_000;

/// How many connections there may be at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrowdLimits {
    /// Of the listener.
    pub(crate) connections: usize,
    /// Of one client.
    pub(crate) per_client: usize,
    /// What one client may do in a minute.
    pub(crate) rates: Rates,
    /// How much of an address is one client.
    pub(crate) prefixes: Prefixes,
}

/// Who is connected now.
#[derive(Debug)]
pub(crate) struct Crowd {
    clients: Mutex<Clients>,
}

#[derive(Debug)]
struct Clients {
    limits: CrowdLimits,
    all: usize,
    by_network: HashMap<Network, usize>,
    arrivals: Option<Buckets<Network>>,
    messages: Option<Buckets<Network>>,
    recipients: Option<Buckets<Network>>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    client: Option<Network>,
}

impl Crowd {
    pub(crate) fn new(limits: CrowdLimits) -> Arc<Self> {
        Arc::new(Self { clients: Mutex::new(Clients::new(limits)) })
    }

    /// Takes a place for somebody, or says which limit is reached.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Place, &'static str> {
        let mut clients = locked(&self.clients);
        if clients.all >= clients.limits.connections {
            return Err("connections");
        }
        clients.all += 1;
        Ok(Place { crowd: self.clone(), client: None })
    }

    // The network that stands for a client.
    fn network(&self, client: IpAddr) -> Network {
        Network::around(client, locked(&self.clients).limits.prefixes)
    }

    /// Puts other limits in force; who is in stays in, and what was counted stays counted where it can.
    pub(crate) fn change(&self, limits: CrowdLimits) {
        let mut clients = locked(&self.clients);
        if clients.limits.rates != limits.rates || clients.limits.prefixes != limits.prefixes {
            let fresh = Clients::new(limits);
            (clients.arrivals, clients.messages, clients.recipients) =
                (fresh.arrivals, fresh.messages, fresh.recipients);
        }
        clients.limits = limits;
    }
}

impl Clients {
    fn new(limits: CrowdLimits) -> Self {
        let buckets = |count: Option<u32>| count.map(|count| Buckets::new(Rate::per_minute(count), CLIENTS_REMEMBERED));
        Self {
            limits,
            all: 0,
            by_network: HashMap::new(),
            arrivals: buckets(limits.rates.connections),
            messages: buckets(limits.rates.messages),
            recipients: buckets(limits.rates.recipients),
        }
    }
}

impl Place {
    /// Says whose it is, or which limit of that client is reached.
    pub(crate) fn belongs_to(&mut self, client: IpAddr, now: Timestamp) -> Result<(), &'static str> {
        let network = self.crowd.network(client);
        let mut clients = locked(&self.crowd.clients);
        if clients.arrivals.as_mut().is_some_and(|arrivals| !arrivals.take(network, 1, now)) {
            return Err("rate");
        }
        let most = clients.limits.per_client;
        let own = clients.by_network.entry(network).or_default();
        if *own >= most {
            return Err("client");
        }
        *own += 1;
        self.client = Some(network);
        Ok(())
    }

    /// Whether this command would be more than the client may send in a minute; counts it where it is not. The client
    /// is the one that the session knows: behind a proxy that speaks for many it changes within a connection.
    pub(crate) fn is_over_rate(&self, client: IpAddr, line: &[u8], now: Timestamp) -> bool {
        let is = |verb: &[u8]| line.get(..4).is_some_and(|found| found.eq_ignore_ascii_case(verb));
        let (is_mail, is_rcpt) = (is(b"MAIL"), is(b"RCPT"));
        if !is_mail && !is_rcpt {
            return false;
        }
        let network = self.crowd.network(client);
        let mut clients = locked(&self.crowd.clients);
        let buckets = if is_mail { clients.messages.as_mut() } else { clients.recipients.as_mut() };
        buckets.is_some_and(|buckets| !buckets.take(network, 1, now))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = locked(&self.crowd.clients);
        clients.all = clients.all.saturating_sub(1);
        let Some(network) = self.client else { return };
        let Some(own) = clients.by_network.get_mut(&network) else { return };
        *own = own.saturating_sub(1);
        if *own == 0 {
            clients.by_network.remove(&network);
        }
    }
}

fn locked(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    fn crowd(connections: usize, per_client: usize, per_minute: Option<u32>) -> Arc<Crowd> {
        let rates = Rates { connections: per_minute, messages: Some(1), recipients: Some(2) };
        Crowd::new(CrowdLimits { connections, per_client, rates, prefixes: Prefixes::default() })
    }

    fn enter(crowd: &Arc<Crowd>, client: &str) -> Result<Place, &'static str> {
        let mut place = crowd.enter()?;
        place.belongs_to(client.parse().expect("an address"), NOW)?;
        Ok(place)
    }

    #[test]
    fn places_are_limited_for_all_and_for_each_client_and_come_back() {
        let crowd = crowd(3, 2, None);
        let first = enter(&crowd, "192.0.2.1").expect("a place");
        let _second = enter(&crowd, "192.0.2.1").expect("a place");
        assert_eq!(enter(&crowd, "192.0.2.1").err(), Some("client"));
        let _third = enter(&crowd, "192.0.2.2").expect("a place");
        assert_eq!(enter(&crowd, "192.0.2.3").err(), Some("connections"));
        drop(first);
        assert!(enter(&crowd, "::ffff:192.0.2.1").is_ok(), "a mapped address is the same client");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let crowd = crowd(10, 1, None);
        let _place = enter(&crowd, "2001:db8::1").expect("a place");
        assert_eq!(enter(&crowd, "2001:db8::ffff:2").err(), Some("client"));
        assert!(enter(&crowd, "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn messages_and_recipients_of_a_minute_are_counted_over_all_connections_of_a_client() {
        let crowd = crowd(10, 10, None);
        let (first, second) = (enter(&crowd, "192.0.2.1").expect("in"), enter(&crowd, "192.0.2.1").expect("in"));
        let client: IpAddr = "192.0.2.1".parse().expect("an address");
        assert!(!first.is_over_rate(client, b"mail FROM:<>", NOW));
        assert!(second.is_over_rate(client, b"MAIL FROM:<>", NOW));
        assert!(!first.is_over_rate(client, b"RCPT TO:<a@b>", NOW));
        assert!(!second.is_over_rate(client, b"RCPT TO:<a@b>", NOW));
        assert!(first.is_over_rate(client, b"RCPT TO:<a@b>", NOW));
        assert!(!first.is_over_rate(client, b"NOOP", NOW));
        let other = "192.0.2.2".parse().expect("an address");
        assert!(!first.is_over_rate(other, b"MAIL FROM:<>", NOW), "the proxy speaks for somebody else now");
    }

    #[test]
    fn other_limits_are_in_force_at_once_and_who_is_in_stays_in() {
        let crowd = crowd(2, 2, None);
        let _in = [enter(&crowd, "192.0.2.1"), enter(&crowd, "192.0.2.1")];
        assert_eq!(enter(&crowd, "192.0.2.2").err(), Some("connections"));
        let rates = Rates { connections: Some(1), messages: None, recipients: None };
        crowd.change(CrowdLimits { connections: 5, per_client: 2, rates, prefixes: Prefixes::default() });
        assert_eq!(enter(&crowd, "192.0.2.1").err(), Some("client"));
        assert!(enter(&crowd, "192.0.2.2").is_ok());
        assert_eq!(enter(&crowd, "192.0.2.2").err(), Some("rate"));
    }

    #[test]
    fn connections_of_a_minute_are_counted_although_they_are_over() {
        let crowd = crowd(10, 10, Some(2));
        assert!(enter(&crowd, "192.0.2.1").is_ok() && enter(&crowd, "192.0.2.1").is_ok());
        assert_eq!(enter(&crowd, "192.0.2.1").err(), Some("rate"));
        assert!(enter(&crowd, "192.0.2.2").is_ok());
        assert_eq!(crowd.clients.lock().expect("no panic").all, 0, "who was refused holds no place");
    }
}
