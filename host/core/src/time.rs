//! Time as an argument.

use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A moment on the civil time line, as the shell's clock told it.
///
/// Core never reads a clock; the shell passes one of these with whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, negative before it.
    pub seconds: i64,
    /// Nanoseconds within the second, 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Makes a timestamp of whole seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// This moment moved later; saturates at the end of time.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let nanoseconds = self.nanoseconds + by.subsec_nanos();
        let carry = i64::from(nanoseconds / 1_000_000_000);
        let whole = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        Self {
            seconds: self.seconds.saturating_add(whole).saturating_add(carry),
            nanoseconds: nanoseconds % 1_000_000_000,
        }
    }

    /// Time from `earlier` to this moment; zero where `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let nanoseconds = |t: Self| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanoseconds);
        let between = u64::try_from(nanoseconds(self) - nanoseconds(earlier)).unwrap_or(0);
        Duration::from_nanos(between)
    }

    /// The date-time of RFC 5322 §3.3, in UTC.
    pub fn to_rfc5322(self) -> String {
        mail_parser::DateTime::from_timestamp(self.seconds).to_rfc822()
    }

    /// The date-time of RFC 3339, in UTC, without the fraction.
    pub fn to_rfc3339(self) -> String {
        mail_parser::DateTime::from_timestamp(self.seconds).to_rfc3339()
    }

    /// Reads the date-time of RFC 3339, to the second; `None` for any other text.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let is_whole = text.len() >= "1970-01-01T00:00:00Z".len();
        let parsed = mail_parser::DateTime::parse_rfc3339(text).filter(|parsed| is_whole && parsed.is_valid())?;
        Some(Self::from_seconds(parsed.to_timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_form_of_rfc_5322() {
        assert_eq!(Timestamp::from_seconds(0).to_rfc5322(), "Thu, 1 Jan 1970 00:00:00 +0000");
    }

    #[test]
    fn dates_of_rfc_3339_parse_with_their_offset() {
        let seconds = |text| Timestamp::parse_rfc3339(text).map(|moment| moment.seconds);
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2030-01-31T12:00:00+02:00"), Some(1_896_084_000));
        assert_eq!(seconds("2030-01-31T12:00:00-02:30"), Some(1_896_100_200));
        for bad in ["", "2030-01-31", "2030-13-31T12:00:00Z", "2030-01-31 12:00", "tomorrow, or a little later"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn adding_carries_nanoseconds() {
        let t = Timestamp { seconds: 1, nanoseconds: 900_000_000 }.plus(Duration::from_millis(200));
        assert_eq!(t, Timestamp { seconds: 2, nanoseconds: 100_000_000 });
        assert_eq!(t.since(Timestamp::from_seconds(2)), Duration::from_millis(100));
        assert_eq!(Timestamp::from_seconds(2).since(t), Duration::ZERO);
    }
}
