//! Delivers many messages for the price of few syncs.
//!
//! One thread takes what waits, writes all of it, syncs the files, then syncs each directory once and
//! reports. While it works the next batch gathers, so nothing lingers for company.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use basin_core::addr::Address;
use basin_core::mail::Message;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::maildir::{DeliveryFault, Maildirs, Written, sync_directory};

/// Most messages of a batch: bounds the open files and how long the first one waits for the last.
const BATCH_MAX: usize = 64;

/// A message to put into a mailbox.
pub struct Parcel {
    /// Name of the mailbox.
    pub mailbox: String,
    /// The address that led to it.
    pub address: Address,
    /// The message.
    pub message: Message,
    /// Whether this delivery may have been tried before.
    pub is_repetition: bool,
}

type Waiting = (Parcel, oneshot::Sender<Result<(), DeliveryFault>>);

/// Hands parcels to the thread that delivers.
#[derive(Clone)]
pub struct Courier {
    queue: Sender<Waiting>,
}

impl Courier {
    /// Starts the thread. It ends when the last courier is dropped and everything taken is delivered.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(maildirs: Maildirs) -> io::Result<(Self, JoinHandle<()>)> {
        // The next batch gathers in it; a message for a thousand mailboxes waits outside for its turn.
        let (queue, waiting) = channel(BATCH_MAX);
        let thread = std::thread::Builder::new()
            .name("basin-maildir".to_owned())
            .spawn(move || deliver_all(&maildirs, waiting))?;
        Ok((Self { queue }, thread))
    }

    /// Whether the thread runs. It ends early only by a mistake in this program.
    pub fn is_running(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Delivers one parcel; returns when it is durable.
    ///
    /// # Errors
    /// It is not in its mailbox, or nobody knows whether it is; trying again makes no second copy.
    pub async fn deliver(&self, parcel: Parcel) -> Result<(), DeliveryFault> {
        let (done, result) = oneshot::channel();
        if self.queue.send((parcel, done)).await.is_err() {
            return Err(DeliveryFault::Interrupted);
        }
        result.await.unwrap_or(Err(DeliveryFault::Interrupted))
    }
}

fn deliver_all(maildirs: &Maildirs, mut waiting: Receiver<Waiting>) {
    while let Some(first) = waiting.blocking_recv() {
        let more = std::iter::from_fn(|| waiting.try_recv().ok());
        let (parcels, reports): (Vec<Parcel>, Vec<_>) = std::iter::once(first).chain(more).take(BATCH_MAX).unzip();
        for (report, result) in reports.into_iter().zip(deliver_batch(maildirs, &parcels)) {
            // Whoever asked may be gone at shutdown; the message is tried again after the next start.
            drop(report.send(result));
        }
    }
}

enum Step {
    Done(Result<(), DeliveryFault>),
    Written(Written),
    Placed(PathBuf),
}

fn deliver_batch(maildirs: &Maildirs, parcels: &[Parcel]) -> Vec<Result<(), DeliveryFault>> {
    let write = |parcel: &Parcel| {
        match maildirs.has(&parcel.mailbox, &parcel.message, parcel.is_repetition) {
            Ok(None) => {}
            // Perhaps what failed last time was the sync of the directory, so it is synced again.
            Ok(Some(place)) => return Step::Placed(place),
            Err(fault) => return Step::Done(Err(fault)),
        }
        let written = maildirs.write(&parcel.mailbox, &parcel.message, &parcel.address);
        written.map_or_else(|fault| Step::Done(Err(fault)), Step::Written)
    };
    let place = |step: Step| match step {
        Step::Written(written) => match written.place() {
            Ok(()) => Step::Placed(written.place),
            Err(fault) => Step::Done(Err(fault)),
        },
        Step::Done(_) | Step::Placed(_) => step,
    };
    // Two passes: all files are written before the first is synced.
    let written: Vec<Step> = parcels.iter().map(write).collect();
    let placed: Vec<Step> = written.into_iter().map(place).collect();
    let directory = |step: &Step| match step {
        Step::Placed(path) => path.parent().map(Path::to_owned),
        Step::Done(_) | Step::Written(_) => None,
    };
    let directories: BTreeSet<PathBuf> = placed.iter().filter_map(directory).collect();
    let mut failed: BTreeMap<PathBuf, io::Error> = BTreeMap::new();
    for path in directories {
        if let Err(fault) = sync_directory(&path) {
            failed.insert(path, io::Error::other(fault.to_string()));
        }
    }
    let result = |step: Step| match step {
        Step::Done(result) => result,
        Step::Written(_) => Err(DeliveryFault::Interrupted),
        Step::Placed(path) => match path.parent().and_then(|parent| failed.get(parent)) {
            None => Ok(()),
            Some(error) => {
                Err(DeliveryFault::Disk { doing: "sync", path, source: io::Error::other(error.to_string()) })
            }
        },
    };
    placed.into_iter().map(result).collect()
}
