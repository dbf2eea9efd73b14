//! Measures how messages are made durable: `cargo run --release -p basin-spool --example spool_bench [DIRECTORY [SECONDS]]`.
//!
//! Compares the spool with one file for each message (write, sync, rename, directory sync) and with the
//! spool's own format without grouping, at 1, 10 and 100 committers. CPU time is that of the whole process;
//! the committers do nothing but make a message and wait. The rounds interleave the stores, because the
//! speed of a virtual disk changes from minute to minute.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, Field, HeaderBlock, Message, MessageId, Origin};
use basin_core::time::Timestamp;
use basin_core::transport::State;
use basin_spool::{Options, RealStorage, Spool};
use bytes::Bytes;

/// Octets of each message; the size that the figures of other servers are known for.
const MESSAGE_BYTES: usize = 10 * 1024;

/// Rounds over all stores; the table shows each.
const ROUNDS: usize = 3;

/// What is compared.
const STORES: [&str; 4] = ["nothing", "segment log", "segment log, not grouped", "file, sync, rename, directory sync"];

/// Messages at once.
const COMMITTERS: [usize; 3] = [1, 10, 100];

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A way to make messages durable.
trait Store: Send + Sync {
    fn commit(&self, message: Message) -> Outcome<()>;
    fn syncs(&self) -> u64;
}

/// The spool as the server uses it.
struct Log(Spool);

impl Store for Log {
    fn commit(&self, message: Message) -> Outcome<()> {
        let (tell, told) = mpsc::sync_channel(1);
        self.0.commit(message, State::default(), move |result| {
            // The committer waits; should it be gone, nobody needs the answer.
            drop(tell.send(result.map(drop)));
        });
        Ok(told.recv()??)
    }

    fn syncs(&self) -> u64 {
        self.0.statistics().syncs
    }
}

/// The spool with one message in each group: what grouping is worth.
struct Ungrouped(Spool, std::sync::Mutex<()>);

impl Store for Ungrouped {
    fn commit(&self, message: Message) -> Outcome<()> {
        let one = self.1.lock();
        let (tell, told) = mpsc::sync_channel(1);
        self.0.commit(message, State::default(), move |result| drop(tell.send(result.map(drop))));
        told.recv()??;
        drop(one);
        Ok(())
    }

    fn syncs(&self) -> u64 {
        self.0.statistics().syncs
    }
}

/// Stores nothing: what making the message costs.
struct Nothing;

impl Store for Nothing {
    fn commit(&self, message: Message) -> Outcome<()> {
        std::hint::black_box(message);
        Ok(())
    }

    fn syncs(&self) -> u64 {
        0
    }
}

/// One file for each message, under another name until it is whole.
struct Files {
    directory: PathBuf,
    syncs: AtomicU64,
}

impl Store for Files {
    fn commit(&self, message: Message) -> Outcome<()> {
        let draft = self.directory.join(format!("{}.tmp", message.id));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        let mut octets = format!("{:?}", message.envelope).into_bytes();
        octets.extend(message.header.to_bytes());
        octets.extend(message.body.read(0, usize::MAX)?);
        file.write_all(&octets)?;
        file.sync_data()?;
        std::fs::rename(&draft, self.directory.join(message.id.as_str()))?;
        File::open(&self.directory)?.sync_all()?;
        self.syncs.fetch_add(2, Ordering::Relaxed);
        Ok(())
    }

    fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }
}

fn message(number: u64, body: &Bytes) -> Outcome<Message> {
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: Timestamp::from_seconds(1_700_000_000),
        listener: "mx".into(),
        client: Some(([192, 0, 2, 1], 40_000).into()),
        server: Some(([192, 0, 2, 2], 25).into()),
        helo: Some("client.example".into()),
        is_esmtp: true,
        session: Some("00060a24186a8b40-0000000000000005".into()),
        depth: 0,
        vouched: Default::default(),
    };
    let mut envelope = Envelope::new(Some(Address::parse("sender@client.example")?));
    envelope.add(Address::parse("recipient@basin.example")?, "recipient@basin.example".into());
    let id = MessageId::new(Timestamp::from_seconds(1_700_000_000), number);
    let mut message = Message::new(id, arrival, envelope);
    let mut header = HeaderBlock::default();
    for name in ["Received", "Received", "From", "To", "Subject", "Date", "Message-ID", "Content-Type"] {
        header.insert(0, Field::new(name, "a value of the usual length, more or less, of such a field")?)?;
    }
    message.body = Body::from_bytes(body.slice(header.len()..));
    message.header = Arc::new(header);
    Ok(message)
}

struct Measured {
    messages: u64,
    wall: Duration,
    cpu: Duration,
    syncs: u64,
}

fn cpu_time() -> Duration {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(clock.tv_sec).unwrap_or(0), u32::try_from(clock.tv_nsec).unwrap_or(0))
}

fn measure(store: &dyn Store, committers: usize, length: Duration) -> Outcome<Measured> {
    let body =
        Bytes::from(b"A line of text as mail has it, 64 octets with its line end....\r\n".repeat(MESSAGE_BYTES / 64));
    let next = AtomicU64::new(0);
    let syncs = store.syncs();
    let (start, cpu) = (Instant::now(), cpu_time());
    std::thread::scope(|scope| {
        let work = || -> Outcome<()> {
            while start.elapsed() < length {
                store.commit(message(next.fetch_add(1, Ordering::Relaxed), &body)?)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..committers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a committer panicked")?)
    })?;
    Ok(Measured {
        messages: next.into_inner(),
        wall: start.elapsed(),
        cpu: cpu_time().saturating_sub(cpu),
        syncs: store.syncs() - syncs,
    })
}

fn open_store(kind: &str, directory: &Path) -> Outcome<Box<dyn Store>> {
    let spool = || Spool::open(directory, Options::default(), Arc::new(RealStorage)).map(|(spool, _)| spool);
    Ok(match kind {
        "segment log" => Box::new(Log(spool()?)),
        "segment log, not grouped" => Box::new(Ungrouped(spool()?, std::sync::Mutex::new(()))),
        "nothing" => Box::new(Nothing),
        _ => {
            std::fs::create_dir_all(directory)?;
            Box::new(Files { directory: directory.to_owned(), syncs: AtomicU64::new(0) })
        }
    })
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: u64 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    println!("{} octets each, {seconds} s for each cell, in {}", MESSAGE_BYTES, parent.display());
    println!("| store | committers | round | messages/s | syncs for each message | CPU us for each message |");
    println!("|---|---|---|---|---|---|");
    for round in 1..=ROUNDS {
        for committers in COMMITTERS {
            for kind in STORES {
                let directory = tempfile::Builder::new().prefix("spool-bench").tempdir_in(&parent)?;
                let store = open_store(kind, &directory.path().join("spool"))?;
                let found = measure(store.as_ref(), committers, Duration::from_secs(seconds))?;
                let each = |total: f64| total / found.messages as f64;
                println!(
                    "| {kind} | {committers} | {round} | {:.0} | {:.3} | {:.1} |",
                    found.messages as f64 / found.wall.as_secs_f64(),
                    each(found.syncs as f64),
                    each(found.cpu.as_secs_f64() * 1e6),
                );
            }
        }
    }
    Ok(())
}
