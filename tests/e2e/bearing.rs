//! What the server knows of its clients, and how long it bears with those that are of no use.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use basin_test_dns::{TestDns, Zone};
use basin_tests::client::Client;
use basin_tests::process::memory_kib;
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::{PATIENCE, until_true};
use tokio::runtime::Runtime;

use crate::{HELLO, Outcome, SENDER, USER};

const ZONE: &str = "
    1.2.0.192.in-addr.arpa PTR mail.client.example
    mail.client.example A 192.0.2.1
    2.2.0.192.in-addr.arpa PTR mail.bank.example
    mail.bank.example A 198.51.100.7
    !silence 3.2.0.192.in-addr.arpa
    client.example TXT v=spf1 ip4:192.0.2.1 -all
";

/// Growth of the server while somebody reads no replies, in KiB: its buffers, and what the allocator keeps besides.
const GROWTH_KIB_MAX: u64 = 4 * 1024;

/// The time that a reply waits for its reader, and over which the rate of a text is measured.
const A_MINUTE: Duration = Duration::from_secs(60);

struct Named {
    server: TestServer,
    dns: TestDns,
    _runtime: Runtime,
}

/// Behind a proxy there are strangers, and what is known of their mail is stated without a word in the configuration.
fn named(listener: &str) -> io::Result<Named> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let dns = runtime.block_on(TestDns::start(Zone::parse(ZONE).map_err(io::Error::other)?))?;
    let tables = format!("[dns]\nservers = [\"{}\"]\n", dns.address());
    let listener = format!("proxy-protocol = [\"127.0.0.1\"]\n{listener}");
    let server = TestServer::start_with(Settings { listener, tables, ..Settings::usual() })?;
    Ok(Named { server, dns, _runtime: runtime })
}

/// Connects as that client and waits for the greeting.
fn from(server: &TestServer, address: &str) -> io::Result<Client> {
    let mut client = Client::connect(server.smtp())?;
    client.send(format!("PROXY TCP4 {address} 198.51.100.2 4000 25\r\n").as_bytes())?;
    client.expect(220)?;
    client.command("EHLO client.example")?.require(250)?;
    Ok(client)
}

#[test]
fn the_name_of_a_client_that_leads_back_to_it_is_in_the_fields_of_its_mail_and_no_other_is() -> Outcome {
    let Named { server, dns: _dns, _runtime } = named("client-names = true")?;
    for (count, address) in ["192.0.2.1", "192.0.2.2"].into_iter().enumerate() {
        from(&server, address)?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
        server.maildir("user").wait_for(count + 1, PATIENCE)?;
    }
    let mails = server.maildir("user").read()?;
    let field = |address: &str, name: &str| {
        let own = |mail: &&basin_tests::maildir::Mail| mail.header("Received").is_some_and(|it| it.contains(address));
        mails.iter().find(own).and_then(|mail| mail.header(name)).unwrap_or_default()
    };
    let received = field("[192.0.2.1]", "Received");
    assert!(received.starts_with("from client.example (mail.client.example [192.0.2.1])"), "{received}");
    let results = field("[192.0.2.1]", "Authentication-Results");
    assert!(results.contains("iprev=pass policy.iprev=192.0.2.1") && results.contains("spf=pass"), "{results}");
    let (received, results) = (field("[192.0.2.2]", "Received"), field("[192.0.2.2]", "Authentication-Results"));
    assert!(received.starts_with("from client.example ([192.0.2.2])"), "{received}");
    assert!(results.contains("spf=") && !results.contains("iprev"), "{results}");
    Ok(())
}

#[test]
fn a_name_server_that_says_nothing_holds_the_greeting_for_two_seconds_and_nobody_is_asked_where_no_name_is_wanted()
-> Outcome {
    let Named { server, dns, _runtime } = named("client-names = true")?;
    let begun = Instant::now();
    from(&server, "192.0.2.3")?.quit()?;
    let waited = begun.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
    assert!(dns.times_asked("3.2.0.192.in-addr.arpa", "PTR") > 0);
    let Named { server, dns, _runtime } = named("")?;
    from(&server, "192.0.2.1")?.quit()?;
    assert_eq!(dns.asked(), []);
    Ok(())
}

#[test]
fn commands_without_use_end_the_session_where_there_are_more_than_the_listener_bears() -> Outcome {
    let settings = Settings { listener: "max-idle-commands = 5".to_owned(), ..Settings::usual() };
    let server = TestServer::start_with(settings)?;
    let mut client = server.client()?;
    // A message begins the count anew, and EHLO, MAIL, RCPT and DATA of use are not in it.
    for _ in 0..3 {
        for line in ["NOOP", "RSET", "VRFY x", "HELP"] {
            assert!(client.command(line)?.is_success(), "{line}");
        }
        client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    }
    let codes: Vec<u16> = (0..6).map(|_| Ok(client.command("NOOP")?.code)).collect::<io::Result<_>>()?;
    assert_eq!(codes, [250, 250, 250, 250, 250, 421]);
    client.closed()
}

/// Sends a text as slowly as that, and says what came of it and when.
fn trickle(server: &TestServer) -> io::Result<(String, Duration)> {
    let mut slow = server.client()?;
    slow.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    slow.command(&format!("RCPT TO:<{USER}>"))?.require(250)?;
    slow.command("DATA")?.require(354)?;
    slow.patience(Duration::from_secs(1))?;
    let begun = Instant::now();
    while begun.elapsed() < 2 * A_MINUTE {
        let is_open = slow.send(b"a line a second\r\n").is_ok();
        match slow.reply() {
            Ok(reply) => return Ok((reply.wire(), begun.elapsed())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        assert!(is_open, "closed without a word");
    }
    Err(io::Error::other("the text is still read"))
}

#[test]
fn who_reads_no_reply_costs_no_memory_and_holds_up_nobody_and_who_sends_too_slowly_is_sent_away() -> Outcome {
    let listener = "max-idle-commands = 1000000000\nmin-data-rate = \"64B\"".to_owned();
    let server = TestServer::start_with(Settings { listener, ..Settings::usual() })?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let before = memory_kib(server.pid())?;
    let mut deaf = TcpStream::connect(server.smtp())?;
    deaf.set_write_timeout(Some(Duration::from_millis(500)))?;
    deaf.write_all(b"EHLO client.example\r\n")?;
    let lines = b"NOOP\r\n".repeat(10_000);
    let mut sent: u64 = 0;
    // The server reads on only while its replies can go: in the end the client's own socket is full.
    let end = loop {
        match deaf.write(&lines) {
            Ok(count) => sent += count as u64,
            Err(error) => break error.kind(),
        }
        assert!(sent < 1 << 30, "a client that reads nothing is read for ever");
    };
    assert!(matches!(end, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{end:?}");
    let growth = memory_kib(server.pid())?.saturating_sub(before);
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB for {sent} octets of commands");
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(2, PATIENCE)?;
    // Both limits are a minute long, so they pass side by side.
    let (said, after) = trickle(&server)?;
    assert!(said.starts_with("421 4.4.2 ") && after > A_MINUTE / 2, "{said} after {after:?}");
    let is_alone = || server.metrics().is_ok_and(|all| all.total("basin_sessions_open") == Some(0.0));
    assert!(until_true(A_MINUTE, is_alone), "the session of who reads nothing has no end:\n{}", server.log());
    drop(deaf);
    Ok(())
}
