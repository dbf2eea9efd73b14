//! Command lines: no line is read as something that it does not say.

use basin_core::reply::Reply;
use basin_core::smtp::Request;
use basin_core::smtp::command::without_secrets;

use crate::wire::replies;

/// Parses a line, says the same in other words, parses that.
pub(super) fn run(line: &[u8]) {
    let parsed = Request::parse(line);
    assert!(line.starts_with(without_secrets(line)), "what may be shown of a line is a part of it");
    let has_line_end = line.iter().any(|octet| matches!(octet, b'\r' | b'\n'));
    let spaced = [line, b" \t "].concat();
    // RFC 5321 §4.1.1: white space at the end of a line is passed over.
    assert_eq!(Request::parse(&spaced), parsed, "white space at the end means nothing");
    match parsed {
        Ok(request) => {
            assert!(!line.iter().any(u8::is_ascii_control) || line.trim_ascii_end().len() < line.len(), "{request:?}");
            assert!(!has_line_end, "two lines are no command: {request:?}");
            check_case(line, &request);
            check_print(line, &request);
        }
        Err(error) => check_reply(&error.reply()),
    }
}

// RFC 5321 §2.4: verbs have no case.
fn check_case(line: &[u8], request: &Request) {
    let len = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
    for swap in [u8::to_ascii_uppercase, u8::to_ascii_lowercase] {
        let mut other = line.to_vec();
        other.iter_mut().take(len).for_each(|octet| *octet = swap(octet));
        assert_eq!(Request::parse(&other).as_ref(), Ok(request), "a verb has no case");
    }
}

// What the sinks are shown of a MAIL or RCPT is the whole of it: put together again it is the same command.
fn check_print(line: &[u8], request: &Request) {
    let shown = request.describe(line);
    assert_eq!(shown.line, line);
    let Some(path) = shown.path else { return };
    let keyword = if shown.keyword == "MAIL" { "MAIL FROM" } else { "RCPT TO" };
    let parameter = |(name, value): (&String, &String)| match value.as_str() {
        "" => format!(" {name}"),
        value => format!(" {name}={value}"),
    };
    let again = format!("{keyword}:<{path}>{}", shown.parameters.iter().map(parameter).collect::<String>());
    assert_eq!(Request::parse(again.as_bytes()).as_ref(), Ok(request), "{again:?} says the same");
}

fn check_reply(reply: &Reply) {
    let mut wire = Vec::new();
    reply.encode(&mut wire);
    let heard = replies(&wire);
    assert_eq!(heard.len(), 1, "one reply");
    assert!(heard.iter().all(|reply| matches!(reply.code, 500..=599)), "a line that is no command is refused");
}
