//! Runs a range of worlds on all cores and says what was wrong in any of them.
//!
//! `simulate 0..1000000` runs a million; `simulate 42` tells what seed 42 does. The exit code is 1 where
//! something was wrong.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use basin_simulation::Counts;

/// Findings after which a run ends: the first ones are what to look at.
const FINDINGS_MAX: usize = 20;

/// How often the run says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

const USAGE: &str = "usage: simulate FROM..TO | SEED\n\nRuns the worlds of these seeds and prints what was wrong in any of them.\nExample: simulate 0..10000";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [word] = words.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let Some(seeds) = range(word) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let run = Run { start: seeds.start, next: AtomicU64::new(seeds.start), end: seeds.end, ..Run::default() };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| run.work());
        }
        run.report(started);
    });
    let findings = run.findings.lock().unwrap_or_else(PoisonError::into_inner);
    let done = run.done.load(Ordering::Relaxed);
    let counts = run.counts.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{done} worlds in {:.1} s, {} findings", started.elapsed().as_secs_f64(), findings.len());
    println!("{:?}", *counts);
    for (seed, finding) in findings.iter() {
        println!("seed {seed}: {finding}");
    }
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn range(word: &str) -> Option<Range<u64>> {
    match word.split_once("..") {
        Some((from, to)) => Some(from.parse().ok()?..to.parse().ok()?),
        None => {
            let seed: u64 = word.parse().ok()?;
            Some(seed..seed.checked_add(1)?)
        }
    }
}

#[derive(Default)]
struct Run {
    start: u64,
    next: AtomicU64,
    end: u64,
    done: AtomicU64,
    is_over: AtomicBool,
    findings: Mutex<Vec<(u64, String)>>,
    counts: Mutex<Counts>,
}

impl Run {
    fn work(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                break;
            }
            let is_single = self.end - self.start == 1;
            let run = if is_single { basin_simulation::tell } else { basin_simulation::run };
            let result = std::panic::catch_unwind(|| run(seed));
            match result.unwrap_or_else(|_| Err("a panic, see above".into())) {
                Ok(counts) => self.counts.lock().unwrap_or_else(PoisonError::into_inner).add(&counts),
                Err(finding) => {
                    let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
                    // At once: whoever stops a long run has it all the same.
                    eprintln!("seed {seed}: {finding}");
                    findings.push((seed, finding));
                    if findings.len() >= FINDINGS_MAX {
                        self.is_over.store(true, Ordering::Relaxed);
                    }
                }
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn report(&self, started: Instant) {
        let mut told = Instant::now();
        while self.done.load(Ordering::Relaxed) < self.end - self.start && !self.is_over.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(20));
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let (done, seconds) = (self.done.load(Ordering::Relaxed), started.elapsed().as_secs());
                let findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner).len();
                eprintln!("{done} of {} worlds, {seconds} s, {findings} findings", self.end - self.start);
            }
        }
    }
}
