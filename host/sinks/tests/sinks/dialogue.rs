//! The dialogue with other servers: what a sink sees of it, changes in it and says to it.

use basin_core::event::{EventKind, FailureKind, Grant, OutState, Verdict};
use basin_core::reply::Reply;

use crate::scenes::{answered, before};
use crate::stage::Outcome;

const BEFORE: [(EventKind, &str); 5] = [
    (EventKind::OnSessionStart, "EHLO basin.example"),
    (EventKind::OnMessageStart, "MAIL FROM:<a@client.example>"),
    (EventKind::OnPerRecipient, "RCPT TO:<c@Basin.Example>"),
    (EventKind::OnBeforeData, "DATA"),
    (EventKind::OnSessionEnd, "QUIT"),
];

fn verdict(outcome: &Outcome) -> &Verdict {
    outcome.answered().0
}

fn fails_by_verdict(outcome: &Outcome, word: &str) {
    let failure = outcome.failed();
    assert_eq!(failure.kind, FailureKind::Verdict, "{failure:?}");
    assert!(failure.detail.contains(word), "{failure:?}");
}

#[test]
fn every_event_before_a_command_shows_session_command_and_previous_reply() {
    for (event, line) in BEFORE {
        let script = "out-session\nout-keyword\nout-line\nnative-line\nprevious-reply";
        let outcome = before(event, line, script).grants(&[Grant::ReadEnvelope]).run();
        assert_eq!(*verdict(&outcome), Verdict::Next, "{event}");
        let verb = line.split(' ').next().unwrap_or_default();
        assert_eq!(
            outcome.lines(),
            [
                "out-session: ((\"o1\", \"mx.next.example\", \"192.0.2.9\", 0), (2, \"mx.next.example ESMTP\", \
                 [\"SIZE 1000\", \"DSN\"], Some(\"TLSv1.3\")))",
                &format!("out-keyword: {verb:?}"),
                &format!("out-line: {line:?}"),
                &format!("native-line: {line:?}"),
                "previous-reply: Some((334, [\"go on\"]))",
            ],
            "{event}"
        );
        for script in ["out-line", "native-line"] {
            let outcome = before(event, line, script).all_grants_but(Grant::ReadEnvelope).run();
            assert_eq!(outcome.failed().kind, FailureKind::Denied, "{script} shows addresses");
        }
    }
}

#[test]
fn the_message_is_here_and_only_read() {
    let script = "recipients\nread-body|0|100\nthis-recipient\nset-property|k|v\nadd-header|X|y\nset-sender|x@a.example\n\
                  replace-body|x\nthis-fail|550 5.1.1 no\nfork|1\nset-priority|1\nsubmit||x@a.example";
    let outcome = before(EventKind::OnPerRecipient, "RCPT TO:<c@Basin.Example>", script).all_grants().run();
    let lines = outcome.lines();
    assert_eq!(lines[0], "recipients: [\"b@basin.example\", \"c@Basin.Example\"]");
    assert_eq!(lines[1], "read-body: ok \"hello\\r\\nworld\\r\\n\"");
    assert_eq!(lines[2], "this-recipient: (1, \"c@Basin.Example\", \"pending\")");
    assert_eq!(lines[3], "set-property: ok ()");
    assert!(lines[4..].iter().all(|line| line.ends_with("read-only")), "{lines:?}");
}

#[test]
fn a_session_has_a_bag_of_its_own() {
    let script = "set-out-property|k|v\nout-property|k\nout-property|other";
    let outcome = before(EventKind::OnSessionStart, "EHLO basin.example", script).run();
    assert_eq!(outcome.lines(), ["set-out-property: ok ()", "out-property: Some(\"v\")", "out-property: None"]);
    assert!(!outcome.answered().1.session_bag.is_empty());
    let outcome = before(EventKind::OnSessionStart, "EHLO basin.example", "set-out-property|k|v").read_only().run();
    assert_eq!(outcome.lines(), ["set-out-property: read-only"]);
}

