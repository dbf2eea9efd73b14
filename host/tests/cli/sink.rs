//! The life of a sink in the registry, without a server.

use std::fs;

use crate::folder::{complaint, folder, json, printed};

const ADD: &[&str] =
    &["sink", "add", "stamp.wasm", "--name", "stamp", "--event", "on-end-of-data:rcpt to=*@basin.example"];

#[test]
fn a_sink_is_added_listed_changed_and_removed() {
    let dir = folder();
    let added = printed(&dir, ADD);
    assert!(added.contains("bound as stamp/on-end-of-data\n"), "{added}");
    assert!(
        added.contains("granted: read-envelope, read-headers, read-body (what its events have to read;"),
        "{added}"
    );
    assert!(added.contains("  edit-headers for mail-msg.add-header\n"), "{added}");
    assert!(added.ends_with("no server runs on this spool; the next start applies it\n"), "{added}");

    printed(&dir, &["sink", "grant", "stamp", "edit-headers"]);
    printed(&dir, &["sink", "revoke", "stamp", "read-body"]);
    printed(&dir, &["sink", "set", "stamp", "field=X-Mark", "--memory", "32MiB"]);
    printed(&dir, &["sink", "bind", "stamp", "--event", "on-end-of-data", "--priority", "5", "--on-failure", "hold"]);
    printed(&dir, &["sink", "disable", "stamp/on-end-of-data/2"]);
    let list = json(&dir, &["sink", "list", "--json"]);
    let sink = &list["sinks"][1];
    assert_eq!(sink["grants"], serde_json::json!(["read-envelope", "read-headers", "edit-headers"]));
    assert_eq!((&sink["config"]["field"], &sink["limits"]["memory"]), (&"X-Mark".into(), &(32_u64 << 20).into()));
    let binding = &list["bindings"][1];
    assert_eq!((&binding["priority"], &binding["enabled"]), (&5.into(), &false.into()));
    assert_eq!((&binding["on-failure"], &list["running"]), (&"hold".into(), &false.into()));

    printed(&dir, &["sink", "unset", "stamp", "field", "--memory"]);
    printed(&dir, &["sink", "unbind", "stamp/on-end-of-data/2"]);
    let shown = printed(&dir, &["sink", "show", "stamp"]);
    assert!(shown.contains("limits  fuel default, memory default, deadline default\n"), "{shown}");
    assert!(shown.contains("  rule        rcpt to=*@basin.example\n"), "{shown}");
    assert!(!shown.contains("on-end-of-data/2"), "{shown}");

    printed(&dir, &["sink", "remove", "stamp"]);
    assert_eq!(fs::read_dir(dir.path().join("registry/components")).expect("it is there").count(), 0);
    let gone = complaint(&dir, &["sink", "show", "stamp"]);
    assert_eq!(gone, "basin: there is no sink \"stamp\"; there is taken");
}

#[test]
fn explain_names_the_condition_that_failed() {
    let dir = folder();
    printed(&dir, ADD);
    let explain = |to: &str| printed(&dir, &["sink", "explain", "--event", "on-end-of-data", "--to", to]);
    assert!(explain("a@basin.example").contains("     fires\n"));
    let other = explain("a@other.example");
    assert!(other.contains("does not fire: its rule wants \"rcpt to=*@basin.example\" and found"), "{other}");
    printed(&dir, &["sink", "disable", "stamp"]);
    assert!(explain("a@basin.example").contains("does not fire: the sink \"stamp\" is disabled"));
    let none = printed(&dir, &["sink", "explain", "--event", "on-connect"]);
    assert!(none.starts_with("nothing is bound to on-connect; `basin sink bind SINK --event on-connect`"), "{none}");
}

#[test]
fn explain_asks_at_the_first_listener_of_the_configuration() {
    let dir = folder();
    printed(&dir, ADD);
    let bind = ["sink", "bind", "stamp", "--event", "on-end-of-data", "--listener", "inbound"];
    printed(&dir, &bind);
    let explained = printed(&dir, &["sink", "explain", "--event", "on-end-of-data", "--to", "a@basin.example"]);
    assert_eq!(explained.matches("     fires\n").count(), 2, "{explained}");
}

#[test]
fn a_broken_registry_is_told_by_every_command() {
    let dir = folder();
    fs::write(dir.path().join("registry/registry.toml"), "version = 1\nsnik = 1\n").expect("it is there");
    for command in [&["sink", "show", "a"][..], &["sink", "enable", "a"], &["sink", "explain", "--event", "on-connect"]]
    {
        let found = complaint(&dir, command);
        assert!(found.contains("registry.toml:2: the registry has no key \"snik\", did you mean \"sink\"?"), "{found}");
    }
}

#[test]
fn inspect_tells_what_a_component_is() {
    let dir = folder();
    let shown = json(&dir, &["sink", "inspect", "stamp.wasm", "--json"]);
    assert_eq!(shown["events"], serde_json::json!(["on-end-of-data"]));
    assert_eq!(shown["suggested-grants"][0]["grant"], "edit-headers");
    let events = json(&dir, &["sink", "inspect", "--events", "--json"]);
    assert_eq!(events.as_array().map(Vec::len), Some(25));
}

#[test]
fn a_new_project_is_made_and_other_languages_are_refused() {
    let dir = folder();
    printed(&dir, &["sink", "new", "my-filter"]);
    assert!(dir.path().join("my-filter/src/lib.rs").is_file());
    let again = complaint(&dir, &["sink", "new", "my-filter"]);
    assert_eq!(again, "basin: cannot make the folder ./my-filter: File exists (os error 17)");
    let other = complaint(&dir, &["sink", "new", "x", "--lang", "cobol"]);
    assert!(other.starts_with("basin: there is no template for \"cobol\"; there is one for rust."), "{other}");
}
