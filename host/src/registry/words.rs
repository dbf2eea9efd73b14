//! The words and numbers of the registry, checked alike in the file and on the command line.

use std::str::FromStr;

use basin_core::event::binding::PRIORITY_MAX;
use basin_core::event::budget::{FUEL_MAX, MEMORY_MAX, TIME_MAX};
use basin_core::event::registry::is_sink_name;
use basin_core::event::{Cron, CronError, EventKind, FailurePolicy, Grant, GrantError, InstanceMode, Mode};
use basin_core::limits::{BINDING_NAME_BYTES_MAX, SINK_NAME_BYTES_MAX};
use basin_core::time::Timestamp;

use crate::registry::{quantity, suggest};

/// Longest name of a configuration key, in characters.
const CONFIG_KEY_CHARACTERS_MAX: usize = 128;
/// Longest value of a configuration key, in octets. Sinks read it whole; what is longer belongs into a file.
pub(super) const CONFIG_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Checks the name of a sink.
///
/// # Errors
/// Says what form a name has.
pub fn check_sink_name(name: &str) -> Result<(), String> {
    if is_sink_name(name) {
        return Ok(());
    }
    let form = format!("write 1 to {SINK_NAME_BYTES_MAX} characters out of a-z 0-9 -, beginning with a letter");
    Err(format!("{name:?} is no name for a sink; {form}"))
}

/// Checks the name of a binding.
///
/// # Errors
/// Says what form a name has.
pub fn check_binding_name(name: &str) -> Result<(), String> {
    if (1..=BINDING_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Ok(());
    }
    let form = format!("write 1 to {BINDING_NAME_BYTES_MAX} printable ASCII characters without space");
    Err(format!("{name:?} is no name for a binding; {form}"))
}

/// Reads an event that a binding can name.
///
/// # Errors
/// No such event, or one that is raised for whoever was asked before.
pub fn parse_event(name: &str) -> Result<EventKind, String> {
    let event = parse_any_event(name)?;
    if event.can_be_bound() {
        return Ok(event);
    }
    Err(format!(
        "{event} is raised for a sink that said await-input at on-inbound-command and cannot be bound; bind the sink to \
         on-inbound-command"
    ))
}

/// Reads an event of the contract, whether a binding can name it or not.
///
/// # Errors
/// No such event.
pub fn parse_any_event(name: &str) -> Result<EventKind, String> {
    EventKind::from_str(name).map_err(|_| {
        let hint = suggest::hint(name, EventKind::ALL.iter().map(|event| event.name()));
        format!("there is no event {name:?}{hint}; `basin sink inspect --events` lists them")
    })
}

/// Reads a grant.
///
/// # Errors
/// No such grant, or one whose value says nothing.
pub fn parse_grant(name: &str) -> Result<Grant, String> {
    name.parse().map_err(|error: GrantError| match &error {
        GrantError::Address { .. } | GrantError::Dir { .. } | GrantError::Variable { .. } => error.to_string(),
        GrantError::Unknown { .. } => {
            let known: Vec<_> = Grant::ALL.iter().map(|grant| grant.name()).collect();
            let hint = suggest::hint(name, known.iter().copied());
            format!("there is no grant {name:?}{hint}; known are {}, http=, dir=, env=", known.join(", "))
        }
    })
}

/// Reads a mode.
///
/// # Errors
/// Says which there are.
pub fn parse_mode(word: &str) -> Result<Mode, String> {
    let known = Mode::ALL.iter().copied().find(|mode| mode.word() == word);
    known.ok_or_else(|| format!("there is no mode {word:?}; write decide, observe or shadow"))
}

/// Reads how long an instance lives.
///
/// # Errors
/// Says which words there are.
pub fn parse_instance(word: &str) -> Result<InstanceMode, String> {
    let known = InstanceMode::ALL.iter().copied().find(|mode| mode.word() == word);
    known.ok_or_else(|| format!("an instance does not live for {word:?}; write call, transaction, session or warm"))
}

/// What happens at an event when a sink fails and nobody said what should.
pub fn default_policy(event: EventKind) -> FailurePolicy {
    event.policies().first().copied().unwrap_or(FailurePolicy::Skip)
}

/// Reads a failure policy that the event has.
///
/// # Errors
/// Says which the event has.
pub fn parse_policy(word: &str, event: EventKind) -> Result<FailurePolicy, String> {
    let policies = event.policies();
    policies.iter().copied().find(|policy| policy.word() == word).ok_or_else(|| {
        let words: Vec<_> = policies.iter().map(|policy| policy.word()).collect();
        format!("{event} has no failure policy {word:?}; it has {} (the first is the default)", words.join(", "))
    })
}

