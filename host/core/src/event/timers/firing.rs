//! One call of a timer: what is written in which order, and what becomes of it when that fails.
//!
//! What the sink sets and what it sends are in two places. Its messages are written first and wait; then what it set is
//! written with the mark of the timer, which knows of their batch; then they set out. A crash before the mark takes them
//! away at the next start and the call is made up for, a crash after it loses nothing.

use super::{Mark, timer_id};
use crate::event::{Answer, Binding, EventKind, Occasion, Overlay, TableEdits};
use crate::limits::TABLE_CONFLICTS_MAX;
use crate::mail::{Message, MessageId};
use crate::time::Timestamp;
use crate::transport::{Parent, State};

/// Calls of a timer at one time that it is due: others may be faster with what it sets.
const CALLS_MAX: u32 = TABLE_CONFLICTS_MAX + 1;

/// What is to be done next.
#[derive(Debug)]
pub enum FiringStep {
    /// Remove these messages and call [`Removing::removed`]. Nobody has taken them up.
    Remove(Removing, Vec<MessageId>),
    /// Write this into the tables, all or nothing, and call one of the methods of [`Writing`].
    Write(Writing, TableEdits),
    /// Call the sink, and [`Calling::answered`].
    Call(Calling, Box<Occasion>, Box<Overlay>),
    /// Note that these messages may be there and may not set out, commit them, and call [`Bearing::born`] or
    /// [`Bearing::not_born`].
    Bear(Bearing, Vec<(Message, State)>),
    /// It is over.
    Over(Fired),
}

/// What a call came to.
#[derive(Debug)]
pub enum Fired {
    /// It is written: these messages set out.
    Written {
        /// What the sink sends.
        born: Vec<(Message, State)>,
        /// Why the sink failed, where it did.
        failure: Option<String>,
    },
    /// Nothing of it holds.
    Unwritten {
        /// Why.
        why: Unwritten,
        /// Messages that are there and may not set out; the next call begins with removing them.
        left: Vec<MessageId>,
    },
}

/// Why nothing of a call holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritten {
    /// Its messages cannot be written.
    Messages,
    /// The tables cannot be written.
    Tables,
    /// Other calls were faster each time.
    Conflict,
    /// What an earlier call made is still there and may not set out.
    Unborn,
}

/// A call of a timer on its way.
#[derive(Debug)]
pub struct Firing {
    timer: MessageId,
    schedule: String,
    due: Timestamp,
    at: Timestamp,
    /// Batches that the mark knows of.
    batches: u32,
    raised: u32,
}

impl Firing {
    /// Begins a call that was due at `due` and is made at `at`. `mark` is what is written of the timer, `left` what
    /// [`Timers::unborn`](super::Timers::unborn) knows.
    pub fn begin(
        binding: &Binding,
        (due, at): (Timestamp, Timestamp),
        mark: Option<&Mark>,
        left: Vec<MessageId>,
    ) -> FiringStep {
        let firing = Self {
            timer: timer_id(&binding.name),
            schedule: Mark::schedule_of(binding),
            due,
            at,
            batches: mark.map_or(0, |mark| mark.batches),
            raised: 0,
        };
        let next = if mark.is_some() { Then::Call } else { Then::Begin };
        firing.remove(left, next)
    }

    // A timer without a mark gets one first: else nobody could tell that what it makes may not set out yet.
    fn first_mark(self) -> FiringStep {
        let mut edits = TableEdits::default();
        self.mark(0).join(&self.timer, &mut edits);
        FiringStep::Write(Writing { firing: self, what: Written::FirstMark }, edits)
    }

    fn mark(&self, batches: u32) -> Mark {
        Mark { at: self.at, batches, schedule: self.schedule.clone() }
    }

    // Of two calls at one time the later one has the lower number: should a power cut bring back what was removed of the
    // earlier one, the mark does not know of it. Every number is above those of the time before.
    fn parent(&self) -> Parent {
        let round = (self.batches / CALLS_MAX).saturating_add(1).saturating_mul(CALLS_MAX);
        let batch = round.saturating_add(CALLS_MAX.saturating_sub(1).saturating_sub(self.raised));
        Parent { id: self.timer.clone(), batch }
    }

    fn call(self) -> FiringStep {
        let parent = self.parent();
        let mut edits = TableEdits::default();
        self.mark(parent.batch).join(&self.timer, &mut edits);
        let event = EventKind::OnTimer;
        let occasion = Occasion {
            raised: self.raised,
            idempotency_key: format!("{}/{}/{event}", self.timer, self.due.to_rfc3339()),
            ..Occasion::of(event, self.at)
        };
        let overlay = Overlay { tables: edits.clone(), ..Overlay::default() };
        FiringStep::Call(Calling { firing: self, mark: edits }, Box::new(occasion), Box::new(overlay))
    }

