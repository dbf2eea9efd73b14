//! The client against this server's own session, both machines in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::EventSet;
use basin_core::mail::{Content, MessageId};
use basin_core::smtp::client::{self, ClientPolicy, ClientStep, Why};
use basin_core::smtp::{Connection, ListenerPolicy, Outbox, ProofOfStorage, Session, Step};
use basin_core::transport::{Directory, Tables};
use bytes::Bytes;
use proptest::prelude::*;

use crate::message::{Pieces, content_of, outgoing_to};
use crate::{NOW, lines};

struct Stored(MessageId);

impl ProofOfStorage for Stored {
    fn id(&self) -> &MessageId {
        &self.0
    }
}

/// The server's shell: takes octets, gives replies, keeps what is stored.
struct Server {
    step: Option<Step>,
    outbox: Outbox,
    input: Vec<u8>,
    draft: Vec<u8>,
    stored: Vec<Vec<u8>>,
}

impl Server {
    fn new() -> Self {
        let address = |local: &str| Address::parse(&format!("{local}@far.example")).expect("valid");
        let tables = Tables {
            domains: vec!["far.example".into()],
            mailboxes: vec![(address("alice"), "alice".into()), (address("bob"), "bob".into())],
            postmaster: "alice".into(),
            ..Tables::default()
        };
        let policy = ListenerPolicy::new("mx", "far.example", Arc::new(Directory::new(tables).expect("right")));
        let connection = Connection {
            id: "s".into(),
            client: "192.0.2.7:4".parse().expect("an address"),
            server: "192.0.2.1:25".parse().expect("an address"),
            started: NOW,
            random: 1,
            client_name: None,
            tls: None,
        };
        let mut outbox = Outbox::new();
        let step = Session::start(Arc::new(policy), connection, EventSet::default(), &mut outbox);
        Self { step: Some(step), outbox, input: Vec::new(), draft: Vec::new(), stored: Vec::new() }
    }

    fn take(&mut self, octets: &[u8]) -> Vec<u8> {
        self.input.extend_from_slice(octets);
        while self.advance() {}
        self.outbox.take_bytes()
    }

    fn advance(&mut self) -> bool {
        let (step, went_on) = match self.step.take() {
            Some(Step::Read(session)) => match self.input.windows(2).position(|pair| pair == b"\r\n") {
                Some(len) => {
                    let line: Vec<u8> = self.input.drain(..len + 2).take(len).collect();
                    (session.line(&line, NOW, EventSet::default(), &mut self.outbox), true)
                }
                None => (Step::Read(session), false),
            },
            Some(Step::Receive(mut receiving)) => {
                let fed = receiving.feed(&self.input, &mut self.draft);
                self.input.drain(..fed.consumed);
                if fed.is_end {
                    let octets = Bytes::from(core::mem::take(&mut self.draft));
                    let content = Content { len: octets.len() as u64, octets: Arc::new(octets) };
                    let content = (receiving.is_last() && !receiving.is_refused()).then_some(content);
                    (receiving.finish(content, NOW, &mut self.outbox), true)
                } else {
                    (Step::Receive(receiving), false)
                }
            }
            Some(Step::Examine(examining)) => (examining.examined(&[]), true),
            Some(Step::Store(storing, message, _)) => {
                let body = message.body.read(0, usize::MAX).expect("memory");
                self.stored.push([message.header.to_bytes(), message.separator().to_vec(), body].concat());
                (storing.stored(&Stored(message.id.clone()), NOW, &mut self.outbox), true)
            }
            Some(Step::Ask(..)) => panic!("nobody is bound to anything"),
            Some(Step::StartTls(_) | Step::Verify(..) | Step::Input(..)) => panic!("nothing of this is offered"),
            Some(Step::Close(_)) | None => return false,
        };
        self.step = Some(step);
        went_on
    }
}

proptest! {
    #[test]
    fn this_server_takes_what_this_client_sends(
        bodies in prop::collection::vec(lines(), 1..4),
        places in prop::collection::vec(0..4usize, 1..4),
        cut in 1..200usize,
    ) {
        let people = ["alice@far.example", "bob@far.example", "nobody@far.example", "x@elsewhere.example"];
        let mut recipients: Vec<String> = places.iter().map(|place| people[*place].to_owned()).collect();
        recipients.sort();
        recipients.dedup();
        let good = recipients.iter().filter(|recipient| people[..2].contains(&recipient.as_str())).count();
        let header = b"Subject: x\r\n";
        let mut messages: VecDeque<_> = bodies
            .iter()
            .map(|body| outgoing_to(&recipients, header, Arc::new(Pieces::whole(body))))
            .collect();

        let (mut server, mut wire) = (Server::new(), Vec::new());
        let mut step = client::start(Arc::new(ClientPolicy::new("basin.example")), None, NOW);
        let mut heard: VecDeque<u8> = VecDeque::new();
        let mut taken = 0;
        let why = loop {
            // Octets travel in pieces, and all of them arrive before anybody waits.
            for piece in core::mem::take(&mut wire).chunks(cut) {
                heard.extend(server.take(piece));
            }
            step = match step {
                ClientStep::Read(reading) => {
                    heard.extend(server.take(b""));
                    let piece: Vec<u8> = heard.drain(..heard.len().min(cut)).collect();
                    prop_assert!(!piece.is_empty(), "both wait: {}", reading.awaited());
                    reading.feed(&piece, NOW, &mut wire)
                }
                ClientStep::Send(sending) => sending.more(NOW, &mut wire),
                ClientStep::Idle(idle) => match messages.pop_front() {
                    Some(message) => idle.transact(message, NOW, &mut wire),
                    None => idle.quit(NOW, &mut wire),
                },
                ClientStep::Sent(sent, reported) => {
                    prop_assert!(sent.is_complete && !sent.may_be_delivered);
                    let ok = sent.results.iter().filter(|(_, result)| result.is_ok()).count();
                    prop_assert_eq!(ok, good);
                    taken += usize::from(ok > 0);
                    reported.go_on(NOW, &mut wire)
                }
                ClientStep::Close(closed) => break closed.why,
                ClientStep::StartTls(_) => panic!("this server offers no TLS"),
                ClientStep::Ask(..) => panic!("nobody is bound to anything"),
            };
        };
        prop_assert_eq!(why, Why::Quit);
        prop_assert_eq!(server.stored.len(), taken);
        for (stored, body) in server.stored.iter().zip(&bodies) {
            let sent = content_of(header, body);
            let trace = stored.strip_suffix(sent.as_slice()).expect("the content as it was sent");
            prop_assert!(trace.starts_with(b"Received: "));
        }
    }
}
