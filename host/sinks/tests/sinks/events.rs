//! The events that this version raises: their arguments, their verdicts, and what the reply becomes.

use basin_core::event::{EventKind, FailureKind, Grant, Verdict};
use basin_core::reply::Reply;

use crate::stage::{call, component, probe};

#[test]
fn every_raised_event_is_called_and_answers_next() {
    for event in [EventKind::OnConnect, EventKind::OnEndOfData, EventKind::OnReject, EventKind::OnDisconnect] {
        assert_eq!(probe("binding").at(event).run().answered().0, &Verdict::Next, "{event}");
    }
    assert_eq!(probe("").at(EventKind::OnSubmission).run().answered().0, &Verdict::Next);
    assert_eq!(probe("keyword").command("MAIL FROM:<>").run().answered().0, &Verdict::Next);
    let outcome = probe("session-end").at(EventKind::OnDisconnect).run();
    assert_eq!(outcome.lines(), ["session-end: Some(\"quit\")"]);
    let outcome = probe("").at(EventKind::OnReject).run();
    assert_eq!(outcome.lines(), ["rejected: FOO bar"]);
}

#[test]
fn an_event_that_the_component_lacks_is_a_clear_failure() {
    let outcome = call("noop").at(EventKind::OnConnect).run();
    assert_eq!(outcome.failed().kind, FailureKind::Load);
    assert!(outcome.failed().detail.contains("does not export on-connect"));
}

#[test]
fn verdicts_come_with_their_replies() {
    let verdict = |said: &str| probe("").verdict(said).all_grants().run().answered().0.clone();
    assert_eq!(verdict("refuse 550 5.7.1 no"), Verdict::Refuse(Reply::with(550, 7, 1, "no")));
    assert_eq!(verdict("drop-session 421 - go"), Verdict::DropSession(Reply::new(421, None, "go")));
    assert_eq!(verdict("discard"), Verdict::Discard);
    assert_eq!(verdict("hold look\u{1b}"), Verdict::Hold("look\\u{1b}".into()));
    assert_eq!(verdict("skip-remaining"), Verdict::SkipRemaining);
    let verdict = |said: &str| {
        let outcome = probe("").verdict(said).all_grants().at(EventKind::OnSubmission).run();
        outcome.answered().0.clone()
    };
    assert_eq!(verdict("bad-mail junk"), Verdict::BadMail("junk".into()));
    let Verdict::Defer(later) = verdict("defer 451 4.7.1 later") else { panic!("deferred") };
    assert_eq!((later.reply.code(), later.after.as_secs()), (451, 1), "0 seconds become 1");
}

#[test]
fn a_verdict_that_is_not_allowed_is_a_failure() {
    for (said, says) in [
        ("refuse 250 - no", "does not fit"),
        ("refuse 99 - no", "200 to 599"),
        ("refuse 550 4.7.1 no", "5.7.1"),
        ("refuse 550 x no", "5.7.1"),
        ("drop-session 451 - no", "does not fit"),
    ] {
        let outcome = probe("").verdict(said).all_grants().run();
        assert_eq!(outcome.failed().kind, FailureKind::Verdict, "{said}");
        assert!(outcome.failed().detail.contains(says), "{said}: {}", outcome.failed().detail);
    }
    for (said, grant) in [("discard", Grant::Discard), ("skip-remaining", Grant::EndChain)] {
        let outcome = probe("").verdict(said).all_grants_but(grant).run();
        assert!(outcome.failed().detail.contains(&format!("--grant {grant}")), "{}", outcome.failed().detail);
    }
}

#[test]
fn consuming_a_standard_verb_takes_the_grant_and_an_own_one_does_not() {
    let consume = |line: &str| probe("").verdict("consume 250 - hi").command(line);
    let outcome = consume("MAIL FROM:<>").all_grants_but(Grant::EndChain).run();
    assert_eq!(outcome.failed().kind, FailureKind::Verdict);
    assert_eq!(consume("MAIL FROM:<>").all_grants().run().answered().0.word(), "consume");
    let own = consume("XHELLO").grants(&[Grant::Reply]).run();
    assert_eq!(own.answered().0, &Verdict::Consume(Reply::new(250, None, "hi")));
}

#[test]
fn without_the_grant_reply_the_client_gets_the_servers_words() {
    let outcome = probe("").verdict("refuse 521 5.7.1 secret words").run();
    let Verdict::Refuse(reply) = outcome.answered().0 else { panic!("refused") };
    assert_eq!((reply.code(), reply.to_string().contains("secret")), (554, false));
}

