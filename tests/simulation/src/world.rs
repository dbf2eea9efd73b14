//! Everything together: who acts next, and what the clock says.

mod clients;
mod visits;

use core::time::Duration;
use std::sync::Arc;

use basin_core::mail::MessageId;
use basin_core::network::Network;
use basin_core::queue::{Lease, Next, RetryPolicy, SchedulePolicy, Visit};
use basin_core::smtp::client::{Chunking, ClientPolicy, Outgoing};
use basin_core::smtp::{Accounts, AuthPolicy, ListenerPolicy, Mechanism};
use basin_core::time::Timestamp;
use basin_core::transport::{Change, Directory, RouteTable, Tables, TransportPolicy, Whom};
use basin_spool::fault::{Fault, FaultyStorage};

use crate::dice::Dice;
use crate::ledger::{Counts, Ledger};
use crate::link::{Link, Weather};
use crate::node::{Deliveries, Node};
use crate::peer::{DOMAINS, Peer, Played, USERS, mailboxes};
use crate::sinks::{MESSAGE_BYTES_HARD_MAX, Sinks};

/// Steps in which every world comes to its end.
const STEPS_MAX: u64 = 400_000;

/// When every story begins.
const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// Domain of the server under test.
const NODE: &str = "node.example";

/// A network without faults.
const CALM: Weather = Weather { breaks: 0, stalls: 0 };

/// A visit of the server under test.
struct Visiting {
    visit: Visit,
    peer: usize,
    link: Link,
    lease: Option<Lease>,
    is_reached: bool,
    /// Ask the schedule for more at that time.
    later: Option<Timestamp>,
}

/// Somebody who hands a message to the server under test.
struct Client {
    link: Link,
    outgoing: Option<Outgoing>,
    uid: String,
}

