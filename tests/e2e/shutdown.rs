//! SIGTERM drains: what is under way ends well, nothing new begins, and the server goes.

use std::time::{Duration, Instant};

use basin_tests::client::{Client, stuffed};
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::{self, PATIENCE};
use rustix::process::Signal;

use crate::{HELLO, Outcome, SENDER, USER};

#[test]
fn an_idle_server_ends_at_once_and_well() -> Outcome {
    let mut server = TestServer::start()?;
    let start = Instant::now();
    assert!(server.terminate()?.success(), "{}", server.log());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    server.launch()
}

#[test]
fn a_transaction_under_way_is_finished_and_its_message_survives() -> Outcome {
    let mut server = TestServer::start()?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command(&format!("RCPT TO:<{USER}>"))?.require(250)?;
    client.command("DATA")?.require(354)?;
    server.signal(Signal::TERM)?;
    let is_closed = || Client::connect(server.smtp()).and_then(|mut client| client.expect(220)).is_err();
    assert!(wait::until_true(PATIENCE, is_closed), "a draining server takes no new session");
    client.send(&stuffed(HELLO))?;
    client.expect(250)?;
    client.expect(421)?;
    client.closed()?;
    assert!(server.wait_end(PATIENCE)?.success(), "{}", server.log());
    server.launch()?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    assert_eq!(server.maildir("user").names()?.len(), 1);
    Ok(())
}

#[test]
fn an_idle_session_is_told_421() -> Outcome {
    let mut server = TestServer::start()?;
    let mut client = server.client()?;
    server.signal(Signal::TERM)?;
    let reply = client.reply()?;
    assert_eq!(reply.code, 421, "RFC 5321 §3.8: {}", reply.wire());
    client.closed()?;
    assert!(server.wait_end(PATIENCE)?.success());
    Ok(())
}

#[test]
fn a_client_that_never_ends_its_message_is_cut_off_after_the_drain_time() -> Outcome {
    let mut settings = Settings::usual();
    settings.limits = "drain-time = \"1s\"\n".to_owned();
    let mut server = TestServer::start_with(settings)?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command(&format!("RCPT TO:<{USER}>"))?.require(250)?;
    client.command("DATA")?.require(354)?;
    client.send(b"Subject: never ends\r\n")?;
    let start = Instant::now();
    server.terminate()?;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    server.launch()?;
    assert!(server.maildir("user").names()?.is_empty());
    Ok(())
}

#[test]
fn what_was_acknowledged_right_before_a_kill_is_delivered_after_it() -> Outcome {
    let mut server = TestServer::start()?;
    let mut client = server.client()?;
    client.deliver_pipelined(SENDER, USER, HELLO)?.require(250)?;
    server.kill()?;
    server.launch()?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    Ok(())
}
