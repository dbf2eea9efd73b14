//! Actions on many messages, a slice at a time.
//!
//! Each request does one bounded slice and says where the next begins; the command line asks again until there
//! is none. A server that is busy delivering is never asked for more than a handful of messages at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use basin_core::mail::MessageId;
use basin_core::queue::index::{Filter, FilterError, Query};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ask::select;
use super::destinations::ClosedRows;
use crate::control::QueueState;
use crate::transport::{Action, Done, Meant};

/// Messages of one slice: some tenths of a second on a usual disk.
const SLICE_MESSAGES: usize = 500;

/// Messages that are changed at once. They share the syncs of the spool, and leave the most of it to delivery.
const LANES: usize = 16;

/// How often a message that is being worked on is asked for again.
const BUSY_LOOK: Duration = Duration::from_millis(50);

/// Longest wait for messages that are being worked on, for one slice.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(20);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActRequest {
    /// The action.
    #[serde(flatten)]
    pub action: Action,
    /// Which messages; empty is all.
    pub filter: String,
    /// The slice begins behind this message.
    #[serde(default)]
    pub after: Option<MessageId>,
    /// Count them and change nothing.
    #[serde(default)]
    pub is_dry_run: bool,
    /// How long to wait for messages that are being worked on, in milliseconds.
    #[serde(default)]
    pub busy_wait_ms: u64,
}

/// What came of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ActReport {
    /// Messages that the filter selected.
    pub matched: u64,
    /// Domains that the filter has as destinations, and the servers of routes that they stand for.
    #[serde(default)]
    pub meant: Vec<(String, String)>,
    /// Messages that are different now; in a dry run, none.
    pub changed: Vec<MessageId>,
    /// Messages that the action did not concern.
    pub unchanged: u64,
    /// Messages that were selected and went on before their turn.
    pub gone: u64,
    /// Messages that were being worked on all the time.
    pub busy: Vec<MessageId>,
    /// Messages that could not be changed, and why.
    pub failed: Vec<Failure>,
    /// The next slice begins behind this message; `None` at the end.
    pub next: Option<MessageId>,
}

/// A message that could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The message.
    pub id: MessageId,
    /// Why.
    pub why: String,
}

/// Does one slice for somebody, whose name goes into the log.
///
/// # Errors
/// The filter is none.
pub async fn act(state: Arc<dyn QueueState>, request: ActRequest, by: &str) -> Result<ActReport, FilterError> {
    let filter = Filter::parse(&request.filter)?;
    let routes = state.routes();
    let meant = filter.meant(&routes).into_iter().map(|(name, destination)| (name, destination.to_string())).collect();
    // Those of the beginning: what the first of the slice changes at its destination does not take the others out.
    let closed = ClosedRows::of(state.as_ref()).names();
    let mut query = Query::new(filter.clone(), routes, state.now()).with_closed(closed.clone());
    let (scanned, after) = (state.clone(), request.after.clone());
    let selecting = move || select(scanned.as_ref(), &mut query, after, SLICE_MESSAGES);
    let (found, next) = tokio::task::spawn_blocking(selecting).await.unwrap_or_default();
    let ids: Vec<MessageId> = found.into_iter().map(|selected| selected.row.id).collect();
    let mut report = ActReport { matched: ids.len() as u64, meant, next, ..ActReport::default() };
    if request.is_dry_run {
        return Ok(report);
    }
    let job = Arc::new((request.action, Meant { filter, closed }, by.to_owned()));
    let patience = Duration::from_millis(request.busy_wait_ms).min(BUSY_WAIT_MAX);
    let until = Instant::now() + patience;
    let mut ids = ids;
    loop {
        report.busy = round(&state, &job, std::mem::take(&mut ids), &mut report).await;
        if report.busy.is_empty() || Instant::now() + BUSY_LOOK > until {
            return Ok(report);
        }
        tokio::time::sleep(BUSY_LOOK).await;
        ids = std::mem::take(&mut report.busy);
    }
}

// Those that were busy come back.
async fn round(
    state: &Arc<dyn QueueState>,
    job: &Arc<(Action, Meant, String)>,
    ids: Vec<MessageId>,
    report: &mut ActReport,
) -> Vec<MessageId> {
    let todo = Arc::new(Mutex::new(ids.into_iter()));
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let (state, job, todo) = (state.clone(), job.clone(), todo.clone());
        lanes.spawn(async move {
            let mut done = Vec::new();
            let take = || todo.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some(id) = take() {
                let came = state.act(id.clone(), &job.0, &job.1, &job.2).await;
                done.push((id, came));
            }
            done
        });
    }
    let mut busy = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        for (id, done) in lane.unwrap_or_default() {
            match done {
                Done::Changed => report.changed.push(id),
                Done::Unchanged => report.unchanged += 1,
                Done::Gone => report.gone += 1,
                Done::Busy => busy.push(id),
                Done::Failed(why) => report.failed.push(Failure { id, why }),
            }
        }
    }
    busy
}
