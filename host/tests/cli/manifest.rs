//! What a component asks for, and that nothing of it is granted which the operator did not confirm.

use std::fs;

use serde_json::json as value;
use tempfile::TempDir;

use crate::folder::{complaint, folder, json, printed};

const ONE: &str = r#"{"description": "Stamps\u001b[2J mail.", "events": ["on-end-of-data"],
    "grants": ["read-headers", "edit-headers"], "limits": {"memory": "32MiB", "deadline": "1s"}}"#;
const TWO: &str = r#"{"events": ["on-end-of-data"], "grants": ["read-headers", "edit-headers", "submit"]}"#;

// A folder with the components one.wasm and two.wasm, which have these manifests.
fn packed() -> TempDir {
    let dir = folder();
    for (name, manifest) in [("one", ONE), ("two", TWO)] {
        fs::write(dir.path().join(format!("{name}.json")), manifest).expect("the folder is there");
        let (manifest, out) = (format!("{name}.json"), format!("{name}.wasm"));
        printed(&dir, &["sink", "pack", "stamp.wasm", "--manifest", &manifest, "--out", &out]);
    }
    dir
}

fn grants(dir: &TempDir) -> serde_json::Value {
    json(dir, &["sink", "show", "a", "--json"])["sink"]["grants"].clone()
}

#[test]
fn what_a_component_asks_for_is_shown_and_granted_only_with_a_yes() {
    let dir = packed();
    let registry = || fs::read_to_string(dir.path().join("registry/registry.toml")).expect("it is there");
    let before = registry();
    let why = complaint(&dir, &["sink", "add", "one.wasm", "--name", "a"]);
    assert_eq!(
        why,
        "basin: the component asks for read-headers, edit-headers; nothing was registered; add --yes to grant all of it, \
         or name what you grant (--grant read-headers --grant edit-headers)"
    );
    assert_eq!(registry(), before);
    let said = printed(&dir, &["sink", "add", "one.wasm", "--name", "a", "--yes"]);
    assert!(said.contains("it says of itself: Stamps\\u{1b}[2J mail.\n"), "nothing moves the terminal: {said}");
    assert!(said.contains("bound as a/on-end-of-data\ngranted: read-headers, edit-headers\n"), "{said}");
    let shown = json(&dir, &["sink", "show", "a", "--json"]);
    assert_eq!(shown["sink"]["grants"], value!(["read-headers", "edit-headers"]));
    assert_eq!(shown["sink"]["limits"]["deadline-ms"], 1_000, "{shown}");
    printed(&dir, &["sink", "remove", "a"]);
    let add = ["sink", "add", "one.wasm", "--name", "a", "--grant", "edit-headers", "--event", "on-end-of-data:size>9"];
    printed(&dir, &add);
    let shown = json(&dir, &["sink", "show", "a", "--json"]);
    assert_eq!(shown["sink"]["grants"], value!(["edit-headers"]), "what was named and no more");
    assert_eq!(shown["sink"]["limits"]["deadline-ms"], serde_json::Value::Null);
    assert_eq!(shown["bindings"][0]["binding"]["rule"], "size>9");
    let none = complaint(&dir, &["sink", "add", "stamp.wasm", "--name", "b", "--event", "on-end-of-data", "--yes"]);
    assert!(none.contains("--yes: the component has no manifest"), "{none}");
    let nowhere = complaint(&dir, &["sink", "add", "stamp.wasm", "--name", "b"]);
    assert!(nowhere.contains("name an event with --event"), "{nowhere}");
}

#[test]
fn an_upgrade_that_asks_for_more_than_before_needs_a_yes() {
    let dir = packed();
    printed(&dir, &["sink", "add", "one.wasm", "--name", "a", "--yes"]);
    let why = complaint(&dir, &["sink", "upgrade", "a", "two.wasm"]);
    assert!(why.contains("the component asks for submit; nothing was changed; add --yes"), "{why}");
    let digest = || json(&dir, &["sink", "show", "a", "--json"])["sink"]["digest"].clone();
    let one = digest();
    let denied = json(&dir, &["sink", "upgrade", "a", "two.wasm", "--deny", "--json"]);
    assert_eq!((&denied["granted"], grants(&dir)), (&value!([]), value!(["read-headers", "edit-headers"])));
    assert_ne!(digest(), one);
    // It was asked about, so it is no news; and what is not granted can still be given.
    printed(&dir, &["sink", "rollback", "a"]);
    assert_eq!(digest(), one);
    printed(&dir, &["sink", "upgrade", "a", "two.wasm"]);
    assert_eq!(grants(&dir), value!(["read-headers", "edit-headers"]));
    printed(&dir, &["sink", "remove", "a"]);
    printed(&dir, &["sink", "add", "one.wasm", "--name", "a", "--yes"]);
    let given = json(&dir, &["sink", "upgrade", "a", "two.wasm", "--yes", "--json"]);
    assert_eq!(
        (&given["granted"], grants(&dir)),
        (&value!(["submit"]), value!(["read-headers", "edit-headers", "submit"]))
    );
}

#[test]
fn a_manifest_is_checked_where_it_is_packed_shown_where_it_is_inspected_and_may_lie_beside() {
    let dir = packed();
    fs::write(dir.path().join("bad.json"), r#"{"grants": ["fly"]}"#).expect("written");
    let pack = ["sink", "pack", "stamp.wasm", "--manifest", "bad.json", "--out", "bad.wasm"];
    let why = complaint(&dir, &pack);
    assert!(why.starts_with("basin: cannot use the manifest bad.json: there is no grant \"fly\""), "{why}");
    let why = complaint(&dir, &["sink", "pack", "module.wasm", "--manifest", "one.json", "--out", "bad.wasm"]);
    assert!(why.contains("module.wasm: this is no component"), "{why}");
    assert!(!dir.path().join("bad.wasm").exists());
    let shown = json(&dir, &["sink", "inspect", "one.wasm", "--json"]);
    assert_eq!(shown["manifest"]["grants"], value!(["read-headers", "edit-headers"]));
    assert_eq!(json(&dir, &["sink", "inspect", "stamp.wasm", "--json"])["manifest"], serde_json::Value::Null);
    fs::write(dir.path().join("stamp.manifest.json"), TWO).expect("written");
    let shown = printed(&dir, &["sink", "inspect", "stamp.wasm"]);
    assert!(shown.contains("it asks for:\n  read-headers\n  edit-headers\n  submit\n"), "{shown}");
    fs::write(dir.path().join("stamp.manifest.json"), "{").expect("written");
    let why = complaint(&dir, &["sink", "add", "stamp.wasm", "--name", "b", "--event", "on-end-of-data"]);
    assert!(why.contains("cannot use the manifest in stamp.manifest.json"), "{why}");
}
