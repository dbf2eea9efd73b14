//! Watching sessions.

use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::{PATIENCE, until_true};

use crate::auth::user;
use crate::{HELLO, Outcome, SENDER, USER};

/// Who proves to be ann, and who does not.
const RIGHT: &str = "AUTH PLAIN AGFubgBzd29yZGZpc2g=";
const WRONG: &str = "AUTH PLAIN AGFubgBzZWNyZXQ=";

fn server() -> std::io::Result<TestServer> {
    let settings = Settings {
        listener: "auth = true\nauth-without-tls = true\n".to_owned(),
        tables: "[auth]\nusers-file = \"users\"\n".to_owned(),
        ..Settings::usual()
    };
    let mut server = TestServer::prepare(settings)?;
    assert!(user(&server, "add", "ann", "swordfish")?);
    let flags = ["--mode", "observe", "--event", "on-reject", "--event", "on-disconnect", "--set", "errors=3"];
    server.sink_add(&guest("session-audit"), "audit", "on-authenticated", &flags)?;
    server.launch()?;
    Ok(server)
}

fn wait_for_words(server: &TestServer, words: &str) {
    assert!(until_true(PATIENCE, || server.log().contains(words)), "{words:?} is not in the log:\n{}", server.log());
}

#[test]
fn a_session_and_its_refusals_are_in_the_log() -> Outcome {
    let server = server()?;
    let mut client = server.client()?;
    client.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command("RCPT TO:<guess@basin.example>")?.require(550)?;
    client.command("RSET")?.require(250)?;
    client.command(WRONG)?.require(535)?;
    client.command(RIGHT)?.require(235)?;
    client.quit()?;
    wait_for_words(&server, "RCPT TO:<guess@basin.example>");
    wait_for_words(&server, "failed to authenticate, no TLS");
    wait_for_words(&server, "is ann by PLAIN, no TLS");
    wait_for_words(&server, "(client.example) at inbound: 1 messages");
    wait_for_words(&server, "user ann, ended: quit");
    assert!(!server.log().contains("AGFubgBz"), "a password is in the log:\n{}", server.log());
    Ok(())
}

#[test]
fn a_session_of_many_errors_is_a_warning() -> Outcome {
    let server = server()?;
    let mut client = server.client()?;
    for _ in 0..3 {
        client.command("WHAT")?.require(500)?;
    }
    client.quit()?;
    wait_for_words(&server, "0 messages, 3 errors");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("3 errors")).unwrap_or_default();
    assert!(line.contains("WARN") || line.contains("warn"), "{line}");
    Ok(())
}
