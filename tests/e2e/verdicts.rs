//! What each verdict before acceptance does to the client and to the mail.

use std::time::{Duration, Instant};

use basin_tests::client::Client;
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::{self, PATIENCE};

use crate::{HELLO, Outcome, SENDER, Script, USER};

fn banner(server: &TestServer) -> std::io::Result<(Client, basin_tests::client::Reply)> {
    let mut client = Client::connect(server.smtp())?;
    let reply = client.reply()?;
    Ok((client, reply))
}

#[test]
fn on_connect_refuse_answers_in_place_of_the_banner_and_closes() -> Outcome {
    for code in [554, 421] {
        let steps = format!("refuse {code} {}.7.1 not today", code / 100);
        let server = Script::new("on-connect", &steps).server()?;
        let (mut client, reply) = banner(&server)?;
        // Nothing before EHLO carries an enhanced code (RFC 2034 §4).
        assert_eq!(reply.wire(), format!("{code} not today"));
        client.closed()?;
    }
    Ok(())
}

#[test]
fn on_connect_can_change_the_banner() -> Outcome {
    let server = Script::new("on-connect", "banner glad to see you").server()?;
    let (_, reply) = banner(&server)?;
    assert_eq!(reply.code, 220);
    assert!(reply.says("mx.basin.example") && reply.says("glad to see you"), "{}", reply.wire());
    Ok(())
}

#[test]
fn on_connect_failure_is_421_by_default_and_by_policy_otherwise() -> Outcome {
    for (policy, code) in [("defer", 421), ("refuse", 554), ("skip", 220)] {
        let mut script = Script::new("on-connect", "panic on purpose");
        let more = ["--on-failure", policy];
        script.more = &more;
        let (_, reply) = banner(&script.server()?)?;
        assert_eq!(reply.code, code, "{policy}: {}", reply.wire());
    }
    let mut script = Script::new("on-connect", "skip-remaining");
    script.grants = &[];
    let (_, reply) = banner(&script.server()?)?;
    assert_eq!(reply.code, 421, "a verdict without its grant is a failure: {}", reply.wire());
    Ok(())
}

