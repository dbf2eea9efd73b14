//! Greylisting, with state that outlives refusals and restarts.

use basin_tests::server::TestServer;
use basin_tests::wait::{PATIENCE, until_true};

use super::server_with;
use crate::{HELLO, Outcome, SENDER, USER};

fn server(more: &[&str]) -> std::io::Result<TestServer> {
    let mut flags = vec!["--grant", "read-envelope", "--grant", "reply", "--grant", "state"];
    flags.extend(more);
    server_with("greylist", "on-inbound-command:verb=RCPT", &flags)
}

fn is_taken(server: &TestServer, recipient: &str) -> bool {
    server
        .client()
        .and_then(|mut client| client.deliver(SENDER, &[recipient], HELLO))
        .is_ok_and(|reply| reply.code == 250)
}

#[test]
fn a_new_sender_waits_and_passes_when_it_comes_again() -> Outcome {
    let server = server(&["--set", "delay=1s"])?;
    let reply = server.client()?.deliver(SENDER, &[USER], HELLO)?.require(451)?;
    assert_eq!(reply.lines, ["4.7.1 greylisted, please try again in 1 seconds"]);
    assert!(until_true(PATIENCE, || is_taken(&server, USER)), "{}", server.log());
    server.maildir("user").wait_for(1, PATIENCE)?;
    server.client()?.deliver(SENDER, &["alice@basin.example"], HELLO)?.require(451)?;
    server.client()?.deliver("other@client.example", &[USER], HELLO)?.require(451)?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    Ok(())
}

#[test]
fn who_waits_is_remembered_over_a_restart() -> Outcome {
    let mut server = server(&["--set", "delay=2s"])?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(451)?;
    server.terminate()?;
    server.launch()?;
    assert!(until_true(PATIENCE, || is_taken(&server, USER)), "{}", server.log());
    server.terminate()?;
    server.launch()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    Ok(())
}

#[test]
fn a_recipient_that_does_not_exist_is_refused_at_once() -> Outcome {
    let server = server(&[])?;
    server.client()?.deliver(SENDER, &["nobody@basin.example"], HELLO)?.require(550)?;
    Ok(())
}

#[test]
fn without_the_grant_the_sink_fails_and_the_policy_decides() -> Outcome {
    let flags = ["--grant", "read-envelope", "--grant", "reply", "--on-failure", "skip"];
    let server = server_with("greylist", "on-inbound-command:verb=RCPT", &flags)?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    Ok(())
}
