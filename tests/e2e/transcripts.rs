//! The dialogues that drive the machine in memory, spoken over TCP as well.
//!
//! `tests/transcripts/README.md` has the format. Files in which sinks answer (`?:`) or things happen (`E:`), and those
//! that set what no listener's configuration sets, run in memory alone.

use std::fs;
use std::io::{self, Error};
use std::path::PathBuf;

use basin_tests::client::{Client, Reply};
use basin_tests::server::{TestServer, tree};
use basin_tests::settings::Settings;
use basin_tests::wait::PATIENCE;

use crate::Outcome;

/// A message that the dialogue says was stored.
#[derive(Debug, Default)]
struct Stored {
    recipients: Vec<String>,
    fields: Vec<String>,
    body: Vec<u8>,
}

fn files() -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(tree().join("tests/transcripts"))? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "smtp"));
    files.sort();
    Ok(files)
}

/// Mark and rest of a line; what is no line of a dialogue has an empty mark.
fn split(line: &str) -> (&str, &str) {
    match line.split_once(':') {
        Some((mark, rest)) if mark.len() == 1 => (mark, rest.strip_prefix(' ').unwrap_or(rest)),
        Some(_) | None => ("", line),
    }
}

fn runs_over_tcp(text: &str) -> bool {
    text.lines().map(split).all(|(mark, rest)| match mark {
        "?" | "!" | "E" => false,
        "%" => {
            ["message-bytes-max", "recipients-max", "errors-max"].iter().any(|key| rest.starts_with(key))
                && !is_too_small(rest)
        }
        _ => true,
    })
}

/// A configuration may not go below what RFC 5321 §4.5.3.1 requires; the machine in memory may.
fn is_too_small(limit: &str) -> bool {
    let (key, number) = limit.split_once(' ').unwrap_or((limit, ""));
    let least = match key {
        "message-bytes-max" => 65_536,
        "recipients-max" => 100,
        _ => 0,
    };
    number.parse::<u64>().is_ok_and(|number| number < least)
}

fn settings(text: &str) -> Settings {
    let mut settings = Settings::usual();
    settings.host_name = "basin.example".to_owned();
    settings.top = "postmaster = \"alice@basin.example\"\n".to_owned();
    settings.aliases = "\"team@basin.example\" = [\"alice@basin.example\", \"bob@basin.example\"]\n".to_owned();
    for (_, rest) in text.lines().map(split).filter(|(mark, _)| *mark == "%") {
        let (key, number) = rest.split_once(' ').unwrap_or((rest, ""));
        let line = match key {
            "message-bytes-max" => format!("max-message-size = \"{number}B\"\n"),
            "recipients-max" => format!("max-recipients = {number}\n"),
            _ => format!("max-errors = {number}\n"),
        };
        settings.listener.push_str(&line);
    }
    settings
}

