//! A scanner that is asked over HTTP.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use basin_tests::server::TestServer;
use basin_tests::settings::free_address;
use basin_tests::wait::PATIENCE;

use super::server_with;
use crate::services::in_force;
use crate::{HELLO, Outcome, SENDER, USER};

/// A request as it came: header block and body.
type Request = (String, Vec<u8>);

/// Plays rspamd: answers every request with what the subject of the message asks for.
struct Scanner {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Scanner {
    fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        // It ends with the process of the test, like the listener's other end.
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if let Ok(request) = request(&mut stream) {
                    let answer = answer(&request.1);
                    let head =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                    stream.write_all(format!("{head}{answer}").as_bytes()).ok();
                }
            }
        });
        Ok(Self { address, requests })
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn request(stream: &mut TcpStream) -> io::Result<Request> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut octets = Vec::new();
    let mut chunk = [0; 65_536];
    loop {
        let text = String::from_utf8_lossy(&octets).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let end = head.len() + 4 + length.unwrap_or(0);
            if octets.len() >= end {
                return Ok((head.to_owned(), octets.split_off(head.len() + 4)));
            }
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        octets.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
}

/// "Subject: reject" is rejected, and so on.
fn answer(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
    format!(
        r#"{{"action": "{subject}", "score": 7.5, "required_score": 15.0, "subject": "[spam] offer",
            "messages": {{"smtp_message": "we do not want this"}},
            "milter": {{"add_headers": {{"X-Symbols": {{"value": "R_TEST(7.5)", "order": 0}}}}, "remove_headers": {{"X-Secret": 0}}}}}}"#
    )
}

fn message(subject: &str) -> Vec<u8> {
    format!(
        "From: <{SENDER}>\r\nTo: <{USER}>\r\nSubject: {subject}\r\nX-Secret: 1\r\nX-Spam: No\r\n\
         Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@client.example>\r\n\r\nHello.\r\n"
    )
    .into_bytes()
}

fn server(scanner: SocketAddr, grants: &[&str], more: &[&str]) -> io::Result<TestServer> {
    let url = format!("url=http://{scanner}/checkv2");
    let mut flags = vec!["--set", &url];
    for grant in ["read-envelope", "read-headers", "read-body", "edit-headers", "reply"].iter().chain(grants) {
        flags.extend(["--grant", grant]);
    }
    flags.extend(more);
    server_with("rspamd", "on-end-of-data", &flags)
}

#[test]
fn the_scanner_sees_the_message_and_its_envelope_and_decides() -> Outcome {
    let scanner = Scanner::start()?;
    let grant = format!("http={}", scanner.address);
    let server = server(scanner.address, &[&grant], &[])?;
    let mut client = server.client()?;
    for (action, code, words) in [
        ("no action", 250, ""),
        ("add header", 250, ""),
        ("rewrite subject", 250, ""),
        ("reject", 550, "5.7.1 we do not want this"),
        ("soft reject", 451, "4.7.1 we do not want this"),
        ("greylist", 451, ""),
        ("quarantine", 250, ""),
    ] {
        let reply = client.deliver(SENDER, &[USER], &message(action))?;
        assert!(reply.code == code && reply.says(words), "{action}: {}\n{}", reply.wire(), server.log());
    }
    let mails = server.maildir("user").wait_for(3, PATIENCE)?;
    assert_eq!(mails.len(), 3);
    for mail in &mails {
        let is_spam = mail.header("Subject").as_deref() != Some("no action");
        assert_eq!(mail.headers("X-Spam"), if is_spam { vec!["Yes"] } else { vec![] });
        let status = if is_spam { "Yes, score=7.50 required=15.00" } else { "No, score=7.50 required=15.00" };
        assert_eq!(mail.headers("X-Spam-Status"), [status]);
        assert_eq!((mail.header("X-Symbols").as_deref(), mail.header("X-Secret")), (Some("R_TEST(7.5)"), None));
    }
    assert!(mails.iter().any(|mail| mail.header("Subject").as_deref() == Some("[spam] offer")));

    let (head, body) = scanner.requests().first().cloned().expect("seven requests");
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /checkv2 http/1.1\r\n"), "{head}");
    for field in ["ip: 127.0.0.1", "from: sender@client.example", "rcpt: user@basin.example", "helo: client.example"] {
        assert!(head.lines().any(|line| line == field), "{field}: {head}");
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(
        text.starts_with("Received: ") && text.ends_with("\r\n\r\nHello.\r\n") && !text.contains("X-Spam"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_large_message_reaches_the_scanner_whole() -> Outcome {
    let scanner = Scanner::start()?;
    let grant = format!("http={}", scanner.address);
    let server = server(scanner.address, &[&grant], &["--deadline", "60s"])?;
    let mut text = message("add header");
    text.extend_from_slice("0123456789 0123456789 0123456789 0123456789 0123456789\r\n".repeat(20_000).as_bytes());
    server.client()?.deliver_pipelined(SENDER, USER, &text)?.require(250)?;
    let (_, body) = scanner.requests().first().cloned().expect("one request");
    assert!(body.ends_with(&text[text.len() - 1_000_000..]), "{} octets of {}", body.len(), text.len());
    Ok(())
}

#[test]
fn a_scanner_that_is_away_is_a_matter_of_the_failure_policy() -> Outcome {
    let nobody = free_address();
    let grant = format!("http={nobody}");
    server(nobody, &[&grant], &[])?.client()?.deliver(SENDER, &[USER], HELLO)?.require(451)?;
    server(nobody, &[&grant], &["--on-failure", "skip"])?.client()?.deliver(SENDER, &[USER], HELLO)?.require(250)?;
    Ok(())
}

#[test]
fn an_address_that_is_not_granted_is_not_asked() -> Outcome {
    let scanner = Scanner::start()?;
    let (name, other) = (format!("http=localhost:{}", scanner.address.port()), free_address().port());
    let (elsewhere, other_port) = ("http=192.0.2.1:11333".to_owned(), format!("http=127.0.0.1:{other}"));
    for grants in [&[][..], &[elsewhere.as_str()], &[other_port.as_str()], &[name.as_str()]] {
        let server = server(scanner.address, grants, &[])?;
        server.client()?.deliver(SENDER, &[USER], &message("no action"))?.require(451)?;
        assert_eq!(scanner.requests().len(), 0, "{grants:?}");
        let log = server.log();
        let denied = format!("it wanted HTTP with 127.0.0.1 port {} without the grant", scanner.address.port());
        assert!(log.contains("WARN denied sink=\"rspamd\"") && log.contains(&denied), "{grants:?}: {log}");
    }
    Ok(())
}

#[test]
fn a_grant_that_is_taken_back_counts_from_the_next_message_on() -> Outcome {
    let scanner = Scanner::start()?;
    let grant = format!("http={}", scanner.address);
    let server = server(scanner.address, &[&grant], &[])?;
    let mut client = server.client()?;
    client.deliver(SENDER, &[USER], &message("no action"))?.require(250)?;
    in_force(&server, || server.basin_ok(&["sink", "revoke", "rspamd", &grant]).map(drop))?;
    client.deliver(SENDER, &[USER], &message("no action"))?.require(451)?;
    assert_eq!(scanner.requests().len(), 1);
    Ok(())
}
