//! Bad input on the wire, each with the exact reply that it gets; `docs/errors.md` has the same rows.

use std::fs;
use std::io;

use basin_tests::client::Client;
use basin_tests::server::{TestServer, tree};
use basin_tests::settings::Settings;

use crate::{Outcome, SENDER, USER};

/// State that a line is sent in.
#[derive(Debug, Clone, Copy)]
enum At {
    Start,
    Greeted,
    Mail,
    Recipient,
}

impl At {
    fn words(self) -> &'static str {
        match self {
            Self::Start => "first thing",
            Self::Greeted => "after EHLO",
            Self::Mail => "after MAIL",
            Self::Recipient => "after RCPT",
        }
    }
}

/// Compares a table of `docs/errors.md` with what the server said; `BLESS=1` rewrites it.
fn compare_page(table: &str, rows: &[(String, String)]) -> Outcome {
    let path = tree().join("docs/errors.md");
    let page = fs::read_to_string(&path)?;
    let (begin, end) = (format!("<!-- begin {table} -->\n"), format!("<!-- end {table} -->"));
    let parts = page.split_once(&begin).and_then(|(head, rest)| Some((head, rest.split_once(&end)?)));
    let (head, (old, tail)) = parts.ok_or_else(|| io::Error::other(format!("docs/errors.md has no table {table}")))?;
    let row = |(input, reply): &(String, String)| format!("| {input} | `` {} `` |\n", reply.replace("\r\n", " "));
    let new = format!("| input | reply |\n|---|---|\n{}", rows.iter().map(row).collect::<String>());
    if std::env::var_os("BLESS").is_some() {
        return fs::write(&path, format!("{head}{begin}{new}{end}{tail}"));
    }
    assert_eq!(old, new, "docs/errors.md is not what the server says; BLESS=1 rewrites it");
    Ok(())
}

fn client_at(server: &TestServer, at: At) -> std::io::Result<Client> {
    let mut client = Client::connect(server.smtp())?;
    client.expect(220)?;
    let lines = ["EHLO client.example".to_owned(), format!("MAIL FROM:<{SENDER}>"), format!("RCPT TO:<{USER}>")];
    for line in lines.iter().take(at as usize) {
        client.command(line)?.require(250)?;
    }
    Ok(client)
}

/// State, line, code and status.
const ROWS: &[(At, &str, &str)] = &[
    (At::Start, "MAIL FROM:<a@client.example>", "503 5.5.1"),
    (At::Start, "RCPT TO:<user@basin.example>", "503 5.5.1"),
    (At::Start, "DATA", "503 5.5.1"),
    // Neither EHLO nor HELO have enhanced codes (RFC 2034 §4).
    (At::Start, "EHLO", "501 "),
    (At::Start, "HELO", "501 "),
    (At::Start, "", "500 5.5.2"),
    (At::Greeted, "FLY", "500 5.5.1"),
    (At::Greeted, "MAIL", "501 5.5.4"),
    (At::Greeted, "MAIL FROM", "501 5.5.4"),
    (At::Greeted, "MAIL FROM:", "501 5."),
    (At::Greeted, "MAIL FROM:a@client.example", "501 5."),
    (At::Greeted, "MAIL FROM:<a@client.example", "501 5."),
    (At::Greeted, "MAIL FROM:<a@b@client.example>", "501 5."),
    (At::Greeted, "MAIL FROM:<a b@client.example>", "501 5."),
    (At::Greeted, "MAIL FROM:<a@client.example> COLOUR=BLUE", "555 5.5.4"),
    (At::Greeted, "MAIL FROM:<a@client.example> SIZE=x", "501 5.5.4"),
    (At::Greeted, "MAIL FROM:<a@client.example> SIZE=99999999999", "552 5.3.4"),
    (At::Greeted, "MAIL FROM:<a@client.example> BODY=9BIT", "501 5.5.4"),
    (At::Greeted, "RCPT TO:<user@basin.example>", "503 5.5.1"),
    (At::Greeted, "DATA", "503 5.5.1"),
    (At::Greeted, "QUIT now", "501 5.5.4"),
    (At::Greeted, "STARTTLS", "50"),
    (At::Greeted, "AUTH PLAIN", "50"),
    (At::Mail, "MAIL FROM:<a@client.example>", "503 5.5.1"),
    (At::Mail, "DATA", "503 5.5.1"),
    (At::Mail, "RCPT TO:<>", "501 5."),
    (At::Mail, "RCPT FROM:<user@basin.example>", "501 5.5.4"),
    (At::Mail, "RCPT TO:<nobody@basin.example>", "550 5.1.1"),
    (At::Mail, "RCPT TO:<user@elsewhere.example>", "550 5.7.1"),
    (At::Mail, "RCPT TO:<user@basin.example> NOTIFY=X", "501 5.5.4"),
    (At::Recipient, "DATA now", "501 5.5.4"),
    (At::Recipient, "MAIL FROM:<a@client.example>", "503 5.5.1"),
];

