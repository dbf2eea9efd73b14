//! The loop that drives stored messages to their end: bounded workers, one machine for each message.

use core::future::{Future as _, poll_fn};
use core::task::{Context, Poll};
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use basin_core::limits::{DRAFT_MEMORY_BYTES_MAX, STORAGE_RETRY_AFTER};
use basin_core::mail::{Message, MessageId};
use basin_core::queue::SchedulePolicy;
use basin_core::transport::{Delivering, End, RouteTable, State, Transport, TransportPolicy, Work};
use basin_spool::{Spool, SpoolFault};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::ask::{Ask, SinkTime};
use crate::clock::{Randomness, now};
use crate::delivery::{Courier, Parcel};
use crate::net::inbound::fault_kind;
use crate::shutdown::Phase;
use crate::signing::Signing;
use crate::telemetry::Metrics;
use crate::telemetry::records::{Delivery, MessageEnded, MessageWaits, StorageFailed};
use crate::telemetry::relay::MessageQueued;
use crate::tracking::Tracking;

mod births;
mod enter;
mod holds;
mod live;
mod operator;
mod recent;
mod remote;
mod story;
mod successors;
mod waiting;

pub use holds::Holds;
pub use live::LiveIndex;
pub use operator::{Action, Applied, Done, Meant};
pub use remote::Lengths;
use story::Story;
pub use story::removed;
use successors::Succession;
use waiting::{After, Again, Due, Queued, Start, Waiting};

/// Longest sleep of the clock that wakes waiting messages. Bounds how late a change of the system's time is
/// noticed.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What workers need.
pub struct Parts {
    /// Sinks.
    pub ask: Arc<Ask>,
    /// Storage.
    pub spool: Spool,
    /// Mailboxes.
    pub courier: Courier,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What the machine must know; changes when the configuration is read again.
    pub policy: Arc<ArcSwap<TransportPolicy>>,
    /// Random numbers.
    pub randomness: Randomness,
    /// Keys, and who may send through this server.
    pub signing: Arc<ArcSwap<Signing>>,
    /// The log of every step.
    pub tracking: Tracking,
}

/// The stored messages and who works on them. Cloning is cheap.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    index: LiveIndex,
    /// Which messages take the place of others.
    succession: Succession,
    waiting: Mutex<Waiting>,
    /// A message can be taken.
    ready: Notify,
    /// A time was put on the list.
    timed: Notify,
    /// Something changed in the schedule of mail to other servers.
    scheduled: Notify,
    /// Whoever reads the whole spool into the lists.
    entering: Mutex<()>,
    /// Whether everything that the spool had at the start was read, and all children were judged.
    entered: watch::Sender<bool>,
    /// Most messages in the spool.
    messages_max: AtomicU64,
    /// Destinations that an operator holds; `None` keeps them in memory alone.
    holds: Mutex<Option<Holds>>,
    workers: usize,
}

