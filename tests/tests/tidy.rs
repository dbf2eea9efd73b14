//! The tree keeps the shape that `ARCHITECTURE.md` gives it.

#![allow(clippy::panic, reason = "a test says what is wrong")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file past which it holds more than one thing.
const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of the tree").to_owned()
}

fn files(under: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display())) {
            let path = entry.expect("the folder can be listed").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && name != "target" && !name.starts_with(".git") {
                folders.push(path);
            } else if name.ends_with(extension) {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                found.push((path.strip_prefix(root()).expect("below the root").to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no {extension} file under {under}: the test looks in the wrong place");
    found
}

fn offenders(files: &[(PathBuf, String)], is_allowed: impl Fn(&Path) -> bool, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| !is_allowed(path)) {
        for (index, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                found.push(format!("{}:{}: {word}", path.display(), index + 1));
            }
        }
    }
    found
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    let mut long = Vec::new();
    for under in ["host", "guest-sdk", "sample-sinks", "tests", "wit"] {
        for extension in [".rs", ".wit"] {
            if under == "wit" && extension == ".rs" || under != "wit" && extension == ".wit" {
                continue;
            }
            let too_long = |(path, text): &(PathBuf, String)| {
                let lines = text.lines().count();
                (lines > FILE_LINES_MAX).then(|| format!("{}: {lines}", path.display()))
            };
            long.extend(files(under, extension).iter().filter_map(too_long));
        }
    }
    assert!(long.is_empty(), "split these: {long:#?}");
}

#[test]
fn core_does_no_io_and_reads_no_clock() {
    let words = [
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "SystemTime",
        "Instant::now",
        "tokio",
        "wasmtime",
        "std::process",
    ];
    let found = offenders(&files("host/core/src", ".rs"), |_| false, &words);
    assert!(found.is_empty(), "machines decide, the shell does: {found:#?}");
}

#[test]
fn the_storage_knows_neither_tokio_nor_wasmtime() {
    for storage in ["host/spool/src", "host/state/src"] {
        let found = offenders(&files(storage, ".rs"), |_| false, &["tokio::", "wasmtime"]);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn only_the_sinks_crate_names_wasmtime() {
    let found = offenders(&files("host/src", ".rs"), |_| false, &["wasmtime::", "wasmtime_wasi"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_bindings_and_convert_name_generated_types() {
    let is_allowed = |path: &Path| {
        let path = path.to_string_lossy();
        path.contains("bindings")
            || path.contains("convert")
            || path.contains("host_api")
            || path.contains("call")
            || path.contains("exports")
    };
    let found = offenders(&files("host/sinks/src", ".rs"), is_allowed, &["bindgen!", "exports::basin"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn one_file_reads_the_sockets_of_other_servers() {
    let found = offenders(
        &files("host/outbound/src", ".rs"),
        // Tests play the other server.
        |path| path.ends_with("outbound/src/wire.rs") || path.to_string_lossy().ends_with("_tests.rs"),
        &[".read_buf(", ".try_read(", ".read_exact(", "AsyncReadExt"],
    );
    assert!(found.is_empty(), "what other servers say comes in through outbound's wire.rs alone: {found:#?}");
}

#[test]
fn one_file_reads_the_sockets_of_clients() {
    let is_wire = |path: &Path| {
        path.ends_with("net/wire.rs") || path.components().any(|part| part.as_os_str() == "cli")
            // Tests play the client.
            || path.to_string_lossy().ends_with("_tests.rs")
    };
    let found = offenders(
        &files("host/src/net", ".rs"),
        is_wire,
        &[".read_buf(", ".try_read(", ".read_exact(", "AsyncReadExt"],
    );
    assert!(found.is_empty(), "client octets come in through net/wire.rs alone: {found:#?}");
}

#[test]
fn replies_leave_by_one_door() {
    let is_door = |path: &Path| path.ends_with("reply.rs");
    let mut found =
        offenders(&files("host/core/src/smtp", ".rs"), is_door, &["extend_from_slice(b\"2", "extend_from_slice(b\"5"]);
    found.extend(offenders(&files("host/src/net", ".rs"), is_door, &["b\"220 ", "b\"421 ", "b\"250 "]));
    assert!(found.is_empty(), "only Reply::encode makes bytes for a peer: {found:#?}");
}

#[test]
fn nothing_is_left_undone() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("unimple", "mented!"),
        concat!("to", "do!("),
    ];
    for under in ["host", "guest-sdk", "sample-sinks", "tests"] {
        for (path, text) in files(under, ".rs") {
            for mark in marks {
                assert!(!text.contains(mark), "{} has {mark}", path.display());
            }
        }
    }
}

#[test]
fn links_in_the_docs_lead_somewhere() {
    let mut pages = files("docs", ".md");
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        pages.push((PathBuf::from(name), fs::read_to_string(root().join(name)).expect("the page is there")));
    }
    let mut broken = Vec::new();
    for (path, text) in &pages {
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            let is_outside = target.contains("://") || target.starts_with('#') || target.starts_with("mailto:");
            let from = root().join(path).parent().expect("a file has a folder").join(file);
            if !is_outside && !file.is_empty() && !from.exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_decision_has_its_four_parts() {
    for (path, text) in files("docs/decisions", ".md") {
        for part in ["## Context", "## Choice", "## Alternatives", "## Consequences"] {
            assert!(text.contains(part), "{} lacks {part:?}", path.display());
        }
    }
}
