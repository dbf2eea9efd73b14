use std::fs;

use basin_core::event::{EventKind, FailurePolicy, Grant, Rule};
use tempfile::TempDir;

use super::*;

const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::new(dir.path().join("registry"));
    (dir, store)
}

fn sink(name: &str) -> SinkEntry {
    SinkEntry {
        name: name.to_owned(),
        digest: DIGEST.to_owned(),
        source: "a.wasm".to_owned(),
        grants: [Grant::ReadHeaders].into_iter().collect(),
        budget: BudgetOverride { fuel: Some(5), memory: Some(1 << 20), deadline_ms: Some(250) },
        secrets: Default::default(),
        config: [("field".to_owned(), "X \"quoted\"\nline".to_owned())].into(),
        is_enabled: true,
    }
}

fn binding(name: &str, sink: &str) -> Binding {
    let event = EventKind::OnEndOfData;
    Binding {
        name: name.to_owned(),
        sink: sink.to_owned(),
        event,
        rule: Rule::parse("rcpt to=*@example.org", event).expect("a rule"),
        priority: 9,
        listener: Some("smtp".to_owned()),
        mode: Mode::Observe,
        instance: Default::default(),
        on_failure: FailurePolicy::Hold,
        is_enabled: false,
        expires: basin_core::time::Timestamp::parse_rfc3339("2030-01-31T12:00:00Z"),
        max_firings: Some(3),
        schedule: None,
    }
}

#[test]
fn what_is_added_reads_back_equal() {
    let (_dir, store) = store();
    let mut edit = Edit::begin(&store).expect("an empty registry can be edited");
    edit.add_sink(&sink("a"));
    edit.add_binding(&binding("a/1", "a"));
    edit.add_sink(&SinkEntry { is_enabled: false, ..sink("b") });
    let after = edit.commit().expect("the file is right");
    assert_eq!(after, store.read().expect("the file is there"));
    assert_eq!(after.sink("a"), Some(&sink("a")));
    assert_eq!(after.binding("a/1"), Some(&binding("a/1", "a")));
    assert!(!after.sink("b").expect("it is there").is_enabled);
}

#[test]
fn an_edit_keeps_comments_and_order() {
    let (_dir, store) = store();
    store.create().expect("the directory is new");
    let text = format!(
        "# my registry\nversion = 1 # the first\n\n# stamps every message\n[[sink]]\nname = \"stamp\" # a name\n\
         digest = \"{DIGEST}\"\ngrants = [\"read-body\"] # for now\n\n[[binding]]\nsink = \"stamp\"\n\
         event = \"on-connect\" # early\n\n# the other\n[[sink]]\nname = \"other\"\ndigest = \"{DIGEST}\"\n# the end\n"
    );
    fs::write(store.file_path(), &text).expect("the directory is there");
    let mut edit = Edit::begin(&store).expect("the file is right");
    edit.set_grants("stamp", &[Grant::ReadHeaders].into_iter().collect()).expect("there is a stamp");
    edit.set_config("stamp", "key", "value").expect("there is a stamp");
    edit.enable_binding("stamp/on-connect", false).expect("a binding without a name has one");
    edit.commit().expect("the file is right");
    let wanted = text
        .replace("[\"read-body\"] # for now\n", "[\"read-headers\"] # for now\n\n[sink.config]\nkey = \"value\"\n")
        .replace("# early\n", "# early\nenabled = false\n");
    assert_eq!(fs::read_to_string(store.file_path()).expect("the file is there"), wanted);
}

#[test]
fn removing_a_sink_takes_its_bindings_and_its_component() {
    let (_dir, store) = store();
    store.create().expect("the directory is new");
    let kept = store.put_component(b"kept").expect("the directory is there");
    let gone = store.put_component(b"gone").expect("the directory is there");
    let mut edit = Edit::begin(&store).expect("an empty registry can be edited");
    edit.add_sink(&SinkEntry { digest: gone.clone(), ..sink("a") });
    edit.add_sink(&SinkEntry { digest: kept.clone(), ..sink("b") });
    for (name, of) in [("1", "a"), ("2", "b"), ("3", "a")] {
        edit.add_binding(&binding(name, of));
    }
    edit.commit().expect("the file is right");
    let mut edit = Edit::begin(&store).expect("the file is right");
    edit.remove_sink("a").expect("there is an a");
    let after = edit.commit().expect("the file is right");
    let names: Vec<_> = after.bindings.iter().map(|binding| binding.name.as_str()).collect();
    assert_eq!((after.sinks.len(), names), (1, vec!["2"]));
    assert_eq!(store.component(&kept).expect("it stays"), b"kept");
    assert!(!store.component_path(&gone).exists());
}