impl Queue {
    /// Makes the queue; nothing happens before [`Queue::run`], not even that it looks into the spool.
    pub fn new(parts: Parts, workers: usize) -> Self {
        let routes = parts.policy.load().routes.clone();
        let waiting = Mutex::new(Waiting::new(SchedulePolicy::new(routes)));
        let (ready, timed, scheduled) = (Notify::new(), Notify::new(), Notify::new());
        let messages_max = AtomicU64::new(u64::MAX);
        let index = LiveIndex::unfilled();
        let (entering, entered) = (Mutex::new(()), watch::Sender::new(false));
        let holds = Mutex::default();
        let succession = Succession::default();
        let shared = Shared {
            parts,
            index,
            succession,
            waiting,
            ready,
            timed,
            scheduled,
            entering,
            entered,
            messages_max,
            holds,
            workers,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts the workers. They end after what they have in hand when the server stops taking mail.
    pub fn run(&self, stop: &watch::Receiver<Phase>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for _ in 0..self.shared.workers {
            tasks.spawn(work(self.shared.clone(), stop.clone()));
        }
        if self.shared.workers > 0 {
            tasks.spawn(wake(self.shared.clone(), stop.clone()));
            tasks.spawn(successors::give_way(self.shared.clone(), stop.clone()));
            let shared = self.shared.clone();
            shared.lock().is_judging = true;
            // Mail is taken and delivered meanwhile; a stopping server does not wait for what it has not read.
            drop(tokio::task::spawn_blocking(move || shared.enter_all()));
        } else {
            let (index, spool) = (self.shared.index.clone(), self.shared.parts.spool.clone());
            drop(tokio::task::spawn_blocking(move || index.fill(&spool)));
        }
        tasks
    }

    /// Moves what waits for other servers to where the policy that is in force now sends it, beside the work: else it
    /// would wait for the probes of a destination that mail no longer goes to.
    pub fn rethink(&self) {
        if self.shared.workers > 0 {
            let shared = self.shared.clone();
            drop(tokio::task::spawn_blocking(move || shared.enter_again()));
        }
    }

    /// What operators ask about the messages.
    pub fn index(&self) -> &LiveIndex {
        &self.shared.index
    }

    /// The routes in force.
    pub fn routes(&self) -> Arc<RouteTable> {
        self.shared.parts.policy.load().routes.clone()
    }

    /// Takes a message over that is on disk now.
    pub fn stored(&self, message: Message, state: State) {
        self.shared.noted(&message, &state);
        // Without workers the list would only grow; the next start finds the message in the spool.
        if self.shared.workers > 0 {
            self.shared.lock().stored(message, state);
            self.shared.ready.notify_one();
        }
    }

    /// Stores a message that the server itself made, and takes it over.
    ///
    /// # Errors
    /// It is not on disk.
    pub(crate) async fn submit(&self, message: Message) -> Result<(), SpoolFault> {
        let state = State::default();
        self.shared.commit(&message, &state, None).await?;
        self.stored(message, state);
        Ok(())
    }

    /// Messages that a worker has now.
    pub fn busy(&self) -> usize {
        self.shared.lock().busy()
    }
}

/// A message that was taken up.
struct Started {
    work: Work,
    /// What the log knows of it; `None` where it was told everything.
    story: Option<Story>,
    /// The message, where it was in memory already.
    kept: Option<Box<(Message, State)>>,
}

impl Started {
    fn with(work: Work) -> Self {
        Self { work, story: None, kept: None }
    }
}

async fn work(shared: Arc<Shared>, mut stop: watch::Receiver<Phase>) {
    loop {
        if *stop.borrow() >= Phase::Draining {
            return;
        }
        let due = shared.lock().take();
        let Some(due) = due else {
            tokio::select! {
                () = shared.ready.notified() => {}
                _ = stop.wait_for(|phase| *phase >= Phase::Draining) => return,
            }
            continue;
        };
        // One permit may stand for several messages that came while no worker waited: pass it on.
        if shared.lock().has_ready() {
            shared.ready.notify_one();
        }
        let id = due.id.clone();
        let after = shared.drive_safely(due).await;
        shared.rested(&id, after);
    }
}

async fn wake(shared: Arc<Shared>, mut stop: watch::Receiver<Phase>) {
    loop {
        let next = {
            let mut waiting = shared.lock();
            let next = waiting.wake(now());
            if waiting.has_ready() {
                shared.ready.notify_one();
            }
            next
        };
        let sleep = next.map_or(SLEEP_MAX, |next| next.since(now()).min(SLEEP_MAX));
        tokio::select! {
            // Either is a reason to look again.
            _ = timeout(sleep, shared.timed.notified()) => {}
            _ = stop.wait_for(|phase| *phase >= Phase::Draining) => return,
        }
    }
}

impl Shared {
    // A panic elsewhere cannot leave the lists half changed: no method of theirs panics.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message where it waits now, and wakes who waits for that.
    fn rested(&self, id: &MessageId, after: After) {
        let is_timed = match &after {
            After::Nothing | After::Broken => false,
            After::Queue(queued) => queued.again.is_some(),
            After::Wait(_) | After::Again(..) => true,
        };
        let has_ready = {
            let mut waiting = self.lock();
            waiting.done(id, after, now());
            waiting.has_ready()
        };
        // A notification about it may set out, and whoever rests here need not be a worker.
        if has_ready {
            self.ready.notify_one();
        }
        if is_timed {
            self.timed.notify_one();
        }
        self.scheduled.notify_one();
    }

    /// Works on a message and outlives it: a message on which this program fails must not take a worker with
    /// it, or a few of them would stop all mail.
    async fn drive_safely(&self, due: Due) -> After {
        let id = due.id.clone();
        let mut driving = Box::pin(self.drive(due));
        let poll = |context: &mut Context<'_>| {
            let polled = catch_unwind(AssertUnwindSafe(|| driving.as_mut().poll(context)));
            polled.unwrap_or_else(|_| {
                tracing::error!(message_id = %id, "a mistake in Basin stopped the work on this message; it stays in the spool until the next start");
                Poll::Ready(After::Broken)
            })
        };
        poll_fn(poll).await
    }

    /// Works on a message until there is nothing more to do now.
    async fn drive(&self, due: Due) -> After {
        let id = due.id.clone();
        let is_fresh = matches!(due.start, Start::Fresh(_));
        let is_first = is_fresh || matches!(due.start, Start::Load);
        let Started { mut work, mut story, mut kept } = match self.start(due).await {
            Ok(started) => started,
            Err(after) => return after,
        };
        loop {
            work = match work {
                Work::Ask(waiting, question) => {
                    // No client waits, so each question has all the time.
                    let mut sink_time = SinkTime::new(self.parts.ask.transaction_time());
                    let decision = self.parts.ask.decide(*question, &mut sink_time).await;
                    waiting.decided(decision, now())
                }
                Work::Save(saving, message, state) => {
                    if let Some(story) = &mut story {
                        story.goes_on(&message, &state.stage, &self.parts.metrics, &self.parts.tracking);
                    }
                    match self.save((*message).clone(), state.clone()).await {
                        Ok(()) => {
                            self.parts.ask.tables().recorded(&id, &saving.unrecorded());
                            kept = kept.map(|_| Box::new((*message, state)));
                            saving.saved(now())
                        }
                        Err(fault) => {
                            self.failed(&id, &fault);
                            saving.not_saved(now())
                        }
                    }
                }
                Work::Sign(signing) => self.parts.signing.load_full().sign(signing).await,
                Work::Deliver(delivering) => {
                    if let Some(story) = &mut story {
                        story.submitted(&id, &self.parts.tracking);
                    }
                    self.deliver(delivering, is_fresh).await
                }
                Work::Notify(notifying, message, state) => self.notify(&id, notifying, &message, &state).await,
                Work::Suppress(notifying) => self.suppress(&id, notifying).await,
                Work::Bear(bearing, children) => self.bear(&id, bearing, &children).await,
                Work::Repeat(repeat, at) => return After::Again(Again::Machine(Box::new(repeat)), at),
                Work::Queue { message, jobs, again } => {
                    MessageQueued { message: &message, jobs: &jobs }.record();
                    // What waits again was told with its deferral.
                    if let Some(story) = story.as_mut().filter(|_| is_first) {
                        story.queued(&message, &jobs, &self.parts.policy.load(), &self.parts.tracking);
                    }
                    return After::Queue(Queued { jobs, again, kept });
                }
                Work::Wait(until) => {
                    MessageWaits { message: &id, until: &until.to_rfc3339(), is_parked: false }.record();
                    return After::Wait(until);
                }
                Work::Park(reason) => {
                    MessageWaits { message: &id, until: &reason, is_parked: true }.record();
                    return After::Nothing;
                }
                Work::Remove(message, end) => {
                    if let Some(story) = &mut story {
                        story.outcomes(&message, &self.parts.metrics, &self.parts.tracking);
                    }
                    return self.end(message, end).await;
                }
            };
        }
    }

    async fn end(&self, message: Box<Message>, end: End) -> After {
        let id = &message.id;
        if let Err(fault) = self.remove(id.clone()).await {
            // Only the removal is repeated: the recipients have the message.
            self.failed(id, &fault);
            return After::Again(Again::Removal(message, end), now().plus(STORAGE_RETRY_AFTER));
        }
        MessageEnded { message: id, end: story::end_word(end) }.record(&self.parts.metrics);
        self.parts.tracking.note(id, &story::removed(end));
        After::Nothing
    }

    async fn start(&self, due: Due) -> Result<Started, After> {
        let (policy, interest) = (self.parts.policy.load_full(), self.parts.ask.interest());
        let is_fresh = matches!(due.start, Start::Fresh(_));
        let (change, kept) = match due.start {
            Start::Again(Again::Machine(repeat)) => return Ok(Started::with(repeat.again(now()))),
            Start::Again(Again::Removal(message, end)) => return Ok(Started::with(Work::Remove(message, end))),
            Start::Fresh(kept) => (None, Some(kept)),
            Start::Load => (None, None),
            Start::Again(Again::Change(_, change)) | Start::Change(change) => (Some(change), None),
        };
        let kept = kept.or_else(|| self.lock().recent.get(&due.id).map(Box::new));
        let (message, state) = match (&kept, &change) {
            (Some(kept), _) => kept.as_ref().clone(),
            (None, None) => self.load(&due.id).await?,
            (None, Some(change)) => match self.load(&due.id).await {
                Ok(loaded) => loaded,
                // What happened is known here and nowhere else.
                Err(After::Wait(at)) => return Err(After::Again(Again::Change(due.id, change.clone()), at)),
                Err(after) => return Err(after),
            },
        };
        let story = Story::of(&message, &state, change.is_none());
        if is_fresh {
            story.stored(&message.id, &self.parts.tracking);
        }
        let work = match change {
            None => Transport::start(policy, message, state, interest, now()),
            Some(change) => {
                let random = self.parts.randomness.number().unwrap_or(0);
                Transport::change(policy, message, state, interest, change, now(), random)
            }
        };
        Ok(Started { work, story: Some(story), kept })
    }

    /// Carries the jobs out together, so that they share their syncs.
    async fn deliver(&self, mut delivering: Delivering, is_fresh: bool) -> Work {
        let message = delivering.message().clone();
        let jobs = delivering.jobs().to_vec();
        let mut running = JoinSet::new();
        for (number, job) in jobs.iter().enumerate() {
            let (courier, mailbox) = (self.parts.courier.clone(), job.mailbox.clone());
            let parcel =
                Parcel { mailbox, address: job.address.clone(), message: message.clone(), is_repetition: !is_fresh };
            running.spawn(async move { (number, courier.deliver(parcel).await) });
        }
        while let Some(done) = running.join_next().await {
            // A job that panicked is one of which nothing is recorded: it is tried again.
            let Ok((number, result)) = done else { continue };
            let Some(job) = jobs.get(number) else { continue };
            let cause = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let result = result.map_err(|fault| fault.reply());
            Delivery { message: &message.id, mailbox: &job.mailbox, result: &result, cause: &cause }
                .record(&self.parts.metrics);
            delivering.record(job, &result);
        }
        // Without randomness everything is tried again at the same moment, which is no reason to fail.
        delivering.finish(now(), self.parts.randomness.number().unwrap_or(0))
    }

    async fn load(&self, id: &MessageId) -> Result<(Message, State), After> {
        let (spool, wanted) = (self.parts.spool.clone(), id.clone());
        let loaded = tokio::task::spawn_blocking(move || spool.load(&wanted)).await;
        let fault = match loaded.unwrap_or(Err(SpoolFault::Closed)) {
            Ok(Some(loaded)) => return Ok(loaded),
            // It came to its end meanwhile.
            Ok(None) => return Err(After::Nothing),
            Err(fault) => fault,
        };
        self.failed(id, &fault);
        match fault {
            // It stays where it is for a person to look at.
            SpoolFault::Damaged { .. } | SpoolFault::Unknown(_) | SpoolFault::Closed => Err(After::Nothing),
            SpoolFault::Full(_) | SpoolFault::Io { .. } => Err(After::Wait(now().plus(STORAGE_RETRY_AFTER))),
        }
    }

    async fn save(&self, message: Message, state: State) -> Result<(), SpoolFault> {
        let (done, result) = oneshot::channel();
        let begin = state.clone();
        on_disk(&message, || self.parts.spool.save(message.clone(), begin, move |saved| drop(done.send(saved))));
        result.await.unwrap_or(Err(SpoolFault::Closed))?;
        self.noted(&message, &state);
        Ok(())
    }

    /// Writes a message that is new, about another one perhaps; nobody looks at it before it is put on a list.
    async fn commit(&self, message: &Message, state: &State, about: Option<&MessageId>) -> Result<(), SpoolFault> {
        let (done, result) = oneshot::channel();
        let (copy, begin) = (message.clone(), state.clone());
        on_disk(message, || self.parts.spool.commit(copy, begin, move |committed| drop(done.send(committed))));
        result.await.unwrap_or(Err(SpoolFault::Closed))?;
        self.noted(message, state);
        self.parts.tracking.received(message, about);
        Ok(())
    }

    async fn remove(&self, id: MessageId) -> Result<(), SpoolFault> {
        let (done, result) = oneshot::channel();
        self.parts.spool.remove(id.clone(), move |removed| drop(done.send(removed)));
        result.await.unwrap_or(Err(SpoolFault::Closed))?;
        self.left(&id);
        Ok(())
    }

    fn failed(&self, id: &MessageId, fault: &SpoolFault) {
        let (kind, cause) = (fault_kind(fault), fault.to_string());
        StorageFailed { session: "", message: id.as_str(), kind, cause: &cause }.record(&self.parts.metrics);
    }
}

/// Hands a message to the spool. A large body is written or synced on the way there, on this thread, so the
/// sessions that share it go on on another one.
pub(crate) fn on_disk<T>(message: &Message, hand_over: impl FnOnce() -> T) -> T {
    let is_in_memory = message.body.len() <= DRAFT_MEMORY_BYTES_MAX as u64;
    if is_in_memory { hand_over() } else { tokio::task::block_in_place(hand_over) }
}

#[cfg(test)]
mod tests;
