//! Sinks that break, that take for ever, and that try to smuggle.

use basin_tests::next_hop::Manners;
use basin_tests::wait::{PATIENCE, until_true};

use super::{log, pair, play, send, verbs, wait_for};
use crate::Outcome;
use crate::relaying::{AWAY, scripted, wait_empty, wait_taken};

/// Event, what its sink does, and what the log says of it.
const FAILURES: [(&str, &str, &str); 3] = [
    ("on-per-recipient", "panic on purpose", "on purpose"),
    ("on-server-response", "fail of another kind", "of another kind"),
    ("on-message-start", "spin", "deadline"),
];
const BINDINGS: [(&str, &str); 3] =
    [("on-per-recipient", "next"), ("on-server-response:verb=RCPT", "next"), ("on-message-start", "next")];
/// How a message leaves where no sink has anything to say.
const USUAL: [&str; 6] = ["EHLO", "MAIL", "RCPT", "DATA", ".", "QUIT"];

#[test]
fn a_sink_that_fails_is_skipped_where_the_operator_says_so() -> Outcome {
    // With less fuel it depends on the machine which of the two limits is met first.
    let more = ["--on-failure", "skip", "--deadline", "500ms", "--fuel", "50000000000"];
    let (hop, server) = pair(Manners::default(), &BINDINGS, &more)?;
    for (count, (event, steps, words)) in (1..).zip(FAILURES) {
        play(&server, event, steps)?;
        send(&server, &[AWAY])?;
        wait_taken(&hop, count);
        wait_for(&server, words);
        wait_empty(&server);
        assert!(until_true(PATIENCE, || verbs(&hop) == USUAL.repeat(count)), "{event} {steps:?}: {:?}", hop.lines());
        play(&server, event, "next")?;
    }
    Ok(())
}

#[test]
fn a_sink_that_fails_defers_else_and_nothing_is_lost() -> Outcome {
    let (hop, server) = pair(Manners::default(), &BINDINGS, &["--deadline", "500ms", "--fuel", "50000000000"])?;
    for (count, (event, steps, words)) in (1..).zip(FAILURES) {
        let before = hop.connections();
        play(&server, event, steps)?;
        send(&server, &[AWAY])?;
        assert!(until_true(PATIENCE, || hop.connections() > before + 1), "{}", log(&server));
        wait_for(&server, words);
        assert_eq!(hop.taken().len() + 1, count, "{event} {steps:?}: {:?}", hop.lines());
        assert_eq!(server.metrics()?.total("basin_spool_messages"), Some(1.0), "nothing is lost");
        play(&server, event, "next")?;
        wait_taken(&hop, count);
        wait_empty(&server);
    }
    Ok(())
}

#[test]
fn a_line_that_would_be_two_commands_is_none() -> Outcome {
    let cases = [
        "line MAIL FROM:<>\r\nRSET",
        "line RSET",
        "out-parameter RET=HDRS\r\nRSET",
        "out-parameter XUNKNOWN=1",
        "send-first XNOTE\r\nRSET",
        "send-first RSET",
        "send-blob octets~",
    ];
    let (hop, server) = pair(Manners::default(), &[("on-message-start", "next")], &["--on-failure", "skip"])?;
    for (count, steps) in (1..).zip(cases) {
        play(&server, "on-message-start", steps)?;
        send(&server, &[AWAY])?;
        wait_taken(&hop, count);
        wait_empty(&server);
        assert!(until_true(PATIENCE, || verbs(&hop) == USUAL.repeat(count)), "{steps:?}: {:?}", hop.lines());
        let failures = || server.metrics().ok().and_then(|all| all.total("basin_sink_failures_total"));
        let is_counted = || failures().map(|count| count.to_string()) == Some(count.to_string());
        assert!(until_true(PATIENCE, is_counted), "{steps:?} is no failure:\n{}", log(&server));
    }
    Ok(())
}

#[test]
fn octets_that_would_be_a_command_never_leave() -> Outcome {
    let answers = |line: &str, _| (line == "XNOTE").then(|| "354 octets".to_owned());
    for policy in ["skip", "defer"] {
        let (hop, server) = pair(scripted(answers), &[("on-message-start", "next")], &["--on-failure", policy])?;
        for (count, blob) in (1..).zip(["RSET~", "a note~mail from:<>~", "a note~ QUIT"]) {
            let (before, said) = (hop.connections(), verbs(&hop).len());
            play(&server, "on-message-start", &format!("fresh ; send-first XNOTE || send-blob {blob}"))?;
            send(&server, &[AWAY])?;
            // The other server waits for octets: the connection is of no use, whatever the policy says.
            assert!(until_true(PATIENCE, || hop.connections() > before + 1), "{}", log(&server));
            let is_said = |verb: &String| matches!(verb.as_str(), "EHLO" | "XNOTE" | "QUIT");
            let verbs = verbs(&hop);
            // The QUIT of the message before may be late.
            assert!(verbs.iter().skip(said).all(is_said), "{blob:?} {policy}: {:?}", hop.lines());
            assert_eq!(hop.taken().len() + 1, count, "{:?}", hop.lines());
            play(&server, "on-message-start", "next")?;
            wait_taken(&hop, count);
            wait_empty(&server);
        }
        let quits = || verbs(&hop).iter().filter(|verb| *verb == "QUIT").count();
        assert!(until_true(PATIENCE, || quits() == 3), "{:?}", hop.lines());
    }
    Ok(())
}
