//! What operators do to a queue while its server runs, and what the servers behind it see of that.

use std::fs;
use std::process::Stdio;

use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::settings::{Settings, free_address};
use basin_tests::wait::{PATIENCE, until, until_true};

use crate::{HELLO, Outcome, SENDER};

const HERE: &str = "alice@basin.example";

/// A server that relays for this machine, waits long between attempts, and has this next hop for everything.
fn settings(hop: std::net::SocketAddr) -> Settings {
    Settings {
        relay_clients: "[\"127.0.0.1\"]".to_owned(),
        tables: format!(
            "[queue]\nfirst-waits = [\"1h\"]\nlongest-wait = \"1h\"\n[[route]]\ndomains = [\"*\"]\nhosts = [\"{hop}\"]\n"
        ),
        ..Settings::usual()
    }
}

/// A server with three messages that wait because nobody listens where they go: to one.example from `SENDER`, to
/// two.example and to three.example from `HERE`.
fn stuck(hop: std::net::SocketAddr) -> std::io::Result<TestServer> {
    let server = TestServer::start_with(settings(hop))?;
    for (from, to) in [(SENDER, "a@one.example"), (HERE, "b@two.example"), (HERE, "c@three.example")] {
        server.client()?.deliver(from, &[to], HELLO)?.require(250)?;
    }
    // All three were tried, or wait for the destination that was.
    let is_tried = || server.log().contains("destination left alone");
    assert!(until_true(PATIENCE, is_tried), "{}", server.log());
    Ok(server)
}

fn ids(server: &TestServer, filter: &[&str]) -> Vec<String> {
    let listed = server.basin_ok(&[&["queue", "list", "--json"], filter].concat()).expect("a list");
    let rows = listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    rows.map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

fn one(server: &TestServer, filter: &str) -> String {
    let found = ids(server, &[filter]);
    assert_eq!(found.len(), 1, "{filter}");
    found.into_iter().next().unwrap_or_default()
}

fn wait_taken(hop: &NextHop, recipient: &str, server: &TestServer) {
    let is_there = |line: &String| line.starts_with(&format!("RCPT TO:<{recipient}>"));
    let is_taken = || hop.taken().iter().any(|taken| taken.recipients.iter().any(is_there));
    assert!(until_true(PATIENCE, is_taken), "{recipient}: {:?}\n{}", hop.lines(), server.log());
}

#[test]
fn lists_are_filtered_and_messages_shown_octet_for_octet() -> Outcome {
    let server = stuck(free_address())?;
    assert_eq!(ids(&server, &[]).len(), 3);
    assert_eq!(ids(&server, &["sender=alice@*"]).len(), 2);
    assert_eq!(ids(&server, &["sender=alice@*", "domain=two.example|one.example"]).len(), 1);
    assert_eq!(ids(&server, &["size>1M"]).len(), 0);
    assert_eq!(ids(&server, &["age<1h", "state!=held"]).len(), 3);
    let id = one(&server, "domain=one.example");
    let table = server.basin_ok(&["queue", "list", "recipient=a@one.example"])?;
    assert!(table.contains(&id) && table.contains(SENDER) && !table.contains("b@two.example"), "{table}");
    let shown = server.basin_ok(&["queue", "show", &id])?;
    for part in [SENDER, "a@one.example", "Subject: hello"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let content = server.basin(&["queue", "cat", &id])?.stdout;
    assert!(content.ends_with(HELLO), "{}", String::from_utf8_lossy(&content));
    let wrong = server.basin(&["queue", "list", "colour=red"])?;
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("colour"));
    let summary = server.basin_ok(&["queue", "summary", "--by", "domain"])?;
    for domain in ["one.example", "two.example", "three.example"] {
        assert!(summary.contains(domain), "{summary}");
    }
    Ok(())
}

#[test]
fn what_is_held_stays_until_it_is_released_and_what_waits_can_be_tried_at_once() -> Outcome {
    let address = free_address();
    let server = stuck(address)?;
    let held = one(&server, "domain=one.example");
    let said = server.basin_ok(&["queue", "hold", &held, "--reason", "until we know more"])?;
    assert!(said.starts_with("hold: 1 message changed"), "{said}");
    assert_eq!(ids(&server, &["state=held"]), std::slice::from_ref(&held));
    let hop = NextHop::start_at(address, Manners::default())?;
    server.basin_ok(&["queue", "retry", "--all", "--yes"])?;
    wait_taken(&hop, "b@two.example", &server);
    wait_taken(&hop, "c@three.example", &server);
    let is_alone = || ids(&server, &[]) == [held.clone()];
    assert!(until_true(PATIENCE, is_alone), "{}", server.log());
    assert_eq!(hop.taken().len(), 2, "the held one did not go");
    server.basin_ok(&["queue", "release", &held])?;
    wait_taken(&hop, "a@one.example", &server);
    let story = until(PATIENCE, || server.basin_ok(&["trace", &held]).ok().filter(|told| told.contains("left the")));
    let story = story.unwrap_or_default();
    let who = |did: &str| story.lines().any(|line| line.contains(did) && !line.contains("by an operator"));
    assert!(who("held by ") && who("released by ") && story.contains("until we know more"), "{story}");
    Ok(())
}

#[test]
fn a_reroute_sends_to_another_server_and_only_what_was_chosen() -> Outcome {
    let server = stuck(free_address())?;
    let other = NextHop::start(Manners::default())?;
    let to = format!("[127.0.0.1]:{}", other.address().port());
    server.basin_ok(&["queue", "reroute", "domain=two.example", "--to", &to])?;
    wait_taken(&other, "b@two.example", &server);
    assert!(until_true(PATIENCE, || ids(&server, &[]).len() == 2), "{}", server.log());
    assert_eq!(other.taken().len(), 1);
    Ok(())
}

#[test]
fn an_expired_message_comes_back_and_a_deleted_one_does_not() -> Outcome {
    let server = stuck(free_address())?;
    let dry = server.basin_ok(&["queue", "delete", "sender=alice@*", "--dry-run"])?;
    assert!(dry.starts_with("delete: 2 messages meant, nothing was changed"), "{dry}");
    server.basin_ok(&["queue", "delete", "domain=three.example"])?;
    server.basin_ok(&["queue", "expire", "domain=two.example"])?;
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    let shown = String::from_utf8_lossy(&bounce.octets).into_owned();
    assert!(shown.contains("b@two.example") && shown.contains("Action: failed"), "{shown}");
    assert!(shown.contains("given up by the operator of this server"), "it is no time-out: {shown}");
    assert!(until_true(PATIENCE, || ids(&server, &[]).len() == 1), "{}", server.log());
    assert_eq!(server.maildir("alice").read()?.len(), 1, "nobody is told of what was deleted");
    Ok(())
}

#[test]
fn mail_for_a_destination_that_is_down_says_so_and_is_moved_whole() -> Outcome {
    let address = free_address();
    let server = stuck(address)?;
    let hop = format!("[{}]:{}", address.ip(), address.port());
    assert!(until_true(PATIENCE, || ids(&server, &["state=deferred"]).len() == 3), "{}", server.log());
    assert_eq!(ids(&server, &["state=ready"]).len(), 0);
    assert_eq!(ids(&server, &["destination=two.example"]).len(), 3, "a domain stands for the server of its route");
    let waits = format!("waits for {hop}, which is down since ");
    let list = server.basin_ok(&["queue", "list"])?;
    assert_eq!(list.matches(&waits).count(), 3, "{list}");
    let id = one(&server, "domain=two.example");
    let shown = server.basin_ok(&["queue", "show", &id])?;
    assert!(shown.contains(&waits) && shown.contains(", next probe at "), "{shown}");
    let shown: serde_json::Value = serde_json::from_str(&server.basin_ok(&["queue", "show", &id, "--json"])?)?;
    assert_eq!((&shown["waits_for"][0]["name"], &shown["waits_for"][0]["state"]), (&hop.into(), &"down".into()));
    let told = until(PATIENCE, || server.basin_ok(&["trace", &id]).ok().filter(|told| told.contains(&waits)));
    assert!(told.is_some(), "{}", server.basin_ok(&["trace", &id])?);
    // To delete what others wait for too takes a word more.
    let refused = server.command(&["queue", "delete", "destination=two.example"]).stdin(Stdio::null()).output()?;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("the server of its route"), "{why}");
    let place = server.home().join("export").display().to_string();
    let said = server.basin_ok(&["queue", "export", "state=deferred", "--to", &place, "--move"])?;
    assert!(said.starts_with("exported: 3 messages"), "{said}");
    assert_eq!(ids(&server, &[]).len(), 0);
    let is_moved = |told: &String| told.contains("moved to another queue by an operator, out of the queue");
    assert!(until(PATIENCE, || server.basin_ok(&["trace", &id]).ok().filter(is_moved)).is_some());
    let said = server.basin_ok(&["queue", "retry", "destination=two.example"])?;
    assert!(said.starts_with("retry: no message of the queue is meant by that"), "{said}");
    Ok(())
}

