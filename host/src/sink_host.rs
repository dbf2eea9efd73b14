//! The server as its sinks see it.

use core::future::Future;
use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use basin_core::addr::Address;
use basin_core::limits::MESSAGE_BYTES_DEFAULT;
use basin_core::mail::{AuthMethod, AuthResult, Message};
use basin_core::time::Timestamp;
use basin_core::transport::{Directory, HopTarget, TransportPolicy};
use basin_outbound::dns::{QueryError, Resolver};
use basin_outbound::verify::VerifyError;
use basin_outbound::{Outbound, ReachError, Reached};
use basin_sinks::{HttpStream, LogLevel, LogLine, Named, ServiceError, SinkHost, Waiting};
use basin_state::StateError;
use tokio::task::JoinSet;

use crate::config::Listener;
use crate::sink_tables::{SinkTables, seconds};

use crate::telemetry::Metrics;
use crate::telemetry::sinks::{SinkMetricNames, is_log_enabled, log_line};

/// Answers to sinks.
pub struct ServerView {
    /// Name of this server.
    pub host_name: String,
    /// Largest messages; change when the configuration is read again.
    pub sizes: Arc<ArcSwap<Sizes>>,
    /// Who lives here.
    pub directory: Arc<ArcSwap<Directory>>,
    /// Where sinks' own metrics go.
    pub metrics: Arc<Metrics>,
    /// Names of sinks' own metrics.
    pub names: SinkMetricNames,
    /// What sinks keep.
    pub tables: SinkTables,
    /// The ways out of this server.
    pub ways: Ways,
}

/// Largest message of each listener, in octets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sizes(BTreeMap<String, u64>);

impl Sizes {
    /// As the configuration has them.
    pub fn of(listeners: &[Listener]) -> Self {
        Self(listeners.iter().map(|listener| (listener.name.clone(), listener.message_bytes_max)).collect())
    }

    /// That of a listener, or the largest of all where none is named, or it is gone.
    pub fn of_listener(&self, name: Option<&str>) -> u64 {
        let own = name.and_then(|name| self.0.get(name));
        own.or_else(|| self.0.values().max()).copied().unwrap_or(MESSAGE_BYTES_DEFAULT)
    }
}

/// The ways out of this server; they change when the configuration is read again.
pub struct Ways {
    /// Whose resolver sinks ask, and which knows the names of credentials.
    pub outbound: Arc<ArcSwap<Outbound>>,
    /// Which knows the names of routes.
    pub transport: Arc<ArcSwap<TransportPolicy>>,
}

impl ServerView {
    fn resolver(&self) -> Resolver {
        self.ways.outbound.load().resolver().clone()
    }
}

/// Does the work in a task of its own: the stack of a sink's call is small, and what a resolver, TLS or
/// cryptography need of one is theirs to decide. The task ends with the call that waits for it.
pub(crate) fn apart<'a, T: Send + 'static>(
    work: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Waiting<'a, T> {
    let mut task = JoinSet::new();
    task.spawn(work);
    Box::pin(async move {
        let lost = || Err(ServiceError::Unavailable("the work was given up".to_owned()));
        task.join_next().await.and_then(Result::ok).unwrap_or_else(lost)
    })
}

fn unanswered(error: QueryError) -> ServiceError {
    match error {
        QueryError::NoName => ServiceError::NotFound,
        QueryError::NotAName => ServiceError::Invalid(error.to_string()),
        QueryError::Failed(why) => ServiceError::Unavailable(why),
    }
}