#[test]
fn what_a_sink_adds_to_the_answer_is_in_the_overlay() {
    let script = "append-response|XHELLO\nresponse\nset-response|251 - better\nresponse\ndelay-response|1500\nset-protocol-error";
    let outcome = probe(script).grants(&[Grant::Reply]).command("EHLO client.example").native(250, "mx").run();
    let (_, overlay) = outcome.answered();
    assert_eq!(overlay.appended, ["XHELLO"]);
    assert_eq!(overlay.response, Some(Reply::new(251, None, "better")));
    assert_eq!((overlay.delay.as_millis(), overlay.is_protocol_error), (1_500, true));
    assert_eq!(outcome.lines()[1], "response: Some((250, [\"mx\", \"XHELLO\"]))");
    assert_eq!(outcome.lines()[3], "response: Some((251, [\"better\", \"XHELLO\"]))");
    let outcome = probe("delay-response|30001").grants(&[Grant::Reply]).command("EHLO x").run();
    assert!(outcome.lines()[0].contains("limit"), "{:?}", outcome.lines());
    let outcome = probe("append-response|x").grants(&[Grant::Reply]).at(EventKind::OnSubmission).run();
    assert_eq!(outcome.lines(), ["append-response: not-found"], "nobody waits for an answer");
}

#[test]
fn the_command_is_rewritten_before_the_server_acts() {
    let script = "set-path|z@a.example\npath\nset-command-parameter|ret|HDRS\ncommand-parameter|RET";
    let outcome = probe(script).all_grants().command("MAIL FROM:<a@client.example>").run();
    assert_eq!(outcome.lines()[1], "path: Some(\"z@a.example\")");
    assert_eq!(outcome.lines()[3], "command-parameter: Some(\"HDRS\")");
    let command = outcome.answered().1.command.clone().expect("a command");
    assert_eq!(command.path.as_deref(), Some("z@a.example"));
    let outcome = probe("set-path|z@a.example\nset-command-parameter|A|b").all_grants().command("NOOP").run();
    assert_eq!(outcome.lines(), ["set-path: not-found", "set-command-parameter: not-found"]);
    let outcome = probe("set-path|").all_grants().command("RCPT TO:<b@basin.example>").run();
    assert!(outcome.lines()[0].contains("invalid"), "only MAIL knows the null path");
}

#[test]
fn the_banner_is_replaced_at_connect() {
    let outcome = probe("set-banner|welcome").grants(&[Grant::Reply]).at(EventKind::OnConnect).run();
    assert_eq!(outcome.answered().1.banner.as_deref(), Some("welcome"));
}

#[test]
fn the_usage_of_a_call_is_reported() {
    let usage = probe("grow|100000\nkeyword").command("NOOP").run().report.usage;
    assert!(usage.fuel > 100_000 && usage.memory >= 100_000 && usage.host_calls >= 4, "{usage:?}");
    assert!(usage.own <= usage.wall && usage.instantiate <= usage.own && !usage.own.is_zero(), "{usage:?}");
    assert!(component("probe").compile_time() > core::time::Duration::ZERO);
}

#[test]
fn a_dialogue_begins_with_a_verdict_and_goes_on_with_the_input() {
    let asks = |said: &str| probe("").verdict(said).grants(&[Grant::Reply]).command("XHELLO").run();
    assert_eq!(asks("await-input 334 - go").answered().0, &Verdict::AwaitInput(Reply::new(334, None, "go")));
    let octets = Verdict::AwaitOctets(Reply::new(354, None, "go on"), 5);
    assert_eq!(asks("await-octets 5").answered().0, &octets);
    assert!(asks("await-octets 1048577").failed().detail.contains("1 to 1048576"));
    let outcome =
        probe("keyword").verdict("await-input 334 - more").grants(&[Grant::Reply]).input("XHELLO", b"a\0b").run();
    assert_eq!(outcome.lines(), ["input: a\\u{0}b", "keyword: \"XHELLO\""], "the log escapes, the sink gets octets");
    assert_eq!(outcome.answered().0, &Verdict::AwaitInput(Reply::new(334, None, "more")));
    let deaf = call("trap").at(EventKind::OnInboundInput).run();
    assert!(deaf.failed().detail.contains("does not export on-inbound-input"));
}

#[test]
fn a_mechanism_of_auth_says_who_the_client_is() {
    let script = "set-authenticated|ann@basin.example|xmech\nset-authenticated||X\nset-authenticated|a|X Y";
    let run = |call: crate::stage::Call| call.verdict("consume 235 2.7.0 welcome").all_grants().run();
    let outcome = run(probe(script).input("AUTH XMECH", b"c2VjcmV0"));
    let authenticated = outcome.answered().1.authenticated.clone().expect("somebody");
    assert_eq!((authenticated.user.as_str(), authenticated.mechanism.as_str()), ("ann@basin.example", "XMECH"));
    assert!(outcome.lines()[2].contains("invalid a user has"), "{:?}", outcome.lines());
    assert!(outcome.lines()[3].contains("invalid a mechanism has"), "{:?}", outcome.lines());
    let outcome = run(probe("set-authenticated|a|X").command("NOOP"));
    assert_eq!(outcome.lines(), ["set-authenticated: read-only"], "only of AUTH");
    let outcome = probe("set-authenticated|a|X").all_grants_but(Grant::Authenticate).command("AUTH X").run();
    assert!(outcome.lines()[0].contains("denied needs the grant authenticate"), "{:?}", outcome.lines());
    assert!(outcome.answered().1.authenticated.is_none());
}

