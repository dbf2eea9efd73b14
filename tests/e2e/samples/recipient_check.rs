//! A policy for each recipient.

use basin_tests::server::TestServer;
use basin_tests::wait::PATIENCE;

use super::server_with;
use crate::{HELLO, Outcome, SENDER, USER};

const TABLE: &str = "table=bob@basin.example only @basin.example; alice@basin.example reject left us in May; \
    old@basin.example to user@basin.example; @closed.example reject; partner@away.example accept";

fn server(grants: &[&str]) -> std::io::Result<TestServer> {
    let mut flags = vec!["--set", TABLE];
    for grant in grants {
        flags.extend(["--grant", grant]);
    }
    server_with("recipient-check", "on-inbound-command:verb=RCPT", &flags)
}

const GRANTS: &[&str] = &["read-envelope", "edit-envelope", "reply", "accept-recipients"];

#[test]
fn each_recipient_gets_what_the_table_says() -> Outcome {
    let server = server(GRANTS)?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    for (recipient, code, words) in [
        ("alice@basin.example", 550, "5.7.1 left us in May"),
        ("bob@basin.example", 550, "5.7.2 this address takes mail of its members only"),
        ("any@closed.example", 550, "5.7.1 this address takes no mail"),
        ("stranger@away.example", 550, ""),
        ("nobody@basin.example", 550, "5.1.1"),
        ("partner@away.example", 250, ""),
        ("old@basin.example", 250, ""),
        (USER, 250, ""),
    ] {
        let reply = client.command(&format!("RCPT TO:<{recipient}>"))?;
        assert!(reply.code == code && reply.says(words), "{recipient}: {}", reply.wire());
    }
    Ok(())
}

#[test]
fn a_member_reaches_the_list_and_an_old_address_the_new_one() -> Outcome {
    let server = server(GRANTS)?;
    server.client()?.deliver("alice@basin.example", &["bob@basin.example"], HELLO)?.require(250)?;
    server.client()?.deliver(SENDER, &["old@basin.example"], HELLO)?.require(250)?;
    server.maildir("bob").wait_for(1, PATIENCE)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    Ok(())
}

#[test]
fn no_table_opens_a_relay_without_the_grant() -> Outcome {
    let server = server(&["read-envelope", "reply"])?;
    let reply = server.client()?.deliver(SENDER, &["partner@away.example"], HELLO)?;
    assert!(!reply.is_success(), "{}", reply.wire());
    Ok(())
}
