//! Clients that never come to an end: lines, texts, parts, or their patience.

use std::io;
use std::time::Duration;

use basin_tests::client::Client;
use basin_tests::process::memory_kib;
use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;

use super::silent;
use crate::{HELLO, Outcome, SENDER, USER};

/// Growth of the server while it reads an endless line, in KiB: its buffers, and what the allocator keeps besides.
const GROWTH_KIB_MAX: u64 = 4 * 1024;

/// Octets of an endless line; many times what any buffer holds.
const LINE_BYTES: usize = 16 * 1024 * 1024;

fn send_endless(client: &mut Client) -> io::Result<()> {
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..LINE_BYTES / piece.len() {
        client.send(&piece)?;
    }
    Ok(())
}

#[test]
fn a_line_without_an_end_costs_no_memory() -> Outcome {
    let server = TestServer::start()?;
    // Buffers that every session needs are there before anything is measured.
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let before = memory_kib(server.pid())?;
    let mut command = silent(&server)?;
    send_endless(&mut command)?;
    let mut text = server.client()?;
    text.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    text.command(&format!("RCPT TO:<{USER}>"))?.require(250)?;
    text.command("DATA")?.require(354)?;
    send_endless(&mut text)?;
    let after = memory_kib(server.pid())?;
    assert!(after.saturating_sub(before) < GROWTH_KIB_MAX, "{before} KiB before, {after} KiB after");
    // Each is read to its end, refused, and the session goes on.
    command.send(b"\r\nNOOP\r\n")?;
    command.expect(500)?;
    command.expect(250)?;
    text.send(b"\r\n.\r\n")?;
    text.expect(554)?;
    text.command("NOOP")?.require(250)?;
    Ok(())
}

#[test]
fn a_line_at_every_edge_of_the_limit_is_one_line() -> Outcome {
    let server = TestServer::start()?;
    // A server that cuts a long line in two runs its second half (Exim 4.96 at 64 KiB).
    for length in [2_045, 2_046, 2_047, 4_095, 4_096, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537] {
        let mut client = server.client()?;
        let line = format!("NOOP{}", " ".repeat(length - 4));
        client.send(format!("{line}QUIT\r\nNOOP\r\n").as_bytes())?;
        let first = client.reply()?.code;
        assert!(first == 250 || first == 500, "{length}: {first}");
        client.expect(250)?;
    }
    Ok(())
}

#[test]
fn an_octet_now_and_then_does_not_keep_a_session_open() -> Outcome {
    let mut settings = Settings::usual();
    settings.listener = "command-timeout = \"2s\"\ndata-timeout = \"2s\"\n".to_owned();
    let server = TestServer::start_with(settings)?;
    let mut client = silent(&server)?;
    client.patience(Duration::from_millis(100))?;
    // The time is that of the whole line: an octet does not begin it anew.
    for _ in 0..600 {
        if client.send(b"x").is_err() {
            return Ok(());
        }
        match client.reply() {
            Ok(reply) => {
                assert!(reply.wire().starts_with("421 4.4.2"), "{}", reply.wire());
                return Ok(());
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("the session is still open"))
}

#[test]
fn a_text_that_trickles_in_has_a_limit_of_its_own() -> Outcome {
    let mut settings = Settings::usual();
    // Each octet comes well before the next block has to, and the message never ends.
    settings.listener = "data-timeout = \"30s\"\ndata-total = \"2s\"\n".to_owned();
    let server = TestServer::start_with(settings)?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command(&format!("RCPT TO:<{USER}>"))?.require(250)?;
    client.command("DATA")?.require(354)?;
    client.patience(Duration::from_millis(100))?;
    for _ in 0..600 {
        // Where the server has closed meanwhile, what it said last is there to be read.
        let is_open = client.send(b"x\r\n").is_ok();
        match client.reply() {
            Ok(reply) => {
                assert!(reply.wire().starts_with("421 4.4.2"), "{}", reply.wire());
                assert!(server.maildir("user").names()?.is_empty(), "half a message is none");
                return Ok(());
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        assert!(is_open, "closed without a word");
    }
    Err(io::Error::other("the text is still read"))
}

fn nested(depth: usize) -> String {
    let mut text = String::from("Subject: deep\r\nMIME-Version: 1.0\r\n");
    for level in 0..depth {
        text.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"));
    }
    text.push_str("\r\ninnermost\r\n");
    text
}

fn wide(parts: usize) -> String {
    let head = "Subject: wide\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    format!("{head}{}--b--\r\n", "--b\r\n\r\nx\r\n".repeat(parts))
}

#[test]
fn a_mime_bomb_ends_the_call_of_the_sink_that_looks_and_nothing_else() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    let grants = ["--grant", "reply", "--grant", "read-headers", "--grant", "read-body"];
    server.sink_add(&guest("block-attachment"), "block-attachment", "on-end-of-data", &grants)?;
    server.launch()?;
    let parameters = "; a=b".repeat(30_000);
    let bombs = [
        ("messages in messages", nested(1_000)),
        ("very many parts", wide(200_000)),
        ("a boundary that begins every line", {
            let head = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=-\r\n\r\n";
            format!("{head}{}", "---\r\n".repeat(100_000))
        }),
        ("parameters without end", format!("MIME-Version: 1.0\r\nContent-Type: text/plain{parameters}\r\n\r\nx\r\n")),
        ("encoded words without end", format!("Subject: {}\r\n\r\nx\r\n", "=?utf-8?q?".repeat(20_000))),
    ];
    for (what, bomb) in bombs {
        let mut client = server.client()?;
        let reply = client.deliver(SENDER, &[USER], bomb.as_bytes())?;
        // Taken where the sink can see it whole; else its failure policy decides. It is never half seen.
        assert!(matches!(reply.code, 250 | 451 | 550 | 552 | 554), "{what}: {}", reply.wire());
        client.command("NOOP")?.require(250)?;
        server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    }
    Ok(())
}
