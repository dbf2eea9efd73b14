//! Answers for people who are away.

use std::collections::BTreeSet;

use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::PATIENCE;

use super::{field, only, path, relaying_to, server_of, taken, text};
use crate::{HELLO, Outcome, USER};

fn server(settings: Settings, more: &[&str]) -> std::io::Result<TestServer> {
    let mut flags =
        vec!["--grant", "read-envelope", "--grant", "read-headers", "--grant", "submit", "--grant", "state"];
    flags.extend(["--on-failure", "skip", "--set", "text.user@basin.example=I am away."]);
    flags.extend(more);
    server_of(settings, "auto-reply", "on-post-categorize", &flags)
}

fn letter(fields: &str) -> Vec<u8> {
    [fields.as_bytes(), HELLO].concat()
}

#[test]
fn a_person_gets_one_answer_and_machines_and_lists_get_none() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let server = server(relaying_to(&hop), &[])?;
    let mut client = server.client()?;
    client.deliver("list@away.example", &[USER], &letter("List-Id: <l.away.example>\r\n"))?.require(250)?;
    client.deliver("robot@away.example", &[USER], &letter("Auto-Submitted: auto-generated\r\n"))?.require(250)?;
    client.deliver("bulk@away.example", &[USER], &letter("Precedence: bulk\r\n"))?.require(250)?;
    client.deliver("no-reply@away.example", &[USER], HELLO)?.require(250)?;
    client.deliver("", &[USER], HELLO)?.require(250)?;
    client
        .deliver("blind@away.example", &[USER], b"To: all@basin.example\r\nSubject: a\r\n\r\nhi\r\n")?
        .require(250)?;
    for _ in 0..3 {
        client.deliver("bob@away.example", &[USER], HELLO)?.require(250)?;
    }
    server.maildir("user").wait_for(9, PATIENCE)?;
    let taken = taken(&server, &hop);
    let answer = only(&taken, &hop.lines().join("\n"))?;
    assert!(answer.mail.starts_with("MAIL FROM:<>"), "{}", answer.mail);
    assert_eq!(answer.recipients.iter().map(|line| path(line)).collect::<Vec<_>>(), ["bob@away.example"]);
    let content = answer.content();
    for (name, value) in [
        ("From", "<user@basin.example>"),
        ("To", "<bob@away.example>"),
        ("Subject", "Auto: hello"),
        ("Auto-Submitted", "auto-replied"),
        ("In-Reply-To", "<hello@client.example>"),
        ("References", "<hello@client.example>"),
    ] {
        assert_eq!(field(&content, name).as_deref(), Some(value), "{name} in {}", text(&content));
    }
    assert!(field(&content, "Date").is_some() && field(&content, "Message-ID").is_some(), "{}", text(&content));
    assert!(text(&content).ends_with("\r\n\r\nI am away.\r\n"), "{}", text(&content));
    Ok(())
}

#[test]
fn two_people_who_are_away_write_to_each_other_once() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let server = server(relaying_to(&hop), &["--set", "text.alice@basin.example=Me too."])?;
    server.client()?.deliver("alice@basin.example", &[USER], HELLO)?.require(250)?;
    let answers = server.maildir("alice").wait_for(1, PATIENCE)?;
    taken(&server, &hop);
    assert_eq!((answers.len(), server.maildir("alice").names()?.len()), (1, 1));
    assert_eq!(server.maildir("user").names()?.len(), 1, "the answer is not answered");
    assert_eq!(answers[0].header("Return-Path").as_deref(), Some("<>"));
    Ok(())
}

#[test]
fn who_was_answered_is_known_after_a_restart() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let mut server = server(relaying_to(&hop), &[])?;
    server.client()?.deliver("bob@away.example", &[USER], HELLO)?.require(250)?;
    assert_eq!(taken(&server, &hop).len(), 1);
    server.terminate()?;
    server.launch()?;
    server.client()?.deliver("bob@away.example", &[USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(2, PATIENCE)?;
    assert_eq!(taken(&server, &hop).len(), 1);
    Ok(())
}

#[test]
fn no_answer_is_lost_or_given_twice_when_the_server_is_killed() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let mut server = server(relaying_to(&hop), &[])?;
    const SENDERS: usize = 30;
    for number in 0..SENDERS {
        server.client()?.deliver(&format!("s{number:02}@away.example"), &[USER], HELLO)?.require(250)?;
        if number % 5 == 4 {
            // What was just taken is on its way through the sink, or the answer through the queue.
            server.kill()?;
            server.launch()?;
        }
    }
    server.maildir("user").wait_for(SENDERS, PATIENCE)?;
    let taken = taken(&server, &hop);
    let answered: BTreeSet<String> =
        taken.iter().flat_map(|mail| &mail.recipients).map(|line| path(line).to_owned()).collect();
    assert_eq!(answered, (0..SENDERS).map(|number| format!("s{number:02}@away.example")).collect());
    // A kill between the hop's 250 and its record sends the same message once more, as with any relay. Its id tells.
    let ids: BTreeSet<_> = taken.iter().filter_map(|mail| field(&mail.content(), "Message-ID")).collect();
    assert_eq!(ids.len(), SENDERS, "each answer was made once");
    Ok(())
}
