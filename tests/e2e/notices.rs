//! What senders ask to be told of (RFC 3461), over the hop to the next server.

use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::{PATIENCE, until_true};

use crate::{HELLO, Outcome};

const AWAY: &str = "friend@away.example";
const HERE: &str = "alice@basin.example";

fn pair(manners: Manners) -> std::io::Result<(NextHop, TestServer)> {
    let hop = NextHop::start(manners)?;
    let server = TestServer::start_with(Settings {
        relay_clients: "[\"127.0.0.1\"]".to_owned(),
        tables: format!("[[route]]\ndomains = [\"*\"]\nhosts = [\"{}\"]\n", hop.address()),
        ..Settings::usual()
    })?;
    Ok((hop, server))
}

// Sends a message with these lines, and waits until the next server has it.
fn send(hop: &NextHop, server: &TestServer, mail: &str, recipient: &str) -> std::io::Result<(String, String)> {
    let mut client = server.client()?;
    client.command(mail)?.require(250)?;
    client.command(recipient)?.require(250)?;
    client.command("DATA")?.require(354)?;
    client.send(&basin_tests::client::stuffed(HELLO))?;
    client.expect(250)?;
    assert!(until_true(PATIENCE, || !hop.taken().is_empty()), "{:?}\n{}", hop.lines(), server.log());
    let taken = hop.taken().remove(0);
    Ok((taken.mail, taken.recipients.concat()))
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn what_a_sender_asked_for_goes_on_to_a_server_that_reports_itself() -> Outcome {
    let (hop, server) = pair(Manners::default())?;
    let (mail, recipient) = send(
        &hop,
        &server,
        &format!("MAIL FROM:<{HERE}> RET=HDRS ENVID=QQ+2B314159"),
        &format!("RCPT TO:<{AWAY}> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first+2Blast@other.example"),
    )?;
    for word in [&*format!("FROM:<{HERE}>"), "RET=HDRS", "ENVID=QQ+2B314159"] {
        assert!(words(&mail).iter().any(|there| there == word), "{word} in {mail}");
    }
    for word in [&*format!("TO:<{AWAY}>"), "NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;first+2Blast@other.example"] {
        assert!(words(&recipient).iter().any(|there| there == word), "{word} in {recipient}");
    }
    let is_gone = || server.metrics().is_ok_and(|metrics| metrics.total("basin_spool_messages") == Some(0.0));
    assert!(until_true(PATIENCE, is_gone), "{}", server.log());
    assert_eq!(server.metrics()?.total("basin_notifications_total"), Some(0.0), "the next server tells of success");
    Ok(())
}

#[test]
fn the_null_sender_keeps_its_parameters_too() -> Outcome {
    let (hop, server) = pair(Manners::default())?;
    let (mail, recipient) = send(&hop, &server, "MAIL FROM:<> ENVID=e1", &format!("RCPT TO:<{AWAY}> NOTIFY=NEVER"))?;
    assert!(mail.starts_with("MAIL FROM:<> ") && words(&mail).iter().any(|word| word == "ENVID=e1"), "{mail}");
    assert!(words(&recipient).iter().any(|word| word == "NOTIFY=NEVER"), "{recipient}");
    Ok(())
}

#[test]
fn of_a_server_that_does_not_report_the_sender_is_told_that_it_took_the_mail() -> Outcome {
    let mut manners = Manners::default();
    manners.keywords.retain(|keyword| keyword != "DSN");
    let (hop, server) = pair(manners)?;
    let (mail, recipient) = send(
        &hop,
        &server,
        &format!("MAIL FROM:<{HERE}> RET=HDRS ENVID=e2"),
        &format!("RCPT TO:<{AWAY}> NOTIFY=SUCCESS ORCPT=rfc822;{AWAY}"),
    )?;
    for parameter in ["RET=", "ENVID=", "NOTIFY=", "ORCPT="] {
        assert!(!mail.contains(parameter) && !recipient.contains(parameter), "{mail} {recipient}");
    }
    let told = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    let shown = String::from_utf8_lossy(&told.octets).into_owned();
    for part in ["Action: relayed", "Original-Envelope-Id: e2", &*format!("Original-Recipient: rfc822;{AWAY}")] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("\r\nHello."), "RET=HDRS: the text stays away from it: {shown}");
    Ok(())
}
