//! The audit log as a whole: what is logged under its name, and what an edit of the registry changes.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tracing::subscriber::with_default;

use super::changes::changes;
use super::*;
use crate::registry::RegistryFile;

fn options(directory: &Path) -> JournalOptions {
    JournalOptions { directory: directory.into(), days_max: 30, total_bytes_max: 1 << 30, free_bytes_min: 0 }
}

fn lines(directory: &Path) -> Vec<Value> {
    let files = crate::journal::files::list(directory).expect("readable");
    let text: String = files.iter().map(|file| fs::read_to_string(&file.path).expect("readable")).collect();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn what_is_logged_under_its_name_is_written_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let audit = Audit::start(Some(options(directory.path()))).expect("starts");
    let layer = audit.layer().map(|layer| layer.with_filter(Audit::filter()));
    with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!(target: TARGET, user = "ann", empty = "", count = 7_u64, client = %"192.0.2.1:4", "login");
        tracing::error!("somewhere else");
        tracing::debug!(target: TARGET, "not worth a line");
        tracing::info!(target: TRAFFIC, user = "bob", "login");
        tracing::info!(target: TRAFFIC_ALONE, kind = "trap", "sink failed");
        tracing::warn!(target: TARGET, why = "x\r\ny".repeat(1_000), at = "forged", "denied");
    });
    audit.close();
    let lines = lines(directory.path());
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((&lines[0]["what"], &lines[0]["user"], &lines[0]["count"]), (&"login".into(), &"ann".into(), &7.into()));
    assert_eq!((lines[0]["client"].as_str(), lines[0].get("empty")), (Some("192.0.2.1:4"), None));
    assert_eq!(lines[1]["why"].as_str().map(str::len), Some(VALUE_BYTES_MAX));
    let traffic = self::lines(&directory.path().join(TRAFFIC_FOLDER));
    assert_eq!((&traffic[0]["user"], &traffic[1]["kind"], traffic.len()), (&"bob".into(), &"trap".into(), 2));
    assert!(lines[1]["at"].as_str().is_some_and(|at| at.starts_with("20")), "a field is no time: {}", lines[1]);
}

const BEFORE: &str = "version = 1\n\
    [[sink]]\nname = \"scan\"\ndigest = \"DIGEST1\"\ngrants = [\"read-body\", \"dns\"]\nenabled = false\n\
    [sink.config]\nkey = \"old-password\"\n\
    [[sink]]\nname = \"gone\"\ndigest = \"DIGEST1\"\n\
    [[binding]]\nsink = \"scan\"\nevent = \"on-end-of-data\"\n";

const AFTER: &str = "version = 1\n\
    [[sink]]\nname = \"scan\"\ndigest = \"DIGEST2\"\ngrants = [\"read-body\", \"discard\"]\n\
    [sink.config]\nkey = \"new-password\"\n\
    [[sink]]\nname = \"new\"\ndigest = \"DIGEST1\"\ngrants = [\"http=scan.example:443\"]\n\
    [[binding]]\nsink = \"scan\"\nevent = \"on-end-of-data\"\non-failure = \"skip\"\n\
    [[binding]]\nsink = \"new\"\nevent = \"on-submission\"\n";

fn registry(text: &str) -> RegistryFile {
    let text = text.replace("DIGEST1", &"1".repeat(64)).replace("DIGEST2", &"2".repeat(64));
    RegistryFile::parse(&text, Path::new("registry.toml")).expect("right")
}

#[test]
fn an_edit_is_told_by_what_it_gives_and_takes_and_no_value_of_a_configuration() {
    let directory = tempfile::tempdir().expect("a directory");
    let facts = changes(&registry(BEFORE), &registry(AFTER));
    append(&options(directory.path()), "root", facts).expect("written");
    let lines = lines(directory.path());
    let told: Vec<&str> = lines.iter().filter_map(|line| line["what"].as_str()).collect();
    assert_eq!(told, ["sink changed", "sink registered", "sink removed", "binding changed", "binding added"]);
    assert_eq!(lines[0]["grants-given"], serde_json::json!(["discard"]));
    assert_eq!(lines[0]["grants-taken"], serde_json::json!(["dns"]));
    assert_eq!((&lines[0]["enabled"], &lines[0]["by"]), (&true.into(), &"root".into()));
    assert_eq!(lines[0]["digest"], "2".repeat(64));
    assert_eq!(lines[0]["changed"], serde_json::json!(["config"]));
    assert_eq!(lines[1]["grants"], serde_json::json!(["http=scan.example:443"]));
    assert_eq!(lines[3]["on-failure"], "skip");
    assert!(!lines.iter().any(|line| line.to_string().contains("password")), "{lines:?}");
    assert_eq!(changes(&registry(AFTER), &registry(AFTER)), []);
}

#[test]
fn two_processes_write_into_one_file_and_no_line_is_torn() {
    let directory = tempfile::tempdir().expect("a directory");
    let audit = Audit::start(Some(options(directory.path()))).expect("starts");
    let layer = audit.layer();
    with_default(tracing_subscriber::registry().with(layer), || {
        for number in 0..100_u64 {
            tracing::info!(target: TARGET, number, "login");
            let fact = Fact::new("sink changed").with("number", number);
            append(&options(directory.path()), "root", vec![fact]).expect("written");
        }
    });
    audit.close();
    assert_eq!(lines(directory.path()).len(), 200);
}

#[test]
fn nothing_is_written_through_a_link_or_into_a_file_with_another_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, other) = (directory.path().join("log"), directory.path().join("other"));
    fs::write(&other, "theirs\n").expect("written");
    append(&options(&log), "root", vec![Fact::new("a")]).expect("written");
    let file = crate::journal::files::list(&log).expect("readable").remove(0).path;
    fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink(&other, &file).expect("made");
    assert!(append(&options(&log), "root", vec![Fact::new("b")]).is_err(), "a link is not followed");
    fs::remove_file(&file).expect("removed");
    fs::hard_link(&other, &file).expect("made");
    assert!(append(&options(&log), "root", vec![Fact::new("c")]).is_err(), "nor has it two names");
    assert_eq!(fs::read_to_string(&other).expect("readable"), "theirs\n");
}
