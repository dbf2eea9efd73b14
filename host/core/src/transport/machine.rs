//! The machine that takes a stored message to its end.

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::asking::Waiting;
use super::children::{Bearing, Then};
use super::telling::About;
use crate::event::{EventKind, EventSet, Question};
use crate::limits::{
    DELAY_NOTICE_DEFAULT, QUEUE_LIFETIME_DEFAULT, QUEUE_LIFETIME_NULL_DEFAULT, RETURNED_BYTES_DEFAULT,
    STORAGE_RETRY_AFTER,
};
use crate::mail::{DeliverBy, Late, Message, MessageId, Outcome, Recipient, RecipientId};
use crate::queue::{self, RetryPolicy};
use crate::time::Timestamp;
use crate::transport::{Change, Delivering, Directory, RouteTable, Signing, Stage, State};

/// What the transport needs to know of this server.
#[derive(Debug, Clone)]
pub struct TransportPolicy {
    /// Name of this server, in notifications.
    pub host_name: String,
    /// Who lives here.
    pub directory: Arc<Directory>,
    /// How mail for other servers leaves.
    pub routes: Arc<RouteTable>,
    /// How long a message is tried before it fails.
    pub lifetime: Duration,
    /// The same for mail from the null sender: a notification that nobody takes is worth less patience.
    pub lifetime_null: Duration,
    /// When the sender is told that a message is late; `None` is never.
    pub delay_notice: Option<Duration>,
    /// Waits between attempts at a mailbox here.
    pub retry_local: RetryPolicy,
    /// Waits between attempts at another server.
    pub retry_remote: RetryPolicy,
    /// Largest message that a notification returns whole where RET=FULL asks for it, in octets.
    pub returned_bytes_max: u64,
    /// Whether there is any key to sign with what leaves.
    pub is_signing: bool,
}

impl TransportPolicy {
    /// The policy with the default times, in which every other domain's mail goes to its own exchangers.
    pub fn new(host_name: String, directory: Arc<Directory>) -> Self {
        Self {
            host_name,
            directory,
            routes: Arc::default(),
            lifetime: QUEUE_LIFETIME_DEFAULT,
            lifetime_null: QUEUE_LIFETIME_NULL_DEFAULT,
            delay_notice: Some(DELAY_NOTICE_DEFAULT),
            retry_local: RetryPolicy::local(),
            retry_remote: RetryPolicy::remote(),
            returned_bytes_max: RETURNED_BYTES_DEFAULT,
            is_signing: false,
        }
    }
}

/// The message that a notification of that id is about; `None` for any other id.
///
/// A notification sets out when the message that it is about is saved as told, or removed: not before, or a crash
/// in between would make it again after it has arrived.
pub fn about(notification: &MessageId) -> Option<MessageId> {
    let (about, number) = notification.as_str().rsplit_once("-n")?;
    let is_number = !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit());
    if is_number { MessageId::parse(about) } else { None }
}

/// What the machine wants of the shell.
#[derive(Debug)]
pub enum Work {
    /// Raise this question and call [`Waiting::decided`].
    Ask(Waiting, Box<Question>),
    /// Write message and state in one record, then call [`Saving::saved`] or [`Saving::not_saved`].
    Save(Saving, Box<Message>, State),
    /// Sign this message and call [`Signing::signed`] or [`Signing::not_signed`]: it leaves for another server, and
    /// no sink will change it any more.
    Sign(Signing),
    /// Carry out the jobs, record what came of each, then call [`Delivering::finish`].
    Deliver(Delivering),
    /// Commit this new message with this state, then call [`Notifying::committed`] or
    /// [`Notifying::not_committed`]. It sets out when this message rests, see [`about`]. Its id comes from the message
    /// that it is about and a number. Where the spool has that id already it was committed before a crash and has
    /// not set out: replace it, because the sinks may have worded it otherwise this time.
    Notify(Notifying, Box<Message>, State),
    /// A sink wants this notification not to be sent: note that, remove it where the spool has it from before a crash
    /// ([`Notifying::id`]), and call [`Notifying::committed`] or [`Notifying::not_committed`].
    Suppress(Notifying),
    /// Commit these new messages with their states, then call [`Bearing::born`] or [`Bearing::not_born`]. Where the
    /// spool has one of them already, it is replaced: a run that a crash cut off made it. They set out when this
    /// message rests, see [`crate::transport::Parent`].
    Bear(Bearing, Vec<(Message, State)>),
    /// The storage failed: keep this machine in memory and call [`Repeat::again`] at that time. It knows of
    /// deliveries that are not written yet.
    Repeat(Repeat, Timestamp),
    /// Mail for other servers: `Schedule::put` these jobs, and act when it says so. Where `again` is given,
    /// load the message and start it again at that time too. All there is to know is saved.
    Queue {
        /// The message.
        message: MessageId,
        /// All its jobs.
        jobs: Vec<queue::Job>,
        /// When something else than these jobs is due.
        again: Option<Timestamp>,
    },
    /// Nothing until that time; then load the message and start again. All there is to know is saved.
    Wait(Timestamp),
    /// Nothing until an operator releases it; why, for people.
    Park(String),
    /// The message has come to its end, with what became of each recipient: remove it.
    Remove(Box<Message>, End),
}

