//! Mail for other servers under a script of refusals, dead destinations, operators, failing disks and crashes:
//! transport and schedule together bring every message to its end, nobody is told twice, and nothing is sent
//! twice except where a crash lost the answer.

#![allow(clippy::panic, reason = "a broken invariant is a failed test")]

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::EventSet;
use basin_core::mail::{Arrival, Envelope, Field, Message, MessageId, Origin, Outcome};
use basin_core::queue::{Another, Lease, Next, Schedule, SchedulePolicy, VisitEnd};
use basin_core::reply::Reply;
use basin_core::time::Timestamp;
use basin_core::transport::{
    Attempt, Change, Directory, End, Relayed, State, Tables, Transport, TransportPolicy, Whom, Work,
};
use proptest::prelude::*;

/// More steps than any script can ask for.
const STEPS_MAX: usize = 20_000;

const RECIPIENTS: [&str; 5] = ["a@x.example", "b@x.example", "c@y.example", "d@z.example", "local@basin.example"];

struct World {
    script: std::vec::IntoIter<u8>,
    policy: Arc<TransportPolicy>,
    schedule: Schedule,
    now: Timestamp,
    disk: BTreeMap<MessageId, (Message, State)>,
    ready: VecDeque<MessageId>,
    timers: BTreeSet<(Timestamp, MessageId)>,
    /// Copies by message and address.
    copies: BTreeMap<(MessageId, String), usize>,
    notifications: BTreeMap<MessageId, String>,
    ends: BTreeMap<MessageId, End>,
    crashes: usize,
    operations: usize,
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

fn message(number: usize, has_sender: bool, recipients: &BTreeSet<usize>) -> Message {
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: Timestamp::from_seconds(1_000_000),
        listener: "mx".into(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let mut envelope = Envelope::new(has_sender.then(|| address("sender@far.example")));
    for text in recipients.iter().filter_map(|index| RECIPIENTS.get(*index)) {
        envelope.add(address(text), (*text).to_owned());
    }
    Message::new(MessageId::parse(&format!("m{number}")).expect("an id"), arrival, envelope)
}

fn policy() -> TransportPolicy {
    let tables = Tables {
        domains: vec!["basin.example".into()],
        mailboxes: vec![(address("local@basin.example"), "local".to_owned())],
        postmaster: "local".into(),
        ..Tables::default()
    };
    let mut policy = TransportPolicy::new("mx.basin.example".into(), Arc::new(Directory::new(tables).expect("right")));
    policy.is_signing = true;
    policy
}

fn empty_schedule(policy: &TransportPolicy) -> Schedule {
    Schedule::new(SchedulePolicy { connections_max: 2, ..SchedulePolicy::new(policy.routes.clone()) })
}

impl World {
    fn new(script: Vec<u8>, messages: Vec<Message>) -> Self {
        let policy = policy();
        let disk: BTreeMap<_, _> =
            messages.into_iter().map(|message| (message.id.clone(), (message, State::default()))).collect();
        Self {
            script: script.into_iter(),
            schedule: empty_schedule(&policy),
            policy: Arc::new(policy),
            now: Timestamp::from_seconds(1_000_000),
            ready: disk.keys().cloned().collect(),
            disk,
            timers: BTreeSet::new(),
            copies: BTreeMap::new(),
            notifications: BTreeMap::new(),
            ends: BTreeMap::new(),
            crashes: 0,
            operations: 0,
        }
    }

    fn chance(&mut self) -> u8 {
        self.script.next().unwrap_or(u8::MAX)
    }

    // All that is not on disk is gone.
    fn crash(&mut self) {
        self.crashes += 1;
        self.schedule = empty_schedule(&self.policy);
        self.timers.clear();
        self.ready = self.disk.keys().cloned().collect();
    }

    fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.disk.is_empty() {
                return;
            }
            self.now = self.now.plus(Duration::from_millis(10));
            if let Some(id) = self.ready.pop_front() {
                let Some((message, state)) = self.disk.get(&id).cloned() else { continue };
                let work = Transport::start(self.policy.clone(), message, state, EventSet::default(), self.now);
                self.drive(&id, work);
                continue;
            }
            if self.chance() < 12 {
                self.operate();
                continue;
            }
            match self.schedule.next(self.now) {
                Next::Visit(visit, lease) => self.visit(visit, lease),
                Next::Expire(lease, last) => {
                    let whom = Whom::At(lease.destination().clone());
                    self.settle(lease, Change::Expire(whom, last));
                }
                Next::TellDelay(lease, last) => {
                    let whom = Whom::At(lease.destination().clone());
                    self.settle(lease, Change::TellDelay(whom, last));
                }
                Next::Wait(until) => self.sleep(Some(until)),
                Next::Idle => self.sleep(None),
            }
        }
        panic!("{} messages did not come to their end", self.disk.len());
    }

