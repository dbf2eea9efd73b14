//! The audit log over the wire: who did what stands there, whatever is logged besides, and no password does.

use std::fs;
use std::io;

use basin_tests::server::{TestServer, guest};
use basin_tests::wait::{self, PATIENCE};
use serde_json::Value;

use crate::auth::{RIGHT, WRONG, server_with, user};
use crate::{HELLO, Outcome, SENDER, USER};

fn text(server: &TestServer) -> io::Result<String> {
    let mut text = String::new();
    for folder in ["registry/audit", "registry/audit/traffic"] {
        for entry in fs::read_dir(server.home().join(folder))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                text.push_str(&fs::read_to_string(entry.path())?);
            }
        }
    }
    Ok(text)
}

/// The lines that say this, once there are so many.
fn lines(server: &TestServer, what: &str, count: usize) -> io::Result<Vec<Value>> {
    let found = || -> Vec<Value> {
        let text = text(server).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["what"] == what).collect()
    };
    if wait::until_true(PATIENCE, || found().len() >= count) {
        return Ok(found());
    }
    Err(io::Error::other(format!("no {count} lines of {what:?} in\n{}", text(server)?)))
}

#[test]
fn logins_are_there_and_no_password_and_no_wrong_name_is() -> Outcome {
    let server = server_with("")?;
    assert_eq!(lines(&server, "user added", 1)?[0]["user"], "alice");
    let mut client = server.client()?;
    client.command("EHLO client.example")?.require(250)?;
    client.start_tls("mx.basin.example")?;
    client.command("EHLO client.example")?.require(250)?;
    client.command(WRONG)?.require(535)?;
    client.command(RIGHT)?.require(235)?;
    let logins = lines(&server, "login", 2)?;
    assert_eq!((&logins[0]["result"], logins[0].get("user")), (&"wrong".into(), None));
    assert_eq!((&logins[1]["result"], &logins[1]["user"]), (&"right".into(), &"alice".into()));
    assert!(logins[1]["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{logins:?}");
    let text = text(&server)?;
    assert!(!text.contains("wonder") && !text.contains("AGFsaWNl"), "{text}");
    Ok(())
}

#[test]
fn what_operators_and_sinks_do_is_there_with_who_did_it_also_when_no_server_runs() -> Outcome {
    // What is not worth a line of the usual log is worth one here.
    let mut server = server_with("")?;
    server.sink_add(&guest("trap"), "trap", "on-end-of-data", &["--on-failure", "hold"])?;
    let registered = lines(&server, "sink registered", 1)?;
    assert_eq!((&registered[0]["sink"], registered[0]["by"].is_string()), (&"trap".into(), true));
    lines(&server, "binding added", 1)?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let failed = lines(&server, "sink failed", 1)?;
    assert_eq!((&failed[0]["sink"], &failed[0]["kind"]), (&"trap".into(), &"panic".into()));
    assert!(!text(&server)?.contains("on purpose"), "what a sink writes on standard error is not there");
    server.basin_ok(&["sink", "grant", "trap", "discard"])?;
    assert_eq!(lines(&server, "sink changed", 1)?[0]["grants-given"], serde_json::json!(["discard"]));
    let held = failed[0]["message_id"].as_str().unwrap_or_default().to_owned();
    assert!(server.basin_ok(&["queue", "cat", &held])?.contains("Subject"));
    assert_eq!(lines(&server, "a message was read by an operator", 1)?[0]["message_id"], held.as_str());
    server.basin_ok(&["queue", "release", &format!("id={held}")])?;
    assert_eq!(lines(&server, "changed by an operator", 1)?[0]["message_id"], held.as_str());
    assert!(server.terminate()?.success());
    assert_eq!(lines(&server, "stopping: no new connections, work in progress is finished", 1)?.len(), 1);
    server.basin_ok(&["sink", "remove", "trap"])?;
    assert_eq!(lines(&server, "sink removed", 1)?[0]["sink"], "trap");
    assert!(user(&server, "check", "alice", "wonder land")?);
    Ok(())
}
