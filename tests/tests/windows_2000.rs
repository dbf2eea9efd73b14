//! The page for those who come from the event sinks of Windows 2000: that what it names is in `wit/`.

#![allow(clippy::panic, reason = "a test says what is wrong")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use wit_parser::{Resolve, TypeDefKind};

/// What every table of the page begins with.
const HEADING: &str = "| original | Basin | note |";

/// Fewest rows: a page whose tables are not found must not pass.
const ROWS_MIN: usize = 200;

struct Row {
    original: String,
    basin: String,
    note: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rows() -> Vec<Row> {
    let page = fs::read_to_string(root().join("docs/windows-2000-event-sinks.md")).expect("the page is there");
    let mut is_inside = false;
    let mut rows = Vec::new();
    for line in page.lines() {
        is_inside = line == HEADING || is_inside && line.starts_with('|');
        if !is_inside || line == HEADING || line.starts_with("|---") {
            continue;
        }
        let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let [original, basin, note] = cells.try_into().unwrap_or_else(|_| panic!("three cells: {line}"));
        rows.push(Row { original, basin, note });
    }
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    rows
}

fn spans(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Every name of the contract: interfaces, functions, types, their cases, fields and methods.
fn names() -> BTreeSet<String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join("wit")).expect("wit/ is one package that parses");
    let mut names = BTreeSet::new();
    for (interface_name, id) in &resolve.packages[package].interfaces {
        names.insert(interface_name.clone());
        let interface = &resolve.interfaces[*id];
        // Methods are called "[method]mail-msg.sender".
        let bare = |name: &str| name.split_once(']').map_or(name, |(_, bare)| bare).to_owned();
        names.extend(interface.functions.keys().map(|name| format!("{interface_name}.{}", bare(name))));
        for (type_name, id) in &interface.types {
            let place = format!("{interface_name}.{type_name}");
            let kind = &resolve.types[*id].kind;
            if let TypeDefKind::Record(of) = kind {
                names.extend(of.fields.iter().map(|field| format!("{place}.{}", field.name)));
            } else if let TypeDefKind::Variant(of) = kind {
                names.extend(of.cases.iter().map(|case| format!("{place}.{}", case.name)));
            } else if let TypeDefKind::Enum(of) = kind {
                names.extend(of.cases.iter().map(|case| format!("{place}.{}", case.name)));
            }
            names.insert(place);
        }
    }
    names
}

#[test]
fn what_stands_for_something_of_the_original_is_in_the_contract() {
    let names = names();
    let mut wrong = Vec::new();
    for row in rows() {
        let named: Vec<_> = spans(&row.basin).collect();
        if named.is_empty() && row.basin != "none" {
            wrong.push(format!("{}: neither a name nor \"none\"", row.original));
        }
        wrong.extend(
            named.iter().filter(|name| !names.contains(**name)).map(|name| format!("{}: {name}", row.original)),
        );
    }
    assert!(wrong.is_empty(), "not in wit/: {wrong:#?}");
}

#[test]
fn where_nothing_stands_for_it_the_row_says_why() {
    let silent: Vec<_> = rows().into_iter().filter(|row| row.basin == "none" && row.note.is_empty()).collect();
    assert!(silent.is_empty(), "no reason: {:?}", silent.iter().map(|row| &row.original).collect::<Vec<_>>());
}

#[test]
fn every_event_has_a_row() {
    let rows = rows();
    let told: BTreeSet<_> =
        rows.iter().flat_map(|row| spans(&row.basin)).filter(|name| name.starts_with("on-")).collect();
    let missing: Vec<_> = names().into_iter().filter(|name| name.starts_with("on-") && !name.contains('.')).collect();
    let missing: Vec<_> = missing.iter().filter(|name| !told.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "no row: {missing:?}");
}
