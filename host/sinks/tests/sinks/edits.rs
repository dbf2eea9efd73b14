//! Edits: what they do, what they refuse, and that they are all or nothing.

use basin_core::event::{EventKind, FailureKind, Grant};
use basin_core::mail::{Handover, Origin, Outcome, Scope};
use basin_core::reply::Reply;
use std::sync::Arc;

use crate::stage::{Call, NOW, message, plain, probe};

/// The first line that the probe logged.
fn first(script: &str) -> String {
    let outcome = probe(script).all_grants().run();
    outcome.answered();
    outcome.lines().first().copied().unwrap_or_default().to_owned()
}

#[test]
fn header_fields_are_added_changed_and_removed_in_their_places() {
    let header = |script: &str| {
        let block = "Received: from x\nSubject: a\nX-A: 1\nX-A: 2\n";
        probe(script).message(message(block, "")).all_grants().run().header()
    };
    assert_eq!(header("add-header|X-B|c"), "X-B: c|Received: from x|Subject: a|X-A: 1|X-A: 2|");
    assert_eq!(header("append-header|X-B|c"), "Received: from x|Subject: a|X-A: 1|X-A: 2|X-B: c|");
    assert_eq!(header("insert-header|1|X-B|c"), "Received: from x|X-B: c|Subject: a|X-A: 1|X-A: 2|");
    assert_eq!(header("set-header|x-a|3"), "Received: from x|Subject: a|x-a: 3|");
    assert_eq!(header("edit-header-at|3|9"), "Received: from x|Subject: a|X-A: 1|X-A: 9|");
    assert_eq!(header("remove-header-at|1"), "Received: from x|X-A: 1|X-A: 2|");
    assert_eq!(header("remove-header|X-a"), "Received: from x|Subject: a|");
    assert_eq!(header("replace-header-block|Received: from x~To: z~"), "Received: from x|To: z|");
}

#[test]
fn a_sink_sees_its_own_edits_at_once() {
    let script =
        "add-header|X-A|1\nheader|x-a\nset-sender|z@a.example\nsender\nreplace-body|one~two\nread-body|0|99\nsize";
    let outcome = probe(script).message(message("Subject: a\n", "old\n")).all_grants().run();
    let lines = outcome.lines();
    assert_eq!(lines[1], "header: Some(\"1\")");
    assert_eq!(lines[3], "sender: \"z@a.example\"");
    assert_eq!(lines[5], "read-body: ok \"one\\r\\ntwo\\r\\n\"");
    assert_eq!(lines[6], "size: (32, 10)");
}

#[test]
fn nothing_that_a_sink_writes_can_add_a_field_or_break_a_line() {
    for (script, says) in [
        ("add-header|X: y|z", "invalid"),
        ("add-header||z", "invalid"),
        ("insert-header|99|X|y", "not-found"),
        ("edit-header-at|99|y", "not-found"),
        ("remove-header-at|99", "not-found"),
        ("replace-header-block|no field~", "invalid"),
        ("replace-header-block|A: b", "invalid"),
        ("replace-header-block|A: b~~C: d~", "invalid"),
        ("set-sender|not an address", "invalid"),
        ("add-recipient|<b@basin.example>", "invalid"),
        ("add-recipient|B@basin.example|", "ok"),
        ("add-recipient|b@BASIN.example", "duplicate"),
        ("set-parameter|RET=x|HDRS", "invalid"),
        ("set-parameter|RET|a b", "invalid"),
        ("set-parameter|SIZE|1", "invalid"),
        ("set-priority|10", "invalid"),
        ("rcpt-set-address|0|c@basin.example", "duplicate"),
        ("rcpt-set-notify|0|SOMETIMES", "invalid"),
        ("rcpt-set-route|0|a b", "invalid"),
        ("rcpt-fail|0|450 4.1.1 no", "invalid"),
        ("append-response|a\u{7f}", "invalid"),
        ("set-response|550 - no", "invalid"),
        ("set-response|250 5.7.1 no", "invalid"),
        ("set-banner|x", "read-only"),
        ("set-property|a/b|c", "invalid"),
        ("remove-property|none", "not-found"),
    ] {
        let said = first(script);
        assert!(said.contains(&format!(": {says}")), "{script}: {said}");
    }
}

