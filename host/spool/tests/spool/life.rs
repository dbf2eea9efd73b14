//! What happens to messages while nothing goes wrong.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use basin_core::mail::{Body, Field};
use basin_core::transport::{Stage, State};
use basin_spool::fault::FaultyStorage;
use basin_spool::{Options, RealStorage, Spool, SpoolFault};

use crate::support::{
    ROOT, all, assert_same, assert_there, commit, id, message, message_with, octets, open, options, remove, save,
};

fn held() -> State {
    State { stage: Stage::Held { reason: "a test".into(), then: Box::new(Stage::Delivery) }, ..State::default() }
}

#[test]
fn a_message_is_there_after_its_receipt_and_after_a_power_cut() {
    let storage = FaultyStorage::new();
    let (spool, recovery) = open(&storage).expect("empty");
    assert_eq!(recovery.messages, 0);
    let receipt = commit(&spool, message(1, 700)).expect("room");
    assert_eq!(receipt.id(), &id(1));
    assert_there(&spool, &message(1, 700), &State::default());
    storage.restart(1);
    let (spool, recovery) = open(&storage).expect("recovers");
    assert_eq!((recovery.messages, recovery.damaged.len()), (1, 0));
    assert_there(&spool, &message(1, 700), &State::default());
}

#[test]
fn a_message_without_an_empty_line_comes_back_without_one() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    let mut bare = message(1, 0);
    bare.is_header_only = true;
    commit(&spool, bare.clone()).expect("room");
    let (loaded, _) = spool.load(&id(1)).expect("readable").expect("there");
    assert_eq!((loaded.separator(), loaded.size()), (&b""[..], bare.size()));
    assert_eq!(spool.list().first().map(|summary| summary.size), Some(bare.size()));
}

#[test]
fn a_save_keeps_the_body_without_writing_it_again() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    let mut changed = message(1, 1_800);
    commit(&spool, changed.clone()).expect("room");
    let before = spool.statistics().bytes;
    Arc::make_mut(&mut changed.header).insert(0, Field::new("X-New", "1").expect("valid")).expect("fits");
    save(&spool, changed.clone(), held()).expect("room");
    assert!(spool.statistics().bytes - before < 1_800, "the body was written again");
    assert_there(&spool, &changed, &held());
    // Read back, the body is still known to be the stored one.
    let (loaded, _) = spool.load(&id(1)).expect("readable").expect("there");
    let before = spool.statistics().bytes;
    save(&spool, loaded, State::default()).expect("room");
    assert!(spool.statistics().bytes - before < 1_800, "the body was written again");
    storage.restart(2);
    let (spool, _) = open(&storage).expect("recovers");
    assert_there(&spool, &changed, &State::default());
}

#[test]
fn a_save_with_another_body_stores_it() {
    for (before, after) in [(700, 900), (700, 9_000), (9_000, 700), (9_000, 9_001)] {
        let storage = FaultyStorage::new();
        let (spool, _) = open(&storage).expect("empty");
        commit(&spool, message(1, before)).expect("room");
        save(&spool, message(1, after), held()).expect("room");
        assert_there(&spool, &message(1, after), &held());
        storage.restart(3);
        let (spool, recovery) = open(&storage).expect("recovers");
        assert!(recovery.damaged.is_empty() && recovery.orphan_bodies.is_empty(), "{recovery:?}");
        assert_there(&spool, &message(1, after), &held());
        let bodies = storage.paths().iter().filter(|path| path.starts_with("/spool/bodies")).count();
        assert_eq!(bodies, usize::from(after > 2 * 1024));
    }
}

#[test]
fn a_removed_message_stays_removed() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    commit(&spool, message(1, 700)).expect("room");
    commit(&spool, message(2, 9_000)).expect("room");
    let syncs = spool.statistics().syncs;
    remove(&spool, id(1)).expect("room");
    remove(&spool, id(2)).expect("room");
    assert_eq!(spool.statistics().syncs, syncs, "a removal does not wait for the disk");
    assert_eq!(spool.load(&id(1)).map(|found| found.is_none()), Ok(true));
    remove(&spool, id(1)).expect("what is gone can be removed");
    spool.close();
    storage.restart(4);
    let (spool, recovery) = open(&storage).expect("recovers");
    assert_eq!((recovery.messages, recovery.damaged.len(), recovery.orphan_bodies.len()), (0, 0, 0));
    assert!(spool.ids().is_empty());
    assert!(!storage.paths().iter().any(|path| path.starts_with("/spool/bodies")));
}