#[test]
fn a_command_is_changed_with_the_grant_and_keeps_its_verb() {
    let mail = |script: &str| before(EventKind::OnMessageStart, "MAIL FROM:<a@client.example>", script);
    let outcome = mail("set-line|MAIL FROM:<b@client.example>\nappend-parameter|RET=HDRS\nout-line").all_grants().run();
    assert_eq!(outcome.lines()[2], "out-line: \"MAIL FROM:<b@client.example> RET=HDRS\"");
    let command = outcome.answered().1.out_command.as_ref().expect("a command");
    assert_eq!(command.line(), "MAIL FROM:<b@client.example> RET=HDRS");
    for script in [
        "set-line|RSET",
        "set-line|MAIL FROM:<b@a>~RCPT TO:<x@a>",
        "append-parameter|BY=1;R",
        "append-parameter|RET=HDRS RET=FULL",
        "append-parameter|SIZE",
    ] {
        let outcome = mail(&format!("{script}\nout-line")).all_grants().run();
        let is_kept = outcome.lines()[1] == "out-line: \"MAIL FROM:<a@client.example>\"";
        assert!(script.ends_with("SIZE") || outcome.lines()[0].contains("invalid") && is_kept, "{:?}", outcome.lines());
    }
    for script in ["set-line|MAIL FROM:<b@a>", "append-parameter|RET=HDRS"] {
        let outcome = mail(script).all_grants_but(Grant::Outbound).run();
        assert!(outcome.lines()[0].contains("denied") && outcome.report.usage.denied == 1, "{script}");
        let outcome = mail(script).all_grants().read_only().run();
        assert!(outcome.lines()[0].ends_with("read-only"), "{script}");
    }
}

#[test]
fn every_verdict_but_next_takes_the_grant() {
    let rcpt = |said: &str| before(EventKind::OnPerRecipient, "RCPT TO:<c@Basin.Example>", "").verdict(said);
    let reply = |code| Reply::with(code, 7, 1, "not now");
    for (said, verdict_said) in [
        ("skip-remaining", Verdict::SkipRemaining),
        ("send-first XHELLO you", Verdict::SendFirst("XHELLO you".into())),
        ("send-blob octets", Verdict::SendBlob(b"octets".to_vec())),
        ("skip-recipient 450 4.7.1 not now", Verdict::SkipRecipient(reply(450))),
        ("skip-message 550 5.7.1 not now", Verdict::SkipMessage(reply(550))),
    ] {
        let outcome = rcpt(said).all_grants().run();
        assert_eq!(*verdict(&outcome), verdict_said);
        fails_by_verdict(&rcpt(said).all_grants_but(Grant::Outbound).run(), "--grant outbound");
    }
    assert!(
        matches!(verdict(&rcpt("drop-session").all_grants().run()), Verdict::DropSession(reply) if reply.code() == 451)
    );
    fails_by_verdict(&rcpt("drop-session").all_grants_but(Grant::Outbound).run(), "--grant outbound");
    fails_by_verdict(&rcpt("skip-remaining").all_grants_but(Grant::EndChain).run(), "--grant end-chain");
    fails_by_verdict(&rcpt("skip-recipient 250 2.0.0 fine").all_grants().run(), "does not fit");
    let start = before(EventKind::OnSessionStart, "EHLO basin.example", "").verdict("skip-message 450 4.7.1 no");
    fails_by_verdict(&start.all_grants().run(), "does not know that");
    let outcome = rcpt("skip-recipient 450 4.7.1 my words").all_grants_but(Grant::Reply).run();
    assert!(!format!("{:?}", verdict(&outcome)).contains("my words"), "the server's words without the grant `reply`");
}

#[test]
fn a_reply_of_another_server_is_seen_and_judged_otherwise() {
    let script = "heard\nresponse-line\nthis-recipient\nsender";
    let outcome = answered(501, script).grants(&[Grant::ReadEnvelope]).run();
    assert_eq!(
        outcome.lines()[..3],
        [
            "heard: (\"RCPT\", 501, true)",
            "response-line: \"RCPT TO:<b@basin.example>\"",
            "this-recipient: (1, \"c@Basin.Example\", \"pending\")",
        ]
    );
    let outcome = answered(501, "response-line").all_grants_but(Grant::ReadEnvelope).run();
    assert_eq!(outcome.failed().kind, FailureKind::Denied);
    let of = |said: &str| answered(501, "").verdict(said);
    let treated = Verdict::TreatAs(Reply::with(451, 3, 0, "busy"));
    assert_eq!(*verdict(&of("treat-as 451 4.3.0 busy").all_grants().run()), treated);
    assert_eq!(*verdict(&of("change-state").all_grants().run()), Verdict::ChangeState(OutState::MessageStart));
    for said in ["treat-as 451 4.3.0 busy", "change-state", "drop-session", "skip-remaining"] {
        fails_by_verdict(&of(said).all_grants_but(Grant::Outbound).run(), "--grant outbound");
    }
}
