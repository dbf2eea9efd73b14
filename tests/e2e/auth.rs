//! Logins over the wire: users that the command line made, on encrypted connections.

use std::io::{self, Write as _};
use std::process::Stdio;

use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait;

use crate::{HELLO, Outcome, SENDER};

/// `basin user` with a password on standard input.
pub(crate) fn user(server: &TestServer, verb: &str, name: &str, password: &str) -> io::Result<bool> {
    let mut command = server.command(&["user", verb, name]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut input = child.stdin.take().ok_or_else(|| io::Error::other("no standard input"))?;
    writeln!(input, "{password}")?;
    drop(input);
    Ok(child.wait()?.success())
}

fn server() -> io::Result<TestServer> {
    server_with("")
}

/// A server with TLS and alice among its users, and further keys of its listener.
pub(crate) fn server_with(listener: &str) -> io::Result<TestServer> {
    server_of(&format!("auth = true\n{listener}"), "")
}

fn server_of(listener: &str, tables: &str) -> io::Result<TestServer> {
    let common = "[auth]\nusers-file = \"users\"\n[[certificate]]\nchain-file = \"tls.pem\"\nkey-file = \"tls.key\"\n";
    let settings = Settings { listener: listener.to_owned(), tables: format!("{common}{tables}"), ..Settings::usual() };
    let mut server = TestServer::prepare(settings)?;
    let out = server.home().join("tls").display().to_string();
    server.basin_ok(&["tls", "self-signed", "mx.basin.example", "--out", &out])?;
    assert!(user(&server, "add", "alice", "wonder land")?);
    server.launch()?;
    Ok(server)
}

/// The response of PLAIN for alice with "wonder land", and one with another password.
pub(crate) const RIGHT: &str = "AUTH PLAIN AGFsaWNlAHdvbmRlciBsYW5k";
/// See [`RIGHT`].
pub(crate) const WRONG: &str = "AUTH PLAIN AGFsaWNlAHdyb25n";

#[test]
fn who_logs_in_may_send_to_any_domain_and_nobody_else() -> Outcome {
    let server = server()?;
    let mut client = server.client()?;
    assert!(!client.command("EHLO client.example")?.says("AUTH "), "not in the open");
    client.command(RIGHT)?.require(538)?;
    client.start_tls("mx.basin.example")?;
    let offered = client.command("EHLO client.example")?.require(250)?;
    assert!(offered.says("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"), "{offered:?}");
    client.deliver(SENDER, &["someone@elsewhere.example"], HELLO)?.require(550)?;
    client.command("RSET")?.require(250)?;
    client.command(WRONG)?.require(535)?;
    client.command(RIGHT)?.require(235)?;
    client.deliver(SENDER, &["someone@elsewhere.example"], HELLO)?.require(250)?;
    client.quit()?;
    let log = server.log();
    assert!(!log.contains("wonder land") && !log.contains("AGFsaWNl"), "no password is logged: {log}");
    let page = server.metrics()?;
    assert_eq!(page.total("basin_logins_total"), Some(2.0));
    Ok(())
}

#[test]
fn basin_send_logs_in_over_tls_with_a_password_that_is_no_argument() -> Outcome {
    let server = server()?;
    std::fs::write(server.home().join("password"), "wonder land\n")?;
    let address = server.smtp().to_string();
    let to = ["--server", &address, "--from", SENDER, "--to", "someone@elsewhere.example", "-v"];
    let login = ["--tls", "starttls", "--user", "alice", "--password-file", "password"];
    let send = |more: &[&str]| server.command(&[&["send"], &to[..], more].concat()).current_dir(server.home()).output();
    let is_sent = |more: &[&str]| -> io::Result<(bool, String)> {
        let output = send(more)?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    };
    let (is_taken, told) = is_sent(&[&login[..], &["--insecure"]].concat())?;
    assert!(is_taken && told.contains("C: AUTH PLAIN (hidden)") && told.contains("(TLSv1.3)"), "{told}");
    let (is_taken, told) = is_sent(&login)?;
    assert!(!is_taken && told.contains("--insecure takes any certificate"), "nobody vouches for it: {told}");
    let (is_taken, told) = is_sent(&["--tls", "starttls", "--insecure"])?;
    assert!(!is_taken && told.contains("550 5.7.1"), "without a login it is no relay: {told}");
    Ok(())
}

#[test]
fn users_come_and_go_without_a_restart() -> Outcome {
    let server = server()?;
    let logs_in = || -> io::Result<bool> {
        let mut client = server.client()?;
        client.start_tls("mx.basin.example")?;
        client.command("EHLO client.example")?.require(250)?;
        Ok(client.command(RIGHT)?.code == 235)
    };
    assert!(logs_in()?);
    assert_eq!(server.basin_ok(&["user", "list"])?, "alice\n");
    assert!(user(&server, "check", "alice", "wonder land")? && !user(&server, "check", "alice", "x")?);
    assert!(!user(&server, "add", "alice", "again")?, "there is one already");
    assert!(user(&server, "passwd", "alice", "looking glass")?);
    assert!(wait::until_true(wait::PATIENCE, || logs_in().is_ok_and(|is_in| !is_in)), "{}", server.log());
    server.basin_ok(&["user", "remove", "alice"])?;
    assert_eq!(server.basin_ok(&["user", "list"])?, "");
    Ok(())
}

#[test]
fn a_submission_listener_keeps_users_to_their_addresses_and_says_what_it_offers() -> Outcome {
    let listener = "kind = \"submission\"\nmax-hold = \"7d\"\nmax-messages-per-session = 2\nmin-deliver-by = \"1m\"";
    let senders = "[[sender]]\nuser = \"alice\"\naddresses = [\"sales@basin.example\", \"@lists.example\"]\n";
    let server = server_of(listener, senders)?;
    let mut client = server.client()?;
    client.start_tls("mx.basin.example")?;
    let offered = client.command("EHLO client.example")?;
    for keyword in ["FUTURERELEASE 604800 ", "LIMITS MAILMAX=2 RCPTMAX=1000", "DELIVERBY 60"] {
        assert!(offered.says(keyword), "{keyword}: {offered:?}");
    }
    client.command("MAIL FROM:<sales@basin.example>")?.require(530)?;
    client.command(RIGHT)?.require(235)?;
    for (line, code) in [
        ("MAIL FROM:<alice@basin.example>", 550),
        ("MAIL FROM:<a@elsewhere.example>", 550),
        ("MAIL FROM:<sales@basin.example> HOLDFOR=604801", 501),
        ("MAIL FROM:<sales@basin.example> BY=59;R", 501),
        ("MAIL FROM:<any@lists.example> HOLDFOR=60 BY=60;R", 250),
        ("RSET", 250),
    ] {
        assert_eq!(client.command(line)?.code, code, "{line}");
    }
    for _ in 0..2 {
        client.deliver("sales@basin.example", &["someone@elsewhere.example"], HELLO)?.require(250)?;
    }
    client.command("MAIL FROM:<sales@basin.example>")?.require(421).map(drop)
}

#[test]
fn what_follows_a_refused_login_is_logged_nowhere() -> Outcome {
    let server = server_of("auth = \"required\"", "[log]\nlevel = \"debug\"\n")?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(530)?;
    // Nobody waited for the answer to this AUTH, so the password comes as a command.
    client.send(b"AUTH LOGIN\r\nYWxpY2U=\r\nd29uZGVyIGxhbmQ=\r\n")?;
    client.expect(538)?;
    client.expect(500)?;
    client.expect(500)?;
    let log = server.log();
    assert!(!log.contains("YWxpY2U=") && !log.contains("d29uZGVyIGxhbmQ="), "{log}");
    Ok(())
}
