//! Every storage operation fails in turn, and the power goes at every one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use basin_core::mail::{Field, Message, MessageId};
use basin_core::transport::{Stage, State};
use basin_spool::fault::{Fault, FaultyStorage};
use basin_spool::{Options, Spool, SpoolFault};

use crate::support::{ROOT, all, assert_there, commit, id, message, open, options, remove, save};

/// What the caller was promised.
#[derive(Default)]
struct Ledger {
    /// Stored, perhaps with one newer form whose save did not succeed.
    stored: BTreeMap<MessageId, Vec<Message>>,
    /// Removed, perhaps without success.
    removed: Vec<MessageId>,
}

// A life with small and large bodies, saves, removals, several segments, rewriting and a restart.
fn scenario(storage: &FaultyStorage, ledger: &mut Ledger) {
    for round in 0..2 {
        let Ok((spool, _)) = open(storage) else { continue };
        for number in round * 32..round * 32 + 14 {
            let len = if number % 5 == 0 { 5_000 } else { 1_200 };
            let stored = message(number, len);
            if commit(&spool, stored.clone()).is_ok() {
                ledger.stored.insert(stored.id.clone(), vec![stored]);
            }
        }
        for number in [round * 32 + 1, round * 32 + 5] {
            let Some(forms) = ledger.stored.get_mut(&id(number)) else { continue };
            let mut changed = forms[0].clone();
            let field = Field::new("X-Changed", "yes").expect("valid");
            Arc::make_mut(&mut changed.header).insert(0, field).expect("fits");
            match save(&spool, changed.clone(), State::default()) {
                Ok(()) => *forms = vec![changed],
                Err(_) => forms.push(changed),
            }
        }
        for number in (round * 32..round * 32 + 14).filter(|number| number % 4 != 1) {
            if ledger.stored.remove(&id(number)).is_some() {
                ledger.removed.push(id(number));
                // Whether it succeeds or not, the message may be there or gone.
                remove(&spool, id(number)).ok();
            }
        }
        commit(&spool, message(round * 32 + 20, 10)).ok();
        spool.close();
    }
}

fn assert_kept(spool: &Spool, ledger: &Ledger, what: &str) {
    for (id, forms) in &ledger.stored {
        let found = spool.load(id).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let (found, _) = found.unwrap_or_else(|| panic!("{what}: {id} is lost"));
        let is_form = |form: &Message| form.header == found.header && all(&form.body) == all(&found.body);
        assert!(forms.iter().any(is_form), "{what}: {id} changed");
    }
}

// A group may have been written with the one before it, so that there are fewer operations than the last time.
fn operation(storage: &FaultyStorage, n: u64) -> String {
    storage.log().into_iter().nth(usize::try_from(n).expect("small")).unwrap_or_default()
}

fn operations_of_scenario() -> u64 {
    let storage = FaultyStorage::new();
    let mut ledger = Ledger::default();
    scenario(&storage, &mut ledger);
    assert_eq!(ledger.stored.len(), 8);
    storage.operations()
}

#[test]
fn nothing_acknowledged_is_lost_whatever_operation_fails() {
    let operations = operations_of_scenario();
    for fault in [Fault::Io, Fault::Full, Fault::Short] {
        for n in 0..operations {
            let storage = FaultyStorage::new();
            storage.fail_at(n, fault);
            let mut ledger = Ledger::default();
            scenario(&storage, &mut ledger);
            storage.heal();
            if fault == Fault::Short && !operation(&storage, n).starts_with("write_at") {
                // Only a write can be short; for all others it is the same as `Fault::Io`.
                continue;
            }
            let what = format!("{fault:?} at operation {n}, {}", operation(&storage, n));
            // The disk works again: so does the spool, and everything is there before and after a power cut.
            let (spool, _) = open(&storage).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_kept(&spool, &ledger, &what);
            commit(&spool, message(99, 3_000)).unwrap_or_else(|fault| panic!("{what}: {fault}"));
            drop(spool);
            storage.restart(n);
            let (spool, recovery) = open(&storage).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_kept(&spool, &ledger, &what);
            assert_there(&spool, &message(99, 3_000), &State::default());
            let lost: Vec<_> = recovery.damaged.iter().filter(|damage| damage.message.is_some()).collect();
            assert!(lost.is_empty(), "{what}: {lost:?}");
        }
    }
}