/// How a message ended, for logs and counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every recipient has it.
    Delivered,
    /// At least one recipient failed for good; the sender knows, or asked not to.
    Failed,
    /// A sink with the grant dropped it.
    Discarded,
    /// Sinks took every recipient off it.
    NoRecipients,
    /// At least one recipient failed for good and there is nobody to tell: the sender is null. What is lost
    /// is written to the log, because nothing else remains of it.
    FailedUntold,
    /// An operator deleted it.
    Deleted,
    /// An operator moved it to another queue.
    Moved,
    /// A later message took its place.
    Superseded,
}

/// A stored message on its way.
#[derive(Debug)]
pub struct Transport {
    pub(super) policy: Arc<TransportPolicy>,
    pub(super) interest: EventSet,
    pub(super) message: Message,
    pub(super) state: State,
    /// Whether the record on disk knows less.
    pub(super) is_changed: bool,
    /// What is to be done once everything is told that was to be told before.
    pub(super) pending: Option<(Change, u64)>,
    /// Messages that came out of this one and are not on disk yet.
    pub(super) children: Vec<(Message, State)>,
    /// Answers about single recipients and destinations since the record was written.
    pub(super) answers: u32,
    /// Whether an answer gave a recipient an outcome in this attempt.
    pub(super) has_judged: bool,
    /// Recipients here whom the sinks left to the server in this attempt.
    pub(super) left_to_us: BTreeSet<RecipientId>,
}

impl Transport {
    /// Takes up a message where its state says; the state of a new one is `State::default()`.
    ///
    /// `interest` is `Registry::interest`: an event that nobody hears is not raised.
    pub fn start(
        policy: Arc<TransportPolicy>,
        message: Message,
        state: State,
        interest: EventSet,
        now: Timestamp,
    ) -> Work {
        Self::new(policy, message, state, interest).go_on(now)
    }

    /// Takes up a message that an operator released, or wants tried now: see [`Change::Release`].
    pub fn release(
        policy: Arc<TransportPolicy>,
        message: Message,
        state: State,
        interest: EventSet,
        now: Timestamp,
    ) -> Work {
        // Nothing is put off by a release, so there is nothing to spread.
        Self::change(policy, message, state, interest, Change::Release, now, 0)
    }

    pub(super) fn new(policy: Arc<TransportPolicy>, message: Message, state: State, interest: EventSet) -> Self {
        Self {
            policy,
            interest,
            message,
            state,
            is_changed: false,
            pending: None,
            children: Vec::new(),
            answers: 0,
            has_judged: false,
            left_to_us: BTreeSet::new(),
        }
    }

    pub(super) fn go_on(self, now: Timestamp) -> Work {
        if self.pending.is_some() {
            // The id of a notification stands for what it tells: what is saved and not told yet comes before
            // anything is added to it.
            return match self.notification(now).filter(|_| self.state.stage == Stage::Delivery) {
                Some((notification, about)) => self.notify(notification, about, now),
                None => self.apply(now),
            };
        }
        match &self.state.stage {
            Stage::Submission => self.judge(EventKind::OnSubmission, now),
            Stage::PreCategorize => self.judge(EventKind::OnPreCategorize, now),
            Stage::Categorize => self.resolve_all(now),
            Stage::PostCategorize => self.judge(EventKind::OnPostCategorize, now),
            Stage::Route => self.route_all(now),
            Stage::Delivery => self.deliver(now),
            Stage::Discarded => Work::Remove(Box::new(self.message), End::Discarded),
            Stage::Held { reason, .. } | Stage::Bad { reason } => Work::Park(reason.clone()),
        }
    }

    pub(super) fn save(self, now: Timestamp) -> Work {
        self.finish(Then::Save, now)
    }

    pub(super) fn write(mut self, now: Timestamp) -> Work {
        // From here on it stands for itself.
        self.state.parent = None;
        let (message, state) = (Box::new(self.message.clone()), self.state.clone());
        Work::Save(Saving { transport: self, asked: now }, message, state)
    }

    /// Removes a message whose recipients are all final, or says what else there is to do.
    pub(super) fn settle(self, now: Timestamp) -> Work {
        // Nothing is left to do but forget it, so the outcomes need not be written first: a crash before the
        // removal delivers again, exactly as a crash before the writing would.
        if self.is_over() && self.to_tell().is_empty() { self.remove(now) } else { self.save(now) }
    }

    pub(super) fn is_over(&self) -> bool {
        self.message.envelope.recipients.iter().all(|recipient| recipient.outcome.is_final())
    }

