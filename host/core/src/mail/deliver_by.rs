//! When a message has to be there, and what happens where it is not (RFC 2852).

use core::fmt;

use crate::mail::Message;
use crate::time::Timestamp;

/// Most digits of the time in BY= (RFC 2852 §4).
const DIGITS_MAX: usize = 9;

/// What BY= of MAIL asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverBy {
    /// Seconds from the MAIL command on; below zero where a server before this one has used them up.
    pub seconds: i64,
    /// What to do with a message that is late.
    pub late: Late,
    /// Every server on the way tells the sender that it passed the message on.
    pub is_traced: bool,
}

/// What to do with a message that is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// Return it; nobody gets it after that.
    Return,
    /// Tell the sender, and try on.
    Notify,
}

impl DeliverBy {
    /// Reads `[+|-]seconds;N|R[T]`; `None` for anything else, and for what is to be returned at once.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, mode) = text.split_once(';')?;
        let (is_negative, digits) = match time.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, time.strip_prefix('+').unwrap_or(time)),
        };
        let is_number = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit());
        let seconds: i64 = digits.parse().ok().filter(|_| is_number)?;
        let seconds = if is_negative { -seconds } else { seconds };
        let (late, is_traced) = match mode.to_ascii_uppercase().as_str() {
            "N" => (Late::Notify, false),
            "NT" => (Late::Notify, true),
            "R" => (Late::Return, false),
            "RT" => (Late::Return, true),
            _ => return None,
        };
        // RFC 2852 §4: a message that is to be returned has some time at least.
        (late == Late::Notify || seconds > 0).then_some(Self { seconds, late, is_traced })
    }

    /// What was asked for a message, and the moment at which it is late.
    pub fn of(message: &Message) -> Option<(Self, Timestamp)> {
        let by = Self::parse(message.envelope.parameters.get("BY")?)?;
        let arrived = message.arrival.at;
        Some((by, Timestamp { seconds: arrived.seconds.saturating_add(by.seconds), ..arrived }))
    }

    /// The same at a later moment, for the next server: what is left of the time.
    #[must_use]
    pub fn at(self, deadline: Timestamp, now: Timestamp) -> Self {
        let bound = 10_i64.pow(9) - 1;
        Self { seconds: deadline.seconds.saturating_sub(now.seconds).clamp(-bound, bound), ..self }
    }
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.late {
            Late::Return => "R",
            Late::Notify => "N",
        };
        write!(f, "{};{mode}{}", self.seconds, if self.is_traced { "T" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_reads_back() {
        for text in ["120;R", "-5;NT", "0;N", "999999999;RT"] {
            assert_eq!(DeliverBy::parse(text).map(|by| by.to_string()), Some(text.to_owned()));
        }
        assert_eq!(DeliverBy::parse("+7;n").map(|by| by.to_string()), Some("7;N".to_owned()));
        for bad in ["", "5", "5;", "5;X", "5;TR", "0;R", "-1;R", "1000000000;N", ";N", "+-5;N", "5 ;N", "5;N;N"] {
            assert_eq!(DeliverBy::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_next_server_gets_what_is_left() {
        let by = DeliverBy::parse("100;NT").expect("valid");
        let deadline = Timestamp::from_seconds(1_100);
        assert_eq!(by.at(deadline, Timestamp::from_seconds(1_040)).to_string(), "60;NT");
        assert_eq!(by.at(deadline, Timestamp::from_seconds(1_140)).to_string(), "-40;NT");
    }
}
