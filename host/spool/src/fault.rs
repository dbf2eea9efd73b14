//! A file system in memory that fails and loses power where a test wants it to.
//!
//! It keeps two states: what programs see, and what a power cut leaves. `sync_data` carries the content of a
//! file over, `sync_dir` the names of a directory; nothing else does. A failed `sync_data` behaves as on
//! Linux: the pages count as clean afterwards, so a second sync succeeds and keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::storage::{Entry, Lock, Storage, StorageFile};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device failed (EIO).
    Io,
    /// No room is left (ENOSPC).
    Full,
    /// A write stops half way, then ENOSPC; any other operation fails with EIO.
    Short,
    /// The machine stops: this operation and all after it fail, until [`FaultyStorage::restart`].
    PowerCut,
}

/// When to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    at: u64,
    fault: Fault,
    is_lasting: bool,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    // A sync failed: what was not durable then never will be.
    is_poisoned: bool,
    // Places that cannot be read.
    bad: Vec<std::ops::Range<usize>>,
}

#[derive(Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    seen: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    capacity: Option<u64>,
    operations: u64,
    log: Vec<String>,
    plan: Option<Plan>,
    locked: BTreeSet<PathBuf>,
    // Files opened before a power cut belong to a process that is gone.
    generation: u64,
    random: u64,
}

/// The file system; clones are the same one.
#[derive(Clone, Default)]
pub struct FaultyStorage {
    state: Arc<Mutex<State>>,
}

struct FaultyFile {
    state: Arc<Mutex<State>>,
    inode: u64,
    generation: u64,
    name: String,
}

struct FaultyLock {
    state: Arc<Mutex<State>>,
    generation: u64,
    path: PathBuf,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

fn enospc() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error())
}

