//! The server under test: spool, transport, schedule and client as the shell puts them together.

mod births;
mod timers;

use core::time::Duration;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use basin_core::event::receipt::receipts_of;
use basin_core::event::{Decision, EventKind, EventSet, Overlay, Question, Timers, Verdict};
use basin_core::mail::{Message, MessageId};
use basin_core::queue::{Lease, Schedule, SchedulePolicy, Successors, Timetable};
use basin_core::reply::Reply;
use basin_core::smtp::Disposition;
use basin_core::time::Timestamp;
use basin_core::transport::{Change, Delivering, End, Repeat, State, Transport, TransportPolicy, Work, about};
use basin_spool::fault::{Fault, FaultyStorage};
use basin_spool::{Options, Spool};

use crate::dice::Dice;
use crate::ledger::{Ledger, uid};
use crate::link::{Acceptor, Proof};
use crate::sinks::Sinks;

/// Steps of one machine without a wait; one that passes it turns in a circle.
const TURNS_MAX: usize = 1_000;

/// What is kept in memory because the storage failed.
pub(crate) enum Kept {
    Machine(Box<Repeat>),
    Removal(MessageId, End),
}

/// What a drive was about, to be confirmed once it is on disk.
pub(crate) type Deliveries = Vec<(String, String)>;

/// Something that happened to a message while what happened before is not on disk: it has to wait, or it
/// would be worked into what the disk has, and lost with the next writing.
struct Late {
    id: MessageId,
    change: Change,
    delivered: Deliveries,
}

pub(crate) struct Node {
    pub(crate) storage: FaultyStorage,
    pub(crate) spool: Spool,
    pub(crate) policy: Arc<TransportPolicy>,
    pub(crate) schedule: Schedule,
    pub(crate) timetable: Timetable,
    /// Messages to be taken up now.
    pub(crate) fresh: Vec<MessageId>,
    pub(crate) kept: Vec<(Timestamp, Kept)>,
    /// Leases whose messages are not at rest, because the storage failed.
    leases: Vec<Lease>,
    /// What happened to such messages meanwhile.
    late: Vec<Late>,
    /// Notifications that set out when the message that they are about rests.
    announced: Vec<(MessageId, MessageId)>,
    /// Messages that wait for an operator.
    pub(crate) parked: Vec<MessageId>,
    /// Which messages take the place of others, and those that have to give way.
    successors: Successors,
    pub(crate) giving_way: Vec<MessageId>,
    /// When the sinks of timers are called.
    pub(crate) timers: Timers,
    /// The sinks of this world.
    pub(crate) sinks: Sinks,
    /// The operation of the storage at which it fails, and whether that is the power.
    pub(crate) fault: Option<(u64, bool)>,
}

impl Node {
    pub(crate) fn open(
        storage: FaultyStorage,
        policy: Arc<TransportPolicy>,
        schedule: SchedulePolicy,
        sinks: Sinks,
        now: Timestamp,
    ) -> Result<Self, String> {
        let options = Options {
            segment_bytes: 16 * 1024,
            free_bytes_min: 0,
            inline_bytes_max: 1024,
            rewrite_age_segments: 1,
            idle_sync: Duration::ZERO,
        };
        let opened = Spool::open_stepped(Path::new("/spool"), options, Arc::new(storage.clone()));
        let (spool, recovery) = opened.map_err(|error| error.to_string())?;
        if let Some(damage) = recovery.damaged.iter().find(|damage| damage.message.is_some()) {
            return Err(format!("a message is damaged after a power cut: {damage}"));
        }
        births::drop_unborn(&spool, &sinks.tables)?;
        // A notification waits until the message that it is about is looked at, and saved as told.
        let ids = spool.ids();
        let ids_text: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
        let announced = ids.iter().filter_map(|id| Some((about(id).filter(|about| ids.contains(about))?, id.clone())));
        let announced: Vec<(MessageId, MessageId)> = announced.collect();
        let fresh = ids.into_iter().filter(|id| !announced.iter().any(|(_, kept)| kept == id)).collect();
        let mut sinks = sinks;
        sinks.tables.forget_gone(|id| ids_text.contains(id));
        let mut node = Self {
            storage,
            spool,
            policy,
            schedule: Schedule::new(schedule),
            timetable: Timetable::default(),
            fresh,
            kept: Vec::new(),
            leases: Vec::new(),
            late: Vec::new(),
            announced,
            parked: Vec::new(),
            successors: Successors::default(),
            giving_way: Vec::new(),
            timers: Timers::default(),
            sinks,
            fault: None,
        };
        for id in node.spool.ids() {
            if let Ok(Some((message, state))) = node.spool.load(&id) {
                node.noted(&message, &state);
            }
        }
        node.arrange_timers(now);
        Ok(node)
    }