/// A world with one server under test.
pub(crate) struct World {
    dice: Dice,
    now: Timestamp,
    node: Node,
    schedule_policy: SchedulePolicy,
    listener: Arc<ListenerPolicy>,
    client_policy: Arc<ClientPolicy>,
    peers: Vec<Peer>,
    visits: Vec<Visiting>,
    clients: Vec<Client>,
    to_send: u64,
    sent: u64,
    /// When the next message is handed over.
    client_at: Timestamp,
    weather: Weather,
    calm_from: Timestamp,
    ledger: Ledger,
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl World {
    pub(crate) fn new(seed: u64, is_told: bool) -> Result<Self, String> {
        let mut dice = Dice::new(seed);
        let lifetime = at(3_600 * (2 + dice.below(40)));
        let calm_from = START.plus(lifetime);
        let peers: Vec<Peer> =
            DOMAINS.iter().skip(1).map(|domain| Peer::new(domain, &mut dice, START, calm_from)).collect();
        let tables = Tables {
            domains: vec![NODE.to_owned()],
            mailboxes: USERS.iter().flat_map(|user| mailboxes(user, NODE)).collect(),
            aliases: Vec::new(),
            postmaster: "a".into(),
            catch_all: Vec::new(),
            host_names: Vec::new(),
        };
        let directory = Arc::new(Directory::new(tables).map_err(|error| error.to_string())?);
        let routes = Arc::new(RouteTable::default());
        let policy = TransportPolicy {
            routes: routes.clone(),
            lifetime,
            lifetime_null: lifetime / 2,
            delay_notice: dice.strikes(700).then_some(at(3_600)),
            ..TransportPolicy::new(format!("mx.{NODE}"), directory.clone())
        };
        let schedule_policy = SchedulePolicy {
            connections_max: u32::try_from(1 + dice.below(6)).unwrap_or(1),
            visit_max: at(300),
            idle_max: at(5),
            unreachable: RetryPolicy::unreachable(),
            routes,
        };
        let mut listener = ListenerPolicy::new("mx", format!("mx.{NODE}"), directory);
        listener.relay_clients.extend(Network::parse("127.0.0.1"));
        if dice.strikes(400) {
            listener.message_bytes_max = 3_000;
            listener.message_bytes_hard_max = Some(MESSAGE_BYTES_HARD_MAX);
        }
        if dice.strikes(500) {
            let accounts = Accounts::parse("", [0; 32]).map_err(|error| error.to_string())?;
            let mut auth = AuthPolicy::new(Arc::new(accounts));
            (auth.mechanisms, auth.needs_tls) = (vec![Mechanism::Plain], false);
            listener.auth = Some(auth);
        }
        let mut client_policy = ClientPolicy::new(format!("mx.{NODE}"));
        client_policy.chunking = if dice.strikes(300) { Chunking::Preferred } else { Chunking::ForBinary };
        let weather = if dice.strikes(300) { CALM } else { Weather { breaks: dice.below(20), stalls: dice.below(4) } };
        let storage = FaultyStorage::new();
        let sinks = if seed % 2 == 1 { Sinks::of(&mut dice)? } else { Sinks::default() };
        let mut ledger = Ledger::new(is_told);
        ledger.owed_edits = sinks.owed_edits();
        let node = Node::open(storage, Arc::new(policy), schedule_policy.clone(), sinks, START)?;
        Ok(Self {
            now: START,
            node,
            schedule_policy,
            listener: Arc::new(listener),
            client_policy: Arc::new(client_policy),
            peers,
            visits: Vec::new(),
            clients: Vec::new(),
            to_send: 1 + dice.below(8),
            sent: 0,
            client_at: START,
            weather,
            calm_from,
            ledger,
            dice,
        })
    }

    /// Runs the world to its end; the error is the first thing that was wrong.
    pub(crate) fn run(mut self) -> Result<Counts, String> {
        for _ in 0..STEPS_MAX {
            if let Some(finding) = self.ledger.finding() {
                return Err(finding);
            }
            if self.node.is_dead() {
                self.restart()?;
            }
            self.ledger.counts.disk_faults += u64::from(self.node.fault_passed());
            self.misfortune();
            self.node.sinks.is_calm = self.is_calm();
            if !self.act() && !self.pass_time()? {
                self.count();
                let tables = self.ledger.close_tables(&self.node.sinks.tables);
                return self.ledger.close().or(tables).map_or(Ok(self.ledger.counts), Err);
            }
        }
        Err(format!("the world did not come to its end in {STEPS_MAX} steps"))
    }

    fn count(&mut self) {
        let (sinks, counts) = (&self.node.sinks, &mut self.ledger.counts);
        (counts.calls, counts.failed_calls, counts.notices) = (sinks.calls, sinks.failures, sinks.notices);
        (counts.forks, counts.remembered, counts.timers) = (sinks.forks, sinks.remembered, sinks.timers_fired);
        (counts.logins, counts.waived, counts.taken_back) = (sinks.logins, sinks.waived, sinks.tables.taken_back);
    }

    fn is_calm(&self) -> bool {
        self.now >= self.calm_from
    }

    fn misfortune(&mut self) {
        if self.is_calm() || self.node.fault.is_some() || !self.dice.strikes(4) {
            return;
        }
        let faults = [Fault::PowerCut, Fault::PowerCut, Fault::PowerCut, Fault::Io, Fault::Full, Fault::Short];
        if let Some(fault) = self.dice.pick(&faults).copied() {
            self.node.break_soon(fault, &mut self.dice);
        }
    }

    fn restart(&mut self) -> Result<(), String> {
        self.ledger.counts.power_cuts += 1;
        self.ledger.tell(|| "THE POWER IS CUT".to_owned());
        // What was in flight arrives or not; then the sockets are gone.
        for visiting in self.visits.drain(..) {
            if let Some(peer) = self.peers.get(visiting.peer) {
                let mut played = Played { peer, ledger: &mut self.ledger };
                visiting.link.drain(&mut played, self.now, &mut self.dice);
            }
        }
        self.clients.clear();
        let storage = self.node.storage.clone();
        let policy = self.node.policy.clone();
        // The process went with the power: what its spool still does at its end reaches no disk any more, least of all the
        // one that the next process has begun to use.
        self.node.spool.close();
        storage.restart(self.dice.next());
        let mut sinks = core::mem::take(&mut self.node.sinks);
        sinks.tables.power_cut(self.dice.strikes(500));
        self.now = self.now.plus(at(1 + self.dice.below(120)));
        self.node = Node::open(storage, policy, self.schedule_policy.clone(), sinks, self.now)?;
        for id in self.node.spool.ids() {
            let loaded = self.node.spool.load(&id).ok().flatten();
            loaded.iter().for_each(|(message, _)| self.ledger.values.record(message));
        }
        Ok(())
    }

    // Lets one of those who can act do so; false where nobody can now.
    fn act(&mut self) -> bool {
        let turn = self.dice.below(6);
        for actor in 0..6 {
            let has_acted = match (turn + actor) % 6 {
                0 => self.step_client(),
                1 | 2 => self.step_visit(),
                3 => self.step_fresh(),
                4 => self.step_schedule(),
                _ => self.step_operator(),
            };
            if has_acted {
                self.now = self.now.plus(Duration::from_millis(self.dice.below(40)));
                return true;
            }
        }
        false
    }

    // Goes on to the next time at which something happens; false where nothing ever will.
    fn pass_time(&mut self) -> Result<bool, String> {
        let mut times: Vec<Timestamp> = self.node.kept.iter().map(|(at, _)| *at).collect();
        times.extend(self.node.timetable.next_due());
        // They would go on for ever.
        times.extend(self.node.timers.next().filter(|_| !self.is_calm()));
        times.extend((self.sent < self.to_send).then_some(self.client_at));
        if let Next::Wait(at) = self.node.schedule.next(self.now) {
            times.push(at);
        }
        times.extend(self.visits.iter().filter_map(|visiting| visiting.later));
        let waiting = self.visits.iter().filter(|visiting| visiting.later.is_none());
        times.extend(waiting.filter_map(|visiting| visiting.link.waits_until(self.now)));
        times.extend(self.clients.iter().filter_map(|client| client.link.waits_until(self.now)));
        match times.into_iter().min() {
            Some(next) => {
                // The least step: who waits until now is looked at again.
                self.now = next.max(self.now.plus(Duration::from_millis(1)));
                Ok(true)
            }
            None if self.node.spool.ids().iter().all(|id| self.node.unborn().contains(id)) => Ok(false),
            None => Err(format!("{:?} are in the spool and nobody will look at them", self.node.spool.ids())),
        }
    }

    fn step_fresh(&mut self) -> bool {
        if !self.is_calm() && self.node.fire_due(&mut self.ledger, self.now, &mut self.dice) {
            return true;
        }
        if let Some(id) = self.node.giving_way.pop() {
            if self.is_in_hand(&id) {
                self.node.giving_way.insert(0, id);
            } else {
                self.node.fresh.retain(|fresh| *fresh != id);
                let (ledger, dice) = (&mut self.ledger, &mut self.dice);
                self.node.change(&id, Change::Supersede, Vec::new(), ledger, self.now, dice);
                return true;
            }
        }
        if let Some(place) = self.node.kept.iter().position(|(at, _)| *at <= self.now) {
            let (_, kept) = self.node.kept.swap_remove(place);
            self.node.repeat(kept, &mut self.ledger, self.now, &mut self.dice);
            return true;
        }
        let due = if self.node.fresh.is_empty() { self.node.timetable.pop_due(self.now) } else { None };
        let Some(id) = due.or_else(|| self.node.fresh.pop()) else { return false };
        self.node.start(&id, &mut self.ledger, self.now, &mut self.dice);
        true
    }

    fn step_schedule(&mut self) -> bool {
        match self.node.schedule.next(self.now) {
            Next::Visit(visit, lease) => self.begin_visit(visit, lease),
            Next::Expire(lease, reply) => {
                let change = Change::Expire(Whom::At(lease.destination().clone()), reply);
                self.apply(lease, change, Vec::new());
            }
            Next::TellDelay(lease, reply) => {
                let change = Change::TellDelay(Whom::At(lease.destination().clone()), reply);
                self.apply(lease, change, Vec::new());
            }
            Next::Wait(_) | Next::Idle => return false,
        }
        true
    }

    fn apply(&mut self, lease: Lease, change: Change, delivered: Deliveries) {
        let id = lease.message().clone();
        self.node.change(&id, change, delivered, &mut self.ledger, self.now, &mut self.dice);
        self.node.finish(lease, self.now);
    }

    fn step_operator(&mut self) -> bool {
        if let Some(id) = self.node.parked.pop() {
            self.operate(&id, Change::Release);
            return true;
        }
        if self.is_calm() || !self.dice.strikes(12) {
            return false;
        }
        let ids = self.node.spool.ids();
        let Some(id) = self.dice.pick(&ids).filter(|id| !self.is_in_hand(id)).cloned() else { return false };
        let change = match self.dice.below(5) {
            0 => Change::Hold("an operator looks at it".into()),
            1 => Change::Release,
            2 => Change::Expire(Whom::Everybody, None),
            3 => Change::Delete,
            _ => {
                self.node.schedule.retry(&id, self.now);
                return true;
            }
        };
        self.operate(&id, change);
        true
    }

    // Whether a visit has the message, or the storage has not taken what is known of it.
    fn is_in_hand(&self, id: &MessageId) -> bool {
        self.visits.iter().any(|visiting| visiting.lease.as_ref().is_some_and(|lease| lease.message() == id))
            || self.node.is_kept(id)
            || self.node.unborn().contains(id)
    }

    fn operate(&mut self, id: &MessageId, change: Change) {
        self.ledger.counts.operations += 1;
        self.node.fresh.retain(|fresh| fresh != id);
        self.node.change(id, change, Vec::new(), &mut self.ledger, self.now, &mut self.dice);
    }
}
