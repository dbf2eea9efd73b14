//! Timers: when they run, and what came to nothing.

use basin_core::event::{Binding, TimerFacts};
use basin_core::time::Timestamp;
use tracing::error;

use crate::telemetry::Metrics;

/// A timer was looked at.
#[derive(Debug, Clone, Copy)]
pub struct TimerSeen<'a> {
    /// Its binding.
    pub binding: &'a Binding,
    /// What is known of it.
    pub facts: TimerFacts,
}

impl TimerSeen<'_> {
    /// Brings the numbers up to date.
    pub fn record(&self, metrics: &Metrics) {
        let labels = [self.binding.sink.as_str(), self.binding.name.as_str()];
        let seconds = |moment: Option<Timestamp>| moment.map_or(0, |moment| moment.seconds);
        metrics.timers.next.with_label_values(&labels).set(seconds(self.facts.next));
        metrics.timers.last.with_label_values(&labels).set(seconds(self.facts.last));
        super::metrics::raise_to(&metrics.timers.left_out.with_label_values(&labels), self.facts.left_out);
    }
}

/// A timer's sink was called and nothing of what it did could be written.
#[derive(Debug, Clone, Copy)]
pub struct TimerUnwritten<'a> {
    /// Its binding.
    pub binding: &'a Binding,
    /// Why.
    pub error: &'a str,
}

impl TimerUnwritten<'_> {
    /// Logs and counts it.
    pub fn record(&self, metrics: &Metrics) {
        let Binding { sink, name, .. } = self.binding;
        metrics.timers.unwritten.with_label_values(&[sink.as_str(), name.as_str()]).inc();
        error!(
            sink,
            binding = name,
            error = self.error,
            "nothing of what a timer did holds; it is called when it is due next"
        );
    }
}
