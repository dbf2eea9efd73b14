//! A copy of every message in a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::{PATIENCE, until_true};

use crate::{HELLO, Outcome, SENDER, USER};

/// Messages of a run that is killed.
pub(super) const MESSAGES: usize = 12;

/// The grants of the samples with files, but for the directory.
pub(super) const READING: [&str; 6] = ["--grant", "read-envelope", "--grant", "read-headers", "--grant", "read-body"];

/// Files below a directory, whose names do not begin with a point.
pub(super) fn files(below: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(below) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<_> = paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    found
}

/// A directory beside those of the server, and the grant of it.
pub(super) fn ground(server: &TestServer, guest: &str) -> io::Result<(PathBuf, String)> {
    let directory = server.home().canonicalize()?.join("ground");
    fs::create_dir(&directory)?;
    let grant = format!("dir={}::{guest}:rw", directory.display());
    Ok((directory, grant))
}

fn server() -> io::Result<(TestServer, PathBuf)> {
    let mut server = TestServer::prepare(Settings::usual())?;
    let (directory, grant) = ground(&server, "/archive")?;
    let flags: Vec<&str> = READING.into_iter().chain(["--grant", grant.as_str()]).collect();
    server.sink_add(&guest("archive"), "archive", "on-post-categorize", &flags)?;
    server.launch()?;
    Ok((server, directory))
}

/// A message that no other is.
pub(super) fn numbered(number: usize) -> Vec<u8> {
    let line = format!("{number:06} ").repeat(10);
    let body = format!("{line}\r\n").repeat(200);
    format!("From: <{SENDER}>\r\nTo: <{USER}>\r\nSubject: {number}\r\n\r\n{body}").into_bytes()
}

#[test]
fn archive_keeps_each_message_whole_with_its_envelope() -> Outcome {
    let (server, directory) = server()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    let kept = files(&directory);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let text = fs::read_to_string(&kept[0])?;
    let envelope = format!("X-Envelope-From: <{SENDER}>\r\nX-Envelope-To: <{USER}>\r\nReceived: from ");
    assert!(text.starts_with(&envelope), "{text}");
    assert!(text.ends_with(&*String::from_utf8_lossy(HELLO)), "{text}");
    let shown = server.basin_ok(&["sink", "show", "archive"])?;
    assert!(shown.contains("::/archive:rw"), "{shown}");
    Ok(())
}

#[test]
fn archive_has_one_whole_copy_of_each_message_after_a_kill() -> Outcome {
    let (mut server, directory) = server()?;
    let mut client = server.client()?;
    for number in 0..MESSAGES {
        client.deliver(SENDER, &[USER], &numbered(number))?.require(250)?;
    }
    // The first ones are kept, the last ones wait.
    server.kill()?;
    server.launch()?;
    server.maildir("user").wait_for(MESSAGES, PATIENCE)?;
    let kept = files(&directory);
    assert_eq!(kept.len(), MESSAGES, "{kept:?}");
    let mut bodies = kept.iter().map(fs::read).collect::<io::Result<Vec<_>>>()?;
    bodies.sort_by_key(|body| String::from_utf8_lossy(body).split_once("Subject: ").map(|(_, rest)| rest.to_owned()));
    for number in 0..MESSAGES {
        let whole = numbered(number);
        assert_eq!(bodies.iter().filter(|body| body.ends_with(&whole)).count(), 1, "{number}");
    }
    Ok(())
}

#[test]
fn archive_says_what_it_lacks_and_mail_waits_for_it() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    let added = server.sink_add(&guest("archive"), "archive", "on-post-categorize", &READING)?;
    assert!(added.contains("dir=HOSTDIR::GUESTDIR for wasi:filesystem/types"), "{added}");
    server.launch()?;
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    let lack = "there is no /archive; --grant dir=HOSTDIR::/archive:rw gives it";
    assert!(until_true(PATIENCE, || server.log().contains(lack)), "{}", server.log());
    assert!(server.maildir("user").names()?.is_empty(), "nothing passes without a copy");
    Ok(())
}

#[test]
fn no_directory_of_the_servers_own_is_granted() -> Outcome {
    let server = TestServer::prepare(Settings::usual())?;
    let home = server.home().canonicalize()?;
    fs::create_dir(home.join("spool"))?;
    for (directory, why) in [
        (home.clone(), "of this server is"),
        (home.join("spool"), "of this server is"),
        (home.join("nothing"), "cannot look at"),
        (PathBuf::from("/proc"), "the kernel"),
    ] {
        let grant = format!("dir={}::/archive", directory.display());
        let component = guest("archive");
        let component = component.to_string_lossy();
        let add = ["sink", "add", &component, "--name", "archive", "--event", "on-submission", "--grant", &grant];
        let refused = server.basin(&add)?;
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(why) && told.contains(&grant), "{told}");
    }
    Ok(())
}

#[test]
fn a_directory_that_is_gone_at_a_start_fails_its_sink_and_one_that_comes_mends_it() -> Outcome {
    let (mut server, directory) = server()?;
    server.kill()?;
    fs::remove_dir(&directory)?;
    server.launch()?;
    let shown = server.basin_ok(&["sink", "show", "archive"])?;
    assert!(shown.contains("cannot grant dir="), "{shown}");
    fs::create_dir(&directory)?;
    let is_mended = || server.basin_ok(&["sink", "show", "archive"]).is_ok_and(|shown| !shown.contains("cannot grant"));
    assert!(until_true(PATIENCE, is_mended), "{}", server.log());
    server.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    server.maildir("user").wait_for(1, PATIENCE)?;
    assert_eq!(files(&directory).len(), 1);
    Ok(())
}
