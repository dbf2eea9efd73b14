//! Delivery into a store of a sink's own.

use std::fs;
use std::path::PathBuf;

use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::{PATIENCE, until_true};

use super::archive::{MESSAGES, READING, files, ground, numbered};
use crate::{HELLO, Outcome, SENDER, USER};

fn server() -> std::io::Result<(TestServer, PathBuf)> {
    let mut server = TestServer::prepare(Settings::usual())?;
    let (directory, grant) = ground(&server, "/store")?;
    let flags: Vec<&str> = READING.into_iter().chain(["--grant", "route", "--grant", grant.as_str()]).collect();
    server.sink_add(&guest("store"), "store", "on-local-delivery", &flags)?;
    server.launch()?;
    Ok((server, directory))
}

#[test]
fn store_takes_mail_in_place_of_the_servers_maildir() -> Outcome {
    let (server, directory) = server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let mailbox = directory.join("mail/basin.example/user");
    assert!(until_true(PATIENCE, || !files(&mailbox).is_empty()), "{}", server.log());
    let text = fs::read_to_string(&files(&mailbox)[0])?;
    assert!(text.ends_with(&*String::from_utf8_lossy(HELLO)), "{text}");
    assert!(until_true(PATIENCE, || server.basin_ok(&["queue", "list"]).is_ok_and(|list| !list.contains(SENDER))));
    assert!(server.maildir("user").names()?.is_empty(), "the server keeps nothing");
    Ok(())
}

#[test]
fn store_has_each_message_once_after_a_kill() -> Outcome {
    let (mut server, directory) = server()?;
    let mut client = server.client()?;
    for number in 0..MESSAGES {
        client.deliver(SENDER, &[USER], &numbered(number))?.require(250)?;
    }
    server.kill()?;
    server.launch()?;
    let is_done = || server.basin_ok(&["queue", "list"]).is_ok_and(|list| !list.contains(SENDER));
    assert!(until_true(PATIENCE, is_done), "{}", server.log());
    let names = files(&directory.join("mail/basin.example/user"));
    assert_eq!((names.len(), files(&directory.join("objects")).len()), (MESSAGES, MESSAGES), "{names:?}");
    let bodies = names.iter().map(fs::read).collect::<std::io::Result<Vec<_>>>()?;
    for number in 0..MESSAGES {
        let whole = numbered(number);
        assert_eq!(bodies.iter().filter(|body| body.ends_with(&whole)).count(), 1, "{number}");
    }
    assert!(server.maildir("user").names()?.is_empty());
    Ok(())
}

#[test]
fn store_says_what_it_lacks_and_mail_waits_for_it() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    let flags: Vec<&str> = READING.into_iter().chain(["--grant", "route"]).collect();
    server.sink_add(&guest("store"), "store", "on-local-delivery", &flags)?;
    server.launch()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let lack = "there is no /store; --grant dir=HOSTDIR::/store:rw gives it";
    assert!(until_true(PATIENCE, || server.log().contains(lack)), "{}", server.log());
    assert!(server.maildir("user").names()?.is_empty(), "it is not delivered elsewhere");
    Ok(())
}
