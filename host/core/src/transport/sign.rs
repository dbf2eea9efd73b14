//! The signature of a message that leaves: made once, over what leaves, and stored with it.

use std::sync::Arc;

use super::machine::{Transport, Work};
use crate::limits::STORAGE_RETRY_AFTER;
use crate::mail::{Field, HeaderBlock, Message};
use crate::time::Timestamp;

/// The machine while its message is signed.
///
/// It stands between the last sink and the first attempt at another server. The fields are saved with the message
/// before anything leaves: every attempt carries the same signature, and a crash before the saving leaves nothing
/// that could be signed twice.
#[derive(Debug)]
pub struct Signing {
    transport: Transport,
}

impl Signing {
    /// The message as it will leave.
    pub fn message(&self) -> &Message {
        &self.transport.message
    }

    /// Takes the fields for the top of the header block, in order. Without any the message leaves as it is, and the
    /// question is asked again after a restart, which may bring a key.
    pub fn signed(self, fields: Vec<Field>, now: Timestamp) -> Work {
        let mut transport = self.transport;
        transport.state.is_signed = true;
        let mut header = HeaderBlock::clone(&transport.message.header);
        // A seal is three fields that mean nothing without each other: a block at its limits leaves as it is.
        let is_any = !fields.is_empty() && fields.into_iter().rev().all(|field| header.insert(0, field).is_ok());
        if is_any {
            transport.message.header = Arc::new(header);
        }
        if is_any { transport.save(now) } else { transport.go_on(now) }
    }

    /// The message could not be signed now: it is tried again, and leaves nowhere meanwhile.
    pub fn not_signed(mut self, now: Timestamp) -> Work {
        let until = now.plus(STORAGE_RETRY_AFTER);
        if now >= self.transport.end_of_life() {
            // Late and without a signature is better than never.
            self.transport.state.is_signed = true;
            return self.transport.go_on(now);
        }
        Work::Wait(until)
    }
}

impl Transport {
    /// Whether the message has to be signed before it leaves.
    pub(super) fn is_unsigned(&self) -> bool {
        self.policy.is_signing && !self.state.is_signed
    }

    pub(super) fn sign(self) -> Work {
        Work::Sign(Signing { transport: self })
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a machine that wants something else fails the test")]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::addr::Address;
    use crate::event::EventSet;
    use crate::mail::{Arrival, Envelope, MessageId, Origin};
    use crate::transport::{Stage, State, TransportPolicy};

    const START: Timestamp = Timestamp::from_seconds(1_000_000);

    fn message() -> Message {
        let arrival = Arrival {
            origin: Origin::Pickup,
            at: START,
            listener: "pickup".into(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: false,
            session: None,
            depth: 0,
            vouched: Default::default(),
        };
        let mut envelope = Envelope::new(Address::parse("a@here.example").ok());
        envelope.add(Address::parse("b@far.example").expect("valid"), "b@far.example".into());
        let mut message = Message::new(MessageId::parse("1-1").expect("an id"), arrival, envelope);
        message.header = Arc::new(HeaderBlock::parse(&Bytes::from_static(b"From: a@here.example\r\n")).expect("small"));
        message
    }

    fn start(message: Message, state: State, now: Timestamp) -> Work {
        let mut policy = TransportPolicy::new("here.example".into(), Arc::default());
        policy.is_signing = true;
        Transport::start(Arc::new(policy), message, state, EventSet::default(), now)
    }

    fn signature() -> Vec<Field> {
        vec![Field::new("DKIM-Signature", "v=1").expect("valid"), Field::new("X-Second", "2").expect("valid")]
    }

    #[test]
    fn the_signature_is_saved_before_anything_leaves_and_made_once() {
        let Work::Sign(signing) = start(message(), State::default(), START) else { panic!("nothing to sign") };
        let Work::Save(saving, saved, state) = signing.signed(signature(), START) else { panic!("not saved") };
        assert!(saved.header.to_bytes().starts_with(b"DKIM-Signature: v=1\r\nX-Second: 2\r\nFrom: "));
        assert!(matches!(saving.saved(START), Work::Queue { .. }));
        assert!(matches!(start(*saved, state, START), Work::Queue { .. }), "a restart does not sign again");
    }

    #[test]
    fn what_no_key_is_for_leaves_at_once_and_unsaved() {
        let Work::Sign(signing) = start(message(), State::default(), START) else { panic!("nothing to sign") };
        assert!(matches!(signing.signed(Vec::new(), START), Work::Queue { .. }));
    }

    #[test]
    fn a_message_that_cannot_be_signed_waits_and_leaves_unsigned_at_the_end_of_its_life() {
        let Work::Sign(signing) = start(message(), State::default(), START) else { panic!("nothing to sign") };
        assert!(matches!(signing.not_signed(START), Work::Wait(until) if until > START));
        let late = START.plus(crate::limits::QUEUE_LIFETIME_DEFAULT);
        let Work::Sign(signing) = start(message(), State::default(), late) else { panic!("nothing to sign") };
        assert!(!matches!(signing.not_signed(late), Work::Wait(_)));
    }

    #[test]
    fn old_records_are_of_messages_that_were_not_signed() {
        let state: State = serde_json::from_str("{\"stage\":\"delivery\"}").expect("an old record");
        assert_eq!((state.is_signed, state.stage.clone()), (false, Stage::Delivery));
        assert!(!serde_json::to_string(&state).expect("JSON").contains("signed"));
    }
}