#[test]
fn settings_come_and_go() {
    let (_dir, store) = store();
    let mut edit = Edit::begin(&store).expect("an empty registry can be edited");
    edit.add_sink(&sink("a"));
    edit.commit().expect("the file is right");
    let mut edit = Edit::begin(&store).expect("the file is right");
    edit.set_config("a", "field", "new").expect("there is an a");
    edit.set_limits("a", &BudgetOverride::default()).expect("there is an a");
    edit.enable_sink("a", false).expect("there is an a");
    let after = edit.commit().expect("the file is right");
    let found = after.sink("a").expect("there is an a");
    assert_eq!(found.config.get("field").map(String::as_str), Some("new"));
    assert_eq!((found.budget, found.is_enabled), (BudgetOverride::default(), false));
    let mut edit = Edit::begin(&store).expect("the file is right");
    assert!(edit.unset_config("a", "field").expect("there is an a"));
    assert!(!edit.unset_config("a", "field").expect("there is an a"));
    assert!(edit.commit().expect("the file is right").sink("a").is_some_and(|sink| sink.config.is_empty()));
}

#[test]
fn a_name_that_is_not_there_gets_a_suggestion() {
    let (_dir, store) = store();
    let mut edit = Edit::begin(&store).expect("an empty registry can be edited");
    edit.add_sink(&sink("stamp"));
    edit.commit().expect("the file is right");
    let mut edit = Edit::begin(&store).expect("the file is right");
    let error = edit.enable_sink("stmap", true).expect_err("there is no such sink");
    assert_eq!(error.to_string(), "there is no sink \"stmap\", did you mean \"stamp\"?");
    let error = edit.remove_binding("x").expect_err("there is no binding");
    assert_eq!(error.to_string(), "there is no binding \"x\"; the registry has none");
}

#[test]
fn an_edit_that_would_break_the_file_leaves_it() {
    let (_dir, store) = store();
    let mut edit = Edit::begin(&store).expect("an empty registry can be edited");
    edit.add_sink(&sink("a"));
    edit.commit().expect("the file is right");
    let before = fs::read_to_string(store.file_path()).expect("the file is there");
    let mut edit = Edit::begin(&store).expect("the file is right");
    edit.add_sink(&sink("a"));
    assert!(edit.commit().is_err_and(|error| error.to_string().contains("a second sink")));
    assert_eq!(fs::read_to_string(store.file_path()).expect("the file is there"), before);
}

#[test]
fn a_broken_file_is_not_edited() {
    let (_dir, store) = store();
    store.create().expect("the directory is new");
    fs::write(store.file_path(), "version = 1\nbroken").expect("the directory is there");
    assert!(Edit::begin(&store).is_err_and(|error| error.to_string().contains("registry.toml:2:")));
}

#[test]
fn two_editors_take_turns() {
    let (_dir, store) = store();
    let first = Edit::begin(&store).expect("an empty registry can be edited");
    let locked = lock(&store, Duration::ZERO).expect_err("the first holds the lock");
    assert!(locked.to_string().contains("registry.lock"), "{locked}");
    drop(first);
    lock(&store, Duration::ZERO).expect("the first is done");
}

#[test]
fn a_component_that_was_changed_is_refused() {
    let (_dir, store) = store();
    store.create().expect("the directory is new");
    let digest = store.put_component(b"as registered").expect("the directory is there");
    fs::write(store.component_path(&digest), b"changed").expect("the directory is there");
    let error = store.component(&digest).expect_err("the digest is another").to_string();
    assert!(error.contains("was changed after it was registered"), "{error}");
    assert_eq!(store.put_component(b"as registered").expect("it is written anew"), digest);
    assert_eq!(store.component(&digest).expect("it is right again"), b"as registered");
}
