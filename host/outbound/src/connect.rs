//! Connections: from which address, to which, and never to oneself.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;
use std::net::UdpSocket;

use basin_core::reply::Reply;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

use crate::wire::Stream;

/// What the host of a next hop begins with that is a socket on this machine.
pub(crate) const UNIX_PREFIX: &str = "unix:";

/// A place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Over the network.
    Net(SocketAddr),
    /// A socket on this machine.
    Unix(String),
}

impl Place {
    /// The address, for the record of the hop.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Net(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether what is sent there stays on this machine.
    pub(crate) fn is_on_this_machine(&self) -> bool {
        match self {
            Self::Net(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Connects, from one of `sources` where there are any.
    ///
    /// # Errors
    /// What is said of the host: nobody is there, or nobody answers in time.
    pub(crate) async fn connect(&self, sources: &[IpAddr], patience: Duration) -> Result<Stream, Reply> {
        let connecting = async {
            match self {
                Self::Net(address) => tcp(*address, sources).await.map(Stream::Tcp),
                Self::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
            }
        };
        let shown = match self {
            Self::Net(address) => address.to_string(),
            Self::Unix(path) => path.clone(),
        };
        match timeout(patience, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Reply::with(451, 4, 1, format!("cannot connect to {shown}: {error}"))),
            Err(_) => Err(Reply::with(451, 4, 1, format!("{shown} did not answer within {} s", patience.as_secs()))),
        }
    }
}

async fn tcp(address: SocketAddr, sources: &[IpAddr]) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source_for(address, sources)? {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    // Commands are written whole; waiting for more of them would only cost time.
    stream.set_nodelay(true)?;
    Ok(stream)
}

// An operator who lists addresses wants mail to come from them and from nowhere else: their names, their
// reputation and their SPF records are made for it.
fn source_for(address: SocketAddr, sources: &[IpAddr]) -> io::Result<Option<IpAddr>> {
    if sources.is_empty() {
        return Ok(None);
    }
    match sources.iter().find(|source| source.is_ipv4() == address.is_ipv4()) {
        Some(source) => Ok(Some(*source)),
        None => Err(io::Error::new(io::ErrorKind::Unsupported, "no source address of its family is configured")),
    }
}

/// Whether this server itself takes mail at that address, so that a visit there would be a loop.
pub(crate) fn is_own(address: SocketAddr, listeners: &[SocketAddr]) -> bool {
    // Whoever connects to the unspecified address reaches this machine, and `::ffff:192.0.2.1` is 192.0.2.1.
    let ip = address.ip().to_canonical();
    let mut there = listeners.iter().filter(|listener| listener.port() == address.port());
    there.any(|listener| {
        let own = listener.ip().to_canonical();
        own == ip || ip.is_unspecified() || own.is_unspecified() && is_of_this_machine(ip)
    })
}

// Only an address of this machine can be bound to; no packet is sent for it.
fn is_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_listener_on_every_address_is_found_at_each_of_them() {
        assert!(is_own(address("127.0.0.1:25"), &[address("0.0.0.0:25")]));
        assert!(is_own(address("192.0.2.1:25"), &[address("192.0.2.1:25")]));
        assert!(!is_own(address("192.0.2.1:25"), &[address("0.0.0.0:25")]), "not an address of this machine");
        assert!(!is_own(address("127.0.0.1:26"), &[address("0.0.0.0:25")]), "another port is another server");
        assert!(!is_own(address("127.0.0.1:25"), &[]));
        assert!(is_own(address("[::ffff:192.0.2.1]:25"), &[address("192.0.2.1:25")]));
        assert!(is_own(address("0.0.0.0:25"), &[address("192.0.2.1:25")]), "that is this machine");
    }

    #[test]
    fn only_a_loopback_address_or_a_socket_is_on_this_machine() {
        for text in ["127.0.0.1:25", "[::1]:25", "[::ffff:127.0.0.1]:25"] {
            assert!(Place::Net(address(text)).is_on_this_machine(), "{text}");
        }
        assert!(Place::Unix("/run/lmtp".to_owned()).is_on_this_machine());
        for text in ["192.0.2.1:25", "[2001:db8::1]:25", "0.0.0.0:25"] {
            assert!(!Place::Net(address(text)).is_on_this_machine(), "{text}");
        }
    }

    #[test]
    fn the_source_has_the_family_of_the_server() {
        let sources = ["192.0.2.1".parse().expect("v4"), "2001:db8::1".parse().expect("v6")];
        assert_eq!(source_for(address("198.51.100.1:25"), &sources).expect("v4"), Some(sources[0]));
        assert_eq!(source_for(address("[2001:db8::9]:25"), &sources).expect("v6"), Some(sources[1]));
        assert_eq!(source_for(address("[2001:db8::9]:25"), &[]).expect("any"), None);
        assert!(source_for(address("[2001:db8::9]:25"), &sources[..1]).is_err());
    }
}
