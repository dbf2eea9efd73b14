//! Attacks that show at the session machine: on STARTTLS, on passwords, and on the order of things.
//!
//! Those that show on the wire are tried there (`tests/e2e/attacks`); `docs/past-vulnerabilities.md` names them all.

#![allow(clippy::panic, reason = "a test says what went wrong")]

use core::time::Duration;
use std::sync::Arc;

use basin_core::event::{EventSet, Question, Verdict};
use basin_fuzzing::shell::{Outcome, Scene, play};
use basin_fuzzing::world::{ATTEMPTS_MAX, Offers, policy};

/// `\0alice\0rabbit hole`, and two that are wrong: a user that there is, and one that there is not.
const RIGHT: &str = "AUTH PLAIN AGFsaWNlAHJhYmJpdCBob2xl";
const WRONG_PASSWORD: &str = "AUTH PLAIN AGFsaWNlAHdyb25n";
const WRONG_USER: &str = "AUTH PLAIN AG1hbGxvcnkAd3Jvbmc=";

/// What an attacker wants to be taken for the client's own.
const HIDDEN: &str = "MAIL FROM:<forged@basin.example>\r\nRCPT TO:<alice@basin.example>\r\nDATA\r\n\r\nx\r\n.\r\n";

/// Plays segments, each of which arrives alone.
fn segments(segments: &[&str]) -> Outcome {
    let input = segments.concat();
    let pieces: Vec<usize> = segments.iter().map(|segment| segment.len()).collect();
    let mut decide = |_: &mut Question| Verdict::Next;
    let policy = Arc::new(policy(Offers::ALL, 20));
    play(input.as_bytes(), Scene { policy, interest: EventSet::default(), pieces: &pieces, decide: &mut decide })
}

