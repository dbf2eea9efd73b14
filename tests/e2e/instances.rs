//! Instances that are kept: what a sink remembers of earlier calls, and that a failure ends it; and sinks in the shadow of
//! one that decides.

use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
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

#[test]
fn a_shadow_beside_the_sink_that_decides_changes_nothing_and_is_compared_with_it() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    let binding = "on-end-of-data";
    let shadow = ["--mode", "shadow", "--priority", "2"];
    let script = |name, steps, more| Script { name, more, ..Script::new(binding, steps) };
    script("decides", "header X-Decided=1", &["--priority", "1"]).register(&server)?;
    script("stricter", "header X-Shadow=1 ; refuse 550 5.7.1 not by me", &shadow).register(&server)?;
    script("alike", "next", &shadow).register(&server)?;
    server.launch()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    let first = mails.first().expect("there is one");
    assert_eq!((first.headers("X-Decided").len(), first.headers("X-Shadow").len()), (1, 0));
    let counted = |sink: &str, result: &str| {
        let key = format!("basin_sink_shadows_total{{event=\"{binding}\",result=\"{result}\",sink=\"{sink}\"}}");
        server.metrics().ok().and_then(|all| all.total(&key))
    };
    let is_compared = || counted("stricter", "differed") == Some(1.0) && counted("alike", "agreed") == Some(1.0);
    assert!(until_true(PATIENCE, is_compared), "{}", server.log());
    let log = server.log();
    assert!(log.lines().any(|line| line.contains("shadow differs") && line.contains("stricter")), "{log}");
    let shown = server.basin_ok(&["sink", "show", "stricter"])?;
    assert!(shown.contains("- next") && shown.contains("+ refuse 550 5.7.1 not by me"), "{shown}");
    assert_eq!((counted("stricter", "agreed"), counted("alike", "differed")), (None, None));
    Ok(())
}