/// The octets of a line of the client: `\r \n \0 \\ \xHH`, `\*N` to repeat, `\$` to leave the line end out.
fn octets(said: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let mut rest = said;
    while let Some(at) = rest.find('\\') {
        octets.extend_from_slice(rest.get(..at)?.as_bytes());
        let mark = rest.get(at + 1..at + 2)?;
        rest = rest.get(at + 2..)?;
        match mark {
            "r" => octets.push(b'\r'),
            "n" => octets.push(b'\n'),
            "0" => octets.push(0),
            "\\" => octets.push(b'\\'),
            "x" => {
                octets.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
                rest = rest.get(2..)?;
            }
            "*" => {
                let last = *octets.last()?;
                // The character stands there once already.
                let more = rest.parse::<usize>().ok()?.checked_sub(1)?;
                octets.resize(octets.len() + more, last);
                rest = "";
            }
            "$" => return Some(octets),
            _ => return None,
        }
    }
    octets.extend_from_slice(rest.as_bytes());
    octets.extend_from_slice(b"\r\n");
    Some(octets)
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

/// `250-* ... 250 *` stands for a reply of several lines, of which the first and the last are shown.
fn reply_fits(pattern: &str, reply: &Reply) -> bool {
    let wire = reply.wire();
    let lines: Vec<&str> = wire.split("\r\n").collect();
    match (pattern.split_once(" ... "), lines.as_slice()) {
        (Some((first, last)), [start, .., end]) => fits(first, start) && fits(last, end),
        (None, [only]) => fits(pattern, only),
        (Some(_) | None, _) => false,
    }
}

/// Speaks a dialogue and gives the messages that it says were stored.
fn speak(server: &TestServer, text: &str) -> io::Result<Vec<Stored>> {
    let mut client = Client::connect(server.smtp())?;
    let mut stored: Vec<Stored> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let failed = |why: String| Error::other(format!("{}: {line}: {why}", index + 1));
        let (mark, rest) = split(line);
        match mark {
            "C" => client.send(&octets(rest).ok_or_else(|| failed("bad escape".to_owned()))?)?,
            "S" if rest == "<closed>" => client.closed()?,
            "S" => {
                let reply = client.reply().map_err(|error| failed(error.to_string()))?;
                if !reply_fits(rest, &reply) {
                    return Err(failed(format!("the server says {:?}", reply.wire())));
                }
            }
            "D" if rest.starts_with("accept ") => {
                let recipients = rest.split(' ').skip(1).map(str::to_owned).collect();
                stored.push(Stored { recipients, ..Stored::default() });
            }
            "H" => stored
                .last_mut()
                .into_iter()
                .for_each(|stored| stored.fields.push(rest.replace("192.0.2.7", "127.0.0.1"))),
            "B" => stored.last_mut().into_iter().for_each(|stored| {
                stored.body.extend_from_slice(rest.as_bytes());
                stored.body.extend_from_slice(b"\r\n");
            }),
            // Notices and waits are seen in memory alone.
            "N" | "W" | "%" | "D" => {}
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => return Err(failed("not a line of a dialogue".to_owned())),
        }
    }
    Ok(stored)
}

/// Whether some message of the recipient's mailbox is the stored one.
fn has_arrived(server: &TestServer, stored: &Stored) -> io::Result<()> {
    let mailboxes: Vec<&str> = stored.recipients.iter().filter_map(|recipient| recipient.split('@').next()).collect();
    for mailbox in mailboxes.into_iter().filter(|mailbox| ["alice", "bob"].contains(mailbox)) {
        let is_it = || {
            server.maildir(mailbox).read().is_ok_and(|mails| {
                mails.iter().any(|mail| {
                    let text = String::from_utf8_lossy(&mail.octets).into_owned();
                    let header =
                        text.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ").replace("\r\n\t", " ");
                    let body = mail.octets.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
                    let has_body = mail.octets.get(body + 4..).is_some_and(|body| body.starts_with(&stored.body));
                    let has_field = |field: &String| header.split("\r\n").any(|line| fits(field, line));
                    has_body && stored.fields.iter().all(has_field)
                })
            })
        };
        if !basin_tests::wait::until_true(PATIENCE, is_it) {
            let there = server.maildir(mailbox).read()?;
            let there: Vec<_> = there.iter().map(|mail| String::from_utf8_lossy(&mail.octets)).collect();
            return Err(Error::other(format!("{mailbox} does not have {stored:?} but {there:#?}")));
        }
    }
    Ok(())
}

#[test]
fn every_dialogue_goes_over_tcp_as_it_does_in_memory() -> Outcome {
    let (mut failed, mut spoken) = (Vec::new(), 0);
    for path in files()? {
        let text = fs::read_to_string(&path)?;
        if !runs_over_tcp(&text) {
            continue;
        }
        spoken += 1;
        let server = TestServer::start_with(settings(&text))?;
        let outcome =
            speak(&server, &text).and_then(|stored| stored.iter().try_for_each(|stored| has_arrived(&server, stored)));
        if let Err(error) = outcome {
            failed.push(format!("{}:{error}", path.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(spoken >= 15, "only {spoken} dialogues were found");
    Ok(())
}

#[test]
fn patterns_and_escapes_mean_what_the_format_says() {
    assert!(fits("250 2.1.0 *", "250 2.1.0 fine"));
    assert!(fits("250 * ok * end", "250 it is ok in the end"));
    assert!(!fits("250 ok", "250 okay"));
    assert!(!fits("*x*x", "x"));
    assert_eq!(octets("a\\x41\\r\\n\\0b\\*3").as_deref(), Some(&b"aA\r\n\0bbb\r\n"[..]));
    assert_eq!(octets("half\\$").as_deref(), Some(&b"half"[..]));
    assert_eq!(octets("\\q"), None);
}
