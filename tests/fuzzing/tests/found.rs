//! What the fuzzers found, told as tests. The inputs themselves are seeds (`fuzz/seeds/*/found-*`).

#![allow(clippy::panic, reason = "a test says what went wrong")]

use std::sync::Arc;

use basin_core::event::{EventSet, Question, Verdict};
use basin_core::proxy::{Header, NoHeader, Source};
use basin_fuzzing::shell::{Outcome, Scene, play};
use basin_fuzzing::targets;
use basin_fuzzing::world::{Offers, policy};

/// A session in which sinks look on, from a client that waits for each reply.
fn watched(lines: &[&str]) -> Outcome {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let pieces: Vec<usize> = lines.iter().map(String::len).collect();
    let mut decide = |_: &mut Question| Verdict::Next;
    let policy = Arc::new(policy(Offers { auth_needs_tls: false, ..Offers::ALL }, 20));
    play(lines.concat().as_bytes(), Scene { policy, interest: EventSet::ALL, pieces: &pieces, decide: &mut decide })
}

fn told(lines: &[&str]) -> Vec<String> {
    watched(lines).told.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

// The target held a password that a client had said as a verb of its own for one that the server had given away; what
// it was meant to ask is this.
#[test]
fn nobody_is_told_a_response_of_a_login() {
    let wrong = "AGFsaWNlAHdyb25n";
    let initial = format!("auth plain {wrong}");
    // Each refusal is told to the log and to the sink at on-reject, in the same words.
    assert_eq!(told(&["EHLO c", &initial]), ["AUTH PLAIN", "AUTH PLAIN"]);
    assert_eq!(told(&["EHLO c", "AUTH PLAIN", wrong]), ["AUTH PLAIN", "AUTH PLAIN"]);
    assert_eq!(told(&["EHLO c", "AUTH LOGIN", "YWxpY2U=", "d3Jvbmc="]), ["AUTH LOGIN", "AUTH LOGIN"]);
    // Nor where a bare line end makes it no command.
    assert_eq!(told(&["EHLO c\nAUTH PLAIN AGFsaWNlAHdyb25n"]), ["EHLO c\nAUTH PLAIN", "EHLO c\nAUTH PLAIN"]);
    // What is no response stays what it is, whatever it says.
    assert_eq!(told(&["EHLO c", "rabbit hole"]), ["rabbit hole", "rabbit hole"]);
}

// The target compared a decoded value with the octets of its field; octets that are not UTF-8 come as U+FFFD, and three
// octets for one is what the value has before any word of it is decoded.
#[test]
fn octets_that_are_no_utf_8_in_an_encoded_word_do_not_make_it_grow() {
    for octets in [&b"Subject: =?utf-7?q?"[..], b"S=?utf-8?q?", b"S: =?iso-2022-jp?q?"] {
        targets::run("mime", &[octets, &[0xfd; 400], b"?=\r\n\r\n"].concat());
    }
}

// Addresses that come with no transport were taken for a client's, and LOCAL with a family that nobody knows was refused.
#[test]
fn a_proxy_that_names_no_transport_names_no_client() {
    let header = |command: u8, family: u8| {
        let addresses = [192, 0, 2, 1, 198, 51, 100, 2, 0, 1, 0, 25];
        [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family, 0, 12], &addresses].concat()
    };
    let source = |octets: &[u8]| Header::parse(octets).map(|header| header.source);
    assert_eq!(source(&header(0x21, 0x10)), Ok(Source::Unknown));
    assert_eq!(source(&header(0x20, 0x4f)), Ok(Source::Proxy));
    // Behind UNKNOWN more than four words were refused; section 2.1 has a receiver ignore all of them.
    assert_eq!(source(b"PROXY UNKNOWN 1 2 3 4 5 6\r\n"), Ok(Source::Unknown));
}

// The parser found the fourth blank and took what followed for the end, whatever it was: here nothing and a bare LF.
#[test]
fn a_proxy_line_ends_in_cr_lf_and_in_nothing_else() {
    let line = "PROXY TCP4 192.0.2.1 198.51.100.2 1542 325";
    let read = |end: &str| Header::parse(format!("{line}{end}EHLO a\r\n").as_bytes());
    assert_eq!(read("\r\n").map(|header| header.len), Ok(line.len() + 2));
    for end in [" \n", "\n", "\r\r\n", " \r\n", "\t\n"] {
        assert_eq!(read(end), Err(NoHeader::Malformed), "{end:?}");
    }
}