impl FaultyStorage {
    /// An empty file system without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets one operation fail: the `n`-th from now on, counted from 0.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        let mut state = lock(&self.state);
        state.plan = Some(Plan { at: state.operations + n, fault, is_lasting: fault == Fault::PowerCut });
    }

    /// Lets every operation fail from the `n`-th from now on, until [`FaultyStorage::heal`].
    pub fn fail_from(&self, n: u64, fault: Fault) {
        let mut state = lock(&self.state);
        state.plan = Some(Plan { at: state.operations + n, fault, is_lasting: true });
    }

    /// Lets nothing fail any more.
    pub fn heal(&self) {
        lock(&self.state).plan = None;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        lock(&self.state).operations
    }

    /// What was done, in order: `sync_data segments/0000000001.seg`.
    pub fn log(&self) -> Vec<String> {
        lock(&self.state).log.clone()
    }

    /// Limits the octets of all files together; `None` is no limit.
    pub fn set_capacity(&self, octets: Option<u64>) {
        lock(&self.state).capacity = octets;
    }

    /// Cuts the power and starts the machine again: only what was synced is left, and of the rest what the
    /// `seed` decides. Files that are open belong to the past and fail.
    ///
    /// A name that was made or removed without a directory sync survives or not; of octets appended without a
    /// data sync a part survives, perhaps with zeros in place of the last ones.
    pub fn restart(&self, seed: u64) {
        let mut state = lock(&self.state);
        let mut dice = seed;
        let mut roll = |sides: u64| {
            // SplitMix64: every seed is as good as any other.
            dice = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = (dice ^ (dice >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ (mixed >> 31)) % sides.max(1)
        };
        let mut names = state.durable.clone();
        let seen = std::mem::take(&mut state.seen);
        for (path, inode) in &seen {
            if state.durable.get(path) != Some(inode) && roll(2) == 0 {
                names.insert(path.clone(), *inode);
            }
        }
        for path in state.durable.keys() {
            if !seen.contains_key(path) && roll(2) == 0 {
                names.remove(path);
            }
        }
        for inode in state.inodes.values_mut() {
            let kept = inode.durable.len().min(inode.seen.len());
            let appended = inode.seen.get(kept..).unwrap_or_default().len() as u64;
            if inode.seen.starts_with(&inode.durable) && appended > 0 {
                let survive = usize::try_from(roll(appended + 1)).unwrap_or(0);
                let zeros = usize::try_from(roll(survive as u64 + 1)).unwrap_or(0) * usize::from(roll(2) == 0);
                let mut octets = inode.seen.get(..kept + survive).unwrap_or_default().to_vec();
                octets.iter_mut().rev().take(zeros).for_each(|octet| *octet = 0);
                inode.durable = octets;
            }
            inode.seen.clone_from(&inode.durable);
            inode.is_poisoned = false;
        }
        state.seen.clone_from(&names);
        state.durable = names;
        state.plan = None;
        state.locked.clear();
        state.generation += 1;
    }

    /// The octets of a file as programs see them.
    pub fn octets(&self, path: &Path) -> Option<Vec<u8>> {
        let state = lock(&self.state);
        let inode = state.seen.get(path)?;
        Some(state.inodes.get(inode)?.seen.clone())
    }

    /// Puts a durable file there, whatever was there before.
    pub fn put(&self, path: &Path, octets: &[u8]) {
        let mut state = lock(&self.state);
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(
            inode,
            Inode { seen: octets.to_vec(), durable: octets.to_vec(), is_poisoned: false, bad: Vec::new() },
        );
        state.seen.insert(path.to_owned(), inode);
        state.durable.insert(path.to_owned(), inode);
    }

    /// Changes octets of a file below those who have it open, as a failing medium does.
    pub fn overwrite(&self, path: &Path, offset: usize, octets: &[u8]) {
        let mut state = lock(&self.state);
        let Some(inode) = state.seen.get(path).copied().and_then(|inode| state.inodes.get_mut(&inode)) else { return };
        for content in [&mut inode.seen, &mut inode.durable] {
            if let Some(place) = content.get_mut(offset..offset + octets.len()) {
                place.copy_from_slice(octets);
            }
        }
    }

    /// Makes octets of a file unreadable for good, as a bad sector is.
    pub fn spoil(&self, path: &Path, octets: std::ops::Range<usize>) {
        let mut state = lock(&self.state);
        let inode = state.seen.get(path).copied().and_then(|inode| state.inodes.get_mut(&inode));
        inode.into_iter().for_each(|inode| inode.bad.push(octets.clone()));
    }

    /// Makes all octets of a file readable again.
    pub fn mend(&self, path: &Path) {
        let mut state = lock(&self.state);
        let inode = state.seen.get(path).copied().and_then(|inode| state.inodes.get_mut(&inode));
        inode.into_iter().for_each(|inode| inode.bad.clear());
    }

    /// Paths of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        lock(&self.state).seen.keys().cloned().collect()
    }

    fn begin(&self, what: &str, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        let mut state = lock(&self.state);
        match state.count(what, &path.display().to_string()) {
            None => Ok(state),
            Some(fault) => Err(fault.error()),
        }
    }

    fn file(&self, state: &State, inode: u64, path: &Path) -> Arc<dyn StorageFile> {
        let name = path.display().to_string();
        Arc::new(FaultyFile { state: Arc::clone(&self.state), inode, generation: state.generation, name })
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Full => enospc(),
            Self::Io | Self::Short | Self::PowerCut => eio(),
        }
    }
}

impl State {
    fn count(&mut self, what: &str, name: &str) -> Option<Fault> {
        let number = self.operations;
        self.operations += 1;
        self.log.push(format!("{what} {name}"));
        let plan = self.plan?;
        (number == plan.at || plan.is_lasting && number > plan.at).then_some(plan.fault)
    }

    fn used(&self) -> u64 {
        self.seen.values().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.seen.len() as u64).sum()
    }
}

impl Lock for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.generation == self.generation {
            state.locked.remove(&self.path);
        }
    }
}

