//! SIGHUP and listeners: they come, go and change while sessions are open.

use std::fs;
use std::io;
use std::net::SocketAddr;

use basin_tests::client::Client;
use basin_tests::server::TestServer;
use basin_tests::settings::{Settings, free_address};
use basin_tests::wait;
use rustix::process::Signal;

use crate::{HELLO, Outcome, SENDER, USER};

/// Puts another configuration in force; gives what the server logs about it.
fn reload(server: &TestServer, settings: &Settings) -> io::Result<String> {
    let before = server.log().len();
    server.write_config(&settings.text(server.home()))?;
    server.signal(Signal::HUP)?;
    let news = || server.log().get(before..).filter(|log| log.contains("read again")).map(str::to_owned);
    wait::until(wait::PATIENCE, news).ok_or_else(|| io::Error::other(server.log()))
}

fn another(address: SocketAddr, more: &str) -> String {
    format!("[[listener]]\nname = \"another\"\naddress = \"{address}\"\n{more}")
}

#[test]
fn listeners_come_and_go_and_change_and_sessions_go_on() -> Outcome {
    let usual = Settings::usual();
    let server = TestServer::start_with(usual.clone())?;
    let mut open = server.client()?;
    let address = free_address();
    let with_another = Settings {
        listener: "max-message-size = \"64KiB\"\nmax-connections = 2".to_owned(),
        tables: another(address, "banner = \"hello\"\n"),
        ..usual.clone()
    };
    let log = reload(&server, &with_another)?;
    assert!(!log.contains("need a restart"), "{log}");
    let mut guest = Client::connect(address)?;
    assert!(guest.expect(220)?.says("hello"));
    guest.command("EHLO client.example")?.require(250)?;
    assert!(open.command("EHLO client.example")?.says("SIZE 26214400"), "who is in keeps what it began with");
    let mut fresh = server.client()?;
    assert!(fresh.command("EHLO client.example")?.says("SIZE 65536"));
    Client::connect(server.smtp())?.expect(421)?;
    reload(&server, &usual)?;
    assert!(wait::until_true(wait::PATIENCE, || Client::connect(address).is_err()), "the port is given back");
    for client in [&mut guest, &mut open] {
        client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    }
    server.client()?.quit()
}

#[test]
fn a_port_that_cannot_be_had_changes_nothing() -> Outcome {
    let usual = Settings::usual();
    let server = TestServer::start_with(usual.clone())?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let broken = Settings {
        listener: "max-message-size = \"64KiB\"".to_owned(),
        tables: another(taken.local_addr()?, ""),
        ..usual.clone()
    };
    let log = reload(&server, &broken)?;
    assert!(log.contains("not read again") && log.contains("the port is in use"), "{log}");
    assert!(server.client()?.command("EHLO client.example")?.says("SIZE 26214400"));
    let log = reload(&server, &usual)?;
    assert!(log.contains("configuration read again"), "{log}");
    Ok(())
}

#[test]
fn keys_that_need_a_restart_are_named() -> Outcome {
    let usual = Settings::usual();
    let server = TestServer::start_with(usual.clone())?;
    let other = Settings {
        limits: "drain-time = \"9s\"".to_owned(),
        host_name: "mx.other.example".to_owned(),
        tables: "[log]\nformat = \"json\"\n".to_owned(),
        ..usual
    };
    let log = reload(&server, &other)?;
    assert!(log.contains("host-name, limits.drain-time, log.format") && log.contains("need a restart"), "{log}");
    server.client()?.quit()
}

#[test]
fn a_hang_up_during_the_start_is_heard_of_later() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    server.launch_without_waiting()?;
    // SIGHUP is the first of the signals that are caught.
    let status = format!("/proc/{}/status", server.pid());
    let is_caught = || {
        let text = fs::read_to_string(&status).ok()?;
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim().to_owned();
        (u64::from_str_radix(&mask, 16).ok()? & 1 == 1).then_some(())
    };
    wait::until(wait::PATIENCE, is_caught).ok_or_else(|| io::Error::other(server.log()))?;
    server.signal(Signal::HUP)?;
    server.wait_ready()?;
    let is_read = || server.log().contains("configuration read again");
    assert!(wait::until_true(wait::PATIENCE, is_read), "{}", server.log());
    Ok(())
}
