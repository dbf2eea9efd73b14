//! Messages to store, and a spool to store them in.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, Message, MessageId, Origin};
use basin_core::time::Timestamp;
use basin_core::transport::State;
use basin_spool::fault::FaultyStorage;
use basin_spool::{OpenError, Options, Receipt, Recovery, Spool, SpoolFault};
use bytes::Bytes;

pub(crate) const ROOT: &str = "/spool";

/// Small segments, so that a few messages fill some.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 8 * 1024,
        free_bytes_min: 0,
        inline_bytes_max: 2 * 1024,
        rewrite_age_segments: 1,
        // Never, so that a slow machine does not change what a test sees.
        idle_sync: Duration::from_secs(24 * 3_600),
    }
}

pub(crate) fn open(storage: &FaultyStorage) -> Result<(Spool, Recovery), OpenError> {
    Spool::open(Path::new(ROOT), options(), Arc::new(storage.clone()))
}

pub(crate) fn id(number: u64) -> MessageId {
    MessageId::new(Timestamp::from_seconds(1_700_000_000 + i64::try_from(number).expect("small")), number)
}

/// Octets that tell any two messages and places apart.
pub(crate) fn octets(number: u64, len: usize) -> Vec<u8> {
    // No power of two, so that a block which is moved or taken from elsewhere does not fit.
    let mut octets: Vec<u8> = (0..251_u64).map(|at| u8::try_from((at * 31 + number * 7) % 251).unwrap_or(0)).collect();
    octets = octets.repeat(len / 251 + 1);
    octets.truncate(len);
    octets
}

pub(crate) fn message_with(number: u64, body: Body) -> Message {
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: Timestamp::from_seconds(1_700_000_000),
        listener: "mx".into(),
        client: None,
        server: None,
        helo: Some("client.example".into()),
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let mut envelope = Envelope::new(Some(Address::parse("a@client.example").expect("valid")));
    let recipient = Address::parse(&format!("r{number}@basin.example")).expect("valid");
    envelope.add(recipient, format!("r{number}@basin.example")).expect("the first");
    let mut message = Message::new(id(number), arrival, envelope);
    let header = Bytes::from(format!("Subject: message {number}\r\nX-Raw: \u{fc}\r\n"));
    message.header = Arc::new(HeaderBlock::parse(&header).expect("small"));
    message.body = body;
    message
}

pub(crate) fn message(number: u64, body_len: usize) -> Message {
    message_with(number, Body::from_bytes(octets(number, body_len)))
}

pub(crate) fn commit(spool: &Spool, message: Message) -> Result<Receipt, SpoolFault> {
    let (tell, told) = mpsc::channel();
    spool.commit(message, State::default(), move |result| tell.send(result).expect("somebody waits"));
    told.recv().expect("every operation is told")
}

pub(crate) fn save(spool: &Spool, message: Message, state: State) -> Result<(), SpoolFault> {
    let (tell, told) = mpsc::channel();
    spool.save(message, state, move |result| tell.send(result).expect("somebody waits"));
    told.recv().expect("every operation is told")
}

pub(crate) fn remove(spool: &Spool, id: MessageId) -> Result<(), SpoolFault> {
    let (tell, told) = mpsc::channel();
    spool.remove(id, move |result| tell.send(result).expect("somebody waits"));
    told.recv().expect("every operation is told")
}

/// Checks that a message reads back octet for octet.
pub(crate) fn assert_there(spool: &Spool, wanted: &Message, state: &State) {
    let (found, found_state) = spool.load(&wanted.id).expect("readable").expect("there");
    assert_same(&found, wanted);
    assert_eq!(&found_state, state);
}

pub(crate) fn assert_same(found: &Message, wanted: &Message) {
    assert_eq!(found.id, wanted.id);
    assert_eq!(found.envelope, wanted.envelope);
    assert_eq!(found.arrival, wanted.arrival);
    assert_eq!(found.properties, wanted.properties);
    assert_eq!(found.header.to_bytes(), wanted.header.to_bytes());
    assert_eq!((found.priority, found.deliver_after), (wanted.priority, wanted.deliver_after));
    assert!(all(&found.body) == all(&wanted.body), "the body of {} changed", wanted.id);
}

pub(crate) fn all(body: &Body) -> Vec<u8> {
    body.read(0, usize::MAX).expect("readable")
}
