//! SMTP smuggling: only CR LF . CR LF ends a message, whatever else looks like it (CVE-2023-51764 and its kin).

use std::io::ErrorKind;

use basin_tests::client::Client;
use basin_tests::server::TestServer;

use crate::{Outcome, SENDER, USER};

/// Forms with a bare CR, a bare LF or a NUL in them: the message is refused.
const BROKEN: &[&str] = &[
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r\n.\r",
    "\r.\r",
    "\r.\r\n",
    "\r.\n",
    "\n.\r",
    "\r\n.\r\r\n",
    "\r\n.\n\r",
    "\n\r.\n\r",
    "\n\n.\n\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\0\n.\r\0\n",
    "\r\n.\r\0\n",
    "\r\n..\n",
    "\\\r\\\n.\\\r\\\n",
    ".\n",
    ".\r",
];

/// Forms that are plain text: the message goes on behind them.
const TEXT: &[&str] = &[
    "\r\n. \r\n",
    "\r\n .\r\n",
    "\r\n.\t\r\n",
    "\r\n..\r\n",
    "\r\n.\x0b\r\n",
    "\r\n.\x0c\r\n",
    "\u{85}.\u{85}",
    "\u{2028}.\u{2028}",
    "\u{2029}.\u{2029}",
    "\r\n\u{ff0e}\r\n",
];

/// What an attacker wants to be taken for commands.
const HIDDEN: &str =
    "MAIL FROM:<forged@basin.example>\r\nRCPT TO:<alice@basin.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx";

fn begin(server: &TestServer) -> std::io::Result<Client> {
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command(&format!("RCPT TO:<{USER}>"))?.require(250)?;
    client.command("DATA")?.require(354)?;
    Ok(client)
}

/// All codes until the server closes.
fn codes(client: &mut Client) -> std::io::Result<Vec<u16>> {
    let mut codes = Vec::new();
    loop {
        match client.reply() {
            Ok(reply) => codes.push(reply.code),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return Ok(codes);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sends a text with the form in it, cut into segments, and gives all replies.
fn try_form(server: &TestServer, start: &str, form: &str, segment_bytes: usize) -> std::io::Result<Vec<u16>> {
    let mut client = begin(server)?;
    let wire = format!("{start}{form}{HIDDEN}\r\n.\r\nQUIT\r\n");
    for segment in wire.as_bytes().chunks(segment_bytes) {
        // The server may have closed in the middle: its replies tell.
        if client.send(segment).is_err() {
            break;
        }
    }
    codes(&mut client)
}

#[test]
fn no_broken_line_end_ends_a_message_and_each_is_refused() -> Outcome {
    let server = TestServer::start()?;
    for form in BROKEN {
        for (start, segment_bytes) in
            [("Subject: outer\r\n\r\ntext", 65_536), ("Subject: outer\r\n\r\ntext", 1), ("", 65_536)]
        {
            let codes = try_form(&server, start, form, segment_bytes)?;
            let is_refused = matches!(codes.as_slice(), [500..=599] | [500..=599, 221 | 421] | [421]);
            assert!(is_refused, "{form:?} after {start:?} in segments of {segment_bytes}: {codes:?}");
        }
    }
    assert!(server.maildir("alice").names()?.is_empty(), "nothing was smuggled");
    assert!(server.maildir("user").names()?.is_empty(), "nothing that was refused is delivered");
    Ok(())
}

#[test]
fn forms_that_are_plain_text_stay_text() -> Outcome {
    let server = TestServer::start()?;
    for form in TEXT {
        for segment_bytes in [65_536, 1] {
            let codes = try_form(&server, "Subject: outer\r\n\r\ntext", form, segment_bytes)?;
            assert_eq!(codes, [250, 221], "{form:?} in segments of {segment_bytes}");
        }
    }
    let mails = server.maildir("user").wait_for(TEXT.len() * 2, basin_tests::wait::PATIENCE)?;
    assert!(mails.iter().all(|mail| String::from_utf8_lossy(&mail.octets).contains("Subject: smuggled")));
    assert!(server.maildir("alice").names()?.is_empty(), "nothing was smuggled");
    Ok(())
}

#[test]
fn a_form_at_the_edge_of_any_buffer_is_the_same_form() -> Outcome {
    let server = TestServer::start()?;
    for power in 10..=16 {
        for offset in [-3_i32, -1, 0] {
            let fill = usize::try_from((1 << power) + offset).unwrap_or(0);
            let start = format!("Subject: outer\r\n\r\n{}", "x\r\n".repeat(fill / 3));
            let codes = try_form(&server, &start, "\n.\r\n", 65_536)?;
            assert!(matches!(codes.as_slice(), [500..=599] | [500..=599, 221 | 421] | [421]), "{fill}: {codes:?}");
        }
    }
    assert!(server.maildir("alice").names()?.is_empty());
    Ok(())
}

#[test]
fn commands_with_bare_line_ends_are_not_commands() -> Outcome {
    let server = TestServer::start()?;
    for line in ["NOOP\nNOOP", "NOOP\rNOOP", "RSET\nMAIL FROM:<a@b.example>", "NO\0OP", "NOOP\n", "\nNOOP", "NOOP\n\r"]
    {
        let mut client = server.client()?;
        client.send(format!("{line}\r\nQUIT\r\n").as_bytes())?;
        // One reply: what stands behind the bare line end was no second command.
        assert_eq!(codes(&mut client)?, [500, 221], "{line:?}");
    }
    Ok(())
}

#[test]
fn text_behind_a_refused_data_runs_at_most_as_commands_that_count_as_errors() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    // DATA without a recipient is refused; a client that sends the text all the same must not get mail through.
    client.send(
        format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<nobody@basin.example>\r\nDATA\r\n{HIDDEN}\r\n.\r\nQUIT\r\n")
            .as_bytes(),
    )?;
    let codes = codes(&mut client)?;
    assert_eq!(
        codes.get(..3).map(|start| start.iter().map(|code| code / 100).collect::<Vec<_>>()),
        Some(vec![2, 5, 5])
    );
    Ok(())
}
