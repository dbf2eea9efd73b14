//! Torn writes and flipped bits: what is whole is there, what is not is set aside, and the spool starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use basin_core::mail::{Body, MessageId};
use basin_core::transport::State;
use basin_spool::fault::FaultyStorage;
use basin_spool::storage::Storage;
use basin_spool::{DamageKind, OpenError, RealStorage, Spool};

use crate::support::{assert_there, commit, id, message, message_with, open, options, remove, save};

const SEGMENT: &str = "/spool/segments/0000000001.seg";

// A segment with three messages, one of them saved again, and one removed.
fn segment() -> Vec<u8> {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    for number in 1..=4 {
        commit(&spool, message(number, 90)).expect("room");
    }
    save(&spool, message(2, 80), State::default()).expect("room");
    remove(&spool, id(4)).expect("room");
    spool.close();
    storage.octets(Path::new(SEGMENT)).expect("the first segment")
}

fn storage_with(segment: &[u8]) -> FaultyStorage {
    let storage = FaultyStorage::new();
    storage.put(Path::new(SEGMENT), segment);
    storage
}

fn set_aside(storage: &FaultyStorage) -> Vec<PathBuf> {
    storage.paths().into_iter().filter(|path| path.starts_with("/spool/damaged")).collect()
}

// Each message that is there has to be one that was stored, octet for octet.
fn assert_all_true(spool: &Spool) -> Vec<MessageId> {
    for id in spool.ids() {
        let (found, _) = spool.load(&id).expect("readable").expect("there");
        let number = (1..=4).find(|&number| crate::support::id(number) == id).expect("one that was stored");
        let body = crate::support::all(&found.body);
        let is_old_state = number == 2 && body == crate::support::octets(2, 80);
        assert!(is_old_state || body == crate::support::octets(number, 90));
        assert_eq!(found.envelope, message(number, 0).envelope);
    }
    spool.ids()
}

#[test]
fn a_segment_cut_at_any_length_gives_what_was_whole() {
    let whole = segment();
    let mut most = 0;
    for len in 0..=whole.len() {
        let storage = storage_with(&whole[..len]);
        let (spool, recovery) = open(&storage).expect("a torn segment never keeps the spool from opening");
        let ids = assert_all_true(&spool);
        most = most.max(ids.len());
        assert!(recovery.damaged.len() <= 1, "{recovery:?}");
        assert!(recovery.damaged.iter().all(|damage| damage.kind == DamageKind::TornTail), "{recovery:?}");
        commit(&spool, message(9, 50)).expect("the spool works");
        drop(spool);
        if len % 8 != 0 {
            continue;
        }
        let (spool, again) = open(&storage).expect("opens again");
        assert!(again.damaged.is_empty(), "reported twice at {len}: {again:?}");
        assert_eq!(spool.ids().len(), ids.len() + 1);
    }
    assert_eq!(most, 4, "before its removal the fourth message was there");
}

#[test]
fn a_flipped_octet_costs_at_most_the_message_it_is_in() {
    let whole = segment();
    for at in 0..whole.len() {
        let mut octets = whole.clone();
        octets[at] ^= 0x20;
        let storage = storage_with(&octets);
        let (spool, recovery) = open(&storage).expect("damage never keeps the spool from opening");
        let ids = assert_all_true(&spool);
        assert_eq!(recovery.damaged.len(), 1, "octet {at}: {recovery:?}");
        let lost = (1..=3).filter(|&number| !ids.contains(&id(number))).count();
        assert!(lost <= 1, "octet {at} cost {lost} messages");
        assert!(recovery.damaged[0].set_aside.is_some() && !set_aside(&storage).is_empty());
        drop(spool);
        if at % 8 != 3 {
            continue;
        }
        // What was lost was copied first, whatever became of the segment since.
        let kept = set_aside(&storage).iter().any(|path| {
            let copy = storage.octets(path).expect("there");
            octets.windows(copy.len()).any(|window| window == copy)
        });
        assert!(kept, "octet {at}");
        let (spool, again) = open(&storage).expect("opens again");
        assert_eq!(spool.ids(), ids);
        assert!(again.damaged.is_empty(), "octet {at} is reported twice: {again:?}");
    }
}