#[test]
fn what_one_server_exports_another_delivers_once() -> Outcome {
    let server = stuck(free_address())?;
    let directory = server.home().join("export");
    let place = directory.display().to_string();
    let said = server.basin_ok(&["queue", "export", "sender=alice@*", "--to", &place, "--move"])?;
    assert!(said.starts_with("exported: 2 messages"), "{said}");
    assert_eq!(ids(&server, &[]).len(), 1, "what was moved is gone here");
    let hop = NextHop::start(Manners::default())?;
    let second = TestServer::start_with(settings(hop.address()))?;
    let said = second.basin_ok(&["queue", "import", &place])?;
    assert!(said.starts_with("imported: 2 messages"), "{said}");
    wait_taken(&hop, "b@two.example", &second);
    wait_taken(&hop, "c@three.example", &second);
    assert!(hop.taken().iter().all(|taken| taken.content().ends_with(HELLO)), "octet for octet");
    assert_eq!(hop.taken().len(), 2);
    // The tracking log is written beside the work.
    let story = until(PATIENCE, || second.basin_ok(&["trace", "--recipient", "b@two.example"]).ok());
    let story = story.ok_or_else(|| std::io::Error::other("no story of the message that was taken in"))?;
    assert!(story.contains("imported by "), "{story}");
    Ok(())
}

#[test]
fn a_backup_of_a_running_server_is_restored_elsewhere_and_delivered() -> Outcome {
    let server = stuck(free_address())?;
    let backup = server.home().join("backup").display().to_string();
    server.basin_ok(&["spool", "backup", &backup])?;
    server.basin_ok(&["spool", "check", &backup])?;
    server.basin_ok(&["spool", "check"])?;
    assert_eq!(ids(&server, &[]).len(), 3, "the server goes on with its own");
    let hop = NextHop::start(Manners::default())?;
    let mut second = TestServer::prepare(settings(hop.address()))?;
    fs::create_dir_all(second.home().join("spool"))?;
    second.basin_ok(&["spool", "restore", &backup])?;
    second.launch()?;
    second.basin_ok(&["queue", "retry", "--all", "--yes"])?;
    for recipient in ["a@one.example", "b@two.example", "c@three.example"] {
        wait_taken(&hop, recipient, &second);
    }
    assert_eq!(hop.taken().len(), 3);
    assert!(hop.taken().iter().all(|taken| taken.content().ends_with(HELLO)));
    Ok(())
}
