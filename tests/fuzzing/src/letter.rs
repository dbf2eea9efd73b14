//! A message that is sent to another server.

use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, Message, MessageId, Origin};
use basin_core::smtp::client::Outgoing;
use bytes::Bytes;

use crate::world::NOW;

/// Its recipients.
pub(crate) const RECIPIENTS: [&str; 3] = ["r0@far.example", "r1@far.example", "r2@far.example"];

/// Its header block.
pub(crate) const SUBJECT: &str = "Subject: x\r\n";

/// Its body.
pub(crate) const BODY: &str = "text\r\nthe last line\r\n";

/// The message, to all of them.
pub(crate) fn outgoing() -> Outgoing {
    let address = |text: &str| Address::parse(text).expect("an address");
    let mut envelope = Envelope::new(Some(address("a@basin.example")));
    for recipient in RECIPIENTS {
        envelope.add(address(recipient), recipient.to_owned()).expect("there are few");
    }
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: NOW,
        listener: String::new(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let mut message = Message::new(MessageId::parse("m1").expect("an id"), arrival, envelope);
    message.header = Arc::new(HeaderBlock::parse(&Bytes::from_static(SUBJECT.as_bytes())).expect("it is small"));
    message.body = Body::window(Arc::new(Bytes::from_static(BODY.as_bytes())), 0, BODY.len() as u64);
    let ids: Vec<_> = message.envelope.recipients.iter().map(|recipient| recipient.id).collect();
    Outgoing::of(&message, &ids)
}
