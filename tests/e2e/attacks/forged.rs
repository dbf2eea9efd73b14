//! What a client says of itself and of others goes into replies, fields and logs; none of it may become a line.

use std::io;

use basin_tests::client::Client;
use basin_tests::server::TestServer;
use basin_tests::wait::PATIENCE;

use super::{codes, silent};
use crate::{HELLO, Outcome, SENDER, USER};

/// Addresses that would end a line of a reply, of a header or of a command where somebody copies them.
const WITH_LINE_ENDS: &[&str] = &[
    "a\r250 2.1.5 ok@basin.example",
    "a\n250 2.1.5 ok@basin.example",
    "\"a\rBcc: victim@far.example\"@basin.example",
    "\"a\nBcc: victim@far.example\"@basin.example",
    "user@basin.example\r",
    "user@basin.example\n",
    "\"user\\\n\"@basin.example",
];

#[test]
fn an_address_with_a_line_end_is_refused_and_never_echoed() -> Outcome {
    let server = TestServer::start()?;
    for address in WITH_LINE_ENDS {
        for verb in ["MAIL FROM", "RCPT TO"] {
            let mut client = server.client()?;
            if verb == "RCPT TO" {
                client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
            }
            // The strict client fails on a reply with a bare CR or LF, and on a second reply.
            client.send(format!("{verb}:<{address}>\r\nQUIT\r\n").as_bytes())?;
            assert_eq!(codes(&mut client)?, [500, 221], "{verb} {address:?}");
        }
    }
    Ok(())
}

#[test]
fn a_nul_in_a_command_or_a_text_is_refused_and_never_cut_at() -> Outcome {
    let server = TestServer::start()?;
    for line in [
        "RCPT TO:<user\0@basin.example>",
        "RCPT TO:<user@basin.example\0.far.example>",
        "RCPT TO:<user@basin.example>\0",
        "RCPT TO:<\"user\0\"@basin.example>",
        "NOOP\0",
    ] {
        let mut client = server.client()?;
        client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
        client.send(format!("{line}\r\nDATA\r\n").as_bytes())?;
        let replies = [client.reply()?.code, client.reply()?.code];
        assert_eq!(replies, [500, 503], "{line:?}: nobody was named");
    }
    let reply = server.client()?.deliver(SENDER, &[USER], b"Subject: x\0y\r\n\r\ntext\r\n")?;
    assert!(reply.wire().starts_with("550 5.6.11"), "{}", reply.wire());
    assert!(server.maildir("user").names()?.is_empty());
    Ok(())
}

#[test]
fn no_name_in_helo_makes_a_field_of_the_header() -> Outcome {
    let server = TestServer::start()?;
    let names = ["x\rBcc:y", "x\nBcc:y", "x(by)\\", "a\u{e9}b", "(((", "x;from=y", "\"x", "[", &"n".repeat(255)];
    let mut taken = 0;
    for name in names {
        let mut client = silent(&server)?;
        client.send(format!("EHLO {name}\r\n").as_bytes())?;
        let reply = client.reply()?;
        assert!(matches!(reply.code, 250 | 500 | 501), "{name:?}: {}", reply.wire());
        if reply.is_success() {
            client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
            taken += 1;
        }
    }
    let mails = server.maildir("user").wait_for(taken, PATIENCE)?;
    for mail in &mails {
        assert_eq!(mail.headers("Received").len(), 1, "one field of the server's");
        assert_eq!(mail.header("Bcc"), None);
        let text = String::from_utf8_lossy(&mail.octets).into_owned();
        let header = text.split("\r\n\r\n").next().unwrap_or_default();
        assert!(!header.replace("\r\n", "\n").contains(['\r', '\0']), "{header:?}");
        assert!(text.ends_with("Hello.\r\n") || text.ends_with("Hello.\n"), "the message is as it was sent");
    }
    Ok(())
}

#[test]
fn coded_line_ends_in_dsn_parameters_make_no_line_of_a_notification() -> Outcome {
    let mut settings = basin_tests::settings::Settings::usual();
    settings.aliases = "\"sender@basin.example\" = \"alice@basin.example\"\n".to_owned();
    let server = TestServer::start_with(settings)?;
    let mut client = server.client()?;
    // RFC 3461 §4: "+0D+0A" is CR LF, and it is the notification that decodes it.
    client.command("MAIL FROM:<alice@basin.example> ENVID=x+0D+0ABcc:+20victim@far.example")?.require(250)?;
    let recipient = "RCPT TO:<user@basin.example> NOTIFY=SUCCESS ORCPT=rfc822;u+0D+0AAction:+20failed";
    client.command(recipient)?.require(250)?;
    client.command("DATA")?.require(354)?;
    client.send(b"Subject: x\r\n\r\ntext\r\n.\r\n")?;
    client.expect(250)?;
    let mails = server.maildir("alice").wait_for(1, PATIENCE)?;
    let text = mails.iter().map(|mail| String::from_utf8_lossy(&mail.octets).into_owned()).collect::<String>();
    assert!(text.contains("Action: delivered") || text.contains("Action: relayed"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("Bcc:") || line.trim() == "Action: failed"), "{text}");
    Ok(())
}

#[test]
fn an_encoded_word_or_a_folded_width_is_no_other_address() -> Outcome {
    let server = TestServer::start()?;
    for address in [
        "=?utf-8?q?user?=@basin.example",
        "=?utf-8?b?dXNlcg==?=@basin.example",
        "us\u{ff45}r@basin.example",
        "user=40basin.example@basin.example",
        "USER+x@basin.example",
        "user(comment)@basin.example",
        "user@basin.example.",
    ] {
        let mut client: Client = server.client()?;
        client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
        client.send(format!("RCPT TO:<{address}>\r\n").as_bytes())?;
        let reply = client.reply()?;
        assert_eq!(reply.code / 100, 5, "{address}: {}", reply.wire());
    }
    Ok(())
}

#[test]
fn what_means_something_to_a_shell_or_a_path_is_only_a_name() -> Outcome {
    let server = TestServer::start()?;
    for address in [
        "${run{touch${substr{10}{1}{$tod_log}}basin}}@basin.example",
        "\";touch basin;\"@basin.example",
        "\"|touch basin\"@basin.example",
        "\"../../../tmp/basin\"@basin.example",
        "\"`touch basin`\"@basin.example",
        "%s%n@basin.example",
    ] {
        let mut client = server.client()?;
        client.command(&format!("MAIL FROM:<{address}>"))?;
        client.command("RSET")?.require(250)?;
        client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
        let reply = client.command(&format!("RCPT TO:<{address}>"))?;
        assert_eq!(reply.code / 100, 5, "{address}: {}", reply.wire());
    }
    let made: Vec<_> = std::fs::read_dir(server.home())?.collect::<io::Result<_>>()?;
    assert!(made.iter().all(|entry| entry.file_name() != "basin"), "{made:?}");
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    Ok(())
}
