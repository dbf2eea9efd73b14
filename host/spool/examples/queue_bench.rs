//! Measures a large queue: `cargo run --release -p basin-spool --example queue_bench [DIRECTORY [MESSAGES]]`.
//!
//! Fills a spool, opens it again, reads it once into the index that `basin queue` asks, and asks it. Then messages
//! are saved and removed, as delivery does, alone and while somebody lists the queue without a pause. The default
//! is a hundred thousand messages; a million needs 2.2 GB of disk.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, Field, HeaderBlock, Message, MessageId, Origin, Outcome};
use basin_core::queue::Index;
use basin_core::queue::index::{Filter, GroupBy, Query, Row, Tally};
use basin_core::reply::Reply;
use basin_core::time::Timestamp;
use basin_core::transport::{RouteTable, Stage, State};
use basin_spool::{Options, RealStorage, Spool};

/// Octets of a body: small, so that the queue is what counts.
const BODY_BYTES: usize = 1_024;

/// Rows that are looked at with the lock of the index held: what the server does too.
const SLICE_ROWS: usize = 4_096;

/// How long delivery is measured, alone and beside lists.
const DELIVERY_TIME: Duration = Duration::from_secs(5);

/// Messages that are delivered at once.
const DELIVERIES: usize = 16;

type Finished<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn message(number: u64, body: &Body) -> Finished<(Message, State)> {
    let at = Timestamp::from_seconds(1_790_000_000 + i64::try_from(number / 100)?);
    let arrival = Arrival {
        origin: Origin::Smtp,
        at,
        listener: "mx".into(),
        client: Some(([192, 0, 2, 1], 40_000).into()),
        server: Some(([192, 0, 2, 2], 25).into()),
        helo: Some("client.example".into()),
        is_esmtp: true,
        session: Some("00060a24186a8b40-0000000000000005".into()),
        depth: 0,
        vouched: Default::default(),
    };
    let mut envelope = Envelope::new(Some(Address::parse(&format!("user{}@client.example", number % 997))?));
    let to = format!("recipient{number}@domain{}.example", number % 1_009);
    envelope.add(Address::parse(&to)?, to);
    for recipient in &mut envelope.recipients {
        let until = at.plus(Duration::from_secs(900));
        let reply = Reply::with(451, 4, 4, format!("the server {} does not answer", number % 13));
        recipient.outcome = Outcome::Deferred { until, reply, attempts: 3, last: None };
    }
    let mut message = Message::new(MessageId::new(at, number), arrival, envelope);
    let mut header = HeaderBlock::default();
    for name in ["Received", "Received", "From", "To", "Subject", "Date", "Message-ID", "Content-Type"] {
        header.insert(0, Field::new(name, "a value of the usual length, more or less, of such a field")?)?;
    }
    message.header = Arc::new(header);
    message.body = body.clone();
    Ok((message, State { stage: Stage::Delivery, attempts: 3, ..State::default() }))
}

// Octets of memory that the process has now.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1_024
}

fn fill(directory: &std::path::Path, count: u64) -> Finished<()> {
    let (spool, _) = Spool::open(directory, Options::default(), Arc::new(RealStorage))?;
    let body =
        Body::from_bytes(b"A line of text as mail has it, 64 octets with its line end....\r\n".repeat(BODY_BYTES / 64));
    let (tell, told) = mpsc::channel();
    let mut waiting = 0;
    for number in 0..count {
        let (message, state) = message(number, &body)?;
        let tell = tell.clone();
        spool.commit(message, state, move |result| drop(tell.send(result.map(drop))));
        waiting += 1;
        if waiting == 10_000 {
            for _ in 0..waiting {
                told.recv()??;
            }
            waiting = 0;
        }
    }
    for _ in 0..waiting {
        told.recv()??;
    }
    Ok(())
}

fn ask(index: &Mutex<Index>, filter: &str, group: Option<GroupBy>) -> Finished<(usize, Duration, Duration)> {
    let now = Timestamp::from_seconds(1_800_000_000);
    let mut query = Query::new(Filter::parse(filter)?, Arc::new(RouteTable::default()), now);
    let mut tally = group.map(Tally::new);
    let (start, mut longest, mut found, mut after) = (Instant::now(), Duration::ZERO, 0, None);
    loop {
        let held = Instant::now();
        let slice = {
            let index = index.lock().map_err(|_| "somebody panicked")?;
            match &mut tally {
                Some(tally) => index.tally(&mut query, after.as_ref(), SLICE_ROWS, tally),
                None => index.scan(&mut query, after.as_ref(), SLICE_ROWS),
            }
        };
        longest = longest.max(held.elapsed());
        found += slice.found.len();
        after = slice.next;
        if after.is_none() {
            return Ok((found, start.elapsed(), longest));
        }
    }
}

