//! Sinks that misbehave: the client is answered in time, nobody else notices, and the operator learns why.

use std::time::{Duration, Instant};

use basin_tests::client::{Client, stuffed};
use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::{self, PATIENCE};

use crate::{HELLO, Outcome, SENDER, USER};

/// What a client may have to wait for over the deadline of the sink: the project's own promise.
const SLACK: Duration = Duration::from_secs(1);

fn server_with(sink: &str, binding: &str, more: &[&str]) -> std::io::Result<TestServer> {
    let mut server = TestServer::prepare(Settings::usual())?;
    server.sink_add(&guest(sink), sink, binding, more)?;
    server.launch()?;
    Ok(server)
}

/// What `basin sink show` says, once it tells of a failure.
fn failure_shown(server: &TestServer, sink: &str, words: &[&str]) -> Result<(), String> {
    let mut seen = String::new();
    let shown = wait::until_true(PATIENCE, || {
        seen = server.basin_ok(&["sink", "show", sink]).unwrap_or_else(|error| error.to_string());
        words.iter().all(|word| seen.to_lowercase().contains(&word.to_lowercase()))
    });
    if shown { Ok(()) } else { Err(format!("sink show {sink} does not tell {words:?}:\n{seen}")) }
}

#[test]
fn a_sink_that_loops_meets_its_deadline_while_others_are_served() -> Outcome {
    // So much fuel that only the clock can end it.
    let limits = ["--fuel", "50000000000", "--deadline", "2s"];
    let server = server_with("loop-forever", "on-end-of-data:rcpt to=alice@*", &limits)?;
    let address = server.smtp();
    std::thread::scope(|scope| {
        let victim = scope.spawn(move || -> std::io::Result<Duration> {
            let mut client = Client::greeted(address)?;
            let start = Instant::now();
            client.deliver(SENDER, &["alice@basin.example"], HELLO)?.require(451)?;
            let waited = start.elapsed();
            client.command("NOOP")?.require(250)?;
            Ok(waited)
        });
        let mut client = server.client()?;
        let mut served = 0;
        let mut slowest = Duration::ZERO;
        while !victim.is_finished() {
            let start = Instant::now();
            client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
            slowest = slowest.max(start.elapsed());
            served += 1;
        }
        let waited = victim.join().expect("the client does not panic")?;
        assert!(waited < Duration::from_secs(2) + SLACK, "answered after {waited:?}");
        assert!(served >= 10, "other sessions got {served} messages through meanwhile");
        assert!(slowest < SLACK, "another session waited {slowest:?}");
        Ok::<(), std::io::Error>(())
    })?;
    failure_shown(&server, "loop-forever", &["deadline"]).map_err(std::io::Error::other)
}

#[test]
fn several_loops_at_once_do_not_use_up_the_server() -> Outcome {
    let limits = ["--fuel", "50000000000", "--deadline", "2s"];
    let server = server_with("loop-forever", "on-end-of-data:rcpt to=alice@*", &limits)?;
    let mut victims = Vec::new();
    for _ in 0..8 {
        let mut client = server.client()?;
        client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
        client.command("RCPT TO:<alice@basin.example>")?.require(250)?;
        client.command("DATA")?.require(354)?;
        client.send(&stuffed(HELLO))?;
        victims.push(client);
    }
    let start = Instant::now();
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let other = start.elapsed();
    for client in &mut victims {
        client.expect(451)?;
    }
    assert!(other < Duration::from_secs(2), "another session waited {other:?} behind eight loops");
    Ok(())
}

#[test]
fn each_kind_of_misbehaviour_is_451_and_named() -> Outcome {
    let cases: [(&str, &[&str]); 6] = [
        ("loop-forever", &["fuel"]),
        ("eat-memory", &["memory"]),
        ("trap", &["trap", "on purpose"]),
        ("flood-host-calls", &["fuel"]),
        ("exit", &["exit", "status 1"]),
        ("hang", &["deadline"]),
    ];
    for (sink, words) in cases {
        let server = server_with(sink, "on-end-of-data:rcpt to=alice@*", &[])?;
        let mut client = server.client()?;
        let mut other = server.client()?;
        let start = Instant::now();
        let reply = client.deliver(SENDER, &["alice@basin.example"], HELLO)?;
        assert_eq!(reply.code, 451, "{sink}: {}", reply.wire());
        assert!(start.elapsed() < Duration::from_secs(10) + SLACK, "{sink}: {:?}", start.elapsed());
        other.deliver(SENDER, &[USER], HELLO)?.require(250)?;
        client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
        failure_shown(&server, sink, words).map_err(std::io::Error::other)?;
        assert!(!server.log().contains("panicked at host"), "{sink}:\n{}", server.log());
    }
    Ok(())
}

#[test]
fn a_trap_shows_its_backtrace_and_message() -> Outcome {
    let server = server_with("trap", "on-end-of-data", &[])?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(451)?;
    failure_shown(&server, "trap", &["on-end-of-data", "backtrace", "this sink panics on purpose"])
        .map_err(std::io::Error::other)
}

#[test]
fn memory_comes_back_after_a_glutton() -> Outcome {
    let server = server_with("eat-memory", "on-end-of-data", &[])?;
    let mut client = server.client()?;
    client.deliver(SENDER, &[USER], HELLO)?.require(451)?;
    let before = basin_tests::process::memory_kib(server.pid())?;
    for _ in 0..30 {
        client.deliver(SENDER, &[USER], HELLO)?.require(451)?;
    }
    let after = basin_tests::process::memory_kib(server.pid())?;
    // Thirty calls of 64 MiB each; one that stays would show.
    assert!(after < before + 50 * 1024, "from {before} to {after} KiB");
    Ok(())
}

#[test]
fn a_hostile_sink_at_commands_spares_quit_and_other_clients() -> Outcome {
    let server = server_with("trap", "on-inbound-command:client=127.0.0.1;verb=MAIL", &[])?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(451)?;
    client.quit()
}

#[test]
fn a_hostile_sink_after_acceptance_keeps_the_message() -> Outcome {
    for sink in ["trap", "loop-forever"] {
        let server = server_with(sink, "on-submission", &[])?;
        server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
        failure_shown(&server, sink, &["on-submission"]).map_err(std::io::Error::other)?;
        assert!(server.basin_ok(&["queue", "list"])?.contains(USER), "it is tried again later");
        server.basin_ok(&["sink", "disable", sink])?;
    }
    Ok(())
}
