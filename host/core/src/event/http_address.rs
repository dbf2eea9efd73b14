//! Whom a sink may speak HTTP with: the grant `http=HOST[:PORT][/PATH*]`.

use core::fmt;
use core::net::IpAddr;

use crate::event::grant::kept;

/// Longest grant, in octets: a name and a path that a person would write.
const WORD_BYTES_MAX: usize = 512;

/// An address that a sink is granted, as the operator wrote it, in lower case up to the path.
///
/// It is kept for as long as the process runs, once for each spelling: grants are compared and copied all the time,
/// and there are as many as an operator writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpAddress(&'static str);

/// What the parts of an address are.
struct Parts<'a> {
    host: &'a str,
    port: Option<u16>,
    path: Option<&'a str>,
}

/// A request that a sink wants to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTarget<'a> {
    /// Whether it is over TLS.
    pub is_https: bool,
    /// Name or address, without brackets.
    pub host: &'a str,
    /// Port, where the address of the request has one.
    pub port: Option<u16>,
    /// Path, with what stands behind a question mark.
    pub path: &'a str,
}

impl HttpTarget<'_> {
    /// The port that is connected to.
    pub fn connected_port(&self) -> u16 {
        self.port.unwrap_or(if self.is_https { 443 } else { 80 })
    }
}

impl HttpAddress {
    /// Reads the word of a grant, `http=` included; `None` where it is no address.
    pub fn parse(word: &str) -> Option<Self> {
        let rest = word.strip_prefix("http=")?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let word = format!("http={}{path}", authority.to_ascii_lowercase());
        let is_plain = word.len() <= WORD_BYTES_MAX && word.bytes().all(|octet| octet.is_ascii_graphic());
        // A star anywhere but at the end of a path would be taken for more than it is.
        let has_stray_star = word.strip_suffix('*').filter(|_| !path.is_empty()).unwrap_or(&word).contains('*');
        let parts = parts(&word)?;
        let is_host = parts.host.parse::<IpAddr>().is_ok() || is_name(parts.host);
        (is_plain && !has_stray_star && is_host).then(|| Self(kept(word)))
    }

    /// The grant as it is written.
    pub fn word(self) -> &'static str {
        self.0
    }

    /// Whether that request may be made. Without a port, the usual one of HTTP or HTTPS is meant.
    pub fn allows(self, target: &HttpTarget<'_>) -> bool {
        let Some(parts) = parts(self.0) else { return false };
        let usual = if target.is_https { 443 } else { 80 };
        parts.is_host(target.host)
            && parts.port.unwrap_or(usual) == target.connected_port()
            && parts.covers(target.path)
    }

    /// Whether the host of the grant is an address and not a name. Whoever grants an address means that machine,
    /// private or not; a name is somebody else's to point anywhere.
    pub fn is_literal(self) -> bool {
        parts(self.0).is_some_and(|parts| parts.host.parse::<IpAddr>().is_ok())
    }
}

impl Parts<'_> {
    // An address is compared as one: it can be spelled in many ways.
    fn is_host(&self, host: &str) -> bool {
        match (self.host.parse::<IpAddr>(), host.parse::<IpAddr>()) {
            (Ok(granted), Ok(wanted)) => granted == wanted,
            (Err(_), Err(_)) => self.host.eq_ignore_ascii_case(host.strip_suffix('.').unwrap_or(host)),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }

    fn covers(&self, path: &str) -> bool {
        let Some(wanted) = self.path else { return true };
        let path = path.split('?').next().unwrap_or_default();
        // Servers differ in what they make of these: a path that climbs out of the granted one must not begin with it.
        let climbs = path.contains("..") || path.contains('%') || path.contains('\\') || path.contains("//");
        let is_covered = wanted.strip_suffix('*').map_or(path == wanted, |start| path.starts_with(start));
        is_covered && !climbs
    }
}

fn parts(word: &str) -> Option<Parts<'_>> {
    let rest = word.strip_prefix("http=")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None if port.is_empty() => None,
        None => return None,
    };
    Some(Parts { host, port, path: Some(path).filter(|path| !path.is_empty()) })
}

fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

impl fmt::Debug for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What is translated to an address of IPv4 begins so, and is that address (RFC 6052 §2.1).
const TRANSLATED: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Whether an address is that of a machine that a name from outside has no business to point to: this machine, its
/// networks, those of the provider (metadata of clouds among them), and what is no machine at all.
pub fn is_inner(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                // "This network" (RFC 791), shared by carriers (RFC 6598), of protocols (RFC 6890), relays of 6to4
                // (RFC 7526), of benchmarks (RFC 2544), and all that is reserved, broadcast included.
                || a == 0
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19))
                || a >= 240
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            let [.., w, x, y, z] = v6.octets();
            let is_translated = v6.segments().starts_with(&TRANSLATED);
            // Only 2000::/3 is given out to machines of the Internet (RFC 4291 §2.4): whatever else there is, loopback,
            // link-local, site-local, unique-local, multicast, IPv4 in disguise, is not for a name from outside.
            let is_global = (a & 0xe000) == 0x2000;
            // 6to4 and Teredo lead where they like, 2001::/23 is of protocols, and some is for documentation
            // (RFC 3849, RFC 9637).
            let is_special = a == 0x2002 || (a == 0x2001 && (b < 0x200 || b == 0xdb8)) || (a == 0x3fff && b < 0x1000);
            if is_translated { is_inner(IpAddr::from([w, x, y, z])) } else { !is_global || is_special }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(word: &str, is_https: bool, host: &str, port: Option<u16>, path: &str) -> bool {
        HttpAddress::parse(word).expect("an address").allows(&HttpTarget { is_https, host, port, path })
    }

    #[test]
    fn a_grant_is_for_one_host_one_port_and_a_path() {
        assert!(allows("http=Scan.example", false, "scan.example", None, "/x"));
        assert!(allows("http=scan.example", true, "SCAN.example.", Some(443), "/"));
        assert!(!allows("http=scan.example", false, "scan.example", Some(8080), "/"));
        assert!(!allows("http=scan.example:443", false, "scan.example", None, "/"));
        assert!(!allows("http=scan.example", false, "scan.example.evil.example", None, "/"));
        assert!(allows("http=[::1]:11333", false, "::1", Some(11333), "/"));
        assert!(allows("http=[0:0::1]", false, "::1", None, "/"), "an address is one in every spelling");
        assert!(!allows("http=127.0.0.1", false, "::ffff:127.0.0.1", None, "/"));
        assert!(!allows("http=127.0.0.1", false, "localhost", None, "/"));
        assert!(allows("http=a.example/v2/*", true, "a.example", None, "/v2/check?x=../y"));
        for path in ["/v2", "/v1/", "/v2/../admin", "/v2/%2e%2e/admin", "/v2//x", "/v2/a\\b"] {
            assert!(!allows("http=a.example/v2/*", true, "a.example", None, path), "{path}");
        }
        assert!(!allows("http=a.example/v2", true, "a.example", None, "/v2/x"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for word in [
            "http=",
            "http",
            "http=*",
            "http=*.example",
            "http=a.example:0",
            "http=a.example:x",
            "http=a b",
            "http=a/x*y",
            "http=user@a.example",
            "http=[::1",
            "http=a..b",
            "http=http://a.example",
        ] {
            assert_eq!(HttpAddress::parse(word), None, "{word}");
        }
        assert!(HttpAddress::parse("http=127.0.0.1:11333").is_some_and(HttpAddress::is_literal));
        assert!(HttpAddress::parse("http=localhost").is_some_and(|address| !address.is_literal()));
    }

    #[test]
    fn inner_addresses_are_known_in_every_disguise() {
        for inner in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "::7f00:1",
            "64:ff9b:1::7f00:1",
            "100::1",
            "fec0::1",
            "192.88.99.1",
            "192.0.0.8",
        ] {
            assert!(is_inner(inner.parse().expect("an address")), "{inner}");
        }
        for outer in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101"] {
            assert!(!is_inner(outer.parse().expect("an address")), "{outer}");
        }
    }
}
