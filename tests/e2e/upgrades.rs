//! Another component in the place of a sink's while mail flows, and back.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use basin_tests::client::{Client, stuffed};
use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::{self, PATIENCE};

use crate::{HELLO, Outcome, SENDER, USER};

/// A server whose sink "filter" does nothing yet, and may stamp what it sees.
fn server() -> std::io::Result<TestServer> {
    let mut server = TestServer::prepare(Settings::usual())?;
    server.sink_add(&guest("noop"), "filter", "on-end-of-data", &["--grant", "edit-headers", "--priority", "200"])?;
    server.launch()?;
    Ok(server)
}

fn upgrade(server: &TestServer, name: &str) -> std::io::Result<String> {
    server.basin_ok(&["sink", "upgrade", "filter", &guest(name).display().to_string()])
}

/// Which of the messages in a mailbox the second component has stamped, in the order of their coming.
fn stamps(server: &TestServer, mailbox: &str, count: usize) -> std::io::Result<Vec<bool>> {
    let mails = server.maildir(mailbox).wait_for(count, PATIENCE)?;
    Ok(mails.iter().map(|mail| mail.header("X-Basin-Sink").is_some()).collect())
}

fn deliver(server: &TestServer) -> Outcome {
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250).map(drop)
}

#[test]
fn an_upgrade_is_in_force_when_the_command_returns_also_after_a_restart_and_a_rollback_undoes_it() -> Outcome {
    let mut server = server()?;
    deliver(&server)?;
    assert_eq!(stamps(&server, "user", 1)?, [false]);
    let said = upgrade(&server, "stamp-header")?;
    assert!(said.contains("the running server has applied it"), "{said}");
    assert!(server.terminate()?.success());
    server.launch()?;
    let shown = server.basin_ok(&["sink", "show", "filter"])?;
    assert!(shown.contains("in force") && shown.contains("former"), "{shown}");
    let stamped = |count| Ok::<_, std::io::Error>(stamps(&server, "user", count)?.into_iter().filter(|is| *is).count());
    deliver(&server)?;
    assert_eq!(stamped(2)?, 1);
    let said = server.basin_ok(&["sink", "rollback", "filter"])?;
    assert!(said.contains("the running server has applied it"), "{said}");
    deliver(&server)?;
    assert_eq!(stamped(3)?, 1, "the third has no stamp");
    Ok(())
}

/// A server of HTTP that says when it was asked, and answers when it is told to.
fn gate() -> std::io::Result<(u16, Receiver<()>, Sender<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let ((told, asked), (open, opened)) = (channel(), channel());
    thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut some = [0; 1_024];
        // The test may have failed meanwhile; then nobody listens.
        if stream.read(&mut some)? > 0 && told.send(()).is_ok() && opened.recv().is_ok() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    Ok((port, asked, open))
}

#[test]
fn a_chain_that_has_begun_finishes_with_the_component_that_it_began_with() -> Outcome {
    let server = server()?;
    // The first sink of the chain waits until the second was upgraded.
    let (port, asked, open) = gate()?;
    let script = format!("script=http|GET|http://127.0.0.1:{port}/");
    let grant = format!("http=127.0.0.1:{port}");
    let first = ["--priority", "100", "--set", &script, "--grant", &grant];
    server.sink_add(&guest("probe"), "first", "on-end-of-data:rcpt to=alice@*", &first)?;
    let mut client = server.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?.require(250)?;
    client.command("RCPT TO:<alice@basin.example>")?.require(250)?;
    client.command("DATA")?.require(354)?;
    client.send(&stuffed(HELLO))?;
    asked.recv_timeout(PATIENCE).map_err(std::io::Error::other)?;
    upgrade(&server, "stamp-header")?;
    deliver(&server)?;
    assert_eq!(stamps(&server, "user", 1)?, [true], "another chain has the new one at once");
    open.send(()).map_err(std::io::Error::other)?;
    client.expect(250)?;
    assert_eq!(stamps(&server, "alice", 1)?, [false], "this one goes on as it began");
    client.deliver(SENDER, &["bob@basin.example"], HELLO)?.require(250)?;
    assert_eq!(stamps(&server, "bob", 1)?, [true], "the session's next message does not");
    Ok(())
}

