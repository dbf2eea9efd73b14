//! A server that speaks as much HTTP as a test tells it, and remembers what it was asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Longest wait for a client that the test has sent on its way.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on loopback, for as long as the test runs.
pub(crate) struct Web {
    pub(crate) port: u16,
    requests: Receiver<String>,
}

impl Web {
    /// Answers each request, once its header and a body of the stated length or in chunks are there, by `answer`; then
    /// the connection is closed.
    pub(crate) fn start(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + Clone + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let (told, requests) = channel();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let (told, answer) = (told.clone(), answer.clone());
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                    let request = read(&mut stream);
                    // The test may be over.
                    drop(told.send(request.clone()));
                    answer(&request, &mut stream);
                });
            }
        });
        Self { port, requests }
    }

    /// Says the same to everybody.
    pub(crate) fn saying(answer: &'static str) -> Self {
        Self::start(move |_, stream| say(stream, answer))
    }

    /// The requests so far, octet by octet.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.try_iter().collect()
    }
}

/// Writes, and does not mind who has left.
pub(crate) fn say(stream: &mut TcpStream, text: &str) {
    drop(stream.write_all(text.as_bytes()));
}

/// Does nothing for so long.
#[expect(clippy::disallowed_methods, reason = "a server that is slow is what a test wants")]
pub(crate) fn dawdle(time: Duration) {
    thread::sleep(time);
}

fn read(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    let mut chunk = [0; 65_536];
    loop {
        let text = String::from_utf8_lossy(&octets).into_owned();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(header, body)| {
            let header = header.to_ascii_lowercase();
            let length = header.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            if header.contains("transfer-encoding: chunked") {
                body.ends_with("0\r\n\r\n")
            } else {
                body.len() >= length.unwrap_or(0)
            }
        });
        if whole {
            return text;
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return text,
            Ok(count) => octets.extend_from_slice(&chunk[..count]),
        }
    }
}
