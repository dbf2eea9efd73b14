//! Messages and ways out of the tests.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, Message, MessageId, Origin};
use basin_core::smtp::client::{Accepted, ClientTimeouts, Outgoing, Sent};
use basin_core::time::Timestamp;
use basin_core::transport::{Destination, HostPort, NextHop, Route, TlsDemand};
use basin_outbound::{Feed, HopFacts, Outbound, OutboundOptions, Visit, VisitLimits, is_tls_optional};

/// The header block of every message.
pub(crate) const HEADER: &str = "From: <a@sender.example>\r\nSubject: one\r\n two\r\n";

/// A feed with all its messages at hand.
#[derive(Default)]
pub(crate) struct Messages {
    pub(crate) waiting: VecDeque<Outgoing>,
    pub(crate) taken: usize,
    pub(crate) sent: Vec<(Sent, HopFacts)>,
}

impl Feed for Messages {
    async fn begins_without_tls(&mut self) -> bool {
        self.waiting.front().is_some_and(is_tls_optional)
    }

    async fn next(&mut self) -> Option<Outgoing> {
        let next = self.waiting.pop_front();
        self.taken += usize::from(next.is_some());
        next
    }

    async fn done(&mut self, sent: Sent, facts: &HopFacts) {
        self.sent.push((sent, facts.clone()));
    }
}

impl Messages {
    /// That many short messages to two recipients each.
    pub(crate) fn new(count: usize) -> Self {
        let body = |number| format!("number {number}\r\n.a dot\r\n.\r\n..\r\nend\r\n");
        Self {
            waiting: (0..count).map(|number| outgoing(number, body(number).into_bytes())).collect(),
            ..Self::default()
        }
    }

    /// What became of every recipient.
    pub(crate) fn results(&self) -> Vec<&Result<Accepted, basin_core::reply::Reply>> {
        self.sent.iter().flat_map(|(sent, _)| sent.results.iter().map(|(_, result)| result)).collect()
    }

    /// How many recipients were taken over there.
    pub(crate) fn accepted(&self) -> usize {
        self.results().into_iter().filter(|result| result.is_ok()).count()
    }
}

/// One message to two recipients.
pub(crate) fn outgoing(number: usize, body: Vec<u8>) -> Outgoing {
    let mut envelope = Envelope::new(Address::parse("a@sender.example").ok());
    let recipients: Vec<_> = ["b@peer.example", "c@peer.example"]
        .into_iter()
        .filter_map(|text| envelope.add(Address::parse(text).expect("valid"), format!("rfc822;{text}")))
        .collect();
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: Timestamp::from_seconds(0),
        listener: "in".to_owned(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let id = MessageId::parse(&format!("m{number}")).expect("an id");
    let mut message = Message::new(id, arrival, envelope);
    message.header = Arc::new(HeaderBlock::parse(&HEADER.into()).expect("small"));
    message.body = Body::from_bytes(body);
    Outgoing::of(&message, &recipients)
}

/// A message with a further field.
pub(crate) fn with_field(number: usize, field: &str) -> Outgoing {
    let header = format!("{HEADER}{field}\r\n");
    let header = Arc::new(HeaderBlock::parse(&header.into_bytes().into()).expect("small"));
    Outgoing { header, ..outgoing(number, b"text\r\n".to_vec()) }
}

/// What the content of a message with that body is.
pub(crate) fn content(body: &[u8]) -> Vec<u8> {
    [HEADER.as_bytes(), b"\r\n", body].concat()
}

/// A route to these servers.
pub(crate) fn route(servers: &[SocketAddr], tls: TlsDemand) -> Route {
    let hosts = servers.iter().map(|server| HostPort { host: server.ip().to_string(), port: server.port() });
    named_route(hosts.collect(), tls)
}

/// A route to these hosts.
pub(crate) fn named_route(hosts: Vec<HostPort>, tls: TlsDemand) -> Route {
    let destination = Destination::hop(hosts.first().expect("a server"));
    Route { destination, next: NextHop::Hosts(hosts), tls, ..Route::mx("peer.example") }
}

/// Options for servers that behave: nobody waits for less than what a busy machine needs.
pub(crate) fn options() -> OutboundOptions {
    OutboundOptions { host_name: "out.example".to_owned(), ..OutboundOptions::default() }
}

/// Options for servers that make one wait: each wait is `patience`.
pub(crate) fn hasty(patience: Duration) -> OutboundOptions {
    let timeouts = ClientTimeouts {
        greeting: patience,
        command: patience,
        data: patience,
        block: patience,
        end: patience,
        quit: patience,
        transaction: patience * 10,
    };
    let limits = VisitLimits {
        connect: patience,
        handshake: patience,
        reach: patience * 20,
        visit: patience * 40,
        ..VisitLimits::default()
    };
    OutboundOptions { timeouts, limits, ..options() }
}

/// Visits those servers with that many messages.
pub(crate) async fn visit(options: OutboundOptions, route: &Route, count: usize) -> (Visit, Messages) {
    let outbound = Outbound::new(options).expect("good options");
    let mut messages = Messages::new(count);
    let visit = outbound.visit(route, &mut messages).await;
    (visit, messages)
}
