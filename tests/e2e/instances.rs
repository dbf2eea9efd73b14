//! Instances that are kept: what a sink remembers of earlier calls, and that a failure ends it.

use basin_tests::server::TestServer;
use basin_tests::wait::{PATIENCE, until_true};

use crate::{HELLO, Outcome, SENDER, Script, USER};

/// Counts the recipients that it is shown, and falls at NOOP.
const COUNTS: &str = "seen recipients ; when NOOP ; panic on purpose";

fn server(instance: &str) -> std::io::Result<TestServer> {
    let more = ["--instance", instance, "--on-failure", "skip"];
    let script = Script { more: &more, ..Script::new("on-inbound-command:verb=RCPT|NOOP", COUNTS) };
    script.server()
}

/// What the sink has logged so far: how often it saw a command, each time.
fn seen(server: &TestServer) -> Vec<u32> {
    let log = server.log();
    let counts = log.split("recipients seen ").skip(1);
    counts.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect()
}

fn wait_for(server: &TestServer, counts: &[u32]) {
    until_true(PATIENCE, || seen(server).len() >= counts.len());
    assert_eq!(seen(server), counts, "{}", server.log());
}

#[test]
fn an_instance_of_a_call_remembers_nothing() -> Outcome {
    let server = server("call")?;
    let mut client = server.client()?;
    client.deliver(SENDER, &[USER, "alice@basin.example"], HELLO)?.require(250)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    wait_for(&server, &[1, 1, 1]);
    Ok(())
}

#[test]
fn an_instance_of_a_session_remembers_until_the_end_of_it_or_until_it_falls() -> Outcome {
    let server = server("session")?;
    let mut client = server.client()?;
    client.deliver(SENDER, &[USER, "alice@basin.example"], HELLO)?.require(250)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    wait_for(&server, &[1, 2, 3]);
    // Another client has another one, at the same time.
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    wait_for(&server, &[1, 2, 3, 1]);
    // A trap ends the instance with all that it knew; the session goes on with a fresh one.
    client.command("NOOP")?.require(250)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    wait_for(&server, &[1, 2, 3, 1, 4, 1]);
    Ok(())
}

#[test]
fn an_instance_of_a_transaction_ends_with_the_message_with_rset_and_with_a_greeting() -> Outcome {
    let server = server("transaction")?;
    let mut client = server.client()?;
    client.deliver(SENDER, &[USER, "alice@basin.example"], HELLO)?.require(250)?;
    client.deliver(SENDER, &[USER, "alice@basin.example"], HELLO)?.require(250)?;
    wait_for(&server, &[1, 2, 1, 2]);
    for end in ["RSET", "EHLO again.example"] {
        client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
        client.command(&format!("RCPT TO:<{USER}>"))?.require(250)?;
        client.command(end)?.require(250)?;
    }
    wait_for(&server, &[1, 2, 1, 2, 1, 1]);
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    wait_for(&server, &[1, 2, 1, 2, 1, 1, 1]);
    Ok(())
}

#[test]
fn a_warm_instance_serves_one_session_after_the_other_until_it_falls() -> Outcome {
    let server = server("warm")?;
    for _ in 0..3 {
        server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    }
    wait_for(&server, &[1, 2, 3]);
    let mut client = server.client()?;
    client.command("NOOP")?.require(250)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    wait_for(&server, &[1, 2, 3, 4, 1]);
    Ok(())
}
