//! Mail to other servers: what is due, and who may be connected to.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::mail::MessageId;
use crate::queue::Job;
use crate::time::Timestamp;
use crate::transport::Destination;

mod place;
mod rows;
mod steer;
#[cfg(test)]
mod tests;
mod turns;
mod words;

use place::{Offer, Place};
use rows::{Key, Millis, NEVER, Row, Rows, millis, next_number, put_at, timestamp};
use turns::Turns;
pub use words::{Another, DestinationState, DestinationView, Lease, Next, SchedulePolicy, Totals, Visit, VisitEnd};

/// Jobs that one call moves from waiting to due, so that a backlog which comes due at once stops nobody.
const MOVED_MAX: usize = 1_000;

/// Jobs in hand for an expiry or a delay notice. The others wait a moment, so that mail goes on.
const NOTICES_MAX: u32 = 16;

/// A visit that is under way.
#[derive(Debug)]
struct Visiting {
    place: u32,
    since: Millis,
    messages: u32,
    has_reached: bool,
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
    rows: Rows,
    places: Vec<Option<Place>>,
    free: Vec<u32>,
    numbers: HashMap<Destination, u32>,
    /// Destinations that may be visited, by the rank of their first job.
    offered: BTreeSet<(u8, u32)>,
    /// Destinations that wait for a time.
    blocked: BTreeSet<(Millis, u32)>,
    turns: Turns,
    visits: BTreeMap<u64, Visiting>,
    last_visit: u64,
    notices: u32,
}

impl Schedule {
    /// A schedule without jobs.
    pub fn new(policy: SchedulePolicy) -> Self {
        Self {
            policy,
            rows: Rows::default(),
            places: Vec::new(),
            free: Vec::new(),
            numbers: HashMap::new(),
            offered: BTreeSet::new(),
            blocked: BTreeSet::new(),
            turns: Turns::default(),
            visits: BTreeMap::new(),
            last_visit: 0,
            notices: 0,
        }
    }

    /// Takes a new policy; visits that are under way end by it.
    pub fn set_policy(&mut self, policy: SchedulePolicy, now: Timestamp) {
        self.policy = policy;
        for number in 0..next_number(self.places.len()) {
            if let Some(place) = place_mut(&mut self.places, number) {
                place.limit(&self.policy.routes.of(&place.name).limits);
                self.refresh(number, millis(now));
            }
        }
    }

    /// Replaces all jobs of a message by these. One in hand stays in hand and is changed all the same.
    pub fn put(&mut self, message: &MessageId, jobs: &[Job], now: Timestamp) {
        let (key, now) = (Key::of(message), millis(now));
        let before = self.rows.of(&key);
        let mut wanted = Vec::with_capacity(jobs.len());
        for job in jobs {
            let place = self.place_of(&job.destination);
            wanted.push(place);
            let row = before.iter().find(|(at, _)| *at == place).map(|(_, row)| *row);
            self.put_one(key.clone(), place, row, job, now);
        }
        for (place, row) in before.into_iter().filter(|(place, _)| !wanted.contains(place)) {
            self.take_out(place, row, now);
        }
        self.list_of(&key, now);
    }

    fn put_one(&mut self, key: Key, place: u32, row: Option<u32>, job: &Job, now: Millis) {
        match row {
            Some(number) => {
                self.unlist(place, number);
                self.rows.set(number, job);
            }
            None => {
                self.rows.add(key, place, job);
                if let Some(place) = place_mut(&mut self.places, place) {
                    place.jobs += 1;
                }
            }
        }
        self.refresh(place, now);
    }

    fn take_out(&mut self, place: u32, row: u32, now: Millis) {
        self.unlist(place, row);
        match self.rows.get_mut(row) {
            Some(row) if row.is_leased => row.is_gone = true,
            _ => self.forget(place, row),
        }
        self.refresh(place, now);
    }

    /// Lists what a message has on no list and nobody in hand. Not while it is still carried to a destination that it
    /// has no job for any more: who is reached there may be behind another one now, and would get it twice.
    fn list_of(&mut self, key: &Key, now: Millis) {
        let rows = self.rows.of(key);
        let is_on_its_way = |row: u32| self.rows.get(row).is_some_and(|row| row.is_gone);
        if rows.iter().any(|(_, row)| is_on_its_way(*row)) {
            return;
        }
        for (place, row) in rows {
            if self.rows.get(row).is_some_and(Row::is_free) {
                self.list(place, row, now);
                self.refresh(place, now);
            }
        }
    }

    fn forget(&mut self, place: u32, row: u32) {
        self.rows.remove(row);
        if let Some(place) = place_mut(&mut self.places, place) {
            place.jobs -= 1;
        }
    }

