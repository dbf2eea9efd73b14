//! Mail for domains whose exchangers are found in the DNS, which the tests answer for.

use std::net::{Ipv4Addr, SocketAddr};

use basin_test_dns::{TestDns, Zone};
use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::settings::{Settings, free_address};
use basin_tests::wait::{PATIENCE, until_true};
use tokio::runtime::Runtime;

use crate::{HELLO, Outcome};

const HERE: &str = "alice@basin.example";

/// A server whose only resolver knows that zone, and where exchangers listen on one port of several addresses.
struct Net {
    server: TestServer,
    port: u16,
    _dns: TestDns,
    _runtime: Runtime,
}

impl Net {
    fn with(zone: &str) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let zone = Zone::parse(zone).map_err(std::io::Error::other)?;
        let dns = runtime.block_on(TestDns::start(zone))?;
        let port = free_address().port();
        let server = TestServer::start_with(Settings {
            relay_clients: "[\"127.0.0.1\"]".to_owned(),
            tables: format!(
                "[dns]\nservers = [\"{}\"]\n[outbound]\nmx-port = {port}\n\
                 [queue]\nfirst-waits = [\"1s\"]\nlongest-wait = \"1s\"\n",
                dns.address()
            ),
            ..Settings::usual()
        })?;
        Ok(Self { server, port, _dns: dns, _runtime: runtime })
    }

    fn exchanger(&self, last: u8) -> std::io::Result<NextHop> {
        NextHop::start_at(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), self.port)), Manners::default())
    }

    fn send(&self, recipient: &str) -> Outcome {
        self.server.client()?.deliver(HERE, &[recipient], HELLO)?.require(250).map(drop)
    }

    fn wait_taken(&self, hop: &NextHop) {
        assert!(until_true(PATIENCE, || hop.taken().len() == 1), "{:?}\n{}", hop.lines(), self.server.log());
    }
}

const TWO: &str = "away.example MX 20 second.away.example\naway.example MX 10 first.away.example\n\
    first.away.example A 127.0.0.2\nsecond.away.example A 127.0.0.3";

#[test]
fn the_exchanger_with_the_lowest_preference_gets_the_mail() -> Outcome {
    let net = Net::with(TWO)?;
    let (first, second) = (net.exchanger(2)?, net.exchanger(3)?);
    net.send("friend@away.example")?;
    net.wait_taken(&first);
    assert_eq!(second.connections(), 0);
    Ok(())
}

#[test]
fn where_the_first_exchanger_is_dead_the_second_gets_it_in_the_same_visit() -> Outcome {
    let net = Net::with(TWO)?;
    let second = net.exchanger(3)?;
    net.send("friend@away.example")?;
    net.wait_taken(&second);
    assert!(!net.server.log().contains("deferred"), "{}", net.server.log());
    Ok(())
}

#[test]
fn without_exchangers_the_address_of_the_domain_is_taken() -> Outcome {
    let net = Net::with("plain.example A 127.0.0.4")?;
    let hop = net.exchanger(4)?;
    net.send("friend@plain.example")?;
    net.wait_taken(&hop);
    Ok(())
}

#[test]
fn mail_for_a_domain_that_wants_none_or_is_none_comes_back_at_once() -> Outcome {
    let net = Net::with("silent.example MX 0 .\nsilent.example A 127.0.0.5")?;
    let hop = net.exchanger(5)?;
    for (domain, status) in [("silent.example", "5.1.10"), ("nowhere.example", "5.1.2")] {
        let before = net.server.maildir("alice").read()?.len();
        net.send(&format!("friend@{domain}"))?;
        let bounces = net.server.maildir("alice").wait_for(before + 1, PATIENCE)?;
        let is_told =
            |text: &str| text.contains(&format!("friend@{domain}")) && text.contains(&format!("Status: {status}"));
        let shown: Vec<String> =
            bounces.iter().map(|bounce| String::from_utf8_lossy(&bounce.octets).into_owned()).collect();
        assert!(shown.iter().any(|text| is_told(text)), "{domain}: {shown:#?}");
    }
    assert_eq!(hop.connections(), 0, "a null MX means the address too");
    Ok(())
}
