//! Samples in the dialogue with other servers.

use std::io;

use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::{TestServer, guest};
use basin_tests::wait::{PATIENCE, until_true};

use crate::relaying::{AWAY, HERE, scripted, settings, text, wait_empty, wait_taken};
use crate::services::in_force;
use crate::{HELLO, Outcome};

/// A remote server, and one with a sample that sends it everything.
fn pair(manners: Manners, sample: &str, event: &str, more: &[&str]) -> io::Result<(NextHop, TestServer)> {
    let hop = NextHop::start(manners)?;
    let mut server = TestServer::prepare(settings("*", hop.address(), ""))?;
    server.sink_add(&guest(sample), sample, event, more)?;
    server.launch()?;
    Ok((hop, server))
}

fn send(server: &TestServer, recipients: &[&str]) -> Outcome {
    server.client()?.deliver(HERE, recipients, HELLO)?.require(250).map(drop)
}

const NO_SEND: [&str; 6] = ["--grant", "outbound", "--grant", "reply", "--grant", "read-envelope"];

#[test]
fn no_send_keeps_a_message_for_later_and_lets_it_go_when_the_rule_is_gone() -> Outcome {
    let more = [&NO_SEND[..], &["--set", "quiet=00:00-24:00", "--set", "places=away.example"]].concat();
    let (hop, server) = pair(Manners::default(), "no-send", "on-message-start", &more)?;
    send(&server, &[AWAY])?;
    assert!(until_true(PATIENCE, || server.log().contains("450 4.7.1 this message is not sent")), "{}", server.log());
    send(&server, &["friend@other.example"])?;
    wait_taken(&hop, 1);
    in_force(&server, || server.basin_ok(&["sink", "set", "no-send", "quiet=00:00-00:00"]).map(drop))?;
    wait_taken(&hop, 2);
    wait_empty(&server);
    Ok(())
}

#[test]
fn no_send_sends_single_recipients_back() -> Outcome {
    let rules = ["--set", "max-size=10", "--set", "places=*.away.example", "--set", "reply=550 5.3.4 too large for it"];
    let (hop, server) = pair(Manners::default(), "no-send", "on-per-recipient", &[&NO_SEND[..], &rules].concat())?;
    send(&server, &[AWAY, "a@slow.away.example"])?;
    let taken = wait_taken(&hop, 1).remove(0);
    assert!(taken.recipients.iter().all(|line| line.contains(AWAY)), "{taken:?}");
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    let shown = text(&bounce.octets);
    assert!(shown.contains("too large for it") && shown.contains("a@slow.away.example"), "{shown}");
    wait_empty(&server);
    Ok(())
}

const REMOTE_501: [&str; 6] = ["--grant", "outbound", "--grant", "reply", "--grant", "state"];

#[test]
fn remote_501_has_a_501_tried_again() -> Outcome {
    let grey = |line: &str, seen| (line.starts_with("RCPT") && seen == 0).then(|| "501 5.5.4 who are you".to_owned());
    let (hop, server) = pair(scripted(grey), "remote-501", "on-server-response:verb=RCPT;code=501|5*", &REMOTE_501)?;
    send(&server, &[AWAY])?;
    wait_taken(&hop, 1);
    wait_empty(&server);
    assert!(server.maildir("alice").names()?.is_empty(), "a bounce");
    assert_eq!(server.basin_ok(&["sink", "state", "remote-501", "get", "501/127.0.0.1"])?.trim(), "1");
    Ok(())
}

#[test]
fn remote_501_drops_a_session_and_gives_up_at_once_by_rule() -> Outcome {
    let full = |line: &str, seen| match line {
        line if line.starts_with("RCPT TO:<gone@") => Some("450 4.1.1 no such user".to_owned()),
        line if line.starts_with("MAIL") && seen == 0 => Some("451 4.7.0 too many connections".to_owned()),
        _ => None,
    };
    let more = [&REMOTE_501[..], &["--set", "rules=450 no such user -> 550 5.1.1; 45* too many -> drop"]].concat();
    let (hop, server) = pair(scripted(full), "remote-501", "on-server-response:verb=MAIL|RCPT;code=45*", &more)?;
    send(&server, &["gone@away.example", AWAY])?;
    wait_taken(&hop, 1);
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    assert!(text(&bounce.octets).contains("no such user"), "{}", text(&bounce.octets));
    wait_empty(&server);
    assert_eq!(hop.connections(), 2, "{:?}", hop.lines());
    Ok(())
}

#[test]
fn own_verb_out_and_own_verb_speak_with_each_other() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    // The one in the middle takes the verb, and sends what it got on, so that it can be looked at.
    let mut middle = TestServer::prepare(settings("*", hop.address(), ""))?;
    let flags = ["--event", "on-end-of-data", "--grant", "reply", "--grant", "edit-headers"];
    middle.sink_add(&guest("own-verb"), "memo", "on-inbound-command:verb=EHLO|XMEMO", &flags)?;
    middle.launch()?;
    let mut first = TestServer::prepare(settings("*", middle.smtp(), ""))?;
    let flags = ["--grant", "outbound", "--grant", "read-headers", "--set", "fields=Subject"];
    first.sink_add(&guest("own-verb-out"), "memo-out", "on-message-start", &flags)?;
    first.launch()?;
    send(&first, &[AWAY])?;
    let content = text(&wait_taken(&hop, 1).remove(0).content());
    assert!(content.contains("X-Memo: sent by mx.basin.example as "), "{content}");
    assert!(content.contains("X-Memo: with Subject: hello\r\n"), "{content}");
    wait_empty(&first);
    wait_empty(&middle);
    Ok(())
}