#[test]
fn nothing_is_lost_or_doubled_while_a_sink_is_upgraded_and_rolled_back() -> Outcome {
    let server = server()?;
    let address = server.smtp();
    let sent = thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let load = scope.spawn(move || -> std::io::Result<usize> {
            let mut sent = 0;
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let mut client = Client::greeted(address)?;
                for _ in 0..10 {
                    client.deliver_pipelined(SENDER, USER, HELLO)?.require(250)?;
                    sent += 1;
                }
                client.quit()?;
            }
            Ok(sent)
        });
        upgrade(&server, "stamp-header")?;
        server.basin_ok(&["sink", "rollback", "filter"])?;
        upgrade(&server, "stamp-header")?;
        drop(stop);
        load.join().expect("the client does not panic")
    })?;
    let stamped = stamps(&server, "user", sent)?;
    assert_eq!(stamped.len(), sent, "nothing is lost and nothing comes twice");
    assert!(stamped.contains(&false), "the first came before the upgrade");
    assert_eq!(server.metrics()?.total("basin_sink_failures_total").unwrap_or(0.0), 0.0);
    Ok(())
}

#[test]
fn a_component_that_cannot_be_loaded_leaves_the_former_one_in_force() -> Outcome {
    let server = server()?;
    upgrade(&server, "stamp-header")?;
    let path = server.home().join("registry/registry.toml");
    let text = fs::read_to_string(&path)?;
    let digest = text.lines().find_map(|line| line.strip_prefix("digest = ")).unwrap_or_default();
    // By hand, because the command would not do it: the file names a component that is not there.
    fs::write(&path, text.replacen(digest, &format!("\"{}\"", "0".repeat(64)), 1))?;
    let why = "the component 000000000000 cannot be loaded, so";
    let says = || server.basin(&["sink", "list"]).is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(why));
    assert!(wait::until_true(PATIENCE, says), "{}", server.log());
    deliver(&server)?;
    assert_eq!(stamps(&server, "user", 1)?, [true]);
    let shown = server.basin_ok(&["sink", "show", "filter"])?;
    assert!(shown.contains("000000000000  not loaded"), "{shown}");
    // What was wrong is mended by going back.
    server.basin_ok(&["sink", "rollback", "filter"])?;
    let shown = server.basin_ok(&["sink", "show", "filter"])?;
    assert!(!shown.contains("not loaded"), "{shown}");
    Ok(())
}

#[test]
fn a_former_component_that_stays_gets_nothing_that_the_new_one_was_given() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    let set = ["--grant", "edit-headers", "--set", "value=former"];
    server.sink_add(&guest("stamp-header"), "filter", "on-end-of-data", &set)?;
    server.launch()?;
    let path = server.home().join("registry/registry.toml");
    let right = fs::read_to_string(&path)?;
    let digest = right.lines().find_map(|line| line.strip_prefix("digest = ")).unwrap_or_default();
    let edit = |from: &str, to: &str| {
        assert!(right.contains(from), "{right}");
        fs::write(&path, right.replacen(digest, &format!("\"{}\"", "0".repeat(64)), 1).replacen(from, to, 1))
    };
    let says = |what: &str| {
        let lists =
            || server.basin(&["sink", "list"]).is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(what));
        assert!(wait::until_true(PATIENCE, lists), "{what}: {}", server.log());
    };
    let stamp = |count| -> std::io::Result<Option<String>> {
        let mails = server.maildir("user").wait_for(count, PATIENCE)?;
        Ok(mails.iter().find_map(|mail| mail.header("X-Basin-Sink")))
    };
    // Configuration is for the code that it was written for.
    edit("\"former\"", "\"new\"")?;
    says("the component 000000000000 cannot be loaded, so");
    deliver(&server)?;
    assert_eq!(stamp(1)?.as_deref(), Some("former"));
    // A row that was added anew has nothing to do with the component of that name.
    let since = right.lines().find(|line| line.starts_with("since = ")).unwrap_or("no since");
    edit(since, "since = 2026-01-31T12:00:00Z")?;
    says("cannot load sink filter: ");
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(451)?;
    Ok(())
}
