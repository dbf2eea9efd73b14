//! Which servers take a domain's mail, and in which order they are tried: the rules of RFC 5321 §5.1.

use std::net::IpAddr;

use basin_core::reply::Reply;

use super::{Exchanger, RouteFailure};

/// Exchangers used of a longer list. RFC 5321 §5.1 lets a client set a limit; nobody needs more servers than
/// this to be tried for one message, and each costs up to two questions.
pub(crate) const EXCHANGERS_MAX: usize = 20;

/// Addresses tried of one exchanger. RFC 5321 §5.1 wants at least two.
pub(crate) const ADDRESSES_MAX: usize = 10;

/// Puts a list in order: the lower preference first, equal ones by chance, each name once, at its best place.
pub(crate) fn in_order(mut listed: Vec<(u16, String)>, random: u64) -> Vec<(u16, String)> {
    listed.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
    listed.dedup_by(|later, kept| later.1 == kept.1);
    // RFC 5321 §5.1: equal preferences are tried in random order, to share the load.
    let mut keyed: Vec<_> = (0_u64..).zip(listed).map(|(place, host)| (scatter(random, place), host)).collect();
    keyed.sort_by_key(|(key, host)| (host.0, *key));
    keyed.into_iter().map(|(_, host)| host).take(EXCHANGERS_MAX).collect()
}

// SplitMix64: every pair of seed and place gives a number that has nothing to do with the next one's.
fn scatter(seed: u64, place: u64) -> u64 {
    let mut mixed = seed.wrapping_add(place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Takes away what would bring the mail back here: an exchanger that is this server, and all that are not
/// better than it (RFC 5321 §5.1). Says whether there was one.
pub(crate) fn without_self(hosts: &mut Vec<Exchanger>, is_self: impl Fn(&Exchanger) -> bool) -> bool {
    let own = hosts.iter().filter(|host| is_self(host)).map(|host| host.preference).min();
    if let Some(own) = own {
        hosts.retain(|host| host.preference < own);
    }
    own.is_some()
}

/// IPv6 and IPv4 in turns, so that a family that is broken costs every other attempt and no more.
pub(crate) fn in_turns(v6: Vec<IpAddr>, v4: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut mixed = Vec::new();
    while mixed.len() < ADDRESSES_MAX {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] {
            break;
        }
        mixed.extend(pair.into_iter().flatten());
    }
    mixed.truncate(ADDRESSES_MAX);
    mixed
}

/// Whether a server can be there at all; a domain's owner may write anything.
pub(crate) fn is_usable(address: &IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

/// Reads an address literal (RFC 5321 §4.1.3): `Some(None)` is one that cannot be used.
pub(crate) fn literal(domain: &str) -> Option<Option<IpAddr>> {
    let inside = domain.strip_prefix('[')?.strip_suffix(']')?;
    let is_v6 = inside.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    let address = match inside.get(5..) {
        Some(v6) if is_v6 => v6.parse().ok().map(IpAddr::V6),
        _ => inside.parse().ok().map(IpAddr::V4),
    };
    Some(address.filter(is_usable))
}

/// Where no exchanger is left that has an address: the reply for the whole domain. What may heal is not given up.
pub(crate) fn nobody_left(domain: &str, hosts: &[Exchanger]) -> RouteFailure {
    let failures = || hosts.iter().filter_map(|host| host.addresses.as_ref().err());
    let passing = failures().find(|failure| failure.reply.code() < 500);
    passing.cloned().unwrap_or_else(|| match hosts {
        // RFC 5321 §5.1: exchangers none of which can be used are an error; the domain's own address is not asked.
        [] | [_, _, ..] => refusal(550, 4, 4, format!("no mail exchanger of {domain} has an address")),
        [only] => only
            .addresses
            .clone()
            .err()
            .unwrap_or_else(|| refusal(550, 4, 4, format!("the mail exchanger of {domain} has no address"))),
    })
}

/// A failure with that reply.
pub(crate) fn refusal(code: u16, subject: u16, detail: u16, text: impl Into<String>) -> RouteFailure {
    RouteFailure { reply: Reply::with(code, subject, detail, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(preference: u16, name: &str) -> Exchanger {
        let addresses = Ok(vec![IpAddr::from([192, 0, 2, 1])]);
        Exchanger { name: name.to_owned(), preference, addresses, is_secure: false, canonical: None }
    }

    fn listed(list: &[(u16, &str)]) -> Vec<(u16, String)> {
        list.iter().map(|(preference, name)| (*preference, (*name).to_owned())).collect()
    }

    #[test]
    fn a_name_that_is_listed_twice_is_tried_at_its_best_place() {
        let hosts = listed(&[(20, "a"), (10, "b"), (5, "a")]);
        assert_eq!(in_order(hosts, 1), listed(&[(5, "a"), (10, "b")]));
    }

    #[test]
    fn equal_preferences_come_in_every_order_and_others_in_theirs() {
        let hosts = listed(&[(10, "a"), (10, "b"), (10, "c"), (1, "first"), (99, "last")]);
        let mut firsts = std::collections::BTreeMap::<String, u32>::new();
        for random in 0..3_000 {
            let order = in_order(hosts.clone(), random);
            assert_eq!((order[0].1.as_str(), order[4].1.as_str()), ("first", "last"));
            *firsts.entry(order[1].1.clone()).or_default() += 1;
        }
        assert_eq!(firsts.len(), 3);
        assert!(firsts.values().all(|times| (800..1_200).contains(times)), "{firsts:?}");
    }

    #[test]
    fn a_thousand_exchangers_are_cut_to_the_best_twenty() {
        let hosts = (0..1_000).rev().map(|place| (place, format!("mx{place}"))).collect();
        let order = in_order(hosts, 7);
        assert_eq!(order.len(), EXCHANGERS_MAX);
        assert!(order.iter().map(|host| host.0).eq(0..20));
    }

    #[test]
    fn the_own_name_cuts_what_is_not_better() {
        let mut hosts = vec![host(5, "a"), host(10, "b"), host(10, "own"), host(20, "c")];
        assert!(without_self(&mut hosts, |host| host.name == "own"));
        assert_eq!(hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(!without_self(&mut hosts, |host| host.name == "own"));
    }

    #[test]
    fn families_take_turns_up_to_the_limit() {
        let v6: Vec<_> = (1..=20_u16).map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])).collect();
        let v4 = vec![IpAddr::from([192, 0, 2, 1])];
        let mixed = in_turns(v6.clone(), v4.clone());
        assert_eq!(mixed.len(), ADDRESSES_MAX);
        assert_eq!(&mixed[..3], &[v6[0], v4[0], v6[1]]);
        assert_eq!(in_turns(Vec::new(), v4.clone()), v4);
    }

    #[test]
    fn address_literals_are_read_strictly() {
        assert_eq!(literal("example.org"), None);
        assert_eq!(literal("[192.0.2.1]"), Some(Some(IpAddr::from([192, 0, 2, 1]))));
        assert_eq!(literal("[ipv6:2001:db8::1]"), Some("2001:db8::1".parse().ok()));
        for bad in ["[2001:db8::1]", "[IPv6:192.0.2.1]", "[0.0.0.0]", "[IPv6:::]", "[x]", "[]", "[255.255.255.255]"] {
            assert_eq!(literal(bad), Some(None), "{bad}");
        }
    }
}
