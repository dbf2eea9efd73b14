use super::*;
use crate::config::Config;
use std::path::{Path, PathBuf};

fn compare(relative: &str, made: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(relative);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("can be made");
        std::fs::write(&path, made).expect("can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == made, "{relative} is not what reference.rs makes; run the tests with BLESS=1 to rewrite it");
}

#[test]
fn the_reference_page_is_made_from_the_keys() {
    compare("docs/configuration.md", &page());
}

#[test]
fn the_sample_file_is_made_from_the_keys() {
    compare("packaging/basin.toml", &sample());
}

#[test]
fn the_sample_file_is_a_valid_configuration() {
    let config = Config::parse(Path::new("basin.toml"), &sample()).expect("valid");
    assert_eq!(config.domains[0].mailboxes.len(), 2);
    assert_eq!(config.warnings, []);
}

#[test]
fn every_example_is_valid_too() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["relay.password", "ca-certificates.crt", "root.key"] {
        std::fs::write(folder.path().join(file), "text\n").expect("written");
    }
    // Comments of the sample that are keys are taken in as keys, files that it names as files of the folder.
    let keys = |line: &str| {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let name = bare.split(" = ").next().unwrap_or_default();
        let is_key = bare.contains(" = ") && KEYS.iter().any(|key| key.name == name) && name != "mailbox-file";
        let text = if is_key || bare.starts_with("[[") { bare } else { line };
        text.replace("/etc/basin/relay", "relay").replace("/etc/ssl/certs/", "").replace("/usr/share/dns/", "")
    };
    let text: Vec<String> = sample().lines().map(keys).collect();
    let config = Config::parse(&folder.path().join("basin.toml"), &text.join("\n")).expect("valid");
    assert_eq!(config.routes.rules().len(), 1);
}
