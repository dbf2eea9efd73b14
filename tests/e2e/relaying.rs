//! Mail for other domains: what the next server gets, octet for octet, and what becomes of what it does not take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use basin_tests::client::Client;
use basin_tests::letter::{Letter, recognise};
use basin_tests::next_hop::{Manners, NextHop, Transaction};
use basin_tests::server::TestServer;
use basin_tests::settings::{Settings, free_address};
use basin_tests::wait::{PATIENCE, let_pass, until, until_true};

use crate::{HELLO, Outcome, SENDER, USER};

/// A recipient elsewhere.
pub(crate) const AWAY: &str = "friend@away.example";

/// A sender here, so that what comes back arrives in a mailbox.
pub(crate) const HERE: &str = "alice@basin.example";

/// A server that relays for this machine, and sends mail for `domain` to `hop`.
pub(crate) fn settings(domain: &str, hop: SocketAddr, more: &str) -> Settings {
    Settings {
        relay_clients: "[\"127.0.0.1\"]".to_owned(),
        tables: format!(
            "[queue]\nfirst-waits = [\"1s\"]\nlongest-wait = \"1s\"\n\
             [[route]]\ndomains = [\"{domain}\"]\nhosts = [\"{hop}\"]\n{more}\n"
        ),
        ..Settings::usual()
    }
}

pub(crate) fn scripted(script: impl Fn(&str, u32) -> Option<String> + Send + Sync + 'static) -> Manners {
    Manners { script: Arc::new(script), ..Manners::default() }
}

fn pair(manners: Manners, more: &str) -> std::io::Result<(NextHop, TestServer)> {
    let hop = NextHop::start(manners)?;
    let server = TestServer::start_with(settings("*", hop.address(), more))?;
    Ok((hop, server))
}

pub(crate) fn wait_taken(hop: &NextHop, count: usize) -> Vec<Transaction> {
    until_true(PATIENCE, || hop.taken().len() >= count);
    let taken = hop.taken();
    assert_eq!(taken.len(), count, "{:?}", hop.lines());
    taken
}

pub(crate) fn wait_empty(server: &TestServer) {
    let is_empty = || server.metrics().is_ok_and(|metrics| metrics.total("basin_spool_messages") == Some(0.0));
    assert!(until_true(PATIENCE, is_empty), "messages are left:\n{}", server.log());
}

pub(crate) fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn the_next_server_gets_what_was_sent_and_one_received_field() -> Outcome {
    let (hop, server) = pair(Manners::default(), "")?;
    server.client()?.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    let taken = wait_taken(&hop, 1).remove(0);
    assert!(taken.mail.starts_with(&format!("MAIL FROM:<{SENDER}>")), "{}", taken.mail);
    assert!(taken.recipients[0].starts_with(&format!("RCPT TO:<{AWAY}>")), "{:?}", taken.recipients);
    let content = taken.content();
    assert!(content.ends_with(HELLO), "{}", text(&content));
    let added = text(content.strip_suffix(HELLO).unwrap_or_default());
    assert!(added.starts_with("Received: from client.example"), "{added}");
    assert_eq!(added.matches("Received:").count(), 1, "{added}");
    assert!(!added.contains("Return-Path") && !added.contains("Delivered-To"), "{added}");
    wait_empty(&server);
    let ehlo = hop.lines();
    assert!(ehlo.iter().any(|line| line == "EHLO mx.basin.example"), "{ehlo:?}");
    Ok(())
}

#[test]
fn content_is_the_same_with_data_and_with_bdat_and_has_no_bare_line_ends() -> Outcome {
    let sizes = [0, 1, 1023, 16_384, 300_000];
    for chunking in ["never", "preferred"] {
        let hop = NextHop::start(Manners::default())?;
        let mut settings = settings("*", hop.address(), "");
        settings.tables.push_str(&format!("[outbound]\nchunking = \"{chunking}\"\n"));
        let server = TestServer::start_with(settings)?;
        let mut client = server.client()?;
        for (number, size) in (0..).zip(sizes) {
            let letter = Letter { run: 1, author: 1, number, size };
            client.deliver_pipelined(SENDER, AWAY, &letter.text())?.require(250)?;
        }
        for taken in wait_taken(&hop, sizes.len()) {
            assert_eq!(taken.is_chunked, chunking == "preferred");
            let content = taken.content();
            assert_eq!(recognise(&content, &[]).err(), None);
            let pairs = content.windows(2).filter(|pair| *pair == b"\r\n").count();
            let single = |octet: u8| content.iter().filter(|other| **other == octet).count();
            assert_eq!((single(b'\r'), single(b'\n')), (pairs, pairs), "only CR LF");
        }
        wait_empty(&server);
    }
    Ok(())
}