#[test]
fn on_inbound_command_refuse_keeps_the_command_from_taking_effect() -> Outcome {
    let server = Script::new("on-inbound-command:verb=MAIL", "refuse 550 5.7.1 no mail from you").server()?;
    let mut client = server.client()?;
    let reply = client.command(&format!("MAIL FROM:<{SENDER}>"))?;
    assert_eq!(reply.wire(), "550 5.7.1 no mail from you");
    client.command(&format!("RCPT TO:<{USER}>"))?.require(503)?;
    let server =
        Script::new("on-inbound-command:verb=RCPT;rcpt to=alice@*", "refuse 450 4.2.0 alice is away").server()?;
    let mut client = server.client()?;
    client.send(
        format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<alice@basin.example>\r\nRCPT TO:<{USER}>\r\nDATA\r\n").as_bytes(),
    )?;
    client.expect(250)?;
    assert_eq!(client.reply()?.wire(), "450 4.2.0 alice is away");
    client.expect(250)?;
    client.expect(354)?;
    client.send(&basin_tests::client::stuffed(HELLO))?;
    client.expect(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    assert!(server.maildir("alice").names()?.is_empty());
    Ok(())
}

#[test]
fn on_inbound_command_drop_session_answers_and_closes() -> Outcome {
    let server = Script::new("on-inbound-command:verb=MAIL", "drop-session 421 4.7.0 go away").server()?;
    let mut client = server.client()?;
    assert_eq!(client.command(&format!("MAIL FROM:<{SENDER}>"))?.wire(), "421 4.7.0 go away");
    client.closed()
}

#[test]
fn on_inbound_command_consume_answers_a_verb_of_its_own() -> Outcome {
    let script = Script::new("on-inbound-command:verb=XHELLO", "consume 250 2.0.0 one|two");
    let server = script.server()?;
    let mut client = server.client()?;
    assert_eq!(client.command("XHELLO there")?.wire(), "250-2.0.0 one\r\n250 2.0.0 two");
    Ok(())
}

#[test]
fn on_inbound_command_consume_of_a_standard_verb_needs_a_grant() -> Outcome {
    let mut script = Script::new("on-inbound-command:verb=MAIL", "consume 250 2.0.0 nothing happened");
    script.grants = &["reply", "read-envelope"];
    let reply = script.server()?.client()?.command(&format!("MAIL FROM:<{SENDER}>"))?;
    assert_eq!(reply.code, 451, "{}", reply.wire());
    script.grants = crate::GRANTS;
    let server = script.server()?;
    let mut client = server.client()?;
    assert_eq!(client.command(&format!("MAIL FROM:<{SENDER}>"))?.wire(), "250 2.0.0 nothing happened");
    client.command(&format!("RCPT TO:<{USER}>"))?.require(503)?;
    Ok(())
}

#[test]
fn on_inbound_command_accept_overrules_policy_only_with_its_grant() -> Outcome {
    let mut script = Script::new("on-inbound-command:verb=RCPT", "accept");
    let server = script.server()?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command("RCPT TO:<friend@elsewhere.example>")?.require(250)?;
    client.command("DATA")?.require(354)?;
    client.send(&basin_tests::client::stuffed(HELLO))?;
    client.expect(250)?;
    let is_on_its_way = || server.log().contains("elsewhere.example");
    assert!(wait::until_true(PATIENCE, is_on_its_way), "mail for a foreign domain leaves:\n{}", server.log());
    script.grants = &["read-envelope"];
    let server = script.server()?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    let reply = client.command("RCPT TO:<friend@elsewhere.example>")?;
    assert_eq!(reply.code, 451, "a forbidden verdict is a failure: {}", reply.wire());
    Ok(())
}

#[test]
fn on_inbound_command_changes_the_reply() -> Outcome {
    let server = Script::new("on-inbound-command:verb=EHLO", "append XONE ; append XTWO 5").server()?;
    let reply = server.client()?.command("EHLO client.example")?;
    assert!(reply.lines.iter().any(|line| line == "XTWO 5"), "{}", reply.wire());
    let server = Script::new("on-inbound-command:verb=NOOP", "response 252 2.0.0 never better").server()?;
    assert_eq!(server.client()?.command("NOOP")?.wire(), "252 2.0.0 never better");
    let server = Script::new("on-inbound-command:verb=NOOP", "delay 400").server()?;
    let mut client = server.client()?;
    let start = Instant::now();
    client.command("NOOP")?.require(250)?;
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    Ok(())
}

#[test]
fn on_inbound_command_rewrites_paths() -> Outcome {
    let server = Script::new("on-inbound-command:verb=MAIL", "path other@client.example").server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    assert_eq!(mails.first().and_then(|mail| mail.header("Return-Path")).as_deref(), Some("<other@client.example>"));
    let server = Script::new("on-inbound-command:verb=RCPT", "path alice@basin.example").server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    server.maildir("alice").wait_for(1, PATIENCE)?;
    assert!(server.maildir("user").names()?.is_empty());
    Ok(())
}

#[test]
fn quit_rset_and_noop_work_whatever_a_sink_does() -> Outcome {
    let server = Script::new("on-inbound-command", "panic at everything").server()?;
    let mut client = Client::connect(server.smtp())?;
    client.expect(220)?;
    assert_eq!(client.command("EHLO client.example")?.code, 451);
    for verb in ["RSET", "NOOP"] {
        client.command(verb)?.require(250)?;
    }
    client.quit()
}

#[test]
fn on_end_of_data_refusals_reach_the_client_and_nothing_is_delivered() -> Outcome {
    let server = Script::new("on-end-of-data", "header X-Gone=1 ; refuse 550 5.7.1 no|thanks").server()?;
    let mut client = server.client()?;
    assert_eq!(client.deliver(SENDER, &[USER], HELLO)?.wire(), "550-5.7.1 no\r\n550 5.7.1 thanks");
    client.command("NOOP")?.require(250)?;
    let server_of_drop = Script::new("on-end-of-data", "drop-session 554 5.7.1 out").server()?;
    let mut client = server_of_drop.client()?;
    assert_eq!(client.deliver(SENDER, &[USER], HELLO)?.wire(), "554 5.7.1 out");
    client.closed()?;
    for server in [server, server_of_drop] {
        assert!(server.maildir("user").names()?.is_empty());
    }
    Ok(())
}

#[test]
fn on_end_of_data_failure_follows_the_policy() -> Outcome {
    for (policy, code) in [("defer", 451), ("refuse", 554), ("skip", 250), ("hold", 250)] {
        let mut script = Script::new("on-end-of-data", "header X-Gone=1 ; panic on purpose");
        let more = ["--on-failure", policy];
        script.more = &more;
        let server = script.server()?;
        let reply = server.client()?.deliver(SENDER, &[USER], HELLO)?;
        assert_eq!(reply.code, code, "{policy}: {}", reply.wire());
        if policy == "skip" {
            let mails = server.maildir("user").wait_for(1, PATIENCE)?;
            assert_eq!(mails.first().and_then(|mail| mail.header("X-Gone")), None, "a failed call leaves nothing");
        }
        if policy == "hold" {
            assert!(wait::until_true(PATIENCE, || server
                .basin_ok(&["queue", "list"])
                .is_ok_and(|list| list.contains(USER))));
            assert!(server.maildir("user").names()?.is_empty());
        }
    }
    Ok(())
}

#[test]
fn an_error_of_a_sink_and_a_forbidden_verdict_are_failures() -> Outcome {
    let reply =
        Script::new("on-end-of-data", "fail it is Monday").server()?.client()?.deliver(SENDER, &[USER], HELLO)?;
    assert_eq!(reply.code, 451, "{}", reply.wire());
    assert!(!reply.says("Monday"), "the sink's words are for the operator: {}", reply.wire());
    for steps in ["discard", "skip-remaining", "header X-A=1"] {
        let mut script = Script::new("on-end-of-data", steps);
        script.grants = &["read-headers"];
        let reply = script.server()?.client()?.deliver(SENDER, &[USER], HELLO)?;
        assert_eq!(reply.code, 451, "{steps} without its grant: {}", reply.wire());
    }
    Ok(())
}

#[test]
fn a_refused_connection_leaves_the_server_open_to_others() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    Script::new("on-connect:client=127.0.0.2", "refuse 554 5.7.1 not you").register(&server)?;
    server.launch()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    Ok(())
}