    // An operator does something to one of the messages.
    fn operate(&mut self) {
        let place = usize::from(self.chance()) % self.disk.len().max(1);
        let Some((id, (message, state))) = self.disk.iter().nth(place) else { return };
        let (id, message, state) = (id.clone(), message.clone(), state.clone());
        self.operations += 1;
        let change = match self.chance() {
            0..80 => Change::Hold("an operator looks at it".into()),
            80..140 => Change::Release,
            140..180 => Change::Reroute(Whom::These(vec![0]), Some("[relay.example]:2525".into())),
            180..220 => Change::Reroute(Whom::Everybody, None),
            220..240 => Change::Expire(Whom::These(vec![1]), None),
            _ => {
                self.schedule.retry(&id, self.now);
                return;
            }
        };
        let work = Transport::change(self.policy.clone(), message, state, EventSet::default(), change, self.now, 0);
        self.drive(&id, work);
    }

    // Nothing else is left to do: an operator lets go what is held.
    fn release_all(&mut self) {
        for id in self.disk.keys().cloned().collect::<Vec<_>>() {
            let Some((message, state)) = self.disk.get(&id).cloned() else { continue };
            let work = Transport::release(self.policy.clone(), message, state, EventSet::default(), self.now);
            self.drive(&id, work);
        }
    }

    fn sleep(&mut self, until: Option<Timestamp>) {
        let timer = self.timers.first().map(|(at, _)| *at);
        let Some(next) = until.into_iter().chain(timer).min() else { return self.release_all() };
        self.now = self.now.max(next);
        while let Some((at, _)) = self.timers.first()
            && *at <= self.now
        {
            self.ready.extend(self.timers.pop_first().map(|(_, id)| id));
        }
    }

    fn visit(&mut self, visit: basin_core::queue::Visit, mut lease: Lease) {
        loop {
            match self.chance() {
                // Nobody answers there.
                0..50 => {
                    let reply = Reply::with(451, 4, 1, "connection refused");
                    let random = u64::from(self.chance());
                    let again = self.schedule.close(visit, VisitEnd::Failed(reply.clone()), self.now, random);
                    if self.chance() < 128 {
                        let attempt = self.attempt(&lease, again, |_| Err(reply.clone()));
                        self.settle(lease, Change::Sent(attempt));
                    } else {
                        self.schedule.finish(lease, self.now);
                    }
                    return;
                }
                // The answer is lost with this process.
                50..60 => {
                    self.attempt(&lease, None, |_| Ok(taken()));
                    return self.crash();
                }
                _ => {
                    let mut chances: Vec<u8> = (0..RECIPIENTS.len()).map(|_| self.chance()).collect();
                    let attempt = self.attempt(&lease, None, |_| match chances.pop().unwrap_or(u8::MAX) {
                        0..60 => Err(Reply::with(451, 7, 1, "greylisted")),
                        60..90 => Err(Reply::with(550, 1, 1, "no such user")),
                        _ => Ok(taken()),
                    });
                    let crashes = self.crashes;
                    self.settle(lease, Change::Sent(attempt));
                    if self.crashes > crashes {
                        return;
                    }
                    self.schedule.reached(&visit, self.now);
                }
            }
            match self.schedule.another(&visit, self.now) {
                Another::Job(next) => lease = next,
                Another::Later(_) | Another::Close => {
                    self.schedule.close(visit, VisitEnd::Reached, self.now, 0);
                    return;
                }
            }
        }
    }

