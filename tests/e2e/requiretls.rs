//! REQUIRETLS (RFC 8689) from the client to the server behind: kept where the next one can, and told where it cannot.

use std::io;

use basin_test_dns::{TestDns, Zone};
use basin_tests::maildir::Maildir;
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::PATIENCE;
use tokio::runtime::Runtime;

use crate::{HELLO, Outcome};

const CERTIFICATE: &str = "[[certificate]]\nchain-file = \"tls.pem\"\nkey-file = \"tls.key\"\n";

/// Two servers that encrypt, the second of which is known to the first by name, and a resolver that knows it.
struct Pair {
    first: TestServer,
    second: TestServer,
    _dns: TestDns,
    _runtime: Runtime,
}

fn self_signed(server: &TestServer, name: &str) -> Outcome {
    let out = server.home().join("tls").display().to_string();
    server.basin_ok(&["tls", "self-signed", name, "--out", &out]).map(drop)
}

fn pair(listener: &str) -> io::Result<Pair> {
    let domain = "[[domain]]\nname = \"away.example\"\nmailboxes = [\"friend\"]\n[log]\nlevel = \"debug\"\n";
    let mut second = TestServer::prepare(Settings {
        host_name: "mx.away.example".to_owned(),
        listener: listener.to_owned(),
        tables: format!("{CERTIFICATE}{domain}"),
        ..Settings::usual()
    })?;
    self_signed(&second, "mx.away.example")?;
    second.launch()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let zone = Zone::parse("mx.away.example A 127.0.0.1").map_err(io::Error::other)?;
    let dns = runtime.block_on(TestDns::start(zone))?;
    let tables = format!(
        "{CERTIFICATE}[dns]\nservers = [\"{}\"]\n[tls]\nmta-sts = false\nroots = \"{}\"\n\
         [[route]]\ndomains = [\"away.example\"]\nhosts = [\"mx.away.example:{}\"]\n",
        dns.address(),
        second.home().join("tls.pem").display(),
        second.smtp().port(),
    );
    let relay_clients = "[\"127.0.0.1\"]".to_owned();
    let mut first = TestServer::prepare(Settings { tables, relay_clients, ..Settings::usual() })?;
    self_signed(&first, "mx.basin.example")?;
    first.launch()?;
    Ok(Pair { first, second, _dns: dns, _runtime: runtime })
}

/// The mailbox of the recipient, of whose domain the second server is.
fn friend(second: &TestServer) -> Maildir {
    Maildir::at(second.home().join("mail/away.example/friend"))
}

/// Sends a message that is to leave under TLS alone.
fn send(server: &TestServer) -> Outcome {
    let mut client = server.client()?;
    // In the open there is nothing to keep.
    assert!(!client.command("EHLO client.example")?.says("REQUIRETLS"));
    client.command("MAIL FROM:<alice@basin.example> REQUIRETLS")?.require(555)?;
    client.start_tls("mx.basin.example")?;
    assert!(client.command("EHLO client.example")?.says("REQUIRETLS"));
    client.command("MAIL FROM:<alice@basin.example> REQUIRETLS")?.require(250)?;
    client.command("RCPT TO:<friend@away.example>")?.require(250)?;
    client.command("DATA")?.require(354)?;
    client.send(&basin_tests::client::stuffed(HELLO))?;
    client.expect(250).map(drop)
}

#[test]
fn a_message_that_requires_tls_is_passed_on_with_that_demand() -> Outcome {
    let Pair { first, second, _dns, _runtime } = pair("")?;
    send(&first)?;
    let mails = friend(&second).wait_for(1, PATIENCE)?;
    let received = mails.first().map(|mail| mail.headers("Received").concat()).unwrap_or_default();
    assert_eq!(received.matches("with ESMTPS").count(), 2, "{received}");
    let log = second.log();
    let is_asked =
        log.lines().any(|line| line.contains("MAIL FROM:<alice@basin.example>") && line.contains("REQUIRETLS"));
    assert!(is_asked, "{log}");
    Ok(())
}

#[test]
fn a_message_that_requires_tls_comes_back_where_the_next_server_does_not_keep_that() -> Outcome {
    let Pair { first, second, _dns, _runtime } = pair("extensions-off = [\"REQUIRETLS\"]")?;
    send(&first)?;
    let mails = first.maildir("alice").wait_for(1, PATIENCE)?;
    let text: String = mails.iter().map(|mail| String::from_utf8_lossy(&mail.octets).into_owned()).collect();
    assert!(text.contains("Action: failed") && text.contains("Status: 5.7.30"), "{text}");
    // RFC 8689 §5: as if RET=HDRS had been said, the body stays where it is.
    assert!(!text.contains("\r\n\r\nHello.") && !text.contains("\n\nHello."), "{text}");
    assert!(friend(&second).names()?.is_empty());
    Ok(())
}
