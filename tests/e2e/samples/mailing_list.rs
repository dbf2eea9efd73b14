//! Mailing lists: members, bounces, requests, and crashes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basin_tests::next_hop::{Manners, NextHop, Transaction};
use basin_tests::server::TestServer;
use basin_tests::wait::{PATIENCE, until};

use super::{field, path, relaying_to, server_of, taken, text};
use crate::{HELLO, Outcome, USER};

const LIST: &str = "team@basin.example";
/// A member elsewhere, who writes.
const ANN: &str = "ann@away.example";

fn server(hop: &NextHop, members: &str) -> std::io::Result<TestServer> {
    let members = format!("members.team@basin.example={members}");
    let mut flags = vec!["--event", "on-categorize", "--event", "on-post-categorize", "--set", &members];
    let settings = ["secret=only for this test", "lists=team@basin.example", "bounce-limit=1"];
    flags.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    for grant in [
        "read-envelope",
        "edit-envelope",
        "read-headers",
        "edit-headers",
        "read-body",
        "reply",
        "accept-recipients",
        "state",
        "submit",
    ] {
        flags.extend(["--grant", grant]);
    }
    // A debug build beside others is not what the default is made for.
    flags.extend(["--deadline", "10s"]);
    server_of(relaying_to(hop), "mailing-list", "on-inbound-command:verb=RCPT", &flags)
}

fn people(mail: &Transaction) -> Vec<String> {
    mail.recipients.iter().map(|line| path(line).to_owned()).collect()
}

#[test]
fn each_member_gets_one_copy_with_the_fields_and_a_return_path_of_its_own() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let server = server(&hop, "ann@away.example, user@basin.example, bob@away.example")?;
    server.client()?.deliver(ANN, &[LIST, "direct@away.example"], HELLO)?.require(250)?;
    let here = server.maildir("user").wait_for(1, PATIENCE)?.remove(0);
    assert_eq!(here.header("List-Id").as_deref(), Some("<team.basin.example>"));
    assert!(
        here.header("Return-Path").is_some_and(|path| path.starts_with("<team-bounces+")),
        "{}",
        text(&here.octets)
    );
    let taken = taken(&server, &hop);
    let mut paths = BTreeSet::new();
    let mut seen = BTreeMap::<String, u32>::new();
    for mail in &taken {
        for person in people(mail) {
            *seen.entry(person).or_default() += 1;
        }
        let (content, from) = (mail.content(), path(&mail.mail).to_owned());
        if people(mail) == ["direct@away.example"] {
            assert_eq!((from.as_str(), field(&content, "List-Id")), (ANN, None));
            continue;
        }
        assert!(from.starts_with("team-bounces+") && from.ends_with("@basin.example"), "{from}");
        paths.insert(from);
        for (name, value) in [
            ("List-Id", "<team.basin.example>"),
            ("List-Post", "<mailto:team@basin.example>"),
            ("List-Unsubscribe", "<mailto:team-request@basin.example?subject=unsubscribe>"),
            ("Precedence", "list"),
        ] {
            assert_eq!(field(&content, name).as_deref(), Some(value), "{name} in {}", text(&content));
        }
        assert!(content.ends_with(b"\r\n\r\nHello.\r\n"), "{}", text(&content));
    }
    let all = [ANN, "bob@away.example", "direct@away.example"];
    assert_eq!(seen, all.map(|person| (person.to_owned(), 1)).into());
    assert_eq!(paths.len(), 2);
    Ok(())
}

#[test]
fn strangers_and_machines_and_the_list_itself_do_not_reach_it() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let server = server(&hop, "ann@away.example")?;
    let mut client = server.client()?;
    for address in ["team-other@basin.example", "team-bounces+0123456789abcdef@basin.example"] {
        let reply = client.deliver(ANN, &[address], HELLO)?;
        assert_eq!(reply.code, 550, "{address}: {}", reply.wire());
        client.command("RSET")?.require(250)?;
    }
    client.deliver("", &[LIST], HELLO)?.require(250)?;
    for fields in
        ["Auto-Submitted: auto-replied\r\n", "List-Id: Team <team.basin.example>\r\n", "X-Loop: team@basin.example\r\n"]
    {
        client.deliver(ANN, &[LIST], &[fields.as_bytes(), HELLO].concat())?.require(250)?;
    }
    client.deliver("bob@basin.example", &[LIST], HELLO)?.require(250)?;
    let bounce = server.maildir("bob").wait_for(1, PATIENCE)?.remove(0);
    assert!(text(&bounce.octets).contains("only members write to this list"), "{}", text(&bounce.octets));
    assert!(taken(&server, &hop).is_empty(), "{:?}", hop.lines());
    Ok(())
}

