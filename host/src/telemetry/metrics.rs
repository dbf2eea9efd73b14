//! The counters behind `/metrics`. Labels have a closed set of values or names that the operator chose.

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Seconds, from a fast protocol sink to one that uses its whole deadline.
const SECONDS: &[f64] = &[0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// Seconds, from a message that leaves at once to one that waited for days.
const LATENCY: &[f64] = &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0, 3_600.0, 36_000.0, 432_000.0];

/// Units of fuel, from a few host calls to the default of a large message.
const FUEL: &[f64] = &[1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9];

/// All metrics of the server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections taken, by listener.
    pub connections: IntCounterVec,
    /// Connections refused with 421, by listener and limit.
    pub connections_refused: IntCounterVec,
    /// Sessions that are open now, by listener.
    pub sessions: IntGaugeVec,
    /// Handshakes that failed, by listener.
    pub handshakes_failed: IntCounterVec,
    /// Logins with a password that this server compares, by result.
    pub logins: IntCounterVec,
    /// Messages acknowledged with 250, by listener.
    pub messages_accepted: IntCounterVec,
    /// Octets of those messages.
    pub message_bytes_accepted: IntCounterVec,
    /// Commands and messages answered with 4yz or 5yz, by listener and class.
    pub refusals: IntCounterVec,
    /// Messages that were not stored, by the kind of the fault.
    pub storage_faults: IntCounterVec,
    /// Deliveries to mailboxes, by outcome.
    pub deliveries: IntCounterVec,
    /// Stored messages that came to their end, by how.
    pub messages_ended: IntCounterVec,
    /// Recipients that another server was asked to take, by result.
    pub relays: IntCounterVec,
    /// Recipients put off to a later try, at mailboxes here too.
    pub deferrals: IntCounter,
    /// Time from the receipt of a message to its acceptance by the next server.
    pub relay_latency: Histogram,
    /// Connections to other servers that were tried, by result.
    pub outbound_connections: IntCounterVec,
    /// Connections that were used, by how they were protected.
    pub outbound_tls: IntCounterVec,
    /// Visits that failed and left their destination alone for a while.
    pub destination_failures: IntCounter,
    /// Notifications to senders.
    pub notifications: IntCounter,
    /// Messages by what they wait for.
    pub queue_messages: IntGaugeVec,
    /// Jobs of the schedule, one for each message and destination, by state.
    pub queue_jobs: IntGaugeVec,
    /// Visits to destinations that are open.
    pub outbound_visits: IntGauge,
    /// Destinations that mail waits for, by state.
    pub destinations: IntGaugeVec,
    /// Notices that were dropped because too many waited.
    pub notices_dropped: IntCounter,
    /// Timers of sinks.
    pub timers: TimerMetrics,
    /// Lines of the tracking log that were dropped.
    pub tracking_lost: IntCounter,
    /// Lines of the audit log that were dropped.
    pub audit_lost: IntCounter,
    /// Calls of sinks, by sink, event and outcome.
    pub sink_invocations: IntCounterVec,
    /// Calls that failed, by sink, event and kind.
    pub sink_failures: IntCounterVec,
    /// Time from the request to the answer, by sink and event.
    pub sink_duration: HistogramVec,
    /// Fuel of a call, by sink and event.
    pub sink_fuel: HistogramVec,
    /// Wait for a free place, by sink and event.
    pub sink_queue_wait: HistogramVec,
    /// Largest memory of any call so far, by sink, in octets.
    pub sink_memory: IntGaugeVec,
    /// Host calls, by sink.
    pub sink_host_calls: IntCounterVec,
    /// Calls refused for want of a grant, by sink.
    pub sink_denied: IntCounterVec,
    /// Shadows that agreed with what was decided, and those that did not.
    pub sink_shadows: IntCounterVec,
    /// Counters that sinks keep, by sink and name.
    pub sink_counters: IntCounterVec,
    /// Distributions that sinks keep, by sink and name.
    pub sink_values: HistogramVec,
    /// Generation of the registry in force.
    pub registry_generation: IntGauge,
    /// Sinks of the registry in force that could not be loaded.
    pub sinks_not_loaded: IntGauge,
    /// Places of the instance pool that are taken, by kind.
    pub pool: IntGaugeVec,
    /// Messages in the spool.
    pub spool_messages: IntGauge,
    /// Segments of the spool.
    pub spool_segments: IntGauge,
    /// Syncs of the spool.
    pub spool_syncs: IntCounter,
    /// Records committed to the spool.
    pub spool_commits: IntCounter,
    /// Octets written to the spool.
    pub spool_bytes: IntCounter,
    /// When the server started, in seconds since 1970.
    pub started: Gauge,
}

