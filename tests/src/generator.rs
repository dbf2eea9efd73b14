//! The load generator: many sessions at once, each message timed.

use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::stuffed;

/// No single reply takes longer, or the run is broken and ends.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// Connections open at once.
    pub sessions: u32,
    /// Messages of the whole run.
    pub messages: u32,
    /// Messages in one session before it ends and the next begins.
    pub per_session: u32,
    /// Octets of message text, roughly.
    pub bytes: usize,
    /// Whether MAIL, RCPT and DATA leave in one segment (RFC 2920).
    pub is_pipelined: bool,
    /// The recipient.
    pub recipient: String,
}

/// What was seen from outside.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Wall time of the run.
    pub wall: Duration,
    /// Messages that got 250.
    pub accepted: u32,
    /// From MAIL to the reply after the dot, one for each message, sorted.
    pub latencies: Vec<Duration>,
}

impl Seen {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        f64::from(self.accepted) / self.wall.as_secs_f64()
    }

    /// The latency that so many of a hundred messages stay under.
    pub fn percentile(&self, hundredth: usize) -> Duration {
        let at = self.latencies.len() * hundredth / 100;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Sends the load; an error where any message was not taken.
pub async fn run(server: SocketAddr, load: &Load) -> io::Result<Seen> {
    let wire = Arc::new(Wire::new(load));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for session in 0..load.sessions {
        let share = load.messages / load.sessions + u32::from(session < load.messages % load.sessions);
        let (wire, per_session) = (Arc::clone(&wire), load.per_session);
        tasks.spawn(async move { connections(server, &wire, share, per_session).await });
    }
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done.map_err(Error::other)??);
    }
    let wall = start.elapsed();
    latencies.sort_unstable();
    let accepted = u32::try_from(latencies.len()).map_err(Error::other)?;
    Ok(Seen { wall, accepted, latencies })
}

/// The octets of a transaction, made once for all.
struct Wire {
    commands: Vec<Vec<u8>>,
    text: Vec<u8>,
    codes: &'static [u16],
}

impl Wire {
    fn new(load: &Load) -> Self {
        let mail = "MAIL FROM:<load@client.example>\r\n".to_owned();
        let recipient = format!("RCPT TO:<{}>\r\n", load.recipient);
        let data = "DATA\r\n".to_owned();
        let commands: Vec<Vec<u8>> = if load.is_pipelined {
            vec![[mail, recipient, data].concat().into_bytes()]
        } else {
            [mail, recipient, data].map(String::into_bytes).to_vec()
        };
        Self { commands, text: stuffed(&text(load.bytes)), codes: &[250, 250, 354] }
    }
}

/// A plain message of about that size.
pub fn text(bytes: usize) -> Vec<u8> {
    let mut text = b"From: <load@client.example>\r\nTo: <user@basin.example>\r\nSubject: load\r\n\
        Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <load@client.example>\r\n\r\n"
        .to_vec();
    while text.len() + 74 <= bytes {
        text.extend_from_slice(&[b'x'; 72]);
        text.extend_from_slice(b"\r\n");
    }
    text
}

async fn connections(server: SocketAddr, wire: &Wire, share: u32, per_session: u32) -> io::Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(usize::try_from(share).unwrap_or(0));
    let mut left = share;
    while left > 0 {
        let now = left.min(per_session.max(1));
        let mut talk = Talk::open(server).await?;
        for _ in 0..now {
            latencies.push(talk.message(wire).await?);
        }
        talk.say(b"QUIT\r\n").await?;
        talk.expect(221).await?;
        left -= now;
    }
    Ok(latencies)
}

struct Talk {
    stream: TcpStream,
    buffer: Vec<u8>,
    chunk: Box<[u8; 4096]>,
}

impl Talk {
    async fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut talk = Self { stream, buffer: Vec::new(), chunk: Box::new([0; 4096]) };
        talk.expect(220).await?;
        talk.say(b"EHLO client.example\r\n").await?;
        talk.expect(250).await?;
        Ok(talk)
    }

    async fn message(&mut self, wire: &Wire) -> io::Result<Duration> {
        let start = Instant::now();
        let mut codes = wire.codes.iter();
        for command in &wire.commands {
            self.say(command).await?;
            if wire.commands.len() > 1 {
                self.expect(codes.next().copied().unwrap_or(250)).await?;
            }
        }
        for code in codes {
            self.expect(*code).await?;
        }
        self.say(&wire.text).await?;
        self.expect(250).await?;
        Ok(start.elapsed())
    }

    async fn say(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets).await
    }

    async fn expect(&mut self, code: u16) -> io::Result<()> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&octet| octet == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let is_last = line.get(3) == Some(&b' ');
                let is_expected = line.get(..3) == Some(code.to_string().as_bytes());
                if !is_expected {
                    let text = format!("expected {code}, got {:?}", String::from_utf8_lossy(&line));
                    return Err(Error::new(ErrorKind::InvalidData, text));
                }
                if is_last {
                    return Ok(());
                }
                continue;
            }
            let read = tokio::time::timeout(REPLY_TIMEOUT, self.stream.read(self.chunk.as_mut_slice()));
            let count = read.await.map_err(|_| Error::new(ErrorKind::TimedOut, "no reply"))??;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(self.chunk.get(..count).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Load, run};
    use crate::null;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_generator_gets_every_message_through_to_the_null_server() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let server = listener.local_addr().expect("address");
        tokio::spawn(null::serve(listener));
        for (per_session, is_pipelined) in [(1, true), (10, false), (1000, true)] {
            let recipient = "user@basin.example".to_owned();
            let load = Load { sessions: 3, messages: 31, per_session, bytes: 10_240, is_pipelined, recipient };
            let seen = run(server, &load).await.expect("run");
            assert_eq!(seen.accepted, 31);
            assert!(seen.percentile(50) <= seen.percentile(99));
        }
    }
}
