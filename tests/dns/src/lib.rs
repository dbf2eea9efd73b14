//! A DNS server under the control of the tests.
//!
//! It answers like a resolver that somebody runs next door: for every name, with chains of aliases followed, and
//! with signatures where the zone is signed and the question asks for them. What a zone says it can also break:
//! see [`Zone`] for its text.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let zone = basin_test_dns::Zone::parse("example.org MX 10 mx.example.org\nmx.example.org A 127.0.0.1")?;
//! let dns = basin_test_dns::TestDns::start(zone).await?;
//! println!("ask {}", dns.address());
//! # Ok(())
//! # }
//! ```

mod answer;
mod sign;
mod zone;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_server::proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

pub use zone::{Fault, Zone, ZoneError};

/// Attempts to find a port that is free for UDP and TCP.
const PORTS_TRIED: u32 = 64;

/// A question that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The name, in lower case, without a dot at its end.
    pub name: String,
    /// The kind of record, such as `MX`.
    pub kind: String,
    /// Whether it came over TCP.
    pub is_tcp: bool,
}

/// The server; it runs until it is dropped.
pub struct TestDns {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

struct Shared {
    zone: Mutex<Zone>,
    asked: Mutex<Vec<Asked>>,
}

impl TestDns {
    /// Starts a server on a free port of 127.0.0.1.
    pub async fn start(zone: Zone) -> io::Result<Self> {
        for _ in 1..PORTS_TRIED {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            match UdpSocket::bind(tcp.local_addr()?).await {
                Ok(udp) => return Self::serve(zone, udp, tcp),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Starts a server on that address, UDP and TCP.
    pub async fn start_at(zone: Zone, address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        let udp = UdpSocket::bind(tcp.local_addr()?).await?;
        Self::serve(zone, udp, tcp)
    }

    fn serve(zone: Zone, udp: UdpSocket, tcp: TcpListener) -> io::Result<Self> {
        let address = tcp.local_addr()?;
        let shared = Arc::new(Shared { zone: Mutex::new(zone), asked: Mutex::new(Vec::new()) });
        let tasks = [tokio::spawn(serve_udp(udp, shared.clone())), tokio::spawn(serve_tcp(tcp, shared.clone()))];
        Ok(Self { address, shared, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces what it knows; the key of a signed zone stays that zone's own.
    pub fn set(&self, zone: Zone) {
        *self.shared.zone.lock().unwrap_or_else(PoisonError::into_inner) = zone;
    }

    /// What was asked so far, validation's own questions included.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often that was asked.
    pub fn times_asked(&self, name: &str, kind: &str) -> usize {
        self.asked().iter().filter(|asked| asked.name == name && asked.kind == kind).count()
    }
}

impl Drop for TestDns {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn answer(&self, question: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
        let message = Message::from_vec(question).ok()?;
        let query = message.queries.first()?;
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let asked = Asked { name, kind: query.query_type().to_string(), is_tcp };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        let zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        answer::answer(&zone, &message, is_tcp)
    }
}

async fn serve_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = [0; 4_096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = shared.answer(&buffer[..length], false) {
            // A client that is gone is no reason to stop.
            drop(socket.send_to(&answer, from).await);
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move { drop(serve_connection(stream, &shared).await) });
    }
}

async fn serve_connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let mut question = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut question).await?;
        let Some(answer) = shared.answer(&question, true) else { continue };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_u16(length).await?;
        stream.write_all(&answer).await?;
    }
}
