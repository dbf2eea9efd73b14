//! Licences, sources and version floors of every dependency, as `deny.toml` sets them.

#![allow(clippy::panic, reason = "a test says what is wrong")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Oldest versions without a known hole that matters here. Raised with each advisory that touches Basin; the
/// reason stands beside it.
const FLOORS: &[(&str, &str, &str)] = &[
    ("wasmtime", "48.0.8", "GHSA-6fr9, GHSA-hmmr: memory unchecked when borrowed resources are handed over"),
    ("wasmtime-wasi", "48.0.8", "GHSA-h4wp and the file permission fixes of 2026-08"),
    ("tokio", "1.44.2", "RUSTSEC-2025-0023: unsound clone in the broadcast channel"),
    ("crossbeam-channel", "0.5.15", "RUSTSEC-2025-0024: double free on drop"),
    ("ring", "0.17.12", "RUSTSEC-2025-0009: panic when overflow checks are on"),
    ("tracing-subscriber", "0.3.20", "RUSTSEC-2025-0055: terminal escapes in logs"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of the tree").to_owned()
}

fn packages(manifest: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(root().join(manifest))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("a list of packages").clone()
}

fn policy() -> toml::Table {
    std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there").parse().expect("deny.toml is TOML")
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

const MANIFESTS: &[&str] = &["Cargo.toml", "guest-sdk/rust/Cargo.toml", "sample-sinks/Cargo.toml"];

#[test]
fn every_dependency_has_an_allowed_licence() {
    let policy = policy();
    let allowed: BTreeSet<String> = policy["licenses"]["allow"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|licence| licence.as_str().expect("a text").to_owned())
        .collect();
    let mut refused = Vec::new();
    for package in MANIFESTS.iter().flat_map(|manifest| packages(manifest)) {
        let licence = text(&package, "license").replace('/', " OR ");
        let is_allowed = spdx::Expression::parse(&licence)
            .is_ok_and(|expression| expression.evaluate(|requirement| allowed.contains(&requirement.to_string())));
        if !is_allowed {
            refused.push(format!("{} {}: {licence:?}", text(&package, "name"), text(&package, "version")));
        }
    }
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:#?}");
}

#[test]
fn every_dependency_comes_from_the_registry_or_the_tree() {
    for package in MANIFESTS.iter().flat_map(|manifest| packages(manifest)) {
        let source = &package["source"];
        let is_known = source.is_null() || source.as_str().is_some_and(|source| source.starts_with("registry+"));
        assert!(is_known, "{} comes from {source}", text(&package, "name"));
    }
}

#[test]
fn no_dependency_is_older_than_its_floor_or_banned() {
    let policy = policy();
    let banned: Vec<&str> = policy["bans"]["deny"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|ban| ban["name"].as_str().expect("a name"))
        .collect();
    for package in MANIFESTS.iter().flat_map(|manifest| packages(manifest)) {
        let name = text(&package, "name");
        assert!(!banned.contains(&name), "{name} is banned by deny.toml");
        let version = semver::Version::parse(text(&package, "version")).expect("cargo prints versions");
        for (floored, floor, why) in FLOORS.iter().filter(|(floored, ..)| *floored == name) {
            let floor = semver::Version::parse(floor).expect("a version");
            assert!(version >= floor, "{floored} {version} is older than {floor}: {why}");
        }
    }
}
