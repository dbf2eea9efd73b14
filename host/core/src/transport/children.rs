//! Messages that come out of another one: what its sinks forked or submitted, and recipients that have to wait on
//! their own.
//!
//! They are on disk before the record of the message that says so. That record has the number of their batch; they set
//! out when it is written, see [`Parent`]. So a crash leaves either a message whose children wait for nobody, or one
//! that comes to the same point again, whose children of before nobody let go.

use std::sync::Arc;

use super::machine::{End, Repeat, Transport, Work};
use crate::event::{EventKind, Fork, Overlay, Submission};
use crate::limits::STORAGE_RETRY_AFTER;
use crate::mail::{Message, RecipientId};
use crate::time::Timestamp;
use crate::transport::{Parent, Stage, State};

/// What comes when the children are on disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    /// The record of the message.
    Save,
    /// Its end.
    Remove(End),
}

/// The machine while the messages that came out of its own are committed.
#[derive(Debug)]
pub struct Bearing {
    transport: Transport,
    then: Then,
}

impl Bearing {
    /// All of them are on disk.
    pub fn born(mut self, now: Timestamp) -> Work {
        self.transport.children.clear();
        self.transport.state.batches = self.transport.state.batches.saturating_add(1);
        self.transport.finish(self.then, now)
    }

    /// One could not be written.
    pub fn not_born(self, now: Timestamp) -> Work {
        Work::Repeat(Repeat::finish(self.transport, self.then), now.plus(STORAGE_RETRY_AFTER))
    }
}

impl Transport {
    /// Writes the message, or removes it; what came out of it first.
    pub(super) fn finish(self, then: Then, now: Timestamp) -> Work {
        if !self.children.is_empty() {
            let children = self.children.clone();
            return Work::Bear(Bearing { transport: self, then }, children);
        }
        match then {
            Then::Save => self.write(now),
            Then::Remove(end) => Work::Remove(Box::new(self.message), end),
        }
    }

    /// Takes over what a chain made beside its edits.
    pub(super) fn take_children(&mut self, overlay: &mut Overlay) {
        for Fork { message, rest, .. } in overlay.forks.drain(..) {
            let mut state = self.child();
            state.stage = self.state.stage.clone();
            state.rest = Some(rest);
            self.bear(message, state);
        }
        for Submission { message, .. } in overlay.submissions.drain(..) {
            let state = self.child();
            self.bear(message, state);
        }
    }

    /// Moves recipients to a message of their own, which goes on at this stage when they can.
    pub(super) fn part_with(&mut self, ids: &[RecipientId], event: EventKind, now: Timestamp) {
        let occasion = self.occasion(event, &format!("late-{}", self.state.batches), now);
        let mut message = self.message.clone();
        // No sink has the empty name.
        message.id = occasion.child_id(Some(&self.message.id), "", self.children.len());
        message.supersedes = self.message.supersedes.as_ref().map(|key| key.of_part(&self.message.id));
        Arc::make_mut(&mut message.envelope).recipients.retain(|recipient| ids.contains(&recipient.id));
        let own = Arc::make_mut(&mut self.message.envelope);
        own.recipients.retain(|recipient| !ids.contains(&recipient.id));
        let state = State { stage: self.state.stage.clone(), ..self.child() };
        self.bear(message, state);
    }

    fn child(&self) -> State {
        let parent = Parent { id: self.message.id.clone(), batch: self.state.batches.saturating_add(1) };
        State { stage: Stage::Submission, parent: Some(parent), ..State::default() }
    }

    fn bear(&mut self, message: Message, state: State) {
        // A question that is asked again before anything was written makes the same once more.
        self.children.retain(|(child, _)| child.id != message.id);
        self.children.push((message, state));
        self.is_changed = true;
    }
}
