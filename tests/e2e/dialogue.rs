//! Sinks in the dialogue with another server: the real server, real components, a remote server that plays a script.

mod answered;
mod failing;
mod hosts;
mod peer;
mod said;

use std::io;

use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::{TestServer, guest};
use basin_tests::wait::{PATIENCE, until_true};

use crate::relaying::{AWAY, HERE, settings, wait_empty, wait_taken};
use crate::services::in_force;
use crate::{HELLO, Outcome};
use peer::{Peer, Turn};

/// Every grant that these events know.
const GRANTS: [&str; 6] = ["outbound", "reply", "read-envelope", "read-headers", "end-chain", "route"];

/// Registers a sink that plays scripts at events; a rule stands behind a colon. `more` are further arguments.
fn register(server: &TestServer, name: &str, scripts: &[(&str, &str)], more: &[&str]) -> Outcome {
    let mut arguments = Vec::new();
    for (place, (binding, steps)) in scripts.iter().enumerate() {
        let event = binding.split(':').next().unwrap_or_default();
        arguments.extend(["--set".to_owned(), format!("{event}={steps}")]);
        if place > 0 {
            arguments.extend(["--event".to_owned(), (*binding).to_owned()]);
        }
    }
    arguments.extend(GRANTS.iter().flat_map(|grant| ["--grant".to_owned(), (*grant).to_owned()]));
    arguments.extend(more.iter().map(|word| (*word).to_owned()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let first = scripts.first().map_or("", |(binding, _)| *binding);
    server.sink_add(&guest("scripted"), name, first, &arguments).map(drop)
}

/// A remote server, and one that has the sink from the start and sends it everything.
fn pair(manners: Manners, scripts: &[(&str, &str)], more: &[&str]) -> io::Result<(NextHop, TestServer)> {
    let hop = NextHop::start(manners)?;
    let mut server = TestServer::prepare(settings("*", hop.address(), ""))?;
    register(&server, "scripted", scripts, more)?;
    server.launch()?;
    Ok((hop, server))
}

/// Has the sink play something else at an event from now on.
fn play(server: &TestServer, event: &str, steps: &str) -> Outcome {
    let set = format!("{event}={steps}");
    in_force(server, || server.basin_ok(&["sink", "set", "scripted", &set]).map(drop))
}

fn send(server: &TestServer, recipients: &[&str]) -> Outcome {
    server.client()?.deliver(HERE, recipients, HELLO)?.require(250).map(drop)
}

// The log as the sinks wrote it: quotation marks within a text are escaped there.
fn log(server: &TestServer) -> String {
    server.log().replace("\\\"", "\"")
}

fn wait_for(server: &TestServer, words: &str) {
    assert!(until_true(PATIENCE, || log(server).contains(words)), "{words:?} is not in\n{}", log(server));
}

/// Verbs that came, in order, without the content.
fn verbs(hop: &NextHop) -> Vec<String> {
    let lines = hop.lines();
    let verb = |line: &String| line.split([' ', ':']).next().unwrap_or_default().to_owned();
    lines.iter().filter(|line| *line != "connect").map(verb).collect()
}

const EHLO: &str = "250-next.example\r\n250-PIPELINING\r\n250 DSN\r\n";
const TWO: [&str; 2] = ["a@away.example", "b@away.example"];

/// What the sinks that hear of everything at a message to two wrote down, in order.
fn heard(server: &TestServer) -> Vec<String> {
    let log = log(server);
    let command = |line: &str| {
        let (_, rest) = line.split_once("about to send \"")?;
        Some(format!("> {}", rest.split([' ', '"']).next()?))
    };
    let reply = |line: &str| {
        let (before, after) = line.split_once(" got ")?;
        let verb = before.split_once("text=\"")?.1.split(' ').next()?;
        Some(format!("< {verb} {}", after.get(..3)?))
    };
    log.lines().filter_map(|line| command(line).or_else(|| reply(line))).collect()
}

#[test]
fn every_event_is_raised_in_the_order_of_the_dialogue() -> Outcome {
    let (hop, server) = pair(
        Manners::default(),
        &[
            ("on-session-start", "heard"),
            ("on-message-start", "heard"),
            ("on-per-recipient", "heard"),
            ("on-before-data", "heard"),
            ("on-session-end", "heard"),
            ("on-server-response", "heard"),
        ],
        &[],
    )?;
    send(&server, &TWO)?;
    assert!(until_true(PATIENCE, || verbs(&hop).contains(&"QUIT".to_owned())), "{}", server.log());
    assert!(until_true(PATIENCE, || heard(&server).contains(&"< QUIT 221".to_owned())), "{}", log(&server));
    let expected = [
        "<  220",
        "> EHLO",
        "< EHLO 250",
        "> MAIL",
        "< MAIL 250",
        "> RCPT",
        "> RCPT",
        "< RCPT 250",
        "< RCPT 250",
        "> DATA",
        "< DATA 354",
        "< . 250",
        "> QUIT",
        "< QUIT 221",
    ];
    assert_eq!(heard(&server), expected, "{}", log(&server));
    Ok(())
}

// What a message to two looks like on the wire, group by group.
fn groups(turns: &'static [Turn], scripts: &[(&str, &str)], more: &[&str]) -> io::Result<Vec<String>> {
    let peer = Peer::start(turns)?;
    let mut server = TestServer::prepare(settings("*", peer.address(), ""))?;
    register(&server, "scripted", scripts, more)?;
    server.launch()?;
    send(&server, &TWO)?;
    peer.groups()
}

const WHOLE: &[Turn] =
    &[(1, EHLO), (4, "250 a\r\n250 b\r\n250 c\r\n354 d\r\n"), (0, "250 taken\r\n"), (1, "221 bye\r\n")];
const BEFORE_DATA: &[Turn] =
    &[(1, EHLO), (3, "250 a\r\n250 b\r\n250 c\r\n"), (1, "354 d\r\n"), (0, "250 taken\r\n"), (1, "221 bye\r\n")];
const BEHIND_MAIL: &[Turn] =
    &[(1, EHLO), (1, "250 a\r\n"), (3, "250 b\r\n250 c\r\n354 d\r\n"), (0, "250 taken\r\n"), (1, "221 bye\r\n")];

#[test]
fn commands_that_sinks_are_asked_about_leave_as_one_group() -> Outcome {
    let scripts = [("on-message-start", "out-parameter RET=HDRS"), ("on-per-recipient", "heard")];
    assert_eq!(groups(WHOLE, &scripts, &[])?, ["EHLO", "MAIL RCPT RCPT DATA", ".", "QUIT"]);
    Ok(())
}

#[test]
fn a_group_ends_where_a_sink_may_judge_a_reply_or_wants_to_know_whom_the_server_took() -> Outcome {
    let before_data = ["EHLO", "MAIL RCPT RCPT", "DATA", ".", "QUIT"];
    assert_eq!(groups(BEFORE_DATA, &[("on-before-data", "heard")], &[])?, before_data);
    assert_eq!(groups(BEFORE_DATA, &[("on-server-response:verb=RCPT", "heard")], &[])?, before_data);
    let behind_mail = ["EHLO", "MAIL", "RCPT RCPT DATA", ".", "QUIT"];
    assert_eq!(groups(BEHIND_MAIL, &[("on-server-response:verb=MAIL;code=4*", "heard")], &[])?, behind_mail);
    Ok(())
}

#[test]
fn who_only_watches_replies_costs_no_round_trip() -> Outcome {
    let peer = Peer::start(WHOLE)?;
    let mut server = TestServer::prepare(settings("*", peer.address(), ""))?;
    for mode in ["observe", "shadow"] {
        register(&server, mode, &[("on-server-response", "heard")], &["--mode", mode])?;
    }
    server.launch()?;
    send(&server, &TWO)?;
    assert_eq!(peer.groups()?, ["EHLO", "MAIL RCPT RCPT DATA", ".", "QUIT"]);
    for mode in ["observe", "shadow"] {
        let said = format!("sink=\"{mode}\" event=\"on-server-response\"");
        assert!(until_true(PATIENCE, || log(&server).contains(&said)), "{}", log(&server));
    }
    Ok(())
}

#[test]
fn without_the_grant_a_change_and_a_verdict_are_failures() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let mut server = TestServer::prepare(settings("*", hop.address(), ""))?;
    let more = ["--grant", "read-envelope", "--on-failure", "skip"];
    server.sink_add(&guest("scripted"), "scripted", "on-message-start", &more)?;
    server.launch()?;
    let cases = ["out-parameter RET=HDRS", "skip-message 550 5.7.1 no", "drop-session"];
    for (count, steps) in (1..).zip(cases) {
        play(&server, "on-message-start", steps)?;
        send(&server, &[AWAY])?;
        let taken = wait_taken(&hop, count);
        assert!(!taken.iter().any(|taken| taken.mail.contains("RET=")), "{taken:?}");
        wait_empty(&server);
    }
    let failed = || server.metrics().ok().and_then(|metrics| metrics.total("basin_sink_failures_total"));
    assert!(until_true(PATIENCE, || failed() == Some(3.0)), "{:?} {}", failed(), log(&server));
    Ok(())
}
