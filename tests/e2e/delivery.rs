//! Mail ends in a Maildir, octet for octet, with the fields that final delivery adds.

use basin_tests::client::Client;
use basin_tests::letter::{Letter, recognise};
use basin_tests::maildir::{Mail, Maildir};
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::PATIENCE;

use crate::{HELLO, Outcome, SENDER, USER};

fn one(server: &TestServer, mailbox: &str) -> std::io::Result<Mail> {
    let mails = server.maildir(mailbox).wait_for(1, PATIENCE)?;
    assert_eq!(mails.len(), 1, "{mailbox} has one message");
    Ok(mails.into_iter().next().expect("there is one"))
}

#[test]
fn a_message_arrives_with_the_fields_of_final_delivery_before_it() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    let port = client.local()?.port();
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    client.quit()?;
    let mail = one(&server, "user")?;
    let text = String::from_utf8_lossy(&mail.octets).into_owned();
    assert!(text.ends_with(&*String::from_utf8_lossy(HELLO)), "the message itself is as it was sent: {text}");
    let added = mail.field_names();
    assert_eq!(added.get(..3), Some(&["Return-Path", "Delivered-To", "Received"].map(str::to_owned)[..]), "{text}");
    assert_eq!(mail.header("Return-Path"), Some(format!("<{SENDER}>")), "RFC 5321 §4.4");
    assert_eq!(mail.header("Delivered-To").as_deref(), Some(USER));
    let received = mail.header("Received").expect("Received");
    for part in
        ["from client.example", "[127.0.0.1]", "by mx.basin.example", "with ESMTP", " id ", "for <user@basin.example>"]
    {
        assert!(received.contains(part), "{part} is missing in {received:?} (port {port})");
    }
    Ok(())
}

#[test]
fn letters_of_every_size_arrive_octet_for_octet() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    // Empty, small, around the chunk sizes of readers, over what a draft keeps in memory.
    let sizes = [0, 1, 100, 1023, 4096, 8191, 16_384, 65_536, 262_144, 300_000, 3_000_000];
    for (number, size) in (0..).zip(sizes) {
        let letter = Letter { run: 1, author: 1, number, size };
        client.deliver_pipelined(SENDER, USER, &letter.text())?.require(250)?;
    }
    for mail in server.maildir("user").wait_for(sizes.len(), PATIENCE)? {
        assert_eq!(recognise(&mail.octets, &[]).err(), None);
    }
    Ok(())
}

#[test]
fn odd_but_legal_text_arrives_as_it_was() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    let long_line = [&b"Subject: x\r\n\r\n"[..], &[b'y'; 5000], b"\r\n"].concat();
    let texts: [&[u8]; 6] = [
        b"Subject: no body\r\n\r\n",
        b"Subject: dots\r\n\r\n.\r\n..\r\n...x\r\n.\r\n",
        b"Subject:  folded\r\n\twith a tab\r\n  and spaces \r\nX-Empty:\r\n\r\n \r\n",
        "Subject: 8-bit \u{fc}\r\n\r\nk\u{e4}se\r\n".as_bytes(),
        b"Subject: control\x01\x7f\r\n\r\n\x08\x0b\x0c\xff\xfe\r\n",
        &long_line,
    ];
    for text in texts {
        client.deliver(SENDER, &[USER], text)?.require(250)?;
    }
    let mails = server.maildir("user").wait_for(texts.len(), PATIENCE)?;
    for text in texts {
        let is_there = mails.iter().any(|mail| mail.octets.ends_with(text));
        assert!(is_there, "{:?} is in no message", String::from_utf8_lossy(text));
    }
    Ok(())
}

#[test]
fn text_without_a_header_is_taken_and_keeps_its_lines() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    for text in [&b""[..], b"no header at all\r\n", b"\r\nonly a body\r\n"] {
        let reply = client.deliver(SENDER, &[USER], text)?;
        assert!(matches!(reply.code, 250 | 554 | 550), "{}", reply.wire());
    }
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    Ok(())
}

#[test]
fn each_recipient_gets_a_copy_and_nobody_two() -> Outcome {
    let mut settings = Settings::usual();
    settings.aliases = "\"team@basin.example\" = [\"alice@basin.example\", \"bob@basin.example\"]\n\
        \"info@basin.example\" = \"team@basin.example\"\n"
        .to_owned();
    let server = TestServer::start_with(settings)?;
    let mut client = server.client()?;
    let recipients = [USER, "info@basin.example", "alice@basin.example", "ALICE@BASIN.example", "team@Basin.Example"];
    client.deliver(SENDER, &recipients, HELLO)?.require(250)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(2, PATIENCE)?;
    for mailbox in ["alice", "bob"] {
        one(&server, mailbox)?;
    }
    Ok(())
}

