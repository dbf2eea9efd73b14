//! Messages that come out of the one that a worker has: what its sender is told, and what its sinks made.

use basin_core::mail::{Message, MessageId};
use basin_core::transport::{Bearing, Notifying, State, Work};
use basin_spool::SpoolFault;

use super::{Shared, story};
use crate::clock::now;
use crate::tracking::Step;

impl Shared {
    pub(super) async fn notify(
        &self,
        about: &MessageId,
        notifying: Notifying,
        message: &Message,
        state: &State,
    ) -> Work {
        match self.commit(message, state, Some(about)).await {
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
    pub(super) fn suppress(&self, about: &MessageId, notifying: Notifying) -> Work {
        let recipients = notifying.recipients().map(|recipient| recipient.address.to_string().into()).collect();
        self.parts.tracking.note(about, &Step::Suppressed { recipients });
        notifying.committed(now())
    }

    /// Writes what came out of a message; it sets out when that message rests.
    pub(super) async fn bear(&self, parent: &MessageId, bearing: Bearing, children: &[(Message, State)]) -> Work {
        for (child, state) in children {
            if let Err(fault) = self.bear_one(parent, child, state).await {
                self.failed(&child.id, &fault);
                return bearing.not_born(now());
            }
        }
        let mut waiting = self.lock();
        children.iter().for_each(|(child, _)| waiting.announce(parent.clone(), child.id.clone()));
        drop(waiting);
        bearing.born(now())
    }

    async fn bear_one(&self, parent: &MessageId, child: &Message, state: &State) -> Result<(), SpoolFault> {
        // The storage failed after some of them, or a crash came before their parent was written.
        if self.parts.spool.contains(&child.id) {
            return self.save(child.clone(), state.clone()).await;
        }
        self.commit(child, state, Some(parent)).await
    }
}
