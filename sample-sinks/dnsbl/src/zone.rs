//! One list: its domain, and which of its answers count.

use basin_sink::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

/// A list. `list.example` counts every answer, `list.example=127.0.0.2|127.0.0.4` those alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) name: String,
    codes: Vec<Ipv4Addr>,
}

impl Zone {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, codes) = text.split_once('=').unwrap_or((text, ""));
        let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
        if !name.contains('.') {
            return Err(Failure::new(format!("zones: {text:?} is no list such as list.example=127.0.0.2|127.0.0.3")));
        }
        let codes = codes.split('|').map(str::trim).filter(|code| !code.is_empty());
        let codes =
            codes.map(|code| code.parse().map_err(|_| Failure::new(format!("zones: {code:?} is no IPv4 address"))));
        Ok(Self { name, codes: codes.collect::<Result<_>>()? })
    }

    /// Whether the list names that address. Where the list does not answer it does not.
    pub(crate) fn lists(&self, address: IpAddr) -> Result<bool> {
        let answers = match dns::addresses(&self.question(address)) {
            Ok(answers) => answers,
            Err(Error::NotFound) => return Ok(false),
            // A list that is down must not stop the mail of the world.
            Err(Error::Unavailable(why)) => {
                metrics::count("unanswered");
                log::warn!("{} does not answer: {why}", self.name);
                return Ok(false);
            }
            // What the operator has to mend: no grant, or a name that is none.
            Err(error) => return Err(error.into()),
        };
        let answers = answers.iter().filter_map(|answer| answer.parse::<Ipv4Addr>().ok());
        let mut listings = answers.filter(|&answer| super::is_listing(answer));
        Ok(listings.any(|answer| self.codes.is_empty() || self.codes.contains(&answer)))
    }

    /// The name to ask for: octets (RFC 5782 §2.1) or nibbles (§2.4) backwards, then the list.
    pub(crate) fn question(&self, address: IpAddr) -> String {
        let labels: Vec<String> = match address {
            IpAddr::V4(address) => address.octets().iter().rev().map(u8::to_string).collect(),
            IpAddr::V6(address) => {
                let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 0xf, octet >> 4]);
                nibbles.map(|nibble| format!("{nibble:x}")).collect()
            }
        };
        format!("{}.{}", labels.join("."), self.name)
    }
}
