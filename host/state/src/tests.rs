//! The tables as their users see them, against a model, and after a kill.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;

use basin_core::event::{TableEdits, TableValue};
use basin_core::limits::{RECEIPTS_BYTES_MAX, TABLE_VALUE_BYTES_MAX, TABLES_BYTES_MAX};
use proptest::prelude::*;

use crate::{Committed, StateError, Tables};

/// Where the child of the kill test finds its file.
const CHILD_FILE: &str = "BASIN_STATE_TEST_FILE";

// The clock stands, so that nothing is swept but what a full table pushes out.
fn try_open(path: &Path) -> Result<Tables, StateError> {
    Tables::open(path, || 0)
}

fn open(path: &Path) -> Tables {
    try_open(path).expect("it opens")
}

fn increment(tables: &Tables, key: &str, (by, life): (i64, u32), now: u64) -> Result<i64, StateError> {
    let (sender, sum) = channel();
    tables.increment("a", key, (by, life), now, move |answer| sender.send(answer).expect("somebody waits"));
    sum.recv().expect("an answer")
}

fn commit(tables: &Tables, edits: &TableEdits, now: u64) -> Committed {
    let (sender, committed) = channel();
    tables.commit(edits.clone(), None, now, move |answer| sender.send(answer).expect("somebody waits"));
    committed.recv().expect("an answer").expect("the storage works")
}

fn value(text: &str, life: u32) -> Option<TableValue> {
    Some(TableValue { octets: text.as_bytes().into(), life })
}

fn one(sink: &str, key: &str, new: Option<TableValue>, expected: Option<Option<&str>>) -> TableEdits {
    let mut edits = TableEdits::default();
    let expected = expected.map(|expected| expected.map(|text| Arc::from(text.as_bytes())));
    edits.set(sink, key, new, expected).expect("small");
    edits
}

fn get(tables: &Tables, sink: &str, key: &str, now: u64) -> Option<String> {
    let found = tables.get(sink, key, now).expect("the storage works");
    found.map(|octets| String::from_utf8_lossy(&octets).into_owned())
}

#[test]
fn a_value_lives_as_long_as_it_was_given_and_outlives_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let tables = open(&path);
    assert_eq!(commit(&tables, &one("a", "k", value("v", 10), None), 100), Committed::Written);
    assert_eq!(commit(&tables, &one("a", "ever", value("w", 0), None), 100), Committed::Written);
    drop(tables);
    let tables = open(&path);
    assert_eq!(get(&tables, "a", "k", 109).as_deref(), Some("v"));
    assert_eq!(get(&tables, "a", "k", 110), None);
    assert_eq!(get(&tables, "a", "ever", u64::MAX).as_deref(), Some("w"));
    assert_eq!(get(&tables, "b", "k", 100), None, "a sink sees its own table alone");
    assert_eq!(tables.keys("a", "", None, 9, 110).expect("the storage works"), ["ever"]);
}

#[test]
fn a_lost_race_writes_nothing_of_the_chain() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = open(&folder.path().join("state"));
    assert_eq!(commit(&tables, &one("a", "k", value("1", 0), Some(None)), 1), Committed::Written);
    let mut edits = one("a", "k", value("2", 0), Some(None));
    edits.set("b", "other", value("x", 0), None).expect("small");
    assert_eq!(commit(&tables, &edits, 1), Committed::Conflict { sink: "a".into(), key: "k".into() });
    assert_eq!(get(&tables, "b", "other", 1), None);
    assert_eq!(commit(&tables, &one("a", "k", None, Some(Some("1"))), 1), Committed::Written);
    assert_eq!(tables.used("a"), Ok(0), "what is removed counts no more");
}

#[test]
fn a_count_begins_its_life_with_the_first_addition_and_knows_its_limits() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let tables = open(&path);
    assert_eq!(increment(&tables, "n", (2, 10), 100), Ok(2));
    assert_eq!(increment(&tables, "n", (-5, 1_000), 105), Ok(-3));
    assert_eq!(increment(&tables, "n", (1, 10), 110), Ok(1), "the life was over");
    assert_eq!(get(&tables, "a", "n", 111).as_deref(), Some("1"));
    assert_eq!(increment(&tables, "m", (i64::MAX, 0), 1), Ok(i64::MAX));
    assert_eq!(increment(&tables, "m", (1, 0), 1), Err(StateError::Overflow));
    assert_eq!(commit(&tables, &one("a", "t", value("text", 0), None), 1), Committed::Written);
    assert_eq!(increment(&tables, "t", (1, 0), 1), Err(StateError::NoNumber));
    drop(tables);
    assert_eq!(get(&open(&path), "a", "n", 111).as_deref(), Some("1"), "an orderly end loses no count");
}