#[test]
fn the_null_sender_is_passed_on_and_nobody_is_told_of_its_failure() -> Outcome {
    let refuse = |line: &str, _| line.starts_with("RCPT TO:<bad@").then(|| "550 5.1.1 no such user".to_owned());
    let (hop, server) = pair(scripted(refuse), "")?;
    server.client()?.deliver("", &["bad@away.example"], HELLO)?.require(250)?;
    server.client()?.deliver("", &[AWAY], HELLO)?.require(250)?;
    let taken = wait_taken(&hop, 1).remove(0);
    assert!(taken.mail.starts_with("MAIL FROM:<>"), "{}", taken.mail);
    wait_empty(&server);
    assert_eq!(server.metrics()?.total("basin_notifications_total"), Some(0.0));
    Ok(())
}

#[test]
fn what_is_put_off_is_tried_again_and_taken_once() -> Outcome {
    let grey = |line: &str, seen| (line.starts_with("RCPT") && seen == 0).then(|| "451 4.7.1 come back".to_owned());
    let (hop, server) = pair(scripted(grey), "")?;
    server.client()?.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    wait_taken(&hop, 1);
    wait_empty(&server);
    assert_eq!(hop.lines().iter().filter(|line| line.starts_with("RCPT")).count(), 2);
    assert!(server.log().contains("451 4.7.1 come back"), "{}", server.log());
    Ok(())
}

