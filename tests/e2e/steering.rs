//! What sinks decide of a stored message, from its recipients to its last notification, seen in mailboxes and at the
//! next server.

use std::io;
use std::net::SocketAddr;

use basin_tests::maildir::Mail;
use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::settings::{Settings, free_address};
use basin_tests::wait::{PATIENCE, until_true};

use crate::services::in_force;
use crate::{GRANTS, HELLO, Outcome, SENDER, Script, USER};

const ALICE: &str = "alice@basin.example";
const BOB: &str = "bob@basin.example";
/// A recipient elsewhere.
const AWAY: &str = "friend@away.example";

/// A sink with the grants of steering.
fn steers<'a>(name: &'a str, binding: &'a str, steps: &'a str) -> Script<'a> {
    Script { name, more: &["--grant", "route", "--grant", "submit"], ..Script::new(binding, steps) }
}

fn server(settings: Settings, scripts: &[Script<'_>]) -> io::Result<TestServer> {
    let mut server = TestServer::prepare(settings)?;
    scripts.iter().try_for_each(|script| script.register(&server))?;
    server.launch()?;
    Ok(server)
}

fn usual(scripts: &[Script<'_>]) -> io::Result<TestServer> {
    server(Settings::usual(), scripts)
}

fn relaying(tables: String) -> Settings {
    let queue = "[queue]\nfirst-waits = [\"1s\"]\nlongest-wait = \"1s\"\n";
    Settings { relay_clients: "[\"127.0.0.1\"]".to_owned(), tables: format!("{queue}{tables}"), ..Settings::usual() }
}

fn one(server: &TestServer, mailbox: &str) -> io::Result<Mail> {
    server.maildir(mailbox).wait_for(1, PATIENCE)?.pop().ok_or_else(|| io::Error::other("no mail"))
}

fn wait_empty(server: &TestServer) {
    let is_empty = || server.metrics().is_ok_and(|metrics| metrics.total("basin_spool_messages") == Some(0.0));
    assert!(until_true(PATIENCE, is_empty), "messages are left:\n{}", server.log());
}

/// The id of the first message that was accepted.
fn accepted(server: &TestServer) -> String {
    let log = server.log();
    let id = log.split("message accepted").nth(1).and_then(|line| line.split("message_id=").nth(1));
    id.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default().to_owned()
}

fn text(mail: &Mail) -> String {
    String::from_utf8_lossy(&mail.octets).into_owned()
}

#[test]
fn a_list_is_expanded_once_and_who_is_unknown_comes_back() -> Outcome {
    let script = format!("for {USER} ; expand {ALICE},{BOB} || for {BOB} ; unknown 550 5.1.1 moved away");
    let server = usual(&[steers("lists", "on-categorize", &script)])?;
    server.client()?.deliver(ALICE, &[USER, ALICE], HELLO)?.require(250)?;
    // Her copy, although she stands on the list and beside it, and what she is told of bob.
    let mails = server.maildir("alice").wait_for(2, PATIENCE)?;
    wait_empty(&server);
    assert_eq!(server.maildir("alice").read()?.len(), 2);
    let told = mails.iter().map(text).find(|mail| mail.contains("moved away")).expect("bob is unknown");
    assert!(told.contains(BOB) && told.contains("5.1.1"), "{told}");
    assert!(server.maildir("bob").read()?.is_empty() && server.maildir("user").read()?.is_empty());
    Ok(())
}

#[test]
fn edits_of_every_stage_are_on_the_copy_once_and_a_fork_meets_the_stages_behind_it() -> Outcome {
    let stages = [
        ("first", "on-submission", "header X-Submission=1 ; fork each"),
        ("second", "on-pre-categorize", "header X-Pre=1"),
        ("third", "on-post-categorize", "header X-Post=1"),
    ];
    let server = usual(&stages.map(|(name, event, steps)| steers(name, event, steps)))?;
    server.client()?.deliver(SENDER, &[USER, ALICE, BOB], HELLO)?.require(250)?;
    for mailbox in ["user", "alice", "bob"] {
        let mail = one(&server, mailbox)?;
        for field in ["X-Submission", "X-Pre", "X-Post"] {
            assert_eq!(mail.headers(field).len(), 1, "{field} for {mailbox}:\n{}", text(&mail));
        }
    }
    wait_empty(&server);
    Ok(())
}

#[test]
fn a_sinks_own_message_arrives_and_its_maker_is_not_asked_about_it() -> Outcome {
    let server = usual(&[steers("answers", "on-post-categorize", &format!("submit <> {ALICE} seen"))])?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    one(&server, "user")?;
    let answer = one(&server, "alice")?;
    assert_eq!(answer.header("Subject").as_deref(), Some("seen"));
    wait_empty(&server);
    assert_eq!(server.maildir("alice").read()?.len(), 1, "a message about the message about the message");
    Ok(())
}

#[test]
fn mail_goes_to_the_hops_of_a_sink_in_their_order_and_a_hop_that_is_down_is_passed() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let (dead, live) = (free_address().port(), hop.address().port());
    let script = format!("use-hops host:[127.0.0.1]:{dead},host:[127.0.0.1]:{live}");
    let server = server(relaying(String::new()), &[steers("router", "on-route", &script)])?;
    server.client()?.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    assert!(until_true(PATIENCE, || hop.taken().len() == 1), "{}", server.log());
    assert!(hop.taken()[0].recipients[0].contains(AWAY));
    wait_empty(&server);
    Ok(())
}

#[test]
fn after_its_hops_have_failed_the_sink_is_asked_again_and_told_why() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let (dead, live) = (free_address().port(), hop.address().port());
    let script = format!(
        "told ; failures 0 ; use-hops host:[127.0.0.1]:{dead} || failures 1 ; use-hops host:[127.0.0.1]:{live}"
    );
    let server = server(relaying(String::new()), &[steers("router", "on-route", &script)])?;
    server.client()?.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    assert!(until_true(PATIENCE, || hop.taken().len() == 1), "{}", server.log());
    assert!(server.log().contains(&format!("host 127.0.0.1:{dead} said 451")), "{}", server.log());
    Ok(())
}

