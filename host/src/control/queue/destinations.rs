//! Where mail goes, whether it goes there now, and holding a destination.

use core::net::IpAddr;

use basin_core::addr::check_domain;
use basin_core::queue::{DestinationState, DestinationView};
use basin_core::time::Timestamp;
use basin_core::transport::{Destination, HostPort, RouteTable};
use serde::{Deserialize, Serialize};

use crate::control::QueueState;
use crate::control::report::moment_or_none;

/// A destination, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationRow {
    /// Its name.
    pub name: String,
    /// `up`, `down` or `held`.
    pub state: String,
    /// Messages that wait for it or are on the way there; `None` where no server runs that knows.
    pub jobs: Option<u32>,
    /// Connections to it.
    pub connections: Option<u32>,
    /// When one that is down is tried again.
    #[serde(with = "moment_or_none")]
    pub next_probe: Option<Timestamp>,
    /// Why it is down.
    pub reply: Option<String>,
}

impl DestinationRow {
    /// One that is held, of which nothing else is known.
    pub fn held(destination: &Destination) -> Self {
        let name = destination.to_string();
        Self { name, state: "held".to_owned(), jobs: None, connections: None, next_probe: None, reply: None }
    }

    /// Whether mail goes there.
    pub fn is_up(&self) -> bool {
        self.state == "up"
    }
}

impl From<DestinationView> for DestinationRow {
    fn from(view: DestinationView) -> Self {
        let (state, next_probe, reply) = match view.state {
            DestinationState::Up => ("up", None, None),
            DestinationState::Down { until, reply, .. } => ("down", Some(until), Some(reply.to_string())),
            DestinationState::Held => ("held", None, None),
        };
        Self {
            state: state.to_owned(),
            jobs: Some(view.jobs),
            connections: Some(view.visits),
            next_probe,
            reply,
            ..Self::held(&view.destination)
        }
    }
}

/// The destinations to be shown with a summary: those where mail does not go first, then by how much waits.
pub(super) fn rows(state: &(impl QueueState + ?Sized), is_up_shown: bool, limit: usize) -> Vec<DestinationRow> {
    let mut rows = state.destinations();
    rows.retain(|row| is_up_shown || !row.is_up());
    rows.sort_unstable_by(|a, b| (a.is_up(), b.jobs, a.name.as_str()).cmp(&(b.is_up(), a.jobs, b.name.as_str())));
    rows.truncate(limit);
    rows
}

/// A destination is to be held or to be let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRequest {
    /// Its name.
    pub destination: String,
    /// Held or let go.
    pub is_held: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldReport {
    /// Where the mail goes that this is about: for a domain with a route of its own, the first server of that route.
    pub destination: String,
    /// It was not so before.
    pub is_changed: bool,
}

/// Why a destination is not held or let go.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The text names none.
    #[error("{0:?} is no destination; write a domain, or [host]:port as `basin queue summary --by destination` has it")]
    NoDestination(String),
    /// It could not be written down.
    #[error("cannot keep the list of held destinations: {0}")]
    Storage(#[from] std::io::Error),
}

/// Holds a destination or lets it go.
///
/// # Errors
/// See [`HoldError`].
pub fn hold(state: &(impl QueueState + ?Sized), request: &HoldRequest) -> Result<HoldReport, HoldError> {
    let destination = parse(&request.destination, &state.routes())
        .ok_or_else(|| HoldError::NoDestination(request.destination.clone()))?;
    let is_changed = state.hold_destination(&destination, request.is_held)?;
    Ok(HoldReport { destination: destination.to_string(), is_changed })
}

// Where mail for what is named goes. A domain stands for its route: the queue knows the servers of a route, and to hold
// a domain that leads there under its own name would hold nothing.
fn parse(text: &str, routes: &RouteTable) -> Option<Destination> {
    let text = text.trim().to_ascii_lowercase();
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_literal = literal.is_some_and(|inner| inner.trim_start_matches("ipv6:").parse::<IpAddr>().is_ok());
    if is_literal || check_domain(&text).is_ok() {
        return Some(routes.route(&text).destination.clone());
    }
    HostPort::parse(&text).map(|_| Destination::domain(&text))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use basin_core::transport::{DomainPattern, NextHop, Route};

    use super::*;

    #[test]
    fn a_domain_with_a_route_stands_for_its_server() {
        let hop = HostPort { host: "relay.example.net".to_owned(), port: 25 };
        let route =
            Route { destination: Destination::hop(&hop), next: NextHop::Hosts(vec![hop.clone()]), ..Route::mx("") };
        let pattern = DomainPattern::parse("routed.example");
        let routes = RouteTable::new(vec![(vec![pattern], Arc::new(route))]);
        assert_eq!(parse("Routed.Example", &routes), Some(Destination::hop(&hop)));
        assert_eq!(parse("other.example", &routes), Some(Destination::domain("other.example")));
    }

    #[test]
    fn a_destination_is_named_as_the_queue_names_it() {
        for (text, name) in [
            ("Example.ORG", "example.org"),
            ("[Relay.example.net]:587", "[relay.example.net]:587"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:db8::1]", "[ipv6:2001:db8::1]"),
        ] {
            assert_eq!(
                parse(text, &RouteTable::default()).map(|destination| destination.to_string()).as_deref(),
                Some(name)
            );
        }
        for bad in ["", "a b", "[relay]", "x@example.org", "a.example\nb.example"] {
            assert_eq!(parse(bad, &RouteTable::default()), None, "{bad}");
        }
    }
}
