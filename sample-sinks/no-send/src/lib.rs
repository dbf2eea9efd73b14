//! Keeps messages from other servers: those that are too large for a line, those that have time until the night, and
//! those that an earlier sink has marked.
//!
//! At `on-message-start` the whole message stays, at `on-per-recipient` the one recipient; which of the two is a matter
//! of the binding. A 4xx in the configuration keeps it for later, a 5xx sends it back.

use basin_sink::prelude::*;

/// Answer where the configuration has no `reply`: later, because most rules are about a time.
const REPLY: (u16, &str, &str) = (450, "4.7.1", "this message is not sent there now");

/// Seconds of a day, an hour and a minute.
const DAY: i64 = 24 * HOUR;
/// See [`DAY`].
const HOUR: i64 = 60 * MINUTE;
/// See [`DAY`].
const MINUTE: i64 = 60;

/// The sink.
#[derive(Debug)]
pub struct NoSend;

impl OnMessageStart for NoSend {
    fn on_message_start(
        session: &OutSession,
        message: &mut Message,
        _command: &OutCommand,
        call: &Call,
    ) -> Result<OutVerdict> {
        let domains: Vec<String> = message.recipients().map(|one| one.domain()).collect();
        let reason = Rules::read()?.reason(&session.host(), &domains, message, call.now())?;
        Ok(match reason {
            Some(reason) => OutVerdict::SkipMessage(told(&reason, &session.host())?),
            None => OutVerdict::Next,
        })
    }
}

impl OnPerRecipient for NoSend {
    fn on_per_recipient(
        session: &OutSession,
        message: &mut Message,
        recipient: &mut Recipient,
        _command: &OutCommand,
        call: &Call,
    ) -> Result<OutVerdict> {
        let reason = Rules::read()?.reason(&session.host(), &[recipient.domain()], message, call.now())?;
        Ok(match reason {
            Some(reason) => OutVerdict::SkipRecipient(told(&reason, &session.host())?),
            None => OutVerdict::Next,
        })
    }
}

/// What the configuration says.
#[derive(Debug)]
struct Rules {
    /// Hosts and recipients' domains that the rules are for; none is all.
    places: Vec<String>,
    size_max: Option<u64>,
    /// The first and the last second of a day, in UTC.
    quiet: Option<(i64, i64)>,
    property: Option<String>,
}

impl Rules {
    fn read() -> Result<Self> {
        let rules = Self {
            places: config::list("places").unwrap_or_default(),
            size_max: config::octets("max-size")?,
            quiet: config::get("quiet").map(|text| span(&text)).transpose()?,
            property: config::get("property"),
        };
        if rules.size_max.is_none() && rules.quiet.is_none() && rules.property.is_none() {
            return Err(Failure::new("it has no rule: set max-size, quiet or property"));
        }
        Ok(rules)
    }

    /// Why the message stays here; none where it may go.
    fn reason(&self, host: &str, domains: &[String], message: &Message, now: Datetime) -> Result<Option<&'static str>> {
        let is_place = |name: &str| self.places.iter().any(|place| covers(place, name));
        if !self.places.is_empty() && !is_place(host) && !domains.iter().any(|domain| is_place(domain)) {
            return Ok(None);
        }
        if self.size_max.is_some_and(|limit| message.size() > limit) {
            return Ok(Some("size"));
        }
        let time = now.seconds.rem_euclid(DAY);
        let is_quiet = |(start, end): (i64, i64)| {
            // From 22:00 to 06:00 is over midnight.
            if start <= end { (start..end).contains(&time) } else { time >= start || time < end }
        };
        if self.quiet.is_some_and(is_quiet) {
            return Ok(Some("quiet"));
        }
        let is_marked = self.property.as_deref().is_some_and(|name| message.property(name).is_some());
        Ok(is_marked.then_some("property"))
    }
}

/// Whether `*.example.org` or `example.org` is about a name.
fn covers(place: &str, name: &str) -> bool {
    match place.strip_prefix("*.") {
        Some(domain) => name
            .len()
            .checked_sub(domain.len() + 1)
            .and_then(|at| name.get(at..))
            .and_then(|end| end.strip_prefix('.'))
            .is_some_and(|end| end.eq_ignore_ascii_case(domain)),
        None => place.eq_ignore_ascii_case(name),
    }
}

/// Reads `22:00-06:00`.
fn span(text: &str) -> Result<(i64, i64)> {
    let wrong = || Failure::new(format!("quiet is {text:?}; write it as in 22:00-06:00, in UTC"));
    let (start, end) = text.split_once('-').ok_or_else(wrong)?;
    let second = |text: &str| {
        let (hours, minutes) = text.trim().split_once(':')?;
        let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours <= 24 && minutes < 60).then_some(i64::from(hours) * HOUR + i64::from(minutes) * MINUTE)
    };
    Ok((second(start).ok_or_else(wrong)?, second(end).ok_or_else(wrong)?))
}

