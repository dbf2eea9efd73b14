//! Check, repair, upgrade, backup and restore.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use basin_core::mail::{MessageId, Outcome};
use basin_core::transport::{Stage, State};
use basin_spool::fault::{Fault, FaultyStorage};
use basin_spool::{BackupError, DamageKind, OpenError, Spool, Storage, back_up, check, repair, restore, upgrade};

use crate::support::{ROOT, all, assert_there, commit, id, message, open, options, remove, save};

const BACKUP: &str = "/backup";

fn shared(storage: &FaultyStorage) -> Arc<dyn Storage> {
    Arc::new(storage.clone())
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<MessageId> {
    numbers.into_iter().map(id).collect()
}

fn segments(storage: &FaultyStorage) -> Vec<PathBuf> {
    storage.paths().into_iter().filter(|path| path.parent() == Some(Path::new("/spool/segments"))).collect()
}

// Some small messages, one with a body of its own, in several segments.
fn filled(count: u64) -> FaultyStorage {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("opens");
    for number in 0..count {
        let body_len = if number == 3 { 9_000 } else { 700 };
        commit(&spool, message(number, body_len)).expect("stored");
    }
    spool.close();
    storage
}

fn place_of(storage: &FaultyStorage, number: u64) -> (PathBuf, usize) {
    let name = id(number).to_string();
    let find = |path: PathBuf| {
        let octets = storage.octets(&path)?;
        let at = octets.windows(name.len()).position(|octets| octets == name.as_bytes())?;
        Some((path, at))
    };
    segments(storage).into_iter().find_map(find).expect("in a segment")
}

#[test]
fn a_check_changes_nothing_and_finds_damage_in_records_and_bodies() {
    let storage = filled(20);
    let before: Vec<_> = storage.paths().into_iter().map(|path| (storage.octets(&path), path)).collect();
    let checked = check(Path::new(ROOT), shared(&storage)).expect("readable");
    assert_eq!((checked.messages, checked.damaged.len()), (20, 0));
    assert!(before.iter().all(|(octets, path)| storage.octets(path) == *octets));
    let body = storage.paths().into_iter().find(|path| path.starts_with("/spool/bodies")).expect("one");
    storage.overwrite(&body, 5_000, b"!");
    let (segment, at) = place_of(&storage, 7);
    storage.overwrite(&segment, at + 60, b"!");
    let checked = check(Path::new(ROOT), shared(&storage)).expect("readable");
    assert_eq!((checked.messages, checked.damaged.len()), (18, 2), "{:?}", checked.damaged);
    assert!(checked.damaged.iter().any(|damage| damage.kind == DamageKind::Body && damage.found_in == body));
    assert!(checked.damaged.iter().all(|damage| damage.set_aside.is_none()));
    assert!(!storage.paths().iter().any(|path| path.starts_with("/spool/damaged")));
}

#[test]
fn a_repair_keeps_all_that_can_be_read_and_sets_the_rest_aside() {
    let storage = filled(20);
    // A bad sector, a flipped octet, a body that rotted.
    let (bad, at) = place_of(&storage, 8);
    storage.spoil(&bad, at + 600..at + 601);
    let (segment, at) = place_of(&storage, 15);
    assert_ne!(bad, segment);
    storage.overwrite(&segment, at + 60, b"!");
    let body = storage.paths().into_iter().find(|path| path.starts_with("/spool/bodies")).expect("one");
    storage.overwrite(&body, 5_000, b"!");
    let repaired = repair(Path::new(ROOT), options(), shared(&storage)).expect("opens");
    assert!(repaired.fault.is_none(), "{:?}", repaired.fault);
    assert_eq!(repaired.set_aside.len(), 1, "the one whose record is whole");
    let saved = storage.octets(&repaired.set_aside[0].1).expect("written");
    assert!(saved.len() > 9_000 && saved.starts_with(b"X-Basin-Sender: <a@client.example>\r\n"));
    // A sector of 4 KiB takes its neighbours along; all in other sectors are there.
    assert!(storage.octets(&Path::new("/spool/damaged").join(bad.file_name().expect("named"))).is_some());
    let (spool, recovery) = open(&storage).expect("opens");
    assert!(recovery.damaged.is_empty(), "nothing is left to find: {:?}", recovery.damaged);
    assert_eq!(spool.ids().len(), repaired.messages);
    for number in (0..20).filter(|number| ![3, 15].contains(number)) {
        if spool.contains(&id(number)) {
            assert_there(&spool, &message(number, 700), &State::default());
        } else {
            assert!(number.abs_diff(8) <= 4, "message {number} is far from the sector");
        }
    }
    assert!(repaired.messages >= 12, "{}", repaired.messages);
}

#[test]
fn a_bad_first_sector_does_not_hide_the_rest_of_the_segment() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("opens");
    // Below 8 KiB, so they share a segment.
    (0..9).for_each(|number| drop(commit(&spool, message(number, 100)).expect("stored")));
    drop(spool);
    storage.spoil(&segments(&storage)[0], 3..4);
    let repaired = repair(Path::new(ROOT), options(), shared(&storage)).expect("opens");
    let (spool, _) = open(&storage).expect("opens");
    assert!(repaired.messages > 0 && spool.contains(&id(8)));
}

