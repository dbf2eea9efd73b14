//! Mail to other servers: what is due, and who may be connected to.
//!
//! The bodies of the methods follow the interface.

use core::time::Duration;
use std::sync::Arc;

use crate::mail::MessageId;
use crate::queue::{Job, RetryPolicy};
use crate::reply::Reply;
use crate::time::Timestamp;
use crate::transport::{Destination, Route, RouteTable};

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

/// What the schedule wants of the shell.
#[derive(Debug)]
#[must_use]
pub enum Next {
    /// Connect to the destination and begin with this job; ask for more with [`Schedule::another`], say
    /// [`Schedule::reached`] as soon as a server there took up a transaction, and at last [`Schedule::close`].
    Visit(Visit, Lease),
    /// The job did not leave in time: apply `Change::Expire`, with what the destination answered last, then
    /// [`Schedule::put`] and [`Schedule::finish`].
    Expire(Lease, Option<Reply>),
    /// The sender is to be told that the job is late: apply `Change::TellDelay`, then as above.
    TellDelay(Lease, Option<Reply>),
    /// Nothing before that time, unless a method that changes something is called.
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

/// One connection to one destination, from [`Next::Visit`] to [`Schedule::close`].
#[derive(Debug)]
pub struct Visit {
    number: u32,
    route: Arc<Route>,
}

impl Visit {
    /// Where it goes, and how.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }
}

/// A job in hand: nobody else gets it before [`Schedule::finish`], whatever becomes of the visit.
#[derive(Debug, PartialEq, Eq)]
pub struct Lease {
    row: u32,
    message: MessageId,
    destination: Destination,
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
    /// No server there could be reached, or all sent us away before a message (421, 4yz): why. The job in
    /// hand was not sent.
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

/// All mail that waits for another server, and the state of every destination.
///
/// It holds a row for each [`Job`], never the message. It is made new at every start from what the spool
/// has; that a destination is down is forgotten with it and costs one probe.
///
/// [`Schedule::put`] is the truth about a message at all times: call it with what `Work::Queue` has, and with
/// nothing where the machine said anything else at its end. Apply what came of a lease to the message, put
/// the message, then finish the lease; all under the lock of that message.
#[derive(Debug)]
pub struct Schedule {
    policy: SchedulePolicy,
}

impl Schedule {
    /// A schedule without jobs.
    pub fn new(policy: SchedulePolicy) -> Self {
        Self { policy }
    }

    /// Takes a new policy; visits that are under way end by it.
    pub fn set_policy(&mut self, policy: SchedulePolicy, _now: Timestamp) {
        self.policy = policy;
    }

    /// Replaces all jobs of a message by these. One in hand stays in hand and is changed all the same.
    pub fn put(&mut self, _message: &MessageId, _jobs: &[Job], _now: Timestamp) {}

    /// What is to be done now; call it until it waits.
    pub fn next(&mut self, _now: Timestamp) -> Next {
        Next::Idle
    }

    /// What else goes over the connection of a visit.
    pub fn another(&mut self, _visit: &Visit, _now: Timestamp) -> Another {
        Another::Close
    }

    /// A server of the destination took up a transaction: it is not down.
    pub fn reached(&mut self, _visit: &Visit, _now: Timestamp) {}

    /// A visit is over. Where the destination is down now, the time of its next probe.
    pub fn close(&mut self, visit: Visit, _end: VisitEnd, _now: Timestamp, _random: u64) -> Option<Timestamp> {
        drop(visit);
        None
    }

    /// A lease is over: the job is as [`Schedule::put`] had it last, and where that left it out it is gone.
    pub fn finish(&mut self, lease: Lease, _now: Timestamp) {
        drop(lease);
    }

    /// Makes the jobs of a message due now, and lets their destinations be probed; false where it has none.
    pub fn retry(&mut self, _message: &MessageId, _now: Timestamp) -> bool {
        false
    }

    /// Lets a destination that is down be probed now.
    pub fn probe(&mut self, _destination: &Destination, _now: Timestamp) {}

    /// Holds a destination or lets it go on: no visits; what expires expires all the same.
    pub fn hold(&mut self, _destination: &Destination, _is_held: bool, _now: Timestamp) {}

    /// Every destination that has jobs, or is down, or is held; in no order.
    pub fn destinations(&self) -> impl Iterator<Item = DestinationView> {
        core::iter::empty()
    }

    /// One destination.
    pub fn destination(&self, _destination: &Destination) -> Option<DestinationView> {
        None
    }

    /// Sums.
    pub fn totals(&self) -> Totals {
        Totals::default()
    }
}
