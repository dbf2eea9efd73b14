//! `basin queue` where no server runs: it opens the spool itself.

use std::sync::{Arc, mpsc};

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, Message, MessageId, Origin, Outcome};
use basin_core::reply::Reply;
use basin_core::time::Timestamp;
use basin_core::transport::{Stage, State};
use basin_spool::{Options, RealStorage, Spool};
use serde_json::Value;
use tempfile::TempDir;

use crate::folder::{basin, complaint, folder, json, printed};
use crate::page;

const CAME: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn message(number: u64, sender: &str, recipients: &[&str]) -> Message {
    let mut envelope = Envelope::new(Address::parse(sender).ok());
    for recipient in recipients {
        envelope.add(Address::parse(recipient).expect("an address"), String::new());
    }
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: CAME,
        listener: "smtp".to_owned(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let mut message = Message::new(MessageId::new(CAME, number), arrival, envelope);
    let header = HeaderBlock::parse(&bytes::Bytes::from_static(b"Subject: hello\r\n"));
    message.header = Arc::new(header.expect("a header"));
    message.body = Body::from_bytes(&b"text\r\n"[..]);
    message
}

fn held() -> State {
    let stage = Stage::Held { reason: "to look at".to_owned(), then: Box::new(Stage::Delivery) };
    State { stage, ..State::default() }
}

fn deferred(mut message: Message, code: u16, text: &str) -> (Message, State) {
    let until = Timestamp::from_seconds(4_000_000_000);
    for recipient in &mut Arc::make_mut(&mut message.envelope).recipients {
        recipient.outcome = Outcome::deferred(until, Reply::with(code, 4, 1, text));
    }
    let state = State { stage: Stage::Delivery, not_before: Some(until), attempts: 3, ..State::default() };
    (message, state)
}

fn put(dir: &TempDir, messages: Vec<(Message, State)>) -> Vec<String> {
    let opened = Spool::open(&dir.path().join("spool"), Options::default(), Arc::new(RealStorage));
    let (spool, _) = opened.expect("a new spool");
    let (done, committed) = mpsc::channel();
    let ids = messages.iter().map(|(message, _)| message.id.to_string()).collect();
    for (message, state) in messages {
        let done = done.clone();
        spool.commit(message, state, move |result| done.send(result.map(drop)).expect("the test waits"));
    }
    drop(done);
    committed.iter().for_each(|result| result.expect("the disk has room"));
    spool.close();
    ids
}

pub(crate) fn put_held_message(dir: &TempDir) -> String {
    put(dir, vec![(message(7, "", &["post@basin.example"]), held())]).remove(0)
}

/// A held one, two that wait for example.org, one of them for another domain too.
fn put_several(dir: &TempDir) -> Vec<String> {
    put(
        dir,
        vec![
            (message(1, "", &["post@basin.example"]), held()),
            deferred(message(2, "a@here.example", &["x@example.org"]), 421, "greylisted"),
            deferred(message(3, "b@here.example", &["y@example.org", "z@example.net"]), 451, "no room"),
        ],
    )
}

fn lines(dir: &TempDir, arguments: &[&str]) -> Vec<Value> {
    printed(dir, arguments).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn listed(dir: &TempDir, filters: &[&str]) -> Vec<String> {
    let arguments: Vec<&str> = ["queue", "list", "--json"].iter().chain(filters).copied().collect();
    lines(dir, &arguments).iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
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
    assert_eq!(printed(&dir, &["queue", "release", &id]), "release: 1 message changed\n");
    assert_eq!(json(&dir, &["queue", "list", "--json"])["state"], "ready");
    assert_eq!(printed(&dir, &["queue", "delete", &id]), "delete: 1 message changed\n");
    assert_eq!(printed(&dir, &["queue", "list"]), "the queue is empty\n");
    let gone = complaint(&dir, &["queue", "show", &id]);
    assert_eq!(gone, format!("basin: there is no message {id} in the queue; it may have been delivered meanwhile"));
    let output = basin(&dir, &["queue", "delete", &id]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("not in the queue"));
}

#[test]
fn filters_choose_what_is_listed_and_summed_up() {
    let dir = folder();
    let ids = put_several(&dir);
    assert_eq!(listed(&dir, &[]), ids);
    assert_eq!(listed(&dir, &["state=held"]), ids[..1]);
    assert_eq!(listed(&dir, &["domain=example.org", "reply=421*"]), ids[1..2]);
    assert_eq!(listed(&dir, &["sender=*@here.example;age>1d"]), ids[1..]);
    assert_eq!(listed(&dir, &[&ids[0], &ids[2]]), [ids[0].clone(), ids[2].clone()]);
    assert_eq!(listed(&dir, &[&ids[0], &ids[2], "state=deferred"]), ids[2..]);
    assert_eq!(listed(&dir, &["--limit", "2"]), ids[..2]);
    assert_eq!(listed(&dir, &["--after", &ids[1]]), ids[2..]);
    let page = printed(&dir, &["queue", "list", "--limit", "1"]);
    assert!(page.ends_with(&format!("1 message, and perhaps more: --after {}\n", ids[0])), "{page}");
    let nothing = printed(&dir, &["queue", "list", "size>1G"]);
    assert!(nothing.starts_with("no message of the queue is meant by that\n"), "{nothing}");
    let summary = json(&dir, &["queue", "summary", "--by", "destination", "--json", "state=deferred"]);
    assert_eq!((&summary["total"]["messages"], &summary["total"]["recipients"]), (&2.into(), &3.into()));
    assert_eq!((&summary["groups"][0]["name"], &summary["groups"][0]["messages"]), (&"example.org".into(), &2.into()));
    let text = printed(&dir, &["queue", "summary", "--by", "reply"]);
    assert!(text.contains("421 4.4.1 greylisted") && text.contains("total"), "{text}");
}

#[test]
fn an_action_that_means_nothing_says_so_and_what_there_is() {
    let dir = folder();
    let ids = put_several(&dir);
    let said = printed(&dir, &["queue", "retry", "destination=example.com"]);
    assert!(said.starts_with("retry: no message of the queue is meant by that, nothing was changed\n"), "{said}");
    let there_is = "messages in the queue by destination: example.org (2), basin.example (1), example.net (1)\n";
    assert!(said.contains(there_is), "{said}");
    let report = lines(&dir, &["queue", "retry", "destination=example.com", "--json"]);
    assert_eq!((report.len(), &report[0]["matched"]), (1, &0.into()));
    assert_eq!(listed(&dir, &["state=waiting"]), ids[1..], "what is held waits for a person");
}

#[test]
fn mail_for_a_destination_that_is_held_says_so() {
    let dir = folder();
    let ids = put_several(&dir);
    printed(&dir, &["queue", "hold", "--destination", "example.org"]);
    let why = "waits for example.org, which is held by the operator";
    assert_eq!(printed(&dir, &["queue", "list"]).matches(why).count(), 2);
    assert!(printed(&dir, &["queue", "show", &ids[1]]).contains(why));
    let row = lines(&dir, &["queue", "list", "--json", "domain=example.net"]).remove(0);
    assert_eq!(row["waits_for"], serde_json::json!([]), "the other recipient waits for nothing");
    let row = lines(&dir, &["queue", "list", "--json", &ids[2]]).remove(0);
    assert_eq!((&row["waits_for"][0]["name"], &row["waits_for"][0]["state"]), (&"example.org".into(), &"held".into()));
}

#[test]
fn actions_change_what_the_filter_means_and_nothing_else() {
    let dir = folder();
    let ids = put_several(&dir);
    let meant = printed(&dir, &["queue", "hold", "domain=example.org", "--dry-run"]);
    assert_eq!(meant, "hold: 2 messages meant, nothing was changed\n");
    assert_eq!(listed(&dir, &["state=deferred"]), ids[1..]);
    let held = printed(&dir, &["queue", "hold", "domain=example.org", "--reason", "a test"]);
    assert_eq!(held, "hold: 2 messages changed\n");
    assert_eq!(listed(&dir, &["reply=a test", "state=held"]), Vec::<String>::new(), "recipients keep their reply");
    assert_eq!(listed(&dir, &["state=held"]), ids);
    let retried = printed(&dir, &["queue", "retry", &ids[1]]);
    assert!(retried.contains("1 message: nothing to do"), "{retried}");
    let report = lines(&dir, &["queue", "release", "state=held", "sender!=<>", "--json"]);
    assert_eq!((report.len(), &report[2]["changed"], &report[2]["matched"]), (3, &2.into(), &2.into()));
    assert_eq!((&report[0]["result"], &report[0]["action"]), (&"changed".into(), &"release".into()));
    // The recipient at the other domain goes its own way.
    printed(&dir, &["queue", "reroute", "domain=example.org", "--to", "[Relay.example]:2525"]);
    assert_eq!(listed(&dir, &["destination=[relay.example]:2525"]), ids[1..]);
    assert_eq!(listed(&dir, &["destination=example.net"]), ids[2..]);
    let shown = printed(&dir, &["queue", "show", &ids[2]]);
    assert!(shown.contains("<y@example.org> by way of [relay.example]:2525 deferred"), "{shown}");
    printed(&dir, &["queue", "reroute", "domain=example.org", "--back"]);
    assert_eq!(listed(&dir, &["destination=example.org"]), ids[1..]);
    printed(&dir, &["queue", "expire", "domain=example.net"]);
    let shown = json(&dir, &["queue", "show", "--json", &ids[2]]);
    let outcomes = ["deferred", "failed"].map(Value::from);
    let found: Vec<_> = shown["envelope"]["recipients"].as_array().expect("a list").iter().collect();
    assert_eq!([&found[0]["outcome"]["state"], &found[1]["outcome"]["state"]], outcomes.each_ref());
    let deleted = printed(&dir, &["queue", "delete", "--all", "--yes"]);
    assert_eq!(deleted, "delete: 3 messages changed\n");
}

#[test]
fn what_was_exported_is_taken_in_elsewhere_once() {
    let (here, there) = (folder(), folder());
    let ids = put_several(&here);
    put(&there, vec![(message(9, "", &["post@basin.example"]), held())]);
    let files = here.path().join("files");
    let path = files.to_str().expect("a plain name");
    printed(&here, &["queue", "export", "--to", path, "--all"]);
    let content = std::fs::read(files.join(format!("{}.eml", ids[2]))).expect("it was written");
    assert_eq!(content, b"Subject: hello\r\n\r\ntext\r\n");
    assert_eq!(printed(&there, &["queue", "import", path]), "imported: 3 messages\n");
    let again = printed(&there, &["queue", "import", path]);
    assert_eq!(again, "imported: 0 messages\n  3 messages: in the queue already\n");
    for id in &ids {
        let shown = |dir| json(dir, &["queue", "show", "--json", id]);
        assert_eq!(shown(&there), shown(&here));
    }
    let description = files.join(format!("{}.json", ids[0]));
    std::fs::write(files.join(format!("{}.eml", ids[0])), "another text").expect("can be written");
    printed(&there, &["queue", "delete", &ids[0]]);
    let changed = complaint(&there, &["queue", "import", description.to_str().expect("a plain name")]);
    assert!(
        changed.ends_with(&format!("message {} is not what was exported: its length or checksum is another", ids[0]))
    );
    let moved = here.path().join("moved");
    let moved = moved.to_str().expect("a plain name");
    assert!(
        printed(&here, &["queue", "export", "state=deferred", "--to", moved, "--move"]).starts_with("exported: 2 ")
    );
    assert_eq!(listed(&here, &[]), ids[..1]);
    printed(&there, &["queue", "delete", "state=deferred"]);
    printed(&there, &["queue", "import", moved]);
    assert_eq!(listed(&there, &["state=deferred"]), ids[1..], "the hold of the move does not travel");
}

#[test]
fn thousands_of_messages_are_changed_in_slices() {
    let dir = folder();
    let recipients = ["x@example.org"];
    put(
        &dir,
        (0..2_500).map(|number| deferred(message(number, "a@here.example", &recipients), 421, "later")).collect(),
    );
    assert_eq!(listed(&dir, &["reply=421*"]).len(), 2_500);
    assert_eq!(printed(&dir, &["queue", "hold", "domain=example.org"]), "hold: 2500 messages changed\n");
    assert_eq!(listed(&dir, &["state=held"]).len(), 2_500);
    assert!(printed(&dir, &["queue", "list"]).contains("1000 messages, and perhaps more: --after "));
}

#[test]
fn a_spool_that_is_not_there_is_not_made() {
    let dir = folder();
    let found = complaint(&dir, &["queue", "list"]);
    assert!(found.ends_with("/spool; `basin serve` makes it at its first start"), "{found}");
    assert!(!dir.path().join("spool").exists());
}

#[test]
fn bad_input_is_answered_with_what_to_write() {
    let dir = folder();
    put_held_message(&dir);
    std::fs::write(dir.path().join("later.json"), "{ \"form\": 2 }").expect("can be written");
    let cases: &[(&str, &[&str])] = &[
        ("an unknown field", &["queue", "list", "recipent=x@example.org"]),
        ("a field by another name", &["queue", "list", "to=x@example.org"]),
        ("no condition", &["queue", "list", "a@example.org"]),
        ("a state that is none", &["queue", "list", "state=frozen"]),
        ("a time without unit", &["queue", "list", "age>2"]),
        ("a size that is none", &["queue", "list", "size>large"]),
        ("a text that is compared like a number", &["queue", "list", "sender>a"]),
        ("a number that is compared like a text", &["queue", "list", "attempts~1"]),
        ("no id", &["queue", "show", "a_b"]),
        ("an id that is not there", &["queue", "cat", "00063a1f2c4d5e-89ab12cd34ef5678"]),
        ("an action on nothing", &["queue", "delete"]),
        ("an action on everything without a yes", &["queue", "delete", "--all"]),
        ("everything and something", &["queue", "delete", "--all", "state=held"]),
        ("a next hop that is none", &["queue", "reroute", "--to", "relay.example:25", "state=held"]),
        ("a grouping that is none", &["queue", "summary", "--by", "colour"]),
        ("an export of nothing", &["queue", "export", "--to", "out"]),
        ("an import of what is not there", &["queue", "import", "nowhere"]),
        ("an export of a later version", &["queue", "import", "later.json"]),
        ("watching where no server runs", &["queue", "watch"]),
    ];
    let found: Vec<(&str, String)> =
        cases.iter().map(|(what, arguments)| (*what, complaint(&dir, arguments))).collect();
    assert_eq!(listed(&dir, &[]).len(), 1, "nothing was changed");
    page::compare("queue", found.iter().map(|(what, message)| (*what, message.as_str())));
}