#[test]
fn a_sink_cannot_pass_its_quota_and_what_is_over_makes_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = open(&folder.path().join("state"));
    let large = "x".repeat(TABLE_VALUE_BYTES_MAX);
    let fits = TABLES_BYTES_MAX / (TABLE_VALUE_BYTES_MAX as u64 + 40);
    let put = |number: u64, now| commit(&tables, &one("a", &format!("{number:08}"), value(&large, 50), None), now);
    for number in 0..fits {
        assert_eq!(put(number, 100), Committed::Written);
    }
    assert!(matches!(put(fits, 149), Committed::Conflict { .. }));
    assert_eq!(put(0, 100), Committed::Written, "a value can be replaced in a full table");
    assert_eq!(commit(&tables, &one("b", "k", value("v", 0), None), 149), Committed::Written, "others have their own");
    assert_eq!(put(fits, 150), Committed::Written);
    assert_eq!(tables.used("a"), Ok(TABLE_VALUE_BYTES_MAX as u64 + 40));
}

fn try_commit_raised(tables: &Tables, edits: &TableEdits, raising: &str, now: u64) -> Result<Committed, StateError> {
    let (sender, committed) = channel();
    tables.commit(edits.clone(), Some(raising), now, move |answer| sender.send(answer).expect("somebody waits"));
    committed.recv().expect("an answer")
}

fn commit_raised(tables: &Tables, edits: &TableEdits, raising: &str) -> Committed {
    try_commit_raised(tables, edits, raising, 1).expect("the storage works")
}

fn take_back(tables: &Tables, raising: &str) {
    take_back_at(tables, raising, 1);
}

fn take_back_at(tables: &Tables, raising: &str, now: u64) {
    let (sender, done) = channel();
    tables.take_back(raising, now, move |answer| sender.send(answer).expect("somebody waits"));
    done.recv().expect("an answer").expect("the storage works");
}

fn counted(tables: &Tables) -> String {
    get(tables, "a", "count", 1).unwrap_or_default()
}

#[test]
fn a_repeated_event_sees_what_it_saw_before_the_crash_and_counts_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let tables = open(&path);
    commit(&tables, &one("a", "count", value("5", 0), None), 1);
    let mut edits = one("a", "count", value("6", 0), Some(Some("5")));
    edits.set("a", "seen", value("m", 9), None).expect("small");
    assert_eq!(commit_raised(&tables, &edits, "m/on-submission"), Committed::Written);
    assert_eq!(counted(&tables), "6");
    drop(tables);
    let tables = open(&path);
    assert!(tables.is_raised("m/on-submission"), "the receipt outlives the process");
    take_back(&tables, "m/on-submission");
    assert_eq!((counted(&tables).as_str(), get(&tables, "a", "seen", 1)), ("5", None));
    assert_eq!(commit_raised(&tables, &edits, "m/on-submission"), Committed::Written);
    tables.forget("m/", &[]);
    assert!(!tables.is_raised("m/on-submission"));
    take_back(&tables, "m/on-submission");
    assert_eq!(counted(&tables), "6", "what has passed is not taken back");
    assert_eq!(tables.used(basin_core::event::receipt::RECEIPTS), Ok(0));
}

#[test]
fn what_another_event_built_upon_stays_and_the_repetition_does_not_write_it_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let tables = open(&path);
    let mut edits = one("a", "count", value("1", 0), None);
    edits.set("a", "seen", value("m", 0), None).expect("small");
    commit_raised(&tables, &edits, "m/on-submission");
    commit_raised(&tables, &one("a", "count", value("2", 0), None), "n/on-submission");
    drop(tables);
    let tables = open(&path);
    take_back(&tables, "m/on-submission");
    assert_eq!((counted(&tables).as_str(), get(&tables, "a", "seen", 1)), ("2", None));
    let mut edits = one("a", "count", value("3", 0), Some(Some("7")));
    edits.set("a", "seen", value("m", 0), None).expect("small");
    assert_eq!(commit_raised(&tables, &edits, "m/on-submission"), Committed::Written, "its condition counts no more");
    assert_eq!((counted(&tables).as_str(), get(&tables, "a", "seen", 1).as_deref()), ("2", Some("m")));
    take_back(&tables, "n/on-submission");
    assert_eq!(counted(&tables), "1", "nobody built upon the other one");
    assert_eq!(tables.raised_by(), ["m".to_owned(), "n".to_owned()].into());
    drop(tables);
    let tables = open(&path);
    tables.forget("m/", &[]);
    assert!(tables.is_raised("m/on-submission"), "no record of this process knows of it");
}

