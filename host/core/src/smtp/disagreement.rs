//! Recipients about whom sinks differed at the end of one text, and who is sent to together the next time.
//!
//! Without PRDR a text has one answer. Where it would have to be two, a stranger hears 451 and comes again, from the
//! next address of its provider and in a new session. It is then given the recipients that agreed in one transaction,
//! and 452 to the others, which it sends to in another one (RFC 5321 §4.5.3.1.10). So two transactions do for most
//! messages, whatever the number of recipients.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::addr::Address;
use crate::limits::{DISAGREEMENT_LIFE, DISAGREEMENT_RECIPIENTS_MAX};
use crate::mail::RecipientId;
use crate::network::{Network, Prefixes};
use crate::time::Timestamp;
use crate::transport::directory::address_key;

/// How much of an address is one client here: large providers try again from a neighbour.
const NEIGHBOURS: Prefixes = Prefixes { v4: 24, v6: 48 };

/// Which recipients went together the last time: a number for each, by address.
type Groups = BTreeMap<String, u64>;

/// What a session found out: these recipients differ about mail of that sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    client: Network,
    sender: String,
    groups: Arc<Groups>,
}

/// What all sessions found out, in bounded memory; the shell keeps it.
///
/// There are two generations: where the younger is full, it becomes the older, and what the older one held is
/// forgotten. Who fills it with messages of its own gains that others are put off once more.
#[derive(Debug, Default)]
pub struct Disagreements {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    by_sender: BTreeMap<(Network, String), (Timestamp, Arc<Groups>)>,
    recipients: usize,
}

/// The RCPTs of a transaction that the client heard 250 to, in order.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// The recipient, and its address as it was taken. `None` is one that is no recipient of its own.
    pub(super) recipients: Vec<(Option<RecipientId>, String)>,
    /// Who the sender was when they were taken.
    pub(super) sender: String,
    /// Whether the client wants a reply for each.
    pub(super) is_prdr: bool,
}

impl Named {
    /// Those that are recipients.
    pub(super) fn ids(&self) -> BTreeSet<RecipientId> {
        self.recipients.iter().filter_map(|(id, _)| *id).collect()
    }
}

impl Disagreement {
    /// Sets recipients apart by whether sinks failed them; those that were apart before stay apart, so that each round
    /// leads further.
    pub(super) fn new(client: IpAddr, named: &Named, failed: &BTreeSet<RecipientId>, before: Option<&Self>) -> Self {
        let client = Network::around(client, NEIGHBOURS);
        let before = before.filter(|before| before.client == client && before.sender == named.sender);
        let group = |address: &String, is_failed: bool| {
            let group = before.and_then(|before| before.groups.get(address)).copied().unwrap_or_default();
            group.wrapping_mul(2).wrapping_add(1 + u64::from(is_failed))
        };
        let known = named.recipients.iter().filter_map(|(id, address)| Some(((*id)?, address)));
        // Those who are not named this time stay as they are.
        let mut groups = before.map(|before| Groups::clone(&before.groups)).unwrap_or_default();
        if groups.len() > DISAGREEMENT_RECIPIENTS_MAX / 2 {
            groups.clear();
        }
        groups.extend(known.map(|(id, address)| (address.clone(), group(address, failed.contains(&id)))));
        Self { client, sender: named.sender.clone(), groups: Arc::new(groups) }
    }

    /// Whether an address must not join those that are named already.
    pub(super) fn keeps_apart(&self, client: IpAddr, named: &Named, address: &Address) -> bool {
        if self.client != Network::around(client, NEIGHBOURS) || self.sender != named.sender {
            return false;
        }
        let Some(group) = self.groups.get(&key(Some(address))) else { return false };
        let is_other = |there: &String| self.groups.get(there).is_some_and(|other| other != group);
        named.recipients.iter().any(|(_, there)| is_other(there))
    }
}

