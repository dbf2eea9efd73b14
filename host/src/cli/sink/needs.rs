//! What a component's imports suggest that it wants to be allowed.

use std::collections::BTreeMap;

use basin_core::event::{Grant, Grants};

/// Functions of the contract and the grants without which they are denied, as `wit/` has them.
///
/// `command.argument` and `command.line` are not among them: they want read-envelope at the verbs that carry addresses
/// alone, which no import tells, and sinks for verbs of their own are what uses them most.
const FUNCTIONS: &[(Grant, &[&str])] = &[
    (
        Grant::ReadEnvelope,
        &[
            "mail-msg.sender",
            "mail-msg.recipient-count",
            "mail-msg.recipient",
            "mail-msg.recipients",
            "mail-msg.matched-recipients",
            "mail-msg.recipient-addresses",
            "mail-msg.parameter",
            "mail-msg.body-type",
            "mail-msg.is-smtputf8",
            "recipient.address",
            "recipient.original-address",
            "recipient.domain",
            "recipient.notify",
            "recipient.outcome",
            "recipient.last-reply",
            "command.path",
            "command.parameter",
        ],
    ),
    (
        Grant::ReadHeaders,
        &[
            "mail-msg.header",
            "mail-msg.headers-named",
            "mail-msg.headers",
            "mail-msg.addresses",
            "mail-msg.raw-header",
            "mail-msg.read",
            "mail-msg.protection",
            "mail-msg.subject",
            "mail-msg.from-address",
            "mail-msg.message-id",
            "mail-msg.date",
        ],
    ),
    (
        Grant::ReadBody,
        &[
            "mail-msg.read",
            "mail-msg.read-body",
            "mail-msg.text-body",
            "mail-msg.html-body",
            "mail-msg.part-count",
            "mail-msg.part",
        ],
    ),
    (
        Grant::EditHeaders,
        &[
            "mail-msg.add-header",
            "mail-msg.insert-header",
            "mail-msg.set-header",
            "mail-msg.edit-header-at",
            "mail-msg.remove-header-at",
            "mail-msg.remove-header",
            "mail-msg.replace-header-block",
        ],
    ),
    (Grant::Authenticate, &["session.set-authenticated"]),
    (Grant::EditBody, &["mail-msg.new-body", "mail-msg.replace-body", "body-writer.write"]),
    (
        Grant::EditEnvelope,
        &[
            "mail-msg.set-priority",
            "mail-msg.set-sender",
            "mail-msg.add-recipient",
            "mail-msg.set-parameter",
            "mail-msg.set-deliver-after",
            "mail-msg.set-expiry",
            "mail-msg.set-supersede-key",
            "recipient.set-address",
            "recipient.set-notify",
            "recipient.set-route-domain",
            "recipient.remove",
            "recipient.fail",
            "recipient.defer",
            "recipient.hold",
            "command.set-path",
            "command.set-parameter",
        ],
    ),
    (Grant::Reply, &["call.append-response", "call.set-response", "call.delay-response", "session.set-banner"]),
];

/// Interfaces of the contract that need a grant as a whole.
const INTERFACES: &[(Grant, &str)] =
    &[(Grant::State, "state"), (Grant::Dns, "dns"), (Grant::MessageAuth, "message-auth")];

/// Interfaces of WASI that reach nothing without a grant, which names what they may reach.
const WORLD: &[(&str, &str)] =
    &[("dir=HOSTDIR::GUESTDIR", "wasi:filesystem/types"), ("http=HOST", "wasi:http/outgoing-handler")];

/// What the component may want of the world around the server: the grant, to be filled in, and the interface.
pub(super) fn world(component: &[u8]) -> Vec<(&'static str, &'static str)> {
    WORLD.iter().copied().filter(|(_, interface)| imports(component, interface)).collect()
}

/// The same where nothing of the kind is granted yet.
pub(super) fn world_beyond(component: &[u8], given: &Grants) -> Vec<(&'static str, &'static str)> {
    let has = |word: &str| match word.split('=').next() {
        Some("dir") => given.dirs().next().is_some(),
        Some("http") => given.http().next().is_some(),
        Some(_) | None => false,
    };
    world(component).into_iter().filter(|(word, _)| !has(word)).collect()
}

