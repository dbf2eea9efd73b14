//! Checks of which addresses users send from.

use std::collections::BTreeMap;

use basin_core::addr::{Address, check_domain};
use basin_core::smtp::SenderTable;

use super::Check;
use crate::config::listener::Listener;
use crate::config::raw;

impl Check<'_> {
    pub(super) fn senders(&mut self, written: Vec<raw::Sender>, listeners: &[Listener]) -> SenderTable {
        if !written.is_empty() && !listeners.iter().any(|listener| listener.is_submission) {
            self.warn("sender", "there is no listener of kind \"submission\", so nobody asks what stands here");
        }
        let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (index, raw) in written.into_iter().enumerate() {
            let at = |name: &str| format!("sender[{index}].{name}");
            for (number, address) in raw.addresses.iter().enumerate() {
                if !is_sender(address) {
                    let text = format!(
                        "expected \"ann@example.org\", or \"@example.org\" for all of a domain, found {address:?}"
                    );
                    self.wrong(&at(&format!("addresses[{number}]")), text);
                }
            }
            match raw.user.filter(|user| !user.is_empty()) {
                Some(user) if rows.contains_key(&user) => {
                    self.wrong(&at("user"), format!("a second row for the user {user:?}; write all addresses in one"));
                }
                Some(user) => drop(rows.insert(user, raw.addresses)),
                None => self.wrong(&at("user"), "expected the name that the user logs in with"),
            }
        }
        SenderTable { rows }
    }
}

fn is_sender(text: &str) -> bool {
    match text.strip_prefix('@') {
        Some(domain) => check_domain(domain).is_ok(),
        None => Address::parse_utf8(text).is_ok_and(|address| address.domain().is_some()),
    }
}
