//! Events between two sessions: messages that a sink makes, recipients, destinations, notifications, tracking.

use basin_core::addr::Address;
use basin_core::event::{EventKind, FailureKind, Grant, Verdict};
use basin_core::mail::{Message, Outcome as Fate};
use basin_core::reply::Reply;
use basin_core::transport::{HopTarget, TlsDemand};

use crate::scenes::{about_destination, about_notification, about_recipient, about_track};
use crate::stage::{Outcome, message, plain, probe};

const READING: [Grant; 3] = [Grant::ReadEnvelope, Grant::ReadHeaders, Grant::ReadBody];

fn verdict(outcome: &Outcome) -> &Verdict {
    outcome.answered().0
}

fn fails_by_verdict(outcome: &Outcome, word: &str) {
    let failure = outcome.failed();
    assert_eq!(failure.kind, FailureKind::Verdict, "{failure:?}");
    assert!(failure.detail.contains(word), "{failure:?}");
}

fn addresses(message: &Message) -> Vec<String> {
    message.envelope.recipients.iter().map(|one| one.address.to_string()).collect()
}

#[test]
fn every_event_of_the_contract_is_called() {
    for event in EventKind::ALL.iter().copied().filter(|event| event.is_transport()) {
        let outcome = if matches!(event, EventKind::OnRoute | EventKind::OnDnsResolve) {
            about_destination(event, "binding").run()
        } else if event == EventKind::OnNotification {
            about_notification("binding", plain()).run()
        } else {
            about_recipient(event, "binding").run()
        };
        assert_eq!(*verdict(&outcome), Verdict::Next, "{event}");
        assert_eq!(outcome.lines().len(), 1, "{event}");
    }
    assert_eq!(about_track("binding").run().lines().len(), 1);
    assert_eq!(probe("binding").at(EventKind::OnTimer).run().lines().len(), 1);
}

