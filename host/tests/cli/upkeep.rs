//! `basin spool` and `basin trace` where something is wrong: what a person is told.

use std::fs;

use tempfile::TempDir;

use crate::folder::{complaint, folder, printed};
use crate::page;

// Without the name of the test's folder, which is another one each time.
fn told(dir: &TempDir, arguments: &[&str]) -> String {
    complaint(dir, arguments).replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn what_is_wrong_with_a_backup_or_a_spool_is_said() {
    let dir = folder();
    let mut found = vec![
        ("a check of what is not there", told(&dir, &["spool", "check", "nowhere"])),
        ("a backup of a spool that is not there", told(&dir, &["spool", "backup", "copy"])),
        ("a restore into a spool that is not there", told(&dir, &["spool", "restore", "registry"])),
    ];
    fs::create_dir(dir.path().join("spool")).expect("the folder is new");
    found.push(("a restore of what is no backup", told(&dir, &["spool", "restore", "registry"])));
    crate::queue::put_held_message(&dir);
    found.push(("a backup over other files", told(&dir, &["spool", "backup", "registry"])));
    assert!(printed(&dir, &["spool", "backup", "copy"]).contains("no damage found"));
    found.push(("a restore over mail", told(&dir, &["spool", "restore", "copy"])));
    assert_eq!(printed(&dir, &["queue", "list"]).lines().count(), 3, "the mail is there as before");
    page::compare("spool", found.iter().map(|(what, message)| (*what, message.as_str())));
}

#[test]
fn a_search_that_finds_nothing_says_where_it_looked() {
    let dir = folder();
    fs::create_dir_all(dir.path().join("spool/tracking")).expect("the folder is new");
    let found = [
        ("a search for nothing", told(&dir, &["trace"])),
        ("an id that nobody knows", told(&dir, &["trace", "00063a1f2c4d5e-89ab12cd34ef5678"])),
        ("a sender that nobody knows", told(&dir, &["trace", "--sender", "nobody@example.org"])),
    ];
    page::compare("trace", found.iter().map(|(what, message)| (*what, message.as_str())));
}

#[test]
fn a_check_names_the_addresses_that_the_machine_does_not_have() {
    let dir = folder();
    let file = dir.path().join("basin.toml");
    let text = fs::read_to_string(&file).expect("the folder has one");
    // RFC 5737: an address for documentation is no machine's own.
    let sources = "[[source]]\nname = \"here\"\naddresses = [\"127.0.0.1\"]\n\
                   [[source]]\nname = \"gone\"\naddresses = [\"192.0.2.55\"]\n";
    fs::write(&file, format!("{text}\n{sources}")).expect("written");
    let told = printed(&dir, &["check"]);
    assert!(told.contains("source       gone: 192.0.2.55\n"), "{told}");
    assert!(told.contains("warning: source gone: this machine does not have 192.0.2.55"), "{told}");
    assert!(!told.contains("source here: this machine"), "{told}");
}
