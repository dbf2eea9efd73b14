//! Clients that talk before it is their turn, and the commands that others would run for them.

use std::time::{Duration, Instant};

use basin_tests::client::Client;
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;

use super::{codes, silent};
use crate::{HELLO, Outcome, SENDER, Script, USER};

const HIDDEN: &str = "MAIL FROM:<forged@basin.example>\r\nRCPT TO:<alice@basin.example>\r\nDATA\r\n\r\nx\r\n.\r\n";

#[test]
fn who_talks_before_the_banner_gets_nothing_before_it_and_nothing_that_a_sink_refuses() -> Outcome {
    let server = TestServer::start()?;
    let mut client = Client::connect(server.smtp())?;
    client.send(b"EHLO early.example\r\nNOOP\r\nQUIT\r\n")?;
    assert_eq!(codes(&mut client)?, [220, 250, 250, 221], "each once, in order, behind the banner");
    // A browser that was made to post to the port talks first as well; its form is not mail.
    let mut client = Client::connect(server.smtp())?;
    client.send(format!("POST / HTTP/1.1\r\nHost: mx.basin.example\r\n\r\n{HIDDEN}QUIT\r\n").as_bytes())?;
    assert_eq!(codes(&mut client)?, [220, 502]);
    // A sink that refuses the client at on-connect is not overtaken by what the client has sent already.
    let server = Script::new("on-connect", "refuse 554 5.7.1 not you").server()?;
    let mut client = Client::connect(server.smtp())?;
    client.send(format!("EHLO early.example\r\n{HIDDEN}QUIT\r\n").as_bytes())?;
    assert_eq!(codes(&mut client)?, [554]);
    assert!(server.maildir("alice").names()?.is_empty());
    Ok(())
}

#[test]
fn who_does_not_wait_for_a_late_banner_is_turned_away_and_nothing_of_it_runs() -> Outcome {
    let delay = Duration::from_millis(400);
    let settings = Settings { listener: "greet-delay = \"400ms\"".to_owned(), ..Settings::usual() };
    let server = TestServer::start_with(settings)?;
    let all_at_once = format!("EHLO early.example\r\n{HIDDEN}QUIT\r\n");
    // One octet is enough to know, and none of what follows is read as commands.
    for early in [all_at_once.as_str(), "E", "\r\n", "\0", "GET / HTTP/1.1\r\n\r\n"] {
        let mut client = Client::connect(server.smtp())?;
        client.send(early.as_bytes())?;
        assert_eq!(codes(&mut client)?, [554], "{early:?}");
    }
    assert!(server.maildir("alice").names()?.is_empty());
    let began = Instant::now();
    let mut patient = server.client()?;
    assert!(began.elapsed() >= delay, "the banner comes late");
    patient.deliver(SENDER, &[USER], HELLO)?.require(250).map(drop)
}

#[test]
fn text_behind_a_data_that_was_refused_never_runs_as_commands() -> Outcome {
    let server = TestServer::start()?;
    for before in ["RCPT TO:<nobody@basin.example>\r\n", "", "RCPT TO:<victim@far.example>\r\n"] {
        let mut client = server.client()?;
        client.send(format!("MAIL FROM:<{SENDER}>\r\n{before}DATA\r\n{HIDDEN}QUIT\r\n").as_bytes())?;
        let codes = codes(&mut client)?;
        assert_eq!(codes.last(), Some(&554), "{before:?}: {codes:?}");
    }
    assert!(server.maildir("alice").names()?.is_empty());
    Ok(())
}

#[test]
fn a_group_that_goes_on_behind_its_end_is_answered_in_order_and_only_once() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    // RFC 2920 §3.1 has EHLO, DATA, VRFY, NOOP and QUIT end a group. Here each is followed by more; none of it is
    // lost, run twice or answered early.
    let message =
        "MAIL FROM:<a@client.example>\r\nRCPT TO:<user@basin.example>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n";
    let group = format!("EHLO x\r\nNOOP\r\n{message}VRFY user\r\nEHLO y\r\n{message}RSET\r\nQUIT\r\nNOOP\r\n");
    for segment in group.as_bytes().chunks(7) {
        client.send(segment)?;
    }
    let expected = [250, 250, 250, 250, 354, 250, 252, 250, 250, 250, 354, 250, 250, 221];
    assert_eq!(codes(&mut client)?, expected, "and nothing behind QUIT");
    assert_eq!(server.maildir("user").wait_for(2, basin_tests::wait::PATIENCE)?.len(), 2);
    Ok(())
}

#[test]
fn a_second_greeting_ends_the_transaction_of_the_first() -> Outcome {
    let server = TestServer::start()?;
    let mut client = silent(&server)?;
    client.command("EHLO one.example")?.require(250)?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command("RCPT TO:<alice@basin.example>")?.require(250)?;
    client.command("EHLO two.example")?.require(250)?;
    client.command("DATA")?.require(503)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, basin_tests::wait::PATIENCE)?;
    assert!(server.maildir("alice").names()?.is_empty(), "the first transaction's recipient is forgotten");
    Ok(())
}
