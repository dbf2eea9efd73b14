//! What operators do to messages that wait, one message at a time, beside the workers.

use std::sync::Arc;

use basin_core::event::EventKind;
use basin_core::mail::{Message, MessageId, RecipientId};
use basin_core::queue::index::{Closed, Filter, Index, Query, Row};
use basin_core::time::Timestamp;
use basin_core::transport::{Change, End, Stage, State, Transport, TransportPolicy, Whom, Work};
use basin_spool::SpoolFault;
use serde::{Deserialize, Serialize};

use super::story::{self, Story};
use super::waiting::After;
use super::{Queue, Shared};
use crate::clock::now;
use crate::telemetry::records::OperatorActed;
use crate::tracking::{Operation, Tracking};

/// What an operator wants of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// It goes nowhere until it is released.
    Hold {
        /// Why.
        reason: String,
    },
    /// What is held goes on, and bad mail with it.
    Release,
    /// What waits for its next attempt is tried now.
    Retry,
    /// The recipients go to that domain or `[host]:port`; `None` is back to where their addresses say.
    Reroute {
        /// Where to.
        to: Option<String>,
    },
    /// It goes through the sinks that are bound now once more, from the first stage on.
    Rerun,
    /// The recipients fail now, and the sender is told.
    Expire,
    /// It is removed, and nobody is told.
    Delete,
    /// It is removed because another queue has it now.
    Move,
}

/// Which messages an operator means, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Meant {
    /// The filter.
    pub filter: Filter,
    /// Where mail did not go then: it decides in which state a message is.
    pub closed: Arc<Closed>,
}

impl Action {
    /// The word of the command line.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "hold",
            Self::Release => "release",
            Self::Retry => "retry",
            Self::Reroute { .. } => "reroute",
            Self::Rerun => "rerun",
            Self::Expire => "expire",
            Self::Delete => "delete",
            Self::Move => "move",
        }
    }

    /// Tells the logs that it was done to a message.
    pub fn told(&self, message: &MessageId, by: &str, tracking: &Tracking) {
        let (did, detail) = match self {
            Self::Hold { reason } => (Operation::Held, Some(reason.as_str())),
            Self::Release => (Operation::Released, None),
            Self::Retry => (Operation::Retried, None),
            Self::Reroute { to } => (Operation::Rerouted, Some(to.as_deref().unwrap_or("back"))),
            Self::Rerun => (Operation::Rerun, None),
            Self::Expire => (Operation::Expired, None),
            Self::Delete => (Operation::Deleted, None),
            Self::Move => (Operation::Moved, None),
        };
        OperatorActed { message, did, by, detail }.record(tracking);
    }

    /// The change for the machine; `None` where the action has nothing to do with a message that stands there.
    fn change(&self, state: &State, whom: Whom) -> Option<Change> {
        let is_parked = matches!(state.stage, Stage::Held { .. } | Stage::Bad { .. });
        match self {
            Self::Hold { .. } if is_parked => None,
            Self::Hold { reason } => Some(Change::Hold(reason.clone())),
            Self::Release => Some(Change::Release),
            // Whoever tries what waits does not mean what somebody holds for a reason.
            Self::Retry if is_parked => None,
            Self::Retry => Some(Change::Release),
            Self::Reroute { to } => Some(Change::Reroute(whom, to.clone())),
            Self::Rerun => Some(Change::Rerun),
            Self::Expire => Some(Change::Expire(whom, None)),
            Self::Delete | Self::Move => Some(Change::Delete),
        }
    }

    /// How a message ends by it, where it removes messages.
    pub fn removes(&self) -> Option<End> {
        match self {
            Self::Delete => Some(End::Deleted),
            Self::Move => Some(End::Moved),
            Self::Hold { .. } | Self::Release | Self::Retry | Self::Reroute { .. } | Self::Rerun | Self::Expire => None,
        }
    }

    /// What becomes of a message: what is to be written, or that it goes, or that nothing changes.
    ///
    /// The filter is applied once more to the message as it was loaded: it may have gone on since the index
    /// selected it.
    pub fn apply(
        &self,
        policy: Arc<TransportPolicy>,
        (message, state): (Message, State),
        meant: &Meant,
        now: Timestamp,
    ) -> Applied {
        let Some(whom) = chosen(&message, &state, meant, &policy, now) else { return Applied::Unselected };
        if let Some(end) = self.removes() {
            return Applied::Remove(Box::new(message), end);
        }
        let Some(change) = self.change(&state, whom) else { return Applied::Unchanged };
        // Whether sinks listen does not matter: the machine is left where it first writes, or asks anybody.
        let events = EventKind::ALL.iter().copied().filter(|event| *event != EventKind::OnNotification);
        match Transport::change(policy, message, state, events.collect(), change, now, 0) {
            Work::Save(_, message, state) => Applied::Save(message, Box::new(state)),
            Work::Remove(message, end) => Applied::Remove(message, end),
            // Failures that are not told yet are told first.
            Work::Notify(..) => Applied::NotYet,
            Work::Ask(..)
            | Work::Suppress(_)
            | Work::Bear(..)
            | Work::Sign(_)
            | Work::Deliver(_)
            | Work::Repeat(..)
            | Work::Queue { .. }
            | Work::Wait(_)
            | Work::Park(_) => Applied::Unchanged,
        }
    }
}

