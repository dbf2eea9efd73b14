//! Sinks at every event of a stored message, which edit, split, answer, expand, route, deliver, defer, refuse and fail
//! as dice say, on a server that crashes at any point and whose disk fails: every recipient has the message, or the
//! sender knows, or a sink that may do so dropped it; every edit is there once; and what came out of a message sets out
//! if and only if the record of that message says so.
//!
//! `STEERING_FIRST=0 STEERING_SEEDS=100000 cargo test -p basin-core --release --test steering_simulation` runs more worlds.

#![allow(clippy::panic, reason = "a broken invariant is a failed test")]

#[path = "steering_simulation/dice.rs"]
mod dice;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::{Decision, EventKind, EventSet, Failure, FailureKind, Later, NewMessage, Question, Verdict};
use basin_core::mail::{Arrival, Body, Envelope, Field, HeaderBlock, Message, MessageId, Origin, Outcome};
use basin_core::reply::Reply;
use basin_core::time::Timestamp;
use basin_core::transport::{
    Attempt, Change, Delivering, Directory, End, Hop, HopTarget, HostPort, Relayed, State, Tables, Transport,
    TransportPolicy, Work, about,
};

use dice::Dice;

/// Worlds of a usual run.
const SEEDS: u64 = 1_000;
/// Steps after which nothing goes wrong any more, so that a world comes to its end.
const STORMY_STEPS: u32 = 400;
/// Steps that no world needs.
const STEPS_MAX: u32 = 6_000;

const EVENTS: [EventKind; 7] = [
    EventKind::OnSubmission,
    EventKind::OnPreCategorize,
    EventKind::OnCategorize,
    EventKind::OnPostCategorize,
    EventKind::OnRoute,
    EventKind::OnLocalDelivery,
    EventKind::OnNotification,
];

/// How often what happened.
#[derive(Debug, Default)]
struct Counts {
    crashes: u64,
    disk_failures: u64,
    forks: u64,
    submissions: u64,
    dropped: u64,
    relayed: u64,
    delivered: u64,
    told: u64,
}

struct World {
    dice: Dice,
    policy: Arc<TransportPolicy>,
    interest: EventSet,
    now: Timestamp,
    steps: u32,
    disk: BTreeMap<MessageId, (Message, State)>,
    due: BTreeMap<MessageId, Timestamp>,
    announced: Vec<(MessageId, MessageId)>,
    /// Children whose parent's record lets them go.
    let_go: BTreeSet<MessageId>,
    arrived: BTreeMap<(String, String), u64>,
    settled: BTreeSet<String>,
    counts: Counts,
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

fn original() -> Message {
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
    let mut envelope = Envelope::new(Some(address("sender@basin.example")));
    for text in ["a@basin.example", "list@basin.example", "x@far.example", "y@far.example", "gone@basin.example"] {
        envelope.add(address(text), text.to_owned());
    }
    Message::new(MessageId::parse("m").expect("an id"), arrival, envelope)
}

fn world(seed: u64) -> World {
    let mailbox = |name: &str| (address(&format!("{name}@basin.example")), name.to_owned());
    let tables = Tables {
        domains: vec!["basin.example".into()],
        mailboxes: ["a", "b", "c", "sender"].into_iter().map(mailbox).collect(),
        aliases: vec![(address("list@basin.example"), vec![address("b@basin.example"), address("c@basin.example")])],
        postmaster: "a".into(),
        catch_all: Vec::new(),
        host_names: Vec::new(),
    };
    let directory = Arc::new(Directory::new(tables).expect("right"));
    let mut dice = Dice(seed);
    let is_heard = dice.next();
    let interest = EVENTS.iter().enumerate().filter(|(place, _)| is_heard >> place & 3 != 0).map(|(_, event)| *event);
    let (message, id) = (original(), original().id);
    World {
        interest: interest.collect(),
        dice,
        policy: Arc::new(TransportPolicy::new("mx.basin.example".into(), directory)),
        now: Timestamp::from_seconds(1_000_000),
        steps: 0,
        disk: [(id.clone(), (message, State::default()))].into_iter().collect(),
        due: [(id, Timestamp::from_seconds(1_000_000))].into_iter().collect(),
        announced: Vec::new(),
        let_go: BTreeSet::new(),
        arrived: BTreeMap::new(),
        settled: BTreeSet::new(),
        counts: Counts::default(),
    }
}

/// What a turn of the machine came to.
enum Turn {
    Goes(Box<Work>),
    Rests(Option<Timestamp>),
    Crashed,
}

impl World {
    // True in `of` of 1,000 cases while things go wrong at all.
    fn strikes(&mut self, of: u64) -> bool {
        self.steps < STORMY_STEPS && self.dice.below(1_000) < of
    }

