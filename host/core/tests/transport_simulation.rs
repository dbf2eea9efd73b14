//! A server that crashes at any point, whose mailboxes and disk fail as a script says: whatever the script,
//! every message comes to its end, every recipient has it or the sender knows, and the null sender never
//! hears a word.

#![allow(clippy::panic, reason = "a broken invariant is a failed test")]

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::{Decision, EventKind, EventSet, Failure, FailureKind, Later, Overlay, Verdict};
use basin_core::mail::{Arrival, Envelope, Message, MessageId, Origin};
use basin_core::reply::Reply;
use basin_core::time::Timestamp;
use basin_core::transport::{Delivering, Directory, End, State, Tables, Transport, TransportPolicy, Work};
use proptest::prelude::*;

/// More steps than any script can ask for; a machine that passes it does not end.
const STEPS_MAX: usize = 5_000;

const NAMES: [&str; 6] = ["a", "b", "c", "team", "everybody", "nobody"];

/// What goes wrong, one octet for each occasion; when it is used up, nothing does.
struct Script(std::vec::IntoIter<u8>);

impl Script {
    fn next(&mut self) -> u8 {
        self.0.next().unwrap_or(u8::MAX)
    }

    // True in `of` of 256 cases.
    fn strikes(&mut self, of: u8) -> bool {
        self.next() < of
    }
}

/// The world around the machine.
struct World {
    script: Script,
    policy: Arc<TransportPolicy>,
    interest: EventSet,
    now: Timestamp,
    disk: Option<(Message, State)>,
    copies: BTreeMap<String, usize>,
    notifications: BTreeMap<MessageId, String>,
    crashes: usize,
    disk_failures: usize,
    was_released: bool,
}

fn address(text: &str) -> Address {
    Address::parse(&format!("{text}@basin.example")).expect("valid")
}

fn policy() -> Arc<TransportPolicy> {
    let tables = Tables {
        domains: vec!["basin.example".into()],
        mailboxes: ["a", "b", "c"].into_iter().map(|name| (address(name), name.to_owned())).collect(),
        aliases: vec![
            (address("team"), vec![address("a"), address("b")]),
            (address("everybody"), vec![address("team"), address("c")]),
        ],
        postmaster: "a".into(),
        catch_all: Vec::new(),
        host_names: Vec::new(),
    };
    Arc::new(TransportPolicy::new("mx.basin.example".into(), Arc::new(Directory::new(tables).expect("right"))))
}

fn message(has_sender: bool, recipients: &BTreeSet<usize>) -> Message {
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
    let mut envelope = Envelope::new(has_sender.then(|| address("sender")));
    for name in recipients.iter().filter_map(|index| NAMES.get(*index)) {
        envelope.add(address(name), (*name).to_owned());
    }
    Message::new(MessageId::parse("m").expect("an id"), arrival, envelope)
}

impl World {
    fn restart(&self) -> Option<Work> {
        let (message, state) = self.disk.clone()?;
        Some(Transport::start(self.policy.clone(), message, state, self.interest, self.now))
    }

    fn crash(&mut self) -> Option<Work> {
        self.crashes += 1;
        self.restart()
    }

