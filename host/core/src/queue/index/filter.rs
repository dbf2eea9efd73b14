//! Filters: which messages of the queue an operator means.
//!
//! The words are those of the event rules: conditions `field=pattern` joined by `;`, all of which must hold; `|`
//! between alternatives, `!=` for the contrary, `*` for any text, `<>` for the null sender, no regard to case.
//! `~` looks for its text anywhere in the field. What can be counted is compared: `age>2h;size>=1M`.

use core::time::Duration;

use thiserror::Error;

use super::row::Standing;
use super::tally::GroupBy;
use crate::event::rule::{Glob, closest};
use crate::mail::MessageId;
use crate::transport::{Destination, RouteTable};

/// Why a text is no filter. The texts go to the operator as they are.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// A part without a comparison.
    #[error("{part:?} is no condition; write field=pattern, field~text or field>number, joined by \";\"")]
    Form {
        /// The part.
        part: String,
    },
    /// A field that nobody knows.
    #[error("there is no filter field {field:?}{}; there are {}", did_you_mean(*suggestion), FIELDS.join(", "))]
    UnknownField {
        /// What was asked for.
        field: String,
        /// The closest field.
        suggestion: Option<&'static str>,
    },
    /// A comparison that the field has not.
    #[error("{field} {why}")]
    Comparison {
        /// The field.
        field: &'static str,
        /// What it has instead.
        why: &'static str,
    },
    /// A pattern that the field cannot have.
    #[error("{pattern:?} is no pattern for {field}: {why}")]
    Pattern {
        /// The field.
        field: &'static str,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
}

fn did_you_mean(suggestion: Option<&'static str>) -> String {
    suggestion.map(|field| format!(", did you mean {field:?}?")).unwrap_or_default()
}

/// Fields that a filter may ask for.
const FIELDS: [&str; 14] = [
    "id",
    "sender",
    "recipient",
    "domain",
    "destination",
    "state",
    "reply",
    "origin",
    "age",
    "next",
    "size",
    "attempts",
    "priority",
    "recipients",
];

/// Names that people try and the field that they mean.
const SYNONYMS: &[(&str, &str)] = &[
    ("from", "sender"),
    ("mail from", "sender"),
    ("to", "recipient"),
    ("rcpt", "recipient"),
    ("rcpt to", "recipient"),
    ("host", "destination"),
    ("hop", "destination"),
    ("stage", "state"),
    ("status", "state"),
    ("reason", "reply"),
    ("error", "reply"),
    ("why", "reply"),
    ("tries", "attempts"),
    ("bytes", "size"),
    ("message", "id"),
];

/// The word for every state in which mail is under way, whatever it waits for: submission, ready and deferred.
pub(super) const WAITING: &str = "waiting";

/// A conjunction of conditions, as it was written and as it is meant; the empty text selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    text: String,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) field: Field,
    pub(super) is_negated: bool,
    pub(super) test: Test,
}

impl Condition {
    /// Each destination that it names and that goes by another name.
    pub(super) fn meant(&self, routes: &RouteTable) -> impl Iterator<Item = (String, Destination)> {
        let globs: &[Glob] = if let Test::Text(globs) = &self.test { globs } else { &[] };
        let named = globs.iter().filter_map(Glob::literal);
        let meant = named.map(|name| (name.to_owned(), routes.route(name).destination.clone()));
        meant.filter(|(name, destination)| name != destination.as_str())
    }
}

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Sender,
    Recipient,
    Domain,
    Destination,
    State,
    Reply,
    Origin,
    Age,
    Next,
    Size,
    Attempts,
    Priority,
    Recipients,
}

/// What it compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    Text(Vec<Glob>),
    Number(Compare, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Over,
    AtLeast,
    Is,
    AtMost,
    Under,
}

impl Compare {
    pub(super) fn holds(self, found: i64, wanted: i64) -> bool {
        match self {
            Self::Over => found > wanted,
            Self::AtLeast => found >= wanted,
            Self::Is => found == wanted,
            Self::AtMost => found <= wanted,
            Self::Under => found < wanted,
        }
    }
}

