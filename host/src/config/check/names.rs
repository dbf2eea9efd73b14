//! Checks of what sinks may name when they choose where mail goes: addresses to connect from, and LMTP servers.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use basin_core::transport::{Protocol, Route};

use super::Check;
use crate::config::raw;

/// Longest name of a source or a route, in octets; sinks carry it in a hop that is stored with each message.
const NAME_BYTES_MAX: usize = 64;

impl Check<'_> {
    pub(super) fn sources(&mut self, written: Vec<raw::Source>) -> BTreeMap<String, Vec<IpAddr>> {
        let mut sources = BTreeMap::new();
        for (index, raw) in written.into_iter().enumerate() {
            let key = format!("source[{index}]");
            let Some(name) = raw.name else {
                self.wrong(&key, "a source needs a `name`");
                continue;
            };
            self.name(&format!("{key}.name"), &name);
            if raw.addresses.is_empty() {
                self.wrong(&format!("{key}.addresses"), "a source needs the addresses that it stands for");
            }
            let addresses = self.own_addresses(&format!("{key}.addresses"), &raw.addresses);
            if sources.insert(name.clone(), addresses).is_some() {
                self.wrong(&format!("{key}.name"), format!("two sources are named {name:?}"));
            }
        }
        sources
    }

    pub(super) fn own_addresses(&mut self, key: &str, written: &[String]) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for (number, text) in written.iter().enumerate() {
            match text.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => self.wrong(
                    &format!("{key}[{number}]"),
                    format!("expected an address of this machine such as \"192.0.2.10\", found {text:?}"),
                ),
            }
        }
        addresses
    }

    pub(super) fn source(&mut self, key: &str, name: &str, known: &BTreeMap<String, Vec<IpAddr>>) {
        if !known.contains_key(name) {
            self.wrong(&format!("{key}.source"), format!("there is no `[[source]]` with name {name:?}"));
        }
    }

    pub(super) fn name_of_route(&mut self, key: &str, name: &str, route: &Route, known: &BTreeMap<String, Arc<Route>>) {
        let key = format!("{key}.name");
        self.name(&key, name);
        if route.protocol != Protocol::Lmtp {
            self.wrong(&key, "sinks name LMTP servers alone; add `protocol = \"lmtp\"` or take the name out");
        }
        if known.contains_key(name) {
            self.wrong(&key, format!("an earlier route is called {name:?} too"));
        }
    }

    // It stands in the text of a destination, where `?` and `=` have a meaning.
    fn name(&mut self, key: &str, name: &str) {
        let is_good = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_good) {
            self.wrong(
                key,
                format!("expected 1 to {NAME_BYTES_MAX} characters out of a-z A-Z 0-9 - _ ., found {name:?}"),
            );
        }
    }
}
