//! What this server says of mail that the next one cannot take as it is: the table of `docs/errors.md`.
//!
//! `BLESS=1 cargo test -p basin-core --test client_refusals` rewrites it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong")]

#[path = "client_properties/message.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod message;

use std::path::Path;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::smtp::client::{self, BodyType, ClientPolicy, ClientStep, Offered, Outgoing};
use basin_core::time::Timestamp;

use message::{Broken, Pieces, outgoing};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// What a recipient is told where the next server takes everything but offers only that.
fn told(offers: &str, message: Outgoing) -> String {
    let (mut wire, mut said) = (Vec::new(), Vec::new());
    let mut message = Some(message);
    let mut step = client::start(Arc::new(ClientPolicy::new("basin.example")), None, NOW);
    let hello = format!("250-mx.example\r\n{offers}250 HELP\r\n");
    let mut replies = ["220 mx.example\r\n", hello.as_str()].into_iter();
    loop {
        said.append(&mut wire);
        step = match step {
            ClientStep::Read(reading) => {
                let reply = if said.ends_with(b"DATA\r\n") { "354 go\r\n" } else { "250 ok\r\n" };
                reading.feed(replies.next().unwrap_or(reply).as_bytes(), NOW, &mut wire)
            }
            ClientStep::Idle(idle) => idle.transact(message.take().expect("one message"), NOW, &mut wire),
            ClientStep::Send(sending) => sending.more(NOW, &mut wire),
            ClientStep::Sent(sent, _) => match sent.results.into_iter().next() {
                Some((_, Err(reply))) => return reply.to_string(),
                other => panic!("{other:?}"),
            },
            ClientStep::Close(_) | ClientStep::StartTls(_) | ClientStep::Ask(..) => panic!("{step:?}"),
        };
    }
}

fn table() -> String {
    let text = |header: &[u8], body: &[u8]| outgoing(1, header, Arc::new(Pieces::whole(body)));
    let binary = Outgoing { declared: Some(BodyType::Binary), ..text(b"", b"a") };
    let secret = Outgoing { requires_tls: true, ..text(b"", b"a\r\n") };
    let international = Outgoing { is_smtputf8: true, ..text(b"Subject: \xc3\xa9\r\n", b"") };
    let lost = outgoing(1, b"", Arc::new(Broken { len: 100, there: 10 }));
    let rows = [
        ("the message is larger than the server takes", told("250-SIZE 10\r\n", text(b"", b"a long text\r\n"))),
        ("8-bit text, the server has no 8BITMIME", told("", text(b"", b"caf\xe9\r\n"))),
        ("binary content, the server has no BINARYMIME or no CHUNKING", told("250-CHUNKING\r\n", binary)),
        (
            "a client said SMTPUTF8 of a header in UTF-8, the server has no SMTPUTF8",
            told("250-8BITMIME\r\n", international),
        ),
        ("REQUIRETLS, and no proven TLS or no REQUIRETLS there", told("250-REQUIRETLS\r\n", secret)),
        ("the text has a bare CR or LF", told("", text(b"", b"a\n.\r\n"))),
        ("the message cannot be read from the spool", told("", lost)),
    ];
    rows.iter().map(|(what, reply)| format!("| {what} | `` {reply} `` |\n")).collect()
}

#[test]
fn the_table_of_refusals_is_what_the_client_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page.split_once("<!-- begin client -->\n").expect("the table begins");
    let (there, after) = rest.split_once("<!-- end client -->").expect("the table ends");
    let table = format!("| situation | what is kept with the recipient |\n|---|---|\n{}", table());
    if std::env::var_os("BLESS").is_some() {
        let page = format!("{before}<!-- begin client -->\n{table}<!-- end client -->{after}");
        std::fs::write(&path, page).expect("the page can be written");
    } else {
        assert_eq!(there, table, "docs/errors.md says something else");
    }
}

// RFC 8689 §4.2.1 and §5.
#[test]
fn requiretls_needs_a_proven_way_and_its_word_there_and_so_does_a_notification() {
    let offered = |has_requiretls| Offered { has_requiretls, ..Offered::default() };
    for (sender, requires_tls, expected) in [
        (Some("a@client.example"), true, [false, false, false, true]),
        (None, true, [false, false, false, true]),
        (Some("a@client.example"), false, [true; 4]),
    ] {
        let sender = sender.map(|text| Address::parse(text).unwrap());
        let message = Outgoing { requires_tls, sender, ..outgoing(1, b"", Arc::new(Pieces::whole(b"a\r\n"))) };
        let ways = [(false, false), (false, true), (true, false), (true, true)];
        let found = ways.map(|(is_proven, has_word)| message.is_protected_by(is_proven, &offered(has_word)));
        assert_eq!(found, expected, "{:?}", message.sender);
    }
}