#[test]
fn behind_a_sink_that_asked_for_input_the_others_are_asked_too() -> Outcome {
    let rule = "on-inbound-command:verb=RCPT";
    let server = TestServer::prepare(Settings::usual())?;
    let asks = ["--priority", "10", "--set", "on-inbound-input=input"];
    Script { name: "asker", more: &asks, ..Script::new(rule, "await-input 350 who asks") }.register(&server)?;
    let refuses = ["--priority", "20", "--set", "on-inbound-input=log not for me"];
    let steps = "log asked about it ; input ; refuse 550 5.7.1 not here";
    Script { name: "policy", more: &refuses, ..Script::new(rule, steps) }.register(&server)?;
    let observes = ["--mode", "observe"];
    Script { name: "observer", more: &observes, ..Script::new(rule, "log told of it") }.register(&server)?;
    let mut server = server;
    server.launch()?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    assert_eq!(client.command(&format!("RCPT TO:<{USER}>"))?.wire(), "350 who asks");
    assert_eq!(client.command("it is me")?.wire(), "550 5.7.1 not here");
    assert!(wait::until_true(PATIENCE, || server.log().contains("told of it")), "{}", server.log());
    let log = server.log();
    let count = |text: &str| log.matches(text).count();
    assert_eq!((count("asked about it"), count("input is it is me"), count("told of it")), (1, 1, 1), "{log}");
    assert_eq!(count("not for me"), 0, "only who asked for it is shown the input: {log}");
    Ok(())
}
