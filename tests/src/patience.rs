//! What clients cost that do nothing, or do it slowly: memory of idle sessions, and what is left for the others.

use std::io::{self, Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::generator::{self, Load};
use crate::process::{forget_memory_peak, memory_kib, memory_peak_kib};
use crate::server::TestServer;
use crate::settings::{DOMAIN, Settings};

/// Addresses that clients come from. One has some 28,000 ports for one server, and many wait for their end.
const SOURCES: u8 = 8;

/// Wait for the greeting of one of very many sessions.
const GREETING_TIMEOUT: Duration = Duration::from_secs(60);

/// Descriptors of a process beside those of its sessions.
const DESCRIPTORS_BESIDE: u64 = 200;

/// Times that the load is measured without and with slow clients; odd, so that the median was measured.
const TURNS: u32 = 9;

/// The endless line, in octets.
const LINE_BYTES: usize = 4 * 1024 * 1024;

/// Memory of the server with and without idle sessions.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Sessions that were open.
    pub sessions: u32,
    /// Resident memory before the first of them, in KiB.
    pub before_kib: u64,
    /// The same with all of them greeted and waiting.
    pub after_kib: u64,
}

impl Idle {
    /// Memory of one session, in KiB.
    pub fn each_kib(&self) -> f64 {
        difference(self.before_kib, self.after_kib) / f64::from(self.sessions.max(1))
    }
}

/// Throughput beside slow clients that send, beside the same ones silent, and on a server that has none.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Slow sessions, each of which sends an octet a second.
    pub slow: u32,
    /// Messages a second in each turn: where nobody else is, while they are silent, while they send.
    turns: Vec<[f64; 3]>,
}

impl Beside {
    /// Messages a second where nobody else is, while they are silent, while they send: medians.
    pub fn rates(&self) -> [f64; 3] {
        [0, 1, 2].map(|at| median(self.turns.iter().map(|rates| rates.get(at).copied().unwrap_or_default()).collect()))
    }

    /// What is left for others beside sessions that are silent, of what they have alone: the median of the turns, whose
    /// measurements follow on each other while the machine is the same.
    pub fn ratio_silent(&self) -> f64 {
        median(self.turns.iter().map(|[alone, silent, _]| silent / alone.max(1.0)).collect())
    }

    /// The same beside sessions that send.
    pub fn ratio_sending(&self) -> f64 {
        median(self.turns.iter().map(|[alone, _, sending]| sending / alone.max(1.0)).collect())
    }
}

/// Memory that 4 MiB without a line end take, in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Endless {
    /// Resident memory before.
    pub before_kib: u64,
    /// The most that was resident until the line was read to its end.
    pub peak_kib: u64,
}

impl Endless {
    /// What the line cost.
    pub fn growth_kib(&self) -> f64 {
        difference(self.before_kib, self.peak_kib)
    }
}

fn difference(before: u64, after: u64) -> f64 {
    let kib = i64::try_from(after).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(0);
    f64::from(i32::try_from(kib).unwrap_or(i32::MAX))
}

/// A server that takes as many sessions as anybody wants and waits long for each.
fn server() -> io::Result<TestServer> {
    let mut settings = Settings::usual();
    settings.listener = "max-connections = 20000\nmax-connections-per-client = 20000\ncommand-timeout = \"30m\"\n\
                         data-timeout = \"30m\"\n"
        .to_owned();
    settings.tables = "[log]\nlevel = \"warn\"\n".to_owned();
    settings.limits = "deliveries = 0\n".to_owned();
    TestServer::start_with(settings)
}

/// Lets this process, and the servers that it starts, have as many descriptors as it may; says how many sessions fit.
pub fn raise_descriptors() -> io::Result<u32> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let all = limit.maximum.unwrap_or(u64::from(u32::MAX)).saturating_sub(DESCRIPTORS_BESIDE);
    Ok(u32::try_from(all).unwrap_or(u32::MAX))
}

/// Opens that many sessions, greets in each, and measures while all of them are idle.
pub async fn idle(sessions: u32) -> io::Result<Idle> {
    let server = server()?;
    // What the first messages allocate is not the sessions'.
    generator::run(server.smtp(), &load(200)).await?;
    let before_kib = memory_kib(server.pid())?;
    let crowd = greeted(server.smtp(), sessions).await?;
    let after_kib = memory_kib(server.pid())?;
    drop(crowd);
    Ok(Idle { sessions, before_kib, after_kib })
}

