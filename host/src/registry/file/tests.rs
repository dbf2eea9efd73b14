use basin_core::event::{EventKind, FailurePolicy, Grant, Mode};
use std::path::Path;

use super::*;

const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn parse(text: &str) -> Result<RegistryFile, String> {
    let text = text.replace("DIGEST", DIGEST);
    RegistryFile::parse(&text, Path::new("registry.toml")).map_err(|error| error.to_string())
}

#[test]
fn a_file_that_says_everything_is_read_as_it_is_meant() {
    let file = parse(
        r#"
        version = 1

        [[sink]]
        name = "stamp"
        digest = "DIGEST"
        source = "stamp.wasm"
        grants = ["read-headers", "edit-headers"]
        limits = { fuel = 1_000_000, memory = "32MiB", deadline = "250ms" }
        config = { field = "X-Stamp" }
        enabled = false

        [[binding]]
        name = "first"
        sink = "stamp"
        event = "on-end-of-data"
        rule = "rcpt to=*@example.org"
        priority = 7
        listener = "smtp"
        mode = "observe"
        on-failure = "hold"
        max-firings = 3
        expires = 2030-01-31T12:00:00+02:00
        enabled = false
        "#,
    )
    .expect("the file is right");
    let sink = file.sink("stamp").expect("it is there");
    assert_eq!((sink.digest.as_str(), sink.source.as_str(), sink.is_enabled), (DIGEST, "stamp.wasm", false));
    assert_eq!(sink.grants.iter().collect::<Vec<_>>(), [Grant::ReadHeaders, Grant::EditHeaders]);
    let budget = (sink.budget.fuel, sink.budget.memory, sink.budget.deadline_ms);
    assert_eq!(budget, (Some(1_000_000), Some(32 << 20), Some(250)));
    assert_eq!(sink.config.get("field").map(String::as_str), Some("X-Stamp"));
    let binding = file.binding("first").expect("it is there");
    assert_eq!((binding.event, binding.priority, binding.mode), (EventKind::OnEndOfData, 7, Mode::Observe));
    assert_eq!((binding.on_failure, binding.max_firings), (FailurePolicy::Hold, Some(3)));
    assert_eq!(binding.expires.map(|expires| expires.seconds), Some(1_896_084_000));
    assert_eq!((binding.listener.as_deref(), binding.is_enabled), (Some("smtp"), false));
    assert_eq!(binding.rule.text(), "rcpt to=*@example.org");
    file.to_registry(1).expect("core has no objection that the file's reader did not have");
}