#[test]
fn a_message_of_a_sink_joins_the_overlay_with_what_mail_needs() {
    let script = "submit||x@a.example,y@b.example|Subject|hello|one~two";
    let outcome = probe(script).grants(&[Grant::Submit]).at(EventKind::OnSubmission).run();
    let overlay = outcome.answered().1;
    let [made] = overlay.submissions.as_slice() else { panic!("{:?}", overlay.submissions) };
    assert_eq!(outcome.lines(), [format!("submit: ok {:?}", made.message.id.as_str())]);
    assert_eq!((made.sink.as_str(), made.message.envelope.sender.is_none()), ("probe", true));
    assert_eq!(addresses(&made.message), ["x@a.example", "y@b.example"]);
    let header = String::from_utf8(made.message.header.to_bytes()).expect("ASCII");
    for field in ["Subject: hello\r\n", "Date: ", "From: ", "Message-ID: <"] {
        assert!(header.contains(field), "{field} in {header}");
    }
    assert_eq!(made.message.body.read(0, 100).expect("memory"), b"one~two\r\n");
    let again = probe(script).grants(&[Grant::Submit]).at(EventKind::OnSubmission).run();
    assert_eq!(again.answered().1.submissions[0].message.id, made.message.id, "a repetition makes the same message");
    let twice = probe("submit-twice||x@a.example").grants(&[Grant::Submit]).at(EventKind::OnTimer).run();
    let ids: Vec<_> = twice.answered().1.submissions.iter().map(|one| one.message.id.clone()).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

#[test]
fn messages_of_a_sink_take_the_grant_an_event_that_is_written_and_have_limits() {
    for script in ["submit||x@a.example", "copy||x@a.example", "fill-new|1"] {
        let outcome = probe(script).all_grants_but(Grant::Submit).at(EventKind::OnSubmission).run();
        assert!(outcome.lines()[0].contains("denied") && outcome.lines()[0].contains("--grant submit"), "{script}");
        assert_eq!(outcome.report.usage.denied, 1);
        let outcome = probe(script).all_grants().at(EventKind::OnEndOfData).run();
        assert!(outcome.lines()[0].ends_with("read-only"), "nobody writes it there: {:?}", outcome.lines());
        let outcome = probe(script).all_grants().at(EventKind::OnSubmission).read_only().run();
        assert!(outcome.lines()[0].ends_with("read-only"), "{script}");
    }
    let at = |script: &str| probe(script).all_grants().at(EventKind::OnSubmission).run();
    for script in [
        "submit|a b|x@a.example",
        "submit||x@",
        "submit|",
        "submit||x@a.example|X Y|v",
        "submit||x@a.example|X|a\u{0}b",
    ] {
        assert!(at(script).lines()[0].contains("invalid"), "{script}: {:?}", at(script).lines());
    }
    assert!(at("submit||x@a.example|Received|by me").lines()[0].contains("denied"), "traces are servers' own");
    assert_eq!(at("create-many|12").lines(), ["create-many: 10"]);
    assert!(at("fill-new|5").lines()[0].contains("limit the messages of a call"), "{:?}", at("fill-new|5").lines());
    at("submit||x@a.example\npanic").failed();
}

#[test]
fn a_copy_carries_header_and_body_and_needs_the_reading_grants() {
    let grants = [&READING[..], &[Grant::Submit]].concat();
    let outcome = probe("copy|s@a.example|archive@a.example").grants(&grants).at(EventKind::OnSubmission).run();
    let copy = &outcome.answered().1.submissions[0].message;
    assert_eq!((addresses(copy), copy.body.len()), (vec!["archive@a.example".to_owned()], plain().body.len()));
    assert!(String::from_utf8_lossy(&copy.header.to_bytes()).starts_with("Received: from client.example\r\n"));
    let outcome = probe("copy||x@a.example|more").grants(&grants).at(EventKind::OnSubmission).run();
    let copy = &outcome.answered().1.submissions[0].message;
    assert_eq!(copy.body.read(0, 100).expect("memory"), b"hello\r\nworld\r\nmore\r\n");
    assert_eq!(copy.header.first("X-Copy").map(|field| field.value()).as_deref(), Some("yes"));
    for missing in [Grant::ReadHeaders, Grant::ReadBody] {
        let outcome = probe("copy||x@a.example").all_grants_but(missing).at(EventKind::OnSubmission).run();
        assert_eq!(outcome.failed().kind, FailureKind::Denied, "{missing}");
    }
}

#[test]
fn a_fork_has_its_recipients_and_edits_of_its_own() {
    let outcome =
        probe("set-property|before|1\nfork-edit|1\nrecipients").all_grants().at(EventKind::OnSubmission).run();
    assert_eq!(
        outcome.lines()[1..],
        [
            "fork-edit: ok ([\"c@Basin.Example\", \"late@a.example\"], Some(\"of the fork\\r\\n\"), None)",
            "recipients: [\"b@basin.example\"]",
        ]
    );
    let (main, overlay) = (outcome.edited(), outcome.answered().1);
    let fork = &overlay.forks[0].message;
    let side = |message: &Message| {
        let scope = basin_core::mail::Scope("probe");
        ["before", "side"].map(|name| message.properties.value(scope, name).map(<[u8]>::to_vec))
    };
    assert_eq!(side(main), [Some(b"1".to_vec()), Some(b"main".to_vec())]);
    assert_eq!(side(fork), [Some(b"1".to_vec()), Some(b"fork".to_vec())], "edits before it go along");
    assert_eq!((main.body.len(), fork.body.len()), (plain().body.len(), 13));
    let moved = &fork.envelope.recipients[0];
    assert_eq!((moved.id, moved.route_domain.as_deref()), (1, Some("other.example")));
    assert!(!moved.properties.is_empty(), "a handle from before the fork finds its recipient there");
    assert_ne!(fork.id, main.id);
}

#[test]
fn a_fork_takes_the_grant_the_event_and_somebody_on_either_side() {
    let at = |script: &str, event| probe(script).all_grants().at(event).run().lines()[0].to_owned();
    let submission = EventKind::OnSubmission;
    assert!(at("fork|1", EventKind::OnPostCategorize).contains("ok"));
    for event in [EventKind::OnPreCategorize, EventKind::OnEndOfData] {
        assert_eq!(at("fork|1", event), "fork: read-only", "{event}");
    }
    assert_eq!(at("fork|7", submission), "fork: not-found");
    assert!(at("fork|0,1", submission).contains("invalid") && at("fork|", submission).contains("invalid"));
    let outcome = probe("fork|1").all_grants_but(Grant::EditEnvelope).at(submission).run();
    assert!(outcome.lines()[0].contains("denied"), "{:?}", outcome.lines());
}

#[test]
fn the_fate_of_a_message_is_set_within_its_limits() {
    let at = |script: &str| probe(script).all_grants().at(EventKind::OnPreCategorize).run();
    let outcome = at("set-expiry|1800003600|1800007200\nsupersede|status of x\nset-deliver-after|1800000060");
    let edited = outcome.edited();
    assert_eq!(
        edited.expiry.map(|it| (it.notify_delay.seconds, it.give_up.seconds)),
        Some((1_800_003_600, 1_800_007_200))
    );
    assert_eq!(
        edited.supersedes.as_ref().map(|it| (it.sink.as_str(), it.key.as_str())),
        Some(("probe", "status of x"))
    );
    for script in ["set-expiry|1800007200|1800003600", "set-expiry|1|1800003600", "set-expiry|1800003600|1900000000"] {
        assert!(at(script).lines()[0].contains("invalid"), "{script}");
    }
    let long = format!("supersede|{}", "k".repeat(257));
    for script in ["supersede|", &long, "supersede|a\tb"] {
        assert!(at(script).lines()[0].contains("invalid"), "{script}");
    }
    for script in ["set-expiry|1800003600|1800007200", "supersede|k"] {
        let outcome = probe(script).all_grants_but(Grant::EditEnvelope).at(EventKind::OnPreCategorize).run();
        assert!(outcome.lines()[0].contains("denied"), "{script}");
        let outcome = about_recipient(EventKind::OnCategorize, script).all_grants().run();
        assert_eq!(outcome.lines()[0].split(": ").nth(1), Some("read-only"), "{script}");
    }
}

#[test]
fn a_recipient_is_resolved_expanded_or_unknown() {
    let of = |said: &str| {
        about_recipient(EventKind::OnCategorize, "this-recipient\nthis-set|k").verdict(said).all_grants().run()
    };
    let outcome = of("expand x@a.example,y@b.example");
    assert_eq!(outcome.lines(), ["this-recipient: (1, \"c@Basin.Example\", \"pending\")", "this-set: ok ()"]);
    let address = |text: &str| Address::parse(text).expect("an address");
    assert_eq!(*verdict(&outcome), Verdict::Expand(vec![address("x@a.example"), address("y@b.example")]));
    assert_eq!(*verdict(&of("expand ")), Verdict::Expand(Vec::new()), "nobody is an answer");
    assert_eq!(*verdict(&of("resolved")), Verdict::Resolved);
    assert_eq!(*verdict(&of("unknown 550 5.1.1 nobody")), Verdict::Refuse(Reply::with(550, 1, 1, "nobody")));
    assert!(matches!(verdict(&of("defer 451 4.3.0 later")), Verdict::Defer(_)));
    fails_by_verdict(&of("expand x@a.example,y"), "no address");
    fails_by_verdict(&of("expand-many 1001"), "the limit is 1000");
    fails_by_verdict(&of("unknown 450 4.1.1 maybe"), "does not fit");
    let edits = "this-fail|550 5.1.1 no\nadd-header|X|y\nset-sender|x@a.example\nfork|1\nreplace-body|x";
    let outcome = about_recipient(EventKind::OnCategorize, edits).all_grants().run();
    assert!(outcome.lines().iter().all(|line| line.ends_with("read-only")), "{:?}", outcome.lines());
    for said in ["resolved", "expand x@a.example"] {
        let call = about_recipient(EventKind::OnCategorize, "").verdict(said).all_grants_but(Grant::EditEnvelope);
        fails_by_verdict(&call.run(), "--grant edit-envelope");
    }
}

#[test]
fn hops_are_made_with_the_grant_and_named_by_the_configuration() {
    let script = "destination\nrecipients\nrecipient-count\nhop-mx|A.example\nhop-mx|a b\nhop-host|[192.0.2.1]|25\n\
                  hop-host|a.example|0\nhop-host|a b|25\nhop-lmtp|store\nhop-lmtp|other\nhop-tls|verified\nhop-tls|much\n\
                  hop-credentials|relay\nhop-credentials|x\nhop-source|first\nhop-source|x\nhop-local\nhop-many|60";
    let outcome = about_destination(EventKind::OnRoute, script).all_grants().run();
    let lines = outcome.lines();
    assert_eq!(
        lines[..3],
        [
            "destination: (\"a.example\", [\"host mx1.a.example:25: 451\"])",
            "recipients: [\"c@Basin.Example\"]",
            "recipient-count: 1",
        ]
    );
    let said: Vec<&str> = lines[3..16].iter().map(|line| line.split(": ").nth(1).unwrap_or_default()).collect();
    let said: Vec<&str> = said.iter().map(|said| said.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(
        said,
        [
            "ok",
            "invalid",
            "ok",
            "invalid",
            "invalid",
            "ok",
            "not-found",
            "ok",
            "invalid",
            "ok",
            "not-found",
            "ok",
            "not-found"
        ]
    );
    assert_eq!(lines[17], "hop-many: 54", "a call makes 64");
    for script in ["hop-mx|a.example", "hop-host|a.example|25", "hop-lmtp|store"] {
        let outcome = about_destination(EventKind::OnRoute, script).all_grants_but(Grant::Route).run();
        assert!(outcome.lines()[0].contains("denied") && outcome.report.usage.denied == 1, "{script}");
    }
}

#[test]
fn a_route_of_a_sink_takes_the_grant_and_at_most_16_hops() {
    let of = |said: &str| about_destination(EventKind::OnRoute, "").verdict(said);
    let outcome = of("use-hops Smart.example").all_grants().run();
    let Verdict::Hops(hops) = verdict(&outcome) else { panic!("{:?}", verdict(&outcome)) };
    let [first, second] = hops.as_slice() else { panic!("{hops:?}") };
    assert_eq!((first.tls, second.tls), (Some(TlsDemand::Verified), None));
    assert_eq!(first.credentials.as_deref(), Some("relay"));
    assert_eq!((first.to_string().as_str(), &second.next), ("host smart.example:2525", &HopTarget::Local));
    assert!(matches!(verdict(&of("use-local 16").all_grants().run()), Verdict::Hops(hops) if hops.len() == 16));
    for said in ["use-local 17", "use-local 0"] {
        fails_by_verdict(&of(said).all_grants().run(), "1 to 16");
    }
    fails_by_verdict(&of("use-local 1").all_grants_but(Grant::Route).run(), "--grant route");
    fails_by_verdict(&of("skip-remaining").all_grants_but(Grant::EndChain).run(), "--grant end-chain");
    assert!(matches!(verdict(&of("fail 550 5.4.4 no way").run()), Verdict::Refuse(reply) if reply.code() == 554));
}

#[test]
fn hosts_of_a_sink_stand_for_dns_with_the_grant() {
    let of = |said: &str| about_destination(EventKind::OnDnsResolve, "destination").verdict(said);
    let outcome = of("use-hosts MX.a.example=192.0.2.1,2001:db8::1").all_grants().run();
    let Verdict::Hosts(hosts) = verdict(&outcome) else { panic!("{:?}", verdict(&outcome)) };
    assert_eq!((hosts[0].name.as_str(), hosts[0].addresses.len()), ("mx.a.example", 2));
    fails_by_verdict(&of("use-hosts mx.a.example=here").all_grants().run(), "no address");
    fails_by_verdict(&of("use-hosts a b=192.0.2.1").all_grants().run(), "no host");
    let many = format!("use-hosts mx.a.example={}", ["192.0.2.1"; 17].join(","));
    fails_by_verdict(&of(&many).all_grants().run(), "at most 16");
    fails_by_verdict(&of("use-hosts mx.a.example=192.0.2.1").all_grants_but(Grant::Route).run(), "--grant route");
}

#[test]
fn a_delivery_by_a_sink_takes_the_grant() {
    let of = |said: &str| about_recipient(EventKind::OnLocalDelivery, "read-body|0|100").verdict(said);
    let outcome = of("delivered").all_grants().run();
    assert_eq!(
        (verdict(&outcome), outcome.lines()[0]),
        (&Verdict::Delivered, "read-body: ok \"hello\\r\\nworld\\r\\n\"")
    );
    fails_by_verdict(&of("delivered").all_grants_but(Grant::Route).run(), "--grant route");
    assert!(matches!(verdict(&of("fail 552 5.2.2 full").all_grants().run()), Verdict::Refuse(_)));
}

#[test]
fn a_notification_is_edited_and_what_it_is_about_is_only_read() {
    let mut subject = message("Subject: lost\nContent-Type: text/plain\n", "the cause\n");
    let envelope = std::sync::Arc::make_mut(&mut subject.envelope);
    envelope.recipients[0].outcome = Fate::failed(Reply::with(550, 1, 1, "nobody"));
    let script =
        "subject-text\nsubject-recipients\nsubject-parts\nadd-header|X-Note|y\nsubject\nreplace-body|new\nparts";
    let outcome = about_notification(script, subject.clone()).all_grants().run();
    assert_eq!(outcome.lines()[0], "subject-text: (Some(\"lost\"), Some(\"the cause\\r\\n\"))");
    assert_eq!(
        outcome.lines()[1],
        "subject-recipients: [(\"b@basin.example\", \"failed\"), (\"c@Basin.Example\", \"pending\")]"
    );
    assert_eq!(outcome.lines()[2], "subject-parts: [\"the cause\\r\\n\"]");
    assert!(outcome.edited().header.first("X-Note").is_some() && outcome.edited().body.len() == 5);
    let edits = "subject-edit|X-A\nsubject-property\nsubject-body\nsubject-rcpt-fail\nsubject-priority";
    let outcome = about_notification(edits, subject.clone()).all_grants().run();
    assert!(outcome.lines().iter().all(|line| line.ends_with("read-only")), "{:?}", outcome.lines());
    let suppress = || about_notification("", subject.clone()).verdict("suppress");
    assert_eq!(*verdict(&suppress().all_grants().run()), Verdict::Suppress);
    fails_by_verdict(&suppress().all_grants_but(Grant::Discard).run(), "--grant discard");
}

#[test]
fn a_tracking_record_shows_addresses_with_the_grant_alone() {
    let outcome = about_track("track\ntrack-sender\ntrack-recipient\nsubmit||x@a.example").all_grants().run();
    assert_eq!(
        outcome.lines(),
        [
            "track: ((\"delivered\", 1800000000, \"m1\", Some(\"192.0.2.9\")), (Some(250), 17, 1500))",
            "track-sender: \"a@client.example\"",
            "track-recipient: Some(\"b@basin.example\")",
            "submit: read-only",
        ]
    );
    assert_eq!(about_track("track").run().lines().len(), 1);
    for script in ["track-sender", "track-recipient"] {
        let outcome = about_track(script).all_grants_but(Grant::ReadEnvelope).run();
        assert_eq!(outcome.failed().kind, FailureKind::Denied, "{script}");
    }
}

#[test]
fn a_timer_sets_values_and_sends_mail_and_nothing_else() {
    let script = "state-set|k|v|0\nsubmit||x@a.example|Subject|digest|text";
    let outcome = probe(script).all_grants().at(EventKind::OnTimer).run();
    assert!(outcome.lines().iter().all(|line| line.contains("ok")), "{:?}", outcome.lines());
    assert_eq!((outcome.answered().1.submissions.len(), outcome.answered().1.tables.is_empty()), (1, false));
}