// What a delivery costs the spool and the index: the message is read, saved with a new outcome, and removed.
fn deliver(spool: &Spool, index: &Mutex<Index>, ids: &Mutex<Vec<MessageId>>) -> Finished<f64> {
    let done = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let work = || -> Finished<()> {
            while start.elapsed() < DELIVERY_TIME {
                let Some(id) = ids.lock().map_err(|_| "somebody panicked")?.pop() else { return Ok(()) };
                let Some((message, state)) = spool.load(&id)? else { continue };
                let (tell, told) = mpsc::sync_channel(1);
                spool.save(message, State { attempts: state.attempts + 1, ..state }, move |result| {
                    drop(tell.send(result));
                });
                told.recv()??;
                let (tell, told) = mpsc::sync_channel(1);
                spool.remove(id.clone(), move |result| drop(tell.send(result)));
                told.recv()??;
                index.lock().map_err(|_| "somebody panicked")?.remove(&id);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..DELIVERIES).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a delivery panicked")?)
    })?;
    Ok(done.into_inner() as f64 / start.elapsed().as_secs_f64())
}

fn main() -> Finished<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let count: u64 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let directory = tempfile::Builder::new().prefix("queue-bench").tempdir_in(&parent)?;
    let directory = directory.path().join("spool");
    let start = Instant::now();
    fill(&directory, count)?;
    println!("| {count} messages | |\n|---|---:|");
    println!("| stored, groups of 10,000 | {:.0}/s |", count as f64 / start.elapsed().as_secs_f64());
    let before = resident();
    let start = Instant::now();
    let (spool, _) = Spool::open(&directory, Options::default(), Arc::new(RealStorage))?;
    println!("| open | {:.2} s |", start.elapsed().as_secs_f64());
    println!("| table of the spool | {} octets/message |", spool.statistics().index_bytes / count);
    println!("| resident after the open, over before | {:.0} MiB |", (resident() as f64 - before as f64) / 1_048_576.0);
    let index = Mutex::new(Index::default());
    let before = resident();
    let start = Instant::now();
    let mut bad = 0;
    spool.scan(|row| match (row, index.lock()) {
        (Ok(row), Ok(mut index)) => {
            let parts = Row::of_parts(&row.id, &row.arrival, &row.envelope, &row.state, row.size);
            index.put(&parts.with(row.priority, row.deliver_after));
        }
        (Err(_), _) | (_, Err(_)) => bad += 1,
    });
    println!("| scan into the index of the queue | {:.2} s, {bad} unreadable |", start.elapsed().as_secs_f64());
    println!("| resident after the scan, over before | {:.0} MiB |", (resident() as f64 - before as f64) / 1_048_576.0);
    for filter in ["", "domain=domain7.example", "state=held", "reply=*does not answer*"] {
        let (found, whole, longest) = ask(&index, filter, None)?;
        let (whole, longest) = (whole.as_secs_f64() * 1e3, longest.as_secs_f64() * 1e3);
        println!("| list `{filter}`: {found} rows | {whole:.0} ms, lock held {longest:.1} ms at most |");
    }
    let (_, whole, _) = ask(&index, "", Some(GroupBy::Domain))?;
    println!("| summary by domain | {:.0} ms |", whole.as_secs_f64() * 1e3);
    let ids = Mutex::new(spool.ids());
    let alone = deliver(&spool, &index, &ids)?;
    println!("| load, save, remove, {DELIVERIES} at once | {alone:.0}/s |");
    let is_over = AtomicBool::new(false);
    let (beside, lists) = std::thread::scope(|scope| -> Finished<(f64, u64)> {
        let lister = scope.spawn(|| -> Finished<u64> {
            let mut lists = 0;
            while !is_over.load(Ordering::Relaxed) {
                ask(&index, "domain=domain7.example", None)?;
                lists += 1;
            }
            Ok(lists)
        });
        let rate = deliver(&spool, &index, &ids);
        is_over.store(true, Ordering::Relaxed);
        let lists = lister.join().map_err(|_| "the lister panicked")??;
        Ok((rate?, lists))
    })?;
    println!("| the same beside lists without a pause ({lists} of them) | {beside:.0}/s |");
    Ok(())
}
