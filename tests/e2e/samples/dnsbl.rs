//! Lists in the DNS.

use basin_tests::server::{TestServer, guest};

use super::Dns;
use crate::{HELLO, Outcome, SENDER, USER};

fn server(dns: &Dns, zones: &str) -> std::io::Result<TestServer> {
    let mut server = TestServer::prepare(dns.settings())?;
    let zones = format!("zones={zones}");
    let flags = ["--event", "on-inbound-command:verb=RCPT", "--grant", "dns", "--grant", "read-envelope"];
    let flags = [&flags[..], &["--grant", "reply", "--set", &zones]].concat();
    server.sink_add(&guest("dnsbl"), "dnsbl", "on-connect", &flags)?;
    server.launch()?;
    Ok(server)
}

/// A list that names 127.0.0.1, one that answers what is no listing, and one that does not answer.
const ZONE: &str = "1.0.0.127.list.example A 127.0.0.2\n1.0.0.127.list.example TXT see https://list.example/why\n\
    1.0.0.127.odd.example A 127.255.255.254\n!servfail 1.0.0.127.dead.example\nlist.example A 192.0.2.1\n\
    odd.example A 192.0.2.1\ndead.example A 192.0.2.1\nempty.example A 192.0.2.1";

#[test]
fn a_listed_client_is_refused_and_reaches_the_postmaster() -> Outcome {
    let dns = Dns::with(ZONE)?;
    let server = server(&dns, "empty.example, list.example=127.0.0.2|127.0.0.4")?;
    let mut client = server.client()?;
    for _ in 0..2 {
        let reply = client.deliver(SENDER, &[USER], HELLO)?.require(550)?;
        assert_eq!(reply.lines, ["5.7.1 127.0.0.1 is listed by list.example see https://list.example/why"]);
        client.command("RSET")?.require(250)?;
    }
    client.deliver(SENDER, &["postmaster@basin.example"], HELLO)?.require(250)?;
    assert_eq!(dns.server.times_asked("1.0.0.127.list.example", "TXT"), 1, "once for the session");
    Ok(())
}

#[test]
fn other_codes_other_answers_and_dead_lists_stop_nobody() -> Outcome {
    let dns = Dns::with(ZONE)?;
    let server = server(&dns, "list.example=127.0.0.3, odd.example, dead.example, empty.example")?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    assert!(dns.server.times_asked("1.0.0.127.dead.example", "A") > 0);
    Ok(())
}