impl Field {
    fn parse(name: &str) -> Option<(Self, &'static str)> {
        let place = FIELDS.iter().position(|field| *field == name)?;
        const MEANT: [Field; 14] = [
            Field::Id,
            Field::Sender,
            Field::Recipient,
            Field::Domain,
            Field::Destination,
            Field::State,
            Field::Reply,
            Field::Origin,
            Field::Age,
            Field::Next,
            Field::Size,
            Field::Attempts,
            Field::Priority,
            Field::Recipients,
        ];
        Some((*MEANT.get(place)?, *FIELDS.get(place)?))
    }

    fn is_text(self) -> bool {
        match self {
            Self::Id
            | Self::Sender
            | Self::Recipient
            | Self::Domain
            | Self::Destination
            | Self::State
            | Self::Reply
            | Self::Origin => true,
            Self::Age | Self::Next | Self::Size | Self::Attempts | Self::Priority | Self::Recipients => false,
        }
    }

    /// Whether a condition on it chooses recipients of a message.
    pub(super) fn chooses_recipients(self) -> bool {
        matches!(self, Self::Recipient | Self::Domain | Self::Destination | Self::Reply)
    }
}

impl Filter {
    /// Parses a filter.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let text = text.trim();
        let parts = text.split(';').map(str::trim).filter(|_| !text.is_empty());
        let conditions = parts.map(condition).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), conditions })
    }

    /// The filter as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it selects everything because it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Domains that it names as destinations and whose mail goes to a server of a route: all mail there is meant.
    pub fn meant(&self, routes: &RouteTable) -> Vec<(String, Destination)> {
        let of_destination = self.conditions.iter().filter(|condition| condition.field == Field::Destination);
        of_destination.flat_map(|condition| condition.meant(routes)).collect()
    }

    /// What its conditions look at, where messages can be put together by that; for a filter that selected nothing.
    pub fn groupings(&self) -> Vec<GroupBy> {
        let groupings = self.conditions.iter().filter_map(|condition| match condition.field {
            Field::Sender => Some(GroupBy::Sender),
            Field::Domain | Field::Recipient => Some(GroupBy::Domain),
            Field::Destination => Some(GroupBy::Destination),
            Field::State => Some(GroupBy::State),
            Field::Reply => Some(GroupBy::Reply),
            Field::Origin => Some(GroupBy::Origin),
            Field::Id
            | Field::Age
            | Field::Next
            | Field::Size
            | Field::Attempts
            | Field::Priority
            | Field::Recipients => None,
        });
        groupings.collect()
    }

    /// Whether it chooses some recipients of a message rather than whole messages.
    pub fn chooses_recipients(&self) -> bool {
        self.conditions.iter().any(|condition| condition.field.chooses_recipients())
    }

    /// The messages that it names one by one, so that nobody has to look for them: `id=` without a star.
    pub fn ids(&self) -> Option<Vec<MessageId>> {
        let named = |condition: &Condition| match &condition.test {
            Test::Text(globs) if condition.field == Field::Id && !condition.is_negated => {
                // An id of capital letters is not found by its lower-case pattern; the long way finds it.
                globs.iter().map(|glob| glob.literal().and_then(MessageId::parse)).collect::<Option<Vec<_>>>()
            }
            Test::Text(_) | Test::Number(..) => None,
        };
        let ids = self.conditions.iter().find_map(named)?;
        let is_own = |id: &MessageId| !id.as_str().bytes().any(|octet| octet.is_ascii_alphabetic() && octet > b'f');
        ids.iter().all(is_own).then_some(ids)
    }
}

fn condition(part: &str) -> Result<Condition, FilterError> {
    let form = || FilterError::Form { part: part.to_owned() };
    let at = part.find(['=', '!', '~', '<', '>']).ok_or_else(form)?;
    let (name, rest) = part.split_at(at);
    const SIGNS: [&str; 9] = [">=", "<=", "!=", "!~", "=~", "=", "~", ">", "<"];
    let (sign, right) = SIGNS.iter().find_map(|sign| Some((*sign, rest.strip_prefix(sign)?))).ok_or_else(form)?;
    let name = name.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ");
    if name.is_empty() {
        return Err(form());
    }
    let (field, word) = Field::parse(&name).ok_or_else(|| unknown(&name))?;
    let right = right.trim();
    if right.is_empty() {
        return Err(wrong(word, right, "it is empty; * stands for any text"));
    }
    let is_negated = sign.starts_with('!');
    let test = match sign {
        "=" | "!=" if !field.is_text() => Test::Number(Compare::Is, number(right, field, word)?),
        "=" | "!=" | "~" | "=~" | "!~" if field.is_text() => texts(right, sign.ends_with('~'), field, word)?,
        ">" | ">=" | "<" | "<=" if !field.is_text() => {
            let compare = match sign {
                ">" => Compare::Over,
                ">=" => Compare::AtLeast,
                "<" => Compare::Under,
                _ => Compare::AtMost,
            };
            Test::Number(compare, number(right, field, word)?)
        }
        _ if field.is_text() => {
            return Err(FilterError::Comparison { field: word, why: "is a text; compare it with =, != or ~" });
        }
        _ => {
            return Err(FilterError::Comparison { field: word, why: "is a number; compare it with <, <=, =, >= or >" });
        }
    };
    Ok(Condition { field, is_negated, test })
}

