//! Plain values: replies, times, addresses. Most are those of the contract, with builders added.

use crate::bindings::basin::sink::types;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use crate::bindings::basin::sink::message::Position;
pub use crate::bindings::basin::sink::outbound::OutState;
pub use crate::bindings::basin::sink::transport::HostAddress;
pub use crate::bindings::basin::sink::types::{Datetime, Endpoint, Header, Later, Reply};

impl Reply {
    /// A reply with this code and text; each line of the text becomes a line of the reply.
    ///
    /// The server writes the status, the hyphens of a reply of many lines and the line ends. It refuses a code
    /// outside 200..599 and cuts a line at 512 octets (RFC 5321 §4.5.3.1.5).
    #[must_use]
    pub fn new(code: u16, text: impl AsRef<str>) -> Self {
        let mut lines: Vec<String> = text.as_ref().lines().map(str::to_owned).collect();
        if lines.is_empty() {
            lines.push(String::new());
        }
        Self { code, enhanced: None, lines }
    }

    /// The same reply with an enhanced status such as "5.7.1" (RFC 3463).
    #[must_use]
    pub fn status(mut self, status: impl Into<String>) -> Self {
        self.enhanced = Some(status.into());
        self
    }

    /// The same reply with one more line.
    #[must_use]
    pub fn line(mut self, text: impl Into<String>) -> Self {
        self.lines.push(text.into());
        self
    }

    /// The lines of the text, joined by line feeds.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Whether the code is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether the code is 4xx.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Whether the code is 5xx.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }
}

impl Later {
    /// Not before that time has passed; `reply` is for whoever waits for one.
    #[must_use]
    pub fn after(delay: Duration, reply: Reply) -> Self {
        Self { reply, after_seconds: u32::try_from(delay.as_secs()).unwrap_or(u32::MAX) }
    }
}

impl Datetime {
    /// The time as the standard library has it; none where that cannot hold it.
    #[must_use]
    pub fn system_time(&self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let start = if self.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        start?.checked_add(Duration::from_nanos(self.nanoseconds.into()))
    }

    /// This time and that long; it stays at the last second that can be told.
    #[must_use]
    pub fn plus(self, delay: Duration) -> Self {
        let nanoseconds = u64::from(self.nanoseconds) + u64::from(delay.subsec_nanos());
        let carry = i64::from(nanoseconds >= 1_000_000_000);
        let whole = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
        Self {
            seconds: self.seconds.saturating_add(whole).saturating_add(carry),
            nanoseconds: u32::try_from(nanoseconds % 1_000_000_000).unwrap_or_default(),
        }
    }
}

impl From<SystemTime> for Datetime {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Datetime { seconds: 0, nanoseconds: 0 }.plus(since),
            Err(before) => {
                let before = before.duration();
                let up = u32::from(before.subsec_nanos() > 0);
                let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                Self { seconds: -whole - i64::from(up), nanoseconds: up * 1_000_000_000 - before.subsec_nanos() }
            }
        }
    }
}

impl Header {
    /// Whether the field has this name, upper and lower case alike.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.address.contains(':') {
            write!(f, "[{}]:{}", self.address, self.port)
        } else {
            write!(f, "{}:{}", self.address, self.port)
        }
    }
}

impl std::fmt::Display for types::Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(status) = &self.enhanced {
            write!(f, "{status} ")?;
        }
        f.write_str(&self.lines.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_two_lines_is_a_reply_of_two_lines() {
        let reply = Reply::new(550, "no\nnever").status("5.7.1");
        assert_eq!(reply.lines, ["no", "never"]);
        assert_eq!(reply.to_string(), "550 5.7.1 no never");
        assert!(reply.is_permanent());
    }

    #[test]
    fn times_go_to_the_standard_library_and_back() {
        for (seconds, nanoseconds) in [(0, 0), (1_700_000_000, 999_999_999), (-1, 500_000_000), (-2, 0)] {
            let time = Datetime { seconds, nanoseconds };
            let there = time.system_time().expect("a time near 1970 has a standard form");
            assert_eq!(Datetime::from(there), time);
        }
    }
}
