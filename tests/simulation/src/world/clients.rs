//! The way in: messages that are handed to the server under test.

use std::sync::Arc;

use basin_core::event::{Decision, EventKind, Question, Verdict};
use basin_core::mail::{Arrival, Body, Envelope, Field, HeaderBlock, Message, MessageId, Origin};
use basin_core::reply::{Class, Reply};
use basin_core::smtp::client::{ClientPolicy, Credentials, Hearing, Mechanism, Outgoing, Sent};
use basin_core::time::Timestamp;
use basin_core::transport::State;

use super::{CALM, Client, NODE, World, at};
use crate::dice::Dice;
use crate::ledger::Promise;
use crate::link::{Event, Link};
use crate::node::Listening;
use crate::peer::{DOMAINS, USERS, address};
use crate::sinks::{BLOB, VERB};

/// The sink of clients.
const GUEST: &str = "guest";

impl World {
    pub(super) fn step_client(&mut self) -> bool {
        if self.dice.strikes(200) && self.begin_client() {
            return true;
        }
        let place = usize::try_from(self.dice.below(self.clients.len() as u64)).unwrap_or(0);
        if place < self.clients.len() {
            let mut client = self.clients.swap_remove(place);
            let mut listening = Listening { node: &mut self.node };
            let event =
                client.link.step(&mut listening, &mut |question, dice| guest(question, dice), self.now, &mut self.dice);
            let has_acted = !matches!(event, Event::Stuck);
            match event {
                Event::Moved | Event::Stuck => self.clients.push(client),
                Event::Free => {
                    match client.outgoing.take() {
                        Some(outgoing) => client.link.transact(outgoing, self.now),
                        None => client.link.quit(self.now),
                    }
                    self.clients.push(client);
                }
                Event::Sent(sent) => {
                    self.acknowledged(&client.uid, &sent);
                    client.link.go_on(self.now);
                    self.clients.push(client);
                }
                Event::Closed(_) => {
                    let mut listening = Listening { node: &mut self.node };
                    client.link.drain(&mut listening, self.now, &mut self.dice);
                }
            }
            return has_acted || self.begin_client();
        }
        self.begin_client()
    }

    // Somebody comes with a message, where it is time.
    pub(super) fn begin_client(&mut self) -> bool {
        if self.sent >= self.to_send || self.now < self.client_at {
            return false;
        }
        self.sent += 1;
        // Often at once, so that messages meet; sometimes much later.
        let wait = if self.dice.strikes(700) { self.dice.below(3) } else { self.dice.below(20_000) };
        self.client_at = self.now.plus(at(wait));
        self.new_message();
        true
    }

    fn acknowledged(&mut self, uid: &str, sent: &Sent) {
        let taken: Vec<String> = sent
            .results
            .iter()
            .filter(|(_, result)| result.is_ok())
            .map(|(id, _)| *id)
            .filter_map(|id| self.ledger.recipient(uid, id))
            .collect();
        if !taken.is_empty() {
            self.ledger.promise(uid, &taken);
        }
    }

