//! What a sink reads is what is there, in chunks that are clamped.

use std::sync::Arc;

use basin_core::event::{FailureKind, Grant};
use basin_core::mail::Origin;

use crate::stage::{message, probe};

const MIXED: &str = "From: a@client.example\nContent-Type: multipart/mixed; boundary=B\n";

const BODY: &str = "--B\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: \
                    quoted-printable\n\ncaf=E9\n--B\nContent-Type: application/octet-stream; \
                    name=a.exe\nContent-Transfer-Encoding: base64\n\nTVqQ\n--B\nContent-Type: text/html\n\n<p>hi</p>\n--B--\n";

#[test]
fn envelope_and_header_are_read_as_they_are() {
    let script =
        "sender\nrecipients\nmatched\nparameter|body\nheader|SUBJECT\nheaders\naddresses|To\nsubject\nfrom\nrcpt|1";
    let outcome = probe(script).all_grants().run();
    assert_eq!(
        outcome.lines(),
        [
            "sender: \"a@client.example\"",
            "recipients: [\"b@basin.example\", \"c@Basin.Example\"]",
            "matched: [\"b@basin.example\", \"c@Basin.Example\"]",
            "parameter: Some(\"8BITMIME\")",
            "header: Some(\"=?utf-8?q?caf=C3=A9?=\")",
            "headers: [\"Received\", \"From\", \"To\", \"Subject\", \"Message-ID\", \"Date\"]",
            "addresses: [\"b@basin.example\", \"c@basin.example\"]",
            "subject: Some(\"café\")",
            "from: (Some(\"a@client.example\"), Some(\"1@client.example\"), Some(1767225600))",
            "rcpt: (1, \"c@Basin.Example\", \"basin.example\", \"pending\", [])",
        ]
    );
}

#[test]
fn the_occasion_tells_who_calls_and_when() {
    let outcome =
        probe("binding\nnative-response\nresponse\nsession\nserver|basin.example|b@basin.example\nconfig|color")
            .config("color", "blue")
            .run();
    let lines = outcome.lines();
    assert_eq!(lines[0], "binding: (\"probe/test\", \"probe\", 1800000000, 3, \"key-1\")");
    assert_eq!(
        (lines[1], lines[2]),
        ("native-response: Some((250, [\"taken\"]))", "response: Some((250, [\"taken\"]))")
    );
    assert_eq!(lines[3], "session: (\"s1\", \"192.0.2.7\", Some(\"client.example\"))");
    assert_eq!(lines[4], "server: (\"mx.basin.example\", true, true)");
    assert_eq!(lines[5], "config: (Some(\"blue\"), [\"color\", \"script\"])");
}

#[test]
fn reads_are_clamped_and_empty_past_the_end() {
    let long = "x".repeat(200_000);
    let len = |script: &str| {
        let outcome = probe(script).message(message("A: b\n", &long)).all_grants().run();
        outcome.lines().first().copied().unwrap_or_default().to_owned()
    };
    assert_eq!(len("read-body-len|0|4294967295"), "read-body-len: ok 65536");
    assert_eq!(len("read-body-len|199990|100"), "read-body-len: ok 10");
    assert_eq!(len("read-body-len|18446744073709551615|100"), "read-body-len: ok 0");
    assert_eq!(len("read|18446744073709551615|100"), "read: ok \"\"");
    assert_eq!(len("read|3|7"), "read: ok \"b\\r\\n\\r\\nxx\"", "header block, empty line and body are one");
}

#[test]
fn parts_are_found_decoded_and_named() {
    let call = |script: &str| probe(script).message(message(MIXED, BODY)).all_grants().run();
    let outcome = call(
        "parts\npart|0\npart-text|0\npart|1\npart-text|1\ntext-body\nhtml-body\npart-header|1|content-type\npart|9",
    );
    assert_eq!(
        outcome.lines(),
        [
            "parts: [(\"1\", \"text/plain\", None, 5, false), (\"2\", \"application/octet-stream\", Some(\"a.exe\"), 3, true), \
             (\"3\", \"text/html\", None, 9, false)]",
            "part: Some(Ok(\"café\"))",
            "part-text: Some(Some(\"café\"))",
            "part: Some(Ok(\"MZ\u{fffd}\"))",
            "part-text: Some(None)",
            "text-body: Some(\"café\")",
            "html-body: Some(\"<p>hi</p>\")",
            "part-header: Some(Some(\"application/octet-stream; name=a.exe\"))",
            "part: None",
        ]
    );
}

#[test]
fn the_raw_range_of_a_part_points_at_its_content() {
    let outcome = probe("part-range|1").message(message(MIXED, BODY)).all_grants().run();
    let line = outcome.lines()[0].to_owned();
    let numbers: Vec<usize> = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    let outcome =
        probe(&format!("read|{}|{}", numbers[0], numbers[1])).message(message(MIXED, BODY)).all_grants().run();
    assert_eq!(outcome.lines(), ["read: ok \"TVqQ\""]);
}

#[test]
fn a_message_that_hides_in_its_own_depth_ends_the_call() {
    let deep = "Content-Type: message/rfc822\n\n".repeat(100);
    let outcome = probe("parts").message(message("Content-Type: message/rfc822\n", &deep)).all_grants().run();
    assert_eq!(outcome.failed().kind, FailureKind::Quota);
    assert!(outcome.failed().detail.contains("nests parts"), "{}", outcome.failed().detail);
}

#[test]
fn parts_follow_an_edit_of_the_content() {
    let script = "part-text|0\nset-header|Content-Type|text/x-other\nparts\nreplace-body|new\npart|0";
    let outcome = probe(script).message(message("Subject: a\n", "old\n")).all_grants().run();
    let lines = outcome.lines();
    assert_eq!(lines[0], "part-text: Some(Some(\"old\\r\\n\"))");
    assert!(lines[2].contains("text/x-other"), "{lines:?}");
    assert_eq!(lines[4], "part: Some(Ok(\"new\\r\\n\"))");
}

#[test]
fn metrics_take_good_names_alone() {
    let outcome = probe("metric|good_name\nmetric|bad name").run();
    assert_eq!(outcome.metrics, [("good_name".to_owned(), 2), ("good_name".to_owned(), 0)]);
    assert!(outcome.lines().iter().any(|line| line.contains("metric dropped")));
}

#[test]
fn a_message_tells_its_class_and_the_file_that_it_was() {
    let automatic = || probe("message\npickup-file").message(message("Auto-Submitted: auto-replied\n", "text\n"));
    let untold = automatic().run();
    assert!(untold.lines()[0].ends_with("\"normal\")"), "the header is not shown: {:?}", untold.lines());
    let outcome = automatic().grants(&[Grant::ReadHeaders]).run();
    assert!(outcome.lines()[0].ends_with("\"auto-reply\")"), "{:?}", outcome.lines());
    assert_eq!(outcome.lines()[1], "pickup-file: None");
    let mut left = message("Subject: a\n", "text\n");
    let arrival = Arc::make_mut(&mut left.arrival);
    (arrival.origin, arrival.vouched.pickup_file) = (Origin::Pickup, Some("one.eml".to_owned()));
    assert_eq!(probe("pickup-file").message(left).run().lines()[0], "pickup-file: Some(\"one.eml\")");
}