    fn run(mut self) -> Self {
        while let Some((id, at)) = self.due.iter().min_by_key(|(_, at)| **at).map(|(id, at)| (id.clone(), *at)) {
            self.now = self.now.max(at);
            self.due.remove(&id);
            let Some((message, state)) = self.disk.get(&id).cloned() else { continue };
            let work = Transport::start(self.policy.clone(), message, state, self.interest, self.now);
            self.drive(&id, work);
        }
        self
    }

    fn drive(&mut self, id: &MessageId, mut work: Work) {
        loop {
            self.steps += 1;
            assert!(self.steps < STEPS_MAX, "the world does not come to its end");
            self.now = self.now.plus(Duration::from_millis(10));
            if self.strikes(15) {
                return self.crash();
            }
            match self.turn(id, work) {
                Turn::Goes(next) => work = *next,
                Turn::Rests(at) => {
                    self.due.extend(at.map(|at| (id.clone(), at)));
                    let (out, kept): (Vec<_>, Vec<_>) = self.announced.drain(..).partition(|(parent, _)| parent == id);
                    self.announced = kept;
                    self.due.extend(out.into_iter().map(|(_, child)| (child, self.now)));
                    return;
                }
                Turn::Crashed => return self.crash(),
            }
        }
    }

    fn turn(&mut self, id: &MessageId, work: Work) -> Turn {
        Turn::Goes(Box::new(match work {
            Work::Ask(waiting, question) => waiting.decided(self.decide(*question), self.now),
            Work::Save(saving, ..) if self.fails() => saving.not_saved(self.now),
            Work::Save(saving, message, state) => {
                self.write(*message, state);
                if self.strikes(20) {
                    return Turn::Crashed;
                }
                saving.saved(self.now)
            }
            Work::Bear(bearing, children) => {
                let kept = if self.strikes(100) { self.dice.below(children.len() as u64 + 1) } else { u64::MAX };
                for (child, state) in children.iter().take(usize::try_from(kept).unwrap_or(usize::MAX)) {
                    assert!(!self.let_go.contains(&child.id), "{} is made again after it set out", child.id);
                    self.disk.insert(child.id.clone(), (child.clone(), state.clone()));
                }
                if kept < children.len() as u64 {
                    self.counts.disk_failures += 1;
                    if self.strikes(500) {
                        return Turn::Crashed;
                    }
                    bearing.not_born(self.now)
                } else {
                    self.announced.extend(children.into_iter().map(|(child, _)| (id.clone(), child.id)));
                    if self.strikes(50) {
                        return Turn::Crashed;
                    }
                    bearing.born(self.now)
                }
            }
            Work::Notify(notifying, ..) if self.fails() => notifying.not_committed(self.now),
            Work::Notify(notifying, notification, state) => {
                self.announced.push((id.clone(), notification.id.clone()));
                self.disk.insert(notification.id.clone(), (*notification, state));
                if self.strikes(50) {
                    return Turn::Crashed;
                }
                self.settled.extend(notifying.recipients().map(|recipient| recipient.original.clone()));
                self.counts.told += 1;
                notifying.committed(self.now)
            }
            Work::Suppress(notifying) => {
                self.settled.extend(notifying.recipients().map(|recipient| recipient.original.clone()));
                notifying.committed(self.now)
            }
            Work::Deliver(delivering) => self.deliver(delivering),
            Work::Repeat(repeat, at) => {
                self.now = self.now.max(at);
                repeat.again(self.now)
            }
            Work::Wait(until) => {
                assert!(until.plus(Duration::from_millis(10)) > self.now, "a wait that is over is a busy loop");
                return Turn::Rests(Some(until));
            }
            Work::Queue { jobs, again, .. } => return self.visit(id, &jobs, again),
            Work::Park(_) => {
                let (message, state) = self.disk.get(id).cloned().expect("it is parked");
                Transport::release(self.policy.clone(), message, state, self.interest, self.now)
            }
            Work::Sign(_) => panic!("there are no keys"),
            Work::Remove(message, end) => {
                self.end(&message, end);
                return Turn::Rests(None);
            }
        }))
    }