#[test]
fn what_tls_and_auth_came_to_is_known_to_all() {
    let known = "(Some(\"client.example\"), (Some(\"TLSv1.3\"), Some(\"TLS_AES_128_GCM_SHA256\"), Some(\"CN=ann\")), \
                 (Some(\"ann\"), Some(\"PLAIN\")))";
    let outcome = probe("vouched").at(EventKind::OnAuthenticated).vouched().run();
    assert_eq!(outcome.lines(), [format!("vouched: {known}")]);
    let outcome = probe("message-vouched").at(EventKind::OnSubmission).vouched().run();
    assert_eq!(
        outcome.lines(),
        ["message-vouched: (Some(\"ann\"), Some(\"PLAIN\"), Some(\"TLSv1.3\"), Some(\"TLS_AES_128_GCM_SHA256\"))"]
    );
    let outcome = probe("").at(EventKind::OnAuthenticated).verdict("consume 235 - x").all_grants().run();
    assert!(outcome.failed().detail.contains("on-authenticated, which does not know that"));
    let outcome = probe("").at(EventKind::OnAuthenticated).verdict("refuse 535 5.7.8 no").grants(&[Grant::Reply]).run();
    assert_eq!(outcome.answered().0, &Verdict::Refuse(Reply::with(535, 7, 8, "no")));
}

#[test]
fn at_the_end_of_headers_the_block_can_be_edited_and_the_content_cannot_be_read() {
    let script = "add-header|X-Seen|yes\nheader|Subject\nset-sender|x@a.example\nread|0|10\nread-body|0|10\nreplace-body|x\n\
                  set-property|k|v";
    let mut early = crate::stage::plain();
    early.body = basin_core::mail::Body::from_bytes("");
    let outcome = probe(script).all_grants().at(EventKind::OnEndOfHeaders).message(early).run();
    let lines = outcome.lines();
    assert_eq!((lines[0], lines[2], lines[5]), ("add-header: ok ()", "set-sender: ok ()", "replace-body: read-only"));
    assert!(lines[3].contains("unavailable") && lines[4].contains("unavailable"), "{lines:?}");
    assert!(outcome.header().starts_with("X-Seen: yes|"), "{}", outcome.header());
    let outcome = probe("").verdict("hold look").at(EventKind::OnEndOfHeaders).run();
    assert_eq!(outcome.answered().0, &Verdict::Hold("look".into()));
}

#[test]
fn before_the_header_block_is_here_the_envelope_alone_can_be_changed() {
    let outcome = probe("add-header|X|y\nset-sender|x@a.example").all_grants().command("DATA").run();
    assert_eq!(outcome.lines(), ["add-header: read-only", "set-sender: ok ()"]);
    let outcome = probe("add-header|X|y\nset-sender|x@a.example").all_grants().input("DATA", b"x").run();
    assert_eq!(outcome.lines()[1..], ["add-header: read-only", "set-sender: ok ()"]);
}

#[test]
fn the_limit_of_the_size_is_waived_with_a_grant_and_the_message_is_read_only() {
    let script = "size\nset-sender|x@a.example\nadd-header|X|y\nset-property|k|v";
    let outcome = probe(script).all_grants().verdict("waive-up-to 900").oversize(500, 800).run();
    assert_eq!(outcome.answered().0, &Verdict::WaiveUpTo(900));
    let lines = outcome.lines();
    assert_eq!(lines[0], "limit: 500");
    assert!(lines[1].starts_with("size: (800, "), "what the client announced: {lines:?}");
    let rest = ["set-sender: read-only", "add-header: read-only", "set-property: ok ()"];
    assert_eq!(lines[2..], rest, "properties can be set at every question");
    let outcome = probe("").verdict("waive-up-to 900").oversize(500, 800).run();
    assert!(outcome.failed().detail.contains("--grant accept-recipients"), "{}", outcome.failed().detail);
}

#[test]
fn recipients_are_judged_one_by_one_before_the_message_is_accepted() {
    let script = "rcpt-fail|0|550 5.1.1 nobody\nrcpt-defer|1|451 4.7.1 later\nrcpt|0\nrcpt-fail|1|450 4.1.1 no";
    for event in [EventKind::OnEndOfData, EventKind::OnEndOfHeaders] {
        let outcome = probe(script).all_grants().at(event).run();
        let words: Vec<_> = outcome.edited().envelope.recipients.iter().map(|one| one.outcome.word()).collect();
        assert_eq!(words, ["failed", "deferred"], "{event}");
        assert!(outcome.lines()[3].contains("invalid"), "a 4yz does not fail a recipient: {:?}", outcome.lines());
    }
    let outcome = probe("rcpt-hold|0|look").all_grants().run();
    assert_eq!(outcome.edited().envelope.recipients[0].outcome.word(), "held");
    let outcome = probe("rcpt-fail|0|550 5.1.1 nobody").all_grants().oversize(1, 2).run();
    assert_eq!(outcome.lines()[1..], ["rcpt-fail: read-only"]);
}