    fn attempt(
        &mut self,
        lease: &Lease,
        again: Option<Timestamp>,
        mut result: impl FnMut(u32) -> Result<Relayed, Reply>,
    ) -> Attempt {
        let (message, _) = self.disk.get(lease.message()).expect("a lease is of a message that is there");
        let ids = self.policy.outgoing(message, lease.destination());
        assert!(!ids.is_empty(), "a job without recipients was leased");
        let results: Vec<_> = ids.into_iter().map(|id| (id, result(id))).collect();
        for (id, _) in results.iter().filter(|(_, result)| result.is_ok()) {
            let recipient = message.envelope.recipient(*id).expect("it goes there");
            assert!(matches!(recipient.outcome, Outcome::Pending | Outcome::Deferred { .. }));
            *self.copies.entry((message.id.clone(), recipient.address.to_string())).or_default() += 1;
        }
        Attempt { at: self.now, host: Some("mx.x.example".into()), results, by_sinks: Default::default(), again }
    }

    fn settle(&mut self, lease: Lease, change: Change) {
        let id = lease.message().clone();
        let (message, state) = self.disk.get(&id).cloned().expect("a lease is of a message that is there");
        let random = u64::from(self.chance());
        let crashes = self.crashes;
        let work =
            Transport::change(self.policy.clone(), message, state, EventSet::default(), change, self.now, random);
        self.drive(&id, work);
        if self.crashes == crashes {
            self.schedule.finish(lease, self.now);
        }
    }

    fn drive(&mut self, id: &MessageId, mut work: Work) {
        loop {
            if self.chance() < 8 {
                return self.crash();
            }
            work = match work {
                Work::Save(saving, message, state) => {
                    let chance = self.chance();
                    if chance >= 10 {
                        self.disk.insert(id.clone(), (*message, state));
                    }
                    match chance {
                        0..10 => saving.not_saved(self.now),
                        10..20 => return self.crash(),
                        _ => saving.saved(self.now),
                    }
                }
                Work::Notify(notifying, notification, _) => {
                    self.commit(&notification);
                    if self.chance() < 10 {
                        return self.crash();
                    }
                    notifying.committed(self.now)
                }
                Work::Bear(..) | Work::Suppress(_) => panic!("there are no sinks"),
                Work::Sign(signing) => {
                    let field = Field::new("DKIM-Signature", "v=1").expect("valid");
                    signing.signed(vec![field], self.now)
                }
                Work::Deliver(mut delivering) => {
                    for job in delivering.jobs().to_vec() {
                        let is_taken = self.chance() >= 60;
                        if is_taken {
                            *self.copies.entry((id.clone(), job.address.to_string())).or_default() += 1;
                        }
                        delivering.record(&job, &if is_taken { Ok(()) } else { Err(Reply::with(452, 3, 1, "full")) });
                    }
                    delivering.finish(self.now, 100)
                }
                Work::Repeat(repeat, at) => {
                    self.now = self.now.max(at);
                    repeat.again(self.now)
                }
                Work::Queue { message, jobs, again } => {
                    assert!(!jobs.is_empty());
                    self.timers.extend(again.map(|at| (at, message.clone())));
                    return self.schedule.put(&message, &jobs, self.now);
                }
                Work::Wait(until) => {
                    self.timers.insert((until, id.clone()));
                    return self.schedule.put(id, &[], self.now);
                }
                Work::Remove(of, end) => {
                    assert_eq!(of.id, *id);
                    self.disk.remove(id);
                    self.ends.insert(of.id, end);
                    return self.schedule.put(id, &[], self.now);
                }
                Work::Park(_) => return self.schedule.put(id, &[], self.now),
                Work::Ask(..) => panic!("there is no sink"),
            };
        }
    }

