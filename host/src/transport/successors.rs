//! Messages that give way to later ones of the same sink (`mail-msg.set-supersede-key`).

use std::sync::{Arc, Mutex, PoisonError};

use basin_core::mail::{Message, MessageId, Supersedes};
use basin_core::queue::Successors;
use basin_core::time::Timestamp;
use basin_core::transport::{Change, State};
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::waiting::{Due, Start};
use crate::shutdown::Phase;

/// The keys of queued messages, and those that have to give way.
pub(super) struct Succession {
    keys: Mutex<Successors>,
    // Every message of the queue is in it once at most, so the queue bounds it.
    giving_way: mpsc::UnboundedSender<MessageId>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<MessageId>>>,
}

impl Default for Succession {
    fn default() -> Self {
        let (giving_way, receiver) = mpsc::unbounded_channel();
        Self { keys: Mutex::default(), giving_way, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Succession {
    /// Notes a message whose sink gave it a key.
    pub(super) fn note(&self, id: &MessageId, key: &Supersedes, arrived: Timestamp) {
        let giving_way = self.keys.lock().unwrap_or_else(PoisonError::into_inner).note(id, key, arrived);
        for id in giving_way {
            // Nobody receives when the server stops; the next start finds both messages in the spool.
            let _ = self.giving_way.send(id);
        }
    }

    fn forget(&self, id: &MessageId) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).forget(id);
    }
}

impl Shared {
    /// Notes a message as it is on disk now.
    pub(super) fn noted(&self, message: &Message, state: &State) {
        self.index.put(message, state);
        if let Some(key) = message.supersedes.as_ref().filter(|_| state.takes_a_place()) {
            self.succession.note(&message.id, key, message.arrival.at);
        }
    }

    /// Notes that a message is gone.
    pub(super) fn left(&self, id: &MessageId) {
        // Its last steps are told when the index has forgotten it.
        self.parts.tracking.leaves(id);
        self.index.remove(id);
        self.succession.forget(id);
        self.parts.ask.tables().left(id);
    }

    async fn give_way(&self, id: MessageId) {
        let turn = self.lock().claim(&id);
        if let Some(turn) = turn
            && turn.await.is_err()
        {
            // The lists are gone, and the process with them.
            return;
        }
        let after = self.drive_safely(Due { id: id.clone(), start: Start::Change(Change::Supersede) }).await;
        self.rested(&id, after);
    }
}

/// Removes what has to give way, each message when nobody works on it. The record that has the key is on disk before
/// the earlier message goes, so a crash between the two is mended by the next start, which finds both.
pub(super) async fn give_way(shared: Arc<Shared>, mut stop: watch::Receiver<Phase>) {
    let receiver = shared.succession.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut receiver) = receiver else { return };
    loop {
        let id = tokio::select! {
            id = receiver.recv() => id,
            _ = stop.wait_for(|phase| *phase >= Phase::Draining) => return,
        };
        let Some(id) = id else { return };
        let shared = shared.clone();
        // A message may be in somebody's hands for long; others do not wait for it.
        tokio::spawn(async move { shared.give_way(id).await });
    }
}
