//! Replies that sinks judge otherwise, and from where they go on.

use basin_tests::letter::Letter;
use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::wait::{PATIENCE, until, until_true};

use super::{TWO, pair, register, send, verbs, wait_for};
use crate::Outcome;
use crate::relaying::{AWAY, HERE, scripted, settings, text, wait_empty, wait_taken};

#[test]
fn a_501_that_is_judged_temporary_is_tried_again_and_comes_back_to_nobody() -> Outcome {
    let answers = |line: &str, seen| (line.starts_with("RCPT") && seen == 0).then(|| "501 5.5.4 greylisted".to_owned());
    let rule = "on-server-response:verb=RCPT;code=501";
    let (hop, server) = pair(scripted(answers), &[(rule, "treat-as 451 4.7.1 greylisted, says a sink")], &[])?;
    send(&server, &[AWAY])?;
    wait_taken(&hop, 1);
    wait_empty(&server);
    wait_for(&server, "451 4.7.1 greylisted, says a sink");
    assert!(server.maildir("alice").names()?.is_empty(), "a bounce");
    Ok(())
}

#[test]
fn a_reply_that_was_judged_is_shown_with_what_the_server_said() -> Outcome {
    let answers = |line: &str, _| line.starts_with("RCPT").then(|| "501 5.5.4 what".to_owned());
    let rule = "on-server-response:verb=RCPT;code=501";
    let (_hop, server) = pair(scripted(answers), &[(rule, "treat-as 451 4.7.1 later")], &[])?;
    send(&server, &[AWAY])?;
    wait_for(&server, "451 4.7.1 later");
    let listed = server.basin_ok(&["queue", "list", "--json"])?;
    let row: serde_json::Value = serde_json::from_str(listed.trim_end())?;
    let id = row["id"].as_str().unwrap_or_default();
    let is_shown = |shown: &String| shown.contains("by sink scripted") && shown.contains("said: 501 5.5.4 what)");
    let shown = || server.basin_ok(&["queue", "show", id]).ok();
    assert!(until(PATIENCE, || shown().filter(is_shown)).is_some(), "{:?}", shown());
    let is_told = |story: &String| story.contains("451 4.7.1 later (says sink scripted");
    let story = || server.basin_ok(&["trace", id]).ok();
    assert!(until(PATIENCE, || story().filter(is_told)).is_some(), "{:?}", story());
    Ok(())
}

#[test]
fn a_recipient_that_was_taken_and_is_judged_refused_gets_nothing_and_the_others_go_alone() -> Outcome {
    let steps = "for b@away.example ; treat-as 550 5.7.1 not with us";
    let (hop, server) = pair(Manners::default(), &[("on-server-response:verb=RCPT", steps)], &[])?;
    send(&server, &TWO)?;
    let taken = wait_taken(&hop, 1).remove(0);
    assert!(taken.recipients.iter().all(|line| line.contains("a@away.example")), "{taken:?}");
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    assert!(text(&bounce.octets).contains("not with us"), "{}", text(&bounce.octets));
    wait_empty(&server);
    let expected = ["EHLO", "MAIL", "RCPT", "RCPT", "RSET", "MAIL", "RCPT", "DATA", ".", "QUIT"];
    assert!(until_true(PATIENCE, || verbs(&hop) == expected), "{:?}", hop.lines());
    Ok(())
}

#[test]
fn the_dialogue_goes_on_from_another_state() -> Outcome {
    let answers = |line: &str, seen| (line.starts_with("MAIL") && seen == 0).then(|| "503 5.5.1 EHLO first".to_owned());
    let rule = "on-server-response:verb=MAIL;code=503";
    let (hop, server) = pair(scripted(answers), &[(rule, "change-state session-start")], &[])?;
    send(&server, &[AWAY])?;
    wait_taken(&hop, 1);
    wait_empty(&server);
    assert_eq!(hop.connections(), 1);
    let starts = ["EHLO", "MAIL", "EHLO", "MAIL", "RCPT", "DATA", ".", "QUIT"];
    assert!(until_true(PATIENCE, || verbs(&hop) == starts), "{:?}", hop.lines());
    let (hop, server) = pair(Manners::default(), &[("on-server-response:verb=MAIL", "change-state session-end")], &[])?;
    send(&server, &[AWAY])?;
    let twice = ["EHLO", "MAIL", "QUIT", "EHLO", "MAIL", "QUIT"];
    assert!(until_true(PATIENCE, || verbs(&hop).starts_with(&twice.map(str::to_owned))), "{:?}", hop.lines());
    assert_eq!(server.metrics()?.total("basin_spool_messages"), Some(1.0), "the message is there for later");
    Ok(())
}

#[test]
fn a_session_that_is_dropped_over_the_last_reply_has_its_mail_delivered_once() -> Outcome {
    let (hop, server) = pair(Manners::default(), &[("on-server-response:verb=.", "drop-session")], &[])?;
    send(&server, &[AWAY])?;
    wait_taken(&hop, 1);
    wait_empty(&server);
    assert_eq!((hop.taken().len(), hop.connections()), (1, 1), "{:?}", hop.lines());
    Ok(())
}

#[test]
fn nothing_counts_as_taken_by_the_word_of_a_sink() -> Outcome {
    let answers = |line: &str, _| (line == ".").then(|| "554 5.7.1 spam".to_owned());
    let rule = "on-server-response:verb=.";
    let (_hop, server) = pair(scripted(answers), &[(rule, "treat-as 250 2.0.0 fine")], &["--on-failure", "skip"])?;
    send(&server, &[AWAY])?;
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    assert!(text(&bounce.octets).contains("5.7.1 spam"), "{}", text(&bounce.octets));
    wait_empty(&server);
    Ok(())
}

#[test]
fn a_refusal_that_comes_while_content_leaves_is_judged() -> Outcome {
    // A chunk of many is refused, so that the rest need not leave.
    let answers = |line: &str, seen| (line.starts_with("BDAT") && seen == 0).then(|| "501 5.5.4 not this".to_owned());
    let hop = NextHop::start(scripted(answers))?;
    let mut settings = settings("*", hop.address(), "");
    settings.tables.push_str("[outbound]\nchunking = \"preferred\"\n");
    let mut server = TestServer::prepare(settings)?;
    let rule = "on-server-response:verb=BDAT|.;code=501";
    register(&server, "scripted", &[(rule, "treat-as 451 4.7.1 judged by a sink")], &[])?;
    server.launch()?;
    let large = Letter { run: 1, author: 1, number: 1, size: 3_000_000 };
    server.client()?.deliver_pipelined(HERE, AWAY, &large.text())?.require(250)?;
    wait_for(&server, "451 4.7.1 judged by a sink");
    wait_taken(&hop, 1);
    wait_empty(&server);
    assert!(server.maildir("alice").names()?.is_empty(), "a bounce");
    Ok(())
}
