//! What sinks get from the services of a real server: memory that outlives it, names, and what is proved of mail.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use basin_test_dns::{TestDns, Zone};
use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::{PATIENCE, until_true};
use tokio::runtime::Runtime;

use crate::{HELLO, Outcome, SENDER, USER};

const ZONE: &str = "
    client.example TXT v=spf1 ip4:127.0.0.1 -all
    _dmarc.client.example TXT v=DMARC1; p=reject
    client.example MX 10 mx.client.example
    mx.client.example A 192.0.2.5
    2.0.0.127.list.example A 127.0.0.2
    scan.example A 127.0.0.1
";

/// A server whose only resolver knows [`ZONE`].
struct Bench {
    server: TestServer,
    _dns: TestDns,
    _runtime: Runtime,
}

fn bench() -> std::io::Result<Bench> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let dns = runtime.block_on(TestDns::start(Zone::parse(ZONE).map_err(std::io::Error::other)?))?;
    let tables = format!("[dns]\nservers = [\"{}\"]\n", dns.address());
    let server = TestServer::start_with(Settings { tables, ..Settings::usual() })?;
    Ok(Bench { server, _dns: dns, _runtime: runtime })
}

fn add(server: &TestServer, name: &str, script: &str, more: &[&str]) -> Outcome {
    let script = format!("script={script}");
    let arguments = [&["--set", script.as_str()], more].concat();
    in_force(server, || server.sink_add(&guest("probe"), name, "on-end-of-data", &arguments).map(drop))
}

/// Changes the registry and waits until the server goes by it.
pub(crate) fn in_force(server: &TestServer, change: impl FnOnce() -> Outcome) -> Outcome {
    let count = || server.log().matches("registry in force").count();
    let before = count();
    change()?;
    assert!(until_true(PATIENCE, || count() > before), "a change is not in force:\n{}", server.log());
    Ok(())
}

fn deliver(server: &TestServer) -> std::io::Result<u16> {
    Ok(server.client()?.deliver(SENDER, &[USER], HELLO)?.code)
}

// The log as the sinks wrote it: quotation marks within a text are escaped there.
fn log(server: &TestServer) -> String {
    server.log().replace("\\\"", "\"")
}

fn wait_for(server: &TestServer, words: &str) {
    assert!(until_true(PATIENCE, || log(server).contains(words)), "{words:?} is not in\n{}", log(server));
}

#[test]
fn what_a_sink_sets_outlives_a_kill_and_what_a_refused_chain_sets_does_not_last() -> Outcome {
    let Bench { mut server, _dns, _runtime } = bench()?;
    let keeps = "state-get|seen\nstate-set|seen|before|0\nstate-increment|count|1|0";
    add(&server, "keeps", keeps, &["--grant", "state", "--priority", "1"])?;
    assert_eq!(deliver(&server)?, 250);
    wait_for(&server, "state-get: ok None");
    server.kill()?;
    server.launch()?;
    assert_eq!(deliver(&server)?, 250);
    wait_for(&server, "state-get: ok Some(\"before\")");

    add(&server, "tries", "state-get|k\nstate-set|k|v|0", &["--grant", "state", "--priority", "1"])?;
    let refuses = ["--grant", "reply", "--priority", "2", "--set", "verdict=refuse 550 5.7.1 no"];
    add(&server, "refuses", "state-get|seen", &refuses)?;
    assert_eq!(deliver(&server)?, 550);
    in_force(&server, || server.basin_ok(&["sink", "disable", "refuses"]).map(drop))?;
    let before = log(&server).matches("state-get: ok None").count();
    assert_eq!(deliver(&server)?, 250);
    assert!(until_true(PATIENCE, || log(&server).matches("state-get: ok None").count() > before), "{}", log(&server));
    assert!(!log(&server).contains("state-get: ok Some(\"v\")"), "the refused chain left something");
    Ok(())
}

#[test]
fn names_and_proofs_come_from_the_servers_resolver() -> Outcome {
    let Bench { server, _dns, _runtime } = bench()?;
    let script = "dns-addresses|2.0.0.127.list.example\ndns-addresses|3.0.0.127.list.example\ndns-mx|client.example\n\
                  verify|spf\nverify|dkim\nverify|dmarc";
    add(&server, "asks", script, &["--grant", "dns", "--grant", "message-auth"])?;
    assert_eq!(deliver(&server)?, 250);
    for line in [
        "dns-addresses: ok [\"127.0.0.2\"]",
        "dns-addresses: not-found",
        "dns-mx: ok [(10, \"mx.client.example\")]",
        "verify: ok [(\"spf\", \"pass\", \"client.example\"",
        "verify: ok []",
        "verify: ok [(\"dmarc\", \"pass\", \"client.example\"",
    ] {
        wait_for(&server, line);
    }
    Ok(())
}

#[test]
fn a_server_whose_tables_are_damaged_takes_mail_and_says_so() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    let spool = server.home().join("spool");
    fs::create_dir_all(&spool)?;
    fs::write(spool.join("sink-state.redb"), "this was a table")?;
    server.launch()?;
    add(&server, "keeps", "state-set|k|v|0\nstate-increment|n|1|0", &["--grant", "state"])?;
    assert_eq!(deliver(&server)?, 250);
    wait_for(&server, "sinks have no state");
    wait_for(&server, "state-set: unavailable");
    wait_for(&server, "state-increment: unavailable");
    assert_eq!(fs::read(spool.join("sink-state.redb"))?, b"this was a table");
    Ok(())
}

