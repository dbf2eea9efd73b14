//! Room for instances between two calls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime::component::Instance;

use crate::handle;
use crate::state::State;

/// Linear memory of all kept instances together, in octets. What is over it is given back, longest unused first.
pub(crate) const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Warm instances of one sink that wait for a call. More calls at once make more, which go when they are done.
const WARM_MAX: usize = 16;

/// Calls that one warm instance serves. Some runtimes grow a little with each call and never shrink.
const WARM_CALLS_MAX: u32 = 1_000;

/// How long a warm instance waits for its next call.
const WARM_IDLE_MAX: Duration = Duration::from_secs(60);

/// Calls that one instance of a session or a transaction serves; handles cannot tell more apart.
const CALLS_MAX: u32 = handle::CALLS_MAX - 1;

/// What an instance is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ScopeId {
    /// Any call of its sink.
    Warm,
    /// The session or the transaction of that number.
    Numbered(u64),
}

/// Who uses it. Those that somebody waits for must not wait for those that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Calls that decide.
    Asked,
    /// Notices, observers and shadows.
    Told,
}

/// Where a kept instance is found again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) scope: ScopeId,
    pub(crate) sink: String,
    pub(crate) lane: Lane,
}

/// An instance between two calls.
pub(crate) struct Kept {
    pub(crate) store: Store<State>,
    pub(crate) instance: Instance,
    digest: String,
    since: Instant,
}

impl Kept {
    pub(crate) fn new(store: Store<State>, instance: Instance, digest: &str) -> Self {
        Self { store, instance, digest: digest.to_owned(), since: Instant::now() }
    }

    fn bytes(&self) -> u64 {
        self.store.data().limiter.memory()
    }

    fn has_served(&self) -> u32 {
        self.store.data().call_number + 1
    }

    fn is_good(&self, scope: ScopeId) -> bool {
        match scope {
            ScopeId::Warm => self.has_served() < WARM_CALLS_MAX && self.since.elapsed() < WARM_IDLE_MAX,
            ScopeId::Numbered(_) => self.has_served() < CALLS_MAX,
        }
    }
}

/// All kept instances of the process, within bounds of number and memory.
///
/// A session that idles may hold an instance, and there may be ten thousand such sessions: so room is limited, and what
/// was not used for longest makes room for what is. To be kept is a promise to try, not one to succeed.
pub(crate) struct Keep {
    room: Mutex<Room>,
    places: usize,
    scopes: AtomicU64,
}

#[derive(Default)]
struct Room {
    kept: BTreeMap<Key, Vec<Kept>>,
    count: usize,
    bytes: u64,
}

impl Keep {
    pub(crate) fn new(places: u32) -> Self {
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        Self { room: Mutex::default(), places, scopes: AtomicU64::new(0) }
    }

    /// A number for another session or transaction.
    pub(crate) fn next_scope(&self) -> ScopeId {
        ScopeId::Numbered(self.scopes.fetch_add(1, Ordering::Relaxed))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.room().count
    }

    /// Takes out an instance of that component.
    pub(crate) fn take(&self, key: &Key, digest: &str) -> Option<Kept> {
        let mut useless = Vec::new();
        let mut room = self.room();
        let taken = loop {
            match room.pop(key) {
                Some(kept) if kept.digest == digest && kept.is_good(key.scope) => break Some(kept),
                // Of another version of the sink, or too old.
                Some(kept) => useless.push(kept),
                None => break None,
            }
        };
        drop(room);
        taken
    }

    /// Whether there is one.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.room().kept.contains_key(key)
    }

    /// Puts an instance back, and others out where there is no room.
    pub(crate) fn put(&self, key: Key, kept: Kept) {
        // Their memory is given back when the lock is free again.
        let mut gone = Vec::new();
        let mut room = self.room();
        let is_full = key.scope == ScopeId::Warm && room.kept.get(&key).is_some_and(|warm| warm.len() >= WARM_MAX);
        if is_full || self.places == 0 || !kept.is_good(key.scope) {
            drop(room);
            return;
        }
        room.count += 1;
        room.bytes = room.bytes.saturating_add(kept.bytes());
        room.kept.entry(key).or_default().push(kept);
        while room.count > self.places || room.bytes > BYTES_MAX && room.count > 1 {
            match room.pop_oldest() {
                Some(kept) => gone.push(kept),
                None => break,
            }
        }
        drop(room);
    }

    /// Gives back what was kept for a session or a transaction that is over.
    pub(crate) fn forget(&self, scope: ScopeId) {
        let mut gone = Vec::new();
        let first = Key { scope, sink: String::new(), lane: Lane::Asked };
        let mut room = self.room();
        loop {
            let next = room.kept.range(&first..).next().map(|(key, _)| key.clone());
            let Some(key) = next.filter(|key| key.scope == scope) else { break };
            while let Some(kept) = room.pop(&key) {
                gone.push(kept);
            }
        }
        drop(room);
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    // The newest, so that those that are not needed grow old. No entry is empty.
    fn pop(&mut self, key: &Key) -> Option<Kept> {
        let here = self.kept.get_mut(key)?;
        let kept = here.pop();
        self.left(key, kept)
    }

    // There are some hundreds at most, and this happens where room has run out.
    fn pop_oldest(&mut self) -> Option<Kept> {
        let since = |(_, kept): &(&Key, &Vec<Kept>)| kept.first().map(|kept| kept.since);
        let key = self.kept.iter().min_by_key(since).map(|(key, _)| key.clone())?;
        let here = self.kept.get_mut(&key)?;
        let kept = (!here.is_empty()).then(|| here.remove(0));
        self.left(&key, kept)
    }

    fn left(&mut self, key: &Key, kept: Option<Kept>) -> Option<Kept> {
        if self.kept.get(key).is_some_and(Vec::is_empty) {
            self.kept.remove(key);
        }
        let kept = kept?;
        self.count -= 1;
        self.bytes = self.bytes.saturating_sub(kept.bytes());
        Some(kept)
    }
}
