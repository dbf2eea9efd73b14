//! The local HTTP port: `/metrics` for Prometheus, `/health` for whoever restarts servers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use basin_core::queue::DestinationState;
use basin_sinks::Engine;
use prometheus::IntGaugeVec;
use rustix::fs::{Access, access, statvfs};
use serde::Serialize;
use tokio::sync::watch;

use crate::services::Services;
use crate::shutdown::Phase;
use crate::telemetry::metrics::raise_to;

mod serve;

const OK: &str = "ok";
const DEGRADED: &str = "degraded";

/// What the pages need.
pub struct Admin {
    /// The running server.
    pub services: Arc<Services>,
    /// Runs sinks.
    pub engine: Engine,
    /// The spool directory.
    pub spool: PathBuf,
    /// The spool refuses mail while less is free, in octets.
    pub free_bytes_min: u64,
}

/// The answer of `/health`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// "ok"; "degraded" where mail is taken and an operator should look at `problems`; or why none is taken.
    pub status: &'static str,
    /// Version of the server.
    pub version: &'static str,
    /// State of the spool.
    pub spool: SpoolHealth,
    /// State of the queue.
    pub queue: QueueHealth,
    /// State of the registry.
    pub registry: RegistryHealth,
    /// Notices that wait for their sinks.
    pub notices_waiting: usize,
}

/// State of the spool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SpoolHealth {
    /// Whether a message could be stored now.
    pub is_writable: bool,
    /// Octets free on its file system.
    pub free_bytes: u64,
    /// Messages in it.
    pub messages: u64,
    /// Messages that a worker has now.
    pub busy: usize,
    /// Operations that failed since the start.
    pub faults: u64,
    /// What failed last.
    pub last_fault: Option<String>,
}

/// State of the queue.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct QueueHealth {
    /// Whether it has room for another message; while it has none, MAIL is answered with 452.
    pub has_room: bool,
    /// Whether the thread that delivers into mailboxes runs.
    pub is_delivering: bool,
    /// Jobs for other servers, one for each message and destination.
    pub jobs: usize,
    /// Visits to other servers that are open.
    pub visits: usize,
}

/// State of the registry.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryHealth {
    /// Generation in force.
    pub generation: u64,
    /// What an operator should know, one line each.
    pub problems: Vec<String>,
}