    fn fails(&mut self) -> bool {
        let fails = self.strikes(20);
        self.counts.disk_failures += u64::from(fails);
        fails
    }

    // The record says which children are let go, and drops none of the edits of the record before it.
    fn write(&mut self, message: Message, state: State) {
        self.children_of(&message.id, state.batches);
        self.disk.insert(message.id.clone(), (message, state));
    }

    fn children_of(&mut self, id: &MessageId, batches: u32) {
        let is_let_go =
            |state: &State| state.parent.as_ref().is_some_and(|parent| parent.id == *id && parent.batch <= batches);
        let new = self.disk.iter().filter(|(_, (_, state))| is_let_go(state)).map(|(child, _)| child.clone());
        let new: Vec<MessageId> = new.collect();
        self.let_go.extend(new);
    }

    fn end(&mut self, message: &Message, end: End) {
        self.disk.remove(&message.id).expect("it is there until then");
        self.children_of(&message.id, u32::MAX);
        match end {
            End::Discarded => {
                self.settled.extend(message.envelope.recipients.iter().map(|one| one.original.clone()));
            }
            End::Failed | End::FailedUntold | End::Delivered => {
                let is_over = message.envelope.recipients.iter().all(|one| one.outcome.is_final());
                assert!(is_over, "{} ended as {end:?} with recipients who wait", message.id);
                // A notification that nobody can be given is lost, as it has to be.
            }
            End::NoRecipients | End::Deleted | End::Moved | End::Superseded => panic!("nobody asked for {end:?}"),
        }
    }

    // What is in memory is gone; what is on disk is taken up as the shell does.
    fn crash(&mut self) {
        self.counts.crashes += 1;
        self.announced.clear();
        self.due.clear();
        let batches: BTreeMap<MessageId, u32> =
            self.disk.iter().map(|(id, (_, state))| (id.clone(), state.batches)).collect();
        let is_unborn = |(_, (_, state)): &(&MessageId, &(Message, State))| {
            state.parent.as_ref().is_some_and(|parent| !parent.lets_go(batches.get(&parent.id).copied()))
        };
        let unborn: Vec<MessageId> = self.disk.iter().filter(is_unborn).map(|(id, _)| id.clone()).collect();
        for id in unborn {
            assert!(!self.let_go.contains(&id), "{id} is dropped although it was let go");
            self.disk.remove(&id);
            self.counts.dropped += 1;
        }
        for id in self.disk.keys() {
            match about(id).filter(|about| self.disk.contains_key(about)) {
                Some(about) => self.announced.push((about, id.clone())),
                None => drop(self.due.insert(id.clone(), self.now)),
            }
        }
    }

    fn arrive(&mut self, message: &Message, recipient: &str) {
        self.counts.delivered += 1;
        if message.id.as_str() == "m" || message.arrival.origin == Origin::Smtp {
            for field in message.header.fields() {
                let name = field.name();
                let count = message.header.all(&name).count();
                assert_eq!(count, 1, "{name} was added {count} times to what {recipient} got");
            }
            for event in [EventKind::OnSubmission, EventKind::OnPreCategorize, EventKind::OnPostCategorize] {
                let is_edited = message.header.first(&format!("X-{event}")).is_some();
                assert!(is_edited || !self.interest.has(event), "{recipient} got it without the edit of {event}");
            }
        }
        if let Some(child) = message.id.as_str().contains("-f").then_some(&message.id) {
            let is_known = self.let_go.contains(child) || message.arrival.origin == Origin::Notification;
            assert!(is_known, "{child} set out without its parent's record");
        }
        *self.arrived.entry((message.id.to_string(), recipient.to_owned())).or_default() += 1;
    }