    /// What is to be done now; call it until it waits.
    pub fn next(&mut self, now: Timestamp) -> Next {
        let now = millis(now);
        self.wake(now);
        if let Some(notice) = self.notice(now) {
            return notice;
        }
        if self.visits.len() < self.policy.connections_max as usize
            && let Some(visit) = self.visit(now)
        {
            return visit;
        }
        let deadline = self.rows.deadlines.first().map(|(at, _)| *at).filter(|_| self.notices < NOTICES_MAX);
        let waiting = self.rows.waiting.first().map(|(at, _)| *at);
        let blocked = self.blocked.first().map(|(at, _)| *at);
        let next = deadline.into_iter().chain(waiting).chain(blocked).filter(|at| *at != NEVER).min();
        next.map_or(Next::Idle, |at| Next::Wait(timestamp(at)))
    }

    fn wake(&mut self, now: Millis) {
        for _ in 0..MOVED_MAX {
            let Some((_, row)) = self.rows.waiting.first().copied().filter(|(due, _)| *due <= now) else { break };
            let Some(place) = self.rows.get(row).map(|row| row.place) else { break };
            self.unlist(place, row);
            self.list(place, row, now);
            self.refresh(place, now);
        }
        while let Some((_, place)) = self.blocked.first().copied().filter(|(at, _)| *at <= now) {
            self.refresh(place, now);
        }
    }

    fn notice(&mut self, now: Millis) -> Option<Next> {
        if self.notices >= NOTICES_MAX {
            return None;
        }
        let (_, number) = self.rows.deadlines.first().copied().filter(|(at, _)| *at <= now)?;
        let row = self.rows.get_mut(number)?;
        let is_expired = row.expires <= now;
        let place = row.place;
        self.unlist(place, number);
        if let Some(row) = self.rows.get_mut(number) {
            // Once: it comes again only if the message says so.
            row.tell = NEVER;
        }
        self.refresh(place, now);
        let reply = self.place(place).and_then(Place::last_reply);
        let lease = self.lease(number, true)?;
        self.notices += 1;
        Some(if is_expired { Next::Expire(lease, reply) } else { Next::TellDelay(lease, reply) })
    }

    fn visit(&mut self, now: Millis) -> Option<Next> {
        let Self { turns, offered, .. } = self;
        let rank = turns.choose(|from| offered.range((from, 0)..).next().map(|(rank, _)| *rank))?;
        let after = offered.range((rank, turns.last(rank).saturating_add(1))..=(rank, u32::MAX)).next();
        let (_, number) = *after.or_else(|| offered.range((rank, 0)..).next())?;
        turns.went(rank, number);
        let row = self.pick(number)?;
        let name = self.place(number).map(|place| place.name.clone())?;
        let lease = self.take(number, row, now)?;
        self.last_visit += 1;
        self.visits.insert(self.last_visit, Visiting { place: number, since: now, messages: 1, has_reached: false });
        if let Some(place) = place_mut(&mut self.places, number) {
            place.visits += 1;
        }
        self.refresh(number, now);
        Some(Next::Visit(Visit { number: self.last_visit, route: self.policy.routes.of(&name) }, lease))
    }

    /// The job of a destination that goes next: by rank, then by turns among its senders.
    fn pick(&mut self, number: u32) -> Option<u32> {
        let ready = &self.rows.ready;
        let place = place_mut(&mut self.places, number)?;
        let first = |rank: u8, sender: u32| ready.range((number, rank, sender, Millis::MIN, 0)..).next().copied();
        let rank =
            place.turns.choose(|from| first(from, 0).filter(|(at, ..)| *at == number).map(|(_, rank, ..)| rank))?;
        let of_rank = |found: &(u32, u8, u32, Millis, u32)| found.0 == number && found.1 == rank;
        let last = place.turns.last(rank);
        let after = last.checked_add(1).and_then(|next| first(rank, next)).filter(of_rank);
        let (_, _, sender, _, row) = after.or_else(|| first(rank, 0).filter(of_rank))?;
        place.turns.went(rank, sender);
        Some(row)
    }

    fn take(&mut self, place: u32, row: u32, now: Millis) -> Option<Lease> {
        self.unlist(place, row);
        if let Some(place) = place_mut(&mut self.places, place) {
            place.charge(now);
        }
        self.lease(row, false)
    }

    fn lease(&mut self, number: u32, is_notice: bool) -> Option<Lease> {
        let row = self.rows.get_mut(number)?;
        row.is_leased = true;
        let (message, place) = (row.key.id()?, row.place);
        self.rows.leased += 1;
        let destination = self.place(place)?.name.clone();
        Some(Lease { row: number, is_notice, message, destination })
    }