fn untold(error: StateError) -> ServiceError {
    match error {
        StateError::Unavailable(_) => ServiceError::Unavailable(error.to_string()),
        StateError::Full => ServiceError::Limit(error.to_string()),
        StateError::NoNumber | StateError::Overflow => ServiceError::Invalid(error.to_string()),
    }
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
        Address::parse_utf8(address).is_ok_and(|address| self.directory.load().is_local_address(&address))
    }

    fn message_bytes_max(&self, listener: Option<&str>) -> u64 {
        self.sizes.load().of_listener(listener)
    }

    fn may_log_in(&self, credentials: &str, there: &HopTarget) -> bool {
        self.ways.transport.load().routes.logs_in(credentials, there)
    }

    fn has_name(&self, what: Named, name: &str) -> bool {
        match what {
            Named::Source => self.ways.outbound.load().has_source(name),
            Named::Lmtp => self.ways.transport.load().routes.named(name).is_some(),
        }
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

    fn table_value(&self, sink: &str, key: &str, now: Timestamp) -> Result<Option<Arc<[u8]>>, ServiceError> {
        self.tables.get().and_then(|tables| tables.get(sink, key, seconds(now))).map_err(untold)
    }

    fn table_keys(
        &self,
        sink: &str,
        prefix: &str,
        after: Option<&str>,
        at_most: usize,
        now: Timestamp,
    ) -> Result<Vec<String>, ServiceError> {
        self.tables.get().and_then(|tables| tables.keys(sink, prefix, after, at_most, seconds(now))).map_err(untold)
    }

    fn table_bytes(&self, sink: &str) -> Result<u64, ServiceError> {
        self.tables.get().and_then(|tables| tables.used(sink)).map_err(untold)
    }

    fn table_increment(&self, sink: &str, key: &str, by: i64, life: u32, now: Timestamp) -> Waiting<'_, i64> {
        let sum = self.tables.increment(sink, key, (by, life), now);
        Box::pin(async move { sum.await.map_err(untold) })
    }

    fn addresses(&self, name: &str) -> Waiting<'_, Vec<IpAddr>> {
        let (resolver, name) = (self.resolver(), name.to_owned());
        apart(async move { resolver.addresses_of(&name).await.map_err(unanswered) })
    }

    fn exchangers(&self, domain: &str) -> Waiting<'_, Vec<(u16, String)>> {
        let (resolver, domain) = (self.resolver(), domain.to_owned());
        apart(async move { resolver.mx_of(&domain).await.map_err(unanswered) })
    }

    fn texts(&self, name: &str) -> Waiting<'_, Vec<String>> {
        let (resolver, name) = (self.resolver(), name.to_owned());
        apart(async move { resolver.txt_of(&name).await.map_err(unanswered) })
    }

    fn names(&self, address: IpAddr) -> Waiting<'_, Vec<String>> {
        let resolver = self.resolver();
        apart(async move { resolver.names_of(address).await.map_err(unanswered) })
    }

    fn verify(&self, message: Arc<Message>, method: AuthMethod) -> Waiting<'_, Vec<AuthResult>> {
        let outbound = self.ways.outbound.load_full();
        let unproved = |error: VerifyError| ServiceError::Unavailable(error.to_string());
        apart(async move { outbound.verifier().verify(&message, method).await.map_err(unproved) })
    }

    fn connect(&self, host: &str, port: u16, is_tls: bool, may_be_inner: bool) -> Waiting<'_, HttpStream> {
        let (outbound, host) = (self.ways.outbound.load_full(), host.to_owned());
        apart(async move {
            match outbound.reach(&host, port, is_tls, may_be_inner).await {
                Ok(Reached::Plain(stream)) => Ok(Box::new(stream) as HttpStream),
                Ok(Reached::Tls(stream)) => Ok(stream as HttpStream),
                Err(ReachError::NoName) => Err(ServiceError::NotFound),
                Err(error @ ReachError::Inner(_)) => Err(ServiceError::Invalid(error.to_string())),
                Err(ReachError::Unreachable(why)) => Err(ServiceError::Unavailable(why)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_message_is_bounded_by_the_listener_that_it_came_by_and_any_other_by_the_largest() {
        let text = "host-name = \"mx.example.org\"\n\
                    [[listener]]\nname = \"small\"\naddress = \"127.0.0.1:2525\"\nmax-message-size = \"64KiB\"\n\
                    [[listener]]\nname = \"large\"\naddress = \"127.0.0.1:2526\"\nmax-message-size = \"1MiB\"\n\
                    [[domain]]\nname = \"example.org\"\nmailboxes = [\"postmaster\"]\n";
        let config = Config::parse(Path::new("basin.toml"), text).expect("valid");
        let sizes = Sizes::of(&config.listeners);
        assert_eq!(sizes.of_listener(Some("small")), 64 * 1024);
        for other in [Some("large"), Some("gone"), None] {
            assert_eq!(sizes.of_listener(other), 1024 * 1024);
        }
        assert_eq!(Sizes::default().of_listener(None), MESSAGE_BYTES_DEFAULT);
    }
}