#[test]
fn a_refusal_comes_back_to_the_sender() -> Outcome {
    let refuse = |line: &str, _| line.starts_with("RCPT").then(|| "550 5.1.1 no such user there".to_owned());
    let (_hop, server) = pair(scripted(refuse), "")?;
    server.client()?.deliver(HERE, &[AWAY], HELLO)?.require(250)?;
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    let shown = text(&bounce.octets);
    assert_eq!(bounce.header("Return-Path").as_deref(), Some("<>"));
    for part in ["no such user there", "Action: failed", "Status: 5.1.1", AWAY, "Subject: hello"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    wait_empty(&server);
    Ok(())
}

#[test]
fn each_recipient_has_an_outcome_of_its_own() -> Outcome {
    let script = |line: &str, seen| match line {
        line if line.starts_with("RCPT TO:<bad@") => Some("550 5.1.1 nobody".to_owned()),
        line if line.starts_with("RCPT TO:<late@") && seen == 0 => Some("452 4.2.2 mailbox full".to_owned()),
        _ => None,
    };
    let (hop, server) = pair(scripted(script), "")?;
    let recipients = ["good@away.example", "bad@away.example", "late@away.example", USER];
    server.client()?.deliver(HERE, &recipients, HELLO)?.require(250)?;
    let taken = wait_taken(&hop, 2);
    let names = |taken: &Transaction| taken.recipients.iter().map(|line| line.get(9..13).map(str::to_owned)).collect();
    let names: Vec<Vec<Option<String>>> = taken.iter().map(names).collect();
    assert_eq!(names, [[Some("good".to_owned())], [Some("late".to_owned())]], "nobody gets it twice");
    assert_eq!(server.maildir("user").wait_for(1, PATIENCE)?.len(), 1);
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    let shown = text(&bounce.octets);
    assert!(shown.contains("bad@away.example") && !shown.contains("good@away.example"), "{shown}");
    wait_empty(&server);
    Ok(())
}

#[test]
fn recipients_at_one_destination_share_a_transaction_and_messages_a_connection() -> Outcome {
    let (hop, server) = pair(Manners::default(), "connections = 1")?;
    let mut client = server.client()?;
    let recipients = ["a@one.example", "b@one.example", "c@two.example"];
    for _ in 0..5 {
        client.deliver(SENDER, &recipients, HELLO)?.require(250)?;
    }
    let taken = wait_taken(&hop, 5);
    assert!(taken.iter().all(|taken| taken.recipients.len() == 3), "a route's domains are one destination");
    assert!(hop.connections() < 5, "{} connections", hop.connections());
    wait_empty(&server);
    Ok(())
}

#[test]
fn a_destination_that_is_down_costs_probes_and_not_its_whole_queue() -> Outcome {
    let address = free_address();
    let server = TestServer::start_with(settings("*", address, ""))?;
    let mut client = server.client()?;
    for _ in 0..20 {
        client.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    }
    let failures = || server.metrics().ok().and_then(|metrics| metrics.total("basin_destination_failures_total"));
    assert!(until_true(PATIENCE, || failures() > Some(1.0)), "{}", server.log());
    let tried = server.metrics()?.total("basin_outbound_connections_total").unwrap_or_default();
    assert!(tried < 10.0, "{tried} connections for twenty messages");
    let hop = NextHop::start_at(address, Manners::default())?;
    wait_taken(&hop, 20);
    wait_empty(&server);
    Ok(())
}

#[test]
fn a_smart_host_is_logged_in_to() -> Outcome {
    let script = |line: &str, _| match line {
        "AUTH PLAIN AGJhc2luAG9wZW4gc2VzYW1l" => Some("235 2.7.0 welcome".to_owned()),
        line if line.starts_with("AUTH") => Some("535 5.7.8 no".to_owned()),
        _ => None,
    };
    let mut manners = scripted(script);
    manners.keywords.push("AUTH PLAIN LOGIN".to_owned());
    let hop = NextHop::start(manners)?;
    let mut settings = settings("*", hop.address(), "credentials = \"relay\"\ntls = \"never\"");
    settings.tables.push_str("[[credentials]]\nname = \"relay\"\nuser = \"basin\"\npassword-file = \"secret\"\n");
    let mut server = TestServer::prepare(settings)?;
    std::fs::write(server.home().join("secret"), "open sesame\n")?;
    server.launch()?;
    server.client()?.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    wait_taken(&hop, 1);
    assert!(!server.log().contains("open sesame") && !server.log().contains("AGJhc2lu"), "{}", server.log());
    Ok(())
}

#[test]
fn a_mail_store_is_spoken_to_in_lmtp() -> Outcome {
    // The reply after the content is the second answer to each RCPT line.
    let full =
        |line: &str, seen| (line.starts_with("RCPT TO:<full@") && seen == 1).then(|| "552 5.2.2 full".to_owned());
    let (hop, server) = pair(Manners { is_lmtp: true, ..scripted(full) }, "protocol = \"lmtp\"")?;
    server.client()?.deliver(HERE, &["full@away.example", AWAY], HELLO)?.require(250)?;
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    let shown = text(&bounce.octets);
    assert!(shown.contains("full@away.example") && !shown.contains(&format!("<{AWAY}>")), "{shown}");
    assert!(hop.lines().iter().any(|line| line == "LHLO mx.basin.example"), "{:?}", hop.lines());
    wait_empty(&server);
    Ok(())
}

#[test]
fn tls_that_a_route_demands_is_never_given_up() -> Outcome {
    // The next server offers none, so nothing leaves, not even the envelope.
    let (hop, server) = pair(Manners::default(), "tls = \"required\"")?;
    server.client()?.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    assert!(until_true(PATIENCE, || hop.connections() > 1), "{}", server.log());
    assert!(!hop.lines().iter().any(|line| line.starts_with("MAIL")), "{:?}", hop.lines());
    assert_eq!(server.metrics()?.total("basin_spool_messages"), Some(1.0));
    Ok(())
}

#[test]
fn nobody_but_named_clients_may_send_elsewhere() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let mut settings = settings("*", hop.address(), "");
    // This client is not among them.
    settings.relay_clients = "[\"192.0.2.0/24\", \"::1\"]".to_owned();
    let server = TestServer::start_with(settings)?;
    for sender in [SENDER, "", HERE] {
        let mut client = server.client()?;
        client.command(&format!("MAIL FROM:<{sender}>"))?.require(250)?;
        let reply = client.command(&format!("RCPT TO:<{AWAY}>"))?.require(550)?;
        assert!(reply.says("5.7.1"), "{}", reply.wire());
    }
    assert_eq!(hop.connections(), 0);
    Ok(())
}