/// The grants that functions of the component need, and which functions or interfaces those are.
///
/// A hint for a person, so it may err: an interpreter imports everything and uses little. Names of imported
/// functions stand in the component as they stand in the contract, and compilers leave out the others.
pub(super) fn of(component: &[u8]) -> BTreeMap<Grant, Vec<&'static str>> {
    let names = method_names(component);
    let used = |functions: &'static [&'static str]| -> Vec<&'static str> {
        functions.iter().copied().filter(|function| names.contains(function)).collect()
    };
    let functions = FUNCTIONS.iter().map(|(grant, functions)| (*grant, used(functions)));
    let interfaces = INTERFACES.iter().filter(|(_, interface)| imports(component, &format!("basin:sink/{interface}")));
    functions
        .filter(|(_, functions)| !functions.is_empty())
        .chain(interfaces.map(|(grant, interface)| (*grant, vec![*interface])))
        .collect()
}

/// What the component needs beyond `given`, as a line for each grant; empty where it needs nothing more.
pub(super) fn beyond(component: &[u8], given: &Grants) -> Vec<(Grant, String)> {
    let needs = of(component).into_iter().filter(|(grant, _)| !given.has(*grant));
    needs.map(|(grant, functions)| (grant, functions.join(", "))).collect()
}

// Compilers leave out an interface of which nothing is used.
fn imports(component: &[u8], interface: &str) -> bool {
    let name = format!("{interface}@");
    component.windows(name.len()).any(|window| window == name.as_bytes())
}

fn method_names(component: &[u8]) -> std::collections::BTreeSet<&str> {
    const MARK: &[u8] = b"[method]";
    let is_name = |octet: &u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-.".contains(octet);
    let starts = component.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let names = starts.filter_map(|(start, _)| {
        let rest = component.get(start + MARK.len()..)?;
        let len = rest.iter().position(|octet| !is_name(octet)).unwrap_or(rest.len());
        std::str::from_utf8(rest.get(..len)?).ok()
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_imports_suggest_grants() {
        assert!(of(b"[method]command.argument\0[method]command.line").is_empty(), "a verb of its own needs no grant");
        let octets = b"\0\x17[method]mail-msg.add-header\x01\0[method]mail-msg.read\x05[method]session.listener";
        let found = of(octets);
        assert_eq!(
            found.keys().copied().collect::<Vec<_>>(),
            [Grant::ReadHeaders, Grant::ReadBody, Grant::EditHeaders]
        );
        let given = [Grant::ReadHeaders, Grant::ReadBody].into_iter().collect();
        assert_eq!(beyond(octets, &given), [(Grant::EditHeaders, "mail-msg.add-header".to_owned())]);
        assert!(of(b"").is_empty());
    }

    #[test]
    fn a_whole_interface_suggests_its_grant() {
        let found =
            of(b"\0\x16basin:sink/dns@1.0.0\x05\x01basin:sink/state-of-mind@1.0.0basin:sink/message-auth@1.0.0");
        let found: Vec<(Grant, String)> = found.into_iter().map(|(grant, names)| (grant, names.join(" "))).collect();
        assert_eq!(found, [(Grant::Dns, "dns".to_owned()), (Grant::MessageAuth, "message-auth".to_owned())]);
    }

    #[test]
    fn what_reaches_out_of_the_server_is_told_with_what_to_name() {
        let octets = b"\0\x20wasi:filesystem/types@0.2.6\x05\x01wasi:http/types@0.2.6";
        assert_eq!(world(octets), [("dir=HOSTDIR::GUESTDIR", "wasi:filesystem/types")]);
        let given = ["dir=/srv/mail::/mail".parse().expect("a grant")].into_iter().collect();
        assert!(world_beyond(octets, &given).is_empty() && !world_beyond(octets, &Grants::default()).is_empty());
    }

    #[test]
    fn every_interface_stands_in_the_contract() {
        let path = format!("{}/../wit/host.wit", env!("CARGO_MANIFEST_DIR"));
        let contract = std::fs::read_to_string(path).expect("the contract is in the tree");
        assert!(contract.starts_with("package basin:sink@") || contract.contains("\npackage basin:sink@"));
        for (_, interface) in INTERFACES {
            assert!(contract.contains(&format!("\ninterface {interface} {{")), "{interface}");
        }
    }

    #[test]
    fn every_function_stands_in_the_contract() {
        let contract = ["message", "inbound", "types"].map(|file| {
            let path = format!("{}/../wit/{file}.wit", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).expect("the contract is in the tree")
        });
        for function in FUNCTIONS.iter().flat_map(|(_, functions)| functions.iter()) {
            let (resource, method) = function.split_once('.').expect("resource.method");
            let is_there = contract.iter().any(|text| {
                let resource = text.split(&format!("resource {resource} {{")).nth(1).unwrap_or_default();
                resource.split("\n  }").next().unwrap_or_default().contains(&format!(" {method}: func("))
            });
            assert!(is_there, "{function}");
        }
    }
}
