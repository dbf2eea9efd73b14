//! One message for each recipient, through crashes too.

use std::collections::BTreeMap;

use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::PATIENCE;

use super::{field, path, relaying_to, server_of, taken};
use crate::{HELLO, Outcome, SENDER, USER};

const GRANTS: &[&str] =
    &["--grant", "read-envelope", "--grant", "edit-envelope", "--grant", "read-headers", "--grant", "edit-headers"];

fn server(settings: Settings) -> std::io::Result<TestServer> {
    server_of(settings, "split-recipients", "on-post-categorize", GRANTS)
}

#[test]
fn each_recipient_gets_one_message_that_names_it() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let mut settings = relaying_to(&hop);
    settings.aliases = "\"team@basin.example\" = [\"alice@basin.example\", \"bob@basin.example\"]\n".to_owned();
    let server = server(settings)?;
    let recipients = [USER, "team@basin.example", "a@away.example", "b@away.example"];
    server.client()?.deliver(SENDER, &recipients, HELLO)?.require(250)?;
    for (mailbox, address) in [("user", USER), ("alice", "alice@basin.example"), ("bob", "bob@basin.example")] {
        let mails = server.maildir(mailbox).wait_for(1, PATIENCE)?;
        let names: Vec<_> = mails.iter().map(|mail| mail.headers("X-Envelope-To").concat()).collect();
        assert_eq!(names, [address]);
    }
    let mut there: Vec<_> = taken(&server, &hop)
        .iter()
        .map(|mail| {
            let people: Vec<&str> = mail.recipients.iter().map(|line| path(line)).collect();
            assert!(mail.content().ends_with(HELLO.split_at(HELLO.len() - 8).1), "the body is the same");
            (people.join(" and "), field(&mail.content(), "X-Envelope-To").unwrap_or_default())
        })
        .collect();
    there.sort();
    let both = |address: &str| (address.to_owned(), address.to_owned());
    assert_eq!(there, [both("a@away.example"), both("b@away.example")]);
    Ok(())
}

#[test]
fn a_message_for_hundreds_is_split_in_one_go() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let server = server(relaying_to(&hop))?;
    let recipients: Vec<String> = (0..250).map(|number| format!("r{number:03}@away.example")).collect();
    let list: Vec<&str> = recipients.iter().map(String::as_str).collect();
    server.client()?.deliver(SENDER, &list, HELLO)?.require(250)?;
    let mut there: Vec<_> = taken(&server, &hop)
        .iter()
        .map(|mail| {
            let address = field(&mail.content(), "X-Envelope-To").unwrap_or_default();
            assert_eq!(mail.recipients.iter().map(|line| path(line)).collect::<Vec<_>>(), [address.as_str()]);
            address
        })
        .collect();
    there.sort();
    assert_eq!(there, recipients);
    Ok(())
}

#[test]
fn nobody_is_lost_or_doubled_when_the_server_is_killed_while_it_splits() -> Outcome {
    let hop = NextHop::start(Manners { script: std::sync::Arc::new(not_yet), ..Manners::default() })?;
    let mut server = server(relaying_to(&hop))?;
    const MESSAGES: usize = 12;
    for round in 0..MESSAGES {
        let people: Vec<String> = (0..6).map(|person| format!("m{round}p{person}@away.example")).collect();
        let list: Vec<&str> = people.iter().map(String::as_str).chain([USER]).collect();
        server.client()?.deliver(SENDER, &list, HELLO)?.require(250)?;
        if round % 3 == 2 {
            server.kill()?;
            server.launch()?;
        }
    }
    server.kill()?;
    hop.set_manners(Manners::default());
    server.launch()?;
    let mut seen = BTreeMap::<String, u32>::new();
    for mail in taken(&server, &hop) {
        let address = field(&mail.content(), "X-Envelope-To").unwrap_or_default();
        assert_eq!(mail.recipients.iter().map(|line| path(line)).collect::<Vec<_>>(), [address.as_str()]);
        *seen.entry(address).or_default() += 1;
    }
    let all = (0..MESSAGES).flat_map(|round| (0..6).map(move |person| format!("m{round}p{person}@away.example")));
    assert_eq!(seen, all.map(|address| (address, 1)).collect());
    let here = server.maildir("user").read()?;
    assert_eq!(here.len(), MESSAGES);
    assert!(here.iter().all(|mail| mail.headers("X-Envelope-To") == [USER]));
    Ok(())
}

/// Takes nothing, so that whatever is left after a kill is still in the queue.
fn not_yet(line: &str, _seen: u32) -> Option<String> {
    line.starts_with("RCPT").then(|| "451 4.3.2 not yet".to_owned())
}
