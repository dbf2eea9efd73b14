//! `basin sink test`: one call of a sink, offline.

use std::fs;

use crate::folder::{basin, complaint, folder, guest, json, printed};

#[test]
fn a_verdict_comes_with_edits_log_and_use() {
    let dir = folder();
    fs::write(dir.path().join("letter.eml"), "Subject: hello\n\nHow are you?\n").expect("the folder is there");
    let arguments = ["sink", "test", "stamp.wasm", "--message", "letter.eml", "--grant", "edit-headers"];
    let shown = printed(&dir, &[&arguments[..], &["--repeat", "3", "--expect", "next"]].concat());
    assert!(shown.contains("verdict       next\n"), "{shown}");
    assert!(shown.contains("\nheader\n  + X-Basin-Sink: test (on-end-of-data, smtp)\n"), "{shown}");
    assert!(shown.contains("\n3 warm calls  ") && shown.contains("\nlog\n  debug  stamped "), "{shown}");
    let first = json(&dir, &[&arguments[..], &["--json"]].concat());
    let second = json(&dir, &[&arguments[..], &["--json"]].concat());
    assert_eq!((&first["verdict"], &first["success"]), (&"next".into(), &true.into()));
    assert!(first["fuel"].as_u64().is_some_and(|fuel| fuel > 0));
    assert_eq!(first["fuel"], second["fuel"], "fuel is the same in every repetition");
}

#[test]
fn what_was_not_granted_and_what_was_not_expected_fail() {
    let dir = folder();
    let denied = basin(&dir, &["sink", "test", "stamp.wasm"]);
    let shown = String::from_utf8_lossy(&denied.stdout);
    assert!(shown.contains("failed       guest-error: ") && shown.contains("needs the grant edit-headers"), "{shown}");
    assert_eq!(denied.status.code(), Some(1));
    let arguments = ["sink", "test", "stamp.wasm", "--grant-all", "--expect", "refuse"];
    let unexpected = basin(&dir, &arguments);
    assert!(String::from_utf8_lossy(&unexpected.stdout).ends_with("expected refuse, found next\n"));
    assert_eq!(unexpected.status.code(), Some(1));
}

#[test]
fn a_sink_that_fails_tells_kind_and_backtrace() {
    let dir = folder();
    for (name, kind) in [("trap", "panic"), ("loop_forever", "fuel"), ("eat_memory", "memory")] {
        let component = guest(name);
        let component = component.to_str().expect("paths of the tests are UTF-8");
        let shown = json(&dir, &["sink", "test", component, "--event", "on-end-of-data", "--expect", kind, "--json"]);
        assert_eq!(shown["failure"]["kind"], kind, "{name}");
        assert!(shown["failure"]["backtrace"].as_array().is_some_and(|frames| !frames.is_empty()), "{name}");
    }
}

#[test]
fn an_ehlo_keyword_shows_as_a_line_of_the_answer() {
    let dir = folder();
    let component = guest("welcome");
    let component = component.to_str().expect("paths of the tests are UTF-8");
    let shown = json(&dir, &["sink", "test", component, "--verb", "EHLO", "--grant", "reply", "--json"]);
    assert_eq!(shown["effects"]["answer"], serde_json::json!(["line added: XWELCOME"]));
}

#[test]
fn a_scene_that_cannot_be_is_refused() {
    let dir = folder();
    let test = |more: &[&str]| complaint(&dir, &[&["sink", "test", "stamp.wasm"], more].concat());
    assert_eq!(test(&["--from", "nobody"]), "basin: --from nobody: the address is not local-part@domain");
    assert!(test(&["--message", "none.eml"]).starts_with("basin: cannot read the message none.eml: No such file"));
    assert!(test(&["--header", "Subject"]).ends_with("is no field; write \"Name: value\""));
    assert!(test(&["--reply", "hello"]).contains("as in \"550 5.1.1 no\""));
}
