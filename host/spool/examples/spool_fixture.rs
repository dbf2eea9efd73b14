//! Writes a small spool with one of everything that the format has, for the tests that later versions run on it.
//!
//! `cargo run -p basin-spool --example spool_fixture -- DIRECTORY`. Run it before a change of the format, and add
//! what it wrote to `host/spool/tests/fixtures`; never write an existing fixture anew.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, mpsc};

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, Handover, HeaderBlock, Message, MessageId, Origin, Outcome};
use basin_core::reply::Reply;
use basin_core::time::Timestamp;
use basin_core::transport::{Stage, State};
use basin_spool::{Options, RealStorage, Spool, SpoolFault};
use bytes::Bytes;

type Failed = Box<dyn Error + Send + Sync>;

fn message(number: u64, body: &[u8]) -> Result<Message, Failed> {
    let at = Timestamp::from_seconds(1_790_000_000 + i64::try_from(number)?);
    let arrival = Arrival {
        origin: if number == 5 { Origin::Notification } else { Origin::Smtp },
        at,
        listener: "mx".into(),
        client: Some(([192, 0, 2, 1], 2525).into()),
        server: Some(([192, 0, 2, 2], 25).into()),
        helo: Some("client.example".into()),
        is_esmtp: true,
        session: Some(format!("session-{number}")),
        depth: 0,
        vouched: Default::default(),
    };
    let sender = if number == 5 { None } else { Address::parse("sender@client.example").ok() };
    let mut envelope = Envelope::new(sender);
    for name in ["first", "second"] {
        let text = format!("{name}{number}@basin.example");
        let address = Address::parse(&text).map_err(|error| format!("{text}: {error:?}"))?;
        envelope.add(address, text);
    }
    envelope.parameters.insert("SIZE".into(), body.len().to_string());
    let mut message = Message::new(MessageId::new(at, number), arrival, envelope);
    let header = format!("From: sender@client.example\r\nSubject: number {number}\r\nX-Raw: \u{fc}\r\n");
    message.header = Arc::new(HeaderBlock::parse(&Bytes::from(header)).map_err(|error| error.to_string())?);
    message.body = Body::from_bytes(body.to_vec());
    message.priority = if number == 3 { 2 } else { 0 };
    message.deliver_after = (number == 4).then(|| Timestamp::from_seconds(1_790_000_900));
    Ok(message)
}

fn wait(start: impl FnOnce(mpsc::Sender<Result<(), SpoolFault>>)) -> Result<(), Failed> {
    let (tell, told) = mpsc::channel();
    start(tell);
    Ok(told.recv()??)
}

fn main() -> Result<(), Failed> {
    let directory = std::env::args().nth(1).ok_or("the directory to write is missing")?;
    let options = Options {
        segment_bytes: 4 * 1024,
        inline_bytes_max: 1024,
        free_bytes_min: 0,
        rewrite_age_segments: 100,
        ..Options::default()
    };
    let (spool, _) = Spool::open(Path::new(&directory), options, Arc::new(RealStorage))?;
    for number in 1..=8 {
        // Two bodies are too large for a record, one is empty.
        let body = match number {
            2 | 7 => b"A line of a large body.\r\n".repeat(60),
            6 => Vec::new(),
            _ => format!("Body {number}.\r\n").repeat(20).into_bytes(),
        };
        let message = message(number, &body)?;
        let state = if number == 8 { State::held("an operator said so".into()) } else { State::default() };
        wait(|tell| spool.commit(message, state, move |done| drop(tell.send(done.map(drop)))))?;
    }
    for (number, stage) in [(2, Stage::Delivery), (3, Stage::Delivery), (4, Stage::Bad { reason: "odd".into() })] {
        let id = message(number, b"")?.id;
        let (mut message, mut state) = spool.load(&id)?.ok_or("a message is not there")?;
        (state.stage, state.attempts) = (stage, 2);
        let envelope = Arc::make_mut(&mut message.envelope);
        let until = Timestamp::from_seconds(1_790_000_600);
        let outcomes = [
            Outcome::Delivered { at: until, to: Handover::Mailbox },
            Outcome::Deferred { until, reply: Reply::with(451, 4, 2, "the mailbox is busy"), attempts: 2, last: None },
        ];
        envelope.recipients.iter_mut().zip(outcomes).for_each(|(one, outcome)| one.outcome = outcome);
        wait(|tell| spool.save(message, state, move |done| drop(tell.send(done))))?;
    }
    for number in [1, 7] {
        let id = message(number, b"")?.id;
        wait(|tell| spool.remove(id, move |done| drop(tell.send(done))))?;
    }
    spool.close();
    Ok(())
}
