//! `basin queue` where no server runs: it opens the spool itself.

use std::sync::{Arc, mpsc};

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, Message, MessageId, Origin};
use basin_core::time::Timestamp;
use basin_core::transport::{Stage, State};
use basin_spool::{Options, RealStorage, Spool};
use tempfile::TempDir;

use crate::folder::{complaint, folder, json, printed};

fn put_held_message(dir: &TempDir) -> String {
    let at = Timestamp::from_seconds(1_700_000_000);
    let mut envelope = Envelope::new(None);
    envelope.add(Address::parse("post@basin.example").expect("an address"), String::new());
    let arrival = Arrival {
        origin: Origin::Smtp,
        at,
        listener: "smtp".to_owned(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
    };
    let mut message = Message::new(MessageId::new(at, 7), arrival, envelope);
    let header = HeaderBlock::parse(&bytes::Bytes::from_static(b"Subject: hello\r\n"));
    message.header = Arc::new(header.expect("a header"));
    message.body = Body::from_bytes(&b"text\r\n"[..]);
    let id = message.id.to_string();
    let stage = Stage::Held { reason: "to look at".to_owned(), then: Box::new(Stage::Delivery) };
    let opened = Spool::open(&dir.path().join("spool"), Options::default(), Arc::new(RealStorage));
    let (spool, _) = opened.expect("a new spool");
    let (done, committed) = mpsc::channel();
    let state = State { stage, ..State::default() };
    spool.commit(message, state, move |result| done.send(result.map(drop)).expect("the test waits"));
    committed.recv().expect("the writer answers").expect("the disk has room");
    spool.close();
    id
}

#[test]
fn a_held_message_is_listed_shown_released_and_deleted() {
    let dir = folder();
    let id = put_held_message(&dir);
    let list = printed(&dir, &["queue", "list"]);
    assert!(list.contains(&id) && list.contains("held") && list.contains("to look at"), "{list}");
    assert!(list.ends_with("\n1 message\n"), "{list}");
    let shown = printed(&dir, &["queue", "show", &id]);
    assert!(shown.contains("held: to look at\n") && shown.contains("<post@basin.example> pending\n"), "{shown}");
    assert!(shown.ends_with("\nSubject: hello\n"), "{shown}");
    assert_eq!(printed(&dir, &["queue", "cat", &id]), "Subject: hello\r\n\r\ntext\r\n");
    printed(&dir, &["queue", "release", &id]);
    assert_eq!(json(&dir, &["queue", "list", "--json"])[0]["stage"], "delivery");
    printed(&dir, &["queue", "delete", &id]);
    assert_eq!(printed(&dir, &["queue", "list"]), "the queue is empty\n");
    let gone = complaint(&dir, &["queue", "show", &id]);
    assert_eq!(gone, format!("basin: there is no message {id} in the queue; it may have been delivered meanwhile"));
}

#[test]
fn a_spool_that_is_not_there_is_not_made() {
    let dir = folder();
    let found = complaint(&dir, &["queue", "list"]);
    assert!(found.ends_with("/spool; `basin serve` makes it at its first start"), "{found}");
    assert!(!dir.path().join("spool").exists());
}
