//! Hosts of a sink in place of DNS.

use std::io;
use std::net::SocketAddr;

use basin_test_dns::{TestDns, Zone};
use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::settings::{Settings, free_address};
use basin_tests::wait::PATIENCE;
use tokio::runtime::Runtime;

use super::{play, register, send, wait_for};
use crate::Outcome;
use crate::relaying::{AWAY, text, wait_empty, wait_taken};

/// Two hosts on one port, of which DNS knows the first alone.
struct Net {
    server: TestServer,
    of_dns: NextHop,
    of_sink: NextHop,
    _dns: TestDns,
    _runtime: Runtime,
}

fn net(steps: &str, more: &[&str]) -> io::Result<Net> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let zone =
        Zone::parse("away.example MX 10 mx.away.example\nmx.away.example A 127.0.0.2").map_err(io::Error::other)?;
    let dns = runtime.block_on(TestDns::start(zone))?;
    let port = free_address().port();
    let host = |last| NextHop::start_at(SocketAddr::from(([127, 0, 0, last], port)), Manners::default());
    let (of_dns, of_sink) = (host(2)?, host(3)?);
    let tables = format!(
        "[dns]\nservers = [\"{}\"]\n[outbound]\nmx-port = {port}\n[queue]\nfirst-waits = [\"1s\"]\nlongest-wait = \"1s\"\n",
        dns.address()
    );
    let relay_clients = "[\"127.0.0.1\"]".to_owned();
    let mut server = TestServer::prepare(Settings { relay_clients, tables, ..Settings::usual() })?;
    register(&server, "scripted", &[("on-dns-resolve", steps)], more)?;
    server.launch()?;
    Ok(Net { server, of_dns, of_sink, _dns: dns, _runtime: runtime })
}

#[test]
fn hosts_of_a_sink_are_tried_in_place_of_those_in_dns() -> Outcome {
    let net = net("told ; use-hosts gone.example=127.0.0.9,there.example=127.0.0.3", &[])?;
    send(&net.server, &[AWAY])?;
    wait_taken(&net.of_sink, 1);
    assert_eq!(net.of_dns.connections(), 0);
    wait_for(&net.server, "destination away.example failed []");
    wait_empty(&net.server);
    Ok(())
}

#[test]
fn a_sink_that_says_next_or_fails_leaves_it_to_dns() -> Outcome {
    let net = net("next", &[])?;
    for (count, steps) in (1..).zip(["next", "fail on purpose", "use-hosts nonsense"]) {
        play(&net.server, "on-dns-resolve", steps)?;
        send(&net.server, &[AWAY])?;
        wait_taken(&net.of_dns, count);
        wait_empty(&net.server);
    }
    assert_eq!(net.of_sink.connections(), 0);
    Ok(())
}

#[test]
fn a_destination_fails_or_waits_by_the_word_of_a_sink() -> Outcome {
    let net = net("fail 550 5.7.1 nothing goes there", &["--on-failure", "defer"])?;
    send(&net.server, &[AWAY])?;
    let bounce = net.server.maildir("alice").wait_for(1, PATIENCE)?.remove(0);
    assert!(text(&bounce.octets).contains("nothing goes there"), "{}", text(&bounce.octets));
    wait_empty(&net.server);
    let cases = [("defer 450 4.7.1 not at night", "450 4.7.1 not at night"), ("fail on purpose", "451 4.3.0")];
    for (count, (steps, words)) in (1..).zip(cases) {
        play(&net.server, "on-dns-resolve", steps)?;
        send(&net.server, &[AWAY])?;
        wait_for(&net.server, words);
        assert_eq!((net.of_dns.taken().len() + 1, net.of_sink.connections()), (count, 0));
        play(&net.server, "on-dns-resolve", "next")?;
        wait_taken(&net.of_dns, count);
        wait_empty(&net.server);
    }
    Ok(())
}
