//! The pass over all messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use basin_core::mail::MessageId;
use basin_core::time::Timestamp;
use basin_core::transport::{Stage, State};
use basin_spool::fault::FaultyStorage;
use basin_spool::{Scanned, Spool};

use crate::support::{commit, id, message, open, remove, save};

fn all(spool: &Spool) -> BTreeMap<MessageId, Scanned> {
    let mut found = BTreeMap::new();
    spool.scan(|row| {
        let row = row.expect("readable");
        assert!(found.insert(row.id.clone(), row).is_none(), "a message came twice");
    });
    found
}

#[test]
fn every_message_comes_once_as_it_was_saved_last() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("opens");
    let mut wanted = Vec::new();
    for number in 0..40 {
        // Some bodies in the record, some in files of their own.
        let mut one = message(number, usize::try_from(number * 97).expect("small"));
        one.priority = i32::try_from(number % 3).expect("small") - 1;
        one.deliver_after = (number % 5 == 0).then(|| Timestamp::from_seconds(9));
        commit(&spool, one.clone()).expect("stored");
        wanted.push(one);
    }
    let state = State { stage: Stage::Bad { reason: "looks odd".into() }, attempts: 3, ..State::default() };
    let loaded = spool.load(&id(7)).expect("readable").expect("there").0;
    save(&spool, loaded, state.clone()).expect("saved");
    remove(&spool, id(9)).expect("removed");
    let check = |spool: &Spool| {
        let found = all(spool);
        assert_eq!(found.len(), 39);
        for one in wanted.iter().filter(|one| one.id != id(9)) {
            let row = &found[&one.id];
            assert_eq!((&row.envelope, &row.arrival), (one.envelope.as_ref(), one.arrival.as_ref()));
            assert_eq!((row.priority, row.deliver_after), (one.priority, one.deliver_after));
            assert_eq!(row.body_bytes, one.body.len());
            assert_eq!(row.size, one.header.to_bytes().len() as u64 + 2 + one.body.len());
            assert_eq!(row.state, if one.id == id(7) { state.clone() } else { State::default() });
        }
    };
    check(&spool);
    drop(spool);
    check(&open(&storage).expect("opens again").0);
}

#[test]
fn what_is_saved_and_removed_while_it_runs_is_given_once_or_not_at_all() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("opens");
    (0..20).for_each(|number| drop(commit(&spool, message(number, 500)).expect("stored")));
    let newer = State { attempts: 1, ..State::default() };
    let mut found = BTreeMap::new();
    spool.scan(|row| {
        let row = row.expect("readable");
        if found.is_empty() {
            for number in 10..20 {
                let loaded = spool.load(&id(number)).expect("readable").expect("there").0;
                save(&spool, loaded, newer.clone()).expect("saved");
            }
            remove(&spool, id(5)).expect("removed");
            commit(&spool, message(99, 10)).expect("stored");
        }
        assert!(found.insert(row.id, row.state).is_none(), "a message came twice");
    });
    let wanted = (0..20).filter(|&number| number != 5);
    let wanted = wanted.map(|number| (id(number), if number < 10 { State::default() } else { newer.clone() }));
    assert_eq!(found, wanted.collect());
}

#[test]
fn one_that_cannot_be_read_is_named_and_hides_no_other() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("opens");
    (0..5).for_each(|number| drop(commit(&spool, message(number, 100)).expect("stored")));
    let path = std::path::Path::new("/spool/segments/0000000001.seg");
    let octets = storage.octets(path).expect("there");
    let name = id(3).to_string();
    let at = octets.windows(name.len()).position(|octets| octets == name.as_bytes()).expect("in the record");
    storage.overwrite(path, at + 100, b"damage");
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    spool.scan(|row| match row {
        Ok(row) => good.push(row.id),
        Err(unreadable) => bad.push(unreadable.id),
    });
    assert_eq!(good, [id(0), id(1), id(2), id(4)]);
    assert_eq!(bad, [id(3)]);
}

#[test]
fn bodies_are_not_read() {
    let storage = FaultyStorage::new();
    let mut options = crate::support::options();
    (options.inline_bytes_max, options.segment_bytes) = (1024 * 1024, 64 * 1024 * 1024);
    let (spool, _) =
        Spool::open(std::path::Path::new(crate::support::ROOT), options, Arc::new(storage.clone())).expect("opens");
    (0..4).for_each(|number| drop(commit(&spool, message(number, 1024 * 1024)).expect("stored")));
    let before = storage.operations();
    assert_eq!(all(&spool).len(), 4);
    assert!(storage.operations() - before <= 4, "a window for each head, none for the bodies");
}
