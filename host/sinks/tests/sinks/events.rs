//! The six events that this version raises: their arguments, their verdicts, and what the reply becomes.

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
fn an_event_that_the_component_lacks_or_that_is_not_raised_is_a_clear_failure() {
    let outcome = call("noop").at(EventKind::OnConnect).run();
    assert_eq!(outcome.failed().kind, FailureKind::Load);
    assert!(outcome.failed().detail.contains("does not export on-connect"));
    let outcome = call("every_event").at(EventKind::OnRoute).run();
    assert_eq!(outcome.failed().kind, FailureKind::Host);
    assert!(outcome.failed().detail.contains("does not raise on-route"));
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
    let outcome = probe("").verdict("await-input 334 - go").all_grants().command("XHELLO").run();
    assert_eq!(outcome.failed().kind, FailureKind::Verdict);
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
