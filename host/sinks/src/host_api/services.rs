//! `log`, `config`, `metrics`, `server`: always there.

use std::collections::BTreeSet;

use crate::bindings::basin::sink::{config, log, metrics, server};
use crate::state::State;
use crate::{LogLevel, LogLine, convert, text};

/// Longest line of log, in octets.
const LOG_LINE_BYTES_MAX: usize = 2_048;

/// Most lines of log of one call. Each has its time, names and ids around it, so that octets alone would let
/// empty lines fill a disk.
const LOG_LINES_MAX: usize = 256;

/// Most values that one call adds to metrics; more are dropped, never a failure.
const METRIC_CALLS_MAX: usize = 256;

/// Longest name of a metric.
const METRIC_NAME_BYTES_MAX: usize = 64;

impl log::Host for State {
    fn is_enabled(&mut self, level: log::Level) -> wasmtime::Result<bool> {
        Ok(self.host.is_log_enabled(&self.sink.name, convert::level(level)))
    }

    fn write(&mut self, level: log::Level, text: String) -> wasmtime::Result<()> {
        self.taken(&text);
        self.log_within_quota(convert::level(level), &text::line(&text, LOG_LINE_BYTES_MAX));
        Ok(())
    }
}

impl config::Host for State {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.taken(&key);
        let secret =
            self.sink.secrets.get(&key).map(|secret| String::from_utf8_lossy(secret.value.reveal()).into_owned());
        self.give(secret.or_else(|| self.sink.config.get(&key).cloned()))
    }

    fn keys(&mut self) -> wasmtime::Result<Vec<String>> {
        let keys: BTreeSet<&String> = self.sink.config.keys().chain(self.sink.secrets.keys()).collect();
        self.give(keys.into_iter().cloned().collect::<Vec<_>>())
    }
}

impl metrics::Host for State {
    fn add(&mut self, name: String, by: u64) -> wasmtime::Result<()> {
        self.taken(&name);
        if self.may_count(&name) {
            self.host.metric_add(&self.sink.name, &name, by);
        }
        Ok(())
    }

    fn observe(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.taken(&name);
        if self.may_count(&name) && value.is_finite() {
            self.host.metric_observe(&self.sink.name, &name, value);
        }
        Ok(())
    }
}

impl server::Host for State {
    fn host_name(&mut self) -> wasmtime::Result<String> {
        self.give(self.host.host_name())
    }

    fn version(&mut self) -> wasmtime::Result<String> {
        self.give(self.host.version())
    }

    fn is_local_domain(&mut self, domain: String) -> wasmtime::Result<bool> {
        self.taken(&domain);
        Ok(self.host.is_local_domain(&domain))
    }

    fn is_local_address(&mut self, address: String) -> wasmtime::Result<bool> {
        self.taken(&address);
        Ok(self.host.is_local_address(&address))
    }
}

impl State {
    fn log(&self, level: LogLevel, text: &str) {
        self.host.log(&LogLine {
            sink: &self.sink.name,
            binding: &self.binding.name,
            event: self.occasion.event,
            session: self.occasion.session_id(),
            message: self.overlay.message.as_ref().map(|message| message.id.as_str()),
            level,
            text,
        });
    }

    fn log_within_quota(&mut self, level: LogLevel, line: &str) {
        self.quota.log_bytes = self.quota.log_bytes.saturating_add(line.len());
        self.quota.log_lines = self.quota.log_lines.saturating_add(1);
        if self.quota.log_bytes <= self.budget.log_bytes && self.quota.log_lines <= LOG_LINES_MAX {
            self.log(level, line);
        } else if !self.quota.is_log_cut {
            self.quota.is_log_cut = true;
            self.log(LogLevel::Warn, "log of this call cut: its quota is used up");
        }
    }

    // The functions have no answer, so a bad name is told in the log, within its quota.
    fn may_count(&mut self, name: &str) -> bool {
        self.quota.metric_calls = self.quota.metric_calls.saturating_add(1);
        if self.quota.metric_calls > METRIC_CALLS_MAX {
            return false;
        }
        let is_word = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_';
        let is_name = (1..=METRIC_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_word);
        if !is_name {
            self.log_within_quota(LogLevel::Warn, "metric dropped: a name has 1 to 64 characters of a-z, 0-9 and _");
        }
        is_name
    }
}