#[test]
fn a_member_whose_mail_comes_back_is_suspended_and_the_owner_is_told() -> Outcome {
    let refuse = |line: &str, _| line.starts_with("RCPT TO:<gone@").then(|| "550 5.1.1 no such user".to_owned());
    let hop = NextHop::start(Manners { script: Arc::new(refuse), ..Manners::default() })?;
    let mut server = server(&hop, "ann@away.example, gone@away.example")?;
    server.client()?.deliver(ANN, &[LIST], HELLO)?.require(250)?;
    let told = server.maildir("postmaster").wait_for(1, PATIENCE)?.remove(0);
    let shown = text(&told.octets);
    assert!(shown.contains("gone@away.example") && shown.contains("a member is suspended"), "{shown}");
    assert_eq!(told.header("Return-Path").as_deref(), Some("<>"));
    taken(&server, &hop);
    server.kill()?;
    server.launch()?;
    server.client()?.deliver(ANN, &[LIST], HELLO)?.require(250)?;
    let people: Vec<_> = taken(&server, &hop).iter().flat_map(people).collect();
    assert_eq!(people, [ANN, ANN]);
    assert_eq!(hop.lines().iter().filter(|line| line.starts_with("RCPT TO:<gone@")).count(), 1, "it gets no more");
    assert_eq!(server.maildir("postmaster").names()?.len(), 1);
    Ok(())
}

/// The subject of a message to that address that begins so and is another than that one.
fn answer(hop: &NextHop, to: &str, subject: &str, but: &str) -> std::io::Result<String> {
    let found = until(PATIENCE, || {
        let all = hop.taken().into_iter().rev().filter(|mail| people(mail) == [to]);
        all.filter_map(|mail| field(&mail.content(), "Subject"))
            .find(|value| value.starts_with(subject) && value != but)
    });
    found.ok_or_else(|| std::io::Error::other(format!("no {subject:?} to {to}: {:?}", hop.lines())))
}

#[test]
fn people_join_and_leave_by_mail_with_an_address_that_they_can_read() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let mut server = server(&hop, "user@basin.example")?;
    let new = "new@away.example";
    let ask = |server: &TestServer, subject: &str| -> Outcome {
        let mail = format!("From: <{new}>\r\nMessage-ID: <q@away.example>\r\nSubject: {subject}\r\n\r\n");
        server.client()?.deliver(new, &["team-request@basin.example"], mail.as_bytes())?.require(250).map(drop)
    };
    ask(&server, "subscribe")?;
    let confirm = answer(&hop, new, "confirm ", "")?;
    let question = hop.taken().remove(0);
    assert!(question.mail.starts_with("MAIL FROM:<>"), "{}", question.mail);
    assert_eq!(field(&question.content(), "Auto-Submitted").as_deref(), Some("auto-replied"));
    assert_eq!(field(&question.content(), "In-Reply-To").as_deref(), Some("<q@away.example>"));
    server.kill()?;
    server.launch()?;
    ask(&server, &format!("Re: {confirm}"))?;
    answer(&hop, new, "Welcome to team@basin.example", "")?;
    server.kill()?;
    server.launch()?;
    server.client()?.deliver(new, &[LIST], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    answer(&hop, new, "hello", "")?;
    ask(&server, "unsubscribe")?;
    let leave = answer(&hop, new, "confirm ", &confirm)?;
    ask(&server, &leave)?;
    answer(&hop, new, "You have left", "")?;
    let before = taken(&server, &hop).len();
    server.client()?.deliver(USER, &[LIST], HELLO)?.require(250)?;
    server.maildir("user").wait_for(2, PATIENCE)?;
    assert_eq!(taken(&server, &hop).len(), before, "who left gets nothing");
    Ok(())
}

#[test]
fn every_member_gets_every_letter_once_when_the_server_is_killed() -> Outcome {
    let later = |line: &str, _| line.starts_with("RCPT").then(|| "451 4.3.2 not yet".to_owned());
    let hop = NextHop::start(Manners { script: Arc::new(later), ..Manners::default() })?;
    let members: Vec<String> = (0..8).map(|number| format!("m{number}@away.example")).collect();
    let mut server = server(&hop, &members.join(", "))?;
    const LETTERS: usize = 9;
    for number in 0..LETTERS {
        let mail = format!("From: <m0@away.example>\r\nSubject: letter {number}\r\n\r\nhi\r\n");
        server.client()?.deliver("m0@away.example", &[LIST], mail.as_bytes())?.require(250)?;
        if number % 2 == 0 {
            server.kill()?;
            server.launch()?;
        }
    }
    server.kill()?;
    hop.set_manners(Manners::default());
    server.launch()?;
    let mut seen = BTreeMap::<(String, String), u32>::new();
    for mail in taken(&server, &hop) {
        let subject = field(&mail.content(), "Subject").unwrap_or_default();
        for person in people(&mail) {
            *seen.entry((subject.clone(), person)).or_default() += 1;
        }
    }
    let letters = (0..LETTERS).map(|number| format!("letter {number}"));
    let all = letters.flat_map(|letter| members.iter().map(move |member| ((letter.clone(), member.clone()), 1)));
    assert_eq!(seen, all.collect());
    Ok(())
}
