//! Recipients that sinks judge one by one at the end of the text: held, put off, failed.

use std::io;

use basin_tests::client::Client;
use basin_tests::server::TestServer;
use basin_tests::wait::{PATIENCE, until, until_true};

use crate::auth::{self, RIGHT};
use crate::services::in_force;
use crate::{HELLO, Outcome, SENDER, Script, USER};

const BOB: &str = "bob@basin.example";

/// The id of the message in the queue that is for bob.
fn queued(server: &TestServer) -> Option<String> {
    until(PATIENCE, || {
        let list = server.basin_ok(&["queue", "list"]).ok()?;
        let line = list.lines().find(|line| line.contains(BOB))?.to_owned();
        line.split_whitespace().next().map(str::to_owned)
    })
}

fn logged_in(server: &TestServer) -> io::Result<Client> {
    let mut client = server.client()?;
    client.start_tls("mx.basin.example")?;
    client.command("EHLO client.example")?.require(250)?;
    client.command(RIGHT)?.require(235)?;
    Ok(client)
}

#[test]
fn a_recipient_that_a_sink_holds_waits_for_a_person_and_the_others_do_not() -> Outcome {
    let mut server = Script::new("on-end-of-data", "rcpt-hold bob@basin.example=to look at").server()?;
    server.client()?.deliver(SENDER, &[USER, BOB], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    let id = queued(&server).expect("the message is in the queue");
    assert!(server.basin_ok(&["queue", "show", &id])?.contains("to look at"));
    // Held is held, over a restart too.
    server.kill()?;
    server.launch()?;
    assert_eq!(queued(&server).as_deref(), Some(id.as_str()));
    assert!(server.maildir("bob").names()?.is_empty());
    server.basin_ok(&["queue", "release", &id])?;
    server.maildir("bob").wait_for(1, PATIENCE)?;
    assert_eq!(server.maildir("user").names()?.len(), 1, "who has it does not get it again");
    Ok(())
}

#[test]
fn a_client_that_logged_in_has_its_250_and_learns_later_who_failed() -> Outcome {
    let server = auth::server_with("")?;
    let script = Script::new("on-end-of-data", "rcpt-fail bob@basin.example=550 5.7.1 not for bob");
    in_force(&server, || script.register(&server))?;
    logged_in(&server)?.deliver("alice@basin.example", &[USER, BOB], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    let notice = server.maildir("alice").wait_for(1, PATIENCE)?;
    let text: String = notice.iter().map(|mail| String::from_utf8_lossy(&mail.octets).into_owned()).collect();
    for part in ["Final-Recipient: rfc822;bob@basin.example", "Action: failed", "Status: 5.7.1", "not for bob"] {
        assert!(text.replace("; ", ";").contains(part) || text.contains(part), "{part} is missing in:\n{text}");
    }
    assert!(!text.contains("Final-Recipient: rfc822;user@"), "{text}");
    assert!(server.maildir("bob").names()?.is_empty());
    // A stranger's address may be forged: it is asked to send to one at a time, and nobody is told anything.
    let mut stranger = server.client()?;
    stranger.deliver("alice@basin.example", &[USER, BOB], HELLO)?.require(451)?;
    stranger.deliver("alice@basin.example", &[BOB], HELLO)?.require(550)?;
    stranger.deliver("alice@basin.example", &[USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(2, PATIENCE)?;
    assert_eq!(server.maildir("alice").names()?.len(), 1);
    Ok(())
}

#[test]
fn a_recipient_that_is_put_off_gets_the_message_later_without_the_client() -> Outcome {
    let steps = "rcpt-defer bob@basin.example=451 4.3.0 in a second";
    let server = Script::new("on-end-of-data", steps).server()?;
    server.client()?.deliver(SENDER, &[USER, BOB], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    server.maildir("bob").wait_for(1, PATIENCE)?;
    let is_empty = || server.metrics().is_ok_and(|all| all.total("basin_spool_messages") == Some(0.0));
    assert!(until_true(PATIENCE, is_empty), "{}", server.log());
    Ok(())
}
