//! Another component in the place of a sink's, and back, where no server runs.

use std::fs;

use serde_json::json as value;
use tempfile::TempDir;

use crate::folder::{complaint, folder, guest, json, printed};

// A folder with a sink "a" that has the component stamp.wasm, a grant and a setting.
fn with_sink() -> TempDir {
    let dir = folder();
    fs::copy(guest("noop"), dir.path().join("noop.wasm")).expect("`make hostile` built it");
    fs::copy(guest("scripted"), dir.path().join("scripted.wasm")).expect("`make guests` built it");
    let event = "on-end-of-data:size>7";
    let add = ["sink", "add", "stamp.wasm", "--name", "a", "--event", event, "--grant", "edit-headers", "--set", "k=v"];
    printed(&dir, &add);
    dir
}

fn states(dir: &TempDir) -> Vec<(String, String)> {
    let shown = json(dir, &["sink", "show", "a", "--json"]);
    let versions = shown["versions"].as_array().expect("a list").clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let file = |source: &serde_json::Value| text(source).rsplit('/').next().unwrap_or_default().to_owned();
    versions.iter().map(|version| (file(&version["source"]), text(&version["state"]))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(file, state)| ((*file).to_owned(), (*state).to_owned())).collect()
}

#[test]
fn an_upgrade_keeps_all_but_the_component_and_a_rollback_goes_back() {
    let dir = with_sink();
    let before = json(&dir, &["sink", "show", "a", "--json"]);
    let done = json(&dir, &["sink", "upgrade", "a", "noop.wasm", "--json"]);
    assert_eq!((&done["sink"], &done["former"]), (&value!("a"), &before["sink"]["digest"]));
    let after = json(&dir, &["sink", "show", "a", "--json"]);
    assert_eq!(done["digest"], after["sink"]["digest"]);
    assert_ne!(after["sink"]["digest"], before["sink"]["digest"]);
    for same in ["grants", "limits", "config", "enabled"] {
        assert_eq!(after["sink"][same], before["sink"][same], "{same}");
    }
    assert_eq!(after["bindings"], before["bindings"]);
    assert_eq!(states(&dir), pairs(&[("noop.wasm", "registered"), ("stamp.wasm", "former")]));

    printed(&dir, &["sink", "upgrade", "a", "scripted.wasm"]);
    let said = printed(&dir, &["sink", "rollback", "a"]);
    assert!(said.starts_with("sink a rolled back from "), "{said}");
    let wanted = [("noop.wasm", "registered"), ("scripted.wasm", "rolled back"), ("stamp.wasm", "former")];
    assert_eq!(states(&dir), pairs(&wanted));
    printed(&dir, &["sink", "rollback", "a"]);
    let wanted = [("stamp.wasm", "registered"), ("noop.wasm", "rolled back"), ("scripted.wasm", "rolled back")];
    assert_eq!(states(&dir), pairs(&wanted));
    assert_eq!(json(&dir, &["sink", "show", "a", "--json"])["sink"], before["sink"], "as it was");
    let nothing = complaint(&dir, &["sink", "rollback", "a"]);
    assert_eq!(nothing, "basin: sink a has no former component; `basin sink upgrade a FILE` puts another in force");
    let digits = done["digest"].as_str().and_then(|digest| digest.get(..6)).expect("a digest").to_owned();
    printed(&dir, &["sink", "rollback", "a", "--to", &digits]);
    assert_eq!(states(&dir).first(), pairs(&[("noop.wasm", "registered")]).first());
    let table = printed(&dir, &["sink", "show", "a"]);
    assert!(table.contains("VERSION") && table.contains("rolled back"), "{table}");
    // Forward again to what was rolled back is a trial: what it leaves is what a rollback goes to.
    assert_eq!(states(&dir)[1], pairs(&[("stamp.wasm", "former")])[0]);
    printed(&dir, &["sink", "rollback", "a"]);
    assert_eq!(states(&dir).first(), pairs(&[("stamp.wasm", "registered")]).first());
}

#[test]
fn what_cannot_work_leaves_the_old_component_in_force() {
    let dir = with_sink();
    let registry = || fs::read_to_string(dir.path().join("registry/registry.toml")).expect("it is there");
    let before = registry();
    let same = complaint(&dir, &["sink", "upgrade", "a", "stamp.wasm"]);
    assert!(same.starts_with("basin: sink a has this component already (sha256 "), "{same}");
    for (file, wanted) in [
        ("none.wasm", "cannot read the component none.wasm"),
        ("text.wasm", "cannot use text.wasm as a sink: this is not WebAssembly but a text file"),
        ("module.wasm", "this is a WebAssembly core module"),
        ("foreign.wasm", "imports what this server does not have: acme:db/store@1.0.0"),
    ] {
        let why = complaint(&dir, &["sink", "upgrade", "a", file]);
        assert!(why.contains(wanted), "{file}: {why}");
    }
    // It answers on-end-of-data and nothing that happens at a connection.
    printed(&dir, &["sink", "upgrade", "a", "scripted.wasm"]);
    printed(&dir, &["sink", "bind", "a", "--event", "on-connect", "--disabled"]);
    let bound = registry();
    let why = complaint(&dir, &["sink", "upgrade", "a", "stamp.wasm"]);
    assert!(why.contains("does not answer what sink a is bound to (a/on-connect); it exports on-end-of-data"), "{why}");
    let why = complaint(&dir, &["sink", "rollback", "a"]);
    assert!(why.contains("does not answer what sink a is bound to (a/on-connect)"), "{why}");
    assert_eq!(registry(), bound);
    let why = complaint(&dir, &["sink", "upgrade", "b", "stamp.wasm"]);
    assert!(why.starts_with("basin: there is no sink \"b\""), "{why}");
    assert_ne!(before, bound);
}

#[test]
fn a_component_lies_on_disk_as_long_as_one_may_go_back_to_it() {
    let dir = with_sink();
    let components = || fs::read_dir(dir.path().join("registry/components")).expect("there").count();
    assert_eq!(components(), 1);
    printed(&dir, &["sink", "upgrade", "a", "noop.wasm"]);
    assert_eq!(components(), 2);
    let former = json(&dir, &["sink", "show", "a", "--json"])["versions"][1]["digest"].clone();
    let path = dir.path().join(format!("registry/components/{}.wasm", former.as_str().expect("a digest")));
    let octets = fs::read(&path).expect("it is kept");
    fs::write(&path, &octets[1..]).expect("writable");
    let why = complaint(&dir, &["sink", "rollback", "a"]);
    assert!(why.contains("cannot go back") && why.contains("was changed after it was registered"), "{why}");
    fs::write(&path, &octets).expect("writable");
    printed(&dir, &["sink", "rollback", "a"]);
    printed(&dir, &["sink", "remove", "a"]);
    assert_eq!(components(), 0);
}
