//! Where mail goes, whether it goes there now, and holding a destination.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use basin_core::addr::check_domain;
use basin_core::queue::index::Closed;
use basin_core::queue::{DestinationState, DestinationView};
use basin_core::time::Timestamp;
use basin_core::transport::{Destination, HostPort, RouteTable};
use serde::{Deserialize, Serialize};

use crate::audit::TARGET;
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
    /// Since when it is down.
    #[serde(with = "moment_or_none")]
    pub since: Option<Timestamp>,
    /// When one that is down is tried again; in the past where that is on its way.
    #[serde(with = "moment_or_none")]
    pub next_probe: Option<Timestamp>,
    /// Why it is down.
    pub reply: Option<String>,
}

impl DestinationRow {
    /// One that is held, of which nothing else is known.
    pub fn held(destination: &Destination) -> Self {
        let name = destination.to_string();
        let state = "held".to_owned();
        Self { name, state, jobs: None, connections: None, since: None, next_probe: None, reply: None }
    }

    /// Why a message that goes there waits.
    pub fn why(&self, now: Timestamp) -> String {
        let Some(reply) = &self.reply else { return format!("waits for {}, which is held by the operator", self.name) };
        let since = self.since.map(|since| format!(" since {}", since.to_rfc3339())).unwrap_or_default();
        let next = match self.next_probe.filter(|next| *next > now) {
            Some(next) => format!("next probe at {}", next.to_rfc3339()),
            None => "being probed now".to_owned(),
        };
        format!("waits for {}, which is down{since}, {next}, last error: {reply}", self.name)
    }

    /// Whether mail goes there.
    pub fn is_up(&self) -> bool {
        self.state == "up"
    }
}

impl From<DestinationView> for DestinationRow {
    fn from(view: DestinationView) -> Self {
        let (state, since, next_probe, reply) = match view.state {
            DestinationState::Up => ("up", None, None, None),
            DestinationState::Down { since, until, reply, .. } => {
                ("down", Some(since), Some(until), Some(reply.to_string()))
            }
            DestinationState::Held => ("held", None, None, None),
        };
        Self {
            state: state.to_owned(),
            jobs: Some(view.jobs),
            connections: Some(view.visits),
            since,
            next_probe,
            reply,
            ..Self::held(&view.destination)
        }
    }
}

/// The destinations where mail does not go at one moment.
#[derive(Debug, Default)]
pub struct ClosedRows(BTreeMap<String, DestinationRow>);

impl ClosedRows {
    /// Those of this moment.
    pub fn of(state: &(impl QueueState + ?Sized)) -> Self {
        Self(state.closed().into_iter().map(|row| (row.name.clone(), row)).collect())
    }

    /// Their names, for queries.
    pub fn names(&self) -> Arc<Closed> {
        Arc::new(self.0.keys().map(|name| Destination::domain(name)).collect())
    }

    /// Those of them that are among these destinations.
    pub(super) fn among(&self, destinations: &[String]) -> Vec<DestinationRow> {
        destinations.iter().filter_map(|name| self.0.get(name)).cloned().collect()
    }
}

/// The destinations to be shown with a summary: those where mail does not go first, then by how much waits.
pub(super) fn rows(state: &(impl QueueState + ?Sized), is_up_shown: bool, limit: usize) -> Vec<DestinationRow> {
    let mut rows = if is_up_shown { state.destinations() } else { state.closed() };
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

/// Holds a destination or lets it go, for somebody whose name goes into the log.
///
/// # Errors
/// See [`HoldError`].
pub fn hold(state: &(impl QueueState + ?Sized), request: &HoldRequest, by: &str) -> Result<HoldReport, HoldError> {
    let destination = parse(&request.destination, &state.routes())
        .ok_or_else(|| HoldError::NoDestination(request.destination.clone()))?;
    let (is_held, is_changed) = (request.is_held, state.hold_destination(&destination, request.is_held)?);
    tracing::info!(target: TARGET, %destination, is_held, by, "a destination was held or let go by an operator");
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
    use basin_core::reply::Reply;
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

    #[test]
    fn what_a_destination_that_is_down_says_is_said_of_its_mail() {
        let (since, until) = (Timestamp::from_seconds(1_700_000_000), Timestamp::from_seconds(1_700_000_300));
        let reply = Reply::with(451, 4, 1, "connection refused");
        let state = DestinationState::Down { since, until, failures: 1, reply };
        let destination = Destination::domain("far.example");
        let row = DestinationRow::from(DestinationView { destination, state, jobs: 3, due: 3, visits: 0 });
        assert_eq!(
            row.why(since),
            "waits for far.example, which is down since 2023-11-14T22:13:20Z, next probe at 2023-11-14T22:18:20Z, last error: 451 4.4.1 connection refused"
        );
        assert!(row.why(until).contains(", being probed now, "), "{}", row.why(until));
        let held = DestinationRow::held(&Destination::domain("far.example"));
        assert_eq!(held.why(since), "waits for far.example, which is held by the operator");
    }
}