#[test]
fn a_repair_that_is_cut_off_anywhere_loses_nothing() {
    let mut at = 0;
    loop {
        let storage = filled(6);
        let (segment, place) = place_of(&storage, 1);
        storage.overwrite(&segment, place + 60, b"!");
        storage.fail_at(at, Fault::PowerCut);
        let operations = storage.operations();
        let whole = repair(Path::new(ROOT), options(), shared(&storage)).is_ok_and(|repaired| repaired.fault.is_none());
        let is_past = storage.operations() - operations <= at;
        storage.heal();
        storage.restart(at);
        let (spool, _) = open(&storage).expect("opens");
        for number in [0, 2, 4, 5] {
            assert_there(&spool, &message(number, 700), &State::default());
        }
        if is_past {
            assert!(whole);
            return;
        }
        at += 1;
    }
}

#[test]
fn a_backup_of_a_spool_in_use_is_one_moment_of_it() {
    let storage = filled(12);
    let (spool, _) = open(&storage).expect("opens");
    let pin = spool.pin().expect("pinned");
    // What happens while files are copied: everything that is there goes, and the log moves on.
    (0..12).for_each(|number| remove(&spool, id(number)).expect("removed"));
    (20..40).for_each(|number| drop(commit(&spool, message(number, 700)).expect("stored")));
    let backup = back_up(Path::new(ROOT), pin.files(), Path::new(BACKUP), None, &shared(&storage)).expect("copied");
    drop(pin);
    assert!(backup.bytes > 12 * 700);
    let checked = check(Path::new(BACKUP), shared(&storage)).expect("readable");
    assert_eq!((checked.messages, checked.damaged.len()), (12, 0), "{:?}", checked.damaged);
    let restored = restore(Path::new(BACKUP), Path::new("/other"), false, &shared(&storage)).expect("restored");
    assert_eq!((restored.bytes, restored.files()), (backup.bytes, backup.files()));
    drop(spool);
    let (spool, recovery) = Spool::open(Path::new("/other"), options(), shared(&storage)).expect("opens");
    assert!(recovery.damaged.is_empty() && recovery.orphan_bodies.is_empty(), "{recovery:?}");
    assert_eq!(spool.ids(), ids(0..12));
    assert_there(&spool, &message(3, 9_000), &State::default());
    drop(spool);
    let (spool, _) = open(&storage).expect("opens");
    assert_eq!(spool.ids(), ids(20..40));
    let again = restore(Path::new(BACKUP), Path::new("/other"), false, &shared(&storage));
    assert!(matches!(again, Err(BackupError::NotEmpty(_))));
}

#[test]
fn a_second_backup_shares_what_did_not_change() {
    let storage = filled(12);
    let (spool, _) = open(&storage).expect("opens");
    let copy = |target: &str, previous: Option<&str>| {
        let pin = spool.pin().expect("pinned");
        let previous = previous.map(Path::new);
        back_up(Path::new(ROOT), pin.files(), Path::new(target), previous, &shared(&storage)).expect("copied")
    };
    let first = copy("/first", None);
    commit(&spool, message(50, 100)).expect("stored");
    let second = copy("/second", Some("/first"));
    assert_eq!(first.bytes_shared, 0);
    // All but the segment that is written to.
    assert!(second.bytes_shared > 12 * 700 && second.bytes - second.bytes_shared < 1_500, "{second:?}");
    assert_eq!(check(Path::new("/second"), shared(&storage)).expect("readable").messages, 13);
    assert_eq!(check(Path::new("/first"), shared(&storage)).expect("readable").messages, 12);
}

#[test]
fn half_a_backup_and_a_damaged_one_are_refused_and_nothing_is_restored() {
    let storage = filled(4);
    let (spool, _) = open(&storage).expect("opens");
    let pin = spool.pin().expect("pinned");
    storage.fail_at(9, Fault::Full);
    let failed = back_up(Path::new(ROOT), pin.files(), Path::new("/half"), None, &shared(&storage));
    assert!(matches!(failed, Err(BackupError::File { .. })));
    let refused = restore(Path::new("/half"), Path::new("/other"), false, &shared(&storage));
    assert!(matches!(refused, Err(BackupError::NoBackup(_))));
    back_up(Path::new(ROOT), pin.files(), Path::new(BACKUP), None, &shared(&storage)).expect("copied");
    storage.overwrite(Path::new("/backup/segments/0000000001.seg"), 200, b"!");
    let refused = restore(Path::new(BACKUP), Path::new("/other"), false, &shared(&storage));
    assert!(matches!(refused, Err(BackupError::Damaged(_))));
    assert_eq!(check(Path::new("/other"), shared(&storage)).expect("readable").messages, 0);
    restore(Path::new(BACKUP), Path::new("/other"), true, &shared(&storage)).expect("all the same");
    assert_eq!(check(Path::new("/other"), shared(&storage)).expect("readable").messages, 3);
}