    fn commit(&mut self, notification: &Message) {
        let octets = notification.body.read(0, 1 << 20).expect("memory");
        let text = String::from_utf8(octets).expect("ASCII");
        let about = |text: &str| -> Vec<String> {
            let is_about = |line: &&str| line.starts_with("Final-Recipient") || line.starts_with("Action");
            text.lines().filter(is_about).map(str::to_owned).collect()
        };
        if let Some(before) = self.notifications.insert(notification.id.clone(), text.clone()) {
            assert_eq!(about(&before), about(&text), "one id is one notification");
        }
    }

    fn told(&self, id: &MessageId, address: &str, action: &str) -> usize {
        let lines = format!("Final-Recipient: rfc822; {address}\r\nAction: {action}\r\n");
        let of_message = self.notifications.iter().filter(|(of, _)| of.as_str().starts_with(&format!("{id}-")));
        of_message.filter(|(_, text)| text.contains(&lines)).count()
    }
}

fn taken() -> Relayed {
    Relayed { reply: Reply::with(250, 0, 0, "taken"), is_dsn_passed: false }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_there_every_recipient_has_it_or_the_sender_knows_once(
        script in prop::collection::vec(any::<u8>(), 0..600),
        messages in prop::collection::vec(
            (any::<bool>(), prop::collection::btree_set(0..RECIPIENTS.len(), 1..=RECIPIENTS.len())), 1..4),
    ) {
        let made = messages.iter().enumerate().map(|(number, (has_sender, to))| message(number, *has_sender, to));
        let mut world = World::new(script, made.collect());
        world.run();
        for (number, (has_sender, to)) in messages.iter().enumerate() {
            let id = MessageId::parse(&format!("m{number}")).expect("an id");
            let end = world.ends.get(&id).copied().expect("it ended");
            let mut is_complete = true;
            for address in to.iter().filter_map(|index| RECIPIENTS.get(*index)) {
                let copies = world.copies.get(&(id.clone(), (*address).to_owned())).copied().unwrap_or(0);
                let (failed, delayed) = (world.told(&id, address, "failed"), world.told(&id, address, "delayed"));
                is_complete &= copies > 0;
                prop_assert!(copies <= 1 + world.crashes, "{address} has {copies} copies, {} crashes", world.crashes);
                prop_assert!(failed <= 1 && delayed <= 1, "{address} was told of {failed} and {delayed} times");
                if *has_sender {
                    prop_assert!(copies > 0 || failed == 1, "{address} has no copy and nobody knows");
                } else {
                    prop_assert!(failed + delayed == 0, "the null sender was told");
                }
            }
            prop_assert!(end != End::Delivered || is_complete, "it ended as delivered and was not");
            prop_assert!(end != End::Failed || *has_sender);
        }
        prop_assert_eq!(world.schedule.totals().jobs, 0);
    }
}

#[test]
fn the_simulation_reaches_crashes_delays_expiries_and_every_end() {
    let mut ends = BTreeSet::new();
    let (mut crashes, mut delayed, mut expired, mut operations) = (0, 0, 0, 0);
    for seed in 0..120_u32 {
        // Some of the scripts are of nothing but dead destinations.
        let octet = |step: u32| match seed % 3 {
            0 => 40,
            _ => {
                u8::try_from((seed.wrapping_mul(2_654_435_761) ^ step.wrapping_mul(40_503)) >> 7 & 255).expect("masked")
            }
        };
        let length = if seed % 3 == 0 { 20_000 } else { 2_000 };
        let script = (0..length).map(octet).collect();
        let mut world = World::new(script, vec![message(0, seed % 2 == 0, &BTreeSet::from([0, 2, 3, 4]))]);
        world.run();
        ends.extend(world.ends.values().map(|end| format!("{end:?}")));
        crashes += world.crashes;
        operations += world.operations;
        delayed += world.notifications.values().filter(|text| text.contains("Action: delayed")).count();
        expired += world.notifications.values().filter(|text| text.contains("Status: 5.4.7")).count();
    }
    assert!(crashes > 40 && delayed > 10 && expired > 10, "{crashes} {delayed} {expired}");
    assert!(operations > 20, "{operations}");
    for end in ["Delivered", "Failed", "FailedUntold"] {
        assert!(ends.contains(end), "{ends:?}");
    }
}
