//! A server that cannot run says why and what to do, and ends with a failure.

use std::fs;

use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::PATIENCE;

use crate::{HELLO, Outcome, SENDER, USER};

/// What a server says that must not start.
fn complaint(mut server: TestServer) -> std::io::Result<String> {
    server.launch_without_waiting()?;
    let status = server.wait_end(PATIENCE)?;
    let log = server.log();
    assert!(!status.success(), "it starts:\n{log}");
    assert!(!log.contains("panicked"), "{log}");
    Ok(log)
}

fn says(log: &str, words: &[&str]) {
    for word in words {
        assert!(log.contains(word), "{word:?} is missing in:\n{log}");
    }
}

#[test]
fn each_fault_of_the_configuration_is_named_with_line_key_and_advice() -> Outcome {
    let usual = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::usual();
        change(&mut settings);
        settings
    };
    let cases: [(Settings, &[&str]); 6] = [
        (usual(&|s| s.top = "hostname = \"x\"".to_owned()), &["hostname", "did you mean", "host-name"]),
        (usual(&|s| s.limits = "drain-time = 30".to_owned()), &["limits.drain-time", "30s"]),
        (usual(&|s| s.listener = "max-message-size = \"huge\"".to_owned()), &["max-message-size", "25MiB"]),
        (usual(&|s| s.top = "postmaster = \"nobody at all\"".to_owned()), &["postmaster"]),
        (usual(&|s| s.aliases = "\"a@basin.example\" = \"b@\"".to_owned()), &["aliases"]),
        (usual(&|s| s.tables = "[[[".to_owned()), &["basin.toml:"]),
    ];
    for (settings, words) in cases {
        let server = TestServer::prepare(settings)?;
        let output = server.basin(&["check"])?;
        assert!(!output.status.success(), "{words:?}");
        says(&String::from_utf8_lossy(&output.stderr), words);
        says(&complaint(server)?, words);
    }
    Ok(())
}

#[test]
fn check_accepts_what_serve_accepts() -> Outcome {
    let server = TestServer::start()?;
    let text = server.basin_ok(&["check"])?;
    assert!(text.contains("basin.example"), "{text}");
    Ok(())
}

#[test]
fn a_missing_configuration_is_named() -> Outcome {
    let server = TestServer::prepare(Settings::usual())?;
    fs::remove_file(server.config_path())?;
    says(&complaint(server)?, &["basin.toml", "--config"]);
    Ok(())
}

#[test]
fn a_port_in_use_is_named_with_its_listener() -> Outcome {
    let first = TestServer::start()?;
    let mut settings = Settings::usual();
    settings.smtp = first.smtp();
    let log = complaint(TestServer::prepare(settings)?)?;
    says(&log, &[&first.smtp().to_string(), "in use"]);
    first.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    Ok(())
}

#[test]
fn a_spool_that_cannot_be_written_is_named() -> Outcome {
    let server = TestServer::prepare(Settings::usual())?;
    fs::write(server.home().join("spool"), "a file where the directory should be")?;
    says(&complaint(server)?, &["spool"]);
    Ok(())
}

#[test]
fn two_servers_never_share_a_spool() -> Outcome {
    let first = TestServer::start()?;
    let mut settings = Settings::usual();
    settings.spool = Some(first.home().join("spool").display().to_string());
    says(&complaint(TestServer::prepare(settings)?)?, &["spool"]);
    first.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    Ok(())
}

#[test]
fn damage_in_the_spool_is_set_aside_reported_and_no_reason_not_to_start() -> Outcome {
    let mut server = TestServer::start()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    server.kill()?;
    fs::write(server.home().join("spool/what-is-this"), b"nobody knows")?;
    server.launch()?;
    server.client()?.deliver(SENDER, &["alice@basin.example"], HELLO)?.require(250)?;
    server.maildir("alice").wait_for(1, PATIENCE)?;
    Ok(())
}

#[test]
fn a_component_that_cannot_work_is_refused_with_advice() -> Outcome {
    let server = TestServer::prepare(Settings::usual())?;
    let file = |name: &str, octets: &[u8]| -> std::io::Result<std::path::PathBuf> {
        let path = server.home().join(name);
        fs::write(&path, octets)?;
        Ok(path)
    };
    let core = file("core.wasm", b"\0asm\x01\0\0\0")?;
    let text = file("text.wasm", b"not wasm at all")?;
    let empty = file("empty.wasm", b"")?;
    let truncated = {
        let whole = fs::read(basin_tests::server::guest("noop"))?;
        file("half.wasm", whole.get(..whole.len() / 2).unwrap_or_default())?
    };
    let elf = file("native.cwasm", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0")?;
    let noop = basin_tests::server::guest("noop");
    let cases = [
        (&core, "on-end-of-data", "component"),
        (&text, "on-end-of-data", "not WebAssembly"),
        (&empty, "on-end-of-data", "empty"),
        (&truncated, "on-end-of-data", ""),
        (&elf, "on-end-of-data", "compiled"),
        (&noop, "on-connect", "on-connect"),
        (&noop, "on-end-of-data:colour=blue", "colour"),
        (&noop, "on-route", "on-route"),
        (&noop, "on-nonsense", "on-nonsense"),
    ];
    for (component, event, word) in cases {
        let error = server.sink_add(component, "bad", event, &[]).expect_err("it cannot work").to_string();
        assert!(error.contains(word) && !error.contains("panicked"), "{component:?} at {event}: {error}");
    }
    let missing = server.home().join("missing.wasm");
    let error = server.sink_add(&missing, "bad", "on-end-of-data", &[]).expect_err("no file").to_string();
    assert!(error.contains("missing.wasm"), "{error}");
    assert!(!server.basin_ok(&["sink", "list"])?.contains("bad"), "nothing is registered");
    Ok(())
}