#[test]
fn a_backup_that_was_cut_off_gives_back_what_it_still_has() {
    let storage = filled(4);
    let (spool, _) = open(&storage).expect("opens");
    let pin = spool.pin().expect("pinned");
    back_up(Path::new(ROOT), pin.files(), Path::new(BACKUP), None, &shared(&storage)).expect("copied");
    let segment = Path::new("/backup/segments/0000000001.seg");
    let octets = storage.octets(segment).expect("there");
    storage.put(segment, &octets[..octets.len() - 100]);
    let refused = restore(Path::new(BACKUP), Path::new("/other"), false, &shared(&storage));
    assert!(matches!(refused, Err(BackupError::Damaged(_))));
    restore(Path::new(BACKUP), Path::new("/other"), true, &shared(&storage)).expect("all the same");
    assert_eq!(check(Path::new("/other"), shared(&storage)).expect("readable").messages, 3);
}

// What examples/spool_fixture.rs wrote with the program of version 1.
fn version_1() -> FaultyStorage {
    let storage = FaultyStorage::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-1");
    for folder in ["segments", "bodies"] {
        for entry in std::fs::read_dir(fixture.join(folder)).expect("there") {
            let entry = entry.expect("listed");
            let path = Path::new(ROOT).join(folder).join(entry.file_name());
            storage.put(&path, &std::fs::read(entry.path()).expect("readable"));
        }
    }
    storage
}

fn assert_version_1_is_there(spool: &Spool) {
    let mut found = Vec::new();
    spool.scan(|row| found.push(row.expect("readable")));
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let stages: Vec<&Stage> = found.iter().map(|row| &row.state.stage).collect();
    let is_as_written = matches!(
        stages[..],
        [Stage::Delivery, Stage::Delivery, Stage::Bad { .. }, Stage::Submission, Stage::Submission, Stage::Held { .. }]
    );
    assert!(is_as_written, "{stages:?}");
    let (large, state) = spool.load(&found[0].id).expect("readable").expect("there");
    assert_eq!(all(&large.body), b"A line of a large body.\r\n".repeat(60));
    assert_eq!((state.attempts, large.envelope.recipients.len()), (2, 2));
    let outcomes: Vec<&Outcome> = large.envelope.recipients.iter().map(|one| &one.outcome).collect();
    assert!(matches!(outcomes[..], [Outcome::Delivered { .. }, Outcome::Deferred { .. }]), "{outcomes:?}");
    assert_eq!((found[1].priority, found[2].deliver_after.is_some()), (2, true));
    assert_eq!(found[3].envelope.sender, None);
}

#[test]
fn the_oldest_format_opens_and_goes_on() {
    let storage = version_1();
    assert_eq!(check(Path::new(ROOT), shared(&storage)).expect("readable").segments_older, 3);
    let (spool, recovery) = open(&storage).expect("opens");
    assert!(recovery.damaged.is_empty() && recovery.messages == 6, "{recovery:?}");
    assert_version_1_is_there(&spool);
    commit(&spool, message(1, 100)).expect("stored");
    let first = spool.ids().into_iter().find(|one| *one != id(1)).expect("some");
    let (loaded, state) = spool.load(&first).expect("readable").expect("there");
    save(&spool, loaded, State { attempts: 3, ..state }).expect("saved");
    drop(spool);
    let (spool, _) = open(&storage).expect("opens");
    assert_eq!(spool.load(&first).expect("readable").expect("there").1.attempts, 3);
    assert_eq!(spool.ids().len(), 7);
}

#[test]
fn an_upgrade_leaves_no_segment_of_the_older_format() {
    let storage = version_1();
    let upgraded = upgrade(Path::new(ROOT), options(), shared(&storage)).expect("opens");
    assert_eq!((upgraded.messages, upgraded.segments_left), (6, 3));
    assert!(upgraded.fault.is_none());
    assert_eq!(check(Path::new(ROOT), shared(&storage)).expect("readable").segments_older, 0);
    assert_version_1_is_there(&open(&storage).expect("opens").0);
}

#[test]
fn a_newer_format_is_refused_by_each_tool() {
    let storage = version_1();
    let path = segments(&storage).remove(0);
    let mut octets = storage.octets(&path).expect("there");
    octets[8] = 99;
    let covered: Vec<u8> = octets[..12].iter().chain(&octets[16..32]).copied().collect();
    octets[12..16].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    storage.put(&path, &octets);
    let is_refused = |error: Option<OpenError>| matches!(error, Some(OpenError::NewerFormat { found: 99, .. }));
    assert!(is_refused(check(Path::new(ROOT), shared(&storage)).err()));
    assert!(is_refused(repair(Path::new(ROOT), options(), shared(&storage)).err()));
    assert!(is_refused(upgrade(Path::new(ROOT), options(), shared(&storage)).err()));
    assert_eq!(storage.octets(&path), Some(octets), "nothing was changed");
}