    fn settle(&mut self, message: &Message, ids: &[u32]) {
        for recipient in ids.iter().filter_map(|id| message.envelope.recipient(*id)) {
            self.arrive(message, &recipient.address.to_string());
            self.settled.insert(recipient.original.clone());
        }
    }

    fn deliver(&mut self, mut delivering: Delivering) -> Work {
        let message = delivering.message().clone();
        for job in delivering.jobs().to_vec() {
            let result = if self.strikes(200) { Err(Reply::with(452, 2, 2, "full")) } else { Ok(()) };
            if result.is_ok() {
                self.settle(&message, &job.recipients);
            }
            delivering.record(&job, &result);
        }
        let random = self.dice.next();
        delivering.finish(self.now, random)
    }

    fn visit(&mut self, id: &MessageId, jobs: &[basin_core::queue::Job], again: Option<Timestamp>) -> Turn {
        let Some(job) = jobs.iter().min_by_key(|job| job.due) else { return Turn::Rests(again) };
        if again.is_some_and(|again| again < job.due) {
            return Turn::Rests(again);
        }
        self.now = self.now.max(job.due);
        let (message, state) = self.disk.get(id).cloned().expect("it is queued");
        let ids = self.policy.outgoing(&message, &job.destination);
        let reply = Reply::with(451, 4, 1, "not now");
        let nobody = self.strikes(300);
        let results: Vec<_> = ids
            .into_iter()
            .map(|id| match (nobody, self.strikes(150)) {
                (true, _) | (_, true) => (id, Err(reply.clone())),
                (false, false) => (id, Ok(Relayed { reply: Reply::with(250, 0, 0, "ok"), is_dsn_passed: false })),
            })
            .collect();
        let taken: Vec<u32> = results.iter().filter(|(_, result)| result.is_ok()).map(|(id, _)| *id).collect();
        self.counts.relayed += taken.len() as u64;
        self.settle(&message, &taken);
        let again = nobody.then(|| self.now.plus(Duration::from_secs(300)));
        let attempt = Attempt {
            at: self.now,
            host: (!nobody).then(|| "mx.far.example".into()),
            results,
            by_sinks: Default::default(),
            again,
        };
        let (policy, random) = (self.policy.clone(), self.dice.next());
        let change = Change::Sent(attempt);
        Turn::Goes(Box::new(Transport::change(policy, message, state, self.interest, change, self.now, random)))
    }

    fn decide(&mut self, mut question: Question) -> Decision {
        let event = question.occasion.event;
        let is_trap = self.strikes(100);
        if !is_trap {
            self.edit(&mut question);
        }
        let failure = Failure {
            kind: FailureKind::Trap,
            detail: String::new(),
            backtrace: Vec::new(),
            stderr: String::new(),
            fuel: 0,
        };
        let failures: Vec<_> = is_trap.then(|| ("b".to_owned(), failure)).into_iter().collect();
        let verdict = self.verdict(event, is_trap, question.occasion.recipient.unwrap_or_default());
        if matches!(verdict, Verdict::Refuse(_) | Verdict::Defer(_)) {
            // As a chain does: what its sinks did is gone with it.
            question.overlay.forks.clear();
            question.overlay.submissions.clear();
        }
        if event == EventKind::OnLocalDelivery
            && verdict == Verdict::Delivered
            && let (Some(message), Some(id)) = (question.overlay.message.clone(), question.occasion.recipient)
        {
            self.settle(&message, &[id]);
        }
        Decision { verdict, by: Some("b".into()), overlay: question.overlay, failures, is_heard: true }
    }

    fn edit(&mut self, question: &mut Question) {
        let (occasion, event) = (question.occasion.clone(), question.occasion.event);
        let overlay = &mut question.overlay;
        if let (Some(message), None) = (overlay.message.as_mut(), occasion.recipient)
            && event != EventKind::OnRoute
        {
            let mut header = HeaderBlock::clone(&message.header);
            header.insert(0, Field::new(&format!("X-{event}"), "1").expect("valid")).expect("small");
            message.header = header.into();
        }
        let ids: Vec<u32> = overlay.message.iter().flat_map(|m| &m.envelope.recipients).map(|one| one.id).collect();
        if matches!(event, EventKind::OnSubmission | EventKind::OnPostCategorize)
            && self.strikes(300)
            && let Some(id) = ids.first()
            && overlay.fork(&occasion, "splitter", &[*id]).is_ok()
        {
            self.counts.forks += 1;
            overlay.forks.iter_mut().for_each(|fork| fork.rest = Vec::new());
        }
        if self.strikes(150) {
            let header = HeaderBlock::default();
            let (recipients, body) = (vec![address("sender@basin.example")], Body::from_bytes(&b"hello\r\n"[..]));
            let new = NewMessage { sender: None, recipients, header, body };
            self.counts.submissions += u64::from(overlay.submit(&occasion, "b", "mx.basin.example", new).is_ok());
        }
    }