impl Storage for FaultyStorage {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.begin("create_dir", path).map(drop)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = self.begin("lock", path)?;
        if !state.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FaultyLock { state: Arc::clone(&self.state), generation: state.generation, path: path.to_owned() }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.begin("create", path)?;
        if state.seen.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.seen.insert(path.to_owned(), inode);
        Ok(self.file(&state, inode, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let state = self.begin("open", path)?;
        let inode = *state.seen.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(&state, inode, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin("rename", from)?;
        let inode = state.seen.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.seen.insert(to.to_owned(), inode);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin("link", to)?;
        let inode = *state.seen.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.seen.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin("remove", path)?;
        state.seen.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.begin("list", path)?;
        let files = state.seen.iter().filter(|(file, _)| file.parent() == Some(path));
        let entry = |(file, inode): (&PathBuf, &u64)| Entry {
            name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            len: state.inodes.get(inode).map_or(0, |inode| inode.seen.len() as u64),
        };
        Ok(files.map(entry).collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin("sync_dir", path)?;
        let is_elsewhere = |file: &PathBuf| file.parent() != Some(path);
        let State { durable, seen, .. } = &mut *state;
        durable.retain(|file, _| is_elsewhere(file));
        durable.extend(seen.iter().filter(|(file, _)| !is_elsewhere(file)).map(|(file, inode)| (file.clone(), *inode)));
        Ok(())
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let state = self.begin("free_bytes", path)?;
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }

    fn random(&self) -> u64 {
        let mut state = lock(&self.state);
        state.random += 1;
        state.random.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

impl FaultyFile {
    fn begin(&self, what: &str) -> (MutexGuard<'_, State>, Option<Fault>) {
        let mut state = lock(&self.state);
        if state.generation != self.generation {
            return (state, Some(Fault::PowerCut));
        }
        let fault = state.count(what, &self.name);
        (state, fault)
    }

    // Runs `body` on the file unless the operation is to fail.
    fn on_inode<T>(&self, what: &str, body: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        let (mut state, fault) = self.begin(what);
        match fault {
            Some(fault) => Err(fault.error()),
            None => state.inodes.get_mut(&self.inode).map(body).ok_or_else(eio),
        }
    }
}

impl StorageFile for FaultyFile {
    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let (mut state, fault) = self.begin("write_at");
        let mut octets = Vec::new();
        parts.iter().for_each(|part| octets.extend_from_slice(part));
        let room = state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used()));
        let start = usize::try_from(offset).map_err(|_| eio())?;
        let inode = state.inodes.get_mut(&self.inode).ok_or_else(eio)?;
        let growth = (start + octets.len()).saturating_sub(inode.seen.len()) as u64;
        let result = match fault {
            Some(Fault::Short) => {
                octets.truncate(octets.len() / 2);
                Err(enospc())
            }
            Some(fault) => {
                octets.clear();
                Err(fault.error())
            }
            None if growth > room => {
                octets.truncate(usize::try_from(room).unwrap_or(0).min(octets.len()));
                Err(enospc())
            }
            None => Ok(()),
        };
        let end = start + octets.len();
        if inode.seen.len() < end {
            inode.seen.resize(end, 0);
        }
        if let Some(place) = inode.seen.get_mut(start..end) {
            place.copy_from_slice(&octets);
        }
        result
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.on_inode("read_at", |inode| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let wanted = start..start.saturating_add(buffer.len()).min(inode.seen.len());
            if inode.bad.iter().any(|bad| bad.start < wanted.end && wanted.start < bad.end) {
                return Err(eio());
            }
            let rest = usize::try_from(offset).ok().and_then(|start| inode.seen.get(start..)).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
                to.copy_from_slice(from);
            }
            Ok(count)
        });
        read.flatten()
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut state, fault) = self.begin("sync_data");
        let inode = state.inodes.get_mut(&self.inode).ok_or_else(eio)?;
        match fault {
            None => {
                if !inode.is_poisoned {
                    inode.durable.clone_from(&inode.seen);
                }
                Ok(())
            }
            Some(fault) => {
                inode.is_poisoned = true;
                Err(fault.error())
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| eio())?;
        self.on_inode("set_len", |inode| inode.seen.resize(len, 0))
    }

    fn len(&self) -> io::Result<u64> {
        self.on_inode("len", |inode| inode.seen.len() as u64)
    }
}
