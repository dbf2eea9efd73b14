//! From the text of a condition to what it means.

use super::{Condition, Field, Glob, Network, Pattern, RuleError, fields_of};
use crate::event::EventKind;

/// Names that people try and the field that they mean.
const SYNONYMS: &[(&str, &str)] = &[
    ("from", "mail from"),
    ("sender", "mail from"),
    ("mail", "mail from"),
    ("to", "rcpt to"),
    ("rcpt", "rcpt to"),
    ("recipient", "rcpt to"),
    ("helo", "ehlo"),
    ("ip", "client"),
    ("address", "client"),
    ("command", "verb"),
    ("reply", "code"),
    ("subject", "header NAME"),
];

/// Parses one part of a rule, without white space around it.
pub(super) fn condition(part: &str, event: EventKind) -> Result<Condition, RuleError> {
    let form = || RuleError::Form { part: part.to_owned() };
    let at = part.find(['=', '>']).ok_or_else(form)?;
    let (left, right) = part.split_at(at);
    let is_over = right.starts_with('>');
    let right = right.get(1..).unwrap_or_default();
    let (name, is_negated) = match left.strip_suffix('!') {
        Some(name) if !is_over => (name, true),
        Some(_) => return Err(form()),
        None => (left, false),
    };
    if name.trim().is_empty() {
        return Err(form());
    }
    let name = normal(name);
    let field = field(&name, event)?;
    if is_over != (field == Field::Size) {
        let why = if is_over { "only size is compared with >" } else { "write size>number, such as size>10MiB" };
        return Err(RuleError::Pattern { field: name, pattern: right.trim().to_owned(), why: why.to_owned() });
    }
    let patterns = right.split('|').map(|text| pattern(text.trim(), &field, &name)).collect::<Result<_, _>>()?;
    Ok(Condition { text: part.to_owned(), field, is_negated, patterns })
}

// Lower case, one space between words: `RCPT  TO` is `rcpt to`.
fn normal(name: &str) -> String {
    name.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

fn field(name: &str, event: EventKind) -> Result<Field, RuleError> {
    let (listed, field) = match name {
        "verb" => ("verb", Field::Verb),
        "ehlo" => ("ehlo", Field::Ehlo),
        "mail from" => ("mail from", Field::MailFrom),
        "rcpt to" => ("rcpt to", Field::RcptTo),
        "client" => ("client", Field::Client),
        "user" => ("user", Field::User),
        "tls" => ("tls", Field::Tls),
        "size" => ("size>", Field::Size),
        "code" => ("code", Field::Code),
        "listener" => ("listener", Field::Listener),
        "origin" => ("origin", Field::Origin),
        _ => match name.strip_prefix("header ") {
            Some(header) if is_field_name(header) => ("header NAME", Field::Header(header.to_owned())),
            _ => return Err(unknown(name, event)),
        },
    };
    let fields = fields_of(event);
    if fields.contains(&listed) {
        return Ok(field);
    }
    Err(RuleError::FieldNotKnown { field: name.to_owned(), event, fields: fields.to_vec() })
}

// RFC 5322 §2.2; white space would be a second word.
fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':')
}

fn unknown(name: &str, event: EventKind) -> RuleError {
    let (field, fields) = (name.to_owned(), fields_of(event).to_vec());
    let synonym = SYNONYMS.iter().find(|(tried, _)| *tried == name).map(|(_, meant)| *meant);
    let suggestion = synonym.filter(|meant| fields.contains(meant)).or_else(|| closest(name, &fields));
    RuleError::UnknownField { field, suggestion, event, fields }
}

/// Most edits between what was written and what is suggested; more is a guess.
const SUGGESTION_DISTANCE_MAX: usize = 2;

/// The name that is nearest to what was written, where one is near.
pub(crate) fn closest(name: &str, fields: &[&'static str]) -> Option<&'static str> {
    let distance = |field: &&'static str| edit_distance(name, field.trim_end_matches('>'));
    let best = fields.iter().copied().min_by_key(distance)?;
    (distance(&best) <= SUGGESTION_DISTANCE_MAX).then_some(best)
}

// Levenshtein, one row at a time. Names over 64 octets are no near miss of anything.
fn edit_distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, &above) in b.bytes().zip(row.iter().skip(1)) {
            left = (before + usize::from(x != y)).min(above + 1).min(left + 1);
            before = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

fn pattern(text: &str, field: &Field, name: &str) -> Result<Pattern, RuleError> {
    let wrong =
        |why: &str| Err(RuleError::Pattern { field: name.to_owned(), pattern: text.to_owned(), why: why.to_owned() });
    if text.is_empty() {
        return wrong("it is empty; * stands for any text");
    }
    match field {
        Field::Client => match Network::parse(text) {
            Some(network) => Ok(Pattern::Within(network)),
            None => wrong("write an address or a network, such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32"),
        },
        Field::Size => match octets(text) {
            Some(octets) => Ok(Pattern::Over(octets)),
            None => wrong("write a number of octets with or without KiB, MiB or GiB, such as 10MiB"),
        },
        Field::Code => {
            let is_code = text.len() <= 3 && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'*');
            let is_whole = text.len() == 3 || text.contains('*');
            if is_code && is_whole { Ok(glob(text)) } else { wrong("write a reply code, such as 550 or 5*") }
        }
        Field::Verb if !text.bytes().all(|octet| octet.is_ascii_graphic()) => wrong("a verb is one word"),
        Field::Origin => {
            let is_origin = text.contains('*')
                || ["smtp", "pickup", "notification"].iter().any(|origin| origin.eq_ignore_ascii_case(text))
                || text.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("sink:"));
            if is_origin { Ok(glob(text)) } else { wrong("write smtp, pickup, notification or sink:NAME") }
        }
        // The null sender's path is the empty string; other paths may be written in brackets, as on the wire.
        Field::MailFrom | Field::RcptTo => {
            Ok(glob(text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text)))
        }
        Field::Tls if !is_tls_version(text) => wrong("write a version, such as TLSv1.3, or * for any"),
        Field::Verb | Field::Ehlo | Field::Header(_) | Field::Listener => Ok(glob(text)),
        Field::User | Field::Tls => Ok(glob(text)),
    }
}

// `tls=yes` would look right and never hold.
fn is_tls_version(text: &str) -> bool {
    text.contains('*') || text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("tlsv"))
}

fn glob(text: &str) -> Pattern {
    Pattern::Text(Glob::new(text))
}

fn octets(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