    // Runs the message to its end; `None` where it is parked for good.
    fn run(&mut self) -> Option<End> {
        let mut work = self.restart().expect("it was committed");
        for _ in 0..STEPS_MAX {
            // The time at which the machine said what it wants; time goes on until the shell gets to it.
            let mut wanted_at = self.now;
            self.now = self.now.plus(Duration::from_millis(10));
            // The machine may vanish before what it wants is done; that costs nothing but the time.
            if self.script.strikes(20) {
                work = self.crash().expect("nothing removed it");
                wanted_at = self.now;
            }
            work = match work {
                Work::Ask(waiting, question) => waiting.decided(self.judge(question.overlay), self.now),
                Work::Save(saving, message, state) => match self.script.next() {
                    0..20 => {
                        self.disk_failures += 1;
                        saving.not_saved(self.now)
                    }
                    // The record is written and the machine never hears of it.
                    20..40 => {
                        self.disk = Some((*message, state));
                        self.crash().expect("it was just written")
                    }
                    _ => {
                        self.disk = Some((*message, state));
                        saving.saved(self.now)
                    }
                },
                Work::Deliver(delivering) => self.deliver(delivering),
                Work::Notify(notifying, notification, _) => match self.script.next() {
                    0..20 => {
                        self.disk_failures += 1;
                        notifying.not_committed(self.now)
                    }
                    20..40 => {
                        self.commit(&notification);
                        self.crash().expect("nothing removed it")
                    }
                    _ => {
                        self.commit(&notification);
                        notifying.committed(self.now)
                    }
                },
                Work::Repeat(repeat, at) => {
                    self.now = self.now.max(at);
                    repeat.again(self.now)
                }
                Work::Wait(until) => {
                    assert!(until > wanted_at, "a wait that is over is a busy loop");
                    self.now = self.now.max(until);
                    self.restart().expect("it waits")
                }
                Work::Sign(_) => panic!("nothing of this leaves"),
                Work::Bear(..) | Work::Suppress(_) => panic!("no sink makes a message or keeps a notification back"),
                Work::Queue { .. } => panic!("every recipient of these messages is local"),
                Work::Park(_) if self.was_released => return None,
                Work::Park(_) => {
                    self.was_released = true;
                    let (message, state) = self.disk.clone().expect("it is parked");
                    Transport::release(self.policy.clone(), message, state, self.interest, self.now)
                }
                Work::Remove(message, end) => {
                    assert_eq!(message.id.as_str(), "m");
                    return Some(end);
                }
            };
        }
        panic!("the message did not come to its end in {STEPS_MAX} steps");
    }

    fn commit(&mut self, notification: &Message) {
        assert_eq!(notification.envelope.sender, None);
        let octets = notification.body.read(0, 1 << 20).expect("memory");
        let text = String::from_utf8(octets).expect("ASCII");
        if let Some(before) = self.notifications.insert(notification.id.clone(), text.clone()) {
            let recipients = |text: &str| -> Vec<String> {
                text.lines().filter(|line| line.starts_with("Final-Recipient")).map(str::to_owned).collect()
            };
            assert_eq!(recipients(&before), recipients(&text), "one id is one notification");
        }
    }

    fn deliver(&mut self, mut delivering: Delivering) -> Work {
        for job in delivering.jobs().to_vec() {
            let result = match self.script.next() {
                0..10 => return self.crash().expect("nothing removed it"),
                10..70 => Err(Reply::with(452, 3, 1, "full")),
                70..90 => Err(Reply::with(550, 2, 1, "disabled")),
                _ => Ok(()),
            };
            if result.is_ok() {
                *self.copies.entry(job.mailbox.clone()).or_default() += 1;
            }
            // A delivery whose outcome never came back is one that may be made twice.
            if self.script.strikes(5) {
                self.crashes += 1;
                continue;
            }
            delivering.record(&job, &result);
        }
        let random = u64::from(self.script.next());
        delivering.finish(self.now, random)
    }

    fn judge(&mut self, overlay: Overlay) -> Decision {
        let later = |seconds| Later { reply: Reply::with(451, 7, 1, "later"), after: Duration::from_secs(seconds) };
        let (verdict, has_failed) = match self.script.next() {
            0..20 => (Verdict::Refuse(Reply::with(554, 7, 1, "spam")), false),
            20..50 => (Verdict::Defer(later(60)), false),
            50..70 => (Verdict::Defer(later(300)), true),
            70..80 => (Verdict::Hold("odd".into()), false),
            80..90 => (Verdict::Hold("the sink failed".into()), true),
            90..95 => (Verdict::BadMail("broken".into()), false),
            _ => (Verdict::Next, false),
        };
        let failure = Failure {
            kind: FailureKind::Trap,
            detail: String::new(),
            backtrace: Vec::new(),
            stderr: String::new(),
            fuel: 0,
        };
        let failures = has_failed.then(|| ("filter".to_owned(), failure)).into_iter().collect();
        Decision { verdict, by: Some("filter".into()), overlay, failures, is_heard: true }
    }
}