    /// Whether the power is gone.
    pub(crate) fn is_dead(&self) -> bool {
        self.fault.is_some_and(|(at, is_power)| is_power && self.storage.operations() > at)
    }

    /// Whether the storage did all that it was asked since it did `operations`.
    fn was_well_since(&self, operations: u64) -> bool {
        !self.is_dead() && !self.fault.is_some_and(|(at, _)| (operations..self.storage.operations()).contains(&at))
    }

    /// Lets the storage fail soon.
    pub(crate) fn break_soon(&mut self, fault: Fault, dice: &mut Dice) {
        let n = dice.below(12);
        self.storage.fail_at(n, fault);
        self.fault = Some((self.storage.operations() + n, fault == Fault::PowerCut));
    }

    /// Forgets a fault that has passed, and says so.
    pub(crate) fn fault_passed(&mut self) -> bool {
        let has_passed = self.fault.is_some_and(|(at, is_power)| !is_power && self.storage.operations() > at);
        if has_passed {
            self.storage.heal();
            self.fault = None;
        }
        has_passed
    }

    /// Reads a message; one that the disk does not give is looked at again later.
    pub(crate) fn load(&mut self, id: &MessageId, now: Timestamp) -> Option<(Message, State)> {
        self.spool.load(id).unwrap_or_else(|_| {
            self.timetable.insert(id.clone(), now.plus(Duration::from_secs(30)));
            None
        })
    }

    /// Whether the storage has not taken what is known of a message.
    pub(crate) fn is_kept(&self, id: &MessageId) -> bool {
        self.kept.iter().any(|(_, kept)| match kept {
            Kept::Machine(repeat) => repeat.id() == id,
            Kept::Removal(removed, _) => removed == id,
        })
    }

    /// Gives a lease back as soon as its message rests.
    pub(crate) fn finish(&mut self, lease: Lease, now: Timestamp) {
        if self.is_kept(lease.message()) {
            self.leases.push(lease);
        } else {
            self.schedule.finish(lease, now);
        }
    }

    // The notifications about a message that rests set out.
    fn set_out(&mut self, about: &MessageId) {
        if self.is_kept(about) {
            return;
        }
        let (out, kept): (Vec<_>, Vec<_>) = self.announced.drain(..).partition(|(id, _)| id == about);
        self.announced = kept;
        for (_, notification) in out {
            // One that was committed again after a crash stands on the list twice.
            if !self.fresh.contains(&notification) {
                self.fresh.push(notification);
            }
        }
    }

    // A message that was kept rests: its leases end, and what happened meanwhile is worked in.
    fn rested(&mut self, id: &MessageId, ledger: &mut Ledger, now: Timestamp, dice: &mut Dice) {
        self.set_out(id);
        while !self.is_kept(id)
            && let Some(place) = self.late.iter().position(|late| late.id == *id)
        {
            let late = self.late.remove(place);
            self.change(id, late.change, late.delivered, ledger, now, dice);
        }
        while !self.is_kept(id)
            && let Some(place) = self.leases.iter().position(|lease| lease.message() == id)
        {
            let lease = self.leases.swap_remove(place);
            self.schedule.finish(lease, now);
        }
    }

