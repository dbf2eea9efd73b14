//! The contract in `wit/`: that it is whole, documented and fit for every language.
//!
//! That the generators take it is proved where they run: `bindgen!` in `basin-sinks` and wit-bindgen in the SDKs.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use wit_parser::{Docs, Function, Interface, PackageId, Resolve, Type, TypeDefKind, WorldItem};

/// The catalogue: every event of the contract.
const EVENTS: [&str; 25] = [
    "on-connect",
    "on-authenticated",
    "on-inbound-command",
    "on-inbound-input",
    "on-end-of-headers",
    "on-end-of-data",
    "on-max-msg-size",
    "on-reject",
    "on-disconnect",
    "on-submission",
    "on-pre-categorize",
    "on-categorize",
    "on-post-categorize",
    "on-route",
    "on-dns-resolve",
    "on-local-delivery",
    "on-notification",
    "on-track",
    "on-timer",
    "on-session-start",
    "on-message-start",
    "on-per-recipient",
    "on-before-data",
    "on-session-end",
    "on-server-response",
];

/// Events whose verdict nobody waits for.
const NOTICES: [&str; 4] = ["on-reject", "on-disconnect", "on-track", "on-timer"];

/// Longest name, in characters: generated names join up to three of them.
const NAME_CHARACTERS_MAX: usize = 50;

/// Words that break a generator wherever they stand: `self` in Python and Rust, `this` in C++.
const NEVER: [&str; 2] = ["self", "this"];

/// Keywords of Rust, C, C++, JavaScript, Go and Python, in one list: a name must not be one of them.
const KEYWORDS: &str = "abstract alignas alignof and as asm assert async auto await bool break case catch chan char \
    class const constexpr continue crate debugger def default defer del delete do double dyn elif else enum eval \
    except explicit export extends extern fallthrough false final finally float fn for friend from func function gen \
    global go goto if impl implements import in inline instanceof int interface is lambda let long loop map match mod \
    move mut mutable namespace new nil nonlocal not null operator or override package pass private protected pub public \
    raise range ref register restrict return select short signed sizeof static struct super switch template throw trait \
    true try type typedef typeof union unsafe unsigned use using var virtual void volatile where while with yield";

/// Keywords that stand as methods, functions of an interface or cases, which every generator prefixes,
/// capitalises or quotes: it was tried. `defer` is SMTP's own word, `delete` the one of every table.
const TRIED: [&str; 2] = ["defer", "delete"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn contract() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join("wit")).expect("wit/ is one package that parses");
    (resolve, package)
}

fn interfaces(resolve: &Resolve, package: PackageId) -> impl Iterator<Item = (&String, &Interface)> {
    resolve.packages[package].interfaces.iter().map(|(name, id)| (name, &resolve.interfaces[*id]))
}

/// Calls `see` with the place and the documentation of everything in an interface that has a name.
fn each_item<'a>(
    resolve: &'a Resolve,
    name: &str,
    interface: &'a Interface,
    see: &mut dyn FnMut(String, &'a str, &'a Docs),
) {
    for (function_name, function) in &interface.functions {
        see(format!("{name}.{function_name}"), function.item_name(), &function.docs);
    }
    for (type_name, id) in &interface.types {
        let definition = &resolve.types[*id];
        // `use` makes an alias, which is documented where it points.
        if matches!(definition.kind, TypeDefKind::Type(Type::Id(_))) {
            continue;
        }
        let place = format!("{name}.{type_name}");
        see(place.clone(), type_name, &definition.docs);
        for (member, docs) in members(&definition.kind) {
            see(format!("{place}.{member}"), member, docs);
        }
    }
}

/// The fields, cases or flags of a type.
fn members(kind: &TypeDefKind) -> Vec<(&str, &Docs)> {
    if let TypeDefKind::Record(of) = kind {
        of.fields.iter().map(|field| (field.name.as_str(), &field.docs)).collect()
    } else if let TypeDefKind::Variant(of) = kind {
        of.cases.iter().map(|case| (case.name.as_str(), &case.docs)).collect()
    } else if let TypeDefKind::Enum(of) = kind {
        of.cases.iter().map(|case| (case.name.as_str(), &case.docs)).collect()
    } else if let TypeDefKind::Flags(of) = kind {
        of.flags.iter().map(|flag| (flag.name.as_str(), &flag.docs)).collect()
    } else {
        Vec::new()
    }
}

fn handle<'a>(name: &str, interface: &'a Interface) -> &'a Function {
    assert_eq!(interface.functions.len(), 1, "{name} has one function");
    interface.functions.get("handle").unwrap_or_else(|| panic!("{name} has the function `handle`"))
}

#[test]
fn the_package_parses_and_has_its_version() {
    let (resolve, package) = contract();
    assert_eq!(resolve.packages[package].name.to_string(), "basin:sink@0.1.0");
}

#[test]
fn the_events_are_those_of_the_catalogue_and_no_other() {
    let (resolve, package) = contract();
    let present: BTreeSet<&str> =
        interfaces(&resolve, package).map(|(name, _)| name.as_str()).filter(|name| name.starts_with("on-")).collect();
    assert_eq!(present, EVENTS.into_iter().collect());
}

