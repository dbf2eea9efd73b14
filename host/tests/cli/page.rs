//! `docs/errors.md`, section by section.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Two tests that rewrite the page at once would lose one of their sections.
static PAGE: Mutex<()> = Mutex::new(());

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md")
}

/// Compares a section with the rows that the tests checked; rewrites it where `BLESS` is set.
pub(crate) fn compare<'a>(section: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut table = "| input | message |\n|---|---|\n".to_owned();
    for (what, message) in rows {
        // Two backquotes, because messages quote commands with one; a pipe would end the cell.
        table.push_str(&format!("| {what} | `` {} `` |\n", message.replace('|', "\\|")));
    }
    let _turn = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let page = fs::read_to_string(path()).expect("docs/errors.md is there");
    let (begin, end) = (format!("<!-- begin {section} -->\n"), format!("<!-- end {section} -->"));
    let (before, rest) = page.split_once(&begin).expect("the section begins");
    let (found, after) = rest.split_once(&end).expect("the section ends");
    if std::env::var_os("BLESS").is_some() {
        fs::write(path(), format!("{before}{begin}{table}{end}{after}")).expect("docs/errors.md can be written");
    } else {
        assert_eq!(found, table, "docs/errors.md, section {section}; run the tests with BLESS=1 to rewrite it");
    }
}