    /// What else goes over the connection of a visit.
    pub fn another(&mut self, visit: &Visit, now: Timestamp) -> Another {
        let now = millis(now);
        self.wake(now);
        let Some(visiting) = self.visits.get(&visit.number) else { return Another::Close };
        let number = visiting.place;
        let is_others_turn = self.visits.len() >= self.policy.connections_max as usize && !self.offered.is_empty();
        let age = now.saturating_sub(visiting.since);
        let Some(place) = self.place(number) else { return Another::Close };
        if visiting.messages >= place.messages_per_connection
            || is_others_turn && age >= whole_millis(self.policy.visit_max)
        {
            return Another::Close;
        }
        match place.follow(now) {
            Some(at) if at > now.saturating_add(whole_millis(self.policy.idle_max)) => Another::Close,
            Some(at) if at > now => Another::Later(timestamp(at)),
            Some(_) => self.follow(visit.number, number, now).map_or(Another::Close, Another::Job),
            None => Another::Close,
        }
    }

    fn follow(&mut self, visit: u64, place: u32, now: Millis) -> Option<Lease> {
        let row = self.pick(place)?;
        let lease = self.take(place, row, now)?;
        if let Some(visiting) = self.visits.get_mut(&visit) {
            visiting.messages += 1;
        }
        self.refresh(place, now);
        Some(lease)
    }

    /// A server of the destination took up a transaction: it is not down.
    pub fn reached(&mut self, visit: &Visit, now: Timestamp) {
        let Some(visiting) = self.visits.get_mut(&visit.number) else { return };
        visiting.has_reached = true;
        let number = visiting.place;
        if let Some(place) = place_mut(&mut self.places, number) {
            place.reached();
        }
        self.refresh(number, millis(now));
    }

    /// A visit is over. Where the destination is left alone now, the time until then.
    pub fn close(&mut self, visit: Visit, end: VisitEnd, now: Timestamp, random: u64) -> Option<Timestamp> {
        let visiting = self.visits.remove(&visit.number)?;
        let place = place_mut(&mut self.places, visiting.place)?;
        place.visits -= 1;
        let until = match end {
            VisitEnd::Reached => {
                if !visiting.has_reached && !place.is_up() {
                    place.reached();
                }
                None
            }
            VisitEnd::Failed(reply) => {
                let policy = &self.policy.unreachable;
                place.failed(reply, visiting.has_reached, policy, now, random).map(timestamp)
            }
        };
        self.refresh(visiting.place, millis(now));
        until
    }

    /// A lease is over: the job is as [`Schedule::put`] had it last, and where that left it out it is gone.
    pub fn finish(&mut self, lease: Lease, now: Timestamp) {
        let now = millis(now);
        let Some(row) = self.rows.get_mut(lease.row).filter(|row| row.is_leased) else { return };
        row.is_leased = false;
        let (key, place, is_gone) = (row.key.clone(), row.place, row.is_gone);
        self.rows.leased -= 1;
        self.notices -= u32::from(lease.is_notice);
        if is_gone {
            self.forget(place, lease.row);
        }
        self.refresh(place, now);
        self.list_of(&key, now);
    }

    fn place(&self, number: u32) -> Option<&Place> {
        self.places.get(number as usize)?.as_ref()
    }

    fn place_of(&mut self, destination: &Destination) -> u32 {
        if let Some(number) = self.numbers.get(destination) {
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| next_number(self.places.len()));
        let place = Place::new(destination.clone(), &self.policy.routes.of(destination).limits);
        put_at(&mut self.places, number, Some(place));
        self.numbers.insert(destination.clone(), number);
        number
    }

    fn list(&mut self, place: u32, row: u32, now: Millis) {
        let is_ready = self.rows.list(row, now);
        if let Some(place) = place_mut(&mut self.places, place) {
            place.due += u32::from(is_ready);
        }
    }

    fn unlist(&mut self, place: u32, row: u32) {
        let was_ready = self.rows.unlist(row);
        if let Some(place) = place_mut(&mut self.places, place) {
            place.due -= u32::from(was_ready);
        }
    }

    /// Lists a destination where it belongs after something about it changed, or forgets it.
    fn refresh(&mut self, number: u32, now: Millis) {
        let first = self.rows.ready.range((number, 0, 0, Millis::MIN, 0)..).next();
        let rank = first.filter(|(place, ..)| *place == number).map(|(_, rank, ..)| *rank);
        let Some(place) = place_mut(&mut self.places, number) else { return };
        let offer = place.offer(rank, now);
        let before = core::mem::replace(&mut place.offer, offer);
        if before != offer {
            match before {
                Offer::No => {}
                Offer::Now(rank) => drop(self.offered.remove(&(rank, number))),
                Offer::At(at) => drop(self.blocked.remove(&(at, number))),
            }
            match offer {
                Offer::No => {}
                Offer::Now(rank) => drop(self.offered.insert((rank, number))),
                Offer::At(at) => drop(self.blocked.insert((at, number))),
            }
        }
        if place.is_idle(now) {
            self.numbers.remove(&place.name);
            put_at(&mut self.places, number, None);
            self.free.push(number);
        }
    }
}

fn place_mut(places: &mut [Option<Place>], number: u32) -> Option<&mut Place> {
    places.get_mut(number as usize)?.as_mut()
}

fn whole_millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(NEVER)
}