/// The same for lines, from a client that waits for each reply.
fn lines(lines: &[&str]) -> Outcome {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\r\n")).collect();
    segments(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn what_came_with_starttls_is_never_carried_out() {
    for injected in
        [HIDDEN, "NOOP\r\n", "EHLO x\r\n", "EHLO", "\r\n", "\0", RIGHT, "BDAT 5\r\nNOOP\r\n", "RSET\r\nQUIT\r\n"]
    {
        let group = format!("STARTTLS\r\n{injected}");
        let outcome = segments(&["EHLO client.example\r\n", &group, "EHLO client.example\r\n", "NOOP\r\n"]);
        // No 220 either: who reads it would begin a handshake with whoever put the text in.
        assert_eq!(outcome.codes(), [220, 250], "{injected:?}");
        assert_eq!((outcome.end_reason, outcome.letters.len()), (Some("error"), 0), "{injected:?}");
    }
}

#[test]
fn what_was_said_before_tls_is_forgotten_under_it() {
    let plain = ["EHLO client.example", "MAIL FROM:<a@b.example>", "RCPT TO:<alice@basin.example>", "STARTTLS"];
    for (line, code) in [("RCPT TO:<bob@basin.example>", 503), ("DATA", 503), ("BDAT 0 LAST", 503), (RIGHT, 503)] {
        let all: Vec<_> = plain.iter().copied().chain([line]).collect();
        assert_eq!(lines(&all).codes(), [220, 250, 250, 250, 220, code], "{line}: greeting and transaction are gone");
    }
    // Nor is TLS offered or taken again.
    let outcome = lines(&["STARTTLS", "EHLO client.example", "STARTTLS"]);
    assert_eq!(outcome.codes(), [220, 220, 250, 503]);
    let ehlo = outcome.replies.iter().find(|reply| reply.code == 250).expect("EHLO is answered");
    assert!(!ehlo.lines.iter().any(|line| line == "STARTTLS"), "{ehlo:?}");
}

#[test]
fn chunks_do_not_outlive_starttls() {
    let outcome = segments(&[
        "EHLO client.example\r\n",
        "MAIL FROM:<a@b.example>\r\n",
        "RCPT TO:<alice@basin.example>\r\n",
        "BDAT 6\r\na: b\r\n",
        "STARTTLS\r\n",
        "EHLO client.example\r\n",
        "BDAT 6 LAST\r\nc: d\r\n",
        "MAIL FROM:<a@b.example>\r\n",
        "RCPT TO:<bob@basin.example>\r\n",
        "BDAT 6 LAST\r\ne: f\r\n",
    ]);
    assert_eq!(outcome.codes(), [220, 250, 250, 250, 250, 220, 250, 503, 250, 250, 250]);
    let letter = outcome.letters.first().expect("one message");
    assert_eq!(
        (letter.recipients.as_slice(), letter.text.as_slice()),
        (&["bob@basin.example".into()][..], &b"e: f\r\n"[..])
    );
    // A chunk that STARTTLS cuts through is read as a chunk: its octets are no command.
    let outcome = segments(&[
        "EHLO client.example\r\n",
        "MAIL FROM:<a@b.example>\r\nRCPT TO:<bob@basin.example>\r\nBDAT 10 LAST\r\nSTARTTLS\r\n",
        "NOOP\r\n",
    ]);
    assert_eq!(outcome.codes(), [220, 250, 250, 250, 250, 250]);
    assert_eq!(outcome.letters.first().map(|letter| letter.text.clone()), Some(b"STARTTLS\r\n".to_vec()));
}

#[test]
fn guesses_of_a_password_are_few_and_each_costs_more_time() {
    let guess = ["STARTTLS", "EHLO client.example"].into_iter().chain([WRONG_PASSWORD; 6]).collect::<Vec<_>>();
    let outcome = lines(&guess);
    let mut expected = vec![220, 220, 250];
    expected.extend([535; ATTEMPTS_MAX as usize]);
    expected.push(421);
    assert_eq!(outcome.codes(), expected);
    let waited = |guesses: usize| lines(guess.get(..2 + guesses).unwrap_or_default()).waited;
    assert!(waited(1) >= Duration::from_secs(1), "{:?}", waited(1));
    assert!(waited(3) - waited(2) > waited(2) - waited(1), "the wait grows");
    // Neither RSET, nor another greeting, nor a cancelled dialogue begins the count anew.
    let mut lines_between = vec!["STARTTLS", "EHLO client.example"];
    for reset in ["RSET", "EHLO again.example", "NOOP", "AUTH X-OWN"] {
        lines_between.extend([WRONG_PASSWORD, reset]);
    }
    assert_eq!(lines(&lines_between).codes().last(), Some(&421));
}

#[test]
fn nobody_learns_which_users_there_are() {
    let said = |line: &str| lines(&["STARTTLS", "EHLO client.example", line]).replies.last().cloned();
    assert_eq!(said(WRONG_PASSWORD), said(WRONG_USER));
    let vrfy = |user: &str| lines(&["EHLO client.example", &format!("VRFY {user}")]).replies.last().cloned();
    assert_eq!(vrfy("alice"), vrfy("mallory"));
    // SCRAM names a salt for everybody.
    let scram = |first: &str| said(&format!("AUTH SCRAM-SHA-256 {first}")).map(|reply| reply.code);
    assert_eq!((scram("biwsbj1hbGljZSxyPWFiYw=="), scram("biwsbj1tYWxsb3J5LHI9YWJj")), (Some(334), Some(334)));
}

#[test]
fn a_password_is_not_taken_in_the_open_nor_when_the_client_does_not_wait() {
    assert_eq!(lines(&["EHLO client.example", RIGHT]).codes(), [220, 250, 538]);
    let group = "AUTH LOGIN\r\nYWxpY2U=\r\ncmFiYml0IGhvbGU=\r\n";
    let outcome = segments(&["STARTTLS\r\n", "EHLO client.example\r\n", group]);
    assert_eq!(outcome.codes(), [220, 220, 250, 503], "an answer before its question may be anybody's text");
    assert_eq!((outcome.end_reason, outcome.logins), (Some("error"), 0));
}
