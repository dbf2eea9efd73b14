//! `docs/past-vulnerabilities.md` names a test for each hole, and each of those tests is there.

#![allow(clippy::panic, reason = "a test says what is missing")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("sources are UTF-8"));
        }
    }
}

/// What stands between backquotes in a text.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_hole_has_a_test_and_every_test_that_is_named_exists() {
    let page = fs::read_to_string(root().join("docs/past-vulnerabilities.md")).expect("the page is there");
    let mut code = String::new();
    for folder in ["host", "tests", "sample-sinks", "guest-sdk"] {
        sources(&root().join(folder), &mut code);
    }
    let mut missing = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let Some((_, tests)) = section.split_once("\nTests: ") else {
            missing.push(format!("{title}: no line that begins with \"Tests: \""));
            continue;
        };
        let names = quoted(tests);
        assert!(!names.is_empty(), "{title}");
        for name in names {
            // A path is a file of cases; anything else is a test by its name.
            let exists =
                if name.contains('/') { root().join(name).exists() } else { code.contains(&format!("fn {name}(")) };
            if !exists {
                missing.push(format!("{title}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(page.matches("\n## ").count() >= 20, "the page has been cut");
}
