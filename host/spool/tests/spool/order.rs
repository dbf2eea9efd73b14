//! What happens in which order: groups, removals that are written again, room that is given back under load.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use basin_core::mail::{Body, Field};
use basin_core::transport::State;
use basin_spool::fault::{Fault, FaultyStorage};
use basin_spool::{Options, Spool};

use crate::support::{ROOT, all, assert_there, commit, id, message, message_with, octets, open, options, remove};

/// Holds the writer in a callback, so that what is queued meanwhile becomes one group.
fn hold_writer(spool: &Spool) -> mpsc::Sender<()> {
    let (go, gone) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    spool.remove(id(999_999), move |_| {
        tell.send(()).expect("the test waits");
        gone.recv().expect("the test lets it go");
    });
    told.recv().expect("the writer works");
    go
}

fn segments(storage: &FaultyStorage) -> usize {
    storage.paths().iter().filter(|path| path.starts_with("/spool/segments")).count()
}

#[test]
fn a_message_stored_again_after_its_removal_stays_though_the_old_removal_is_written_again() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    // The first segment stays because of a few messages, and has a record of message 3.
    for number in 0..2 {
        commit(&spool, message_with(number, Body::from_bytes(octets(0, 1_900)))).expect("room");
    }
    commit(&spool, message(3, 500)).expect("room");
    for number in 10..20 {
        commit(&spool, message(number, 1_500)).expect("room");
    }
    // Its removal lies in a segment that goes before the first one, and is then written again.
    remove(&spool, id(3)).expect("room");
    for number in 20..40 {
        commit(&spool, message(number, 1_500)).expect("room");
    }
    // A notification has the same id in each repetition.
    commit(&spool, message(3, 700)).expect("room");
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
    assert_there(&spool, &message(3, 700), &State::default());
    // And its second removal outlives the first segment too.
    remove(&spool, id(3)).expect("room");
    for number in 60..90 {
        commit(&spool, message(number, 1_500)).expect("room");
        remove(&spool, id(number)).expect("room");
    }
    spool.close();
    storage.restart(10);
    let (spool, _) = open(&storage).expect("recovers");
    assert!(!spool.contains(&id(3)), "{:?}", spool.ids());
}

#[test]
fn room_is_given_back_while_messages_come_and_go_without_a_pause() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    for number in 0..80 {
        let go = hold_writer(&spool);
        let (tell, told) = mpsc::channel();
        spool.commit(message(number + 1, 1_500), State::default(), move |result| {
            tell.send(result).expect("the test waits");
        });
        spool.remove(id(number), |_| ());
        go.send(()).expect("the writer waits");
        told.recv().expect("told").expect("room");
    }
    let there = segments(&storage);
    assert!(there <= 4, "{there} segments for one message");
}

#[test]
fn removals_are_synced_in_time_though_others_follow_without_a_pause() {
    fn remove_next(spool: &Spool, number: u64, tell: mpsc::Sender<u64>) {
        let again = spool.clone();
        spool.remove(id(number), move |_| match number {
            1 => tell.send(again.statistics().syncs).expect("the test waits"),
            _ => remove_next(&again, number - 1, tell),
        });
    }
    let storage = FaultyStorage::new();
    let at_once = Options { idle_sync: Duration::ZERO, ..options() };
    let (spool, _) = Spool::open(Path::new(ROOT), at_once, Arc::new(storage)).expect("empty");
    (1..20).for_each(|number| drop(commit(&spool, message(number, 10)).expect("room")));
    let before = spool.statistics().syncs;
    let (tell, told) = mpsc::channel();
    remove_next(&spool, 19, tell);
    let after = told.recv().expect("told");
    assert!(after > before, "no sync in {before} operations");
}

