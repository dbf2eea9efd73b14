//! The dialogues that drive the machine in memory, spoken over TCP as well.
//!
//! A file that has lines `?:` (the machine asks, the file answers for the sinks) needs the answers of the file and
//! runs in memory alone.

use std::fs;
use std::io::{self, Error};
use std::path::PathBuf;

use basin_tests::client::{Client, Reply};
use basin_tests::server::{TestServer, tree};

use crate::Outcome;

fn files() -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(tree().join("tests/transcripts"))? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "smtp"));
    files.sort();
    Ok(files)
}

/// Whether a line fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| line.strip_prefix(start)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// `250-* ... 250 *` stands for a reply of as many lines as it likes.
fn reply_fits(pattern: &str, reply: &Reply) -> bool {
    if pattern.contains(" ... ") {
        let code = pattern.get(..3).unwrap_or_default();
        return reply.code.to_string() == code;
    }
    let wire = reply.wire();
    let lines: Vec<&str> = wire.split("\r\n").collect();
    lines.len() == 1 && fits(pattern, &wire)
}

fn speak(server: &TestServer, text: &str) -> io::Result<()> {
    let mut client = Client::connect(server.smtp())?;
    for (index, line) in text.lines().enumerate() {
        let failed = |why: String| Error::other(format!("line {}: {line}: {why}", index + 1));
        match line.split_once(':').map(|(mark, rest)| (mark, rest.strip_prefix(' ').unwrap_or(rest))) {
            Some(("C", said)) => client.send(format!("{said}\r\n").as_bytes())?,
            Some(("S", pattern)) => {
                let reply = client.reply().map_err(|error| failed(error.to_string()))?;
                if !reply_fits(pattern, &reply) {
                    return Err(failed(format!("the server says {:?}", reply.wire())));
                }
            }
            Some((_, _)) | None => {
                if !line.trim().is_empty() && !line.starts_with('#') {
                    return Err(failed("neither C nor S nor a comment".to_owned()));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_dialogue_goes_over_tcp_as_it_does_in_memory() -> Outcome {
    let server = TestServer::start()?;
    let (mut failed, mut spoken) = (Vec::new(), 0);
    for path in files()? {
        let text = fs::read_to_string(&path)?;
        if text.lines().any(|line| line.starts_with("?:") || line.starts_with("!:")) {
            continue;
        }
        spoken += 1;
        if let Err(error) = speak(&server, &text) {
            failed.push(format!("{}: {error}", path.display()));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(spoken > 0, "no dialogue was found");
    Ok(())
}

#[test]
fn patterns_fit_what_they_say() {
    assert!(fits("250 2.1.0 *", "250 2.1.0 fine"));
    assert!(fits("250 * ok * end", "250 it is ok in the end"));
    assert!(!fits("250 ok", "250 okay"));
    assert!(!fits("*x*x", "x"));
}
