//! When a timer is due: the five fields of crontab(5), in UTC.
//!
//! UTC has no summer time, so no hour comes twice and none is missing.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

use crate::time::Timestamp;

const MINUTE_SECONDS: i64 = 60;
const DAY_SECONDS: i64 = 86_400;
const MINUTES_OF_HOUR: i64 = 60;

/// Days that are looked at for the next one that is due. From one 29 February to the next it is 8 years where a century
/// is no leap year, as from 2096 to 2104.
const DAYS_MAX: i64 = 8 * 366;

/// Seconds since 1970 beyond which nothing is due, before and after: about the years -1000 and 5000. A clock that says so
/// is out of order, and the sums below stay far from their limits.
const SECONDS_MAX: i64 = 3_000 * 366 * DAY_SECONDS;

/// The most that is repeated of a wrong word in a complaint, in characters.
const SHOWN_CHARACTERS_MAX: usize = 40;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The words that stand for five fields.
const NAMED: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A schedule: minute, hour, day of month, month, day of week. Both days restricted means either of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether the day of the month is anything but `*`.
    is_day_restricted: bool,
    /// Whether the day of the week is anything but `*`.
    is_weekday_restricted: bool,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CronError {
    /// Not five fields.
    #[error(
        "a schedule has five fields (minute, hour, day of month, month, day of week) and this has {found}; write as in \
         \"*/5 * * * *\" or @hourly"
    )]
    Fields {
        /// How many there are.
        found: usize,
    },
    /// A word with `@` that stands for nothing.
    #[error("there is no schedule {word:?}; there are {}", names())]
    Name {
        /// The word.
        word: String,
    },
    /// A part of a field that cannot be read.
    #[error(
        "{field} {part:?} cannot be read; write a number, a range as {from}-{to}, * or a list of them with commas, and \
         behind a range or * a step as in */5"
    )]
    Part {
        /// Name of the field.
        field: &'static str,
        /// The part.
        part: String,
        /// Smallest number of the field.
        from: u32,
        /// Largest number of the field.
        to: u32,
    },
    /// A number outside of its field.
    #[error("{field} {number} is out of range; write {from} to {to}")]
    Range {
        /// Name of the field.
        field: &'static str,
        /// The number.
        number: u32,
        /// Smallest number of the field.
        from: u32,
        /// Largest number of the field.
        to: u32,
    },
    /// A step that leaves a range at once: whoever writes one means something else than the first number alone.
    #[error("the step of {field} {part:?} is wider than what it steps through; write a smaller one, or one number")]
    Step {
        /// Name of the field.
        field: &'static str,
        /// The part.
        part: String,
    },
    /// A range that ends before it begins.
    #[error("{field} {part:?} ends before it begins; write the smaller one first")]
    Backwards {
        /// Name of the field.
        field: &'static str,
        /// The range.
        part: String,
    },
    /// A day that no month of the schedule has.
    #[error("the schedule {text:?} is never due: none of its months has such a day")]
    Never {
        /// The schedule.
        text: String,
    },
}

fn names() -> String {
    NAMED.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// What a field may have.
struct Field {
    name: &'static str,
    from: u32,
    to: u32,
    words: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", from: 0, to: 59, words: &[] };
const HOUR: Field = Field { name: "hour", from: 0, to: 23, words: &[] };
const DAY: Field = Field { name: "day of month", from: 1, to: 31, words: &[] };
const MONTH: Field = Field { name: "month", from: 1, to: 12, words: &MONTHS };
/// Sunday is 0 and 7.
const WEEKDAY: Field = Field { name: "day of week", from: 0, to: 7, words: &WEEKDAYS };

impl Field {
    fn parse(&self, text: &str) -> Result<u64, CronError> {
        text.split(',').try_fold(0, |set, part| Ok(set | self.part(part)?))
    }

    fn part(&self, part: &str) -> Result<u64, CronError> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let step = match step {
            Some(step) => number(step).filter(|step| *step > 0).ok_or_else(|| self.unreadable(part))?,
            None => 1,
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.from, self.to),
            Some((first, last)) => (self.value(first, part)?, self.value(last, part)?),
            // Where a step would lead from a single number nobody agrees upon.
            None if part.contains('/') => return Err(self.unreadable(part)),
            None => (self.value(range, part)?, self.value(range, part)?),
        };
        if first > last {
            return Err(CronError::Backwards { field: self.name, part: shown(part) });
        }
        if part.contains('/') && step > last - first {
            return Err(CronError::Step { field: self.name, part: shown(part) });
        }
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        Ok((first..=last).step_by(step).fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str, part: &str) -> Result<u32, CronError> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        if let Some(place) = word.and_then(|place| u32::try_from(place).ok()) {
            return Ok(self.from + place);
        }
        let number = number(text).ok_or_else(|| self.unreadable(part))?;
        if (self.from..=self.to).contains(&number) {
            return Ok(number);
        }
        Err(CronError::Range { field: self.name, number, from: self.from, to: self.to })
    }

    fn unreadable(&self, part: &str) -> CronError {
        CronError::Part { field: self.name, part: shown(part), from: self.from, to: self.to }
    }
}