#[test]
fn a_store_has_a_name_for_sinks_and_no_domain_of_its_own() -> Outcome {
    let store = NextHop::start(Manners { is_lmtp: true, ..Manners::default() })?;
    let route = |address: SocketAddr| {
        format!("[[route]]\nname = \"store\"\nhosts = [\"{address}\"]\nprotocol = \"lmtp\"\ntls = \"never\"\n")
    };
    let server =
        server(relaying(route(store.address())), &[steers("router", "on-route", "use-hops lmtp:store,lmtp:other")])?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    assert!(until_true(PATIENCE, || server.log().contains("it answered err: not found")), "{}", server.log());
    in_force(&server, || server.basin_ok(&["sink", "set", "router", "on-route=use-hops lmtp:store"]).map(drop))?;
    server.basin_ok(&["queue", "retry", "--all", "--yes"])?;
    assert!(until_true(PATIENCE, || store.taken().len() == 1), "{}", server.log());
    assert!(store.lines().iter().any(|line| line.starts_with("LHLO")), "{:?}", store.lines());
    assert!(server.maildir("user").read()?.is_empty());
    Ok(())
}

#[test]
fn a_sink_delivers_fails_and_leaves_to_the_server_each_recipient_on_its_own() -> Outcome {
    let script = format!("for {USER} ; delivered || for {BOB} ; fail 550 5.2.1 closed");
    let server = usual(&[steers("store", "on-local-delivery", &script)])?;
    server.client()?.deliver(ALICE, &[USER, BOB, ALICE], HELLO)?.require(250)?;
    let mails = server.maildir("alice").wait_for(2, PATIENCE)?;
    assert!(mails.iter().map(text).any(|mail| mail.contains("closed")), "she hears of bob");
    wait_empty(&server);
    assert!(server.maildir("user").read()?.is_empty(), "the sink has it");
    Ok(())
}

#[test]
fn a_notification_is_edited_or_kept_back() -> Outcome {
    let fails = format!("for {BOB} ; fail 550 5.2.1 closed");
    for (steps, is_sent) in [("header X-Seen=1", true), ("suppress", false)] {
        let scripts = [steers("store", "on-local-delivery", &fails), steers("words", "on-notification", steps)];
        let server = usual(&scripts)?;
        server.client()?.deliver(ALICE, &[BOB], HELLO)?.require(250)?;
        wait_empty(&server);
        let told = server.maildir("alice").read()?;
        assert_eq!(told.iter().map(|mail| mail.headers("X-Seen").len()).sum::<usize>(), usize::from(is_sent));
        assert_eq!(told.len(), usize::from(is_sent));
        let step = if is_sent { "notified" } else { "suppressed" };
        let id = accepted(&server);
        let is_told = || server.basin_ok(&["trace", "--json", &id]).is_ok_and(|story| story.contains(step));
        assert!(until_true(PATIENCE, is_told), "{:?}", server.basin(&["trace", "--json", &id]));
    }
    Ok(())
}

#[test]
fn a_later_message_of_the_same_key_takes_the_place_of_the_one_that_waits() -> Outcome {
    let server = usual(&[steers("status", "on-submission", "deliver-after 3600 ; supersede disk")])?;
    let count = || server.basin_ok(&["queue", "list"]).map(|list| list.matches("user@").count());
    for _ in 0..3 {
        server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    }
    assert!(until_true(PATIENCE, || matches!(count(), Ok(1))), "{:?}", server.basin_ok(&["queue", "list"]));
    Ok(())
}