/// Measures a usual load in turns: on a server that has no other sessions, beside sessions that are silent, and beside
/// the same ones while each sends an octet a second. Turns, so that a change of the machine's other load meets all.
pub async fn beside(slow: u32, messages: u32) -> io::Result<Beside> {
    let (empty, crowded) = (server()?, server()?);
    for server in [&empty, &crowded] {
        generator::run(server.smtp(), &load(200)).await?;
    }
    let crowd = greeted(crowded.smtp(), slow).await?;
    let is_sending = Arc::new(AtomicBool::new(false));
    let trickle = tokio::spawn(trickle(crowd, Arc::clone(&is_sending)));
    let mut turns = Vec::new();
    for turn in 0..TURNS {
        let mut rates = [0.0; 3];
        // Another one begins each time, so that being first or last is nobody's advantage.
        for place in 0..3 {
            let at = (place + turn) % 3;
            is_sending.store(at == 2, Ordering::Relaxed);
            let server = if at == 0 { &empty } else { &crowded };
            let rate = generator::run(server.smtp(), &load(messages / TURNS)).await?.rate();
            if let Some(place) = rates.get_mut(usize::try_from(at).unwrap_or(0)) {
                *place = rate;
            }
        }
        turns.push(rates);
    }
    if trickle.is_finished() {
        return Err(Error::other("a slow session was closed"));
    }
    trickle.abort();
    Ok(Beside { slow, turns })
}

/// Sends an octet a second in each session while that is wanted; ends where one of them was closed.
async fn trickle(mut crowd: Vec<TcpStream>, is_wanted: Arc<AtomicBool>) -> io::Result<()> {
    loop {
        if is_wanted.load(Ordering::Relaxed) {
            for stream in &mut crowd {
                stream.write_all(b"x").await?;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// Sends 4 MiB without a line end, as a command and as text, each to a server of its own.
pub async fn endless() -> io::Result<[Endless; 2]> {
    let begin = format!("MAIL FROM:<slow@client.example>\r\nRCPT TO:<user@{DOMAIN}>\r\nDATA\r\n");
    Ok([line_without_end("", "\r\nQUIT\r\n").await?, line_without_end(&begin, "\r\n.\r\nQUIT\r\n").await?])
}

// Memory at most, from before the line until the server says goodbye behind it: then it has read all of it.
async fn line_without_end(begin: &str, end: &str) -> io::Result<Endless> {
    let server = server()?;
    generator::run(server.smtp(), &load(200)).await?;
    let mut crowd = greeted(server.smtp(), 1).await?;
    let stream = crowd.first_mut().ok_or_else(|| Error::other("no session"))?;
    if !begin.is_empty() {
        stream.write_all(begin.as_bytes()).await?;
        until(stream, b"354").await?;
    }
    forget_memory_peak(server.pid())?;
    let before_kib = memory_kib(server.pid())?;
    stream.write_all(&vec![b'x'; LINE_BYTES]).await?;
    stream.write_all(end.as_bytes()).await?;
    until(stream, b"221").await?;
    Ok(Endless { before_kib, peak_kib: memory_peak_kib(server.pid())? })
}

fn load(messages: u32) -> Load {
    let recipient = format!("user@{DOMAIN}");
    Load { sessions: 20, messages, per_session: 1000, bytes: 10 * 1024, is_pipelined: true, recipient }
}

/// Sessions that have been greeted both ways, from several addresses.
async fn greeted(server: SocketAddr, count: u32) -> io::Result<Vec<TcpStream>> {
    let mut streams = Vec::new();
    for number in 0..count {
        let socket = TcpSocket::new_v4()?;
        let last = u8::try_from(number % u32::from(SOURCES)).unwrap_or(0) + 1;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0)))?;
        let mut stream = socket.connect(server).await?;
        until(&mut stream, b"220 ").await?;
        stream.write_all(b"EHLO client.example\r\n").await?;
        until(&mut stream, b"250 ").await?;
        streams.push(stream);
    }
    Ok(streams)
}

/// Reads until a line begins like that and has its end.
async fn until(stream: &mut TcpStream, start: &[u8]) -> io::Result<()> {
    let mut octets = Vec::new();
    loop {
        let is_there = |line: &[u8]| line.starts_with(start) && line.ends_with(b"\n");
        if octets.split_inclusive(|&octet| octet == b'\n').any(is_there) {
            return Ok(());
        }
        let read = tokio::time::timeout(GREETING_TIMEOUT, stream.read_buf(&mut octets));
        if read.await.map_err(|_| Error::new(ErrorKind::TimedOut, "no reply"))?? == 0 {
            let said = String::from_utf8_lossy(&octets).into_owned();
            return Err(Error::new(ErrorKind::UnexpectedEof, format!("the server closed: {said:?}")));
        }
    }
}
