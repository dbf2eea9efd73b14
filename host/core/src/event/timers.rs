//! Which timers are due: one call for each, whatever the clock did meanwhile.

mod firing;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::event::{Binding, Cron, TableEdits, TableValue};
use crate::mail::MessageId;
use crate::time::Timestamp;

pub use firing::{Bearing, Calling, Fired, Firing, FiringStep, Removing, Unwritten, Writing};

/// How far a clock may be set back without what was done being done again. Corrections of a clock are smaller; one that
/// goes back further was wrong before, and what is due is reckoned anew.
const SET_BACK_MAX: Duration = Duration::from_secs(3600);

/// Whose table the marks of timers are in; no sink has a name like that.
pub const MARKS: &str = "*timers";

/// Seconds that a mark lives after the last run: longer than the year between two runs of the rarest usual schedule.
const MARK_LIFE_SECONDS: u32 = 400 * 86_400;

/// Octets of the digest in a timer's id: enough that no two bindings of a registry ever meet.
const ID_DIGEST_BYTES: usize = 8;

/// What is written about a timer with what its sink set, in one record: when it ran, and which of the messages that it
/// made may set out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When it ran last.
    pub at: Timestamp,
    /// Batches of messages that were let go, see [`Parent`](crate::transport::Parent).
    pub batches: u32,
    /// The schedule that it had.
    pub schedule: String,
}

/// What stands for a timer as the parent of the messages that it makes, and its key among the marks. No message has an
/// id of this form.
pub fn timer_id(binding: &str) -> MessageId {
    let digest = Sha256::digest(binding.as_bytes());
    let digits: String = digest.iter().take(ID_DIGEST_BYTES).map(|octet| format!("{octet:02x}")).collect();
    MessageId::parse(&format!("{TIMER_PREFIX}{digits}")).unwrap_or_else(|| MessageId::new(Timestamp::default(), 0))
}

const TIMER_PREFIX: &str = "timer-";

/// Whether an id stands for a timer.
pub fn is_timer(id: &MessageId) -> bool {
    id.as_str().starts_with(TIMER_PREFIX)
}

impl Mark {
    /// Joins the mark to what is written for that timer. It counts against the same bound, so it goes first.
    pub fn join(&self, timer: &MessageId, edits: &mut TableEdits) {
        self.join_after(timer, None, edits);
    }

    /// The same, where what is stored is still what was read: `None` is no condition, the inner `None` is nothing.
    pub fn join_after(&self, timer: &MessageId, read: Option<Option<Arc<[u8]>>>, edits: &mut TableEdits) {
        let text = format!("{} {} {}", self.at.seconds, self.batches, self.schedule);
        let value = TableValue { octets: text.into_bytes().into(), life: MARK_LIFE_SECONDS };
        // What is set first always fits: a schedule is a line of a file.
        edits.set(MARKS, timer.as_str(), Some(value), read).ok();
    }

    /// The schedule of a binding as its mark has it.
    pub fn schedule_of(binding: &Binding) -> String {
        binding.schedule.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Reads what was written; `None` where it is something else.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let mut parts = core::str::from_utf8(octets).ok()?.splitn(3, ' ');
        let at = Timestamp::from_seconds(parts.next()?.parse().ok()?);
        Some(Self { at, batches: parts.next()?.parse().ok()?, schedule: parts.next()?.to_owned() })
    }
}

/// A call that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Name of the binding.
    pub binding: String,
    /// When it was due; where it was several times since the last look, the first time.
    pub at: Timestamp,
}

/// What is known of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimerFacts {
    /// When it is due next.
    pub next: Option<Timestamp>,
    /// When it ran last, by the clock.
    pub last: Option<Timestamp>,
    /// Whether it runs.
    pub is_running: bool,
    /// Calls that were left out because the one before them still ran, since the server started.
    pub left_out: u64,
}