    fn verdict(&mut self, event: EventKind, is_trap: bool, id: u32) -> Verdict {
        let later = || Later { reply: Reply::with(451, 7, 1, "later"), after: Duration::from_secs(60) };
        let refuse = || Verdict::Refuse(Reply::with(550, 7, 1, "no"));
        if is_trap {
            return if event == EventKind::OnNotification { Verdict::Next } else { Verdict::Defer(later()) };
        }
        if self.steps >= STORMY_STEPS {
            return Verdict::Next;
        }
        let hop = |name: &str| Hop::to(HopTarget::Host(HostPort { host: name.into(), port: 25 }));
        match (event, self.dice.below(10)) {
            (EventKind::OnNotification, 0) => Verdict::Suppress,
            (EventKind::OnNotification, _) => Verdict::Next,
            (_, 0) => Verdict::Defer(later()),
            (_, 1) if self.dice.below(4) == 0 => refuse(),
            // Addresses of nobody else's, so that it is known whose mail each of them gets.
            (EventKind::OnCategorize, 2 | 3) => {
                Verdict::Expand(vec![address(&format!("p{id}@far.example")), address(&format!("q{id}@far.example"))])
            }
            (EventKind::OnCategorize, 4) => Verdict::Resolved,
            (EventKind::OnRoute, 2..6) => Verdict::Hops(vec![hop("one.example"), hop("two.example")]),
            (EventKind::OnLocalDelivery, 2 | 3) => Verdict::Delivered,
            (EventKind::OnSubmission | EventKind::OnPreCategorize | EventKind::OnPostCategorize, roll) => match roll {
                2 => Verdict::Hold("odd".into()),
                3 if self.dice.below(8) == 0 => Verdict::Discard,
                4 if self.dice.below(4) == 0 => Verdict::BadMail("broken".into()),
                _ => Verdict::Next,
            },
            _ => Verdict::Next,
        }
    }
}

#[test]
fn whatever_sinks_and_the_power_do_nothing_is_lost_doubled_or_half_applied() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (first, seeds) = (number("STEERING_FIRST").unwrap_or(0), number("STEERING_SEEDS").unwrap_or(SEEDS));
    let mut all = Counts::default();
    for seed in first..seeds {
        let ended = std::panic::catch_unwind(|| world(seed).run());
        let Ok(world) = ended else { panic!("the world of seed {seed} is broken") };
        assert!(world.disk.is_empty(), "seed {seed}: {:?} are left", world.disk.keys());
        for recipient in &original().envelope.recipients {
            let is_settled = world.settled.contains(&recipient.original);
            assert!(is_settled, "seed {seed}: {} has nothing and nobody knows", recipient.original);
            assert!(matches!(recipient.outcome, Outcome::Pending));
        }
        for ((id, recipient), copies) in &world.arrived {
            assert!(*copies <= 1 + world.counts.crashes, "seed {seed}: {copies} copies of {id} for {recipient}");
        }
        let Counts { crashes, disk_failures, forks, submissions, dropped, relayed, delivered, told } = world.counts;
        all.crashes += crashes;
        all.disk_failures += disk_failures;
        all.forks += forks;
        all.submissions += submissions;
        all.dropped += dropped;
        all.relayed += relayed;
        all.delivered += delivered;
        all.told += told;
    }
    let least = [all.crashes, all.disk_failures, all.forks, all.submissions, all.dropped, all.relayed, all.told];
    assert!(least.iter().all(|count| *count > seeds / 100), "a run that tests nothing: {all:?}");
    println!("{seeds} worlds: {all:?}");
}
