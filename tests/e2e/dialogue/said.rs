//! Before a command: lines that are changed, lines and octets of a sink's own, messages and recipients that stay.

use basin_tests::next_hop::Manners;
use basin_tests::server::TestServer;
use basin_tests::wait::{PATIENCE, until_true};

use super::{TWO, pair, play, send, verbs, wait_for};
use crate::Outcome;
use crate::relaying::{AWAY, scripted, text, wait_empty, wait_taken};

#[test]
fn a_command_is_changed_and_extended() -> Outcome {
    let scripts = [
        ("on-session-start", "line EHLO out.basin.example"),
        ("on-message-start", "out-parameter RET=HDRS ; out-property seen=here"),
        ("on-per-recipient", "out-show seen ; line RCPT TO:<other@away.example>"),
        ("on-session-end", "line QUIT"),
    ];
    let (hop, server) = pair(Manners::default(), &scripts, &[])?;
    send(&server, &[AWAY])?;
    let taken = wait_taken(&hop, 1).remove(0);
    assert!(taken.mail.ends_with(" RET=HDRS"), "{}", taken.mail);
    assert_eq!(taken.recipients, ["RCPT TO:<other@away.example>"]);
    assert!(hop.lines().contains(&"EHLO out.basin.example".to_owned()), "{:?}", hop.lines());
    wait_for(&server, "seen is here");
    wait_empty(&server);
    Ok(())
}

#[test]
fn a_line_and_octets_of_a_sinks_own_go_before_the_command() -> Outcome {
    let answers = |line: &str, _| match line {
        "XNOTE 4711" => Some("354 octets".to_owned()),
        "a note" => Some("250 2.0.0 noted".to_owned()),
        _ => None,
    };
    let steps = "fresh ; send-first XNOTE 4711 || replied 354 ; send-blob a note~ || replied 250 ; log all is said";
    let (hop, server) = pair(scripted(answers), &[("on-message-start", steps)], &[])?;
    send(&server, &TWO)?;
    wait_taken(&hop, 1);
    wait_empty(&server);
    let lines = hop.lines();
    let at = lines.iter().position(|line| line == "XNOTE 4711").unwrap_or_default();
    assert_eq!(lines.get(at + 1).map(String::as_str), Some("a note"), "{lines:?}");
    let proof: Vec<_> = lines.iter().skip(at + 2).take(2).collect();
    assert_eq!(proof, ["NOOP", "NOOP"], "the two servers are in step: {lines:?}");
    assert!(lines.get(at + 4).is_some_and(|line| line.starts_with("MAIL FROM")), "{lines:?}");
    wait_for(&server, "all is said");
    Ok(())
}

#[test]
fn a_line_of_a_sinks_own_goes_before_each_recipient_and_before_quit() -> Outcome {
    let answers = |line: &str, _| line.starts_with('X').then(|| "250 2.0.0 fine".to_owned());
    let scripts = [
        ("on-per-recipient", "for b@away.example ; fresh ; send-first XFOR b || heard"),
        ("on-before-data", "fresh ; send-first XDATA"),
        ("on-session-end", "fresh ; send-first XBYE"),
    ];
    let (hop, server) = pair(scripted(answers), &scripts, &[])?;
    send(&server, &TWO)?;
    let expected = ["EHLO", "MAIL", "RCPT", "XFOR", "RCPT", "XDATA", "DATA", ".", "XBYE", "QUIT"];
    assert!(until_true(PATIENCE, || verbs(&hop) == expected), "{:?}\n{}", verbs(&hop), server.log());
    Ok(())
}

#[test]
fn a_message_is_kept_for_later_and_leaves_when_nobody_objects() -> Outcome {
    let events = ["on-message-start", "on-per-recipient", "on-before-data"];
    let (hop, server) = pair(Manners::default(), &events.map(|event| (event, "next")), &[])?;
    for (count, event) in (1..).zip(events) {
        play(&server, event, &format!("skip-message 450 4.7.1 not at {event}"))?;
        send(&server, &[AWAY])?;
        wait_for(&server, &format!("450 4.7.1 not at {event}"));
        assert_eq!(hop.taken().len() + 1, count, "{event}");
        play(&server, event, "next")?;
        wait_taken(&hop, count);
        wait_empty(&server);
    }
    Ok(())
}

