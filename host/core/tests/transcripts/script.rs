//! The lines of a transcript.

use core::time::Duration;

use basin_core::event::EventKind;
use basin_core::reply::{Enhanced, Reply};

/// One line, with its number.
pub(crate) type Numbered = (usize, Line);

#[derive(Debug, Clone)]
pub(crate) enum Line {
    Limit(String, u64),
    Events(Vec<EventKind>),
    Client(Vec<u8>),
    Server(String),
    Closed,
    Asks { what: String, native: Option<String> },
    Decide(String),
    Happens(String),
    Stored(String),
    Header(String),
    Body(String),
    Waits(Duration),
    Notice(String),
}

pub(crate) fn parse(text: &str) -> Result<Vec<Numbered>, String> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let line = parse_line(line).ok_or_else(|| format!("{number}: not a line of a transcript: {line}"))?;
        lines.push((number, line));
    }
    Ok(lines)
}

fn parse_line(line: &str) -> Option<Line> {
    let (kind, rest) = line.split_at_checked(2)?;
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    Some(match kind {
        "%:" => match rest.split_once(' ')? {
            ("events", names) => Line::Events(names.split(' ').map(|name| name.parse().ok()).collect::<Option<_>>()?),
            (key, number) => Line::Limit(key.to_owned(), number.parse().ok()?),
        },
        "C:" => Line::Client(octets(rest)?),
        "S:" if rest == "<closed>" => Line::Closed,
        "S:" => Line::Server(rest.to_owned()),
        "?:" => match rest.split_once(" = ") {
            Some((what, native)) => Line::Asks { what: what.to_owned(), native: Some(native.to_owned()) },
            None => Line::Asks { what: rest.to_owned(), native: None },
        },
        "!:" => Line::Decide(rest.to_owned()),
        "E:" => Line::Happens(rest.to_owned()),
        "D:" => Line::Stored(rest.to_owned()),
        "H:" => Line::Header(rest.to_owned()),
        "B:" => Line::Body(rest.to_owned()),
        "W:" => Line::Waits(seconds(rest)?),
        "N:" => Line::Notice(rest.to_owned()),
        _ => return None,
    })
}

pub(crate) fn seconds(text: &str) -> Option<Duration> {
    Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?))
}

// What a client line puts on the wire.
fn octets(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'\\' {
            out.push(octet);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b'0' => out.push(0),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                out.push(u8::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = after;
            }
            b'*' => {
                let (times, last) = (core::str::from_utf8(rest).ok()?.parse::<usize>().ok()?, *out.last()?);
                out.extend(core::iter::repeat_n(last, times.checked_sub(1)?));
                rest = &[];
            }
            b'$' => return rest.is_empty().then_some(out),
            _ => return None,
        }
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

/// "550 5.7.1 text", the enhanced code optional.
pub(crate) fn reply(text: &str) -> Option<Reply> {
    let (code, rest) = text.split_once(' ')?;
    let code = code.parse().ok()?;
    match rest.split_once(' ').and_then(|(status, rest)| Some((Enhanced::parse(status)?, rest))) {
        Some((enhanced, rest)) => Some(Reply::new(code, Some(enhanced), rest)),
        None => Some(Reply::new(code, None, rest)),
    }
}

/// Whether a text fits a pattern in which `*` stands for anything.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
