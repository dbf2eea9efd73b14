//! The server that a sink meets in `basin sink test`: it keeps the log and a table, and forgets the metrics' sums.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use basin_core::time::Timestamp;
use basin_sinks::{LogLevel, LogLine, ServiceError, SinkHost, Waiting};

use super::table::OfflineTable;

/// Lines kept; the quota of a call is far below, so this bounds only a host that forgets it.
const LINES_MAX: usize = 10_000;

/// A server that is none.
#[derive(Debug)]
pub(super) struct OfflineHost {
    local_domains: Vec<String>,
    log: Mutex<Vec<(&'static str, String)>>,
    is_full: AtomicBool,
    table: OfflineTable,
}

impl OfflineHost {
    pub(super) fn new(local_domains: Vec<String>) -> Self {
        Self { local_domains, log: Mutex::default(), is_full: AtomicBool::new(false), table: OfflineTable::default() }
    }

    /// Takes no further lines: repetitions would say the same again.
    pub(super) fn keep_log(&self) {
        self.is_full.store(true, Ordering::Relaxed);
    }

    pub(super) fn take_log(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, kind: &'static str, text: String) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_full.load(Ordering::Relaxed) && log.len() < LINES_MAX {
            log.push((kind, text));
        }
    }
}

impl SinkHost for OfflineHost {
    fn host_name(&self) -> String {
        "basin.example".to_owned()
    }

    fn is_local_domain(&self, domain: &str) -> bool {
        self.local_domains.iter().any(|local| local.eq_ignore_ascii_case(domain))
    }

    fn is_local_address(&self, address: &str) -> bool {
        address.rsplit_once('@').is_some_and(|(_, domain)| self.is_local_domain(domain))
    }

    fn is_log_enabled(&self, _sink: &str, _level: LogLevel) -> bool {
        true
    }

    fn log(&self, line: &LogLine<'_>) {
        let level = match line.level {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        };
        self.push(level, line.text.to_owned());
    }

    fn metric_add(&self, _sink: &str, name: &str, by: u64) {
        self.push("metric", format!("{name} +{by}"));
    }

    fn metric_observe(&self, _sink: &str, name: &str, value: f64) {
        self.push("metric", format!("{name} {value}"));
    }

    fn table_value(&self, _sink: &str, key: &str, _now: Timestamp) -> Result<Option<Arc<[u8]>>, ServiceError> {
        Ok(self.table.value(key))
    }

    fn table_keys(
        &self,
        _sink: &str,
        prefix: &str,
        after: Option<&str>,
        at_most: usize,
        _now: Timestamp,
    ) -> Result<Vec<String>, ServiceError> {
        Ok(self.table.keys(prefix, after, at_most))
    }

    fn table_bytes(&self, _sink: &str) -> Result<u64, ServiceError> {
        Ok(self.table.bytes())
    }

    fn table_increment(&self, _sink: &str, key: &str, by: i64, _life: u32, _now: Timestamp) -> Waiting<'_, i64> {
        let sum = self.table.increment(key, by);
        Box::pin(async move { sum })
    }
}
