//! What a sink may ask of the server around it.

use core::future::{Future, ready};
use core::net::IpAddr;
use core::pin::Pin;
use std::sync::Arc;

use basin_core::event::EventKind;
use basin_core::mail::{AuthMethod, AuthResult, Message};
use basin_core::time::Timestamp;
use basin_core::transport::HopTarget;

use crate::http::HttpStream;

/// How much a log line of a sink matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Every step, for the author of the sink.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happened.
    Info,
    /// A person should look this week.
    Warn,
    /// A person must act.
    Error,
}

/// One line that a sink wrote, and where it did.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// Name of the sink.
    pub sink: &'a str,
    /// Name of the binding.
    pub binding: &'a str,
    /// The event it was answering.
    pub event: EventKind,
    /// Id of the session, where there is one.
    pub session: Option<&'a str>,
    /// Id of the message, where there is one.
    pub message: Option<&'a str>,
    /// How much it matters.
    pub level: LogLevel,
    /// The text; control characters are escaped already and the quota of the call is applied.
    pub text: &'a str,
}

/// Why the server around a sink has no answer; each becomes the error of that name in the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceError {
    /// There is no such thing.
    NotFound,
    /// The question makes no sense, and why.
    Invalid(String),
    /// A limit is reached, and which.
    Limit(String),
    /// Nobody can tell now.
    Unavailable(String),
}

/// What a hop of a sink names, and only the configuration knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// An LMTP server.
    Lmtp,
    /// Addresses to connect from.
    Source,
}

/// An answer that takes its time.
///
/// The call waits for it on a small stack: what computes deeply, TLS say, belongs into a task of its own. A call
/// that ends drops it.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = Result<T, ServiceError>> + Send + 'a>>;

/// A server that has no such service says so.
fn nobody<T: Send + 'static>() -> Waiting<'static, T> {
    Box::pin(ready(Err(ServiceError::Unavailable(NO_SERVICE.to_owned()))))
}

/// What is said where the server around a sink is none, in a trial say.
const NO_SERVICE: &str = "this server does not have it";

/// The server as its sinks see it; the shell implements it.
///
/// Methods that return no [`Waiting`] are called while a sink waits, on the stack of its call: they answer at once.
/// Services that an implementation leaves out answer `unavailable`.
pub trait SinkHost: Send + Sync {
    /// Name of this server.
    fn host_name(&self) -> String;

    /// Version of this server.
    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    /// Whether this server is the final destination of that domain.
    fn is_local_domain(&self, domain: &str) -> bool;

    /// Whether this server knows that address, `local-part@domain`.
    fn is_local_address(&self, address: &str) -> bool;

    /// Largest message that a listener takes, in octets, or any of them where none is named or known by that name; bounds
    /// the bodies that sinks write.
    fn message_bytes_max(&self, _listener: Option<&str>) -> u64 {
        basin_core::limits::MESSAGE_BYTES_DEFAULT
    }

    /// Whether the configuration logs in there with the credentials of that name.
    fn may_log_in(&self, _credentials: &str, _there: &HopTarget) -> bool {
        false
    }

    /// Whether the configuration has something of that name for the hops of sinks.
    fn has_name(&self, _what: Named, _name: &str) -> bool {
        false
    }

    /// Whether a line of that level would be written at all.
    fn is_log_enabled(&self, sink: &str, level: LogLevel) -> bool;

    /// Writes a line to the server's log.
    fn log(&self, line: &LogLine<'_>);

    /// Adds to a counter. `name` is 1 to 64 characters of `a-z 0-9 _`; how many names one sink may make over its
    /// life is for the implementation to bound.
    fn metric_add(&self, sink: &str, name: &str, by: u64);

    /// Adds a value to a distribution, under the same rules.
    fn metric_observe(&self, sink: &str, name: &str, value: f64);

    /// The value that is stored under a key of the sink, unless its life is over.
    fn table_value(&self, _sink: &str, _key: &str, _now: Timestamp) -> Result<Option<Arc<[u8]>>, ServiceError> {
        Err(ServiceError::Unavailable(NO_SERVICE.to_owned()))
    }

    /// Stored keys of the sink with that prefix, sorted, after that key; at most so many.
    fn table_keys(
        &self,
        _sink: &str,
        _prefix: &str,
        _after: Option<&str>,
        _at_most: usize,
        _now: Timestamp,
    ) -> Result<Vec<String>, ServiceError> {
        Err(ServiceError::Unavailable(NO_SERVICE.to_owned()))
    }

    /// Octets that the sink has stored, in the measure of its quota.
    fn table_bytes(&self, _sink: &str) -> Result<u64, ServiceError> {
        Err(ServiceError::Unavailable(NO_SERVICE.to_owned()))
    }

    /// Adds to a stored number of the sink and answers the sum; a life in seconds begins with the first addition.
    fn table_increment(&self, _sink: &str, _key: &str, _by: i64, _life: u32, _now: Timestamp) -> Waiting<'_, i64> {
        nobody()
    }

    /// Addresses of a host.
    fn addresses(&self, _name: &str) -> Waiting<'_, Vec<IpAddr>> {
        nobody()
    }

    /// Mail exchangers of a domain with their preferences; a null MX is one whose name is empty.
    fn exchangers(&self, _domain: &str) -> Waiting<'_, Vec<(u16, String)>> {
        nobody()
    }

    /// TXT records of a name, the strings of each joined.
    fn texts(&self, _name: &str) -> Waiting<'_, Vec<String>> {
        nobody()
    }

    /// Names of an address.
    fn names(&self, _address: IpAddr) -> Waiting<'_, Vec<String>> {
        nobody()
    }

    /// What a method says of a message, as it was before any sink of the event edited it. The work is done once for
    /// each message, by its id.
    fn verify(&self, _message: Arc<Message>, _method: AuthMethod) -> Waiting<'_, Vec<AuthResult>> {
        nobody()
    }

    /// A connection to a host, by name or address, over TLS with a certificate of that name where it says so.
    ///
    /// `invalid` where it leads to an address of an inner network and `may_be_inner` does not allow that.
    fn connect(&self, _host: &str, _port: u16, _is_tls: bool, _may_be_inner: bool) -> Waiting<'_, HttpStream> {
        nobody()
    }
}