/// The timers of a registry. The shell says what time it is, makes the calls and says when they ended.
#[derive(Debug, Default)]
pub struct Timers {
    rows: BTreeMap<String, Row>,
    /// By name, beside the rows: who goes and comes again while it runs still runs.
    running: BTreeSet<String>,
    /// By name, messages of a call that may be there and may not set out.
    unborn: BTreeMap<String, Vec<MessageId>>,
    looked: Option<Timestamp>,
}

#[derive(Debug)]
struct Row {
    cron: Cron,
    next: Option<Timestamp>,
    last: Option<Timestamp>,
    left_out: u64,
}

impl Timers {
    /// Takes the timers of a registry that comes into force: name, schedule, and when it ran last where that was before
    /// the server started. One that is known with the same schedule goes on; with that time it is due as if the server
    /// had run since, without it from now on.
    pub fn arrange(&mut self, wanted: impl IntoIterator<Item = (String, Cron, Option<Timestamp>)>, now: Timestamp) {
        let mut before = core::mem::take(&mut self.rows);
        for (name, cron, ran) in wanted {
            let known = before.remove(&name);
            let row = match known {
                Some(row) if row.cron == cron => row,
                known => {
                    let (last, left_out) = known.map_or((ran, 0), |row| (row.last, row.left_out));
                    // A time to come is that of a clock that was wrong.
                    let from = ran.filter(|ran| *ran <= now).unwrap_or(now);
                    Row { next: cron.next_after(from), cron, last, left_out }
                }
            };
            self.rows.insert(name, row);
        }
    }

    /// Whether a timer is known, with whatever schedule.
    pub fn contains(&self, name: &str) -> bool {
        self.rows.contains_key(name)
    }

    /// What is due now; each of these runs until [`Timers::ended`].
    ///
    /// However long nobody looked (the machine slept, the clock jumped), each is due once. One that runs still is left
    /// out and counted; one that does not fire, because it is switched off or over, passes.
    pub fn due(&mut self, now: Timestamp, fires: impl Fn(&str) -> bool) -> Vec<Due> {
        let is_set_back = self.looked.is_some_and(|looked| now.plus(SET_BACK_MAX) < looked);
        self.looked = Some(now);
        let mut due = Vec::new();
        for (name, row) in &mut self.rows {
            if is_set_back {
                row.next = row.cron.next_after(now);
            }
            let Some(at) = row.next.filter(|next| *next <= now) else { continue };
            row.next = row.cron.next_after(now);
            if !fires(name) {
                continue;
            }
            if self.running.insert(name.clone()) {
                row.last = Some(now);
                due.push(Due { binding: name.clone(), at });
            } else {
                row.left_out += 1;
            }
        }
        due
    }

    /// Begins a call out of turn, unless one runs: false then, and where there is no such timer. When it is due next
    /// stays as it was.
    pub fn begin(&mut self, name: &str, now: Timestamp) -> bool {
        let Some(row) = self.rows.get_mut(name) else { return false };
        let begins = self.running.insert(name.to_owned());
        row.last = if begins { Some(now) } else { row.last };
        begins
    }

    /// A call has ended.
    pub fn ended(&mut self, name: &str) {
        self.running.remove(name);
    }

    /// Messages of an earlier call that may be there and may not set out.
    pub fn unborn(&self, name: &str) -> Vec<MessageId> {
        self.unborn.get(name).cloned().unwrap_or_default()
    }

    /// Keeps in mind which messages of a timer may be there and may not set out; none is that all is well.
    pub fn keep_unborn(&mut self, name: &str, ids: Vec<MessageId>) {
        if ids.is_empty() {
            self.unborn.remove(name);
        } else {
            self.unborn.insert(name.to_owned(), ids);
        }
    }

    /// When to look again; `None` where nothing will ever be due.
    pub fn next(&self) -> Option<Timestamp> {
        self.rows.values().filter_map(|row| row.next).min()
    }

    /// What is known of a timer; `None` where there is none of that name.
    pub fn facts(&self, name: &str) -> Option<TimerFacts> {
        let Row { next, last, left_out, .. } = *self.rows.get(name)?;
        Some(TimerFacts { next, last, left_out, is_running: self.running.contains(name) })
    }
}

#[cfg(test)]
mod tests;