#[test]
fn a_large_body_is_synced_by_its_caller_and_not_by_the_writer() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    let go = hold_writer(&spool);
    let (tell, told) = mpsc::channel();
    spool.commit(message(1, 50_000), State::default(), move |result| tell.send(result).expect("the test waits"));
    let syncs = |log: &[String]| log.iter().filter(|line| line.starts_with("sync_data /spool/drafts")).count();
    assert_eq!(syncs(&storage.log()), 1, "before the writer has seen it");
    go.send(()).expect("the writer waits");
    told.recv().expect("told").expect("room");
    assert_eq!(syncs(&storage.log()), 1);
    // A body that cannot be synced never comes to the writer, and leaves nothing.
    let operations = storage.operations();
    spool.commit(message(3, 50_000), State::default(), |_| ());
    spool.close();
    let of_one = storage.log().into_iter().skip(usize::try_from(operations).expect("small"));
    let at = of_one.into_iter().position(|line| line.starts_with("sync_data /spool/drafts")).expect("it is synced");
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    storage.fail_at(at as u64, Fault::Io);
    commit(&spool, message(3, 50_000)).expect_err("its body is not on disk");
    let left = |folder: &str| storage.paths().iter().filter(|path| path.starts_with(folder)).count();
    assert_eq!((left("/spool/drafts"), left("/spool/bodies")), (0, 0));
}

#[test]
fn a_state_made_for_another_body_is_not_stored_on_the_new_one() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    let first = message(1, 5_000);
    commit(&spool, first.clone()).expect("room");
    let second = message_with(1, Body::from_bytes(octets(2, 6_000)));
    let mut third = first;
    let field = Field::new("X-Late", "yes").expect("valid");
    Arc::make_mut(&mut third.header).insert(0, field).expect("fits");
    let go = hold_writer(&spool);
    let (tell, told) = mpsc::channel();
    for (saved, is_first) in [(second.clone(), true), (third, false)] {
        let tell = tell.clone();
        spool.save(saved, State::default(), move |result| tell.send((is_first, result)).expect("the test waits"));
    }
    go.send(()).expect("the writer waits");
    for _ in 0..2 {
        let (is_first, result) = told.recv().expect("told");
        assert_eq!(result.is_ok(), is_first, "the body that the second one stands on is gone: {result:?}");
    }
    assert_there(&spool, &second, &State::default());
    spool.close();
    storage.restart(4);
    let (spool, recovery) = open(&storage).expect("recovers");
    assert!(recovery.damaged.is_empty(), "{:?}", recovery.damaged);
    let (found, _) = spool.load(&id(1)).expect("readable").expect("there");
    assert!(all(&found.body) == all(&second.body));
}

#[test]
fn a_segment_that_cannot_be_read_to_its_end_is_not_cut() {
    let storage = FaultyStorage::new();
    let large = Options { segment_bytes: 8 * 1024 * 1024, ..options() };
    let start = || Spool::open(Path::new(ROOT), large.clone(), Arc::new(storage.clone())).expect("opens");
    let (spool, _) = start();
    // More than is read at a time.
    for number in 0..900 {
        spool.commit(message(number, 1_500), State::default(), |result| drop(result.expect("room")));
    }
    drop(spool);
    let path = Path::new("/spool/segments/0000000001.seg");
    // A bad sector in the middle, and one at the end.
    let len = storage.octets(path).expect("there").len();
    storage.spoil(path, 1_200_000..1_200_001);
    storage.spoil(path, len - 10..len);
    let (spool, recovery) = start();
    assert_eq!(recovery.damaged.len(), 2, "{:?}", recovery.damaged);
    assert!((890..900).contains(&recovery.messages), "{}", recovery.messages);
    storage.mend(path);
    drop(spool);
    let (spool, _) = start();
    assert_eq!(spool.ids().len(), 900, "the disk gives everything back again");
}

#[test]
fn a_large_body_whose_record_is_damaged_is_set_aside_and_not_removed() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    commit(&spool, message(1, 100)).expect("room");
    let (tell, told) = mpsc::channel();
    let large = message_with(1, Body::from_bytes(octets(2, 6_000)));
    spool.save(large, State::default(), move |result| tell.send(result).expect("the test waits"));
    told.recv().expect("told").expect("room");
    spool.close();
    let segment = Path::new("/spool/segments/0000000001.seg");
    let mut damaged = storage.octets(segment).expect("there");
    let last = damaged.len() - 20;
    damaged[last] ^= 0x40;
    storage.put(segment, &damaged);
    storage.restart(1);
    let (_spool, recovery) = open(&storage).expect("recovers");
    let aside: Vec<PathBuf> = storage.paths().into_iter().filter(|path| path.starts_with("/spool/damaged/")).collect();
    assert_eq!(recovery.orphan_bodies.len(), 1, "{aside:?}");
    assert!(aside.contains(&recovery.orphan_bodies[0]), "{aside:?}");
}