#[test]
fn a_removal_is_synced_though_no_message_follows() {
    let storage = FaultyStorage::new();
    let soon = Options { idle_sync: Duration::from_millis(1), ..options() };
    let (spool, _) = Spool::open(Path::new(ROOT), soon, Arc::new(storage.clone())).expect("empty");
    commit(&spool, message(1, 9_000)).expect("room");
    remove(&spool, id(1)).expect("room");
    // The body file goes once the removal is durable, and not before.
    while storage.paths().iter().any(|path| path.starts_with("/spool/bodies")) {
        std::thread::yield_now();
    }
    storage.restart(5);
    let (spool, _) = open(&storage).expect("recovers");
    assert!(spool.ids().is_empty());
}

#[test]
fn a_message_committed_twice_is_there_once() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    commit(&spool, message(1, 700)).expect("room");
    let bytes = spool.statistics().bytes;
    assert_eq!(commit(&spool, message(1, 700)).expect("known").id(), &id(1));
    assert_eq!(spool.statistics().bytes, bytes);
    assert_eq!(spool.statistics().live_messages, 1);
}

#[test]
fn only_a_message_that_is_there_can_be_saved() {
    let (spool, _) = open(&FaultyStorage::new()).expect("empty");
    let unknown = SpoolFault::Unknown(id(1).to_string());
    assert_eq!(save(&spool, message(1, 10), State::default()), Err(unknown));
}

#[test]
fn a_large_draft_becomes_the_body_without_a_copy() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    let text = octets(5, 100_000);
    let mut draft = spool.draft();
    text.chunks(777).for_each(|chunk| draft.write(chunk).expect("room"));
    let content = draft.finish().expect("room");
    assert_eq!(content.len, 100_000);
    let writes = |log: &[String]| log.iter().filter(|line| line.starts_with("write_at /spool/drafts")).count();
    let before = writes(&storage.log());
    let sent = message_with(1, Body::window(content.octets.clone(), 60, content.len));
    let copy = message_with(2, Body::window(content.octets, 90_000, content.len));
    commit(&spool, sent.clone()).expect("room");
    assert_eq!(writes(&storage.log()), before, "the draft file is renamed, not copied");
    // The file belongs to the first message; a second one gets a copy.
    commit(&spool, copy.clone()).expect("room");
    assert_eq!(all(&sent.body), text[60..]);
    storage.restart(6);
    let (spool, recovery) = open(&storage).expect("recovers");
    assert_eq!((recovery.messages, recovery.drafts_removed), (2, 0));
    let (found, _) = spool.load(&id(1)).expect("readable").expect("there");
    assert!(all(&found.body) == text[60..]);
    let (found, _) = spool.load(&id(2)).expect("readable").expect("there");
    assert!(all(&found.body) == text[90_000..]);
}

#[test]
fn a_draft_that_comes_to_nothing_leaves_nothing() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    let mut draft = spool.draft();
    draft.write(&octets(1, 10_000)).expect("room");
    drop(draft);
    let mut draft = spool.draft();
    draft.write(&octets(1, 10_000)).expect("room");
    drop(draft.finish().expect("room"));
    let mut lost = spool.draft();
    lost.write(&octets(1, 10_000)).expect("room");
    std::mem::forget(lost);
    let drafts = |storage: &FaultyStorage| storage.paths().iter().filter(|p| p.starts_with("/spool/drafts")).count();
    assert_eq!(drafts(&storage), 1);
    spool.close();
    drop(spool);
    // A process that is killed leaves its drafts; the next start removes them.
    storage.put(std::path::Path::new("/spool/drafts/77"), b"half");
    storage.restart(0);
    let (_spool, recovery) = open(&storage).expect("recovers");
    assert!(recovery.drafts_removed >= 1);
    assert_eq!(drafts(&storage), 0);
}

#[test]
fn many_threads_share_syncs_on_a_real_disk() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("spool");
    let (spool, _) = Spool::open(&root, options(), Arc::new(RealStorage)).expect("empty");
    let (threads, each) = (16_u64, 40_u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let spool = spool.clone();
            scope.spawn(move || {
                for number in thread * each..(thread + 1) * each {
                    commit(&spool, message(number, 300)).expect("room");
                }
            });
        }
    });
    let statistics = spool.statistics();
    assert_eq!((statistics.commits, statistics.live_messages), (threads * each, threads * each));
    assert!(statistics.batches < statistics.commits, "{statistics:?}");
    let second = Spool::open(&root, options(), Arc::new(RealStorage)).err().expect("locked");
    assert!(second.to_string().contains("another process holds the lock file"), "{second}");
    drop(spool);
    let (spool, recovery) = Spool::open(&root, options(), Arc::new(RealStorage)).expect("unlocked");
    assert_eq!(recovery.messages as u64, threads * each);
    for number in 0..threads * each {
        assert_there(&spool, &message(number, 300), &State::default());
    }
    assert_eq!(spool.list().len() as u64, threads * each);
}