/// The answer for the queue, counted by its reason.
fn told(reason: &str, host: &str) -> Result<Reply> {
    metrics::count(reason);
    log::info!("kept from {host}: {reason}");
    let Some(text) = config::get("reply") else {
        let (code, status, text) = REPLY;
        return Ok(Reply::new(code, text).status(status));
    };
    let wrong = || Failure::new(format!("reply is {text:?}; write code, status and text, as in 550 5.7.1 not there"));
    let mut words = text.splitn(3, ' ');
    let code = words.next().and_then(|code| code.parse().ok()).filter(|code| (400..=599).contains(code));
    let (Some(code), Some(status), Some(words)) = (code, words.next(), words.next()) else { return Err(wrong()) };
    if status.split('.').count() != 3 || !status.starts_with(if code < 500 { '4' } else { '5' }) {
        return Err(wrong());
    }
    Ok(Reply::new(code, words).status(status))
}

basin_sink::export!(NoSend: OnMessageStart, OnPerRecipient);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    const MAIL: &str = "MAIL FROM:<a@basin.example>";
    /// 2025-06-15, midnight.
    const MIDNIGHT: i64 = 1_749_945_600;

    fn message() -> testing::Message {
        let mut message = testing::Message::from_eml("Subject: hi\r\n\r\nbody\r\n");
        message.set_recipients(&["b@far.example", "c@near.example"]).set_remote("mx.far.example", &[]);
        message
    }

    fn at(message: &mut testing::Message, hours: i64, minutes: i64) -> OutVerdict {
        message.set_now(Datetime { seconds: MIDNIGHT + hours * HOUR + minutes * MINUTE, nanoseconds: 0 });
        message.message_start::<NoSend>(MAIL)
    }

    fn kept() -> OutVerdict {
        OutVerdict::SkipMessage(Reply::new(450, "this message is not sent there now").status("4.7.1"))
    }

    #[test]
    fn what_is_too_large_stays() {
        let mut message = message();
        message.set_config("max-size", "10KiB");
        assert_eq!(message.message_start::<NoSend>(MAIL), OutVerdict::Next);
        message.set_config("max-size", "10");
        assert_eq!(message.message_start::<NoSend>(MAIL), kept());
        assert_eq!(message.counter("size"), 1);
    }

    #[test]
    fn quiet_hours_may_go_over_midnight() {
        let mut message = message();
        message.set_config("quiet", "22:00-06:30");
        for (hours, minutes, is_quiet) in
            [(21, 59, false), (22, 0, true), (0, 0, true), (6, 29, true), (6, 30, false), (12, 0, false)]
        {
            let expected = if is_quiet { kept() } else { OutVerdict::Next };
            assert_eq!(at(&mut message, hours, minutes), expected, "{hours}:{minutes}");
        }
        message.set_config("quiet", "08:00-09:00");
        assert_eq!(at(&mut message, 8, 30), kept());
        assert_eq!(at(&mut message, 9, 0), OutVerdict::Next);
    }

    #[test]
    fn a_mark_of_an_earlier_sink_keeps_it() {
        let mut message = message();
        message.set_config("property", "shared.inside-only").set_config("reply", "550 5.7.1 for this house alone");
        assert_eq!(message.message_start::<NoSend>(MAIL), OutVerdict::Next);
        message.set_property("shared.inside-only", "yes");
        let expected = OutVerdict::SkipMessage(Reply::new(550, "for this house alone").status("5.7.1"));
        assert_eq!(message.message_start::<NoSend>(MAIL), expected);
    }

    #[test]
    fn the_rules_are_for_the_places_that_are_named() {
        let mut message = message();
        message.set_config("max-size", "10").set_config("places", "other.example, *.far.example");
        assert_eq!(message.message_start::<NoSend>(MAIL), kept());
        message.set_config("places", "near.example");
        assert_eq!(message.message_start::<NoSend>(MAIL), kept(), "a domain of one recipient");
        assert_eq!(message.per_recipient::<NoSend>("b@far.example"), OutVerdict::Next);
        let expected = OutVerdict::SkipRecipient(Reply::new(450, "this message is not sent there now").status("4.7.1"));
        assert_eq!(message.per_recipient::<NoSend>("c@near.example"), expected);
        message.set_config("places", "*.near.example, r.example");
        assert_eq!(message.message_start::<NoSend>(MAIL), OutVerdict::Next);
    }

    #[test]
    fn a_configuration_that_says_nothing_or_nonsense_is_a_failure() {
        let mut message = message();
        assert!(message.try_message_start::<NoSend>(MAIL).is_err());
        for quiet in ["22-6", "25:00-06:00", "22:00", "22:60-06:00"] {
            message.set_config("quiet", quiet);
            assert!(message.try_message_start::<NoSend>(MAIL).is_err(), "{quiet}");
        }
        message.set_config("quiet", "00:00-24:00");
        for reply in ["250 2.0.0 fine", "450 no", "450 5.7.1 both", "no"] {
            message.set_config("reply", reply);
            assert!(message.try_message_start::<NoSend>(MAIL).is_err(), "{reply}");
        }
    }
}