// Addresses and mailboxes that the recipients stand for.
fn targets(policy: &TransportPolicy, recipients: &BTreeSet<usize>) -> BTreeMap<String, Option<String>> {
    let mut targets = BTreeMap::new();
    for name in recipients.iter().filter_map(|index| NAMES.get(*index)) {
        let expanded = policy.directory.expand(&address(name));
        if expanded.is_empty() {
            targets.insert(address(name).to_string(), None);
        }
        targets.extend(expanded.into_iter().map(|(address, mailbox)| (address.to_string(), Some(mailbox))));
    }
    targets
}

fn world(script: Vec<u8>, has_sender: bool, has_sinks: bool, recipients: &BTreeSet<usize>) -> World {
    let events = [EventKind::OnSubmission].into_iter().filter(|_| has_sinks);
    World {
        script: Script(script.into_iter()),
        policy: policy(),
        interest: events.collect(),
        now: Timestamp::from_seconds(1_000_000),
        disk: Some((message(has_sender, recipients), State::default())),
        copies: BTreeMap::new(),
        notifications: BTreeMap::new(),
        crashes: 0,
        disk_failures: 0,
        was_released: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_every_recipient_has_the_message_or_the_sender_knows(
        script in prop::collection::vec(any::<u8>(), 0..200),
        has_sender in any::<bool>(),
        has_sinks in any::<bool>(),
        recipients in prop::collection::btree_set(0..NAMES.len(), 1..=NAMES.len()),
    ) {
        let mut world = world(script, has_sender, has_sinks, &recipients);
        let end = world.run();
        // Parked twice: by a sink, released, and by a sink again. It is still there.
        let Some(end) = end else {
            prop_assert!(world.disk.is_some());
            return Ok(());
        };
        let told = |address: &str, world: &World| {
            let line = format!("Final-Recipient: rfc822; {address}\r\n");
            world.notifications.values().filter(|text| text.contains(&line)).count()
        };
        if !has_sender {
            prop_assert!(world.notifications.is_empty(), "the null sender was told");
        }
        let was_refused = world.notifications.keys().any(|id| id.as_str() == "m-n0");
        if was_refused {
            for name in recipients.iter().filter_map(|index| NAMES.get(*index)) {
                prop_assert!(told(&address(name).to_string(), &world) > 0, "{name} was refused and nobody knows");
            }
        }
        let mut is_complete = true;
        for (address, mailbox) in targets(&world.policy, &recipients) {
            let copies = mailbox.and_then(|name| world.copies.get(&name).copied()).unwrap_or(0);
            is_complete &= copies > 0;
            let told = told(&address, &world);
            if has_sender && !was_refused {
                prop_assert!(copies > 0 || told > 0, "{address} has no copy and nobody knows");
            }
            // Once for each delivery whose outcome was lost; a machine that is let be makes one copy.
            prop_assert!(copies <= 1 + world.crashes, "{address} has {copies} copies, {} crashes", world.crashes);
            prop_assert!(told <= 1 + world.crashes, "{address} was told of {told} times");
            if world.crashes == 0 {
                prop_assert!(copies + told <= 1, "{address} has a copy and was told of");
            }
        }
        prop_assert!(end != End::Delivered || is_complete, "it ended as delivered and was not");
        prop_assert!(end != End::NoRecipients && end != End::Discarded);
    }
}

#[test]
fn the_simulation_reaches_crashes_disk_failures_and_every_end() {
    let mut seen = BTreeSet::new();
    let (mut crashes, mut disk_failures, mut notifications) = (0, 0, 0);
    for seed in 0..500_u32 {
        let octet = |step: u32| u8::try_from((seed.wrapping_mul(2_654_435_761) ^ step.wrapping_mul(40_503)) >> 7 & 255);
        let script = (0..200).map(|step| octet(step).expect("masked")).collect();
        let recipients = if seed % 3 == 0 { BTreeSet::from([0, 3]) } else { BTreeSet::from([0, 3, 5]) };
        let mut world = world(script, true, seed % 2 == 0, &recipients);
        seen.insert(format!("{:?}", world.run()));
        crashes += world.crashes;
        disk_failures += world.disk_failures;
        notifications += world.notifications.len();
    }
    assert!(crashes > 100 && disk_failures > 100 && notifications > 100, "{crashes} {disk_failures} {notifications}");
    assert!(seen.contains("Some(Failed)") && seen.contains("Some(Delivered)"), "{seen:?}");
}