#[test]
fn each_bad_command_has_its_reply_and_the_session_goes_on() -> Outcome {
    let server = TestServer::start()?;
    let mut wrong = Vec::new();
    let mut rows = Vec::new();
    for (at, line, start) in ROWS {
        let mut client = client_at(&server, *at)?;
        let reply = client.command(line)?;
        rows.push((
            format!("`` {} ``, {}", if line.is_empty() { "(an empty line)" } else { line }, at.words()),
            reply.wire(),
        ));
        if !reply.wire().starts_with(start) {
            wrong.push(format!("{at:?} {line:?}: expected {start}, got {:?}", reply.wire()));
        }
        match client.command("NOOP") {
            Ok(end) if end.code == 250 => {}
            end => wrong.push(format!("{at:?} {line:?}: afterwards NOOP gets {end:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    compare_page("commands", &rows)
}

#[test]
fn lines_that_are_too_long_are_refused_and_the_session_goes_on() -> Outcome {
    let server = TestServer::start()?;
    for length in [2047, 5000, 100_000, 3_000_000] {
        let mut client = client_at(&server, At::Greeted)?;
        let reply = client.command(&"x".repeat(length))?;
        assert!(reply.wire().starts_with("500 5.5.2"), "{length}: {}", reply.wire());
        client.command("NOOP")?.require(250)?;
    }
    Ok(())
}

#[test]
fn addresses_that_are_too_long_are_refused_and_never_cut() -> Outcome {
    let server = TestServer::start()?;
    let local = "l".repeat(65);
    let domain = format!("{}.example", vec!["d".repeat(63); 4].join("."));
    for address in
        [format!("{local}@basin.example"), format!("user@{domain}"), format!("user@{}.example", "d".repeat(64))]
    {
        let mut client = client_at(&server, At::Mail)?;
        let reply = client.command(&format!("RCPT TO:<{address}>"))?;
        assert_eq!(reply.code / 100, 5, "{address}: {}", reply.wire());
    }
    Ok(())
}

#[test]
fn a_message_over_the_limit_is_refused_whether_announced_or_not() -> Outcome {
    let mut settings = Settings::usual();
    settings.listener = "max-message-size = \"1MiB\"\n".to_owned();
    let server = TestServer::start_with(settings)?;
    let mut client = server.client()?;
    assert!(client.command("EHLO client.example")?.lines.iter().any(|line| line == "SIZE 1048576"));
    let reply = client.command(&format!("MAIL FROM:<{SENDER}> SIZE=1048577"))?;
    assert!(reply.wire().starts_with("552 5.3.4"), "{}", reply.wire());
    let line = format!("{}\r\n", "x".repeat(998));
    let large = format!("Subject: large\r\n\r\n{}", line.repeat(1100));
    let reply = client.deliver(SENDER, &[USER], large.as_bytes())?;
    assert!(reply.wire().starts_with("552 5.3.4"), "{}", reply.wire());
    client.command("NOOP")?.require(250)?;
    let fits = format!("Subject: fits\r\n\r\n{}", line.repeat(1000));
    client.deliver(SENDER, &[USER], fits.as_bytes())?.require(250)?;
    assert_eq!(server.maildir("user").wait_for(1, basin_tests::wait::PATIENCE)?.len(), 1);
    Ok(())
}

#[test]
fn too_many_recipients_errors_idle_commands_and_connections_have_their_replies() -> Outcome {
    let mut settings = Settings::usual();
    settings.listener = "max-recipients = 100\nmax-errors = 5\nmax-connections-per-client = 3\n".to_owned();
    let recipients: Vec<String> =
        (0..101).map(|number| format!("\"r{number}@basin.example\" = \"{USER}\"\n")).collect();
    settings.aliases = recipients.concat();
    let server = TestServer::start_with(settings)?;
    let mut client = client_at(&server, At::Mail)?;
    for number in 0..100 {
        client.command(&format!("RCPT TO:<r{number}@basin.example>"))?.require(250)?;
    }
    let reply = client.command("RCPT TO:<r100@basin.example>")?;
    assert!(reply.wire().starts_with("452 4.5.3"), "RFC 5321 §4.5.3.1.10: {}", reply.wire());
    let mut rows = vec![("a recipient over `max-recipients`".to_owned(), reply.wire())];
    let others = [server.client()?, server.client()?];
    let mut one_too_many = Client::connect(server.smtp())?;
    let reply = one_too_many.reply()?;
    assert!(reply.wire().starts_with("421 mx.basin.example too many"), "{}", reply.wire());
    rows.push(("a connection over `max-connections-per-client`".to_owned(), reply.wire()));
    one_too_many.closed()?;
    drop(others);
    for _ in 0..5 {
        client.command("FLY")?.require(500)?;
    }
    let reply = client.command("FLY")?.require(421)?;
    rows.push(("an error over `max-errors`".to_owned(), reply.wire()));
    client.closed()?;
    rows.extend(bad_texts(&TestServer::start()?)?);
    compare_page("limits", &rows)
}

/// Messages that are refused for what they are, and a greeting of another protocol.
fn bad_texts(server: &TestServer) -> io::Result<Vec<(String, String)>> {
    let received = "Received: from a.example by b.example; Thu, 01 Jan 2026 00:00:00 +0000\r\n";
    let texts = [
        ("message text with a bare LF", "Subject: x\r\n\r\none\ntwo\r\n".to_owned()),
        ("message text with a bare CR", "Subject: x\r\n\r\none\rtwo\r\n".to_owned()),
        ("message text with a NUL", "Subject: x\r\n\r\none\0two\r\n".to_owned()),
        ("a header block of 300 KiB", format!("X-Long: {}\r\n\r\n", "x".repeat(300 * 1024))),
        ("more than 100 `Received` fields", received.repeat(101)),
    ];
    let mut rows = Vec::new();
    for (input, text) in texts {
        let reply = server.client()?.deliver(SENDER, &[USER], text.as_bytes())?;
        assert_eq!(reply.code / 100, 5, "{input}: {}", reply.wire());
        rows.push((input.to_owned(), reply.wire()));
    }
    for (input, line) in
        [("a command line of 3,000 octets", "x".repeat(3000)), ("`` GET / HTTP/1.1 ``", "GET / HTTP/1.1".to_owned())]
    {
        rows.push((input.to_owned(), client_at(server, At::Start)?.command(&line)?.wire()));
    }
    Ok(rows)
}

#[test]
fn a_client_that_says_nothing_is_told_421() -> Outcome {
    let mut settings = Settings::usual();
    settings.listener = "command-timeout = \"1s\"\ndata-timeout = \"1s\"\n".to_owned();
    let server = TestServer::start_with(settings)?;
    let mut client = client_at(&server, At::Greeted)?;
    let reply = client.reply()?;
    assert!(reply.wire().starts_with("421 4.4.2"), "{}", reply.wire());
    client.closed()?;
    let mut client = client_at(&server, At::Recipient)?;
    client.command("DATA")?.require(354)?;
    client.send(b"Subject: half\r\n")?;
    client.expect(421)?;
    client.closed()
}

#[test]
fn a_message_that_has_been_everywhere_is_refused_as_a_loop() -> Outcome {
    let server = TestServer::start()?;
    let received = "Received: from a.example by b.example; Thu, 01 Jan 2026 00:00:00 +0000\r\n";
    let text = format!("{}Subject: loop\r\n\r\nround and round\r\n", received.repeat(101));
    let reply = server.client()?.deliver(SENDER, &[USER], text.as_bytes())?;
    assert!(reply.wire().starts_with("554 5.4.6"), "RFC 5321 §6.3: {}", reply.wire());
    let text = format!("{}Subject: no loop\r\n\r\n", received.repeat(99));
    server.client()?.deliver(SENDER, &[USER], text.as_bytes())?.require(250)?;
    Ok(())
}

#[test]
fn octets_that_are_no_command_at_all_never_end_the_server() -> Outcome {
    let server = TestServer::start()?;
    let mut random = basin_tests::random::Random::new(42);
    for _ in 0..50 {
        let mut client = Client::connect(server.smtp())?;
        client.expect(220)?;
        let junk: Vec<u8> = (0..2000).flat_map(|_| random.next_u64().to_le_bytes()).collect();
        // The server may close at any moment.
        client.send(&junk).and_then(|()| client.send(b"\r\n")).ok();
        while client.reply().is_ok() {
            client.finish_sending().ok();
        }
    }
    server.client()?.quit()
}