/// Checks a priority.
///
/// # Errors
/// Says the range.
pub fn check_priority(number: i64) -> Result<u16, String> {
    u16::try_from(number)
        .ok()
        .filter(|priority| *priority <= PRIORITY_MAX)
        .ok_or_else(|| format!("priority {number} is out of range; write 0 (first) to {PRIORITY_MAX} (last)"))
}

/// Checks a number of firings.
///
/// # Errors
/// It is not positive.
pub fn check_firings(number: i64) -> Result<u64, String> {
    u64::try_from(number)
        .ok()
        .filter(|firings| *firings > 0)
        .ok_or_else(|| format!("max-firings {number} is out of range; write 1 or more, or leave it out for no limit"))
}

/// Checks fuel.
///
/// # Errors
/// Says the range.
pub fn check_fuel(number: i64) -> Result<u64, String> {
    u64::try_from(number)
        .ok()
        .filter(|fuel| (1..=FUEL_MAX).contains(fuel))
        .ok_or_else(|| format!("fuel {number} is out of range; write 1 to {FUEL_MAX}"))
}

/// Reads the memory of a call, in octets.
///
/// # Errors
/// Says the form or the range.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let octets = quantity::size(text)?;
    if (1..=MEMORY_MAX).contains(&octets) {
        return Ok(octets);
    }
    Err(format!("memory {text} is out of range; write 64KiB to {}", quantity::show_size(MEMORY_MAX)))
}

/// Reads the deadline of a call, in milliseconds.
///
/// # Errors
/// Says the form or the range.
pub fn parse_deadline(text: &str) -> Result<u64, String> {
    let deadline = quantity::duration(text)?;
    if deadline.is_zero() || deadline > TIME_MAX {
        return Err(format!("deadline {text} is out of range; write 1ms to {}s", TIME_MAX.as_secs()));
    }
    u64::try_from(deadline.as_millis()).map_err(|_| format!("deadline {text} is out of range"))
}

/// Reads the schedule of a binding: `on-timer` needs one, and no other event has one.
///
/// # Errors
/// It is no schedule, it is missing, or the event comes by itself.
pub fn parse_schedule(text: Option<&str>, event: EventKind) -> Result<Option<Cron>, String> {
    match (text, event == EventKind::OnTimer) {
        (Some(text), true) => text.parse().map(Some).map_err(|error: CronError| error.to_string()),
        (Some(_), false) => Err(format!("{event} has no schedule; on-timer has one")),
        (None, true) => Err(format!(
            "{event} needs a schedule: minute, hour, day of month, month and day of week in UTC, as in \
             \"*/5 * * * *\", or a word as @hourly"
        )),
        (None, false) => Ok(None),
    }
}

/// Checks that a binding of the event can name a listener.
///
/// # Errors
/// Nothing that the event is about came in by a listener.
pub fn check_place(event: EventKind) -> Result<(), String> {
    if matches!(event, EventKind::OnTimer | EventKind::OnTrack) {
        return Err(format!(
            "{event} happens at no listener, so the sink would never be called; leave the listener out"
        ));
    }
    Ok(())
}

/// Reads a moment in the form of RFC 3339.
///
/// # Errors
/// Says the form.
pub fn parse_moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| format!("{text:?} is no moment; write date, time and offset, as in 2030-01-31T12:00:00Z"))
}

/// Checks a key and a value of a sink's configuration.
///
/// # Errors
/// Says what is wrong with either.
pub fn check_config(key: &str, value: &str) -> Result<(), String> {
    let is_inner = |octet: u8| octet.is_ascii_graphic() && octet != b'=' && octet != b'"';
    if !(1..=CONFIG_KEY_CHARACTERS_MAX).contains(&key.len()) || !key.bytes().all(is_inner) {
        return Err(format!(
            "{key:?} is no configuration key; write 1 to {CONFIG_KEY_CHARACTERS_MAX} printable ASCII characters \
             without space, = and quotes"
        ));
    }
    if value.len() > CONFIG_VALUE_BYTES_MAX {
        let octets = value.len();
        return Err(format!("the value of {key} has {octets} octets; {CONFIG_VALUE_BYTES_MAX} are the most"));
    }
    Ok(())
}

/// Cuts `key=value`.
///
/// # Errors
/// Says the form.
pub fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is no setting; write key=value, as in --set field=X-Stamp"))?;
    check_config(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}
