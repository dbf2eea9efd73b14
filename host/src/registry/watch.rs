//! Hot reload: a changed registry comes into force within a second, a broken one does not.
//!
//! The file's inode, length and time are looked at four times a second. Notification by the kernel would need
//! a dependency, fails on network file systems and in some containers, and saves nothing that can be measured:
//! one look is one system call.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use basin_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::audit::TARGET;
use crate::registry::{Broken, Loaded, Loader};

/// Time between two looks; a change is in force within a second, compiling included, for the usual sink.
const POLL: Duration = Duration::from_millis(250);

/// Askers that wait for the next look; each is a person or a script.
const PROMPTS_MAX: usize = 64;

/// Has the watcher look at once: whoever changed the registry need not wait and wonder.
#[derive(Debug, Clone)]
pub struct Prompt(mpsc::Sender<oneshot::Sender<()>>);

/// The watcher's end of a [`Prompt`].
#[derive(Debug)]
pub struct Prompts(mpsc::Receiver<oneshot::Sender<()>>);

impl Prompt {
    /// Makes both ends.
    pub fn channel() -> (Self, Prompts) {
        let (asking, asked) = mpsc::channel(PROMPTS_MAX);
        (Self(asking), Prompts(asked))
    }

    /// Waits for a look that began after this call, and for the change that it found to be in force or refused. False
    /// where nobody watches any more.
    pub async fn look(&self) -> bool {
        let (done, looked) = oneshot::channel();
        self.0.send(done).await.is_ok() && looked.await.is_ok()
    }
}

/// What a look at the directory led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The registry on disk came into force.
    Applied {
        /// Its generation.
        generation: u64,
        /// What an operator should know about it, one line each; empty where all is well.
        problems: Vec<String>,
    },
    /// The registry on disk is broken; the one before it stays in force.
    Refused {
        /// File, line and what is wrong.
        why: String,
    },
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    /// The state that it is in; `None` where it is not there.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Watches the registry's directory for changes.
#[derive(Debug)]
pub struct Watcher {
    loader: Loader,
    current: Arc<ArcSwap<Loaded>>,
    seen: Vec<(PathBuf, Option<Mark>)>,
}

impl Watcher {
    /// Begins to watch. The first look loads whatever is there.
    pub fn new(loader: Loader, current: Arc<ArcSwap<Loaded>>) -> Self {
        Self { loader, current, seen: Vec::new() }
    }

    /// Looks once and loads where something changed. May compile, so it is no call for an async thread.
    pub fn look(&mut self, now: Timestamp) -> Option<Change> {
        let is_unchanged = |(path, mark): &(PathBuf, Option<Mark>)| Mark::of(path) == *mark;
        if !self.seen.is_empty() && self.seen.iter().all(is_unchanged) {
            return None;
        }
        // Marked before it is read: a change between the two is met by the next look.
        let mark = |path: PathBuf| (path.clone(), Mark::of(&path));
        self.seen = vec![mark(self.loader.store().file_path())];
        let before = self.current.load_full();
        let is_gone = matches!(self.seen.as_slice(), [(_, None)]) && before.registry.sinks().next().is_some();
        if is_gone {
            // An editor that writes by renaming, or a mistake; neither says that mail should go unfiltered.
            let path = self.loader.store().file_path();
            let advice = "a file with `version = 1` alone is a registry without sinks";
            return Some(self.refuse(&before, format!("{} is gone; {advice}", path.display()), now));
        }
        match self.loader.load(&before, now) {
            Ok(loaded) => {
                // A component that was missing or damaged may come back without a change of the file.
                let paths = loaded.not_loaded().map(|sink| self.loader.store().component_path(&sink.digest));
                self.seen.extend(paths.map(mark));
                let secrets = loaded.registry.sinks().flat_map(|sink| sink.secrets.values());
                self.seen.extend(secrets.map(|secret| mark(PathBuf::from(&secret.file))));
                // A directory that was missing may come; one that is there changes with each file in it, and is not looked at.
                let dirs =
                    loaded.not_loaded().flat_map(|sink| sink.grants.dirs()).map(|dir| mark(PathBuf::from(dir.host())));
                self.seen.extend(dirs.filter(|(_, mark)| mark.is_none()));
                let change = Change::Applied { generation: loaded.registry.generation(), problems: loaded.problems() };
                self.current.store(Arc::new(loaded));
                Some(change)
            }
            Err(error) => Some(self.refuse(&before, error.to_string(), now)),
        }
    }

    fn refuse(&self, before: &Loaded, why: String, now: Timestamp) -> Change {
        let mut kept = before.clone();
        let since = before.broken.as_ref().map_or(now, |broken| broken.since);
        kept.broken = Some(Broken { since, why: why.clone() });
        self.current.store(Arc::new(kept));
        Change::Refused { why }
    }
}

/// Watches until the future is dropped, and hands every change to `on_change`.
///
/// Sessions are not touched: whoever plans a chain next meets the new registry, a chain that has begun keeps
/// its plan.
pub async fn watch(
    mut watcher: Watcher,
    Prompts(mut asked): Prompts,
    now: fn() -> Timestamp,
    on_change: impl Fn(&Change),
) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut waiting = tokio::select! {
            _ = ticks.tick() => Vec::new(),
            Some(done) = asked.recv() => vec![done],
        };
        while let Ok(done) = asked.try_recv() {
            waiting.push(done);
        }
        let looked = tokio::task::spawn_blocking(move || {
            let change = watcher.look(now());
            (watcher, change)
        });
        // It fails where the runtime ends or loading panicked; either way there is nothing left to watch with.
        let Ok((next, change)) = looked.await else {
            tracing::error!("the registry is no longer watched; restart the server to apply changes");
            return;
        };
        watcher = next;
        if let Some(change) = change {
            on_change(&change);
        }
        // Whoever asked may be gone.
        for done in waiting {
            done.send(()).ok();
        }
    }
}

/// Writes a change to the log.
pub fn log_change(change: &Change) {
    match change {
        Change::Applied { generation, problems } => {
            tracing::info!(target: TARGET, generation, "registry in force");
            // As fields: they quote files, and a field is escaped.
            problems
                .iter()
                .for_each(|problem| tracing::error!(target: TARGET, generation, problem, "registry has a problem"));
        }
        Change::Refused { why } => {
            tracing::error!(target: TARGET, why, "the registry was not taken, the one before it stays in force");
        }
    }
}

#[cfg(test)]
mod tests;
