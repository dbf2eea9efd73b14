//! How log lines are written: text or JSON, on standard error, with a level that can change.

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::Log;

/// Changes the level of a running server.
#[derive(Clone, Debug)]
pub struct LogLevel {
    handle: reload::Handle<LevelFilter, Registry>,
}

impl LogLevel {
    /// Sets the least important level that is written. After the end of the subscriber it does nothing.
    pub fn set(&self, level: Level) {
        if let Err(error) = self.handle.reload(LevelFilter::from_level(level)) {
            tracing::warn!(%error, "the log level cannot be changed");
        }
    }
}

/// Starts logging; once in each process, before anything is logged.
pub fn start(log: &Log) -> LogLevel {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(log.level));
    // Escape sequences only where a person watches, never into files and journals.
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = if log.is_json {
        layer.json().flatten_event(true).with_ansi(false).boxed()
    } else {
        layer.with_ansi(is_terminal).boxed()
    };
    tracing_subscriber::registry().with(filter).with(layer).init();
    LogLevel { handle }
}
