//! The registry changes while sessions are open; none of them is dropped.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use basin_tests::client::Client;
use basin_tests::server::{TestServer, guest};
use basin_tests::wait;

use crate::{HELLO, Outcome, SENDER, USER};

/// How long a change may take to come into force here. The project promises a second, compiling included; how long it
/// takes on a machine that runs other tests beside this one is printed and judged by nobody.
const IN_FORCE: Duration = wait::PATIENCE;

fn registry(server: &TestServer) -> PathBuf {
    server.home().join("registry/registry.toml")
}

/// Whether EHLO comes to show the keyword, or no longer shows it, to new sessions and to this one.
fn comes_to_offer(server: &TestServer, client: &mut Client, keyword: &str, is_offered: bool) -> bool {
    let shows = |client: &mut Client| {
        client.command("EHLO client.example").is_ok_and(|reply| reply.says(keyword) == is_offered)
    };
    // A session of its own for each look: one that says EHLO for ever is closed.
    wait::until_true(IN_FORCE, || server.client().is_ok_and(|mut fresh| shows(&mut fresh))) && shows(client)
}

fn add_welcome(server: &TestServer) -> Outcome {
    let binding = "on-inbound-command:verb=EHLO|XWELCOME";
    server.sink_add(&guest("welcome"), "welcome", binding, &["--grant", "reply"]).map(drop)
}

#[test]
fn a_sink_that_is_added_disabled_enabled_and_removed_is_in_force_in_a_moment() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    assert!(!client.command("EHLO client.example")?.says("XWELCOME"));
    add_welcome(&server)?;
    let start = Instant::now();
    assert!(comes_to_offer(&server, &mut client, "XWELCOME", true), "not within {IN_FORCE:?}:\n{}", server.log());
    println!("in force after {:?}", start.elapsed());
    for (verb, is_offered) in [("disable", false), ("enable", true), ("remove", false)] {
        server.basin_ok(&["sink", verb, "welcome"])?;
        assert!(comes_to_offer(&server, &mut client, "XWELCOME", is_offered), "{verb}:\n{}", server.log());
    }
    client.quit()
}

#[test]
fn a_transaction_that_is_open_during_a_change_is_not_disturbed() -> Outcome {
    let server = TestServer::start()?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command(&format!("RCPT TO:<{USER}>"))?.require(250)?;
    client.command("DATA")?.require(354)?;
    client.send(b"Subject: half\r\n\r\nfirst half\r\n")?;
    let mut other = server.client()?;
    add_welcome(&server)?;
    assert!(comes_to_offer(&server, &mut other, "XWELCOME", true));
    client.send(b"second half\r\n.\r\n")?;
    client.expect(250)?;
    let mails = server.maildir("user").wait_for(1, wait::PATIENCE)?;
    assert!(mails.first().is_some_and(|mail| mail.octets.ends_with(b"first half\r\nsecond half\r\n")));
    Ok(())
}

#[test]
fn a_broken_registry_keeps_the_old_one_in_force_and_says_so() -> Outcome {
    let server = TestServer::start()?;
    add_welcome(&server)?;
    let mut client = server.client()?;
    assert!(comes_to_offer(&server, &mut client, "XWELCOME", true));
    let good = fs::read(registry(&server))?;
    for broken in ["this is not TOML [", "version = 999\n", "version = 1\nunknown-key = 1\n"] {
        let before = server.log().len();
        fs::write(registry(&server), broken)?;
        let complains = || server.log().get(before..).is_some_and(|new| new.contains("registry"));
        assert!(wait::until_true(IN_FORCE, complains), "{broken:?} is not reported:\n{}", server.log());
        assert!(client.command("EHLO client.example")?.says("XWELCOME"), "{broken:?} ends the old registry");
        let mut fresh = server.client()?;
        assert!(fresh.command("EHLO client.example")?.says("XWELCOME"));
    }
    fs::write(registry(&server), good)?;
    server.basin_ok(&["sink", "disable", "welcome"])?;
    assert!(comes_to_offer(&server, &mut client, "XWELCOME", false), "after the repair changes count again");
    Ok(())
}

#[test]
fn load_goes_on_through_many_changes() -> Outcome {
    let server = TestServer::start()?;
    let address = server.smtp();
    let sent = std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let load = scope.spawn(move || -> std::io::Result<usize> {
            let mut client = Client::greeted(address)?;
            let mut sent = 0;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                client.deliver_pipelined(SENDER, USER, HELLO)?.require(250)?;
                sent += 1;
            }
            client.quit()?;
            Ok(sent)
        });
        server.sink_add(&guest("stamp-header"), "stamp", "on-end-of-data", &["--grant", "edit-headers"])?;
        for verb in ["disable", "enable", "disable", "enable", "remove"] {
            server.basin_ok(&["sink", verb, "stamp"])?;
        }
        drop(stop);
        load.join().expect("the client does not panic")
    })?;
    let mails = server.maildir("user").wait_for(sent, wait::PATIENCE)?;
    assert_eq!(mails.len(), sent, "nothing is lost and nothing comes twice");
    Ok(())
}
