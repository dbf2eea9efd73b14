//! Between the types of `wit/` and those of the core. Nothing else knows both.

use core::net::SocketAddr;
use core::time::Duration;

use basin_core::event::Later;
use basin_core::limits::{QUEUE_LIFETIME_DEFAULT, REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX, SINK_DEFER_MIN};
use basin_core::reply::{Enhanced, Reply};
use basin_core::time::Timestamp;

use crate::LogLevel;
use crate::bindings::basin::sink::{log, types};
use crate::host_api::ErrorValue;
use crate::text;

/// A moment, as sinks see it.
pub(crate) fn datetime(moment: Timestamp) -> types::Datetime {
    types::Datetime { seconds: moment.seconds, nanoseconds: moment.nanoseconds }
}

/// A moment that a sink named; `None` where the nanoseconds are no part of a second.
pub(crate) fn timestamp(moment: types::Datetime) -> Option<Timestamp> {
    let is_part = moment.nanoseconds < 1_000_000_000;
    is_part.then_some(Timestamp { seconds: moment.seconds, nanoseconds: moment.nanoseconds })
}

/// One end of a connection.
pub(crate) fn endpoint(address: SocketAddr) -> types::Endpoint {
    types::Endpoint { address: address.ip().to_canonical().to_string(), port: address.port() }
}

/// A reply, as sinks see it.
pub(crate) fn reply_to_sink(reply: &Reply) -> types::Reply {
    types::Reply { code: reply.code(), enhanced: reply.enhanced_text(), lines: reply.lines().to_vec() }
}

/// A reply that a sink wrote; the text says which rule it breaks.
///
/// Lines are made printable and cut here, so that logs and notifications are as safe as the wire.
pub(crate) fn reply_from_sink(reply: types::Reply) -> Result<Reply, String> {
    if !(200..=599).contains(&reply.code) {
        return Err(format!("a reply has a code from 200 to 599, not {}", reply.code));
    }
    let enhanced = match reply.enhanced {
        None => None,
        Some(text) => Some(enhanced(reply.code, &text)?),
    };
    if reply.lines.iter().any(|line| line.bytes().any(|octet| matches!(octet, b'\r' | b'\n' | 0))) {
        return Err("a line of a reply has no CR, LF or NUL".to_owned());
    }
    let lines = reply.lines.iter().take(REPLY_LINES_MAX).map(|line| reply_line(line)).collect();
    Ok(Reply::multi_line(reply.code, enhanced, lines))
}

// The class of the status is that of the code (RFC 2034 §4).
fn enhanced(code: u16, text: &str) -> Result<Enhanced, String> {
    let class = text.split('.').next().and_then(|class| class.parse::<u16>().ok());
    Enhanced::parse(text).filter(|_| class == Some(code / 100)).ok_or_else(|| {
        let text = text::line(text, REPLY_LINE_BYTES_MAX);
        format!("an enhanced status code of a {code} looks like {}.7.1, not {text:?}", code / 100)
    })
}

/// One line of a reply: printable ASCII, cut at what a line can hold.
pub(crate) fn reply_line(line: &str) -> String {
    let printable = |c: char| if c == '\t' || (' '..='~').contains(&c) { c } else { '?' };
    line.chars().take(REPLY_LINE_BYTES_MAX).map(printable).collect()
}

/// When to try again.
pub(crate) fn later_from_sink(later: types::Later) -> Result<Later, String> {
    let after = Duration::from_secs(u64::from(later.after_seconds)).clamp(SINK_DEFER_MIN, QUEUE_LIFETIME_DEFAULT);
    Ok(Later { reply: reply_from_sink(later.reply)?, after })
}

/// The level of a log line.
pub(crate) fn level(level: log::Level) -> LogLevel {
    match level {
        log::Level::Trace => LogLevel::Trace,
        log::Level::Debug => LogLevel::Debug,
        log::Level::Info => LogLevel::Info,
        log::Level::Warn => LogLevel::Warn,
        log::Level::Error => LogLevel::Error,
    }
}

impl From<ErrorValue> for types::Error {
    fn from(value: ErrorValue) -> Self {
        match value {
            ErrorValue::Denied(why) => Self::Denied(why),
            ErrorValue::NotFound => Self::NotFound,
            ErrorValue::Invalid(why) => Self::Invalid(why),
            ErrorValue::Duplicate => Self::Duplicate,
            ErrorValue::Limit(what) => Self::Limit(what),
            ErrorValue::ReadOnly => Self::ReadOnly,
            ErrorValue::Unavailable(what) => Self::Unavailable(what),
        }
    }
}
