//! The queue of a spool on which no server runs.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use basin_core::mail::{Message, MessageId};
use basin_core::time::Timestamp;
use basin_core::transport::{Destination, RouteTable, State, TransportPolicy};
use basin_spool::{Options, RealStorage, Spool, SpoolFault};
use tokio::sync::oneshot;

use crate::audit::Audit;
use crate::config::Config;
use crate::control::queue::destinations::DestinationRow;
use crate::control::{QueueState, Soon};
use crate::privileges::Identity;
use crate::telemetry::records::OperatorActed;
use crate::tracking::{Operation, Tracking};
use crate::transport::{Action, Applied, Done, Holds, LiveIndex, Meant, removed};

/// A spool that this process opened, with the index of what is in it.
pub(super) struct Offline {
    spool: Spool,
    index: LiveIndex,
    policy: Arc<TransportPolicy>,
    audit: Audit,
    tracking: Tracking,
    holds: Mutex<Holds>,
}

impl Offline {
    /// Opens the spool of a configuration.
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let spool = open(&config.spool)?;
        let index = LiveIndex::unfilled();
        index.fill(&spool);
        let policy = Arc::new(crate::app::transport_policy(config));
        // Steps that cannot be taken down are no reason to leave an operator without the queue.
        let tracking = config.tracking.clone().map(Tracking::start).transpose();
        let tracking = tracking.unwrap_or_else(|error| {
            eprintln!("basin: this will not be in the tracking log: {error}");
            None
        });
        let audit = Audit::start(config.audit.clone()).unwrap_or_else(|error| {
            eprintln!("basin: this will not be in the audit log: {error}");
            Audit::off()
        });
        audit.listen();
        let holds = Mutex::new(Holds::open(&config.spool).context("cannot read which destinations are held")?);
        Ok(Self { spool, index, policy, tracking: tracking.unwrap_or_default(), audit, holds })
    }

    async fn applied(&self, id: &MessageId, action: &Action, meant: &Meant, by: &str) -> Done {
        let loaded = match self.spool.load(id) {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return Done::Gone,
            Err(_) if action.removes().is_some() => return self.done(self.remove(id).await, id, action, by),
            Err(fault) => return Done::Failed(fault.to_string()),
        };
        match action.apply(self.policy.clone(), loaded, meant, self.now()) {
            Applied::Save(message, state) => self.done(self.save(*message, *state).await, id, action, by),
            Applied::Remove(_, end) => {
                let done = self.done(self.remove(id).await, id, action, by);
                if done == Done::Changed {
                    self.tracking.note(id, &removed(end));
                }
                done
            }
            Applied::NotYet => Done::Failed("its sender is told of a failure first, when the server runs".to_owned()),
            Applied::Unchanged => Done::Unchanged,
            Applied::Unselected => Done::Gone,
        }
    }

    fn done(&self, result: Result<(), SpoolFault>, id: &MessageId, action: &Action, by: &str) -> Done {
        match result {
            Ok(()) => {
                action.told(id, by, &self.tracking);
                Done::Changed
            }
            Err(fault) => Done::Failed(fault.to_string()),
        }
    }

    async fn save(&self, message: Message, state: State) -> Result<(), SpoolFault> {
        let (done, result) = oneshot::channel();
        self.spool.save(message.clone(), state.clone(), move |saved| drop(done.send(saved)));
        result.await.unwrap_or(Err(SpoolFault::Closed))?;
        self.index.put(&message, &state);
        Ok(())
    }

    async fn remove(&self, id: &MessageId) -> Result<(), SpoolFault> {
        let (done, result) = oneshot::channel();
        self.spool.remove(id.clone(), move |removed| drop(done.send(removed)));
        result.await.unwrap_or(Err(SpoolFault::Closed))?;
        self.index.remove(id);
        Ok(())
    }
}

impl QueueState for Offline {
    fn now(&self) -> Timestamp {
        crate::clock::now()
    }

    fn spool(&self) -> &Spool {
        &self.spool
    }

    fn index(&self) -> &LiveIndex {
        &self.index
    }

    fn routes(&self) -> Arc<RouteTable> {
        self.policy.routes.clone()
    }

    fn act<'a>(&'a self, id: MessageId, action: &'a Action, meant: &'a Meant, by: &'a str) -> Soon<'a, Done> {
        Box::pin(async move { self.applied(&id, action, meant, by).await })
    }

    fn destinations(&self) -> Vec<DestinationRow> {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.destinations().map(|destination| DestinationRow::held(&destination)).collect()
    }

    fn hold_destination(&self, destination: &Destination, is_held: bool) -> io::Result<bool> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).set(destination, is_held)
    }

    fn import<'a>(&'a self, message: Message, state: State, by: &'a str) -> Soon<'a, Result<bool, SpoolFault>> {
        Box::pin(async move {
            if self.spool.contains(&message.id) {
                return Ok(false);
            }
            let (done, result) = oneshot::channel();
            let committed = move |result: Result<_, _>| drop(done.send(result.map(drop)));
            self.spool.commit(message.clone(), state.clone(), committed);
            result.await.unwrap_or(Err(SpoolFault::Closed))?;
            self.index.put(&message, &state);
            self.tracking.received(&message, None);
            let imported = OperatorActed { message: &message.id, did: Operation::Imported, by, detail: None };
            imported.record(&self.tracking);
            Ok(true)
        })
    }
}

impl Drop for Offline {
    // A removal is durable with the next sync, and nobody syncs after this process.
    fn drop(&mut self) {
        self.spool.close();
        self.tracking.close();
        self.audit.close();
    }
}

fn open(directory: &Path) -> anyhow::Result<Spool> {
    if !directory.is_dir() {
        bail!("there is no spool at {}; `basin serve` makes it at its first start", directory.display());
    }
    // Opening writes. What root wrote here, the server could not open any more.
    let owner = Identity::owner_of(directory)?;
    if owner.is_below_us() {
        owner.assume().with_context(|| format!("cannot become the owner of {}", directory.display()))?;
    }
    let opened = Spool::open(directory, Options::default(), Arc::new(RealStorage));
    opened.map(|(spool, _)| spool).with_context(|| format!("cannot open the spool {}", directory.display()))
}