    fn new_message(&mut self) {
        let uid = format!("u{}", self.sent);
        let sender = match self.dice.below(10) {
            0 => None,
            number => {
                let domain = DOMAINS.get(usize::try_from(number % 4).unwrap_or(0)).copied().unwrap_or(NODE);
                address("a", domain)
            }
        };
        let mut envelope = Envelope::new(sender.clone());
        for _ in 0..=self.dice.below(5) {
            let domain = self.dice.pick(&DOMAINS).copied().unwrap_or(NODE);
            let user = if self.dice.strikes(100) && domain != NODE {
                "bad"
            } else {
                self.dice.pick(&USERS).copied().unwrap_or("a")
            };
            if let Some(address) = address(user, domain) {
                let original = address.to_string();
                envelope.add(address, original);
            }
        }
        let is_pickup = self.dice.strikes(400);
        if is_pickup {
            for recipient in &mut envelope.recipients {
                let wishes: [&[&str]; 5] =
                    [&[], &["NEVER"], &["FAILURE"], &["FAILURE", "DELAY"], &["SUCCESS", "FAILURE", "DELAY"]];
                let wish = self.dice.pick(&wishes).copied().unwrap_or_default();
                recipient.notify = wish.iter().map(|word| (*word).to_owned()).collect();
            }
        }
        let length = if self.dice.strikes(200) { self.dice.below(6_000) } else { self.dice.below(400) };
        let body = body(length, &mut self.dice);
        let recipients = envelope.recipients.iter();
        let wants = |notify: &[String]| notify.is_empty() || notify.iter().any(|word| word == "FAILURE");
        let promise = Promise {
            is_null: sender.is_none(),
            recipients: recipients.map(|one| (one.address.to_string(), wants(&one.notify))).collect(),
            body: body.clone(),
        };
        let addresses: Vec<String> = promise.recipients.iter().map(|(address, _)| address.clone()).collect();
        self.ledger.offer(uid.clone(), promise);
        let message = message(&uid, envelope, body, self.now, self.dice.next());
        if is_pickup {
            let id = message.id.clone();
            if self.node.commit(message, State::default()).is_ok() && !self.node.is_dead() {
                self.node.fresh.push(id);
                self.ledger.promise(&uid, &addresses);
            }
            return;
        }
        let ids: Vec<u32> = message.envelope.recipients.iter().map(|recipient| recipient.id).collect();
        let outgoing = Outgoing::of(&message, &ids);
        let weather = if self.is_calm() { CALM } else { self.weather };
        let acceptor = Listening { node: &mut self.node };
        let mut policy = ClientPolicy::new("client.example");
        policy.credentials = (self.listener.auth.is_some() && self.dice.strikes(500)).then(|| Credentials {
            user: "a".into(),
            secret: "a secret".into(),
            mechanisms: vec![Mechanism::Plain],
            may_go_unencrypted: true,
        });
        policy.hearing = Some(Arc::new(Hearing {
            events: [EventKind::OnMessageStart].into_iter().collect(),
            attempt: 1,
            ..Hearing::default()
        }));
        let policy = Arc::new(policy);
        let link = Link::new(&policy, &self.listener, &acceptor, weather, self.now, &mut self.dice);
        self.clients.push(Client { link, outgoing: Some(outgoing), uid });
    }
}

// The clients of the server under test have one sink, which says its own verb first and sends a blob where it is asked
// for one.
fn guest(question: Question, dice: &mut Dice) -> Decision {
    let previous = question.occasion.outbound.as_ref().and_then(|facts| facts.previous_reply(GUEST)).map(Reply::class);
    let verdict = match previous {
        Some(Class::Continue) => Verdict::SendBlob(BLOB.to_vec()),
        None if dice.strikes(300) => Verdict::SendFirst(format!("{VERB} from a guest")),
        Some(_) | None => Verdict::Next,
    };
    Decision { verdict, by: Some(GUEST.into()), overlay: question.overlay, failures: Vec::new(), is_heard: true }
}

// Lines that a careless stuffing of dots would change.
fn body(length: u64, dice: &mut Dice) -> Vec<u8> {
    let lines: [&[u8]; 6] = [b".\r\n", b"..\r\n", b".hidden\r\n", b"plain text\r\n", b"\r\n", b"end .\r\n"];
    let mut body = Vec::new();
    while (body.len() as u64) < length {
        body.extend_from_slice(dice.pick(&lines).copied().unwrap_or(b"x\r\n"));
    }
    body
}

fn message(uid: &str, envelope: Envelope, body: Vec<u8>, now: Timestamp, random: u64) -> Message {
    let arrival = Arrival {
        origin: Origin::Pickup,
        at: now,
        listener: String::new(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: false,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let mut header = HeaderBlock::default();
    for (name, value) in [("From", "a@node.example"), ("Subject", "a story"), ("X-Uid", uid)] {
        if let Ok(field) = Field::new(name, value) {
            // Three short fields are within every limit.
            let _ = header.insert(0, field);
        }
    }
    let mut message = Message::new(MessageId::new(now, random), arrival, envelope);
    message.header = header.into();
    message.body = Body::from_bytes(body);
    message
}
