//! Open-relay probes: every known way to name somebody else's mailbox is refused.

use basin_tests::server::TestServer;

use crate::Outcome;

/// Recipients that must not be taken. The first group is plain, the others hide a foreign domain in routing forms
/// that old mail systems took apart after the check.
const FOREIGN: &[&str] = &[
    "<victim@relay.invalid>",
    "<victim@[192.0.2.1]>",
    "<victim@relay.invalid.>",
    "<victim%relay.invalid@basin.example>",
    "<victim%relay.invalid@[127.0.0.1]>",
    "<victim%relay.invalid>",
    "<victim%relay.invalid%basin.example@basin.example>",
    "<\"victim@relay.invalid\">",
    "<\"victim@relay.invalid\"@basin.example>",
    "<\"victim%relay.invalid\"@basin.example>",
    "<victim@relay.invalid@basin.example>",
    "<@basin.example:victim@relay.invalid>",
    "<@mx.basin.example:victim@relay.invalid>",
    "<@basin.example,@other.invalid:victim@relay.invalid>",
    "<relay.invalid!victim>",
    "<relay.invalid!victim@basin.example>",
    "<basin.example!relay.invalid!victim>",
    "<victim@basin.example.relay.invalid>",
    "<victim@evilbasin.example>",
    "<victim@sub.basin.example>",
    "<user@mx.basin.example.>",
    "<victim@localhost>",
    "<victim@[127.0.0.1]>",
    "<victim@[IPv6:::1]>",
    "<victim(comment)@relay.invalid>",
    "<victim@relay.invalid,user@basin.example>",
    "<user@basin.example,victim@relay.invalid>",
    "<victim@relay.invalid> <user@basin.example>",
    "<user@basin.example\0.relay.invalid>",
    "<victim@relay.invalid\0@basin.example>",
    "victim@relay.invalid",
    "<victim>",
    "<=?utf-8?q?victim=40relay.invalid?=@basin.example>",
    "<victim@basin\u{ff0e}example>",
];

const SENDERS: &[&str] =
    &["<sender@client.example>", "<>", "<user@basin.example>", "<root@localhost>", "<x@[127.0.0.1]>"];

#[test]
fn no_way_to_name_a_foreign_mailbox_is_accepted() -> Outcome {
    let server = TestServer::start()?;
    for sender in SENDERS {
        for recipient in FOREIGN {
            // A session of its own, so that the limit of errors does not answer in place of the check.
            let mut client = server.client()?;
            if !client.command(&format!("MAIL FROM:{sender}"))?.is_success() {
                continue;
            }
            client.send(format!("RCPT TO:{recipient}\r\n").as_bytes())?;
            let reply = client.reply()?;
            assert_eq!(reply.code / 100, 5, "{sender} to {recipient:?}: {}", reply.wire());
        }
    }
    Ok(())
}

#[test]
fn a_relay_attempt_is_told_apart_from_an_unknown_user() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    client.command("MAIL FROM:<sender@client.example>")?.require(250)?;
    let reply = client.command("RCPT TO:<victim@relay.invalid>")?;
    assert!(matches!(reply.code, 550 | 554) && reply.says("5.7.1"), "{}", reply.wire());
    assert!(!client.command("DATA")?.is_success(), "no recipient was taken");
    Ok(())
}
