//! The sample sinks, end to end, with the grants that their README names.

mod archive;
mod auth_sink;
mod auto_reply;
mod digest;
mod disclaimer;
mod dmarc_policy;
mod dnsbl;
mod greylist;
mod mailing_list;
mod outbound;
mod own_verb;
mod readmes;
mod recipient_check;
mod router;
mod rspamd;
mod session_audit;
mod split_recipients;
mod store;

use basin_test_dns::{TestDns, Zone};
use basin_tests::next_hop::{NextHop, Transaction};
use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::{PATIENCE, until_true};
use tokio::runtime::Runtime;

use crate::{HELLO, Outcome, SENDER, USER};

fn server_with(sample: &str, event: &str, more: &[&str]) -> std::io::Result<TestServer> {
    server_of(Settings::usual(), sample, event, more)
}

fn server_of(settings: Settings, sample: &str, event: &str, more: &[&str]) -> std::io::Result<TestServer> {
    let mut server = TestServer::prepare(settings)?;
    server.sink_add(&guest(sample), sample, event, more)?;
    server.launch()?;
    Ok(server)
}

/// A server that relays for this machine, tries again soon, and has these tables.
fn relaying(tables: &str) -> Settings {
    Settings {
        relay_clients: "[\"127.0.0.1\"]".to_owned(),
        tables: format!("[queue]\nfirst-waits = [\"1s\"]\nlongest-wait = \"1s\"\n{tables}"),
        ..Settings::usual()
    }
}

/// The same, and everything for other domains goes to one server.
fn relaying_to(hop: &NextHop) -> Settings {
    relaying(&format!("[[route]]\ndomains = [\"*\"]\nhosts = [\"{}\"]\n", hop.address()))
}

/// Waits until nothing is left to do, and returns what the next server took.
fn taken(server: &TestServer, hop: &NextHop) -> Vec<Transaction> {
    let is_empty = || server.metrics().is_ok_and(|metrics| metrics.total("basin_spool_messages") == Some(0.0));
    assert!(until_true(PATIENCE, is_empty), "messages are left:\n{}", server.log());
    hop.taken()
}

/// The one thing of a list that must have no other.
fn only<'a, T>(all: &'a [T], otherwise: &str) -> std::io::Result<&'a T> {
    let one = all.first().filter(|_| all.len() == 1);
    one.ok_or_else(|| std::io::Error::other(format!("{} in place of one: {otherwise}", all.len())))
}

/// The address in a RCPT or MAIL line.
fn path(line: &str) -> &str {
    line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// The value of a field of a message that came over the wire.
fn field(content: &[u8], name: &str) -> Option<String> {
    let text = text(content);
    let header = text.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ").replace("\r\n\t", " ");
    let fields = header.split("\r\n").filter_map(|field| field.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
}

/// A name server that knows one zone.
struct Dns {
    server: TestDns,
    _runtime: Runtime,
}

impl Dns {
    fn with(zone: &str) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let zone = Zone::parse(zone).map_err(std::io::Error::other)?;
        let server = runtime.block_on(TestDns::start(zone))?;
        Ok(Self { server, _runtime: runtime })
    }

    /// A server that asks it and nobody else.
    fn settings(&self) -> Settings {
        Settings { tables: format!("[dns]\nservers = [\"{}\"]\n", self.server.address()), ..Settings::usual() }
    }
}

fn with_attachment(name: &str, content: &str) -> Vec<u8> {
    format!(
        "From: <{SENDER}>\r\nTo: <{USER}>\r\nSubject: files\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=edge\r\n\r\n--edge\r\nContent-Type: text/plain\r\n\r\nsee file\r\n\
         --edge\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{content}\r\n--edge--\r\n"
    )
    .into_bytes()
}

#[test]
fn stamp_header_adds_its_field_and_nothing_else_changes() -> Outcome {
    let server = server_with("stamp-header", "on-end-of-data", &["--grant", "edit-headers"])?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    let mail = mails.first().expect("one message");
    assert_eq!(mail.header("X-Basin-Sink").as_deref(), Some("stamp-header (on-end-of-data, inbound)"));
    let without: String =
        String::from_utf8_lossy(&mail.octets).replace("X-Basin-Sink: stamp-header (on-end-of-data, inbound)\r\n", "");
    assert!(without.ends_with(&*String::from_utf8_lossy(HELLO)), "{without}");
    Ok(())
}

#[test]
fn stamp_header_takes_name_and_text_from_its_configuration() -> Outcome {
    let more = ["--grant", "edit-headers", "--set", "name=X-Seen-By", "--set", "value=mx1"];
    let server = server_with("stamp-header", "on-end-of-data", &more)?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    assert_eq!(mails.first().and_then(|mail| mail.header("X-Seen-By")).as_deref(), Some("mx1"));
    Ok(())
}

#[test]
fn block_attachment_refuses_by_name_by_content_and_by_size() -> Outcome {
    let grants = ["--grant", "reply", "--grant", "read-headers", "--grant", "read-body", "--set", "max-size=1KiB"];
    let server = server_with("block-attachment", "on-end-of-data", &grants)?;
    let mut client = server.client()?;
    let elf = "f0VMRgIBAQAAAAAAAAAAAA==";
    let large = "QUFB".repeat(600);
    let cases = [
        ("evil.exe", "QUFB", 550, "files of this type"),
        ("EVIL.Exe. ", "QUFB", 550, "files of this type"),
        ("notes.txt", elf, 550, "a program under another name"),
        ("large.bin", &large, 550, "too large"),
        ("notes.txt", "QUFB", 250, ""),
    ];
    for (name, content, code, words) in cases {
        let reply = client.deliver(SENDER, &[USER], &with_attachment(name, content))?;
        assert!(reply.code == code && reply.says(words), "{name}: {}", reply.wire());
    }
    server.maildir("user").wait_for(1, PATIENCE)?;
    assert_eq!(server.maildir("user").names()?.len(), 1, "what was refused is not delivered");
    Ok(())
}

#[test]
fn block_attachment_reads_messages_that_are_larger_than_its_memory_may_be() -> Outcome {
    // A server built without optimisation on a machine full of other tests is slow; the size is what is tested.
    let grants = ["--grant", "read-headers", "--grant", "read-body", "--deadline", "60s"];
    let server = server_with("block-attachment", "on-end-of-data", &grants)?;
    let line = "QUFB".repeat(18) + "\r\n";
    let large = with_attachment("large.bin", &line.repeat(100_000));
    server.client()?.deliver_pipelined(SENDER, USER, &large)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    assert!(mails.first().is_some_and(|mail| mail.octets.ends_with(&large)), "octet for octet");
    Ok(())
}

#[test]
fn welcome_publishes_its_keyword_and_answers_its_verb() -> Outcome {
    let server = server_with("welcome", "on-inbound-command:verb=EHLO|XWELCOME", &["--grant", "reply"])?;
    let mut client = server.client()?;
    let ehlo = client.command("EHLO client.example")?.require(250)?;
    assert!(ehlo.lines.iter().any(|line| line == "XWELCOME"), "{}", ehlo.wire());
    assert!(ehlo.says("PIPELINING"), "the server's own keywords are still there: {}", ehlo.wire());
    let reply = client.command("xwelcome")?.require(250)?;
    assert_eq!(reply.lines, ["2.0.0 Welcome, client.example"]);
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    Ok(())
}

#[test]
fn a_verb_is_unknown_without_its_sink() -> Outcome {
    let server = TestServer::start()?;
    server.client()?.command("XWELCOME")?.require(500).map(drop)
}