#[test]
fn other_letters_than_ascii_stand_in_addresses_where_the_client_knows_them() {
    let script = "set-sender|j\u{f6}rg@client.example\nadd-recipient|\u{fc}@basin.example\nrcpt-set-address|0|\u{e4}@basin.example";
    let said = |call: Call| call.all_grants().run().lines().join(";");
    assert_eq!(said(probe(script)).matches("invalid the address is not ASCII").count(), 3);
    let mut international = plain();
    Arc::make_mut(&mut international.envelope).parameters.insert("SMTPUTF8".into(), String::new());
    let outcome = probe(script).message(international.clone()).all_grants().run();
    let envelope = &outcome.edited().envelope;
    assert_eq!(envelope.sender.as_ref().map(ToString::to_string).as_deref(), Some("j\u{f6}rg@client.example"));
    let recipients: Vec<String> = envelope.recipients.iter().map(|recipient| recipient.address.to_string()).collect();
    assert_eq!(recipients, ["\u{e4}@basin.example", "c@Basin.Example", "\u{fc}@basin.example"]);
    // A command is judged by what MAIL said.
    let path = "set-path|\u{f6}@basin.example";
    assert!(said(probe(path).command("MAIL FROM:<a@b.example>")).contains("invalid"));
    assert!(said(probe(path).command("MAIL FROM:<a@b.example>").parameter("SMTPUTF8")).contains(": ok"));
    assert!(said(probe(path).command("RCPT TO:<b@basin.example>").message(plain())).contains("invalid"));
    assert!(said(probe(path).command("RCPT TO:<b@basin.example>").message(international)).contains(": ok"));
}

#[test]
fn a_body_is_bounded_by_the_listener_that_the_message_came_by_or_by_its_own_size() {
    let from = |listener: &str, origin: Origin, size: usize| {
        let mut message = message("Subject: a\n", &"x\n".repeat(size / 3));
        let arrival = Arc::make_mut(&mut message.arrival);
        (arrival.listener, arrival.origin) = (listener.into(), origin);
        probe("fill-body|3").message(message).all_grants().run().lines().concat()
    };
    let mib = 1_024 * 1_024;
    assert!(from("small", Origin::Smtp, 10).contains("limit the bodies of a call have at most 1048576 octets"));
    assert!(from("small", Origin::Smtp, 2 * mib).contains(": ok"), "its limit was waived for this one");
    assert!(from("mx", Origin::Smtp, 10).contains(": ok"));
    assert!(from("small", Origin::Pickup, 10).contains(": ok"));
}

#[test]
fn trace_fields_belong_to_servers() {
    for script in [
        "add-header|Received|from nowhere",
        "set-header|return-path|<a@b.example>",
        "edit-header-at|0|from elsewhere",
        "remove-header-at|0",
        "remove-header|received",
        "replace-header-block|Subject: x~",
    ] {
        let outcome = probe(script).all_grants().run();
        let said = outcome.lines().first().copied().unwrap_or_default().to_owned();
        assert!(said.contains("denied Received and Return-Path"), "{script}: {said}");
        assert_eq!(outcome.edited().header, plain().header);
    }
}

#[test]
fn a_signature_is_not_broken_without_the_grant() {
    let block = "Received: from x\nDKIM-Signature: v=1; h=from:subject\nFrom: a\nSubject: b\n";
    for (script, breaks) in [
        ("add-header|X-Spam|no", false),
        ("add-header|Subject|above the signed one", false),
        ("append-header|Subject|below it", true),
        ("set-header|Subject|c", true),
        ("remove-header|DKIM-Signature", true),
        ("replace-body|x", true),
        ("replace-header-block|Received: from x~From: a~", true),
    ] {
        let call = || probe(script).message(message(block, "body\n"));
        let said = call().all_grants_but(Grant::BreakSignatures).run().lines().first().unwrap().to_string();
        assert_eq!(said.contains("denied") && said.contains("break-signatures"), breaks, "{script}: {said}");
        let said = call().all_grants().run().lines().first().unwrap().to_string();
        assert!(said.contains(": ok"), "{script}: {said}");
    }
}

#[test]
fn a_call_adds_at_most_so_many_fields_octets_and_recipients() {
    let outcome = probe("fill-header|10").all_grants().run();
    assert_eq!(outcome.lines(), ["fill-header: 100"]);
    let outcome = probe("fill-header|900").all_grants().run();
    assert_eq!(outcome.lines(), ["fill-header: 70"], "64 KiB of fields that are folded");
    let many: String = (0..1_001).map(|n| format!("add-recipient|r{n}@a.example\n")).collect();
    let outcome = probe(&many).all_grants().run();
    assert!(outcome.edited().envelope.recipients.len() == 1_002, "{:?}", outcome.lines().last());
    let outcome = probe("fill-body|3").all_grants().run();
    assert_eq!(outcome.lines(), ["fill-body: ok ()"]);
    assert!(first("fill-body|5").contains("limit the bodies of a call have at most 2097152 octets"));
}

#[test]
fn recipients_are_edited_one_by_one() {
    let script = "rcpt-set-address|0|z@a.example\nrcpt-set-notify|0|NEVER\nrcpt-set-route|0|relay.example\nrcpt-set-property|0|k|v\n\
                  rcpt-property|0|k\nrcpt-remove|1\nrecipients\nadd-recipient|new@a.example";
    let outcome = probe(script).all_grants().run();
    let lines = outcome.lines();
    assert_eq!(lines[4], "rcpt-property: Some(\"v\")");
    assert_eq!(lines[5], "rcpt-remove: (Some(\"ok ()\"), \"c@Basin.Example\", Some(\"not-found\"))");
    assert_eq!(lines[6], "recipients: [\"z@a.example\"]");
    assert_eq!(lines[7], "add-recipient: ok 2", "numbers are never used twice");
    let left = &outcome.edited().envelope.recipients[0];
    assert_eq!((left.original.as_str(), left.notify.as_slice()), ("b@basin.example", &["NEVER".to_owned()][..]));
    assert_eq!(left.route_domain.as_deref(), Some("relay.example"));
}

