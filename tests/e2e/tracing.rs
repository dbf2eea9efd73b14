//! What `basin trace` tells of a message: each step of its way, from the client to its end.

#![allow(clippy::panic, reason = "a test says what is wrong")]

use std::sync::Arc;

use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::{PATIENCE, until};

use crate::{HELLO, Outcome, SENDER};

const AWAY: &str = "friend@away.example";
const HERE: &str = "alice@basin.example";

/// A server that sends everything to `hop`, and tries again after a second.
fn prepared(hop: &NextHop) -> std::io::Result<TestServer> {
    TestServer::prepare(Settings {
        relay_clients: "[\"127.0.0.1\"]".to_owned(),
        tables: format!(
            "[queue]\nfirst-waits = [\"1s\"]\nlongest-wait = \"1s\"\n[[route]]\ndomains = [\"*\"]\nhosts = [\"{}\"]\n",
            hop.address()
        ),
        ..Settings::usual()
    })
}

fn answering(script: impl Fn(&str, u32) -> Option<String> + Send + Sync + 'static) -> Manners {
    Manners { script: Arc::new(script), ..Manners::default() }
}

// The story that the search finds, once it has come to its end.
fn story(server: &TestServer, search: &[&str]) -> String {
    let tell = || server.basin_ok(&[&["trace"], search].concat()).ok();
    let ended = until(PATIENCE, || tell().filter(|story| story.contains("left the queue")));
    ended.unwrap_or_else(|| panic!("no story with an end:\n{:?}\n{}", tell(), server.log()))
}

// Demands that these stand in the text in this order.
fn assert_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part);
        assert!(at.is_some(), "{part:?} is missing, or not in its place, in\n{text}");
        rest = at.and_then(|at| rest.get(at + part.len()..)).unwrap_or_default();
    }
}

#[test]
fn a_message_that_is_put_off_once_and_relayed_then_has_each_step_in_its_story() -> Outcome {
    let grey = |line: &str, seen| (line.starts_with("RCPT") && seen == 0).then(|| "451 4.7.1 come back".to_owned());
    let hop = NextHop::start(answering(grey))?;
    let mut server = prepared(&hop)?;
    server.sink_add(&guest("noop"), "quiet", "on-submission", &[])?;
    server.launch()?;
    server.client()?.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    let story = story(&server, &["--recipient", AWAY]);
    let address = format!("({})", hop.address());
    assert_order(
        &story,
        &[
            &format!("accepted from <{SENDER}> for {AWAY}"),
            "client 127.0.0.1:",
            "HELO client.example",
            "session ",
            "Message-ID <hello@client.example>",
            "sink quiet [quiet/on-submission] at on-submission: next in ",
            "passed submission",
            "queued for ",
            AWAY,
            "tried 127.0.0.1",
            &address,
            "no TLS",
            "451 4.7.1 come back",
            &format!("deferred <{AWAY}> until "),
            "after 1 tries: 451 4.7.1 come back",
            "tried 127.0.0.1",
            "250 2.0.0 taken",
            &format!("relayed <{AWAY}> to 127.0.0.1"),
            "left the queue: delivered",
            "1 relayed, out of the queue",
            "sink quiet: 1 calls, ",
        ],
    );
    for (part, count) in [("passed submission", 1), ("queued for", 1), ("deferred <", 1), ("relayed <", 1), ("left", 1)]
    {
        assert_eq!(story.matches(part).count(), count, "{part} in\n{story}");
    }
    Ok(())
}

#[test]
fn a_message_that_bounces_and_its_notification_name_each_other() -> Outcome {
    let refuse = |line: &str, _| line.starts_with("RCPT").then(|| "550 5.1.1 nobody".to_owned());
    let hop = NextHop::start(answering(refuse))?;
    let mut server = prepared(&hop)?;
    server.launch()?;
    server.client()?.deliver(HERE, &[AWAY], HELLO)?.require(250)?;
    server.maildir("alice").wait_for(1, PATIENCE)?;
    let parent = story(&server, &["--sender", HERE]);
    assert_order(
        &parent,
        &[
            "accepted from <alice@basin.example>",
            "550 5.1.1 nobody",
            &format!("failed <{AWAY}>: 550 5.1.1 nobody"),
            &format!("told the sender of the failure of {AWAY}: see basin trace "),
            "left the queue: failed",
        ],
    );
    let word = |text: &str, before: &str| {
        let rest = text.split(before).nth(1).unwrap_or_default();
        rest.split([' ', ',', '\n']).next().unwrap_or_default().to_owned()
    };
    let (id, child) = (word(&parent, "message "), word(&parent, "see basin trace "));
    let notification = story(&server, &[&child]);
    assert_order(
        &notification,
        &[
            "accepted from <> for alice@basin.example",
            "by notification",
            &format!("about message {id}"),
            "delivered <alice@basin.example> to mailbox",
            "left the queue: delivered",
        ],
    );
    Ok(())
}

#[test]
fn what_fails_at_a_mailbox_here_and_what_nobody_answers_for_is_told_too() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let address = hop.address();
    let mut server = prepared(&hop)?;
    server.launch()?;
    drop(hop);
    let deliver = |recipient: &str| server.client()?.deliver("", &[recipient], HELLO)?.require(250);
    deliver(AWAY)?;
    let tell = || server.basin_ok(&["trace", "--recipient", AWAY]).unwrap_or_default();
    let deferred = until(PATIENCE, || Some(tell()).filter(|story| story.contains("deferred <")));
    let deferred = deferred.unwrap_or_else(|| panic!("{}\n{}", tell(), server.log()));
    assert_order(&deferred, &["tried 127.0.0.1", &format!("({address})"), "for ", "deferred <"]);
    // Nobody is told, and the log has why all the same.
    server.basin_ok(&["queue", "expire", &format!("recipient={AWAY}")])?;
    let story = story(&server, &["--recipient", AWAY]);
    assert_order(&story, &["expired by ", &format!("expired <{AWAY}>: "), "left the queue: failed-untold"]);
    Ok(())
}
