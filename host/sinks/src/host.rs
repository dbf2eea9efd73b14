//! What a sink may ask of the server around it.

use basin_core::event::EventKind;

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

/// The server as its sinks see it; the shell implements it.
///
/// Every method is called while a sink waits, on the stack of its call: it answers at once, from memory.
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

    /// Largest message that this server takes, in octets; bounds the bodies that sinks write.
    fn message_bytes_max(&self) -> u64 {
        basin_core::limits::MESSAGE_BYTES_DEFAULT
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
}