#[test]
fn a_value_that_ended_while_the_server_was_away_is_taken_back_and_set_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let tables = open(&path);
    commit(&tables, &one("a", "k", value("former", 0), None), 1);
    let edits = one("a", "k", value("new", 60), Some(Some("former")));
    commit_raised(&tables, &edits, "m/on-submission");
    drop(tables);
    let tables = open(&path);
    assert_eq!(get(&tables, "a", "k", 121), None);
    take_back_at(&tables, "m/on-submission", 121);
    assert_eq!(get(&tables, "a", "k", 121).as_deref(), Some("former"));
    assert_eq!(commit_raised(&tables, &edits, "m/on-submission"), Committed::Written);
    assert_eq!(get(&tables, "a", "k", 60).as_deref(), Some("new"), "the repetition writes");
}

#[test]
fn receipts_are_forgotten_by_message_and_not_before_a_record_knows_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = open(&folder.path().join("state"));
    for raising in ["m/on-local-delivery/0", "m/on-local-delivery/1", "m-1/on-submission"] {
        commit_raised(&tables, &one("a", raising, value("v", 0), None), raising);
    }
    tables.forget("m/", &["m/on-local-delivery/1".to_owned()]);
    let left = ["m-1/on-submission", "m/on-local-delivery/1"];
    assert_eq!(left.map(|raising| tables.is_raised(raising)), [true; 2]);
    assert!(!tables.is_raised("m/on-local-delivery/0"));
    // Read back in the order of the jobs.
    commit(&tables, &one("a", "k", value("v", 0), None), 1);
    let stored = tables.keys(basin_core::event::receipt::RECEIPTS, "", None, 9, 1).expect("the storage works");
    assert_eq!(stored, left);
}

#[test]
fn the_receipts_of_a_message_that_left_stay_until_it_cannot_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = open(&folder.path().join("state"));
    commit_raised(&tables, &one("a", "k", value("v", 0), None), "m/on-local-delivery/0");
    tables.forget_later("m/", 1_000);
    tables.forget_later("n/", 1_129);
    assert!(tables.is_raised("m/on-local-delivery/0"));
    tables.forget_later("n/", 1_130);
    assert!(!tables.is_raised("m/on-local-delivery/0"));
}

#[test]
fn events_that_replace_much_wait_for_records_and_the_others_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = open(&folder.path().join("state"));
    let replacing = |number: u64| {
        let mut edits = one("a", "last", value(&number.to_string(), 0), None);
        let large = number.to_string().repeat(TABLE_VALUE_BYTES_MAX / 4);
        (0..15).for_each(|key| edits.set("a", &key.to_string(), value(&large, 0), None).expect("small"));
        edits
    };
    let raise = |number: u64, now| {
        try_commit_raised(&tables, &replacing(number), &format!("m{number}/on-local-delivery/0"), now)
    };
    let receipts = || tables.used(basin_core::event::receipt::RECEIPTS).expect("the storage works");
    let raised = (1_000..2_000).take_while(|number| raise(*number, 1) == Ok(Committed::Written)).count() as u64;
    let room = RECEIPTS_BYTES_MAX / 2;
    assert!((room..room + TABLES_BYTES_MAX).contains(&receipts()), "{} after {raised} events", receipts());
    assert!(matches!(raise(3_000, 1), Err(StateError::Unavailable(_))));
    let last = (999 + raised).to_string();
    assert_eq!(get(&tables, "a", "last", 1), Some(last), "a refused event has set nothing");
    assert_eq!(commit_raised(&tables, &one("b", "k", value("v", 0), None), "n/on-submission"), Committed::Written);
    // Nobody is deferred for ever: what left makes room, sooner than where there is enough.
    (1_000..1_000 + raised).for_each(|number| tables.forget_later(&format!("m{number}/"), 10));
    assert!(matches!(raise(3_000, 11), Err(StateError::Unavailable(_))));
    assert_eq!(raise(3_000, 12), Ok(Committed::Written));
    assert!(receipts() < room / 8, "{}", receipts());
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let tables = open(&path);
    for number in 0..200 {
        commit(&tables, &one("a", &number.to_string(), value(&"x".repeat(2_000), 0), None), 1);
    }
    assert!(matches!(try_open(&path), Err(StateError::Unavailable(_))), "one process has it at a time");
    drop(tables);
    let mut octets = std::fs::read(&path).expect("readable");
    for place in (4_096..octets.len()).step_by(512) {
        octets[place] ^= 0x55;
    }
    std::fs::write(&path, &octets).expect("writable");
    assert!(matches!(try_open(&path), Err(StateError::Unavailable(_))));
    std::fs::write(&path, "no database").expect("writable");
    assert!(matches!(try_open(&path), Err(StateError::Unavailable(_))));
    assert_eq!(std::fs::read(&path).expect("readable"), b"no database");
}

