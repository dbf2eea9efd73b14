//! Whose instances are kept, and how long: those of a session, of its transaction, and the warm ones of all.

use core::fmt;
use std::sync::Arc;

use basin_core::event::{EventKind, InstanceMode, Mode};
use basin_core::mail::MessageId;
use tokio::sync::{Mutex, MutexGuard};

use crate::keep::{Keep, Kept, Key, Lane, ScopeId};
use crate::{CallRequest, Engine};

/// The instances that one session keeps; its shell holds this as long as the session lasts.
///
/// It is empty until a binding asks for an instance that lives longer than a call, and costs some words until then.
#[derive(Debug)]
pub struct Instances {
    keep: KeepRef,
    session: Arc<Scope>,
    transaction: Option<(MessageId, Arc<Scope>)>,
}

/// What the calls about one question may keep instances for.
///
/// Those that are told later hold it too, so the instances of a session are there until the last of them is told.
#[derive(Debug, Clone)]
pub struct Scopes {
    session: Arc<Scope>,
    transaction: Option<Arc<Scope>>,
}

/// A session or a transaction; when nobody holds it any more, its instances go.
#[derive(Debug)]
struct Scope {
    id: ScopeId,
    keep: KeepRef,
    /// Held while somebody is told: two at once would each find an instance of their own.
    telling: Mutex<()>,
}

#[derive(Clone)]
struct KeepRef(Arc<Keep>);

impl fmt::Debug for KeepRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keep({})", self.0.count())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.keep.0.forget(self.id);
    }
}

impl Engine {
    /// Makes the place for a session's instances.
    pub fn instances(&self) -> Instances {
        let keep = KeepRef(self.shared.keep.clone());
        Instances { session: keep.scope(), keep, transaction: None }
    }

    /// How many instances are kept between calls now.
    pub fn instances_kept(&self) -> usize {
        self.shared.keep.count()
    }
}

impl KeepRef {
    fn scope(&self) -> Arc<Scope> {
        Arc::new(Scope { id: self.0.next_scope(), keep: self.clone(), telling: Mutex::default() })
    }
}

impl Instances {
    /// What calls about this message, or about none, may keep instances for. Another message, or none, ends the
    /// transaction before it.
    pub fn scopes(&mut self, message: Option<&MessageId>) -> Scopes {
        if self.transaction.as_ref().map(|(id, _)| id) != message {
            self.transaction = message.map(|id| (id.clone(), self.keep.scope()));
        }
        let transaction = self.transaction.as_ref().map(|(_, scope)| scope.clone());
        Scopes { session: self.session.clone(), transaction }
    }

    /// The transaction is over, whatever came of it.
    pub fn end_transaction(&mut self) {
        self.transaction = None;
    }
}

/// Where the instance of a call is kept.
pub(crate) struct Place {
    keep: Arc<Keep>,
    scope: Option<Arc<Scope>>,
    key: Key,
}

impl CallRequest<'_> {
    /// Where this call finds its instance and leaves it; `None` where it has one of its own.
    pub(crate) fn place(&self, keep: &Arc<Keep>) -> Option<Place> {
        let scope = match (self.binding.instance, self.scopes) {
            (InstanceMode::Call, _) => return None,
            (InstanceMode::Warm, _) => None,
            (InstanceMode::Session, scopes) => Some(scopes?.session.clone()),
            (InstanceMode::Transaction, scopes) => Some(scopes?.transaction.clone()?),
        };
        let is_told = self.is_read_only || self.binding.mode == Mode::Shadow || self.occasion.event.is_notice();
        let lane = if is_told && scope.is_some() { Lane::Told } else { Lane::Asked };
        let id = scope.as_ref().map_or(ScopeId::Warm, |scope| scope.id);
        let mut key = Key { scope: id, sink: self.sink.name.clone(), lane };
        // Nobody decides any more: what those that decided remember is free to be told how it ended.
        if self.occasion.event == EventKind::OnDisconnect {
            let asked = Key { lane: Lane::Asked, ..key.clone() };
            if keep.has(&asked) {
                key = asked;
            }
        }
        Some(Place { keep: keep.clone(), scope, key })
    }
}

impl Place {
    /// Waits until nobody else is told of the same session with an instance of it. Those that are asked never wait: a
    /// session asks one after the other.
    pub(crate) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match (&self.scope, self.key.lane) {
            (Some(scope), Lane::Told) => Some(scope.telling.lock().await),
            (Some(_), Lane::Asked) | (None, _) => None,
        }
    }

    /// Takes the instance out, where there is one of that component.
    pub(crate) fn take(&self, digest: &str) -> Option<Kept> {
        self.keep.take(&self.key, digest)
    }

    /// Leaves it for the next call.
    pub(crate) fn give_back(&self, kept: Kept) {
        self.keep.put(self.key.clone(), kept);
    }
}
