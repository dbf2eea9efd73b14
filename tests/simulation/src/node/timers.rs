//! The timers of the server under test.

use std::collections::BTreeSet;
use std::sync::mpsc;

use basin_core::event::timers::{Fired, Firing, FiringStep, MARKS, Mark, timer_id};
use basin_core::event::{Binding, Due, TableEdits};
use basin_core::mail::{Message, MessageId};
use basin_core::time::Timestamp;
use basin_core::transport::State;

use super::Node;
use crate::dice::Dice;
use crate::ledger::Ledger;

impl Node {
    /// At the start: each timer goes on from its mark.
    pub(super) fn arrange_timers(&mut self, now: Timestamp) {
        let mut wanted = Vec::new();
        for binding in self.sinks.timers() {
            let Some(cron) = binding.schedule.clone() else { continue };
            let mark = self.mark(&binding);
            if mark.is_none() {
                let mut edits = TableEdits::default();
                let mark = Mark { at: now, batches: 0, schedule: Mark::schedule_of(&binding) };
                mark.join(&timer_id(&binding.name), &mut edits);
                self.sinks.tables.commit(&edits, None);
            }
            wanted.push((binding.name.clone(), cron, mark.map(|mark| mark.at)));
        }
        self.timers.arrange(wanted, now);
    }

    fn mark(&self, binding: &Binding) -> Option<Mark> {
        let octets = self.sinks.tables.get(MARKS, timer_id(&binding.name).as_str())?;
        Mark::parse(&octets)
    }

    /// Calls the sinks of the timers that are due, and says whether there were any.
    pub(crate) fn fire_due(&mut self, ledger: &mut Ledger, now: Timestamp, dice: &mut Dice) -> bool {
        let due = self.timers.due(now, |_| true);
        for due in &due {
            ledger.tell(|| format!("{} timer {}", now.to_rfc3339(), due.binding));
            self.fire(due, ledger, now, dice);
            self.timers.ended(&due.binding);
        }
        !due.is_empty()
    }

    fn fire(&mut self, due: &Due, ledger: &mut Ledger, now: Timestamp, dice: &mut Dice) {
        let Some(binding) = self.sinks.timers().into_iter().find(|binding| binding.name == due.binding) else { return };
        let (mark, left) = (self.mark(&binding), self.timers.unborn(&binding.name));
        let mut step = Firing::begin(&binding, (due.at, now), mark.as_ref(), left);
        let fired = loop {
            step = match step {
                FiringStep::Remove(removing, ids) => removing.removed(self.withdraw(ids)),
                FiringStep::Write(writing, edits) => match dice.below(100) {
                    // A mistake stops the call where it is.
                    0 => return ledger.tell(|| "  the call is cut off".to_owned()),
                    1..6 => writing.conflict(),
                    6..8 => writing.failed(),
                    _ if self.is_dead() => writing.failed(),
                    _ => {
                        self.sinks.tables.commit(&edits, None);
                        writing.written()
                    }
                },
                FiringStep::Call(calling, occasion, overlay) => {
                    let answer = self.sinks.timer(&occasion, &binding, overlay, dice);
                    self.sinks.report(ledger);
                    calling.answered(answer)
                }
                FiringStep::Bear(bearing, born) => {
                    if self.bear_of_timer(&binding, born) {
                        bearing.born()
                    } else {
                        bearing.not_born()
                    }
                }
                FiringStep::Over(fired) => break fired,
            };
        };
        match fired {
            Fired::Written { born, .. } => {
                self.sinks.timers_fired += 1;
                self.timers.keep_unborn(&binding.name, Vec::new());
                let ids: BTreeSet<MessageId> = born.into_iter().map(|(message, _)| message.id).collect();
                ledger.tell(|| format!("  written, {ids:?} set out"));
                self.fresh.extend(ids);
            }
            Fired::Unwritten { why, left } => {
                ledger.tell(|| format!("  {why:?}, {left:?} are left"));
                self.timers.keep_unborn(&binding.name, left);
            }
        }
    }

    fn bear_of_timer(&mut self, binding: &Binding, born: Vec<(Message, State)>) -> bool {
        let ids = born.iter().map(|(message, _)| message.id.clone()).collect();
        self.timers.keep_unborn(&binding.name, ids);
        born.into_iter().all(|(message, state)| self.commit(message, state).is_ok())
    }

    /// Messages of calls that came to nothing and are there still: the next call of their timer removes them, or the next
    /// start.
    pub(crate) fn unborn(&self) -> BTreeSet<MessageId> {
        self.sinks.timers().iter().flat_map(|binding| self.timers.unborn(&binding.name)).collect()
    }

    // Those that could not be removed.
    fn withdraw(&self, ids: Vec<MessageId>) -> Vec<MessageId> {
        let is_left = |id: &MessageId| {
            let (tell, told) = mpsc::channel();
            self.spool.remove(id.clone(), move |result| drop(tell.send(result)));
            !matches!(told.recv(), Ok(Ok(())))
        };
        ids.into_iter().filter(is_left).collect()
    }
}