/// Serves the pages until the server has stopped.
///
/// # Errors
/// The socket failed.
pub async fn serve(admin: Admin, socket: std::net::TcpListener, mut stop: watch::Receiver<Phase>) -> io::Result<()> {
    let router =
        Router::new().route("/metrics", get(metrics)).route("/health", get(health)).with_state(Arc::new(admin));
    // Up to the last phase: how the drain goes on is what somebody wants to see.
    let stopped = async move { drop(stop.wait_for(|phase| *phase >= Phase::Ending).await) };
    serve::serve(socket, router, stopped).await
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    admin.count();
    let page = admin.services.metrics.page();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

async fn health(State(admin): State<Arc<Admin>>) -> Response {
    let health = admin.health();
    // Whoever restarts servers looks at the code: a restart mends no registry.
    let takes_mail = matches!(health.status, OK | DEGRADED);
    let status = if takes_mail { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string_pretty(&health) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl Admin {
    /// Brings the counters up to date that others keep.
    fn count(&self) {
        let (metrics, spool) = (&self.services.metrics, self.services.spool.statistics());
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        raise_to(&metrics.spool_syncs, spool.syncs);
        raise_to(&metrics.spool_commits, spool.commits);
        raise_to(&metrics.spool_bytes, spool.bytes);
        raise_to(&metrics.tracking_lost, self.services.tracking.lost());
        raise_to(&metrics.audit_lost, self.services.audit.lost());
        self.count_queue();
        metrics.spool_messages.set(gauge(spool.live_messages));
        metrics.spool_segments.set(gauge(spool.segments));
        let loaded = self.services.ask.loaded();
        metrics.registry_generation.set(gauge(loaded.registry.generation()));
        metrics.sinks_not_loaded.set(gauge(loaded.failures().len() as u64));
        if let Some(pool) = self.engine.pool_use() {
            let places = [
                ("instances", pool.instances),
                ("memories", pool.memories),
                ("stacks", pool.stacks),
                ("tables", pool.tables),
            ];
            places.into_iter().for_each(|(kind, taken)| metrics.pool.with_label_values(&[kind]).set(gauge(taken)));
        }
    }

    fn count_queue(&self) {
        let (metrics, lengths) = (&self.services.metrics, self.services.queue.lengths());
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let set = |vec: &IntGaugeVec, word: &str, value: usize| vec.with_label_values(&[word]).set(gauge(value));
        let states = [
            ("ready", lengths.ready),
            ("busy", self.services.queue.busy()),
            ("waiting", lengths.waiting),
            ("unwritten", lengths.unwritten),
        ];
        states.into_iter().for_each(|(word, value)| set(&metrics.queue_messages, word, value));
        let remote = lengths.remote;
        let waiting = remote.jobs.saturating_sub(remote.due + remote.leased);
        let states = [("due", remote.due), ("leased", remote.leased), ("waiting", waiting)];
        states.into_iter().for_each(|(word, value)| set(&metrics.queue_jobs, word, value));
        metrics.outbound_visits.set(gauge(remote.visits));
        let destinations = self.services.queue.destinations();
        let count = |is: fn(&DestinationState) -> bool| destinations.iter().filter(|one| is(&one.state)).count();
        set(&metrics.destinations, "up", count(|state| matches!(state, DestinationState::Up)));
        set(&metrics.destinations, "down", count(|state| matches!(state, DestinationState::Down { .. })));
        set(&metrics.destinations, "held", count(|state| matches!(state, DestinationState::Held)));
    }

    fn health(&self) -> Health {
        let spool = self.services.spool.statistics();
        let free_bytes = statvfs(&self.spool).map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize));
        let is_writable = access(&self.spool, Access::WRITE_OK).is_ok() && free_bytes >= self.free_bytes_min;
        let loaded = self.services.ask.loaded();
        let problems = loaded.problems();
        let remote = self.services.queue.lengths().remote;
        let queue = QueueHealth {
            has_room: !self.services.queue.is_full(),
            is_delivering: self.services.queue.is_delivering(),
            jobs: remote.jobs,
            visits: remote.visits,
        };
        let is_right = problems.is_empty() && queue.has_room && queue.is_delivering;
        let status = status(self.services.stopper.phase(), is_writable, is_right);
        Health {
            status,
            version: env!("CARGO_PKG_VERSION"),
            spool: SpoolHealth {
                is_writable,
                free_bytes,
                messages: spool.live_messages,
                busy: self.services.queue.busy(),
                faults: spool.faults,
                last_fault: spool.last_fault,
            },
            queue,
            registry: RegistryHealth { generation: loaded.registry.generation(), problems },
            notices_waiting: self.services.ask.notices_waiting(),
        }
    }
}

fn status(phase: Phase, is_writable: bool, is_rest_right: bool) -> &'static str {
    match (phase, is_writable, is_rest_right) {
        (Phase::Draining | Phase::Ending, _, _) => "stopping",
        (Phase::Running, false, _) => "the spool cannot be written",
        (Phase::Running, true, false) => DEGRADED,
        (Phase::Running, true, true) => OK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_with_a_broken_registry_is_degraded_and_takes_mail() {
        assert_eq!(status(Phase::Running, true, true), "ok");
        assert_eq!(status(Phase::Running, true, false), "degraded");
        assert_eq!(status(Phase::Running, false, false), "the spool cannot be written");
        assert_eq!(status(Phase::Draining, true, true), "stopping");
    }
}
