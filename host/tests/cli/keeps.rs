//! What a sink keeps and what it knows: its table and its secrets, where no server runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, mpsc};

use basin_core::event::{TableEdits, TableValue};
use basin_state::{Committed, Tables};
use tempfile::TempDir;

use crate::folder::{basin, complaint, folder, json, printed};

// Entries of a sink, as a server would have left them.
fn put(dir: &TempDir, sink: &str, entries: &[(&str, &[u8])]) {
    fs::create_dir_all(dir.path().join("spool")).expect("a folder");
    let tables = Tables::open(&dir.path().join("spool/sink-state.redb"), || 1).expect("a file");
    let mut edits = TableEdits::default();
    for (key, octets) in entries {
        let value = TableValue { octets: Arc::from(*octets), life: 0 };
        edits.set(sink, key, Some(value), None).expect("small");
    }
    let (done, committed) = mpsc::channel();
    tables.commit(edits, None, 1, move |result| done.send(result).expect("the test waits"));
    assert_eq!(committed.recv().expect("an answer"), Ok(Committed::Written));
}

#[test]
fn an_operator_sees_and_clears_what_a_sink_keeps() {
    let dir = folder();
    assert_eq!(printed(&dir, &["sink", "state", "taken"]), "sink taken keeps 0 octets of 16MiB\n");
    assert!(!dir.path().join("spool/sink-state.redb").exists(), "nothing is made by looking");
    let why = complaint(&dir, &["sink", "state", "tkaen"]);
    assert!(why.contains("there is no sink \"tkaen\", did you mean \"taken\""), "{why}");
    put(&dir, "taken", &[("a", b"1"), ("b", b"two\n\xff"), ("c", b"")]);
    put(&dir, "gone", &[("a", b"of somebody else")]);
    let listed = printed(&dir, &["sink", "state", "taken"]);
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.get(..4), Some([vec!["KEY", "OCTETS"], vec!["a", "1"], vec!["b", "5"], vec!["c", "0"]].as_slice()));
    // 3 keys, 6 octets of values, and 32 for each entry.
    assert!(listed.ends_with("sink taken keeps 105 octets of 16MiB\n"), "{listed}");
    assert_eq!(printed(&dir, &["sink", "state", "taken", "get", "b"]), "two\\n\\xff\n");
    let shown = json(&dir, &["sink", "state", "taken", "get", "b", "--json"]);
    assert_eq!((&shown["entries"][0]["bytes"], &shown["used"]), (&5.into(), &105.into()));
    assert_eq!(complaint(&dir, &["sink", "state", "taken", "get", "x"]), "basin: sink taken keeps nothing under \"x\"");
    printed(&dir, &["sink", "state", "taken", "delete", "b"]);
    assert_eq!(
        complaint(&dir, &["sink", "state", "taken", "delete", "b"]),
        "basin: sink taken keeps nothing under \"b\""
    );
    let cleared = printed(&dir, &["sink", "state", "taken", "clear"]);
    assert_eq!(cleared, "removed: 2\nsink taken keeps 0 octets of 16MiB\n");
    // A sink that is gone leaves its table behind.
    assert_eq!(json(&dir, &["sink", "state", "gone", "--json"])["entries"][0]["key"], "a");
}

#[test]
fn a_secret_comes_from_a_file_and_is_shown_nowhere() {
    let dir = folder();
    let token = dir.path().join("token");
    fs::write(&token, "open sesame\n").expect("written");
    let mode = |mode| fs::set_permissions(&token, fs::Permissions::from_mode(mode)).expect("changed");
    mode(0o644);
    let add = ["sink", "add", "stamp.wasm", "--name", "a", "--event", "on-end-of-data", "--secret", "key=@token"];
    let why = complaint(&dir, &add);
    assert!(why.contains("--secret key: the secret") && why.contains("chmod 600"), "{why}");
    mode(0o600);
    let inline = complaint(&dir, &[&add[..7], &["--secret", "key=sesame"]].concat());
    assert!(inline.contains("write KEY=@FILE") && !inline.contains("sesame"), "{inline}");
    let mut shown = printed(&dir, &add);
    shown += &printed(&dir, &["sink", "show", "a"]);
    shown += &printed(&dir, &["sink", "show", "a", "--json"]);
    shown += &printed(&dir, &["sink", "list", "--json"]);
    shown += &fs::read_to_string(dir.path().join("registry/registry.toml")).expect("readable");
    assert!(!shown.contains("sesame"), "{shown}");
    assert_eq!(json(&dir, &["sink", "show", "a", "--json"])["sink"]["secrets"], serde_json::json!(["key"]));
    let both = complaint(&dir, &["sink", "set", "a", "key=plain"]);
    assert!(both.contains("key is in `config` too"), "{both}");
    printed(&dir, &["sink", "set", "a", "--secret", "other=@token"]);
    printed(&dir, &["sink", "unset", "a", "key"]);
    assert_eq!(json(&dir, &["sink", "show", "a", "--json"])["sink"]["secrets"], serde_json::json!(["other"]));
    assert!(!basin(&dir, &["sink", "unset", "a", "key"]).status.success());
}
