//! What happens when sinks are called: their log lines, their calls, their own metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use basin_core::event::{Answer, Binding, EventKind, Failure};
use basin_sinks::{CallReport, LogLevel, LogLine};
use tracing::{debug, error, info, trace, warn};

use crate::audit;
use crate::telemetry::Metrics;

/// Most names of metrics that one sink may make over the life of the server; each is a time series for ever.
const METRIC_NAMES_MAX: usize = 64;

/// A sink was called.
#[derive(Debug, Clone, Copy)]
pub struct SinkCalled<'a> {
    /// The binding that fired.
    pub binding: &'a Binding,
    /// The event; not always that of the binding.
    pub event: EventKind,
    /// Id of the session; empty where there is none.
    pub session: &'a str,
    /// Id of the message; empty where there is none.
    pub message: &'a str,
    /// What came of it.
    pub report: &'a CallReport,
}

impl SinkCalled<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        let (sink, event, usage) = (self.binding.sink.as_str(), self.event.name(), &self.report.usage);
        let outcome = match &self.report.answer {
            Answer::Verdict(verdict, _) => verdict.word(),
            Answer::Failed(_) => "failed",
        };
        metrics.sink_invocations.with_label_values(&[sink, event, outcome]).inc();
        metrics.sink_duration.with_label_values(&[sink, event]).observe(usage.wall.as_secs_f64());
        metrics.sink_queue_wait.with_label_values(&[sink, event]).observe(usage.queued.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a histogram of fuel needs no more than 53 bits")]
        metrics.sink_fuel.with_label_values(&[sink, event]).observe(usage.fuel as f64);
        metrics.sink_host_calls.with_label_values(&[sink]).inc_by(usage.host_calls);
        metrics.sink_denied.with_label_values(&[sink]).inc_by(u64::from(usage.denied));
        let memory = metrics.sink_memory.with_label_values(&[sink]);
        let octets = i64::try_from(usage.memory).unwrap_or(i64::MAX);
        if octets > memory.get() {
            memory.set(octets);
        }
        match &self.report.answer {
            Answer::Verdict(verdict, _) => debug!(
                sink,
                event,
                binding = self.binding.name.as_str(),
                session = self.session,
                message_id = self.message,
                verdict = verdict.word(),
                fuel = usage.fuel,
                microseconds = u64::try_from(usage.wall.as_micros()).unwrap_or(u64::MAX),
                "sink called"
            ),
            Answer::Failed(failure) => {
                metrics.sink_failures.with_label_values(&[sink, event, failure.kind.word()]).inc();
                self.log_failure(failure);
            }
        }
    }

    fn log_failure(&self, failure: &Failure) {
        let (sink, binding, event) = (&self.binding.sink, &self.binding.name, self.event.name());
        // Without its words: what a sink writes on standard error may be a password that it was shown.
        info!(
            target: audit::TRAFFIC_ALONE,
            sink,
            binding,
            event,
            session = self.session,
            message_id = self.message,
            kind = failure.kind.word(),
            fuel = failure.fuel,
            policy = self.binding.on_failure.word(),
            "sink failed"
        );
        error!(
            sink = self.binding.sink.as_str(),
            event = self.event.name(),
            binding = self.binding.name.as_str(),
            session = self.session,
            message_id = self.message,
            kind = failure.kind.word(),
            detail = failure.detail.as_str(),
            stderr = failure.stderr.as_str(),
            fuel = failure.fuel,
            policy = self.binding.on_failure.word(),
            "sink failed; basin sink show tells more"
        );
    }
}

/// A shadow was compared with what was decided.
#[derive(Debug, Clone, Copy)]
pub struct ShadowCompared<'a> {
    /// The binding.
    pub binding: &'a Binding,
    /// The event.
    pub event: EventKind,
    /// What it would have done otherwise, in lines; none where it agreed.
    pub difference: &'a [String],
}

impl ShadowCompared<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        let (sink, event) = (self.binding.sink.as_str(), self.event.name());
        let result = if self.difference.is_empty() { "agreed" } else { "differed" };
        metrics.sink_shadows.with_label_values(&[sink, event, result]).inc();
        if let [first, rest @ ..] = self.difference {
            let binding = self.binding.name.as_str();
            info!(sink, event, binding, first = first.as_str(), more = rest.len(), "shadow differs from the decision");
        }
    }
}

/// Writes a line of a sink; the sandbox has escaped it and applied the quota.
pub fn log_line(line: &LogLine<'_>) {
    let (sink, event, text) = (line.sink, line.event.name(), line.text);
    let (session, message_id) = (line.session.unwrap_or(""), line.message.unwrap_or(""));
    match line.level {
        LogLevel::Trace => trace!(sink, event, session, message_id, text, "sink says"),
        LogLevel::Debug => debug!(sink, event, session, message_id, text, "sink says"),
        LogLevel::Info => info!(sink, event, session, message_id, text, "sink says"),
        LogLevel::Warn => warn!(sink, event, session, message_id, text, "sink says"),
        LogLevel::Error => error!(sink, event, session, message_id, text, "sink says"),
    }
}

/// Whether a line of that level would be written.
pub fn is_log_enabled(level: LogLevel) -> bool {
    let level = match level {
        LogLevel::Trace => tracing::Level::TRACE,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Error => tracing::Level::ERROR,
    };
    level <= tracing::level_filters::LevelFilter::current()
}

/// Bounds the metrics that sinks make.
#[derive(Debug, Default)]
pub struct SinkMetricNames {
    names: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

impl SinkMetricNames {
    /// Whether the sink may use that name: it did before, or it has room for another.
    pub fn allows(&self, sink: &str, name: &str) -> bool {
        let mut names = self.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let own = names.entry(sink.to_owned()).or_default();
        own.contains(name) || own.len() < METRIC_NAMES_MAX && own.insert(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_cannot_make_metrics_without_end() {
        let names = SinkMetricNames::default();
        for index in 0..METRIC_NAMES_MAX {
            assert!(names.allows("a", &format!("n{index}")));
        }
        assert!(!names.allows("a", "one_more"));
        assert!(names.allows("a", "n0"), "a name that is there goes on");
        assert!(names.allows("b", "one_more"), "each sink has its own room");
    }
}
