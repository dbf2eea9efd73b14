//! How log lines are written: text or JSON, on standard error, with a level that can change.

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::audit::{Audit, TRAFFIC_ALONE};
use crate::config::Log;

/// Changes the level of a running server.
#[derive(Clone, Debug)]
pub struct LogLevel {
    handle: reload::Handle<Targets, Registry>,
}

impl LogLevel {
    /// Sets the least important level that is written. After the end of the subscriber it does nothing.
    pub fn set(&self, level: Level) {
        if let Err(error) = self.handle.reload(written_at(level)) {
            tracing::warn!(%error, "the log level cannot be changed");
        }
    }
}

/// Starts logging; once in each process, before anything is logged. What belongs there goes into the audit log as well,
/// whatever the level.
pub fn start(log: &Log, audit: &Audit) -> LogLevel {
    let (filter, handle) = reload::Layer::new(written_at(log.level));
    // Escape sequences only where a person watches, never into files and journals.
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = if log.is_json {
        layer.json().flatten_event(true).with_ansi(false).boxed()
    } else {
        layer.with_ansi(is_terminal).boxed()
    };
    let audit = audit.layer().map(|layer| layer.with_filter(Audit::filter()));
    tracing_subscriber::registry().with(layer.with_filter(filter)).with(audit).init();
    LogLevel { handle }
}

// What is written at a level. The TLS library warns of everything odd that a client says, such as an address in
// place of a name, once for each connection: any client could fill the log with it. What becomes of a handshake the
// server logs itself; who wants the library's words asks for `debug`.
fn written_at(level: Level) -> Targets {
    let library = if level >= Level::DEBUG { LevelFilter::from_level(level) } else { LevelFilter::ERROR };
    Targets::new().with_default(level).with_target("rustls", library).with_target(TRAFFIC_ALONE, LevelFilter::OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_fills_the_log_with_warnings_of_the_tls_library() {
        let odd = |level| written_at(level).would_enable("rustls::msgs::handshake", &Level::WARN);
        assert!(!odd(Level::INFO) && !odd(Level::WARN) && odd(Level::DEBUG));
        assert!(written_at(Level::WARN).would_enable("basin::net::arrival", &Level::WARN));
        assert!(!written_at(Level::WARN).would_enable("basin::net::arrival", &Level::INFO));
    }
}