#[test]
fn what_is_left_out_has_its_default() {
    let file = parse(
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n\
         [[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n[[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n",
    )
    .expect("the file is right");
    let names: Vec<_> = file.bindings.iter().map(|binding| binding.name.as_str()).collect();
    assert_eq!(names, ["a/on-connect", "a/on-connect/2"]);
    let binding = &file.bindings[0];
    assert_eq!((binding.priority, binding.on_failure, binding.mode), (24_575, FailurePolicy::Defer, Mode::Decide));
    assert!(binding.is_enabled && file.sinks[0].is_enabled && file.sinks[0].grants.is_empty());
}

#[test]
fn an_empty_registry_has_only_a_version() {
    assert_eq!(parse("version = 1"), Ok(RegistryFile::default()));
}

/// What is wrong, the file, and the complaint. `docs/errors.md` has the same complaints, see `tests/errors.rs`.
const BROKEN: &[(&str, &str, &str)] = &[
    ("no version", "", "registry.toml:1: the version is missing; begin the file with version = 1"),
    (
        "a version from the future",
        "# hello\nversion = 2\nnovelty = true",
        "registry.toml:2: the version is 2, and this basin reads version 1; use the basin that wrote the file, or \
         write version = 1 if a slip of the pen did",
    ),
    ("no TOML", "version = 1\n[[sink]\n", "registry.toml:2: this is no TOML: "),
    (
        "an unknown key of the file",
        "version = 1\nsinks = 3",
        "registry.toml:2: the registry has no key \"sinks\", did you mean \"sink\"? (keys: version, sink, binding)",
    ),
    (
        "an unknown key of a sink",
        "version = 1\n[[sink]]\nname = \"a\"\ndigst = \"x\"\n",
        "registry.toml:4: sink has no key \"digst\", did you mean \"digest\"? (keys: name, digest, source, grants, \
         limits, config, enabled)",
    ),
    (
        "an unknown key of a binding",
        "version = 1\n[[binding]]\nsink = \"a\"\non_failure = \"skip\"\n",
        "registry.toml:4: binding has no key \"on_failure\", did you mean \"on-failure\"? (keys: name, sink, event, \
         rule, priority, listener, mode, on-failure, max-firings, expires, enabled)",
    ),
    (
        "a sink without name",
        "version = 1\n[[sink]]\n",
        "registry.toml:2: sink: name is missing; add a line name = \"...\"",
    ),
    (
        "a sink with a bad name",
        "version = 1\n[[sink]]\nname = \"No Name\"\n",
        "registry.toml:3: sink: \"No Name\" is no name for a sink; write 1 to 64 characters out of a-z 0-9 -, \
         beginning with a letter",
    ),
    (
        "a bad digest",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"../../etc/passwd\"\n",
        "registry.toml:4: sink \"a\": digest is no SHA-256, 64 digits out of 0-9 a-f; `basin sink add` writes it",
    ),
    (
        "a bad grant",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\ngrants = [\"edit-header\"]\n",
        "registry.toml:5: sink \"a\": there is no grant \"edit-header\", did you mean \"edit-headers\"?; known are \
         read-envelope, read-headers, read-body, edit-headers, edit-body, edit-envelope, break-signatures, reply, \
         accept-recipients, end-chain, discard",
    ),
    (
        "a configuration that is no text",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[sink.config]\nmax = 3\n",
        "registry.toml:6: sink \"a\": config.max is integer; put it in quotes",
    ),
    (
        "memory without unit",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\nlimits = { memory = \"64MB\" }\n",
        "registry.toml:5: limits of sink \"a\": \"64MB\" is no size; write a whole number and B, KiB, MiB or GiB, \
         as in \"64MiB\"",
    ),
    (
        "a deadline over the maximum",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\nlimits = { deadline = \"2h\" }\n",
        "registry.toml:5: limits of sink \"a\": deadline 2h is out of range; write 1ms to 60s",
    ),
    (
        "two sinks of one name",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n",
        "registry.toml:5: a second sink with the name \"a\"; rename one",
    ),
    (
        "a binding of nobody",
        "version = 1\n[[sink]]\nname = \"stamp\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"stmp\"\n\
         event = \"on-connect\"\n",
        "registry.toml:6: binding \"stmp\": there is no sink \"stmp\" in this file, did you mean \"stamp\"?",
    ),
    (
        "an unknown event",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-conect\"\n",
        "registry.toml:7: binding \"a\": there is no event \"on-conect\", did you mean \"on-connect\"?; `basin sink \
         inspect --events` lists them",
    ),
    (
        "an event that is not raised",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-timer\"\n",
        "registry.toml:7: binding \"a\": on-timer is in the contract and not raised by basin 0.1.0, so the sink \
         would never be called; raised are on-connect, on-inbound-command, on-end-of-data, on-reject, \
         on-disconnect, on-submission",
    ),
    (
        "a priority out of range",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n\
         priority = 40000\n",
        "registry.toml:8: binding \"a\": priority 40000 is out of range; write 0 (first) to 32767 (last)",
    ),
    (
        "a priority in quotes",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n\
         priority = \"1\"\n",
        "registry.toml:8: binding \"a\": priority is string; write a whole number without quotes",
    ),
    (
        "a failure policy that the event has not",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n\
         on-failure = \"hold\"\n",
        "registry.toml:8: binding \"a\": on-connect has no failure policy \"hold\"; it has defer, refuse, skip (the \
         first is the default)",
    ),
    (
        "an expiry without offset",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\nevent = \"on-connect\"\n\
         expires = 2030-01-31\n",
        "registry.toml:8: binding \"a\": expires is datetime; write a date and time with offset and without quotes, \
         as in 2030-01-31T12:00:00Z",
    ),
    (
        "an unknown rule field",
        "version = 1\n[[sink]]\nname = \"a\"\ndigest = \"DIGEST\"\n[[binding]]\nsink = \"a\"\n\
         event = \"on-end-of-data\"\nrule = \"rcptto=x\"\n",
        "registry.toml:8: binding \"a\": there is no rule field \"rcptto\", did you mean \"rcpt to\"?; \
         on-end-of-data knows ",
    ),
];

#[test]
fn a_broken_file_says_where_what_and_what_to_do() {
    for (what, text, complaint) in BROKEN {
        let found = parse(text).expect_err(what);
        assert!(found.starts_with(complaint), "{what}\n wanted: {complaint}\n  found: {found}");
    }
}