    /// Asks the sinks for the hosts of a domain; the reply says why there are none.
    pub(crate) fn asked_for_hosts(&mut self, domain: &str, now: Timestamp, dice: &mut Dice) -> Option<Reply> {
        if !self.sinks.interest().has(EventKind::OnDnsResolve) {
            return None;
        }
        self.sinks.decide(Question::of_hosts(domain, now), dice).into_hosts().err()
    }

    /// Takes a message up where its state says.
    pub(crate) fn start(&mut self, id: &MessageId, ledger: &mut Ledger, now: Timestamp, dice: &mut Dice) {
        if self.is_kept(id) {
            return;
        }
        if let Some((message, state)) = self.load(id, now) {
            let uid = uid(&message);
            let work = Transport::start(self.policy.clone(), message, state, self.sinks.interest(), now);
            self.drive(id, &uid, work, Vec::new(), ledger, now, dice);
        }
    }

    /// Lets something happen to a message; what it delivered counts as confirmed once that is on disk.
    pub(crate) fn change(
        &mut self,
        id: &MessageId,
        change: Change,
        delivered: Deliveries,
        ledger: &mut Ledger,
        now: Timestamp,
        dice: &mut Dice,
    ) {
        if self.is_kept(id) {
            return self.late.push(Late { id: id.clone(), change, delivered });
        }
        let Some((message, state)) = self.load(id, now) else { return };
        let uid = uid(&message);
        let (policy, random) = (self.policy.clone(), dice.next());
        let work = Transport::change(policy, message, state, self.sinks.interest(), change, now, random);
        self.drive(id, &uid, work, delivered, ledger, now, dice);
    }

