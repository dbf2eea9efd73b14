//! Networks of clients.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

/// An address or a network, IPv4 written as the IPv6 addresses that stand for it (RFC 4291 §2.5.5.2), so
/// that a client on a dual-stack socket is the same client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    bits: u128,
    mask: u128,
}

/// How much of an address stands for one client, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    /// Of an IPv4 address, 0 to 32.
    pub v4: u8,
    /// Of an IPv6 address, 0 to 128.
    pub v6: u8,
}

impl Default for Prefixes {
    /// One IPv4 address; of IPv6 a /64, which is what one customer has at least.
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

impl Network {
    /// Parses `address` or `address/prefix`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|octet| octet.is_ascii_digit()) => digits.parse::<u32>().ok()?,
            Some(_) => return None,
            None => width,
        };
        let host_bits = width.checked_sub(prefix)?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Some(Self { bits: wide(address) & mask, mask })
    }

    /// The network of that size around an address: the first so many bits of it. More bits than it has are all.
    pub fn around(address: IpAddr, prefixes: Prefixes) -> Self {
        let address = address.to_canonical();
        let host_bits = if address.is_ipv4() {
            32_u32.saturating_sub(u32::from(prefixes.v4))
        } else {
            128_u32.saturating_sub(u32::from(prefixes.v6))
        };
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Self { bits: wide(address) & mask, mask }
    }

    /// Whether the address lies in the network.
    pub fn has(&self, address: IpAddr) -> bool {
        wide(address) & self.mask == self.bits
    }

    /// Whether it is every address of a family, or every address there is.
    pub fn is_everybody(&self) -> bool {
        // The IPv4 addresses are one /96 of the IPv6 ones.
        self.mask.leading_ones() <= 96 && (self.mask == 0 || self.has(IpAddr::from([0, 0, 0, 0])))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, prefix) = (Ipv6Addr::from(self.bits), self.mask.leading_ones());
        match address.to_ipv4_mapped().zip(prefix.checked_sub(96)) {
            Some((address, 32)) => write!(f, "{address}"),
            Some((address, prefix)) => write!(f, "{address}/{prefix}"),
            None if prefix == 128 => write!(f, "{address}"),
            None => write!(f, "{address}/{prefix}"),
        }
    }
}

fn wide(address: IpAddr) -> u128 {
    let v6 = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    u128::from(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_shown_as_it_is_written() {
        for text in ["127.0.0.0/8", "192.0.2.1", "0.0.0.0/0", "::1", "2001:db8::/32", "::/0"] {
            assert_eq!(Network::parse(text).expect("a network").to_string(), text);
        }
    }

    #[test]
    fn a_client_is_an_address_or_the_network_around_it() {
        let around =
            |text: &str, v4, v6| Network::around(text.parse().expect("an address"), Prefixes { v4, v6 }).to_string();
        assert_eq!(around("192.0.2.77", 32, 64), "192.0.2.77");
        assert_eq!(around("::ffff:192.0.2.77", 24, 64), "192.0.2.0/24");
        assert_eq!(around("2001:db8:0:1:2::3", 32, 64), "2001:db8:0:1::/64");
        assert_eq!(around("2001:db8::1", 32, 200), "2001:db8::1");
        assert_eq!(around("192.0.2.77", 0, 0), "0.0.0.0/0");
    }

    #[test]
    fn everybody_is_told_from_somebody() {
        for text in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
            assert!(Network::parse(text).expect("a network").is_everybody(), "{text}");
        }
        for text in ["127.0.0.0/8", "0.0.0.0/1", "::1", "2001:db8::/32", "0.0.0.0/8"] {
            assert!(!Network::parse(text).expect("a network").is_everybody(), "{text}");
        }
    }
}
