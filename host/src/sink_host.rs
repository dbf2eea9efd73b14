//! The server as its sinks see it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use basin_core::addr::Address;
use basin_core::transport::Directory;
use basin_sinks::{LogLevel, LogLine, SinkHost};

use crate::telemetry::Metrics;
use crate::telemetry::sinks::{SinkMetricNames, is_log_enabled, log_line};

/// Answers to sinks out of memory.
pub struct ServerView {
    /// Name of this server.
    pub host_name: String,
    /// Largest message that any listener takes.
    pub message_bytes_max: u64,
    /// Who lives here.
    pub directory: Arc<ArcSwap<Directory>>,
    /// Where sinks' own metrics go.
    pub metrics: Arc<Metrics>,
    /// Names of sinks' own metrics.
    pub names: SinkMetricNames,
}

impl SinkHost for ServerView {
    fn host_name(&self) -> String {
        self.host_name.clone()
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn is_local_domain(&self, domain: &str) -> bool {
        self.directory.load().is_local_domain(domain)
    }

    fn is_local_address(&self, address: &str) -> bool {
        Address::parse(address).is_ok_and(|address| self.directory.load().is_local_address(&address))
    }

    fn message_bytes_max(&self) -> u64 {
        self.message_bytes_max
    }

    fn is_log_enabled(&self, _sink: &str, level: LogLevel) -> bool {
        is_log_enabled(level)
    }

    fn log(&self, line: &LogLine<'_>) {
        log_line(line);
    }

    fn metric_add(&self, sink: &str, name: &str, by: u64) {
        if self.names.allows(sink, name) {
            self.metrics.sink_counters.with_label_values(&[sink, name]).inc_by(by);
        }
    }

    fn metric_observe(&self, sink: &str, name: &str, value: f64) {
        if self.names.allows(sink, name) {
            self.metrics.sink_values.with_label_values(&[sink, name]).observe(value);
        }
    }
}
