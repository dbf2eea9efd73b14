use std::collections::BTreeSet;

use super::*;
use crate::event::timers::MARKS;
use crate::event::{FailurePolicy, InstanceMode, Mode, NewMessage, Rule, Verdict};
use crate::mail::{Body, HeaderBlock};

fn binding() -> Binding {
    Binding {
        name: "digest/on-timer".to_owned(),
        sink: "digest".to_owned(),
        event: EventKind::OnTimer,
        rule: Rule::default(),
        priority: 0,
        listener: None,
        mode: Mode::Decide,
        instance: InstanceMode::Call,
        on_failure: FailurePolicy::Skip,
        is_enabled: true,
        expires: None,
        max_firings: None,
        schedule: Some("@daily".parse().expect("a schedule")),
    }
}

/// What is on disk, and what the shell keeps in mind.
#[derive(Default)]
struct World {
    spool: BTreeSet<(MessageId, u32)>,
    mark: Option<Mark>,
    unborn: Vec<MessageId>,
    /// What becomes of each write, the last first; all is well when none is left.
    fates: Vec<u8>,
    set_out: Vec<MessageId>,
}

const WELL: u8 = 0;
const FAILS: u8 = 1;
const CONFLICT: u8 = 2;
/// The process ends before the write.
const CRASH: u8 = 3;
const FATES: u8 = 4;

impl World {
    fn fate(&mut self) -> u8 {
        self.fates.pop().unwrap_or(WELL)
    }

    /// One call; `None` is a crash in its middle.
    fn fire(&mut self) -> Option<Fired> {
        let at = Timestamp::from_seconds(1_000);
        let mut step = Firing::begin(&binding(), (at, at), self.mark.as_ref(), self.unborn.clone());
        loop {
            step = match step {
                FiringStep::Remove(removing, ids) => {
                    let fate = self.fate();
                    if fate == CRASH {
                        return None;
                    }
                    if fate == FAILS {
                        removing.removed(ids)
                    } else {
                        self.spool.retain(|(id, _)| !ids.contains(id));
                        removing.removed(Vec::new())
                    }
                }
                FiringStep::Write(writing, edits) => match self.fate() {
                    CRASH => return None,
                    FAILS => writing.failed(),
                    CONFLICT => writing.conflict(),
                    _ => {
                        let edit =
                            edits.of(MARKS, timer_id(&binding().name).as_str()).expect("a mark is always written");
                        self.mark = edit.value.as_ref().and_then(|value| Mark::parse(&value.octets));
                        writing.written()
                    }
                },
                FiringStep::Call(calling, occasion, mut overlay) => {
                    for _ in 0..2 {
                        let to = crate::addr::Address::parse("bob@basin.example").expect("an address");
                        let (header, body) = (HeaderBlock::default(), Body::from_bytes(b"x".to_vec()));
                        let new = NewMessage { sender: None, recipients: vec![to], header, body };
                        overlay.submit(&occasion, "digest", "mx.basin.example", new).expect("it is allowed");
                    }
                    calling.answered(Answer::Verdict(Verdict::Next, overlay))
                }
                FiringStep::Bear(bearing, born) => {
                    self.unborn = ids(&born);
                    let fate = self.fate();
                    let many = if fate == WELL { born.len() } else { 1 };
                    for (message, state) in born.iter().take(many) {
                        let batch = state.parent.as_ref().expect("a child").batch;
                        self.spool.retain(|(id, _)| *id != message.id);
                        self.spool.insert((message.id.clone(), batch));
                    }
                    match fate {
                        CRASH => return None,
                        WELL => bearing.born(),
                        _ => bearing.not_born(),
                    }
                }
                FiringStep::Over(fired) => return Some(fired),
            };
        }
    }

    /// The next process: what the mark does not know of goes.
    fn restart(&mut self) -> usize {
        self.unborn.clear();
        let batches = self.mark.as_ref().map(|mark| mark.batches);
        let lets_go = |batch| Parent { id: timer_id(&binding().name), batch }.lets_go(batches);
        self.spool.retain(|(_, batch)| lets_go(*batch));
        self.spool.len()
    }
}

#[test]
fn whatever_fails_a_call_is_written_whole_or_leaves_nothing_that_sets_out() {
    let digits = 5;
    for number in 0..u32::from(FATES).pow(digits) {
        let fates = (0..digits).map(|place| u8::try_from(number / u32::from(FATES).pow(place) % 4).expect("small"));
        let mut world = World { fates: fates.collect(), ..World::default() };
        let fired = world.fire();
        match fired {
            Some(Fired::Written { born, .. }) => {
                assert_eq!(born.len(), 2, "{number}");
                world.set_out = ids(&born);
                let held: Vec<MessageId> = world.spool.iter().map(|(id, _)| id.clone()).collect();
                assert!(held.len() == 2 && held.iter().all(|id| world.set_out.contains(id)), "{number}");
                assert_eq!(world.restart(), 2, "the mark knows of what has set out ({number})");
            }
            Some(Fired::Unwritten { left, .. }) => {
                let is_known = |(id, _): &(MessageId, u32)| left.contains(id);
                assert!(world.spool.iter().all(is_known), "what may not set out is known or gone ({number})");
                // The same process calls again; nothing fails any more.
                (world.unborn, world.fates) = (left, Vec::new());
                assert!(matches!(world.fire(), Some(Fired::Written { .. })), "{number}");
                assert_eq!(world.restart(), 2, "{number}");
            }
            None => {
                assert_eq!(world.restart(), 0, "of a call that was cut off nothing sets out ({number})");
            }
        }
    }
}

#[test]
fn a_power_cut_that_brings_back_what_was_removed_lets_nothing_of_it_out() {
    let mut world = World { fates: vec![CONFLICT, WELL, WELL], ..World::default() };
    let step = |world: &mut World| world.fire().is_some();
    assert!(step(&mut world));
    let mark = world.mark.clone().expect("written");
    let lost =
        Firing { batches: 0, raised: 0, timer: timer_id("x"), schedule: String::new(), due: mark.at, at: mark.at };
    assert!(!lost.parent().lets_go(Some(mark.batches)), "the call that lost has a number that the mark does not know");
    assert!(world.fire().is_some() && world.mark.is_some_and(|next| next.batches > mark.batches));
}
