use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, MessageId, Origin};
use basin_core::time::Timestamp;
use bytes::Bytes;

use super::*;
use crate::delivery::{Courier, Parcel};

fn address() -> Address {
    Address::parse("alice@basin.example").expect("valid")
}

fn message(body: &str) -> Message {
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: Timestamp::from_seconds(1_700_000_000),
        listener: "inbound".into(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let sender = Address::parse("bob@client.example").expect("valid");
    let id = MessageId::new(Timestamp::from_seconds(1_700_000_000), 7);
    let mut message = Message::new(id, arrival, Envelope::new(Some(sender)));
    let header = HeaderBlock::parse(&Bytes::from_static(b"Subject: x\r\nTo: a\r\n")).expect("small");
    message.header = Arc::new(header);
    message.body = Body::from_bytes(body.as_bytes().to_vec());
    message
}

async fn deliver(root: &Path, message: &Message, is_repetition: bool) -> Result<(), DeliveryFault> {
    let (courier, _thread) = Courier::start(Maildirs::new(root.to_owned(), "mx.example")).expect("a thread");
    let mailbox = "alice@basin.example".to_owned();
    courier.deliver(Parcel { mailbox, address: address(), message: message.clone(), is_repetition }).await
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the folder is there");
    entries.map(|entry| entry.expect("can be read").path()).collect()
}

#[tokio::test]
async fn a_message_without_an_empty_line_gets_none() {
    let home = tempfile::tempdir().expect("a folder");
    let mut bare = message("");
    bare.is_header_only = true;
    deliver(home.path(), &bare, false).await.expect("delivered");
    let text = fs::read_to_string(&files(&home.path().join("basin.example/alice/new"))[0]).expect("can be read");
    assert!(text.ends_with("\nSubject: x\nTo: a\n"), "{text}");
}

#[tokio::test]
async fn a_message_arrives_whole_with_the_fields_of_the_final_delivery() {
    let home = tempfile::tempdir().expect("a folder");
    deliver(home.path(), &message("one\r\n.two\r\n"), false).await.expect("delivered");
    let mailbox = home.path().join("basin.example/alice");
    let new = files(&mailbox.join("new"));
    let text = fs::read_to_string(&new[0]).expect("can be read");
    let expected = "Return-Path: <bob@client.example>\nDelivered-To: alice@basin.example\n\
                    Subject: x\nTo: a\n\none\n.two\n";
    assert_eq!(text, expected);
    assert_eq!(fs::metadata(&new[0]).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&mailbox).expect("there").permissions().mode() & 0o777, 0o700);
    assert_eq!(files(&mailbox.join("tmp")).len(), 0);
}

#[tokio::test]
async fn a_binary_body_arrives_octet_for_octet() {
    let home = tempfile::tempdir().expect("a folder");
    let mut binary = message("\0\r\nx\ny\r");
    Arc::make_mut(&mut binary.envelope).parameters.insert("BODY".to_owned(), "BINARYMIME".to_owned());
    deliver(home.path(), &binary, false).await.expect("delivered");
    let octets = fs::read(&files(&home.path().join("basin.example/alice/new"))[0]).expect("can be read");
    assert!(octets.ends_with(b"\nTo: a\n\n\0\r\nx\ny\r"), "{octets:?}");
}

#[tokio::test]
async fn a_repetition_makes_no_second_copy_even_of_a_message_that_was_read() {
    let home = tempfile::tempdir().expect("a folder");
    let letter = message("text\r\n");
    deliver(home.path(), &letter, false).await.expect("delivered");
    deliver(home.path(), &letter, true).await.expect("delivered");
    let (new, cur) = (home.path().join("basin.example/alice/new"), home.path().join("basin.example/alice/cur"));
    assert_eq!(files(&new).len(), 1);
    let file = files(&new).remove(0);
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    fs::rename(&file, cur.join(format!("{name}:2,S"))).expect("a reader moves it");
    deliver(home.path(), &letter, true).await.expect("delivered");
    assert_eq!((files(&new).len(), files(&cur).len()), (0, 1));
}

#[tokio::test]
async fn a_message_for_a_thousand_mailboxes_reaches_all_of_them_at_once() {
    let home = tempfile::tempdir().expect("a folder");
    let (courier, _thread) = Courier::start(Maildirs::new(home.path().to_owned(), "mx.example")).expect("a thread");
    let mut running = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let (courier, message) = (courier.clone(), message("text\r\n"));
        let mailbox = format!("user{number}@basin.example");
        let parcel = Parcel { mailbox, address: address(), message, is_repetition: false };
        running.spawn(async move { courier.deliver(parcel).await });
    }
    while let Some(done) = running.join_next().await {
        done.expect("no panic").expect("delivered");
    }
    assert_eq!(files(&home.path().join("basin.example")).len(), 1_000);
}

#[tokio::test]
async fn a_large_body_keeps_every_octet_but_the_line_ends() {
    let home = tempfile::tempdir().expect("a folder");
    // Line ends fall on every offset of a chunk's edge.
    let body: String = (0..40_000).map(|index| format!("{}\r\n", "x".repeat(index % 7))).collect();
    deliver(home.path(), &message(&body), false).await.expect("delivered");
    let text = fs::read_to_string(&files(&home.path().join("basin.example/alice/new"))[0]).expect("can be read");
    let (_, stored) = text.split_once("\n\n").expect("an empty line");
    assert!(stored == body.replace("\r\n", "\n"));
}

#[tokio::test]
async fn no_name_of_a_mailbox_leaves_the_mail_directory() {
    let home = tempfile::tempdir().expect("a folder");
    let maildirs = Maildirs::new(home.path().join("mail"), "mx.example");
    for name in ["", "@", "..", "../x", "a/b", "/etc", "x@../..", "..@x", ".x@y", "a\0b"] {
        let result = maildirs.write(name, &message(""), &address());
        assert!(matches!(result, Err(DeliveryFault::Name { .. })), "{name:?}");
    }
}

#[tokio::test]
async fn a_mail_directory_that_cannot_be_written_is_a_temporary_failure() {
    let home = tempfile::tempdir().expect("a folder");
    let root = home.path().join("mail");
    fs::write(&root, "a file where a folder should be").expect("can be written");
    let fault = deliver(&root, &message(""), false).await.expect_err("no folder");
    assert_eq!(fault.reply().code(), 451);
    assert!(fault.to_string().contains(&root.display().to_string()), "{fault}");
}
