//! Everything together: who acts next, and what the clock says.

use core::time::Duration;
use std::sync::Arc;

use basin_core::mail::{Arrival, Body, Envelope, Field, HeaderBlock, Message, MessageId, Origin};
use basin_core::queue::{Another, Lease, Next, RetryPolicy, SchedulePolicy, Visit, VisitEnd};
use basin_core::reply::Reply;
use basin_core::smtp::ListenerPolicy;
use basin_core::smtp::client::{Chunking, ClientPolicy, Outgoing, Sent};
use basin_core::time::Timestamp;
use basin_core::transport::{
    Attempt, Change, Directory, NextHop, Relayed, RouteTable, State, Tables, TransportPolicy, Whom,
};
use basin_spool::fault::{Fault, FaultyStorage};

use crate::dice::Dice;
use crate::ledger::{Counts, Ledger, Promise, uid};
use crate::link::{Event, Link, Weather};
use crate::node::{Deliveries, Listening, Node};
use crate::peer::{Peer, Played, USERS, address};

/// Steps in which every world comes to its end.
const STEPS_MAX: u64 = 400_000;

const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

const NODE: &str = "node.example";

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
    weather: Weather,
    calm_from: Timestamp,
    ledger: Ledger,
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl World {
    pub(crate) fn new(seed: u64) -> Result<Self, String> {
        let mut dice = Dice::new(seed);
        let lifetime = at(3_600 * (2 + dice.below(40)));
        let calm_from = START.plus(lifetime);
        let domains = ["one.example", "two.example", "three.example"];
        let peers: Vec<Peer> = domains.iter().map(|domain| Peer::new(domain, &mut dice, START, calm_from)).collect();
        let tables = Tables {
            domains: vec![NODE.to_owned()],
            mailboxes: USERS.iter().filter_map(|user| Some((address(user, NODE)?, (*user).to_owned()))).collect(),
            aliases: Vec::new(),
            postmaster: "a".into(),
            catch_all: Vec::new(),
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
        listener.allow_relay_from_anywhere();
        let mut client_policy = ClientPolicy::new(format!("mx.{NODE}"));
        client_policy.chunking = if dice.strikes(300) { Chunking::Preferred } else { Chunking::ForBinary };
        let weather = if dice.strikes(300) {
            Weather { breaks: 0, stalls: 0 }
        } else {
            Weather { breaks: dice.below(20), stalls: dice.below(4) }
        };
        let storage = FaultyStorage::new();
        let node = Node::open(storage, Arc::new(policy), schedule_policy.clone())?;
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
            weather,
            calm_from,
            ledger: Ledger::default(),
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
            if !self.act() && !self.pass_time()? {
                return self.ledger.close().map_or(Ok(self.ledger.counts), Err);
            }
        }
        Err(format!("the world did not come to its end in {STEPS_MAX} steps"))
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
        storage.restart(self.dice.next());
        self.node = Node::open(storage, policy, self.schedule_policy.clone())?;
        self.now = self.now.plus(at(1 + self.dice.below(120)));
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
        if let Next::Wait(at) = self.node.schedule.next(self.now) {
            times.push(at);
        }
        times.extend(self.visits.iter().filter_map(|visiting| visiting.later));
        let mut visits = core::mem::take(&mut self.visits);
        for visiting in &mut visits {
            if visiting.later.is_none() {
                times.extend(self.stuck_until(visiting));
            }
        }
        self.visits = visits;
        let mut clients = core::mem::take(&mut self.clients);
        for client in &mut clients {
            times.extend(client.link.waits_until(self.now));
        }
        self.clients = clients;
        match times.into_iter().min() {
            Some(next) => {
                // The least step: who waits until now is looked at again.
                self.now = next.max(self.now.plus(Duration::from_millis(1)));
                Ok(true)
            }
            None if self.node.spool.ids().is_empty() => Ok(false),
            None => Err(format!("{:?} are in the spool and nobody will look at them", self.node.spool.ids())),
        }
    }

    fn stuck_until(&self, visiting: &Visiting) -> Option<Timestamp> {
        visiting.link.waits_until(self.now)
    }

    fn step_fresh(&mut self) -> bool {
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
        self.node.schedule.finish(lease, self.now);
    }

    fn begin_visit(&mut self, visit: Visit, lease: Lease) {
        self.ledger.counts.visits += 1;
        let NextHop::Mx(domain) = &visit.route().next else {
            return self.ledger.find("a route that nobody configured".into());
        };
        let found = self.peers.iter().position(|peer| peer.domain == *domain);
        let peer = found.filter(|peer| self.peers.get(*peer).is_some_and(|peer| peer.is_up(self.now)));
        let Some(peer) = peer else {
            let reply = Reply::with(451, 4, 1, "connection timed out");
            return self.not_reached(visit, lease, reply);
        };
        let Some(played) = self.peers.get(peer) else { return };
        let acceptor = Played { peer: played, ledger: &mut self.ledger };
        let weather = if self.now >= self.calm_from { Weather { breaks: 0, stalls: 0 } } else { self.weather };
        let link = Link::new(&self.client_policy, &played.policy, &acceptor, weather, self.now, &mut self.dice);
        self.visits.push(Visiting { visit, peer, link, lease: Some(lease), is_reached: false, later: None });
    }

    fn not_reached(&mut self, visit: Visit, lease: Lease, reply: Reply) {
        let again = self.node.schedule.close(visit, VisitEnd::Failed(reply.clone()), self.now, self.dice.next());
        let results = self.recipients(&lease).into_iter().map(|id| (id, Err(reply.clone()))).collect();
        let attempt = Attempt { at: self.now, host: None, results, again };
        self.apply(lease, Change::Sent(attempt), Vec::new());
    }

    fn recipients(&self, lease: &Lease) -> Vec<u32> {
        let loaded = self.node.load(lease.message());
        loaded.map(|(message, _)| self.node.policy.outgoing(&message, lease.destination())).unwrap_or_default()
    }

    fn step_visit(&mut self) -> bool {
        let mut order: Vec<usize> = (0..self.visits.len()).collect();
        let first = usize::try_from(self.dice.below(order.len() as u64)).unwrap_or(0);
        order.rotate_left(first.min(order.len()));
        for place in order {
            let Some(visiting) = self.visits.get_mut(place) else { continue };
            if visiting.later.is_some_and(|later| later > self.now) {
                continue;
            }
            visiting.later = None;
            let Some(peer) = self.peers.get(visiting.peer) else { continue };
            let mut played = Played { peer, ledger: &mut self.ledger };
            let event = visiting.link.step(&mut played, self.now, &mut self.dice);
            if matches!(event, Event::Stuck(_)) {
                continue;
            }
            let visiting = self.visits.swap_remove(place);
            if let Some(visiting) = self.went_on(visiting, event) {
                self.visits.push(visiting);
            }
            return true;
        }
        false
    }

    fn went_on(&mut self, mut visiting: Visiting, event: Event) -> Option<Visiting> {
        match event {
            Event::Moved | Event::Stuck(_) => {}
            Event::Free => self.next_message(&mut visiting),
            Event::Sent(sent) => {
                if !visiting.is_reached {
                    visiting.is_reached = true;
                    self.node.schedule.reached(&visiting.visit, self.now);
                }
                self.record(&mut visiting, &sent);
                visiting.link.go_on(self.now);
            }
            Event::Closed(closed) => {
                let Visiting { visit, peer, link, lease, is_reached, .. } = visiting;
                if let Some(peer) = self.peers.get(peer) {
                    let mut played = Played { peer, ledger: &mut self.ledger };
                    link.drain(&mut played, self.now, &mut self.dice);
                }
                self.ledger.counts.broken += u64::from(lease.is_some());
                match (lease, is_reached) {
                    (Some(lease), false) => self.not_reached(visit, lease, closed.reply),
                    (Some(lease), true) => {
                        drop(self.node.schedule.close(visit, VisitEnd::Reached, self.now, self.dice.next()));
                        let unsent = closed.unsent.map(|outgoing| outgoing.failed(&closed.reply).results);
                        let results = unsent.unwrap_or_default().into_iter();
                        let results = results.map(|(id, result)| (id, result.map(relayed))).collect();
                        let attempt = Attempt { at: self.now, host: Some("mx".into()), results, again: None };
                        self.apply(lease, Change::Sent(attempt), Vec::new());
                    }
                    (None, _) => {
                        drop(self.node.schedule.close(visit, VisitEnd::Reached, self.now, self.dice.next()));
                    }
                }
                return None;
            }
        }
        Some(visiting)
    }

    // The connection is free: the job that it was opened for, or what the schedule has for it.
    fn next_message(&mut self, visiting: &mut Visiting) {
        if visiting.lease.is_none() {
            match self.node.schedule.another(&visiting.visit, self.now) {
                Another::Job(lease) => visiting.lease = Some(lease),
                Another::Later(at) => {
                    visiting.later = Some(at);
                    return visiting.link.stay();
                }
                Another::Close => return visiting.link.quit(self.now),
            }
        }
        let outgoing = visiting.lease.as_ref().and_then(|lease| {
            let (message, _) = self.node.load(lease.message())?;
            let recipients = self.node.policy.outgoing(&message, lease.destination());
            (!recipients.is_empty()).then(|| Outgoing::of(&message, &recipients))
        });
        match outgoing {
            Some(outgoing) => visiting.link.transact(outgoing, self.now),
            None => {
                // It came to its end meanwhile, or cannot be read now: it is taken up again from the disk.
                if let Some(lease) = visiting.lease.take() {
                    let id = lease.message().clone();
                    self.node.start(&id, &mut self.ledger, self.now, &mut self.dice);
                    self.node.schedule.finish(lease, self.now);
                }
                visiting.link.stay();
            }
        }
    }

    fn record(&mut self, visiting: &mut Visiting, sent: &Sent) {
        let Some(lease) = visiting.lease.take() else {
            return self.ledger.find("results without a job".into());
        };
        let mut delivered = Vec::new();
        if let Some((message, _)) = self.node.load(lease.message()) {
            let uid = uid(&message);
            let taken = sent.results.iter().filter(|(_, result)| result.is_ok());
            for recipient in taken.filter_map(|(id, _)| message.envelope.recipient(*id)) {
                delivered.push((uid.clone(), recipient.address.to_string()));
            }
        }
        let results = sent.results.iter().map(|(id, result)| (*id, result.clone().map(relayed))).collect();
        let attempt = Attempt { at: self.now, host: Some("mx".into()), results, again: None };
        if sent.is_complete {
            self.apply(lease, Change::Sent(attempt), delivered);
        } else {
            let id = lease.message().clone();
            let change = Change::Sent(attempt);
            self.node.change(&id, change, delivered, &mut self.ledger, self.now, &mut self.dice);
            visiting.lease = Some(lease);
        }
    }

    fn step_operator(&mut self) -> bool {
        if let Some(id) = self.node.parked.pop() {
            self.operate(&id, Change::Release);
            return true;
        }
        if self.is_calm() || !self.dice.strikes(2) {
            return false;
        }
        let ids = self.node.spool.ids();
        let in_hand = |id: &MessageId| {
            self.visits.iter().any(|visiting| visiting.lease.as_ref().is_some_and(|lease| lease.message() == id))
                || self.node.kept.iter().any(|(_, kept)| match kept {
                    crate::node::Kept::Machine(repeat) => repeat.id() == id,
                    crate::node::Kept::Removal(removed, _) => removed == id,
                })
        };
        let Some(id) = self.dice.pick(&ids).filter(|id| !in_hand(id)).cloned() else { return false };
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

    fn operate(&mut self, id: &MessageId, change: Change) {
        self.ledger.counts.operations += 1;
        self.node.fresh.retain(|fresh| fresh != id);
        self.node.change(id, change, Vec::new(), &mut self.ledger, self.now, &mut self.dice);
    }

    fn step_client(&mut self) -> bool {
        if let Some(mut client) = self.clients.pop() {
            let mut listening = Listening { node: &mut self.node };
            let event = client.link.step(&mut listening, self.now, &mut self.dice);
            let has_acted = !matches!(event, Event::Stuck(_));
            match event {
                Event::Moved | Event::Stuck(_) => self.clients.push(client),
                Event::Free => {
                    match client.outgoing.take() {
                        Some(outgoing) => client.link.transact(outgoing, self.now),
                        None => client.link.quit(self.now),
                    }
                    self.clients.push(client);
                }
                Event::Sent(sent) => {
                    self.acknowledged(&client.uid, &sent);
                    client.link.go_on(self.now);
                    self.clients.push(client);
                }
                Event::Closed(_) => {
                    let mut listening = Listening { node: &mut self.node };
                    client.link.drain(&mut listening, self.now, &mut self.dice);
                }
            }
            return has_acted;
        }
        if self.sent >= self.to_send || !self.dice.strikes(100) {
            // Somebody may come later; nobody waits for it but the clock.
            if self.sent < self.to_send && self.dice.strikes(500) {
                return true;
            }
            return false;
        }
        self.sent += 1;
        self.new_message();
        true
    }

    fn acknowledged(&mut self, uid: &str, sent: &Sent) {
        let taken: Vec<String> = sent
            .results
            .iter()
            .filter(|(_, result)| result.is_ok())
            .map(|(id, _)| *id)
            .filter_map(|id| self.ledger.recipient(uid, id))
            .collect();
        if !taken.is_empty() {
            self.ledger.promise(uid, &taken);
        }
    }

    fn new_message(&mut self) {
        let uid = format!("u{}", self.sent);
        let domains = [NODE, "one.example", "two.example", "three.example"];
        let sender = match self.dice.below(10) {
            0 => None,
            number => {
                let domain = domains.get(usize::try_from(number % 4).unwrap_or(0)).copied().unwrap_or(NODE);
                address("a", domain)
            }
        };
        let mut envelope = Envelope::new(sender.clone());
        for _ in 0..=self.dice.below(5) {
            let domain = self.dice.pick(&domains).copied().unwrap_or(NODE);
            let user = if self.dice.strikes(100) && domain != NODE {
                "bad"
            } else {
                self.dice.pick(&USERS).copied().unwrap_or("a")
            };
            if let Some(address) = address(user, domain) {
                let original = address.to_string();
                envelope.add(address, original);
            }
        }
        let is_pickup = self.dice.strikes(400);
        if is_pickup {
            for recipient in &mut envelope.recipients {
                let wishes: [&[&str]; 5] =
                    [&[], &["NEVER"], &["FAILURE"], &["FAILURE", "DELAY"], &["SUCCESS", "FAILURE", "DELAY"]];
                let wish = self.dice.pick(&wishes).copied().unwrap_or_default();
                recipient.notify = wish.iter().map(|word| (*word).to_owned()).collect();
            }
        }
        let length = if self.dice.strikes(200) { self.dice.below(6_000) } else { self.dice.below(400) };
        let body = body(length, &mut self.dice);
        let recipients = envelope.recipients.iter();
        let wants = |notify: &[String]| notify.is_empty() || notify.iter().any(|word| word == "FAILURE");
        let promise = Promise {
            is_null: sender.is_none(),
            recipients: recipients.map(|one| (one.address.to_string(), wants(&one.notify))).collect(),
            body: body.clone(),
        };
        let addresses: Vec<String> = promise.recipients.iter().map(|(address, _)| address.clone()).collect();
        self.ledger.offer(uid.clone(), promise);
        let message = message(&uid, envelope, body, self.now, self.dice.next());
        if is_pickup {
            let id = message.id.clone();
            if self.node.commit(message, State::default()).is_ok() && !self.node.is_dead() {
                self.node.fresh.push(id);
                self.ledger.promise(&uid, &addresses);
            }
            return;
        }
        let ids: Vec<u32> = message.envelope.recipients.iter().map(|recipient| recipient.id).collect();
        let outgoing = Outgoing::of(&message, &ids);
        let weather = if self.is_calm() { Weather { breaks: 0, stalls: 0 } } else { self.weather };
        let acceptor = Listening { node: &mut self.node };
        let policy = Arc::new(ClientPolicy::new("client.example"));
        let link = Link::new(&policy, &self.listener, &acceptor, weather, self.now, &mut self.dice);
        self.clients.push(Client { link, outgoing: Some(outgoing), uid });
    }
}

fn relayed(accepted: basin_core::smtp::client::Accepted) -> Relayed {
    Relayed { reply: accepted.reply, is_dsn_passed: accepted.is_dsn_passed }
}

// Lines that a careless stuffing of dots would change.
fn body(length: u64, dice: &mut Dice) -> Vec<u8> {
    let lines: [&[u8]; 6] = [b".\r\n", b"..\r\n", b".hidden\r\n", b"plain text\r\n", b"\r\n", b"end .\r\n"];
    let mut body = Vec::new();
    while (body.len() as u64) < length {
        body.extend_from_slice(dice.pick(&lines).copied().unwrap_or(b"x\r\n"));
    }
    body
}

fn message(uid: &str, envelope: Envelope, body: Vec<u8>, now: Timestamp, random: u64) -> Message {
    let arrival = Arrival {
        origin: Origin::Pickup,
        at: now,
        listener: String::new(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: false,
        session: None,
        depth: 0,
    };
    let mut header = HeaderBlock::default();
    for (name, value) in [("From", "a@node.example"), ("Subject", "a story"), ("X-Uid", uid)] {
        if let Ok(field) = Field::new(name, value) {
            // Three short fields are within every limit.
            drop(header.insert(0, field));
        }
    }
    let mut message = Message::new(MessageId::new(now, random), arrival, envelope);
    message.header = header.into();
    message.body = Body::from_bytes(body);
    message
}