fn unknown(name: &str) -> FilterError {
    let synonym = SYNONYMS.iter().find(|(tried, _)| *tried == name).map(|(_, meant)| *meant);
    FilterError::UnknownField { field: name.to_owned(), suggestion: synonym.or_else(|| closest(name, &FIELDS)) }
}

fn wrong(field: &'static str, pattern: &str, why: impl Into<String>) -> FilterError {
    FilterError::Pattern { field, pattern: pattern.to_owned(), why: why.into() }
}

fn texts(right: &str, is_anywhere: bool, field: Field, word: &'static str) -> Result<Test, FilterError> {
    let glob = |text: &str| {
        let text = text.trim();
        if text.is_empty() {
            return Err(wrong(word, text, "it is empty; * stands for any text"));
        }
        let is_state = |text: &str| Standing::ALL.iter().any(|state| state.word().eq_ignore_ascii_case(text));
        let is_state = |text: &str| is_state(text) || text.eq_ignore_ascii_case(WAITING);
        if field == Field::State && !is_anywhere && !text.contains('*') && !is_state(text) {
            let words: Vec<_> = Standing::ALL.iter().map(|state| state.word()).collect();
            let why = format!("a message is {}; {WAITING} stands for the first three", words.join(", "));
            return Err(wrong(word, text, why));
        }
        // The null sender's path is the empty string; other paths may be written in brackets, as on the wire.
        let is_path = matches!(field, Field::Sender | Field::Recipient);
        let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).filter(|_| is_path);
        let text = bare.unwrap_or(text);
        Ok(if is_anywhere { Glob::new(&format!("*{text}*")) } else { Glob::new(text) })
    };
    Ok(Test::Text(right.split('|').map(glob).collect::<Result<_, _>>()?))
}

fn number(right: &str, field: Field, word: &'static str) -> Result<i64, FilterError> {
    let (units, advice): (&[(&str, u64)], _) = match field {
        Field::Age | Field::Next => (&TIMES, "write a time such as 90s, 30m, 2h, 5d or 1w"),
        Field::Size => (&SIZES, "write a number of octets with or without K, M or G, such as 1M"),
        Field::Attempts
        | Field::Priority
        | Field::Recipients
        | Field::Id
        | Field::Sender
        | Field::Recipient
        | Field::Domain
        | Field::Destination
        | Field::State
        | Field::Reply
        | Field::Origin => (&COUNTS, "write a whole number"),
    };
    let (sign, digits) = match right.strip_prefix('-') {
        Some(digits) if field == Field::Priority => (-1, digits),
        Some(_) | None => (1, right),
    };
    let found = amount(digits, units).and_then(|found| i64::try_from(found).ok());
    found.map(|found| sign * found).ok_or_else(|| wrong(word, right, advice))
}

const TIMES: [(&str, u64); 7] =
    [("s", 1), ("sec", 1), ("m", 60), ("min", 60), ("h", 3_600), ("d", 24 * 3_600), ("w", 7 * 24 * 3_600)];
const SIZES: [(&str, u64); 11] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kb", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mb", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gb", 1 << 30),
    ("gib", 1 << 30),
];
const COUNTS: [(&str, u64); 1] = [("", 1)];

fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Reads a time such as `2h`, as filters have it.
pub fn parse_time(text: &str) -> Option<Duration> {
    amount(text.trim(), &TIMES).map(Duration::from_secs)
}
