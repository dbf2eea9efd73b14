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
