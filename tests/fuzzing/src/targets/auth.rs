//! AUTH: nobody is let in without the password, whatever is said and in whatever form.
//!
//! The first octet of the input says whether it is preceded by STARTTLS; each line of the rest arrives alone, because
//! an exchange in which the client does not wait is refused.

use std::sync::Arc;

use basin_core::event::{EventSet, Question, Verdict};
use basin_core::smtp::command::without_secrets;
use basin_core::smtp::outbox::CONTENT;

use crate::shell::{Outcome, Scene, play};
use crate::world::{ATTEMPTS_MAX, Offers, policy};

/// Errors that the session may make: more than there are failed logins.
const ERRORS_MAX: u32 = 20;

/// Plays a session of lines that arrive one by one.
pub(super) fn run(octets: &[u8]) {
    let (first, lines) = octets.split_first().unwrap_or((&0, &[]));
    // XCLIENT is another client, who may log in anew.
    let offers = Offers { auth_needs_tls: first & 1 == 1, has_xclient: false, ..Offers::ALL };
    let mut input = Vec::new();
    if first & 2 == 2 {
        input.extend(b"STARTTLS\r\n");
    }
    input.extend(b"EHLO client.example\r\n");
    input.extend_from_slice(lines);
    let is_asked = first & 4 == 4;
    let outcome = outcome(&input, offers, is_asked);
    let count = |code: u16| outcome.replies.iter().filter(|reply| reply.code == code).count();
    assert_eq!(count(235), outcome.logins as usize, "235 is earned by a password that is right");
    assert!(count(535) <= ATTEMPTS_MAX as usize, "guesses are counted");
    assert!(outcome.logins <= 1 || input.windows(8).any(|it| it.eq_ignore_ascii_case(b"STARTTLS")), "one login");
    for reply in &outcome.replies {
        let text = reply.lines.concat();
        let is_base64 = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=');
        assert!(reply.code != 334 || text.bytes().all(is_base64), "a challenge is base64: {text:?}");
    }
    check_told(&outcome);
}

/// What logs and sinks are told is a line that was a command, and of AUTH no more than the mechanism: never a response.
fn check_told(outcome: &Outcome) {
    let shown: Vec<&[u8]> = outcome.commands.iter().map(|line| without_secrets(line).trim_ascii()).collect();
    for line in &outcome.told {
        let line = line.trim_ascii();
        let is_shown = line == CONTENT || line.is_empty() || shown.iter().any(|shown| shown.eq_ignore_ascii_case(line));
        assert!(is_shown, "no command was {}", line.escape_ascii());
    }
    // AUTH may stand behind a bare line end too, where a client that ends its lines so would begin another.
    let is_line_end = |octet: &u8| octet.is_ascii_control() && *octet != b'\t';
    for line in shown {
        let begins = [0].into_iter().chain(line.iter().enumerate().filter(|it| is_line_end(it.1)).map(|it| it.0 + 1));
        for rest in begins.filter_map(|at| line.get(at..)) {
            let mut words = rest.split(|it| *it == b' ' || it.is_ascii_control()).filter(|word| !word.is_empty());
            let is_auth = words.next().is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"));
            assert!(!is_auth || words.count() <= 1, "{}", line.escape_ascii());
        }
    }
}

fn outcome(input: &[u8], offers: Offers, is_asked: bool) -> Outcome {
    let mut ends: Vec<usize> =
        input.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n").map(|(at, _)| at + 2).collect();
    ends.push(input.len());
    let starts = [0].into_iter().chain(ends.iter().copied());
    let pieces: Vec<usize> = starts.zip(&ends).map(|(start, end)| (end - start).max(1)).collect();
    let interest = if is_asked { EventSet::ALL } else { EventSet::default() };
    let mut decide = |question: &mut Question| {
        assert!(question.occasion.input.reveal().is_empty(), "a response to the server's own mechanism is no sink's");
        Verdict::Next
    };
    play(input, Scene { policy: Arc::new(policy(offers, ERRORS_MAX)), interest, pieces: &pieces, decide: &mut decide })
}
