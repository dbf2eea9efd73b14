//! The PROXY header: read as the protocol says it the slow way, never past its end, and the same wherever it is cut.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use basin_core::proxy::{Header, NoHeader, Source, V1_BYTES_MAX, V2_BYTES_MAX};

/// The twelve octets that version 2 begins with (PROXY protocol §2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Octets of a header of version 2 before its addresses.
const FIXED_BYTES: usize = 16;

/// Reads what a connection begins with.
pub(super) fn run(octets: &[u8]) {
    let read = Header::parse(octets);
    check_cuts(octets, read);
    check_reader(octets, read);
    let Ok(header) = read else {
        // Who begins in the form of a header that is whole is not refused.
        assert_eq!(slow(octets), None, "{} is a header: {read:?}", octets.escape_ascii());
        return;
    };
    assert!(header.len <= octets.len() && header.len <= V1_BYTES_MAX.max(V2_BYTES_MAX), "{header:?}");
    assert_eq!(slow(octets), Some(header), "{}", octets.escape_ascii());
    let (proxy, here) = (end(Ipv4Addr::new(10, 0, 0, 1).into(), 4), end(Ipv4Addr::new(10, 0, 0, 2).into(), 25));
    let (client, server) = header.ends(proxy, here);
    match header.source {
        Source::Client { client: named, server: named_server } => {
            assert_eq!((client, server), (named, named_server));
            let is_mapped = |end: SocketAddr| end.ip() != end.ip().to_canonical();
            assert!(!is_mapped(client) && !is_mapped(server), "rules know no mapped addresses: {header:?}");
        }
        Source::Proxy => assert_eq!((client, server), (proxy, here)),
        Source::Unknown => assert!(client.ip().is_unspecified(), "nobody has the rights of the proxy"),
    }
}

// What is decided about a beginning holds for every connection that begins so.
fn check_cuts(octets: &[u8], read: Result<Header, NoHeader>) {
    for cut in 0..octets.len().min(V2_BYTES_MAX + 1) {
        let beginning = octets.get(..cut).unwrap_or_default();
        match Header::parse(beginning) {
            Err(NoHeader::Incomplete(more)) => {
                let len = read.map_or(usize::MAX, |header| header.len);
                assert!(more > 0 && cut.saturating_add(more) <= len, "{cut} and {more} of {read:?}");
            }
            decided => assert_eq!(decided, read, "decided at {cut}"),
        }
    }
}

// A reader that takes no more than it is told to has not read an octet of the client's.
fn check_reader(octets: &[u8], read: Result<Header, NoHeader>) {
    let (mut at, mut turns) = (0, 0);
    loop {
        turns += 1;
        assert!(turns <= V2_BYTES_MAX, "a header takes that many octets at most");
        let there = octets.get(..at).unwrap_or_default();
        match Header::parse(there) {
            Err(NoHeader::Incomplete(more)) if at + more <= octets.len() => at += more,
            Err(NoHeader::Incomplete(_)) => return assert!(read.is_err(), "it waits for ever: {read:?}"),
            decided => {
                assert_eq!(decided, read);
                return assert!(decided.map_or(at, |header| header.len) == at, "{at} octets for {decided:?}");
            }
        }
    }
}

fn end(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

// The header that stands there, by the text of the protocol.
fn slow(octets: &[u8]) -> Option<Header> {
    if octets.starts_with(SIGNATURE) { slow_2(octets) } else { slow_1(octets) }
}

// §2.1: words between single blanks, and CR LF.
fn slow_1(octets: &[u8]) -> Option<Header> {
    let head = octets.get(..V1_BYTES_MAX).unwrap_or(octets);
    let len = head.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let line = head.get(..len - 2).filter(|line| !line.iter().any(|octet| matches!(octet, b'\r' | b'\n')))?;
    if line == b"PROXY UNKNOWN" || line.starts_with(b"PROXY UNKNOWN ") {
        return Some(Header { len, source: Source::Unknown });
    }
    let words: Vec<&str> = core::str::from_utf8(line).ok()?.split(' ').collect();
    let source = match words.as_slice() {
        ["PROXY", family, from, to, from_port, to_port] => {
            let ip = |text: &str| match *family {
                "TCP4" => text.parse().map(IpAddr::V4).ok(),
                "TCP6" => text.parse().map(IpAddr::V6).ok(),
                _ => None,
            };
            Source::Client { client: end(ip(from)?, port(from_port)?), server: end(ip(to)?, port(to_port)?) }
        }
        _ => return None,
    };
    Some(Header { len, source })
}

// Digits without a zero in front.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

// §2.2: version and command, family and protocol, length, addresses, further values.
fn slow_2(octets: &[u8]) -> Option<Header> {
    let [command, family, high, low] = *octets.get(SIGNATURE.len()..FIXED_BYTES)? else { return None };
    let len = FIXED_BYTES + usize::from(high) * 256 + usize::from(low);
    let payload = octets.get(FIXED_BYTES..len).filter(|_| len <= V2_BYTES_MAX)?;
    let source = match (command, family) {
        // Whatever stands behind it.
        (0x20, _) => Source::Proxy,
        (0x21, 0x11) => {
            let [a, b, c, d, e, f, g, h, from, from_low, to, to_low, ..] = *payload else { return None };
            let port = |high, low| u16::from_be_bytes([high, low]);
            let (client, server) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
            Source::Client {
                client: end(client.into(), port(from, from_low)),
                server: end(server.into(), port(to, to_low)),
            }
        }
        (0x21, 0x21) => {
            let ip = |at: usize| payload.get(at..at + 16).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
            let port = |at: usize| payload.get(at..at + 2).and_then(|octets| <[u8; 2]>::try_from(octets).ok());
            let one = |address, at| Some(end(Ipv6Addr::from(ip(address)?).into(), u16::from_be_bytes(port(at)?)));
            Source::Client { client: one(0, 32)?, server: one(16, 34)? }
        }
        // No family or no transport is named, or the family is that of sockets in a file system; the addresses are
        // there all the same.
        (0x21, 0x00 | 0x01) => Source::Unknown,
        (0x21, 0x10) if payload.len() >= 12 => Source::Unknown,
        (0x21, 0x20) if payload.len() >= 36 => Source::Unknown,
        (0x21, 0x30 | 0x31) if payload.len() >= 216 => Source::Unknown,
        _ => return None,
    };
    Some(Header { len, source })
}