#[test]
fn a_damaged_segment_is_left_by_its_messages() {
    let mut octets = segment();
    let middle = octets.len() / 2;
    octets[middle] ^= 1;
    let storage = storage_with(&octets);
    let (spool, recovery) = open(&storage).expect("opens");
    let text = recovery.damaged[0].to_string();
    assert!(text.contains("0000000001.seg at octet") && text.contains("set aside as /spool/damaged/"), "{text}");
    commit(&spool, message(4, 90)).expect("room");
    let ids = spool.ids();
    spool.close();
    assert!(!storage.paths().contains(&SEGMENT.into()), "the damaged segment is still needed");
    drop(spool);
    let (spool, _) = open(&storage).expect("opens again");
    assert_eq!(assert_all_true(&spool), ids);
}

#[test]
fn octets_that_look_like_a_record_inside_a_message_are_none() {
    let forged = segment();
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    commit(&spool, message_with(1, Body::from_bytes(forged[32..1_500].to_vec()))).expect("room");
    commit(&spool, message(2, 90)).expect("room");
    spool.close();
    let mut octets = storage.octets(Path::new(SEGMENT)).expect("there");
    // The frame of the first record: the reader has to look for the next one inside the message.
    octets[50] ^= 1;
    storage.put(Path::new(SEGMENT), &octets);
    drop(spool);
    let (spool, recovery) = open(&storage).expect("opens");
    assert_eq!(spool.ids(), [id(2)]);
    assert_eq!(recovery.damaged.len(), 1);
}

#[test]
fn a_message_without_its_body_file_is_set_aside() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    commit(&spool, message(1, 9_000)).expect("room");
    commit(&spool, message(2, 9_000)).expect("room");
    spool.close();
    drop(spool);
    let body = storage.paths().into_iter().find(|path| path.starts_with("/spool/bodies")).expect("a body");
    storage.remove(&body).expect("there");
    let (spool, recovery) = open(&storage).expect("opens");
    assert_eq!(recovery.damaged.len(), 1);
    assert_eq!(recovery.damaged[0].kind, DamageKind::BodyMissing);
    assert_eq!(recovery.damaged[0].message, Some(id(1).to_string()));
    assert_eq!(spool.ids(), [id(2)]);
}

#[test]
fn a_body_file_without_a_message_is_set_aside() {
    let storage = FaultyStorage::new();
    let name = format!("{}.7", id(1));
    storage.put(&Path::new("/spool/bodies").join(&name), b"a body");
    let (_spool, recovery) = open(&storage).expect("opens");
    let kept = PathBuf::from(format!("/spool/damaged/body-{name}"));
    assert_eq!(recovery.orphan_bodies, std::slice::from_ref(&kept));
    assert_eq!(storage.octets(&kept), Some(b"a body".to_vec()));
}

#[test]
fn a_body_that_rots_on_disk_is_noticed_when_it_is_read() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    commit(&spool, message(1, 9_000)).expect("room");
    let body = storage.paths().into_iter().find(|path| path.starts_with("/spool/bodies")).expect("a body");
    let mut octets = storage.octets(&body).expect("there");
    octets[100] ^= 1;
    storage.put(&body, &octets);
    let fault = spool.load(&id(1)).expect_err("damaged");
    assert!(fault.to_string().ends_with("the checksum of its body is wrong"), "{fault}");
    assert_eq!(spool.statistics().damaged, 1);
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let mut octets = segment();
    octets[8] = 9;
    // Magic, version, number and mark, without the checksum between them.
    let covered: Vec<u8> = octets[..12].iter().chain(&octets[16..32]).copied().collect();
    let crc = crc32fast::hash(&covered).to_le_bytes();
    octets[12..16].copy_from_slice(&crc);
    let error = open(&storage_with(&octets)).err().expect("refused");
    assert!(matches!(error, OpenError::NewerFormat { found: 9, known: 2, .. }), "{error}");
    assert!(error.to_string().contains(SEGMENT), "{error}");
}

#[test]
fn a_second_spool_in_the_directory_is_refused() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    assert!(matches!(open(&storage).err(), Some(OpenError::Locked { .. })));
    drop(spool);
    assert!(open(&storage).is_ok());
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_that_says_what_to_do() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let error = Spool::open(&file.path().join("spool"), options(), Arc::new(RealStorage)).err().expect("refused");
    let text = error.to_string();
    assert!(text.starts_with("cannot make directory /") && text.contains("writable by the user"), "{text}");
}

#[test]
fn messages_behind_a_damaged_place_are_read() {
    let whole = segment();
    let mut octets = whole;
    // A whole sector of the first record turns to zeros.
    octets[100..400].fill(0);
    let (spool, recovery) = open(&storage_with(&octets)).expect("opens");
    assert_eq!(recovery.damaged.len(), 1);
    assert_there(&spool, &message(3, 90), &State::default());
}
