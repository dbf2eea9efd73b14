//! Listeners with demands of their own: proxies, rates, greetings.

use std::io;
use std::net::SocketAddr;

use basin_tests::client::Client;
use basin_tests::server::TestServer;
use basin_tests::settings::{Settings, free_address};
use basin_tests::wait;

use crate::{HELLO, Outcome, SENDER, USER};

fn server(listener: &str) -> io::Result<TestServer> {
    TestServer::start_with(Settings { listener: listener.to_owned(), ..Settings::usual() })
}

#[test]
fn a_second_listener_has_its_own_name_and_limits() -> Outcome {
    let address = free_address();
    let tables = format!(
        "[[listener]]\nname = \"other\"\naddress = \"{address}\"\nhost-name = \"mx.other.example\"\nbanner = \"hello\"\n\
         max-message-size = \"64KiB\"\n"
    );
    let server = TestServer::start_with(Settings { tables, ..Settings::usual() })?;
    let mut client = Client::connect(address)?;
    assert_eq!(client.expect(220)?.lines, ["mx.other.example hello"]);
    assert!(client.command("EHLO client.example")?.says("SIZE 65536"));
    client.quit()?;
    assert!(server.client()?.command("EHLO client.example")?.says("SIZE 26214400"));
    Ok(())
}

fn proxied(server: SocketAddr, header: &[u8]) -> io::Result<Client> {
    let mut client = Client::connect(server)?;
    client.send(header)?;
    Ok(client)
}

#[test]
fn a_proxy_says_whom_it_speaks_for_and_without_that_it_is_not_let_in() -> Outcome {
    let server = server("proxy-protocol = [\"127.0.0.0/8\"]\nmax-connections-per-client = 1")?;
    let header = |client: &str| format!("PROXY TCP4 {client} 198.51.100.2 4000 25\r\n");
    let mut first = proxied(server.smtp(), header("192.0.2.1").as_bytes())?;
    first.expect(220)?;
    first.command("EHLO client.example")?.require(250)?;
    first.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let received = server.maildir("user").wait_for(1, wait::PATIENCE)?[0].header("Received").unwrap_or_default();
    assert!(received.contains("[192.0.2.1]"), "{received}");
    // Limits are those of the client, not of the proxy.
    proxied(server.smtp(), header("192.0.2.1").as_bytes())?.expect(421)?;
    proxied(server.smtp(), header("192.0.2.2").as_bytes())?.expect(220)?;
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    binary.extend([192, 0, 2, 3, 198, 51, 100, 2, 1, 0, 0, 25]);
    proxied(server.smtp(), &binary)?.expect(220)?;
    for bad in [&b"EHLO client.example\r\n"[..], b"PROXY TCP4 192.0.2.1\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"] {
        assert!(proxied(server.smtp(), bad)?.reply().is_err(), "{bad:?}");
    }
    Ok(())
}

#[test]
fn a_header_from_whom_nobody_trusts_is_no_command() -> Outcome {
    let server = server("")?;
    let mut client = proxied(server.smtp(), b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 25\r\n")?;
    client.expect(220)?;
    client.expect(500).map(drop)
}

#[test]
fn who_speaks_before_the_greeting_is_turned_away() -> Outcome {
    let server = server("greet-delay = \"500ms\"")?;
    let mut early = Client::connect(server.smtp())?;
    early.send(b"EHLO client.example\r\n")?;
    early.expect(554)?;
    server.client()?.quit()
}

#[test]
fn connections_messages_and_recipients_of_a_minute_are_limited() -> Outcome {
    let server = server("max-connections-per-minute = 5\nmax-messages-per-minute = 2\nmax-recipients-per-minute = 3")?;
    let mut client = server.client()?;
    client.deliver(SENDER, &[USER, USER], HELLO)?.require(250)?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command(&format!("RCPT TO:<{USER}>"))?.require(250)?;
    client.command(&format!("RCPT TO:<{USER}>"))?.require(451)?;
    client.command("RSET")?.require(250)?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(451)?;
    client.quit()?;
    for _ in 0..4 {
        Client::connect(server.smtp())?.expect(220)?;
    }
    Client::connect(server.smtp())?.expect(421).map(drop)
}

#[test]
fn a_virtual_server_takes_mail_for_its_own_domains() -> Outcome {
    let address = free_address();
    let tables = format!(
        "[[domain]]\nname = \"other.example\"\nmailboxes = [\"carol\"]\n\
         [[listener]]\nname = \"other\"\naddress = \"{address}\"\ndomains = [\"other.example\"]\n"
    );
    let server = TestServer::start_with(Settings { tables, ..Settings::usual() })?;
    let mut client = Client::greeted(address)?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command(&format!("RCPT TO:<{USER}>"))?.require(550)?;
    client.command("RCPT TO:<carol@other.example>")?.require(250)?;
    client.quit()?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command("RCPT TO:<carol@other.example>")?.require(250).map(drop)
}
