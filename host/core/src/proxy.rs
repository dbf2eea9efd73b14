//! The header of the PROXY protocol (HAProxy, versions 1 and 2): whom a proxy speaks for.
//!
//! Whoever may send one can claim to be any client, so the shell takes headers from the networks that the listener
//! trusts alone, and from those it takes nothing else: a connection of theirs without a header is closed, or a
//! client that reaches the port past the proxy would be taken for the proxy.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ppp::{v1, v2};
use thiserror::Error;

/// Longest header of version 1, in octets, CR LF included (PROXY protocol §2.1).
pub const V1_BYTES_MAX: usize = 107;

/// Longest header of version 2, in octets. The protocol (§2.2) lets a sender rely on 536 octets in one segment; the
/// longest addresses and the usual further values stay well below.
pub const V2_BYTES_MAX: usize = 536;

/// Octets of a header of version 2 before its addresses.
const V2_FIXED_BYTES: usize = 16;

/// Version 2 and the command LOCAL, and where in the header they stand.
const V2_LOCAL: (usize, u8) = (12, 0x20);

/// Shortest header of version 1, in octets: "PROXY UNKNOWN" and CR LF.
const V1_BYTES_MIN: usize = 15;

/// What stands before everything else in version 1.
const V1_PREFIX: &[u8] = b"PROXY ";

/// What version 1 begins with where the proxy does not say for whom it speaks.
const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN";

/// A header, read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its length in octets; what follows is the client's.
    pub len: usize,
    /// Whom the proxy speaks for.
    pub source: Source,
}

/// Whom a proxy speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client.
    Client {
        /// The client's end of its connection to the proxy.
        client: SocketAddr,
        /// The proxy's end of it.
        server: SocketAddr,
    },
    /// Nobody: the proxy looks whether this server lives (LOCAL).
    Proxy,
    /// A client that the proxy does not name, or names by something that is no address on the Internet.
    Unknown,
}

/// Why there is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoHeader {
    /// So many octets more belong to the header at least: a reader that takes no more never reads past its end.
    #[error("the header is not whole")]
    Incomplete(usize),
    /// The connection begins with something else.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// It is longer than any that is taken.
    #[error("the PROXY header is too long")]
    TooLong,
    /// It begins well and goes on badly.
    #[error("the PROXY header is malformed")]
    Malformed,
}

impl Header {
    /// Reads the header that a connection begins with.
    ///
    /// # Errors
    /// See [`NoHeader`]; after any but [`NoHeader::Incomplete`], more octets change nothing.
    pub fn parse(input: &[u8]) -> Result<Self, NoHeader> {
        let is_like = |prefix: &[u8]| {
            let common = input.len().min(prefix.len());
            input.get(..common) == prefix.get(..common)
        };
        if is_like(v2::PROTOCOL_PREFIX) {
            version_2(input)
        } else if is_like(V1_PREFIX) {
            version_1(input)
        } else {
            Err(NoHeader::Missing)
        }
    }

    /// The ends of the connection as the session is to see them, from those that the socket shows.
    ///
    /// A client that the proxy does not name gets the unspecified address: with that of the proxy it would have the
    /// proxy's rights, to relay among them.
    pub fn ends(&self, client: SocketAddr, server: SocketAddr) -> (SocketAddr, SocketAddr) {
        match self.source {
            Source::Client { client, server } => (client, server),
            Source::Proxy => (client, server),
            Source::Unknown => {
                let nobody: IpAddr = match client {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                (SocketAddr::new(nobody, 0), server)
            }
        }
    }
}

fn version_1(input: &[u8]) -> Result<Header, NoHeader> {
    let head = input.get(..V1_BYTES_MAX).unwrap_or(input);
    let Some(end) = head.iter().position(|&octet| octet == b'\n') else {
        let left = V1_BYTES_MIN.saturating_sub(input.len()).max(1);
        return Err(if input.len() < V1_BYTES_MAX { NoHeader::Incomplete(left) } else { NoHeader::TooLong });
    };
    let line = input.get(..=end).unwrap_or_default();
    // §2.1: CR LF ends the line, and nothing else; the parser takes a blank for the CR.
    if !line.ends_with(b"\r\n") {
        return Err(NoHeader::Malformed);
    }
    if is_unknown(line) {
        return Ok(Header { len: line.len(), source: Source::Unknown });
    }
    let header = v1::Header::try_from(line).map_err(|_| NoHeader::Malformed)?;
    // The parser stops at the first CR; a line goes on to CR LF.
    if header.header.len() != line.len() {
        return Err(NoHeader::Malformed);
    }
    let source = match header.addresses {
        v1::Addresses::Tcp4(ip) => {
            client((ip.source_address.into(), ip.source_port), (ip.destination_address.into(), ip.destination_port))
        }
        v1::Addresses::Tcp6(ip) => {
            client((ip.source_address.into(), ip.source_port), (ip.destination_address.into(), ip.destination_port))
        }
        v1::Addresses::Unknown => return Err(NoHeader::Malformed),
    };
    // Rust reads "+25" as a number; the protocol knows digits alone.
    if line.contains(&b'+') {
        return Err(NoHeader::Malformed);
    }
    Ok(Header { len: line.len(), source })
}

// §2.1: behind UNKNOWN there may be anything up to CR LF, and nobody looks at it.
fn is_unknown(line: &[u8]) -> bool {
    let rest = line.strip_suffix(b"\r\n").and_then(|line| line.strip_prefix(V1_UNKNOWN));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b' ')) && !rest.contains(&b'\r'))
}

fn version_2(input: &[u8]) -> Result<Header, NoHeader> {
    let (Some(&high), Some(&low)) = (input.get(V2_FIXED_BYTES - 2), input.get(V2_FIXED_BYTES - 1)) else {
        // Nothing in common yet: the shortest header of all may follow.
        let least = if input.is_empty() { V1_BYTES_MIN } else { V2_FIXED_BYTES };
        return Err(NoHeader::Incomplete(least - input.len()));
    };
    let len = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    // Said before the octets are there: nobody waits for 64 KiB.
    if len > V2_BYTES_MAX {
        return Err(NoHeader::TooLong);
    }
    let Some(octets) = input.get(..len) else {
        return Err(NoHeader::Incomplete(len - input.len()));
    };
    let (at, local) = V2_LOCAL;
    if octets.get(at) == Some(&local) {
        // §2.2: of LOCAL nothing more is looked at, the family included.
        return Ok(Header { len, source: Source::Proxy });
    }
    let header = v2::Header::try_from(octets).map_err(|_| NoHeader::Malformed)?;
    let source = match (header.protocol, header.addresses) {
        (v2::Protocol::Datagram, _) => return Err(NoHeader::Malformed),
        (v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => {
            client((ip.source_address.into(), ip.source_port), (ip.destination_address.into(), ip.destination_port))
        }
        (v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => {
            client((ip.source_address.into(), ip.source_port), (ip.destination_address.into(), ip.destination_port))
        }
        // Addresses of a transport that the proxy does not name are not those of a TCP connection.
        (v2::Protocol::Unspecified, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => Source::Unknown,
    };
    Ok(Header { len, source })
}

// A dual-stack proxy writes IPv4 clients as mapped addresses; rules and logs have them as they are.
fn client(from: (IpAddr, u16), to: (IpAddr, u16)) -> Source {
    let end = |(ip, port): (IpAddr, u16)| SocketAddr::new(ip.to_canonical(), port);
    Source::Client { client: end(from), server: end(to) }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
