//! The local HTTP port: `/metrics` for Prometheus, `/health` for whoever restarts servers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use basin_sinks::Engine;
use rustix::fs::{Access, access, statvfs};
use serde::Serialize;
use tokio::sync::watch;

use crate::services::Services;
use crate::shutdown::Phase;
use crate::telemetry::metrics::raise_to;

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
    let socket = tokio::net::TcpListener::from_std(socket)?;
    // Up to the last phase: how the drain goes on is what somebody wants to see.
    let stopped = async move { drop(stop.wait_for(|phase| *phase >= Phase::Ending).await) };
    axum::serve(socket, router).with_graceful_shutdown(stopped).await
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

    fn health(&self) -> Health {
        let spool = self.services.spool.statistics();
        let free_bytes = statvfs(&self.spool).map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize));
        let is_writable = access(&self.spool, Access::WRITE_OK).is_ok() && free_bytes >= self.free_bytes_min;
        let loaded = self.services.ask.loaded();
        let problems = loaded.problems();
        let status = status(self.services.stopper.phase(), is_writable, problems.is_empty());
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
            registry: RegistryHealth { generation: loaded.registry.generation(), problems },
            notices_waiting: self.services.ask.notices_waiting(),
        }
    }
}

fn status(phase: Phase, is_writable: bool, is_registry_right: bool) -> &'static str {
    match (phase, is_writable, is_registry_right) {
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