#[test]
fn the_null_sender_and_postmaster_are_accepted() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    client.deliver("", &["postmaster"], HELLO)?.require(250)?;
    client.deliver("", &["PostMaster@basin.example"], HELLO)?.require(250)?;
    let mails = server.maildir("postmaster").wait_for(2, PATIENCE)?;
    assert_eq!(mails.first().and_then(|mail| mail.header("Return-Path")).as_deref(), Some("<>"));
    Ok(())
}

#[test]
fn the_postmaster_of_the_server_itself_is_the_postmaster_and_nobody_else_is_there() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    client.deliver(SENDER, &["Postmaster@MX.basin.example"], HELLO)?.require(250)?;
    one(&server, "postmaster")?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command("RCPT TO:<user@mx.basin.example>")?.require(550).map(drop)
}

#[test]
fn a_mailbox_has_letters_of_any_script_for_those_who_can_write_them_and_an_alias_for_the_others() -> Outcome {
    let tables = "[[domain]]\nname = \"letters.example\"\nmailboxes = [\"j\u{f6}rg\"]\n".to_owned();
    let aliases = "\"joerg@basin.example\" = \"j\u{f6}rg@letters.example\"\n".to_owned();
    let server = TestServer::start_with(Settings { tables, aliases, ..Settings::usual() })?;
    let mailbox = Maildir::at(server.home().join("mail/letters.example/j\u{f6}rg"));
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command("RCPT TO:<j\u{f6}rg@letters.example>")?.require(553)?;
    // Two ways to write the same letter, and two cases of it.
    for (count, written) in ["j\u{f6}rg", "JO\u{308}RG"].into_iter().enumerate() {
        client.command("RSET")?.require(250)?;
        client.command(&format!("MAIL FROM:<{SENDER}> SMTPUTF8"))?.require(250)?;
        client.command("RCPT TO:<jorg@letters.example>")?.require(550)?;
        client.command(&format!("RCPT TO:<{written}@letters.example>"))?.require(250)?;
        client.command("DATA")?.require(354)?;
        client.send(&basin_tests::client::stuffed(HELLO))?;
        client.expect(250)?;
        mailbox.wait_for(count + 1, PATIENCE)?;
    }
    client.deliver(SENDER, &["joerg@basin.example"], HELLO)?.require(250)?;
    mailbox.wait_for(3, PATIENCE).map(drop)
}

#[test]
fn an_unknown_user_is_refused_at_rcpt_and_a_catch_all_takes_the_rest() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    let reply = client.command("RCPT TO:<nobody@basin.example>")?.require(550)?;
    assert!(reply.says("5.1.1"), "{}", reply.wire());
    let mut settings = Settings::usual();
    settings.domain = "catch-all = \"alice\"\n".to_owned();
    let server = TestServer::start_with(settings)?;
    server.client()?.deliver(SENDER, &["nobody@basin.example"], HELLO)?.require(250)?;
    one(&server, "alice").map(drop)
}

#[test]
fn helo_without_extensions_delivers_too() -> Outcome {
    let server = TestServer::start()?;
    let mut client = Client::connect(server.smtp())?;
    client.expect(220)?;
    let reply = client.command("HELO old.example")?.require(250)?;
    assert_eq!(reply.lines.len(), 1, "HELO has no extensions: {}", reply.wire());
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let received = one(&server, "user")?.header("Received").unwrap_or_default();
    assert!(received.contains("with SMTP"), "{received:?}");
    Ok(())
}

#[test]
fn many_sessions_at_once_lose_and_mix_nothing() -> Outcome {
    let server = TestServer::start()?;
    let address = server.smtp();
    let send = |author: u32| -> Outcome {
        let mut client = Client::greeted(address)?;
        for number in 0..20 {
            let letter = Letter { run: 9, author, number, size: 2000 * author };
            client.deliver_pipelined(SENDER, USER, &letter.text())?.require(250)?;
        }
        client.quit()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=10).map(|author| scope.spawn(move || send(author))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a client does not panic"))
    })?;
    let mut letters = Vec::new();
    for mail in server.maildir("user").wait_for(200, PATIENCE)? {
        letters.push(recognise(&mail.octets, &[]).map_err(std::io::Error::other)?);
    }
    letters.sort();
    letters.dedup();
    assert_eq!(letters.len(), 200);
    Ok(())
}

#[test]
fn what_is_counted_is_served() -> Outcome {
    let server = TestServer::start()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    one(&server, "user")?;
    let metrics = server.metrics()?;
    assert!(metrics.names().iter().all(|name| name.starts_with("basin_")), "{:?}", metrics.names());
    assert!(metrics.total("basin_spool_syncs_total").is_some_and(|syncs| syncs >= 1.0), "{:?}", metrics.names());
    Ok(())
}