#[test]
fn the_last_reply_of_a_recipient_is_what_the_next_server_said() {
    let mut asked = message("Subject: a\n", "text\n");
    let reply = Reply::new(250, None, "queued as 7");
    let to = Handover::Relayed { host: None, reply, is_dsn_passed: false };
    let recipients = &mut Arc::make_mut(&mut asked.envelope).recipients;
    recipients[0].outcome = Outcome::Delivered { at: NOW, to };
    recipients[1].outcome = Outcome::failed(Reply::new(550, None, "no such user"));
    let outcome = probe("rcpt-last-reply|0\nrcpt-last-reply|1").message(asked).all_grants().run();
    assert_eq!(outcome.lines()[0], "rcpt-last-reply: Some((250, \"queued as 7\"))");
    assert_eq!(outcome.lines()[1], "rcpt-last-reply: Some((550, \"no such user\"))");
    assert_eq!(probe("rcpt-last-reply|0").all_grants().run().lines()[0], "rcpt-last-reply: None");
}

#[test]
fn after_acceptance_single_recipients_are_judged() {
    let at = |script: &str| probe(script).all_grants().at(EventKind::OnSubmission).run();
    let outcome = at("rcpt-fail|0|550 5.1.1 no\nrcpt-defer|1|451 4.3.0 later");
    let envelope = &outcome.edited().envelope;
    assert!(matches!(&envelope.recipients[0].outcome, Outcome::Failed { reply, .. } if reply.code() == 550));
    let until = NOW.plus(core::time::Duration::from_secs(60));
    assert!(matches!(&envelope.recipients[1].outcome, Outcome::Deferred { until: at, .. } if *at == until));
    let outcome = at("rcpt-hold|0|look\nrcpt|0");
    assert!(outcome.lines()[1].contains("\"held\""), "{:?}", outcome.lines());
    assert!(at("rcpt-fail|0|450 - no").lines()[0].contains("invalid"));
    assert!(at("rcpt-defer|0|550 - no").lines()[0].contains("invalid"));
}

#[test]
fn properties_are_private_unless_they_are_shared() {
    let mut with = plain();
    std::sync::Arc::make_mut(&mut with.properties).set(Scope("other"), "mine", vec![1]).expect("fits");
    std::sync::Arc::make_mut(&mut with.properties).set(Scope("other"), "shared.score", b"7".to_vec()).expect("fits");
    let script = "property-names\nproperty|mine\nproperty|shared.score\nset-property|mine|x\nproperty-names";
    let outcome = probe(script).message(with).run();
    assert_eq!(
        outcome.lines(),
        [
            "property-names: [\"shared.score\"]",
            "property: None",
            "property: Some(\"7\")",
            "set-property: ok ()",
            "property-names: [\"mine\", \"shared.score\"]",
        ]
    );
    assert_eq!(outcome.edited().properties.value(Scope("other"), "mine"), Some(&[1][..]));
}

#[test]
fn a_call_that_fails_leaves_no_edit() {
    let edits =
        "add-header|X|y\nset-sender|z@a.example\nset-property|a|b\nreplace-body|gone\nset-session-property|a|b\n";
    for (end, verdict, kind) in [
        ("panic", "next", FailureKind::Panic),
        ("exit", "next", FailureKind::Exit),
        ("recurse|10000000", "next", FailureKind::Stack),
        ("", "err sorry", FailureKind::GuestError),
        ("", "refuse 250 - no", FailureKind::Verdict),
    ] {
        let outcome = probe(&format!("{edits}{end}")).verdict(verdict).all_grants().run();
        // The overlay went with the failure: there is none to take edits from.
        assert_eq!(outcome.failed().kind, kind, "{:?}", outcome.failed());
    }
    let outcome = probe(edits).all_grants().run();
    assert!(outcome.header().starts_with("X: y|"), "and one that succeeds keeps them all");
    assert_eq!(outcome.answered().1.session_bag.value(Scope("probe"), "a"), Some(&b"b"[..]));
}

#[test]
fn before_the_content_is_here_it_can_neither_be_read_nor_changed() {
    let script = "read-body|0|10\nadd-header|X|y\nreplace-body|x\nset-sender|z@a.example\nset-property|a|b";
    let outcome = probe(script).all_grants().command("RCPT TO:<b@basin.example>").run();
    let lines = outcome.lines();
    assert!(lines[0].contains("unavailable"), "{lines:?}");
    assert!(lines[1].contains("read-only") && lines[2].contains("read-only"), "{lines:?}");
    assert!(lines[3].contains("ok") && lines[4].contains("ok"), "{lines:?}");
}