/// What an action makes of a message.
#[derive(Debug)]
pub enum Applied {
    /// This is to be written.
    Save(Box<Message>, Box<State>),
    /// It is to be removed, with what became of each recipient.
    Remove(Box<Message>, End),
    /// Something else comes first, which a worker does.
    NotYet,
    /// It is as the action wants it, or the action does not concern it.
    Unchanged,
    /// The filter does not select it any more.
    Unselected,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The message is different now, and that is on disk.
    Changed,
    /// It stays as it was.
    Unchanged,
    /// It is not in the queue, or the filter does not select it any more.
    Gone,
    /// It is being worked on.
    Busy,
    /// The storage failed; nothing changed. What it said.
    Failed(String),
}

fn chosen(message: &Message, state: &State, meant: &Meant, policy: &TransportPolicy, now: Timestamp) -> Option<Whom> {
    let mut index = Index::default();
    index.put(&Row::of(message, state));
    let query = Query::new(meant.filter.clone(), policy.routes.clone(), now);
    let mut query = query.with_closed(meant.closed.clone());
    let Some(places) = index.select(&mut query, &message.id)?.recipients else { return Some(Whom::Everybody) };
    // A row has the recipients that are not final, in their order.
    let waiting = message.envelope.recipients.iter().filter(|recipient| !recipient.outcome.is_final());
    let waiting: Vec<RecipientId> = waiting.map(|recipient| recipient.id).collect();
    Some(Whom::These(places.iter().filter_map(|place| waiting.get(*place).copied()).collect()))
}

impl Queue {
    /// Does to one message what an operator wants, where it is still meant.
    pub async fn act(&self, id: MessageId, action: &Action, meant: &Meant, by: &str) -> Done {
        if !self.shared.parts.spool.contains(&id) {
            return Done::Gone;
        }
        // What came out of it is judged by the record that the last process left.
        if self.shared.lock().is_judging {
            self.entered().await;
        }
        {
            let mut waiting = self.shared.lock();
            // A server may be taking it at this moment: nobody is to be told that it failed.
            let is_leaving = *action == Action::Expire && waiting.schedule.is_in_hand(&id);
            if is_leaving || waiting.seize(&id).is_err() {
                return Done::Busy;
            }
            // Its destination may be left alone for a while; whoever wants the mail tried means that too.
            if matches!(action, Action::Retry | Action::Release) {
                waiting.schedule.retry(&id, now());
            }
        }
        // A task of its own: who asked may go away, and what was seized must be given back all the same.
        let (shared, seized) = (self.shared.clone(), id.clone());
        let (action, meant, by) = (action.clone(), meant.clone(), by.to_owned());
        let acted = tokio::spawn(async move {
            let done = shared.act(&seized, &action, &meant, &by).await;
            let is_gone = done == Done::Changed && !shared.parts.spool.contains(&seized);
            shared.rested(&seized, After::Nothing);
            // A worker takes it up where it stands now and puts it on the lists it belongs to.
            if !is_gone && shared.workers > 0 {
                shared.lock().found(seized.clone());
                shared.ready.notify_one();
            }
            done
        });
        acted.await.unwrap_or_else(|_| Done::Failed("a mistake in Basin".to_owned()))
    }
}

impl Queue {
    /// Takes in a message of another queue, and says whether it is new here.
    ///
    /// # Errors
    /// The storage failed.
    pub async fn import(&self, message: Message, state: State, by: &str) -> Result<bool, SpoolFault> {
        let shared = &self.shared;
        // A worker may have it already; what it does not know of must not be done twice.
        if shared.parts.spool.contains(&message.id) {
            return Ok(false);
        }
        let id = message.id.clone();
        shared.commit(&message, &state, None).await?;
        let acted = OperatorActed { message: &id, did: Operation::Imported, by, detail: None };
        acted.record(&shared.parts.tracking);
        shared.lock().stored(message, state);
        shared.ready.notify_one();
        Ok(true)
    }
}

impl Shared {
    async fn act(&self, id: &MessageId, action: &Action, meant: &Meant, by: &str) -> Done {
        let (spool, wanted) = (self.parts.spool.clone(), id.clone());
        let loaded = tokio::task::spawn_blocking(move || spool.load(&wanted)).await;
        let (message, state) = match loaded.unwrap_or(Err(SpoolFault::Closed)) {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return Done::Gone,
            // What cannot be read can at least be taken out.
            Err(fault) => {
                let Some(end) = action.removes() else { return Done::Failed(fault.to_string()) };
                return self.written(id, self.remove(id.clone()).await, |shared| {
                    action.told(id, by, &shared.parts.tracking);
                    shared.parts.tracking.note(id, &story::removed(end));
                });
            }
        };
        let mut story = Story::of(&message, &state, false);
        match action.apply(self.parts.policy.load_full(), (message, state), meant, now()) {
            Applied::Save(message, state) => {
                let saved = self.save((*message).clone(), *state).await;
                self.written(id, saved, |shared| {
                    action.told(id, by, &shared.parts.tracking);
                    story.outcomes(&message, &shared.parts.metrics, &shared.parts.tracking);
                })
            }
            Applied::Remove(message, end) => self.written(id, self.remove(id.clone()).await, |shared| {
                action.told(id, by, &shared.parts.tracking);
                story.outcomes(&message, &shared.parts.metrics, &shared.parts.tracking);
                shared.parts.tracking.note(id, &story::removed(end));
            }),
            Applied::NotYet => Done::Busy,
            Applied::Unchanged => Done::Unchanged,
            Applied::Unselected => Done::Gone,
        }
    }

    fn written(&self, id: &MessageId, result: Result<(), SpoolFault>, tell: impl FnOnce(&Self)) -> Done {
        match result {
            Ok(()) => {
                tell(self);
                Done::Changed
            }
            Err(fault) => {
                self.failed(id, &fault);
                Done::Failed(fault.to_string())
            }
        }
    }
}