/// Makes metrics and puts them into one registry.
struct Maker(Registry);

impl Maker {
    // The names are constants of this file, so a failure is a mistake in it that every test run meets.
    fn register<M: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<M>) -> M {
        let metric = made.expect("metric names and labels are valid");
        self.0.register(Box::new(metric.clone())).expect("metric names differ");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }
}

/// Counters of timers, by sink and binding.
#[derive(Debug)]
pub struct TimerMetrics {
    /// When they are due next, in seconds since 1970; 0 where they are not.
    pub next: IntGaugeVec,
    /// When they ran last, in seconds since 1970; 0 where they never did.
    pub last: IntGaugeVec,
    /// Calls that were left out because the one before them still ran.
    pub left_out: IntCounterVec,
    /// Calls of which nothing could be written.
    pub unwritten: IntCounterVec,
}

impl TimerMetrics {
    fn made(make: &Maker) -> Self {
        let of = &["sink", "binding"];
        Self {
            next: make.gauges("basin_timer_next_due_seconds", "When a timer is due next", of),
            last: make.gauges("basin_timer_last_run_seconds", "When a timer ran last", of),
            left_out: make.counters("basin_timer_left_out_total", "Calls left out, the last one still ran", of),
            unwritten: make.counters("basin_timer_unwritten_total", "Calls that could not be written", of),
        }
    }