// Digits alone: `parse` would take a sign as well.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS_MAX).collect()
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let text = text.trim();
        if text.starts_with('@') {
            let named = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            let (name, fields) = named.ok_or_else(|| CronError::Name { word: shown(text) })?;
            return Ok(Self { text: (*name).to_owned(), ..Self::of_fields(fields)? });
        }
        Self::of_fields(text)
    }
}

impl Cron {
    fn of_fields(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(CronError::Fields { found: fields.len() });
        };
        let weekdays = WEEKDAY.parse(weekday)?;
        let cron = Self {
            text: fields.join(" "),
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays: weekdays | weekdays >> 7 & 1,
            is_day_restricted: day != "*",
            is_weekday_restricted: weekday != "*",
        };
        match cron.next_after(Timestamp::default()) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never { text: cron.text }),
        }
    }

    /// The schedule as it was written, with one space between fields.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// When it is due next, later than `moment`: always a whole minute. `None` only where the clock is thousands of years
    /// off.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        if moment.seconds.unsigned_abs() > SECONDS_MAX.unsigned_abs() {
            return None;
        }
        let minute = moment.seconds.div_euclid(MINUTE_SECONDS) + 1;
        let from = minute * MINUTE_SECONDS;
        let today = from.div_euclid(DAY_SECONDS);
        let now = from.rem_euclid(DAY_SECONDS) / MINUTE_SECONDS;
        (today..=today + DAYS_MAX).find_map(|day| {
            let first = if day == today { now } else { 0 };
            let minute = self.is_day(day).then(|| self.minute_of_day(first)).flatten()?;
            Some(Timestamp::from_seconds(day * DAY_SECONDS + minute * MINUTE_SECONDS))
        })
    }

    // The first minute of a day that is due, not before `first`.
    fn minute_of_day(&self, first: i64) -> Option<i64> {
        let hour_now = first / MINUTES_OF_HOUR;
        (hour_now..24).filter(|hour| has(self.hours, *hour)).find_map(|hour| {
            let from = if hour == hour_now { first % MINUTES_OF_HOUR } else { 0 };
            let minute = (from..MINUTES_OF_HOUR).find(|minute| has(self.minutes, *minute))?;
            Some(hour * MINUTES_OF_HOUR + minute)
        })
    }

    // Whether anything is due on a day, counted from 1970-01-01, which was a Thursday.
    fn is_day(&self, day: i64) -> bool {
        let (month, of_month) = month_and_day(day);
        let is_day = has(self.days, of_month);
        let is_weekday = has(self.weekdays, (day + 4).rem_euclid(7));
        has(self.months, month)
            && match (self.is_day_restricted, self.is_weekday_restricted) {
                // POSIX, crontab: where both are given, either of them.
                (true, true) => is_day || is_weekday,
                (true, false) => is_day,
                (false, true) => is_weekday,
                (false, false) => true,
            }
    }
}

fn has(set: u64, value: i64) -> bool {
    set >> value & 1 == 1
}

/// Month and day of month of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// The year is counted from 1 March, so that the day that comes and goes is the last one: then 400 years are always
/// 146,097 days, and the months from March on have 153 days in each five.
fn month_and_day(day: i64) -> (i64, i64) {
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    let of_era = (day + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    (if month < 10 { month + 3 } else { month - 9 }, of_month)
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