#[test]
fn a_message_and_a_recipient_that_are_not_sent_come_back_to_the_sender() -> Outcome {
    let (hop, server) = pair(Manners::default(), &[("on-before-data", "skip-message 550 5.7.1 not there")], &[])?;
    send(&server, &TWO)?;
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    let shown = text(&bounce.octets);
    assert!(TWO.iter().all(|name| shown.contains(name)) && shown.contains("5.7.1 not there"), "{shown}");
    assert!(shown.contains("Diagnostic-Code: X-Basin; 550 5.7.1 not there"), "{shown}");
    assert!(!shown.contains("Remote-MTA") && !shown.contains(" said: "), "the next server said nothing: {shown}");
    // The log is written a little later than the notification.
    let story = || server.basin_ok(&["trace", "--recipient", TWO[0]]).unwrap_or_default();
    let is_told = || story().contains("550 5.7.1 not there (says sink scripted");
    assert!(until_true(PATIENCE, is_told), "{}", story());
    wait_empty(&server);
    assert!(!verbs(&hop).contains(&"DATA".to_owned()), "{:?}", hop.lines());
    let steps = "for b@away.example ; skip-recipient 550 5.7.1 not to that one";
    let (hop, server) = pair(Manners::default(), &[("on-per-recipient", steps)], &[])?;
    send(&server, &TWO)?;
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    let shown = text(&bounce.octets);
    assert!(shown.contains("not to that one") && !shown.contains("rfc822; a@away.example"), "{shown}");
    wait_empty(&server);
    let expected = ["EHLO", "MAIL", "RCPT", "DATA", ".", "QUIT"];
    assert!(until_true(PATIENCE, || verbs(&hop) == expected), "{:?}", hop.lines());
    Ok(())
}

#[test]
fn a_message_that_is_skipped_in_the_middle_leaves_the_connection_fit_for_the_next() -> Outcome {
    let steps = "for bad@away.example ; skip-message 550 5.7.1 not there";
    let (hop, server) = pair(Manners::default(), &[("on-before-data", "heard"), ("on-per-recipient", steps)], &[])?;
    send(&server, &["a@away.example", "bad@away.example"])?;
    send(&server, &[AWAY])?;
    let taken = wait_taken(&hop, 1).remove(0);
    assert!(taken.recipients.iter().all(|line| line.contains(AWAY)), "{taken:?}");
    wait_empty(&server);
    Ok(())
}

// Whose word it is that the mail waits.
fn shows_the_sink(server: &TestServer, event: &str) -> Outcome {
    let listed = server.basin_ok(&["queue", "list", "--json"])?;
    let row: serde_json::Value = serde_json::from_str(listed.trim_end())?;
    let id = row["id"].as_str().unwrap_or_default();
    let shown = || server.basin_ok(&["queue", "show", id]).unwrap_or_default();
    assert!(until_true(PATIENCE, || shown().contains(&format!(" by sink scripted/{event} at {event}"))), "{}", shown());
    let story = || server.basin_ok(&["trace", id]).unwrap_or_default();
    let is_told = || story().lines().any(|line| line.contains("tried ") && line.contains("(says sink scripted"));
    assert!(until_true(PATIENCE, is_told), "{}", story());
    Ok(())
}

#[test]
fn a_session_is_dropped_and_the_mail_is_tried_again() -> Outcome {
    let events = ["on-session-start", "on-message-start", "on-session-end"];
    let (hop, server) = pair(Manners::default(), &events.map(|event| (event, "next")), &[])?;
    for (count, event) in (1..).zip(["on-session-start", "on-message-start"]) {
        let before = hop.connections();
        play(&server, event, "drop-session")?;
        send(&server, &[AWAY])?;
        assert!(until_true(PATIENCE, || hop.connections() > before + 1), "{}", server.log());
        assert_eq!(hop.taken().len() + 1, count, "{event}: {:?}", hop.lines());
        shows_the_sink(&server, event)?;
        play(&server, event, "next")?;
        wait_taken(&hop, count);
        wait_empty(&server);
    }
    let quits = || verbs(&hop).iter().filter(|verb| *verb == "QUIT").count();
    assert!(until_true(PATIENCE, || quits() == 2), "{:?}", hop.lines());
    play(&server, "on-session-end", "drop-session")?;
    send(&server, &[AWAY])?;
    wait_taken(&hop, 3);
    wait_empty(&server);
    assert!(until_true(PATIENCE, || hop.open() == 0), "{:?}", hop.lines());
    assert_eq!(quits(), 2, "what was accepted stays accepted, and nothing more is said");
    Ok(())
}

#[test]
fn a_session_that_comes_to_nothing_ends_with_what_a_sink_has_to_say() -> Outcome {
    let answers = |line: &str, seen| match line {
        "connect" if seen == 0 => Some("554 5.3.2 no mail today".to_owned()),
        "XBYE" => Some("250 2.0.0 bye".to_owned()),
        _ => None,
    };
    let (hop, server) = pair(scripted(answers), &[("on-session-end", "fresh ; send-first XBYE")], &[])?;
    send(&server, &[AWAY])?;
    wait_taken(&hop, 1);
    wait_empty(&server);
    let expected = ["XBYE", "QUIT", "EHLO", "MAIL", "RCPT", "DATA", ".", "XBYE", "QUIT"];
    assert!(until_true(PATIENCE, || verbs(&hop) == expected), "{:?}", hop.lines());
    Ok(())
}