#[test]
fn what_is_held_goes_through_the_sinks_that_are_bound_now() -> Outcome {
    let server = usual(&[steers("scanner", "on-submission", "header X-Before=1 ; hold for a look")])?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let is_held = || server.basin_ok(&["queue", "list"]).is_ok_and(|list| list.contains("for a look"));
    assert!(until_true(PATIENCE, is_held));
    in_force(&server, || server.basin_ok(&["sink", "set", "scanner", "on-submission=header X-Again=1"]).map(drop))?;
    server.basin_ok(&["queue", "rerun", "state=held"])?;
    let mail = one(&server, "user")?;
    assert_eq!((mail.headers("X-Before").len(), mail.headers("X-Again").len()), (1, 1), "{}", text(&mail));
    Ok(())
}

#[test]
fn without_their_grants_sinks_steer_nothing_and_it_is_their_failure() -> Outcome {
    let scripts = [
        ("on-route", "use-hops local"),
        ("on-local-delivery", "delivered"),
        ("on-submission", "submit <> alice@basin.example hi"),
    ];
    for (event, steps) in scripts {
        let plain = Script { grants: GRANTS, more: &["--on-failure", "skip"], ..Script::new(event, steps) };
        let server = usual(&[plain])?;
        server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
        one(&server, "user")?;
        let log = server.log();
        assert!(log.contains("without the grant") || log.contains("denied"), "{event}: {log}");
        assert!(server.maildir("alice").read()?.is_empty());
    }
    Ok(())
}

#[test]
fn a_recipient_is_routed_by_the_domain_that_a_sink_names() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let tables = format!(
        "[[route]]\ndomains = [\"other.example\"]\nhosts = [\"{}\"]\n\
         [[route]]\ndomains = [\"*\"]\nhosts = [\"{}\"]\n",
        hop.address(),
        free_address()
    );
    let script = format!("route-domain {AWAY}=other.example");
    let server = server(relaying(tables), &[steers("router", "on-post-categorize", &script)])?;
    server.client()?.deliver(SENDER, &[AWAY], HELLO)?.require(250)?;
    assert!(until_true(PATIENCE, || hop.taken().len() == 1), "{}", server.log());
    assert!(hop.taken()[0].recipients[0].contains(AWAY), "the address stays what it is");
    Ok(())
}

#[test]
fn single_recipients_fail_and_are_held_while_the_others_get_their_mail() -> Outcome {
    let script = format!("rcpt-fail {USER}=550 5.7.1 not for you ; rcpt-hold {BOB}=a look");
    let server = usual(&[steers("judge", "on-post-categorize", &script)])?;
    server.client()?.deliver(ALICE, &[USER, BOB, ALICE], HELLO)?.require(250)?;
    let mails = server.maildir("alice").wait_for(2, PATIENCE)?;
    assert!(mails.iter().map(text).any(|mail| mail.contains("not for you")), "{}", server.log());
    let list = server.basin_ok(&["queue", "list"])?;
    assert!(list.contains("a look"), "{list}");
    server.basin_ok(&["queue", "release", "--all", "--yes"])?;
    one(&server, "bob")?;
    wait_empty(&server);
    assert!(server.maildir("user").read()?.is_empty());
    Ok(())
}

#[test]
fn a_copy_goes_to_somebody_else_whole() -> Outcome {
    let server = usual(&[steers("copies", "on-submission", &format!("copy <> {BOB}"))])?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let (original, copy) = (text(&one(&server, "user")?), text(&one(&server, "bob")?));
    let body = |mail: &str| mail.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    assert_eq!(body(&original), body(&copy));
    assert!(copy.contains("Subject: hello"), "{copy}");
    Ok(())
}

#[test]
fn a_message_has_the_life_that_a_sink_gives_it() -> Outcome {
    let tables = format!("[[route]]\ndomains = [\"*\"]\nhosts = [\"{}\"]\n", free_address());
    let server = server(relaying(tables), &[steers("hurry", "on-submission", "expiry 1 3")])?;
    server.client()?.deliver(ALICE, &[AWAY], HELLO)?.require(250)?;
    let mails = server.maildir("alice").wait_for(2, PATIENCE)?;
    let says = |word: &str| mails.iter().map(text).any(|mail| mail.contains(&format!("Action: {word}")));
    assert!(says("delayed") && says("failed"), "{}", server.log());
    Ok(())
}

#[test]
fn answers_to_answers_come_to_an_end() -> Outcome {
    let answer = format!("submit <> {ALICE} again");
    let more = &["--grant", "submit", "--on-failure", "skip"];
    let server = usual(&["one", "two"].map(|name| Script { more, ..steers(name, "on-submission", &answer) }))?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    one(&server, "user")?;
    wait_empty(&server);
    // Each of the two answers, and each of them answers the other's answers, eight deep.
    let count = server.maildir("alice").read()?.len();
    assert!((2..=16).contains(&count), "{count}");
    Ok(())
}
