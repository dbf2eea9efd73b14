//! TLS towards clients: STARTTLS, implicit TLS, certificates that change.

use std::fs;

use basin_tests::client::Client;
use basin_tests::server::TestServer;
use basin_tests::settings::{Settings, free_address};
use basin_tests::wait;

use crate::{HELLO, Outcome, SENDER, USER};

/// A server with a certificate, and further keys of its listener.
pub(crate) fn server_with(listener: &str, tables: &str) -> std::io::Result<TestServer> {
    let settings = Settings {
        listener: listener.to_owned(),
        tables: format!("[[certificate]]\nname = \"main\"\nchain-file = \"tls.pem\"\nkey-file = \"tls.key\"\n{tables}"),
        ..Settings::usual()
    };
    let mut server = TestServer::prepare(settings)?;
    make_certificate(&server, "tls", "mx.basin.example")?;
    server.launch()?;
    Ok(server)
}

fn make_certificate(server: &TestServer, file: &str, name: &str) -> Outcome {
    let out = server.home().join(file).display().to_string();
    server.basin_ok(&["tls", "self-signed", name, "--out", &out]).map(drop)
}

#[test]
fn a_message_arrives_over_starttls_and_says_so() -> Outcome {
    let server = server_with("", "")?;
    let mut client = server.client()?;
    assert!(client.command("EHLO client.example")?.says("STARTTLS"));
    client.start_tls("mx.basin.example")?;
    client.command("MAIL FROM:<a@client.example>")?.require(503)?;
    let offered = client.command("EHLO client.example")?.require(250)?;
    assert!(!offered.says("STARTTLS"), "{offered:?}");
    client.command("STARTTLS")?.require(503)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    client.quit()?;
    let mails = server.maildir("user").wait_for(1, wait::PATIENCE)?;
    let received = mails[0].header("Received").unwrap_or_default();
    assert!(received.contains("with ESMTPS"), "{received}");
    Ok(())
}

#[test]
fn what_is_sent_behind_starttls_in_the_open_is_never_taken_for_commands() -> Outcome {
    let server = server_with("", "")?;
    let mut client = server.client()?;
    client.send(b"STARTTLS\r\nMAIL FROM:<injected@client.example>\r\n")?;
    // Not a word of 220: the connection is over.
    client.closed()
}

#[test]
fn mail_waits_for_tls_where_the_listener_demands_it() -> Outcome {
    let server = server_with("tls = \"required\"", "")?;
    let mut client = server.client()?;
    client.command("MAIL FROM:<a@client.example>")?.require(530)?;
    client.start_tls("mx.basin.example")?;
    client.command("EHLO client.example")?.require(250)?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    client.quit()
}

#[test]
fn implicit_tls_begins_before_the_greeting() -> Outcome {
    let address = free_address();
    let second = format!("[[listener]]\nname = \"submissions\"\naddress = \"{address}\"\ntls = \"implicit\"\n");
    let server = server_with("", &second)?;
    let mut client = Client::connect_tls(address, "mx.basin.example")?;
    client.expect(220)?;
    assert!(!client.command("EHLO client.example")?.require(250)?.says("STARTTLS"));
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    client.quit()?;
    // In the open nobody answers, and the server goes on.
    let mut plain = Client::connect(address)?;
    plain.send(b"EHLO client.example\r\n")?;
    assert!(plain.reply().is_err());
    server.client()?.quit()
}

#[test]
fn a_new_certificate_is_in_force_without_a_restart_and_a_broken_one_never() -> Outcome {
    let server = server_with("", "")?;
    let shown = || -> std::io::Result<Vec<u8>> {
        let mut client = server.client()?;
        client.start_tls("mx.basin.example")?;
        client.command("EHLO client.example")?.require(250)?;
        client.server_certificate()
    };
    let first = shown()?;
    let home = server.home();
    fs::write(home.join("tls.pem"), "-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")?;
    let is_told = || server.log().contains("certificates and users not read again");
    assert!(wait::until_true(wait::PATIENCE, is_told), "{}", server.log());
    assert_eq!(shown()?, first, "the old one stays in force");
    make_certificate(&server, "next", "mx.basin.example")?;
    fs::rename(home.join("next.key"), home.join("tls.key"))?;
    fs::rename(home.join("next.pem"), home.join("tls.pem"))?;
    assert!(wait::until_true(wait::PATIENCE, || shown().is_ok_and(|now| now != first)), "{}", server.log());
    Ok(())
}

#[test]
fn the_configuration_check_names_the_certificate_that_is_wrong() -> Outcome {
    let server = server_with("", "")?;
    assert!(server.basin_ok(&["check"])?.contains("main: for mx.basin.example; valid until"));
    fs::write(server.home().join("tls.pem"), "")?;
    let output = server.basin(&["check"])?;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("certificate  main: cannot use the certificate in"), "{text}");
    Ok(())
}