/// What is killed: it writes pairs until then and says which are on disk. A test, because a test binary can start
/// itself; without its file it has nothing to do.
#[test]
fn child_that_writes_pairs() {
    let Some(path) = std::env::var_os(CHILD_FILE) else { return };
    let tables = open(Path::new(&path));
    for number in 1.. {
        let mut edits = one("a", "left", value(&number.to_string(), 0), None);
        edits.set("b", "right", value(&number.to_string(), 0), None).expect("small");
        commit(&tables, &edits, 1);
        increment(&tables, "count", (1, 0), 1).expect("the storage works");
        println!("pair {number}");
        std::io::stdout().flush().expect("somebody reads");
    }
}

#[test]
fn a_kill_leaves_all_that_was_acknowledged_and_no_half_of_a_chain() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let mut acknowledged = 0;
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "tests::child_that_writes_pairs", "--nocapture"])
            .env(CHILD_FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let pairs = said.filter_map(|line| line.split("pair ").nth(1)?.trim().parse::<u64>().ok());
        let last = pairs.take(round * 7).last().expect("it writes");
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        let tables = open(&path);
        let left = get(&tables, "a", "left", 1).expect("acknowledged");
        assert_eq!(get(&tables, "b", "right", 1).as_ref(), Some(&left), "both or none");
        assert!(left.parse::<u64>().expect("a number") >= last);
        acknowledged += last;
        let counted = get(&tables, "a", "count", 1).map_or(0, |count| count.parse().expect("a number"));
        // Every commit syncs the counts before it; only those of the last moment of each round can be gone.
        assert!(counted + u64::from(u32::try_from(round).expect("small")) >= acknowledged, "{counted} {acknowledged}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, u8, u32),
    Remove(u8),
    Swap(u8, Option<u8>, u8),
    Add(u8, i8, u32),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8, 0..3_u8, 0..5_u32).prop_map(|(key, value, life)| Step::Set(key, value, life)),
        (0..4_u8).prop_map(Step::Remove),
        (0..4_u8, proptest::option::of(0..3_u8), 0..3_u8).prop_map(|(key, old, new)| Step::Swap(key, old, new)),
        (0..4_u8, any::<i8>(), 0..5_u32).prop_map(|(key, by, life)| Step::Add(key, by, life)),
        (0..3_u8).prop_map(Step::Wait),
    ]
}

/// The same in ten lines: key to value and end.
#[derive(Default)]
struct Model(BTreeMap<String, (String, u64)>);

impl Model {
    fn get(&self, key: &str, now: u64) -> Option<String> {
        self.0.get(key).filter(|(_, end)| *end == 0 || *end > now).map(|(value, _)| value.clone())
    }

    fn set(&mut self, key: &str, value: String, life: u32, now: u64) {
        self.0.insert(key.to_owned(), (value, if life == 0 { 0 } else { now + u64::from(life) }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_table_does_what_its_model_does(steps in proptest::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().expect("a folder");
        let tables = open(&folder.path().join("state"));
        let (mut model, mut now) = (Model::default(), 1_u64);
        for step in steps {
            match step {
                Step::Set(key, new, life) => {
                    let key = key.to_string();
                    commit(&tables, &one("a", &key, value(&new.to_string(), life), None), now);
                    model.set(&key, new.to_string(), life, now);
                }
                Step::Remove(key) => {
                    commit(&tables, &one("a", &key.to_string(), None, None), now);
                    model.0.remove(&key.to_string());
                }
                Step::Swap(key, old, new) => {
                    let (key, old) = (key.to_string(), old.map(|old| old.to_string()));
                    let edits = one("a", &key, value(&new.to_string(), 0), Some(old.as_deref()));
                    let is_written = commit(&tables, &edits, now) == Committed::Written;
                    prop_assert_eq!(is_written, model.get(&key, now) == old);
                    if is_written {
                        model.set(&key, new.to_string(), 0, now);
                    }
                }
                Step::Add(key, by, life) => {
                    let key = key.to_string();
                    let sum = increment(&tables, &key, (by.into(), life), now).expect("small numbers");
                    let before = model.get(&key, now);
                    let expected = before.as_ref().map_or(0, |number| number.parse().expect("a number")) + i64::from(by);
                    prop_assert_eq!(sum, expected);
                    match model.0.get_mut(&key).filter(|_| before.is_some()) {
                        Some((value, _)) => *value = expected.to_string(),
                        None => model.set(&key, expected.to_string(), life, now),
                    }
                }
                Step::Wait(seconds) => now += u64::from(seconds),
            }
            let live: Vec<String> = model.0.keys().filter(|key| model.get(key, now).is_some()).cloned().collect();
            prop_assert_eq!(tables.keys("a", "", None, 9, now).expect("the storage works"), live);
            for key in 0..4_u8 {
                let key = key.to_string();
                prop_assert_eq!(get(&tables, "a", &key, now), model.get(&key, now));
            }
        }
    }
}
