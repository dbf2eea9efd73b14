//! Smart hosts by rule, and what becomes of mail when they fail.

use std::net::SocketAddr;

use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::settings::{Settings, free_address};
use basin_tests::wait::PATIENCE;

use super::{path, relaying, relaying_to, server_of, taken, text};
use crate::{HELLO, Outcome, SENDER};

/// A sender here, so that what comes back arrives in a mailbox.
const HERE: &str = "alice@basin.example";

fn server(settings: Settings, routes: &str) -> std::io::Result<TestServer> {
    let routes = format!("routes={routes}");
    let flags = ["--grant", "route", "--grant", "read-envelope", "--grant", "reply", "--set", &routes];
    server_of(settings, "router", "on-route", &flags)
}

fn hop(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}

fn recipients(server: &TestServer, hop: &NextHop) -> Vec<String> {
    let mut all: Vec<String> =
        taken(server, hop).iter().flat_map(|mail| &mail.recipients).map(|line| path(line).to_owned()).collect();
    all.sort();
    all
}

#[test]
fn mail_goes_where_the_table_says_by_recipient_and_by_sender() -> Outcome {
    let [usual, corp, bulk] = [(); 3].map(|()| NextHop::start(Manners::default()));
    let (usual, corp, bulk) = (usual?, corp?, bulk?);
    let routes = format!(
        "*.corp.example {}; from=bulk.example {}; here.example local; direct.example direct; * {}",
        hop(corp.address()),
        hop(bulk.address()),
        hop(bulk.address())
    );
    let tables = format!("[[route]]\ndomains = [\"direct.example\"]\nhosts = [\"{}\"]\n", usual.address());
    let server = server(relaying(&tables), &routes)?;
    let mut client = server.client()?;
    let people = ["a@mail.corp.example", "b@direct.example", "c@other.example"];
    client.deliver(SENDER, &people, HELLO)?.require(250)?;
    client.deliver("news@bulk.example", &["d@direct.example"], HELLO)?.require(250)?;
    assert_eq!(recipients(&server, &corp), ["a@mail.corp.example"]);
    assert_eq!(recipients(&server, &usual), ["b@direct.example"]);
    assert_eq!(recipients(&server, &bulk), ["c@other.example", "d@direct.example"]);
    Ok(())
}

#[test]
fn a_hop_that_is_down_gives_way_to_the_next_at_once() -> Outcome {
    let second = NextHop::start(Manners::default())?;
    let routes = format!("* {} {}", hop(free_address()), hop(second.address()));
    let mut settings = relaying("");
    // A wait that nobody would sit through: the next hop is not the next attempt.
    settings.tables = "[queue]\nfirst-waits = [\"1h\"]\n".to_owned();
    let server = server(settings, &routes)?;
    server.client()?.deliver(SENDER, &["a@away.example"], HELLO)?.require(250)?;
    assert_eq!(recipients(&server, &second), ["a@away.example"]);
    Ok(())
}

#[test]
fn when_all_hops_failed_the_sink_is_asked_again_and_chooses_others() -> Outcome {
    let busy = Manners {
        script: std::sync::Arc::new(|line, _| line.starts_with("RCPT").then(|| "451 4.3.2 busy".to_owned())),
        ..Manners::default()
    };
    let [busy, backup, usual] = [busy, Manners::default(), Manners::default()].map(NextHop::start);
    let (busy, backup, usual) = (busy?, backup?, usual?);
    let routes = format!(
        "one.example {} {} else {}; two.example {} else direct",
        hop(free_address()),
        hop(busy.address()),
        hop(backup.address()),
        hop(busy.address())
    );
    let server = server(relaying_to(&usual), &routes)?;
    server.client()?.deliver(SENDER, &["a@one.example", "b@two.example"], HELLO)?.require(250)?;
    assert_eq!(recipients(&server, &backup), ["a@one.example"]);
    assert_eq!(recipients(&server, &usual), ["b@two.example"]);
    assert!(busy.taken().is_empty(), "{:?} {:?}", busy.lines(), busy.taken());
    let log = server.log();
    assert!(log.contains("one.example: host 127.0.0.1:") && log.contains("failed, newest first"), "{log}");
    Ok(())
}

#[test]
fn what_failed_is_known_after_a_kill() -> Outcome {
    let backup = NextHop::start(Manners::default())?;
    let routes = format!("* {} else {}", hop(free_address()), hop(backup.address()));
    let mut settings = relaying("");
    settings.tables = "[queue]\nfirst-waits = [\"3s\"]\nlongest-wait = \"3s\"\n".to_owned();
    let mut server = server(settings, &routes)?;
    server.client()?.deliver(SENDER, &["a@away.example"], HELLO)?.require(250)?;
    let has_failed = || server.log().contains("a@away.example") && server.log().contains("deferred");
    assert!(basin_tests::wait::until_true(PATIENCE, has_failed), "{}", server.log());
    assert!(backup.taken().is_empty(), "the other hop is for the next attempt");
    server.kill()?;
    server.launch()?;
    assert_eq!(recipients(&server, &backup), ["a@away.example"]);
    Ok(())
}

#[test]
fn a_store_is_reached_by_the_name_of_its_route_and_an_unknown_name_waits() -> Outcome {
    let store = NextHop::start(Manners { is_lmtp: true, ..Manners::default() })?;
    let tables = format!("[[route]]\nname = \"store\"\nprotocol = \"lmtp\"\nhosts = [\"{}\"]\n", store.address());
    let server = server(relaying(&tables), "stored.example lmtp:store; other.example lmtp:nowhere")?;
    server.client()?.deliver(SENDER, &["a@stored.example"], HELLO)?.require(250)?;
    assert_eq!(recipients(&server, &store), ["a@stored.example"]);
    assert!(store.lines().iter().any(|line| line.starts_with("LHLO")), "{:?}", store.lines());
    server.client()?.deliver(SENDER, &["b@other.example"], HELLO)?.require(250)?;
    let is_told = || server.log().contains("not found");
    assert!(basin_tests::wait::until_true(PATIENCE, is_told), "{}", server.log());
    assert_eq!(server.metrics()?.total("basin_spool_messages"), Some(1.0), "it waits for a table that is right");
    Ok(())
}

#[test]
fn a_refusal_and_a_demand_for_tls_that_nobody_meets_keep_mail_here() -> Outcome {
    let plain = NextHop::start(Manners::default())?;
    let routes = format!("closed.example reject nobody reads that; * {}/required", hop(plain.address()));
    let server = server(relaying(""), &routes)?;
    server.client()?.deliver(HERE, &["a@closed.example"], HELLO)?.require(250)?;
    let bounce = server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    let shown = text(&bounce.octets);
    assert!(shown.contains("550 5.7.1 nobody reads that") && shown.contains("a@closed.example"), "{shown}");
    server.client()?.deliver(HERE, &["a@away.example"], HELLO)?.require(250)?;
    let is_tried = || plain.lines().iter().filter(|line| line.starts_with("EHLO")).count() > 1;
    assert!(basin_tests::wait::until_true(PATIENCE, is_tried), "{}", server.log());
    assert!(plain.lines().iter().all(|line| !line.starts_with("MAIL")), "{:?}", plain.lines());
    Ok(())
}
