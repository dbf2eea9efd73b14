//! Messages to send.

use std::io;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, Message, MessageId, Origin, ReadAt};
use basin_core::smtp::client::Outgoing;
use basin_core::time::Timestamp;
use bytes::Bytes;

/// A body that is read in pieces, however much is asked for.
pub(crate) struct Pieces {
    pub(crate) octets: Vec<u8>,
    pub(crate) piece: usize,
}

impl Pieces {
    pub(crate) fn whole(octets: &[u8]) -> Self {
        Self { octets: octets.to_vec(), piece: usize::MAX }
    }
}

impl ReadAt for Pieces {
    fn len(&self) -> u64 {
        self.octets.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.octets.get(usize::try_from(offset).expect("small")..).unwrap_or_default();
        let count = rest.len().min(buffer.len()).min(self.piece);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// A body that has fewer octets than it says.
pub(crate) struct Broken {
    pub(crate) len: u64,
    pub(crate) there: u64,
}

impl ReadAt for Broken {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = usize::try_from(self.there.saturating_sub(offset)).expect("small").min(buffer.len());
        buffer[..count].fill(b'x');
        Ok(count)
    }
}

/// What leaves of a message with that header and body.
pub(crate) fn content_of(header: &[u8], body: &[u8]) -> Vec<u8> {
    [header, b"\r\n", body].concat()
}

/// A message to that many recipients.
pub(crate) fn outgoing(recipients: usize, header: &[u8], body: Arc<dyn ReadAt>) -> Outgoing {
    let addresses: Vec<_> = (0..recipients).map(|number| format!("r{number}@far.example")).collect();
    outgoing_to(&addresses, header, body)
}

/// A message to those recipients.
pub(crate) fn outgoing_to(recipients: &[String], header: &[u8], body: Arc<dyn ReadAt>) -> Outgoing {
    let mut envelope = Envelope::new(Some(Address::parse("a@basin.example").expect("valid")));
    for address in recipients {
        envelope.add(Address::parse(address).expect("valid"), address.clone()).expect("new");
    }
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: Timestamp::default(),
        listener: String::new(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let mut message = Message::new(MessageId::parse("m1").expect("valid"), arrival, envelope);
    message.header = Arc::new(HeaderBlock::parse(&Bytes::copy_from_slice(header)).expect("fits"));
    let len = body.len();
    message.body = Body::window(body, 0, len);
    let ids: Vec<_> = message.envelope.recipients.iter().map(|recipient| recipient.id).collect();
    Outgoing::of(&message, &ids)
}