#[test]
fn what_a_named_client_sends_is_never_taken_apart_as_a_route() -> Outcome {
    let (_hop, server) = pair(Manners::default(), "")?;
    for recipient in
        ["<x%away.example@basin.example>", "<away.example!x@basin.example>", "<@a.example:x@basin.example>"]
    {
        let mut client = server.client()?;
        client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
        let reply = client.command(&format!("RCPT TO:{recipient}"))?;
        assert!(reply.code == 550 || reply.code == 501, "{recipient}: {}", reply.wire());
    }
    Ok(())
}

#[test]
fn a_restart_in_the_middle_goes_on() -> Outcome {
    let address = free_address();
    let mut server = TestServer::start_with(settings("*", address, ""))?;
    server.client()?.deliver(SENDER, &[AWAY, USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    let is_deferred = || server.log().contains("deferred");
    assert!(until_true(PATIENCE, is_deferred), "{}", server.log());
    server.kill()?;
    server.launch()?;
    let hop = NextHop::start_at(address, Manners::default())?;
    wait_taken(&hop, 1);
    wait_empty(&server);
    assert_eq!(server.maildir("user").wait_for(1, PATIENCE)?.len(), 1, "and here it arrived once");
    Ok(())
}

#[test]
fn a_stopping_server_finishes_the_transaction_and_takes_up_no_other() -> Outcome {
    // The answer to the content comes when the server is stopping already.
    let slow = |line: &str, _| {
        (line == ".").then(|| {
            let_pass(Duration::from_millis(700));
            "250 2.0.0 taken".to_owned()
        })
    };
    let (hop, mut server) = pair(scripted(slow), "connections = 1")?;
    let mut client = server.client()?;
    for _ in 0..3 {
        client.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    }
    client.quit()?;
    assert!(until_true(PATIENCE, || !hop.transactions().is_empty()));
    assert!(server.terminate()?.success());
    let sent = hop.taken().len();
    assert!((1..3).contains(&sent), "{sent} messages left");
    hop.set_manners(Manners::default());
    server.launch()?;
    wait_taken(&hop, 3);
    wait_empty(&server);
    Ok(())
}

#[test]
fn a_full_queue_says_so_at_mail() -> Outcome {
    let mut settings = settings("*", free_address(), "");
    settings.tables = settings.tables.replace("[queue]\n", "[queue]\nmax-messages = 2\n");
    let server = TestServer::start_with(settings)?;
    for _ in 0..2 {
        server.client()?.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    }
    let reply = server.client()?.command(&format!("MAIL FROM:<{SENDER}>"))?.require(452)?;
    assert!(reply.says("4.3.1"), "{}", reply.wire());
    Ok(())
}

#[test]
fn a_reload_takes_routes_and_clients_and_drops_nothing() -> Outcome {
    let mut server = TestServer::start_with(settings("*", free_address(), ""))?;
    let mut open: Client = server.client()?;
    server.client()?.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    let hop = NextHop::start(Manners::default())?;
    let mut changed = settings("*", hop.address(), "");
    (changed.smtp, changed.admin) = (server.smtp(), server.admin());
    changed.relay_clients = "[]".to_owned();
    server.write_config(&changed.text(server.home()))?;
    server.signal(rustix::process::Signal::HUP)?;
    wait_taken(&hop, 1);
    let refused = until(PATIENCE, || {
        let mut client = server.client().ok()?;
        client.command(&format!("MAIL FROM:<{SENDER}>")).ok()?;
        client.command(&format!("RCPT TO:<{AWAY}>")).ok().filter(|reply| reply.code == 550)
    });
    assert!(refused.is_some(), "the new clients are in force");
    open.command("NOOP")?.require(250)?;
    server.terminate().map(drop)
}
