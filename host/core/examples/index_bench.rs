//! How much memory the index of a queue takes, and how long its questions take: `cargo run --release -p basin-core
//! --example index_bench [messages]`, a million without a number.

use std::sync::Arc;
use std::time::Instant;

use basin_core::mail::MessageId;
use basin_core::queue::index::{Filter, GroupBy, Index, Query, Row, RowRecipient, Standing, Tally, Waits};
use basin_core::time::Timestamp;

/// Rows of one slice, as the server has them.
const SLICE_ROWS: usize = 2_000;

/// Octets of a page of memory on the machines that this is measured on.
const PAGE_BYTES: u64 = 4_096;

/// Octets of memory that this process has; 0 where the system does not say.
fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|pages| pages.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

const START: i64 = 1_700_000_000;

fn row(number: u64) -> Row {
    let seconds = START + i64::try_from(number / 20).unwrap_or_default();
    // A stirred number, so that neighbours have nothing in common.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let reply = format!("421 4.7.0 try again later, policy {}", mixed % 500);
    let is_deferred = !mixed.is_multiple_of(4);
    Row {
        id: MessageId::new(Timestamp::from_seconds(seconds), mixed),
        sender_local: format!("bounce-{number}"),
        sender_domain: format!("sender{}.example", mixed % 1_000),
        recipients: vec![RowRecipient {
            local: format!("user.name{}", mixed % 100_000),
            domain: format!("domain{}.example", mixed % 20_000),
            route: None,
            waits: if is_deferred { Waits::Deferred } else { Waits::Pending },
            reply: is_deferred.then_some(reply),
        }],
        recipient_count: 1,
        size: 2_000 + mixed % 100_000,
        arrived: Timestamp::from_seconds(seconds),
        standing: if is_deferred { Standing::Deferred } else { Standing::Ready },
        attempts: u32::try_from(mixed % 9).unwrap_or_default(),
        next_attempt: is_deferred.then(|| Timestamp::from_seconds(seconds + 1_800)),
        priority: 0,
        origin: "smtp".to_owned(),
        reason: None,
    }
}

fn main() {
    let messages: u64 = std::env::args().nth(1).and_then(|number| number.parse().ok()).unwrap_or(1_000_000);
    let before = memory();
    let mut index = Index::default();
    let (mut longest, started) = (0, Instant::now());
    for number in 0..messages {
        let row = row(number);
        let putting = Instant::now();
        index.put(&row);
        longest = longest.max(putting.elapsed().as_micros());
    }
    let bytes = memory().saturating_sub(before);
    println!("{messages} messages put in {:?}, the slowest took {longest} us", started.elapsed());
    println!("{} octets a message, {} shared texts", bytes / messages.max(1), index.texts());
    for filter in [
        "",
        "domain=domain77.example",
        "sender=*@sender9.example;age>1h",
        "recipient~name777",
        "reply=~policy 42",
        "size>100K;attempts>=3",
    ] {
        let mut query = Query::new(
            Filter::parse(filter).unwrap_or_default(),
            Arc::default(),
            Timestamp::from_seconds(START + 90_000),
        );
        let (mut found, mut after, mut longest) = (0, None, 0);
        let started = Instant::now();
        loop {
            let slicing = Instant::now();
            let slice = index.scan(&mut query, after.as_ref(), SLICE_ROWS);
            longest = longest.max(slicing.elapsed().as_micros());
            found += slice.found.len();
            after = slice.next;
            if after.is_none() {
                break;
            }
        }
        println!("{filter:40} {found:8} found in {:?}, the longest slice {longest} us", started.elapsed());
    }
    for by in GroupBy::ALL {
        let mut query = Query::new(Filter::default(), Arc::default(), Timestamp::from_seconds(START + 90_000));
        let (mut tally, mut after, mut longest) = (Tally::new(by), None, 0);
        let started = Instant::now();
        loop {
            let slicing = Instant::now();
            after = index.tally(&mut query, after.as_ref(), SLICE_ROWS, &mut tally).next;
            longest = longest.max(slicing.elapsed().as_micros());
            if after.is_none() {
                break;
            }
        }
        let groups = tally.groups().len();
        println!("summary by {by:15} {groups:8} groups in {:?}, the longest slice {longest} us", started.elapsed());
    }
}