    /// Forgets when timers run: some may be gone.
    pub fn forget(&self) {
        self.next.reset();
        self.last.reset();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let make = Maker(Registry::new());
        let (call, listener) = (&["sink", "event"], &["listener"]);
        Self {
            connections: make.counters("basin_connections_total", "Connections taken", listener),
            connections_refused: make.counters(
                "basin_connections_refused_total",
                "Connections refused with 421",
                &["listener", "limit"],
            ),
            sessions: make.gauges("basin_sessions_open", "Sessions that are open", listener),
            handshakes_failed: make.counters("basin_handshakes_failed_total", "TLS handshakes that failed", listener),
            logins: make.counters("basin_logins_total", "Logins with a password", &["result"]),
            messages_accepted: make.counters("basin_messages_accepted_total", "Messages acknowledged", listener),
            message_bytes_accepted: make.counters(
                "basin_message_bytes_accepted_total",
                "Octets of acknowledged messages",
                listener,
            ),
            refusals: make.counters("basin_refusals_total", "Replies of 4yz and 5yz", &["listener", "class"]),
            storage_faults: make.counters("basin_storage_faults_total", "Messages that were not stored", &["kind"]),
            deliveries: make.counters("basin_deliveries_total", "Deliveries to mailboxes", &["outcome"]),
            messages_ended: make.counters("basin_messages_ended_total", "Messages that left the spool", &["end"]),
            relays: make.counters("basin_relays_total", "Recipients tried at other servers", &["result"]),
            deferrals: make.counter("basin_deferrals_total", "Recipients put off to a later try"),
            relay_latency: make.histogram("basin_relay_latency_seconds", "Receipt to the next server", LATENCY),
            outbound_connections: make.counters(
                "basin_outbound_connections_total",
                "Connections to other servers",
                &["result"],
            ),
            outbound_tls: make.counters("basin_outbound_tls_total", "Protection of used connections", &["proof"]),
            destination_failures: make.counter("basin_destination_failures_total", "Visits that reached nobody"),
            notifications: make.counter("basin_notifications_total", "Notifications to senders"),
            queue_messages: make.gauges("basin_queue_messages", "Messages by what they wait for", &["state"]),
            queue_jobs: make.gauges("basin_queue_jobs", "Messages for destinations", &["state"]),
            outbound_visits: make.gauge("basin_outbound_visits_open", "Visits that are open"),
            destinations: make.gauges("basin_destinations", "Destinations that mail waits for", &["state"]),
            notices_dropped: make.counter("basin_notices_dropped_total", "Notices dropped, too many waited"),
            timers: TimerMetrics::made(&make),
            audit_lost: make.counter("basin_audit_lost_total", "Lines of the audit log that were dropped"),
            tracking_lost: make.counter("basin_tracking_lost_total", "Lines of the tracking log that were dropped"),
            sink_invocations: make.counters(
                "basin_sink_invocations_total",
                "Calls of sinks",
                &["sink", "event", "outcome"],
            ),
            sink_failures: make.counters("basin_sink_failures_total", "Calls that failed", &["sink", "event", "kind"]),
            sink_duration: make.histograms("basin_sink_duration_seconds", "Request to answer", call, SECONDS),
            sink_fuel: make.histograms("basin_sink_fuel", "Fuel of a call", call, FUEL),
            sink_queue_wait: make.histograms("basin_sink_queue_wait_seconds", "Wait for a place", call, SECONDS),
            sink_memory: make.gauges("basin_sink_memory_high_water_bytes", "Largest memory of a call", &["sink"]),
            sink_host_calls: make.counters("basin_sink_host_calls_total", "Host calls", &["sink"]),
            sink_denied: make.counters("basin_sink_denied_total", "Host calls refused for want of a grant", &["sink"]),
            sink_shadows: make.counters("basin_sink_shadows_total", "Shadow calls", &["sink", "event", "result"]),
            sink_counters: make.counters("basin_sink_custom_total", "Counters that sinks keep", &["sink", "name"]),
            sink_values: make.histograms("basin_sink_custom", "Values that sinks observe", &["sink", "name"], SECONDS),
            registry_generation: make.gauge("basin_registry_generation", "Generation of the registry in force"),
            sinks_not_loaded: make.gauge("basin_sinks_not_loaded", "Sinks that could not be loaded"),
            pool: make.gauges("basin_wasm_pool", "Places of the instance pool that are taken", &["kind"]),
            spool_messages: make.gauge("basin_spool_messages", "Messages in the spool"),
            spool_segments: make.gauge("basin_spool_segments", "Segments of the spool"),
            spool_syncs: make.counter("basin_spool_syncs_total", "Syncs of the spool"),
            spool_commits: make.counter("basin_spool_commits_total", "Records committed to the spool"),
            spool_bytes: make.counter("basin_spool_bytes_written_total", "Octets written to the spool"),
            started: make.register(Gauge::new("basin_start_time_seconds", "When the server started")),
            registry: make.0,
        }
    }
}

impl Metrics {
    /// The page in Prometheus' text format.
    pub fn page(&self) -> String {
        let mut page = Vec::new();
        // Writing into memory fails only where two metrics share a name, which `Maker` refuses.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut page) {
            tracing::error!(%error, "the metrics page cannot be made");
        }
        String::from_utf8_lossy(&page).into_owned()
    }
}

/// Brings a counter up to a total that somebody else counts.
pub fn raise_to(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_name_has_the_form_of_the_house() {
        let metrics = Metrics::default();
        metrics.connections.with_label_values(&["inbound"]).inc();
        for family in metrics.registry.gather() {
            assert!(family.name().starts_with("basin_"), "{}", family.name());
            let is_counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
            assert_eq!(is_counter, family.name().ends_with("_total"), "{}", family.name());
        }
        assert!(metrics.page().contains("basin_connections_total{listener=\"inbound\"} 1"));
    }

    #[test]
    fn a_counter_follows_a_foreign_total_and_never_goes_back() {
        let metrics = Metrics::default();
        raise_to(&metrics.spool_syncs, 5);
        raise_to(&metrics.spool_syncs, 3);
        assert_eq!(metrics.spool_syncs.get(), 5);
    }
}
