//! The words between the schedule and whoever drives it.

use core::time::Duration;
use std::sync::Arc;

use crate::limits::CONNECTIONS_OUT_DEFAULT;
use crate::mail::MessageId;
use crate::queue::RetryPolicy;
use crate::reply::Reply;
use crate::time::Timestamp;
use crate::transport::{Destination, Route, RouteTable};

/// How long a visit may hold a connection that another destination waits for, by default: a few messages to a
/// slow server.
const VISIT_DEFAULT: Duration = Duration::from_secs(300);

/// How long a connection may wait for a throttle by default; servers let us have more.
const IDLE_DEFAULT: Duration = Duration::from_secs(5);

/// How hard all destinations together may be used, and how they are left alone.
#[derive(Debug, Clone)]
pub struct SchedulePolicy {
    /// Connections at a time.
    pub connections_max: u32,
    /// A visit that lasted this long ends where another destination waits for its connection.
    pub visit_max: Duration,
    /// Longest that a connection is kept open without work, for a throttle that is about to let go.
    pub idle_max: Duration,
    /// Waits of a destination that cannot be reached.
    pub unreachable: RetryPolicy,
    /// Limits of each destination.
    pub routes: Arc<RouteTable>,
}

impl SchedulePolicy {
    /// The usual numbers.
    pub fn new(routes: Arc<RouteTable>) -> Self {
        Self {
            connections_max: CONNECTIONS_OUT_DEFAULT,
            visit_max: VISIT_DEFAULT,
            idle_max: IDLE_DEFAULT,
            unreachable: RetryPolicy::unreachable(),
            routes,
        }
    }
}

/// What the schedule wants of the shell.
#[derive(Debug)]
#[must_use]
pub enum Next {
    /// Connect to the destination and begin with this job; ask for more with [`super::Schedule::another`], say
    /// [`super::Schedule::reached`] as soon as a server there took up a transaction, and at last [`super::Schedule::close`].
    Visit(Visit, Lease),
    /// The job did not leave in time: apply `Change::Expire`, with what the destination answered last, then
    /// [`super::Schedule::put`] and [`super::Schedule::finish`].
    Expire(Lease, Option<Reply>),
    /// The sender is to be told that the job is late: apply `Change::TellDelay`, then as above.
    TellDelay(Lease, Option<Reply>),
    /// Nothing before that time, unless a method that changes something is called. It may be now: then there is
    /// more than one call looks at.
    Wait(Timestamp),
    /// Nothing before a method that changes something is called.
    Idle,
}

/// What goes over a connection after what went before.
#[derive(Debug)]
#[must_use]
pub enum Another {
    /// This job.
    Job(Lease),
    /// Keep the connection open and ask again at that time; it is near.
    Later(Timestamp),
    /// Nothing: end the visit.
    Close,
}

/// One connection to one destination, from [`Next::Visit`] to [`super::Schedule::close`].
#[derive(Debug)]
pub struct Visit {
    pub(super) number: u64,
    pub(super) route: Arc<Route>,
}

impl Visit {
    /// Where it goes, and how.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }
}

/// A job in hand: nobody else gets it before [`super::Schedule::finish`], whatever becomes of the visit.
#[derive(Debug, PartialEq, Eq)]
pub struct Lease {
    pub(super) row: u32,
    pub(super) is_notice: bool,
    pub(super) message: MessageId,
    pub(super) destination: Destination,
}

impl Lease {
    /// The message to load.
    pub fn message(&self) -> &MessageId {
        &self.message
    }

    /// Where it goes; `TransportPolicy::outgoing` has the recipients there.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }
}

/// How a visit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VisitEnd {
    /// A server took it up, whatever became of the messages.
    Reached,
    /// No server there could be reached, or all sent us away before a message: why. The job in hand was not sent.
    /// After a 4yz reply the destination is left alone for a while; a 5yz one (no such domain, RFC 7505) is about
    /// the job, and the next one goes at once to get its own.
    Failed(Reply),
}

/// A destination, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationView {
    /// Its name.
    pub destination: Destination,
    /// Whether mail goes there.
    pub state: DestinationState,
    /// Jobs there, in hand or not.
    pub jobs: u32,
    /// Those of them that are due and wait for a connection.
    pub due: u32,
    /// Connections.
    pub visits: u32,
}

/// Whether mail goes to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationState {
    /// It does.
    Up,
    /// It cannot be reached.
    Down {
        /// When it was found so.
        since: Timestamp,
        /// The next probe; in the past where one is on its way.
        until: Timestamp,
        /// Probes that failed.
        failures: u32,
        /// What came of the last.
        reply: Reply,
    },
    /// An operator holds it.
    Held,
}

/// Sums over the whole schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Jobs.
    pub jobs: usize,
    /// Those of them that are due and not in hand.
    pub due: usize,
    /// Those in hand.
    pub leased: usize,
    /// Connections.
    pub visits: usize,
    /// Destinations.
    pub destinations: usize,
}
