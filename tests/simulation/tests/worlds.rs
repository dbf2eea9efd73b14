//! A few hundred worlds; `make simulate` runs as many as wanted.

#![allow(clippy::panic, reason = "a broken world is a failed test")]

use basin_simulation::{Counts, run};

/// Worlds of a test run: enough that each kind of trouble meets each part many times. A world with timers lives for days,
/// which is more than an eighth of a second of a processor where nothing is optimised; two slow ones have to be done in two
/// minutes. What is counted below is counted for each world, so any number above is as good.
const SEEDS: u64 = 500;

#[test]
fn in_every_world_each_message_comes_to_its_end_once() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let counts: Vec<Counts> = std::thread::scope(|scope| {
        let part = |thread: u64| {
            move || {
                let mut counts = Counts::default();
                for seed in (thread..SEEDS).step_by(usize::try_from(threads).expect("small")) {
                    match run(seed) {
                        Ok(more) => counts.add(&more),
                        Err(finding) => panic!("seed {seed}: {finding}"),
                    }
                }
                counts
            }
        };
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(part(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a finding, see above")).collect()
    });
    let mut all = Counts::default();
    counts.iter().for_each(|counts| all.add(counts));
    // A world in which nothing goes wrong proves nothing.
    // Four to five messages a world, of which sinks refuse some in every second world.
    assert!(all.acknowledged > 5 * SEEDS / 2 && all.delivered > 3 * SEEDS, "{all:?}");
    assert!(all.power_cuts > SEEDS / 2 && all.disk_faults > SEEDS / 10 && all.broken > SEEDS / 10, "{all:?}");
    assert!(all.calls > 20 * SEEDS && all.failed_calls > SEEDS, "{all:?}");
    assert!(all.forks > SEEDS / 10 && all.children > SEEDS / 10 && all.expansions > SEEDS / 10, "{all:?}");
    assert!(all.remembered > 10 * SEEDS && all.taken_back > SEEDS / 20 && all.timers > SEEDS, "{all:?}");
    assert!(all.notices > SEEDS && all.blobs > SEEDS / 20 && all.logins > SEEDS / 10, "{all:?}");
    assert!(all.superseded > SEEDS / 50, "{all:?}");
    assert!(all.duplicates > 0 && all.failures_told > SEEDS / 10 && all.delays_told > SEEDS / 20, "{all:?}");
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}