// A server of HTTP on loopback that says the same to everybody, and what it was asked.
fn scanner() -> std::io::Result<(u16, Receiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (told, asked) = channel();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = Vec::new();
            let mut chunk = [0; 4_096];
            // A TLS client begins with 22 and waits to be answered.
            while !request.ends_with(b"clean?") && request.first() != Some(&22) {
                match stream.read(&mut chunk) {
                    Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
                    Ok(_) | Err(_) => break,
                }
            }
            // The test may be over, and the client gone.
            drop(told.send(String::from_utf8_lossy(&request).into_owned()));
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean"));
        }
    });
    Ok((port, asked))
}

#[test]
fn a_sink_speaks_http_with_the_address_that_is_granted_and_with_no_other() -> Outcome {
    let Bench { server, _dns, _runtime } = bench()?;
    let (port, asked) = scanner()?;
    let script = format!(
        "http|POST|http://127.0.0.1:{port}/check|Content-Length: 6|clean?\nhttp|GET|http://scan.example:{port}/\n\
         http|GET|http://127.0.0.1:{port}/other\nhttp|GET|https://127.0.0.1:{port}/check"
    );
    let (literal, name) = (format!("http=127.0.0.1:{port}/check"), format!("http=scan.example:{port}"));
    add(&server, "asks", &script, &["--grant", &literal, "--grant", &name])?;
    assert_eq!(deliver(&server)?, 250);
    for line in [
        "http: ok 200 [clean]",
        // The name leads to the same machine; but a name is for others to point anywhere.
        "http: failed ErrorCode::DestinationIpProhibited",
        "http: failed ErrorCode::HttpRequestDenied",
        "http: failed ErrorCode::InternalError(Some(\"TLS with 127.0.0.1 failed",
        "without the grant (--grant http=127.0.0.1:",
        "127.0.0.1 is an address of an inner network; name it by address to allow it",
    ] {
        wait_for(&server, line);
    }
    let requests: Vec<String> = asked.try_iter().filter(|request| request.contains("HTTP/1.1")).collect();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].starts_with("POST /check HTTP/1.1\r\n"), "{requests:?}");
    let shown = server.basin_ok(&["sink", "show", "asks"])?;
    assert!(shown.contains(&literal) && shown.contains(&name), "{shown}");
    Ok(())
}

#[test]
fn an_operator_looks_into_a_table_that_the_server_has_open() -> Outcome {
    let Bench { server, _dns, _runtime } = bench()?;
    let script = "state-set|seen|before|0\nstate-set|more|x|0";
    add(&server, "keeps", script, &["--grant", "state"])?;
    assert_eq!(deliver(&server)?, 250);
    assert_eq!(server.basin_ok(&["sink", "state", "keeps", "get", "seen"])?, "before\n");
    server.basin_ok(&["sink", "state", "keeps", "delete", "seen"])?;
    let listed = server.basin_ok(&["sink", "state", "keeps", "--json"])?;
    assert!(listed.contains("\"more\"") && !listed.contains("\"seen\""), "{listed}");
    let cleared = server.basin_ok(&["sink", "state", "keeps", "clear"])?;
    assert!(cleared.contains("removed: 1") && cleared.contains("keeps 0 octets"), "{cleared}");
    wait_for(&server, "entries of a sink were removed by an operator");
    Ok(())
}

#[test]
fn a_change_is_in_force_when_the_command_returns_and_a_secret_is_the_sinks_alone() -> Outcome {
    let server = TestServer::start()?;
    let token = server.home().join("token");
    fs::write(&token, "open sesame\n")?;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
    let secret = format!("token=@{}", token.display());
    let more = ["--set", "script=config|token", "--secret", &secret];
    let said = server.sink_add(&guest("probe"), "knows", "on-end-of-data", &more)?;
    assert!(said.contains("the running server has applied it, generation "), "{said}");
    assert_eq!(deliver(&server)?, 250);
    // The probe itself tells the log, after the answer that the message was taken.
    wait_for(&server, "config: (Some(\"open sesame\"), [\"script\", \"token\"])");
    assert!(!server.basin_ok(&["sink", "show", "knows"])?.contains("sesame"));
    // Another secret is in force without a restart, and one that is gone is a sink that does not load.
    fs::write(&token, "other words")?;
    let said = server.basin_ok(&["sink", "set", "knows", "x=1"])?;
    assert!(said.contains("has applied it"), "{said}");
    assert_eq!(deliver(&server)?, 250);
    wait_for(&server, "config: (Some(\"other words\")");
    fs::remove_file(&token)?;
    let said = server.basin_ok(&["sink", "set", "knows", "x=2"])?;
    assert!(said.contains("problem: cannot load sink knows: token: cannot read the secret"), "{said}");
    let file = server.home().join("registry/registry.toml");
    fs::write(&file, "version = 1\nnonsense = 2\n")?;
    assert!(!server.basin(&["sink", "enable", "knows"])?.status.success(), "a broken file is mended, not overwritten");
    Ok(())
}