    fn again(mut self) -> FiringStep {
        self.raised += 1;
        if self.raised < CALLS_MAX { self.call() } else { unwritten(Unwritten::Conflict, Vec::new()) }
    }

    // A batch that came to nothing must not be there any more when a later one is let go.
    fn remove(self, ids: Vec<MessageId>, then: Then) -> FiringStep {
        let removing = Removing { firing: self, then };
        if ids.is_empty() { removing.removed(Vec::new()) } else { FiringStep::Remove(removing, ids) }
    }
}

fn unwritten(why: Unwritten, left: Vec<MessageId>) -> FiringStep {
    FiringStep::Over(Fired::Unwritten { why, left })
}

/// What comes when messages are gone.
#[derive(Debug)]
enum Then {
    Begin,
    Call,
    Again,
    End(Unwritten),
}

/// A call while messages are removed.
#[derive(Debug)]
pub struct Removing {
    firing: Firing,
    then: Then,
}

impl Removing {
    /// They are gone but for those in `left`.
    pub fn removed(self, left: Vec<MessageId>) -> FiringStep {
        if !left.is_empty() {
            return unwritten(Unwritten::Unborn, left);
        }
        match self.then {
            Then::Begin => self.firing.first_mark(),
            Then::Call => self.firing.call(),
            Then::Again => self.firing.again(),
            Then::End(why) => unwritten(why, Vec::new()),
        }
    }
}

/// A call while its sink is called.
#[derive(Debug)]
pub struct Calling {
    firing: Firing,
    mark: TableEdits,
}

impl Calling {
    /// Takes what the sink said; of a call that failed nothing is left but that it was made.
    pub fn answered(self, answer: Answer) -> FiringStep {
        let Self { firing, mark } = self;
        let (edits, messages, failure) = match answer {
            Answer::Verdict(_, overlay) => {
                let Overlay { tables, submissions, .. } = *overlay;
                (tables, submissions, None)
            }
            Answer::Failed(failure) => (mark, Vec::new(), Some(format!("{}: {}", failure.kind.word(), failure.detail))),
        };
        let parent = firing.parent();
        let state = || State { parent: Some(parent.clone()), ..State::default() };
        let born: Vec<_> = messages.into_iter().map(|submission| (submission.message, state())).collect();
        let bearing = Bearing { firing, edits, born: born.clone(), failure };
        if born.is_empty() { bearing.born() } else { FiringStep::Bear(bearing, born) }
    }
}

/// A call while its messages are written.
#[derive(Debug)]
pub struct Bearing {
    firing: Firing,
    edits: TableEdits,
    born: Vec<(Message, State)>,
    failure: Option<String>,
}

impl Bearing {
    /// All of them are on disk.
    pub fn born(self) -> FiringStep {
        let Self { firing, edits, born, failure } = self;
        FiringStep::Write(Writing { firing, what: Written::Call(born, failure) }, edits)
    }

    /// One could not be written.
    pub fn not_born(self) -> FiringStep {
        self.firing.remove(ids(&self.born), Then::End(Unwritten::Messages))
    }
}

/// What is being written into the tables.
#[derive(Debug)]
enum Written {
    FirstMark,
    Call(Vec<(Message, State)>, Option<String>),
}

/// A call while the tables are written.
#[derive(Debug)]
pub struct Writing {
    firing: Firing,
    what: Written,
}

impl Writing {
    /// It is on disk.
    pub fn written(self) -> FiringStep {
        match self.what {
            Written::FirstMark => self.firing.call(),
            Written::Call(born, failure) => FiringStep::Over(Fired::Written { born, failure }),
        }
    }

    /// Another call changed what this one had read: it is made again.
    pub fn conflict(self) -> FiringStep {
        match &self.what {
            // Without a mark nothing may be made.
            Written::FirstMark => unwritten(Unwritten::Conflict, Vec::new()),
            Written::Call(born, _) => {
                let ids = ids(born);
                self.firing.remove(ids, Then::Again)
            }
        }
    }

    /// It cannot be written.
    pub fn failed(self) -> FiringStep {
        let ids = self.ids();
        self.firing.remove(ids, Then::End(Unwritten::Tables))
    }

    fn ids(&self) -> Vec<MessageId> {
        match &self.what {
            Written::FirstMark => Vec::new(),
            Written::Call(born, _) => ids(born),
        }
    }
}

fn ids(born: &[(Message, State)]) -> Vec<MessageId> {
    born.iter().map(|(message, _)| message.id.clone()).collect()
}

#[cfg(test)]
#[path = "firing_tests.rs"]
mod tests;
