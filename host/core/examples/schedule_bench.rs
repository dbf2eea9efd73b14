//! What a million queued messages cost the schedule: memory for each of them, and time for each operation.
//!
//! `cargo run --release -p basin-core --example schedule_bench [JOBS]`; Linux, as it reads /proc/self/statm.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use basin_core::mail::MessageId;
use basin_core::queue::{Another, Job, Next, Schedule, SchedulePolicy, VisitEnd};
use basin_core::time::Timestamp;
use basin_core::transport::{Destination, RouteTable};

/// Octets of a page on every machine this runs on.
const PAGE_BYTES: u64 = 4_096;

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}

fn job(number: u64, destinations: u64, senders: u64, due: i64) -> Job {
    let arrived = Timestamp::from_seconds(1_700_000_000);
    Job {
        message: MessageId::new(arrived, number.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        destination: Destination::domain(&format!("mail{}.example.org", number % destinations)),
        sender: format!("sender{}@example.net", number % senders).into(),
        priority: 0,
        size: 10_000,
        recipients: 1,
        due: arrived.plus(core::time::Duration::from_secs(due.unsigned_abs())),
        tell_delay: Some(arrived.plus(core::time::Duration::from_secs(14_400))),
        expires: arrived.plus(core::time::Duration::from_secs(432_000)),
    }
}

fn run(name: &str, jobs: u64, destinations: u64, senders: u64) {
    let now = Timestamp::from_seconds(1_700_000_001);
    let mut schedule = Schedule::new(SchedulePolicy::new(Arc::new(RouteTable::default())));
    let before = resident_bytes();
    let started = Instant::now();
    for number in 0..jobs {
        // Half of them wait, half are due.
        let due = if number % 2 == 0 { 0 } else { 3_600 };
        let job = job(number, destinations, senders, due);
        schedule.put(&job.message.clone(), &[job], now);
    }
    let put = started.elapsed();
    let bytes = resident_bytes().saturating_sub(before);
    let started = Instant::now();
    let mut carried = 0_u32;
    while carried < 100_000 {
        let Next::Visit(visit, mut lease) = schedule.next(now) else { break };
        loop {
            carried += 1;
            schedule.put(&lease.message().clone(), &[], now);
            schedule.finish(lease, now);
            schedule.reached(&visit, now);
            match schedule.another(&visit, now) {
                Another::Job(next) => lease = next,
                Another::Later(_) | Another::Close => break,
            }
        }
        schedule.close(visit, VisitEnd::Reached, now, 0);
    }
    let each = |total: std::time::Duration, count: u64| total.as_nanos() / u128::from(count.max(1));
    println!(
        "{name}: {} octets a job, {} ns to put one, {} ns to lease and finish one ({carried} of {jobs})",
        bytes / jobs.max(1),
        each(put, jobs),
        each(started.elapsed(), u64::from(carried)),
    );
}

fn main() {
    let jobs = std::env::args().nth(1).and_then(|number| number.parse().ok()).unwrap_or(1_000_000);
    run("1,000 destinations, 10,000 senders", jobs, 1_000, 10_000);
    run("each its own destination and sender", jobs, jobs, jobs);
}