    pub(super) fn remove(self, now: Timestamp) -> Work {
        let recipients = &self.message.envelope.recipients;
        let is_failed = |recipient: &Recipient| matches!(recipient.outcome, Outcome::Failed { .. });
        let end = if recipients.is_empty() {
            End::NoRecipients
        } else if recipients.iter().any(is_failed) {
            if self.has_sender() { End::Failed } else { End::FailedUntold }
        } else {
            End::Delivered
        };
        self.finish(Then::Remove(end), now)
    }

    /// When its recipients were due first.
    pub(super) fn since(&self) -> Timestamp {
        self.message.deliver_after.map_or(self.message.arrival.at, |at| at.max(self.message.arrival.at))
    }

    /// When the message has been here for as long as messages may be.
    pub(super) fn end_of_life(&self) -> Timestamp {
        // Whoever asked for a later delivery gets the whole lifetime after it.
        let since = self.since();
        let usual = if self.has_sender() { self.policy.lifetime } else { self.policy.lifetime_null };
        let end = self.message.expiry.map_or_else(|| since.plus(usual), |expiry| expiry.give_up);
        self.returned_at().map_or(end, |at| at.min(end))
    }

    /// When it goes back because its sender has no use for it any more (RFC 2852 §4.1, by-mode R).
    pub(super) fn returned_at(&self) -> Option<Timestamp> {
        DeliverBy::of(&self.message).filter(|(by, _)| by.late == Late::Return).map(|(_, deadline)| deadline)
    }

    // The same for every repetition after a crash, another one for every notification. Long ids, which only a
    // foreign spool would have (a child's leaves room), are cut: their tail is the random part, so the tail is kept.
    pub(super) fn notification_id(&self) -> MessageId {
        let suffix = format!("-n{}", self.state.next_notification());
        let id = self.message.id.as_str();
        let from = (id.len() + suffix.len()).saturating_sub(MessageId::BYTES_MAX);
        let text = format!("{}{suffix}", id.get(from..).unwrap_or(id));
        MessageId::parse(&text).unwrap_or_else(|| self.message.id.clone())
    }
}

/// The machine while its state is written.
#[derive(Debug)]
pub struct Saving {
    transport: Transport,
    asked: Timestamp,
}

impl Saving {
    /// Keys of events that were decided and that the record does not know of: were it the last that is written, they
    /// would be raised again.
    pub fn unrecorded(&self) -> Vec<String> {
        self.transport.unrecorded(self.asked)
    }

    /// The record is on disk.
    pub fn saved(mut self, now: Timestamp) -> Work {
        self.transport.is_changed = false;
        self.transport.answers = 0;
        self.transport.go_on(now.max(self.asked))
    }

    /// The record could not be written.
    pub fn not_saved(self, now: Timestamp) -> Work {
        Work::Repeat(Repeat::finish(self.transport, Then::Save), now.plus(STORAGE_RETRY_AFTER))
    }
}

/// The machine while a notification is committed.
#[derive(Debug)]
pub struct Notifying {
    transport: Transport,
    about: About,
}

impl Notifying {
    pub(super) fn of(transport: Transport, about: About) -> Self {
        Self { transport, about }
    }

    /// Id of the notification. A run that a crash cut off may have written it with other words, or though it is kept
    /// back now: it has not set out.
    pub fn id(&self) -> MessageId {
        self.transport.notification_id()
    }

    /// The recipients that the notification is about; those of them who still wait are late.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        let envelope = &self.transport.message.envelope;
        self.about.ids().filter_map(|id| envelope.recipient(id))
    }

    /// The notification is on disk.
    pub fn committed(mut self, now: Timestamp) -> Work {
        self.transport.told(self.about);
        if self.transport.pending.is_some() { self.transport.go_on(now) } else { self.transport.settle(now) }
    }

    /// The notification could not be written.
    pub fn not_committed(mut self, now: Timestamp) -> Work {
        // Its sinks are asked again. What they made besides goes with what they were asked about, or the message would
        // look changed, and come to its end with nobody told.
        self.transport.children.clear();
        self.transport.is_changed = false;
        Work::Repeat(Repeat { transport: self.transport, then: None }, now.plus(STORAGE_RETRY_AFTER))
    }
}

/// The machine while the storage is out of order.
#[derive(Debug)]
pub struct Repeat {
    transport: Transport,
    /// What could not be written; `None` where the machine itself comes to it again.
    then: Option<Then>,
}

impl Repeat {
    pub(super) fn finish(transport: Transport, then: Then) -> Self {
        Self { transport, then: Some(then) }
    }

    /// Asks again for what could not be written.
    pub fn again(self, now: Timestamp) -> Work {
        match self.then {
            Some(then) => self.transport.finish(then, now),
            None => self.transport.go_on(now),
        }
    }

    /// Whose machine it is.
    pub fn id(&self) -> &MessageId {
        &self.transport.message.id
    }
}
