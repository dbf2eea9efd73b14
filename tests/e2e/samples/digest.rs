//! The digest: a timer, what it keeps, and the messages that it sends.

use basin_tests::server::TestServer;
use basin_tests::wait::PATIENCE;

use super::server_with;
use crate::{HELLO, Outcome, SENDER, USER};

/// Not within the life of this test.
const YEARLY: &str = "0 0 1 1 *";

fn server() -> std::io::Result<TestServer> {
    let grants = ["--grant", "read-envelope", "--grant", "read-headers", "--grant", "state", "--grant", "submit"];
    let timer = ["--event", "on-timer", "--schedule", YEARLY];
    server_with("digest", "on-post-categorize:rcpt to=*@basin.example", &[&timer[..], &grants[..]].concat())
}

fn run(server: &TestServer) -> std::io::Result<String> {
    server.basin_ok(&["sink", "run", "digest/on-timer"])
}

#[test]
fn each_recipient_gets_one_list_of_what_came_and_no_list_of_lists() -> Outcome {
    let server = server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    server.client()?.deliver(SENDER, &[USER, "alice@basin.example"], HELLO)?.require(250)?;
    server.maildir("user").wait_for(2, PATIENCE)?;
    server.maildir("alice").wait_for(1, PATIENCE)?;
    assert!(run(&server)?.contains("messages put into the queue: 2"));
    let mails = server.maildir("user").wait_for(3, PATIENCE)?;
    let list = mails.iter().find(|mail| mail.header("Auto-Submitted").is_some()).expect("a list came");
    assert_eq!(list.header("Subject").as_deref(), Some("2 new messages"));
    assert_eq!(list.header("Return-Path").as_deref(), Some("<>"));
    assert_eq!(String::from_utf8_lossy(&list.octets).matches(&format!("  {SENDER}  ")).count(), 2);
    server.maildir("alice").wait_for(2, PATIENCE)?;
    assert!(
        run(&server)?.contains("messages put into the queue: 0"),
        "what was told is gone, and lists are not told of"
    );
    Ok(())
}

#[test]
fn a_restart_forgets_and_repeats_nothing() -> Outcome {
    let mut server = server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    server.kill()?;
    server.launch()?;
    assert!(run(&server)?.contains("messages put into the queue: 1"));
    server.kill()?;
    server.launch()?;
    server.maildir("user").wait_for(2, PATIENCE)?;
    assert!(run(&server)?.contains("messages put into the queue: 0"));
    assert_eq!(server.maildir("user").names()?.len(), 2);
    Ok(())
}

#[test]
fn operators_see_when_it_is_due_and_when_it_ran() -> Outcome {
    let server = server()?;
    run(&server)?;
    let shown = server.basin_ok(&["sink", "show", "digest"])?;
    assert!(shown.contains("0 0 1 1 * (UTC)") && shown.contains("-01-01T00:00:00Z"), "{shown}");
    assert!(!shown.contains("never"), "{shown}");
    let explained = server.basin_ok(&["sink", "explain", "--event", "on-timer"])?;
    assert!(explained.contains("due next 20") && explained.contains("it ran last 20"), "{explained}");
    let listed = server.basin_ok(&["sink", "list"])?;
    assert!(listed.contains("schedule 0 0 1 1 *"), "{listed}");
    let unknown = server.basin(&["sink", "run", "digest/on-timers"])?;
    let complaint = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success() && complaint.contains("there is digest/on-timer"), "{complaint}");
    server.basin_ok(&["sink", "disable", "digest"])?;
    Ok(())
}
