//! What verdicts do to a message that is accepted, and how several sinks get on with each other.

use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::{self, PATIENCE};

use crate::{HELLO, Outcome, SENDER, Script, USER};

fn logged(server: &TestServer, words: &str) -> bool {
    wait::until_true(PATIENCE, || server.log().contains(words))
}

/// The id in the first line of `queue list` that names the user.
fn queued(server: &TestServer) -> Option<String> {
    wait::until(PATIENCE, || {
        let list = server.basin_ok(&["queue", "list"]).ok()?;
        let line = list.lines().find(|line| line.contains(USER))?.to_owned();
        line.split_whitespace().next().map(str::to_owned)
    })
}

#[test]
fn hold_keeps_the_message_until_it_is_released() -> Outcome {
    for event in ["on-end-of-data", "on-submission"] {
        let server = Script::new(event, "hold for a look").server()?;
        server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
        let id = queued(&server).expect("the message is in the queue");
        assert!(server.basin_ok(&["queue", "show", &id])?.contains("for a look"), "the reason is shown");
        assert!(server.basin_ok(&["queue", "cat", &id])?.contains("Subject: hello"));
        assert!(server.maildir("user").names()?.is_empty());
        server.basin_ok(&["queue", "release", &id])?;
        server.maildir("user").wait_for(1, PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_held_message_can_be_deleted_and_survives_a_restart() -> Outcome {
    let mut server = Script::new("on-end-of-data", "hold for a look").server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let id = queued(&server).expect("the message is in the queue");
    server.kill()?;
    server.launch()?;
    assert_eq!(queued(&server).as_deref(), Some(id.as_str()));
    server.basin_ok(&["queue", "delete", &id])?;
    assert!(wait::until_true(PATIENCE, || server.basin_ok(&["queue", "list"]).is_ok_and(|list| !list.contains(&id))));
    assert!(server.maildir("user").names()?.is_empty());
    Ok(())
}

#[test]
fn discard_accepts_and_delivers_nothing() -> Outcome {
    for event in ["on-end-of-data", "on-submission"] {
        let mut script = Script::new(event, "discard");
        let binding = format!("{event}:rcpt to={USER}");
        script.binding = &binding;
        let server = script.server()?;
        let mut client = server.client()?;
        client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
        client.deliver(SENDER, &["alice@basin.example"], HELLO)?.require(250)?;
        // The second message went the same way behind the first.
        server.maildir("alice").wait_for(1, PATIENCE)?;
        assert!(server.maildir("user").names()?.is_empty());
    }
    Ok(())
}

#[test]
fn edits_of_both_message_events_arrive() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    let first =
        Script::new("on-end-of-data", "header X-First=1 ; property shared.seen=yes ; sender new@client.example");
    first.register(&server)?;
    let second = Script::new("on-submission", "show shared.seen ; header X-Second=2 ; add alice@basin.example");
    Script { name: "second", ..second }.register(&server)?;
    server.launch()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    for mailbox in ["user", "alice"] {
        let mails = server.maildir(mailbox).wait_for(1, PATIENCE)?;
        let mail = mails.first().expect("one message");
        assert_eq!(mail.header("X-First").as_deref(), Some("1"), "{mailbox}");
        assert_eq!(mail.header("X-Second").as_deref(), Some("2"), "{mailbox}");
        assert_eq!(mail.header("Return-Path").as_deref(), Some("<new@client.example>"), "{mailbox}");
    }
    assert!(logged(&server, "shared.seen is yes"), "properties live on after acceptance:\n{}", server.log());
    Ok(())
}

#[test]
fn on_submission_refuse_notifies_the_sender() -> Outcome {
    let server = Script::new("on-submission:mail from=bob@*", "refuse 550 5.7.1 we do not want it").server()?;
    server.client()?.deliver("bob@basin.example", &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("bob").wait_for(1, PATIENCE)?;
    let mail = mails.first().expect("a notification");
    let text = String::from_utf8_lossy(&mail.octets).into_owned();
    assert_eq!(mail.header("Return-Path").as_deref(), Some("<>"), "RFC 5321 §4.5.5");
    assert!(mail.header("Content-Type").is_some_and(|kind| kind.contains("multipart/report")), "{text}");
    for part in
        ["message/delivery-status", "Final-Recipient: rfc822;", "Action: failed", "Status: 5.7.1", "we do not want it"]
    {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert!(server.maildir("user").names()?.is_empty());
    Ok(())
}

#[test]
fn nobody_is_notified_of_a_notification() -> Outcome {
    let server = Script::new("on-submission:mail from=<>", "refuse 550 5.7.1 no").server()?;
    let mut client = server.client()?;
    client.deliver("", &[USER], HELLO)?.require(250)?;
    client.deliver(SENDER, &["alice@basin.example"], HELLO)?.require(250)?;
    server.maildir("alice").wait_for(1, PATIENCE)?;
    assert!(wait::until_true(PATIENCE, || server
        .metrics()
        .is_ok_and(|all| all.total("basin_spool_messages") == Some(0.0))));
    for mailbox in ["user", "postmaster"] {
        assert!(server.maildir(mailbox).names()?.is_empty(), "{mailbox}");
    }
    Ok(())
}

#[test]
fn on_submission_defer_raises_the_event_again_later() -> Outcome {
    let server = Script::new("on-submission", "header X-Tried=1 ; defer 451 4.3.0 in a second").server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    let tried = mails.first().map(|mail| mail.headers("X-Tried").len());
    assert_eq!(tried, Some(1), "the edits of the deferred chain are gone, those of the second stay");
    Ok(())
}

#[test]
fn what_a_sink_puts_off_is_shown_with_the_sink_the_event_and_the_time() -> Outcome {
    for (event, steps, reply) in [
        ("on-submission", "panic on purpose", "451 4.3.0 a filter of this server is out of order"),
        ("on-pre-categorize", "panic on purpose", "451 4.3.0 a filter of this server is out of order"),
        ("on-categorize", "defer 451 4.7.1 not before noon", "451 4.7.1 not before noon"),
    ] {
        let server = Script::new(event, steps).server()?;
        server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
        let id = queued(&server).expect("the message is in the queue");
        let show = || server.basin_ok(&["queue", "show", &id]).ok();
        let wanted = [reply, &format!(" at {event}"), "by sink "];
        let is_shown = |shown: &String| wanted.iter().all(|word| shown.contains(word));
        assert!(wait::until(PATIENCE, || show().filter(is_shown)).is_some(), "{event}: {:?}", show());
        let (shown, list) = (show().unwrap_or_default(), server.basin_ok(&["queue", "list"])?);
        let tries = shown.lines().find(|line| line.starts_with("tries"));
        assert!(
            tries.is_some_and(|line| !line.ends_with(" 0")) && is_shown(&list.replace("(says sink", "by sink ")),
            "{shown}{list}"
        );
        let json = server.basin_ok(&["queue", "show", "--json", &id])?;
        let text = reply.splitn(3, ' ').last().unwrap_or_default();
        assert!(json.contains(event) && json.contains("\"scripted") && json.contains(text), "{json}");
    }
    Ok(())
}

#[test]
fn a_failure_after_acceptance_follows_the_policy() -> Outcome {
    let mut script = Script::new("on-submission", "header X-Gone=1 ; panic on purpose");
    let more = ["--on-failure", "skip"];
    script.more = &more;
    let server = script.server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    assert_eq!(mails.first().and_then(|mail| mail.header("X-Gone")), None);
    let more = ["--on-failure", "hold"];
    script.more = &more;
    let server = script.server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    assert!(queued(&server).is_some());
    assert!(server.maildir("user").names()?.is_empty());
    Ok(())
}

#[test]
fn bad_mail_is_set_aside() -> Outcome {
    let server = Script::new("on-submission", "bad-mail it smells").server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let id = queued(&server).expect("it is kept for a person to look at");
    assert!(server.basin_ok(&["queue", "show", &id])?.contains("it smells"));
    Ok(())
}

#[test]
fn notices_are_raised_for_refusals_and_for_the_end() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    Script::new("on-reject", "count rejects").register(&server)?;
    Script { name: "second", ..Script::new("on-disconnect", "count ends") }.register(&server)?;
    server.launch()?;
    let mut client = server.client()?;
    client.command("FLY me to the moon")?.require(500)?;
    assert!(logged(&server, "rejected FLY me to the moon with 500"), "{}", server.log());
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command("RCPT TO:<nobody@basin.example>")?.require(550)?;
    assert!(logged(&server, "rejected RCPT TO:<nobody@basin.example> with 550"), "{}", server.log());
    client.quit()?;
    assert!(logged(&server, "ended by quit"), "{}", server.log());
    drop(server.client()?);
    assert!(logged(&server, "ended by dropped"), "{}", server.log());
    Ok(())
}

#[test]
fn sinks_run_in_the_order_of_their_priorities_and_see_each_others_edits() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    for (name, priority) in [("late", "30000"), ("early", "100"), ("middle", "20000")] {
        let steps = format!("header X-Order={name}");
        let more = ["--priority", priority];
        Script { name, more: &more, ..Script::new("on-end-of-data", &steps) }.register(&server)?;
    }
    server.launch()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    assert_eq!(
        mails.first().map(|mail| mail.headers("X-Order")),
        Some(["early", "middle", "late"].map(str::to_owned).to_vec())
    );
    Ok(())
}

#[test]
fn skip_remaining_ends_the_chain_with_success() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    Script { more: &["--priority", "1"], ..Script::new("on-end-of-data", "header X-A=1 ; skip-remaining") }
        .register(&server)?;
    Script { name: "second", ..Script::new("on-end-of-data", "refuse 550 5.7.1 never asked") }.register(&server)?;
    server.launch()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    assert_eq!(mails.first().and_then(|mail| mail.header("X-A")).as_deref(), Some("1"));
    Ok(())
}

#[test]
fn an_observer_changes_nothing_whatever_it_says() -> Outcome {
    for steps in ["log looked ; refuse 550 5.7.1 no", "log looked ; panic on purpose"] {
        let script = Script { more: &["--mode", "observe"], ..Script::new("on-end-of-data", steps) };
        let server = script.server()?;
        server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
        server.maildir("user").wait_for(1, PATIENCE)?;
        assert!(logged(&server, "looked"), "{steps}:\n{}", server.log());
    }
    Ok(())
}

#[test]
fn rules_and_the_maximum_of_firings_select_the_messages() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    let rule = "on-end-of-data:mail from=*@client.example;rcpt to=user@*;size>10";
    Script::new(rule, "header X-Rule=1").register(&server)?;
    let more = ["--max-firings", "1"];
    Script { name: "second", more: &more, ..Script::new("on-end-of-data", "header X-Once=1") }.register(&server)?;
    server.launch()?;
    let mut client = server.client()?;
    client.deliver("sender@other.example", &[USER], HELLO)?.require(250)?;
    client.deliver(SENDER, &["alice@basin.example"], HELLO)?.require(250)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mut mails = server.maildir("user").wait_for(2, PATIENCE)?;
    mails.extend(server.maildir("alice").wait_for(1, PATIENCE)?);
    let count = |field: &str| mails.iter().filter(|mail| mail.header(field).is_some()).count();
    assert_eq!((count("X-Rule"), count("X-Once")), (1, 1));
    Ok(())
}
