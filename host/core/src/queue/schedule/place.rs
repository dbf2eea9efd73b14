//! One destination as the schedule sees it.

use core::time::Duration;

use super::rows::{Millis, millis, timestamp};
use super::turns::Turns;
use super::{DestinationState, DestinationView};
use crate::queue::RetryPolicy;
use crate::reply::{Class, Reply};
use crate::time::Timestamp;
use crate::transport::{Destination, DestinationLimits};

/// How long a destination that sends connections away while it takes others is left alone.
const PAUSE: Duration = Duration::from_secs(60);

/// Among which destinations one is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    No,
    /// It may be visited; the rank of its first job.
    Now(u8),
    /// Not before that time.
    At(Millis),
}

/// Whether a destination was reached last.
#[derive(Debug)]
enum Reach {
    Up,
    /// `planned` is when it would be probed if no operator asked for a probe before; then `until` is earlier.
    Down {
        since: Millis,
        until: Millis,
        planned: Millis,
        failures: u32,
        reply: Box<Reply>,
    },
}

/// A destination.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: Destination,
    pub(super) jobs: u32,
    pub(super) due: u32,
    pub(super) visits: u32,
    pub(super) is_held: bool,
    pub(super) offer: Offer,
    pub(super) turns: Turns,
    connections_max: u32,
    pub(super) messages_per_connection: u32,
    /// Milliseconds between two messages; 0 where there is no throttle.
    gap: Millis,
    /// Connections that it is trusted with: one more for each message that it took up, fewer where it sends
    /// some away. A destination of which nothing is known has one, so a dead one costs one.
    window: u32,
    /// The throttle and pauses: nothing is sent before.
    next_slot: Millis,
    reach: Reach,
    last_reply: Option<Box<Reply>>,
}

impl Place {
    pub(super) fn new(name: Destination, limits: &DestinationLimits) -> Self {
        let mut place = Self {
            name,
            jobs: 0,
            due: 0,
            visits: 0,
            is_held: false,
            offer: Offer::No,
            turns: Turns::default(),
            connections_max: 1,
            messages_per_connection: 1,
            gap: 0,
            window: 1,
            next_slot: Millis::MIN,
            reach: Reach::Up,
            last_reply: None,
        };
        place.limit(limits);
        place
    }

    pub(super) fn limit(&mut self, limits: &DestinationLimits) {
        self.connections_max = limits.connections_max.max(1);
        self.messages_per_connection = limits.messages_per_connection.max(1);
        // Evenly spread: no minute, wherever it begins, has more.
        self.gap = limits.messages_per_minute.map_or(0, |limit| 60_000_i64.div_euclid(i64::from(limit.max(1))).max(1));
        if let Some(limit) = limits.messages_per_minute.map(|limit| i64::from(limit.max(1)))
            && self.gap * limit < 60_000
        {
            self.gap += 1;
        }
        self.window = self.window.min(self.connections_max);
    }

    /// Whether the schedule may forget it: nothing is there and nothing is known that matters.
    pub(super) fn is_idle(&self, now: Millis) -> bool {
        self.jobs == 0 && self.visits == 0 && !self.is_held && self.blocked_until(now).is_none()
    }

    fn blocked_until(&self, now: Millis) -> Option<Millis> {
        let until = match &self.reach {
            Reach::Up => self.next_slot,
            Reach::Down { until, .. } => self.next_slot.max(*until),
        };
        Some(until).filter(|until| *until > now)
    }

    /// Where it is to be listed; `rank` is that of its first job that is due.
    pub(super) fn offer(&self, rank: Option<u8>, now: Millis) -> Offer {
        let connections = match self.reach {
            Reach::Up => self.window,
            // One probe.
            Reach::Down { .. } => 1,
        };
        let is_empty = self.jobs == 0 && self.visits == 0;
        if self.is_held || !is_empty && (rank.is_none() || self.visits >= connections) {
            return Offer::No;
        }
        match (self.blocked_until(now), rank) {
            (Some(until), _) => Offer::At(until),
            (None, Some(rank)) => Offer::Now(rank),
            (None, None) => Offer::No,
        }
    }

    /// Whether another message may follow over an open connection, and when.
    pub(super) fn follow(&self, now: Millis) -> Option<Millis> {
        let is_wanted = !self.is_held && self.due > 0 && self.visits <= self.window;
        is_wanted.then(|| self.next_slot.max(now))
    }

    /// A message goes there now.
    pub(super) fn charge(&mut self, now: Millis) {
        if self.gap > 0 {
            self.next_slot = self.next_slot.max(now.saturating_add(self.gap));
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.reach, Reach::Up)
    }

    /// Whether mail does not go there now.
    pub(super) fn is_closed(&self) -> bool {
        self.is_held || !self.is_up()
    }

    /// A server took up a message.
    pub(super) fn reached(&mut self) {
        self.reach = Reach::Up;
        self.window = self.window.saturating_add(1).min(self.connections_max);
    }

    /// A visit failed and is over; `had_reached` says whether messages went before.
    pub(super) fn failed(
        &mut self,
        reply: Reply,
        had_reached: bool,
        policy: &RetryPolicy,
        now: Timestamp,
        random: u64,
    ) -> Option<Millis> {
        let is_permanent = reply.class() == Class::Permanent;
        let reply = Box::new(reply.shortened());
        self.last_reply = Some(reply.clone());
        if is_permanent {
            // Each message there gets this answer, one after the other; to leave it alone would only keep them.
            self.reach = Reach::Up;
            self.window = 1;
            return None;
        }
        let before = match &self.reach {
            Reach::Up if had_reached || self.visits > 0 => {
                // It takes messages over some connections and sends others away: we are too many, it is not dead.
                let open = if had_reached { self.window / 2 } else { self.visits };
                self.window = open.clamp(1, self.connections_max);
                self.next_slot = self.next_slot.max(millis(now.plus(PAUSE)));
                return Some(self.next_slot);
            }
            Reach::Up => None,
            Reach::Down { since, until, planned, failures, .. } => Some((*since, until < planned, *planned, *failures)),
        };
        let at = millis(now);
        let (since, failures, planned) = match before {
            // What an operator asked for says nothing of how long to leave it alone: the plan stays, and where its
            // time has passed meanwhile the wait is as long as it was.
            Some((since, true, planned, failures)) => (since, failures, Some(planned).filter(|planned| *planned > at)),
            Some((since, false, _, failures)) => (since, failures.saturating_add(1), None),
            None => (at, 1, None),
        };
        let until = planned.unwrap_or_else(|| millis(now.plus(policy.wait(failures, random))));
        self.reach = Reach::Down { since, until, planned: until, failures, reply };
        self.window = 1;
        Some(until)
    }

    /// Lets it be tried now, by an operator's wish.
    pub(super) fn probe(&mut self, now: Millis) {
        if let Reach::Down { until, .. } = &mut self.reach {
            *until = (*until).min(now);
        }
    }

    /// What it said last when it could not be reached.
    pub(super) fn last_reply(&self) -> Option<Reply> {
        self.last_reply.as_deref().cloned()
    }

    pub(super) fn view(&self) -> DestinationView {
        let state = match &self.reach {
            _ if self.is_held => DestinationState::Held,
            Reach::Up => DestinationState::Up,
            Reach::Down { since, until, failures, reply, .. } => DestinationState::Down {
                since: timestamp(*since),
                until: timestamp(*until),
                failures: *failures,
                reply: reply.as_ref().clone(),
            },
        };
        DestinationView { destination: self.name.clone(), state, jobs: self.jobs, due: self.due, visits: self.visits }
    }
}
