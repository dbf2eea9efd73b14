//! Messages that come out of the one that a worker has: what its sender is told, and what its sinks made.

use basin_core::mail::{Message, MessageId};
use basin_core::transport::{Bearing, End, Notifying, State, Work};
use basin_spool::SpoolFault;

use super::{Queue, Shared, removed, story};
use crate::clock::now;
use crate::tracking::Step;

impl Queue {
    /// Waits until everything that the spool had at the start was read: what came out of something then has set out, or
    /// is gone. For ever where nobody works.
    pub(crate) async fn entered(&self) {
        // The sender lives as long as this.
        drop(self.shared.entered.subscribe().wait_for(|is_entered| *is_entered).await);
    }

    /// Writes what a timer made. It sets out with [`Queue::set_out`]; a crash before the timer's mark knows of the batch
    /// takes it away at the next start.
    ///
    /// # Errors
    /// One of them is not on disk; others may be.
    pub(crate) async fn bear(&self, born: &[(Message, State)]) -> Result<(), SpoolFault> {
        for (message, state) in born {
            self.shared.commit(message, state, None).await?;
        }
        Ok(())
    }

    /// What a timer made goes its way.
    pub(crate) fn set_out(&self, born: Vec<(Message, State)>) {
        born.into_iter().for_each(|(message, state)| self.stored(message, state));
    }

    /// Takes away what a timer made and is not to set out; those are left that could not be removed.
    pub(crate) async fn withdraw(&self, ids: Vec<MessageId>) -> Vec<MessageId> {
        let mut left = Vec::new();
        for id in ids {
            match self.shared.remove(id.clone()).await {
                Ok(()) => self.shared.parts.tracking.note(&id, &removed(End::Discarded)),
                Err(fault) => {
                    self.shared.failed(&id, &fault);
                    left.push(id);
                }
            }
        }
        left
    }
}

impl Shared {
    pub(super) async fn notify(
        &self,
        about: &MessageId,
        notifying: Notifying,
        message: &Message,
        state: &State,
    ) -> Work {
        match self.bear_one(about, message, state).await {
            Ok(()) => {
                self.lock().announce(about.clone(), message.id.clone());
                self.parts.metrics.notifications.inc();
                story::notified(about, &message.id, &notifying, &self.parts.tracking);
                notifying.committed(now())
            }
            Err(fault) => {
                self.failed(about, &fault);
                notifying.not_committed(now())
            }
        }
    }

    /// A sink keeps a notification back; the log is the only place that knows of it.
    pub(super) async fn suppress(&self, about: &MessageId, notifying: Notifying) -> Work {
        let notification = notifying.id();
        if self.parts.spool.contains(&notification)
            && let Err(fault) = self.remove(notification).await
        {
            self.failed(about, &fault);
            return notifying.not_committed(now());
        }
        let recipients = notifying.recipients().map(|recipient| recipient.address.to_string().into()).collect();
        self.parts.tracking.note(about, &Step::Suppressed { recipients });
        notifying.committed(now())
    }

    /// Writes what came out of a message; it sets out when that message rests.
    pub(super) async fn bear(&self, parent: &MessageId, bearing: Bearing, children: &[(Message, State)]) -> Work {
        // Before they are written: whoever reads the spool at the start does not take them for those of a run that a crash
        // cut off.
        self.announce_all(parent, children);
        for (child, state) in children {
            if let Err(fault) = self.bear_one(parent, child, state).await {
                self.failed(&child.id, &fault);
                return bearing.not_born(now());
            }
        }
        bearing.born(now())
    }

    fn announce_all(&self, parent: &MessageId, children: &[(Message, State)]) {
        let mut waiting = self.lock();
        children.iter().for_each(|(child, _)| waiting.announce(parent.clone(), child.id.clone()));
    }

    async fn bear_one(&self, parent: &MessageId, child: &Message, state: &State) -> Result<(), SpoolFault> {
        // The storage failed after some of them, or a crash came before their parent was written.
        if self.parts.spool.contains(&child.id) {
            return self.save(child.clone(), state.clone()).await;
        }
        self.commit(child, state, Some(parent)).await
    }
}