    /// Goes on with what the storage would not take.
    pub(crate) fn repeat(&mut self, kept: Kept, ledger: &mut Ledger, now: Timestamp, dice: &mut Dice) {
        match kept {
            Kept::Machine(repeat) => {
                let id = repeat.id().clone();
                let uid = self.load(&id, now).map(|(message, _)| uid(&message)).unwrap_or_default();
                self.drive(&id, &uid, repeat.again(now), Vec::new(), ledger, now, dice);
                self.rested(&id, ledger, now, dice);
            }
            Kept::Removal(id, end) => {
                self.remove(id.clone(), end, now);
                self.rested(&id, ledger, now, dice);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the loop of the shell, with the world in its arguments")]
    fn drive(
        &mut self,
        id: &MessageId,
        uid: &str,
        mut work: Work,
        mut delivered: Deliveries,
        ledger: &mut Ledger,
        now: Timestamp,
        dice: &mut Dice,
    ) {
        let operations = self.storage.operations();
        ledger.tell(|| format!("{} drive {uid} ({id}) operation {operations} {}", now.to_rfc3339(), word(&work)));
        self.timetable.remove(id);
        self.parked.retain(|parked| parked != id);
        // What the sinks of sessions did since.
        delivered.extend(self.sinks.report(ledger));
        for _ in 0..TURNS_MAX {
            work = match work {
                Work::Ask(waiting, asked) => waiting.decided(self.decided(*asked, &mut delivered, ledger, dice), now),
                Work::Save(saving, message, state) => self.record(saving, *message, state, ledger, now),
                Work::Sign(signing) => signing.signed(Vec::new(), now),
                Work::Deliver(delivering) => self.deliver(delivering, &mut delivered, ledger, now, dice),
                Work::Notify(notifying, message, state) => self.notify(id, notifying, *message, state, ledger, now),
                Work::Suppress(notifying) => self.suppress(uid, notifying, ledger, now),
                Work::Bear(bearing, children) => self.bear(id, bearing, children, ledger, now),
                Work::Queue { message, jobs, again } => {
                    self.schedule.put(&message, &jobs, now);
                    if let Some(again) = again {
                        self.timetable.insert(message, again);
                    }
                    break;
                }
                Work::Repeat(repeat, at) => {
                    self.kept.push((at, Kept::Machine(Box::new(repeat))));
                    return;
                }
                Work::Wait(until) => {
                    self.schedule.put(id, &[], now);
                    self.timetable.insert(id.clone(), until);
                    break;
                }
                Work::Park(_) => {
                    self.schedule.put(id, &[], now);
                    self.parked.push(id.clone());
                    break;
                }
                Work::Remove(removed, end) => {
                    self.schedule.put(id, &[], now);
                    ledger.end(uid, &removed, end, self.sinks.interest() != EventSet::default());
                    ledger.values.leave(&removed);
                    self.sinks.track("removed", &removed, now);
                    let own = receipts_of(&removed.id);
                    let cut_off = self.sinks.tables.receipts().filter(|key| key.starts_with(&own));
                    cut_off.for_each(|key| ledger.values.abandon(key));
                    self.remove(removed.id, end, now);
                    break;
                }
            };
        }
        self.set_out(id);
        // Only what the storage took without a fault is beyond a second delivery.
        if self.was_well_since(operations) {
            delivered.iter().for_each(|(uid, recipient)| ledger.confirm(uid, recipient));
        }
    }

    fn decided(
        &mut self,
        question: Question,
        delivered: &mut Deliveries,
        ledger: &mut Ledger,
        dice: &mut Dice,
    ) -> Decision {
        let event = question.occasion.event;
        self.sinks.is_dark = self.is_dead();
        let decision = self.sinks.decide(question, dice);
        ledger.tell(|| {
            let Overlay { forks, submissions, .. } = &decision.overlay;
            let (verdict, by) = (decision.verdict.word(), decision.by.as_deref().unwrap_or("nobody"));
            format!("  {event}: {verdict} by {by}, {} forks, {} submissions", forks.len(), submissions.len())
        });
        delivered.extend(self.sinks.report(ledger));
        // Of these the message says nothing any more.
        if let (Verdict::Discard | Verdict::Suppress, Some(message)) = (&decision.verdict, &decision.overlay.message) {
            ledger.values.leave(message);
        }
        decision
    }

    fn deliver(
        &self,
        mut delivering: Delivering,
        delivered: &mut Deliveries,
        ledger: &mut Ledger,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Work {
        for job in delivering.jobs().to_vec() {
            // A job without a result: the courier was interrupted.
            if dice.strikes(20) {
                continue;
            }
            let body = delivering.message().body.read(0, usize::MAX);
            let result = match dice.below(100) {
                _ if body.is_err() => Err(Reply::with(451, 3, 0, "the body cannot be read")),
                0..5 => Err(Reply::with(452, 2, 2, "mailbox full")),
                5..7 => Err(Reply::with(550, 2, 1, "mailbox disabled")),
                _ => Ok(()),
            };
            if let (Ok(()), Ok(body)) = (&result, &body) {
                let recipients = job.recipients.iter().filter_map(|id| delivering.message().envelope.recipient(*id));
                for address in recipients.map(|recipient| recipient.address.to_string()) {
                    ledger.deliver(delivering.message(), body, &address);
                    delivered.push((uid(delivering.message()), address));
                }
            }
            delivering.record(&job, &result);
        }
        delivering.finish(now, dice.next())
    }
}

fn word(work: &Work) -> String {
    format!("{work:?}").chars().take(60).collect()
}

/// The listener of the server under test while one session goes on.
pub(crate) struct Listening<'a> {
    pub(crate) node: &'a mut Node,
}

impl Acceptor for Listening<'_> {
    fn interest(&self) -> EventSet {
        self.node.sinks.interest()
    }

    fn decide(&mut self, question: Question, dice: &mut Dice) -> Decision {
        self.node.sinks.decide(question, dice)
    }

    fn tell(&mut self, notice: Question) {
        self.node.sinks.tell(&notice);
    }

    fn logged_in(&mut self) {
        self.node.sinks.logins += 1;
    }

    fn store(&mut self, message: Message, disposition: Disposition) -> Result<Proof, Reply> {
        let id = message.id.clone();
        let receipt = self.node.commit(message, disposition.state()).map_err(|fault| fault.reply())?;
        self.node.fresh.push(id);
        Ok(Proof::Spool(receipt))
    }
}