#[test]
fn every_event_takes_the_call_last_and_can_fail_with_a_text() {
    let (resolve, package) = contract();
    for (name, interface) in interfaces(&resolve, package).filter(|(name, _)| name.starts_with("on-")) {
        let function = handle(name, interface);
        let (last, last_type) = function.params.last().map(|param| (&param.name, &param.ty)).expect("a parameter");
        assert_eq!(last, "call", "the last parameter of {name}");
        let Type::Id(id) = last_type else { panic!("`call` of {name} is a handle") };
        let TypeDefKind::Handle(wit_parser::Handle::Own(_)) = resolve.types[*id].kind else {
            panic!("`call` of {name} is owned: borrow in the parameters of an export breaks generators");
        };
        let Some(Type::Id(result)) = function.result else { panic!("{name} returns a result") };
        let TypeDefKind::Result(result) = &resolve.types[result].kind else { panic!("{name} returns a result") };
        assert_eq!(result.err, Some(Type::String), "the error of {name}");
        assert_eq!(result.ok.is_none(), NOTICES.contains(&name.as_str()), "{name}: only a notice has no verdict");
    }
}

#[test]
fn everything_that_has_a_name_has_documentation() {
    let (resolve, package) = contract();
    let mut missing = Vec::new();
    let mut check = |place: String, docs: &Docs| {
        if docs.contents.as_deref().unwrap_or_default().trim().is_empty() {
            missing.push(place);
        }
    };
    for (name, interface) in interfaces(&resolve, package) {
        check(name.clone(), &interface.docs);
        each_item(&resolve, name, interface, &mut |place, _, docs| check(place, docs));
    }
    for (name, id) in &resolve.packages[package].worlds {
        check(format!("world {name}"), &resolve.worlds[*id].docs);
    }
    assert!(missing.is_empty(), "no doc comment: {missing:#?}");
}

#[test]
fn all_events_exports_every_event_and_each_has_a_world_of_its_own() {
    let (resolve, package) = contract();
    let exports = |world: &str| -> BTreeSet<String> {
        let id = resolve.packages[package].worlds.get(world).unwrap_or_else(|| panic!("there is a world {world}"));
        resolve.worlds[*id]
            .exports
            .values()
            .map(|item| match item {
                WorldItem::Interface { id, .. } => resolve.interfaces[*id].name.clone().expect("a named interface"),
                WorldItem::Function(_) | WorldItem::Type { .. } => panic!("world {world} exports interfaces alone"),
            })
            .collect()
    };
    assert_eq!(exports("all-events"), EVENTS.iter().map(|&event| event.to_owned()).collect());
    assert_eq!(exports("imports"), BTreeSet::new());
    for event in EVENTS {
        let world = format!("{}-sink", event.trim_start_matches("on-"));
        assert_eq!(exports(&world), BTreeSet::from([event.to_owned()]), "world {world}");
    }
    assert_eq!(resolve.packages[package].worlds.len(), EVENTS.len() + 2);
}

#[test]
fn every_interface_that_is_no_event_can_be_imported() {
    let (resolve, package) = contract();
    let world = resolve.packages[package].worlds["imports"];
    let imported: BTreeSet<_> = resolve.worlds[world]
        .imports
        .values()
        .filter_map(|item| match item {
            WorldItem::Interface { id, .. } => resolve.interfaces[*id].name.as_deref(),
            WorldItem::Function(_) | WorldItem::Type { .. } => None,
        })
        .collect();
    let wanted: BTreeSet<_> =
        interfaces(&resolve, package).map(|(name, _)| name.as_str()).filter(|name| !name.starts_with("on-")).collect();
    assert_eq!(imported, wanted);
}

#[test]
fn no_name_is_a_keyword_of_a_language_or_too_long() {
    let (resolve, package) = contract();
    let keywords: BTreeSet<&str> = KEYWORDS.split_whitespace().collect();
    let mut wrong = Vec::new();
    let mut check = |place: &str, name: &str, may_be_tried: bool| {
        let tried = may_be_tried && TRIED.contains(&name);
        if name.len() > NAME_CHARACTERS_MAX || NEVER.contains(&name) || (keywords.contains(name) && !tried) {
            wrong.push(place.to_owned());
        }
    };
    for (name, interface) in interfaces(&resolve, package) {
        check(name, name, false);
        each_item(&resolve, name, interface, &mut |place, item, _| check(&place, item, true));
        for (function_name, function) in &interface.functions {
            // The first parameter of a method is the resource, and its name `self` is the parser's.
            for param in function.params.iter().filter(|param| param.name != "self") {
                check(&format!("{name}.{function_name}({})", param.name), &param.name, false);
            }
        }
    }
    for name in resolve.packages[package].worlds.keys() {
        check(&format!("world {name}"), name, false);
    }
    assert!(wrong.is_empty(), "names that break a language: {wrong:#?}");
}

#[test]
fn the_copy_in_the_rust_sdk_is_the_contract() {
    let files = |folder: PathBuf| -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()))
            .map(|entry| entry.expect("a folder entry").path())
            .map(|path| {
                let text =
                    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
                (path.file_name().expect("a file name").to_string_lossy().into_owned(), text)
            })
            .collect();
        files.sort();
        files
    };
    let copy = files(root().join("guest-sdk/rust/wit"));
    assert!(copy == files(root().join("wit")), "wit/ has changed: run `cp wit/* guest-sdk/rust/wit/`");
}