#[test]
fn segments_go_when_their_messages_are_gone() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    for number in 0..40 {
        commit(&spool, message(number, 1_500)).expect("room");
    }
    assert!(spool.statistics().segments >= 8, "{:?}", spool.statistics());
    for number in 0..40 {
        remove(&spool, id(number)).expect("room");
    }
    commit(&spool, message(99, 10)).expect("room");
    spool.close();
    assert!(spool.statistics().segments <= 2, "{:?}", spool.statistics());
    storage.restart(7);
    let (spool, recovery) = open(&storage).expect("recovers");
    assert_eq!(spool.ids(), [id(99)]);
    assert!(recovery.damaged.is_empty());
}

#[test]
fn the_few_live_messages_of_an_old_segment_move_out_of_it() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    for number in 0..60 {
        commit(&spool, message(number, 1_500)).expect("room");
    }
    let early = spool.load(&id(5)).expect("readable").expect("there").0;
    // One message of each segment stays; every second one had its state changed since.
    for number in (0..60).filter(|number| number % 5 != 0) {
        remove(&spool, id(number)).expect("room");
    }
    for number in (0..60).filter(|number| number % 10 == 0) {
        let (loaded, _) = spool.load(&id(number)).expect("readable").expect("there");
        save(&spool, loaded, held()).expect("room");
    }
    for number in 100..110 {
        commit(&spool, message(number, 1_500)).expect("room");
    }
    spool.close();
    let statistics = spool.statistics();
    assert!(statistics.moved_bytes > 0 && statistics.segments < 14, "{statistics:?}");
    assert_same(&early, &message(5, 1_500));
    let check = |spool: &Spool| {
        for number in (0..60).filter(|number| number % 5 == 0) {
            let state = if number % 10 == 0 { held() } else { State::default() };
            assert_there(spool, &message(number, 1_500), &state);
        }
        assert_eq!(spool.ids().len(), 22);
    };
    check(&spool);
    storage.restart(8);
    let (spool, recovery) = open(&storage).expect("recovers");
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    check(&spool);
}

#[test]
fn a_removal_outlives_the_segments_that_have_the_message() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    // The first segment has a message that stays, so that it stays itself, with the record of the other.
    let keep = octets(0, 1_900);
    for number in 0..2 {
        commit(&spool, message_with(number, Body::from_bytes(keep.clone()))).expect("room");
    }
    commit(&spool, message(3, 500)).expect("room");
    for number in 10..20 {
        commit(&spool, message(number, 1_500)).expect("room");
    }
    // The removal lies in a segment that goes long before the first.
    remove(&spool, id(3)).expect("room");
    for number in 20..40 {
        commit(&spool, message(number, 1_500)).expect("room");
    }
    for number in 10..40 {
        remove(&spool, id(number)).expect("room");
    }
    for number in 40..50 {
        commit(&spool, message(number, 1_500)).expect("room");
        remove(&spool, id(number)).expect("room");
    }
    spool.close();
    assert!(storage.paths().contains(&"/spool/segments/0000000001.seg".into()), "the test needs the first segment");
    storage.restart(9);
    let (spool, _) = open(&storage).expect("recovers");
    assert_eq!(spool.ids(), [id(0), id(1)]);
}

#[test]
fn operations_after_the_close_are_told_so() {
    let (spool, _) = open(&FaultyStorage::new()).expect("empty");
    spool.close();
    assert_eq!(commit(&spool, message(1, 10)).map(drop), Err(SpoolFault::Closed));
}

#[test]
fn a_callback_that_panics_harms_nobody_else() {
    let (spool, _) = open(&FaultyStorage::new()).expect("empty");
    spool.commit(message(1, 10), State::default(), |_| panic!("on purpose"));
    commit(&spool, message(2, 10)).expect("the writer lives");
    // The last handle may go on the writer's own thread.
    let (tell, told) = mpsc::channel();
    let last = spool.clone();
    spool.remove(id(1), move |result| {
        drop(last);
        tell.send(result).expect("somebody waits");
    });
    drop(spool);
    assert_eq!(told.recv().expect("told"), Ok(()));
}