#[test]
fn a_spool_goes_on_after_any_operation_has_failed_once() {
    // The same, without the restart that `scenario` has between: one spool lives through the fault.
    let storage = FaultyStorage::new();
    let live = |storage: &FaultyStorage, spool: &Spool| -> Vec<u64> {
        let stored: Vec<u64> = (0..12).filter(|&n| commit(spool, message(n, 900)).is_ok()).collect();
        (0..12).filter(|n| n % 3 == 0).for_each(|n| drop(remove(spool, id(n))));
        assert!(storage.operations() > 0);
        stored
    };
    let (spool, _) = open(&storage).expect("empty");
    let opened = storage.operations();
    live(&storage, &spool);
    let operations = storage.operations() - opened;
    for fault in [Fault::Io, Fault::Short] {
        for n in 0..operations {
            let storage = FaultyStorage::new();
            let (spool, _) = open(&storage).expect("empty");
            storage.fail_at(n, fault);
            let stored = live(&storage, &spool);
            assert!(stored.len() >= 11, "one fault at {n} cost {stored:?}");
            let kept: Vec<u64> = stored.into_iter().filter(|n| n % 3 != 0).collect();
            kept.iter().for_each(|&n| assert_there(&spool, &message(n, 900), &State::default()));
            spool.close();
            storage.restart(n);
            let (spool, _) = open(&storage).expect("recovers");
            kept.iter().for_each(|&n| assert_there(&spool, &message(n, 900), &State::default()));
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_goes() {
    let operations = operations_of_scenario();
    for n in 0..operations {
        for seed in 0..2 {
            let storage = FaultyStorage::new();
            storage.fail_at(n, Fault::PowerCut);
            let mut ledger = Ledger::default();
            scenario(&storage, &mut ledger);
            let what = format!("power cut at operation {n}, {}", operation(&storage, n));
            storage.restart(n * 2 + seed);
            let (spool, recovery) = open(&storage).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_kept(&spool, &ledger, &what);
            let lost: Vec<_> = recovery.damaged.iter().filter(|damage| damage.message.is_some()).collect();
            assert!(lost.is_empty(), "{what}: {lost:?}");
            // The power goes again while the first start tidies up.
            drop(spool);
            storage.restart(seed);
            let (spool, _) = open(&storage).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_kept(&spool, &ledger, &what);
        }
    }
}

#[test]
fn removals_that_were_synced_stay_whenever_the_power_goes() {
    let run = |storage: &FaultyStorage| -> bool {
        let Ok((spool, _)) = open(storage) else { return false };
        (0..30).for_each(|n| drop(commit(&spool, message(n, 1_500))));
        (1..30).for_each(|n| drop(remove(&spool, id(n))));
        // This one is durable, and so is everything before it.
        let is_synced = commit(&spool, message(50, 10)).is_ok();
        (60..90).for_each(|n| drop(commit(&spool, message(n, 1_500))));
        (60..90).for_each(|n| drop(remove(&spool, id(n))));
        spool.close();
        is_synced
    };
    let storage = FaultyStorage::new();
    run(&storage);
    let operations = storage.operations();
    for n in 0..operations {
        let storage = FaultyStorage::new();
        storage.fail_at(n, Fault::PowerCut);
        let is_synced = run(&storage);
        storage.restart(n);
        let (spool, _) = open(&storage).expect("recovers");
        let back: Vec<u64> = (1..30).filter(|&n| spool.contains(&id(n))).collect();
        assert!(!is_synced || back.is_empty(), "after a cut at {n}: {back:?} came back");
    }
}

#[test]
fn a_full_disk_refuses_mail_lets_it_drain_and_recovers_without_restart() {
    let storage = FaultyStorage::new();
    let reserve = Options { free_bytes_min: 20_000, ..options() };
    let (spool, _) = Spool::open(Path::new(ROOT), reserve, Arc::new(storage.clone())).expect("empty");
    storage.set_capacity(Some(60_000));
    let mut stored = Vec::new();
    let fault = loop {
        let number = stored.len() as u64;
        match commit(&spool, message(number, 1_500)) {
            Ok(_) => stored.push(number),
            Err(fault) => break fault,
        }
        assert!(stored.len() < 100, "the disk never got full");
    };
    assert!(matches!(fault, SpoolFault::Full(_)), "{fault}");
    assert_eq!(fault.reply().to_string(), "452 4.3.1 insufficient system storage, try again later");
    let mut draft = spool.draft();
    assert!(matches!(draft.write(&[0; 40_000]), Err(SpoolFault::Full(_))));
    drop(draft);
    // The reserve lets what is there move on and out.
    let held = State { stage: Stage::Held { reason: "full".into(), then: Box::default() }, ..State::default() };
    for &number in &stored {
        save(&spool, message(number, 1_500), held.clone()).expect("the reserve is for this");
        remove(&spool, id(number)).expect("the reserve is for this");
    }
    storage.set_capacity(Some(200_000));
    commit(&spool, message(1_000, 1_500)).expect("there is room again");
    assert_there(&spool, &message(1_000, 1_500), &State::default());
    assert!(spool.statistics().last_fault.is_some_and(|fault| fault.contains("are kept for the mail")));
}

#[test]
fn a_disk_that_fills_in_the_middle_of_a_write_recovers_without_restart() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    commit(&spool, message(1, 1_500)).expect("room");
    let is_segment = |path: &std::path::PathBuf| path.starts_with("/spool/segments");
    let segments = storage.paths().into_iter().filter(is_segment).count();
    // After the question for free space.
    storage.fail_at(1, Fault::Short);
    let fault = commit(&spool, message(2, 1_500)).expect_err("full");
    assert!(matches!(fault, SpoolFault::Full(_)), "{fault}");
    commit(&spool, message(2, 1_500)).expect("room");
    assert!(storage.paths().into_iter().filter(is_segment).count() == segments);
    storage.restart(1);
    let (spool, recovery) = open(&storage).expect("recovers");
    assert_eq!((recovery.messages, recovery.damaged.len()), (2, 0), "{recovery:?}");
    assert_there(&spool, &message(2, 1_500), &State::default());
}

#[test]
fn a_full_disk_does_not_keep_the_spool_from_opening() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    commit(&spool, message(1, 1_500)).expect("room");
    drop(spool);
    storage.set_capacity(Some(1));
    let (spool, _) = open(&storage).expect("opens");
    assert_there(&spool, &message(1, 1_500), &State::default());
    assert!(matches!(commit(&spool, message(2, 10)), Err(SpoolFault::Full(_))));
    storage.set_capacity(None);
    commit(&spool, message(2, 10)).expect("room");
}

#[test]
fn a_failed_sync_fails_the_whole_group_and_is_not_tried_again() {
    let storage = FaultyStorage::new();
    let (spool, _) = open(&storage).expect("empty");
    commit(&spool, message(1, 100)).expect("room");
    // free space, write, sync
    storage.fail_at(2, Fault::Io);
    let (tell, told) = mpsc::channel();
    // The callback holds the writer, so that all of these are one group.
    let (go, gone) = mpsc::channel::<()>();
    let (hold, held) = mpsc::channel::<()>();
    spool.remove(id(77), move |_| {
        hold.send(()).expect("the test waits");
        gone.recv().expect("the test lets it go");
    });
    held.recv().expect("the writer is held: none of them is written with the removal");
    for number in 10..15 {
        let tell = tell.clone();
        spool.commit(message(number, 100), State::default(), move |result| {
            tell.send(result.map(drop)).expect("somebody waits");
        });
    }
    storage.fail_at(2, Fault::Io);
    go.send(()).expect("the writer waits");
    let results: Vec<_> = (0..5).map(|_| told.recv().expect("told")).collect();
    assert!(results.iter().all(Result::is_err), "{results:?}");
    commit(&spool, message(20, 100)).expect("the next commit works");
    spool.close();
    storage.restart(3);
    let (spool, _) = open(&storage).expect("recovers");
    assert_there(&spool, &message(1, 100), &State::default());
    assert_there(&spool, &message(20, 100), &State::default());
}
