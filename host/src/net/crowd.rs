//! How many connections there are, and how many more there may be.

use core::net::IpAddr;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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
    limits: CrowdLimits,
    clients: Mutex<Clients>,
}

#[derive(Debug)]
struct Clients {
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
        let buckets = |count: Option<u32>| count.map(|count| Buckets::new(Rate::per_minute(count), CLIENTS_REMEMBERED));
        let clients = Clients {
            all: 0,
            by_network: HashMap::new(),
            arrivals: buckets(limits.rates.connections),
            messages: buckets(limits.rates.messages),
            recipients: buckets(limits.rates.recipients),
        };
        Arc::new(Self { limits, clients: Mutex::new(clients) })
    }

    /// Takes a place for somebody, or says which limit is reached.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Place, &'static str> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.all >= self.limits.connections {
            return Err("connections");
        }
        clients.all += 1;
        Ok(Place { crowd: self.clone(), client: None })
    }

    /// The network that stands for a client.
    pub(crate) fn network(&self, client: IpAddr) -> Network {
        Network::around(client, self.limits.prefixes)
    }
}

impl Place {
    /// Says whose it is, or which limit of that client is reached.
    pub(crate) fn belongs_to(&mut self, client: IpAddr, now: Timestamp) -> Result<(), &'static str> {
        let (limits, network) = (self.crowd.limits, self.crowd.network(client));
        let mut clients = self.crowd.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.arrivals.as_mut().is_some_and(|arrivals| !arrivals.take(network, 1, now)) {
            return Err("rate");
        }
        let own = clients.by_network.entry(network).or_default();
        if *own >= limits.per_client {
            return Err("client");
        }
        *own += 1;
        self.client = Some(network);
        Ok(())
    }

    /// The network that stands for the client where it is counted.
    pub(crate) fn network(&self, client: IpAddr) -> Network {
        self.client.unwrap_or_else(|| self.crowd.network(client))
    }

    /// Whether this command would be more than the client may send in a minute; counts it where it is not.
    pub(crate) fn is_over_rate(&self, line: &[u8], now: Timestamp) -> bool {
        let rates = self.crowd.limits.rates;
        // Most listeners have no such limit, and then a command costs no lock.
        let (Some(network), true) = (self.client, rates.messages.is_some() || rates.recipients.is_some()) else {
            return false;
        };
        let is = |verb: &[u8]| line.get(..4).is_some_and(|found| found.eq_ignore_ascii_case(verb));
        let mut clients = self.crowd.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = if is(b"MAIL") {
            clients.messages.as_mut()
        } else if is(b"RCPT") {
            clients.recipients.as_mut()
        } else {
            None
        };
        buckets.is_some_and(|buckets| !buckets.take(network, 1, now))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self.crowd.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.all = clients.all.saturating_sub(1);
        let Some(network) = self.client else { return };
        let Some(own) = clients.by_network.get_mut(&network) else { return };
        *own = own.saturating_sub(1);
        if *own == 0 {
            clients.by_network.remove(&network);
        }
    }
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
        assert!(!first.is_over_rate(b"mail FROM:<>", NOW));
        assert!(second.is_over_rate(b"MAIL FROM:<>", NOW));
        assert!(!first.is_over_rate(b"RCPT TO:<a@b>", NOW) && !second.is_over_rate(b"RCPT TO:<a@b>", NOW));
        assert!(first.is_over_rate(b"RCPT TO:<a@b>", NOW));
        assert!(!first.is_over_rate(b"NOOP", NOW));
        assert!(!enter(&crowd, "192.0.2.2").expect("in").is_over_rate(b"MAIL FROM:<>", NOW));
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