impl Disagreements {
    /// Takes note of what a session found out.
    pub fn remember(&mut self, found: &Disagreement, now: Timestamp) {
        let key = (found.client, found.sender.clone());
        let mut groups = self.take(&key, now).unwrap_or_default();
        if groups.len().saturating_add(found.groups.len()) > DISAGREEMENT_RECIPIENTS_MAX {
            groups.clear();
        }
        groups.extend(found.groups.iter().map(|(address, group)| (address.clone(), *group)));
        if self.young.recipients.saturating_add(groups.len()) > DISAGREEMENT_RECIPIENTS_MAX {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.recipients = self.young.recipients.saturating_add(groups.len());
        self.young.by_sender.insert(key, (now.plus(DISAGREEMENT_LIFE), Arc::new(groups)));
    }

    /// What is known of mail from there.
    pub(super) fn find(&self, client: IpAddr, sender: &str, now: Timestamp) -> Option<Disagreement> {
        if self.is_empty() {
            return None;
        }
        let key = (Network::around(client, NEIGHBOURS), sender.to_owned());
        let (until, groups) = self.young.by_sender.get(&key).or_else(|| self.old.by_sender.get(&key))?;
        let (client, sender) = key;
        (*until > now).then(|| Disagreement { client, sender, groups: groups.clone() })
    }

    /// Recipients that are remembered.
    pub fn len(&self) -> usize {
        self.young.recipients + self.old.recipients
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&mut self, key: &(Network, String), now: Timestamp) -> Option<Groups> {
        let mut found = None;
        for generation in [&mut self.old, &mut self.young] {
            if let Some((until, groups)) = generation.by_sender.remove(key) {
                generation.recipients = generation.recipients.saturating_sub(groups.len());
                found = (until > now).then(|| Arc::unwrap_or_clone(groups));
            }
        }
        found
    }
}

/// An address as it is looked up here; nothing for the null sender.
pub(super) fn key(address: Option<&Address>) -> String {
    address.map(address_key).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);
    const CLIENT: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));

    fn named(sender: &str, addresses: &[&str]) -> Named {
        let recipients = addresses.iter().zip(1..).map(|(address, id)| (Some(id), (*address).to_owned()));
        Named { recipients: recipients.collect(), sender: sender.to_owned(), is_prdr: false }
    }

    fn found(all: &Named, failed: RecipientId, before: Option<&Disagreement>) -> Disagreement {
        Disagreement::new(CLIENT, all, &BTreeSet::from([failed]), before)
    }

    fn is_apart(found: &Disagreement, there: &[&str], address: &str) -> bool {
        found.keeps_apart(CLIENT, &named(&found.sender, there), &Address::parse(address).expect("valid"))
    }

    #[test]
    fn who_agreed_goes_together_and_each_round_leads_further() {
        let all = named("s@far.example", &["a@b.example", "c@b.example", "d@b.example"]);
        let first = found(&all, 3, None);
        assert!(!is_apart(&first, &["a@b.example"], "C@b.example"));
        assert!(is_apart(&first, &["a@b.example"], "d@b.example") && is_apart(&first, &["d@b.example"], "a@b.example"));
        assert!(!is_apart(&first, &[], "d@b.example") && !is_apart(&first, &["a@b.example"], "new@b.example"));
        let two = named("s@far.example", &["a@b.example", "c@b.example"]);
        let second = found(&two, 1, Some(&first));
        assert!(is_apart(&second, &["a@b.example"], "c@b.example"));
        let mut table = Disagreements::default();
        table.remember(&first, NOW);
        table.remember(&second, NOW);
        let known = table.find(CLIENT, "s@far.example", NOW).expect("known");
        for (there, address) in [("a", "c"), ("a", "d"), ("c", "d")] {
            assert!(is_apart(&known, &[&format!("{there}@b.example")], &format!("{address}@b.example")), "{there}");
        }
    }

    #[test]
    fn neighbours_are_one_client_and_what_is_old_is_forgotten() {
        let mut table = Disagreements::default();
        table.remember(&found(&named("", &["a@b.example", "c@b.example"]), 1, None), NOW);
        assert!(table.find(IpAddr::from([192, 0, 2, 200]), "", NOW).is_some());
        assert!(table.find(IpAddr::from([192, 0, 3, 1]), "", NOW).is_none());
        assert!(table.find(CLIENT, "s@far.example", NOW).is_none());
        assert!(table.find(CLIENT, "", NOW.plus(DISAGREEMENT_LIFE)).is_none());
    }

    #[test]
    fn memory_is_bounded_whatever_is_remembered() {
        let mut table = Disagreements::default();
        let addresses: Vec<String> = (0..1_000).map(|number| format!("a{number}@b.example")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        for number in 0..100 {
            let found = found(&named(&format!("s{number}@far.example"), &addresses), 1, None);
            // The same again takes no further place.
            table.remember(&found, NOW);
            table.remember(&found, NOW);
            assert!(table.len() <= 2 * DISAGREEMENT_RECIPIENTS_MAX, "{}", table.len());
        }
        assert!(table.find(CLIENT, "s0@far.example", NOW).is_none());
        assert!(table.find(CLIENT, "s99@far.example", NOW).is_some());
    }
}
