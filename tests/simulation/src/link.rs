//! One connection: a client machine at one end, a session machine at the other, and wires that break.

use std::sync::Arc;

use basin_core::event::{Decision, EventSet, Question};
use basin_core::mail::{Content, Message, MessageId};
use basin_core::reply::Reply;
use basin_core::smtp::client::{self, ClientPolicy, ClientStep, Closed, Idle, Outgoing, Reported, Sent};
use basin_core::smtp::{
    Awaiting, Connection, Disposition, ListenerPolicy, Outbox, ProofOfStorage, Receiving, Session, Step, Verified,
    Wanted, Wants,
};
use basin_core::time::Timestamp;
use basin_spool::Receipt;
use bytes::Bytes;

use crate::dice::Dice;

/// Octets on the wire at which a client has to wait until the server has read some.
const WIRE_BYTES_MAX: usize = 16 * 1024;

/// What the server's end of a connection needs.
pub(crate) trait Acceptor {
    /// Events that it wants to be asked at.
    fn interest(&self) -> EventSet;
    /// Decides a question.
    fn decide(&mut self, question: Question, dice: &mut Dice) -> Decision;
    /// Hears a notice.
    fn tell(&mut self, notice: Question);
    /// A client logged in.
    fn logged_in(&mut self) {}
    /// Stores a message; the error is the reply to the client.
    fn store(&mut self, message: Message, disposition: Disposition) -> Result<Proof, Reply>;
}

/// Who is asked about the client's side of a connection; nobody where the policy says that nobody is bound.
pub(crate) type Asker<'a> = &'a mut dyn FnMut(Question, &mut Dice) -> Decision;

/// Proof that a message is stored.
pub(crate) enum Proof {
    /// By the spool.
    Spool(Receipt),
    /// By a server that is only played.
    Played(MessageId),
}

impl ProofOfStorage for Proof {
    fn id(&self) -> &MessageId {
        match self {
            Self::Spool(receipt) => receipt.id(),
            Self::Played(id) => id,
        }
    }
}

/// What came of a step.
pub(crate) enum Event {
    /// Something moved.
    Moved,
    /// Nothing can move now, see [`Link::waits_until`].
    Stuck,
    /// The client's end is free for a message: give it one with [`Link::transact`], or [`Link::quit`].
    Free,
    /// Results of a transaction; then [`Link::go_on`].
    Sent(Sent),
    /// The client's end is over. The server's end may still have work, see [`Link::drain`].
    Closed(Closed),
}

/// How a connection misbehaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Of 1,000 steps, those in which it breaks.
    pub(crate) breaks: u64,
    /// Of 1,000 steps, those in which its server falls silent for ever.
    pub(crate) stalls: u64,
}

/// A connection.
pub(crate) struct Link {
    client: Option<ClientStep>,
    idle: Option<Idle>,
    reported: Option<Reported>,
    wire: Vec<u8>,
    server: Option<Step>,
    outbox: Outbox,
    draft: Vec<u8>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    is_cut: bool,
    is_silent: bool,
    weather: Weather,
    /// When the client's end began to wait.
    waits_since: Option<Timestamp>,
}

impl Link {
    pub(crate) fn new(
        policy: &Arc<ClientPolicy>,
        listener: &Arc<ListenerPolicy>,
        acceptor: &dyn Acceptor,
        weather: Weather,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Self {
        let connection = Connection {
            id: format!("s{:016x}", dice.next()),
            client: core::net::SocketAddr::from(([127, 0, 0, 1], 40_000)),
            server: core::net::SocketAddr::from(([127, 0, 0, 1], 25)),
            started: now,
            random: dice.next(),
            client_name: None,
            tls: None,
        };
        let mut outbox = Outbox::new();
        let server = Session::start(listener.clone(), connection, acceptor.interest(), &mut outbox);
        Self {
            client: Some(client::start(policy.clone(), None, now)),
            idle: None,
            reported: None,
            wire: Vec::new(),
            server: Some(server),
            outbox,
            draft: Vec::new(),
            to_server: Vec::new(),
            to_client: Vec::new(),
            is_cut: false,
            is_silent: false,
            weather,
            waits_since: None,
        }
    }

    /// Gives the free client a message.
    pub(crate) fn transact(&mut self, outgoing: Outgoing, now: Timestamp) {
        if let Some(idle) = self.idle.take() {
            self.client = Some(idle.transact(outgoing, now, &mut self.wire));
        }
    }

    /// Lets the free client go.
    pub(crate) fn quit(&mut self, now: Timestamp) {
        if let Some(idle) = self.idle.take() {
            self.client = Some(idle.quit(now, &mut self.wire));
        }
    }

    /// Keeps the free client waiting; it is free again at the next step.
    pub(crate) fn stay(&mut self) {
        if let Some(idle) = self.idle.take() {
            self.client = Some(ClientStep::Idle(idle));
        }
    }

    /// Until when the client waits for its server.
    pub(crate) fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        let patience = match self.client.as_ref()? {
            ClientStep::Read(reading) => reading.patience(now),
            ClientStep::Send(sending) => sending.patience(now),
            ClientStep::StartTls(_)
            | ClientStep::Idle(_)
            | ClientStep::Sent(..)
            | ClientStep::Ask(..)
            | ClientStep::Close(_) => return None,
        };
        Some(self.waits_since?.plus(patience))
    }

    /// The results are recorded.
    pub(crate) fn go_on(&mut self, now: Timestamp) {
        if let Some(reported) = self.reported.take() {
            self.client = Some(reported.go_on(now, &mut self.wire));
        }
    }

    /// Does one thing at either end.
    pub(crate) fn step(
        &mut self,
        acceptor: &mut dyn Acceptor,
        asker: Asker<'_>,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Event {
        if dice.strikes(self.weather.breaks) {
            self.cut(dice);
        }
        self.is_silent |= dice.strikes(self.weather.stalls);
        let server_first = dice.strikes(500);
        if server_first && self.step_server(acceptor, now, dice) {
            return Event::Moved;
        }
        let event = self.step_client(asker, now, dice);
        let is_stuck = matches!(event, Event::Stuck);
        if is_stuck && !server_first && self.step_server(acceptor, now, dice) { Event::Moved } else { event }
    }

    /// The client's end is gone: what is on the wire arrives or not, and the server's end comes to its end.
    pub(crate) fn drain(mut self, acceptor: &mut dyn Acceptor, now: Timestamp, dice: &mut Dice) {
        self.cut(dice);
        self.is_silent = false;
        while self.step_server(acceptor, now, dice) {}
    }

    /// Breaks the connection; of what is on the wire a part arrives.
    fn cut(&mut self, dice: &mut Dice) {
        if !self.is_cut {
            self.is_cut = true;
            self.to_server.truncate(dice.length(self.to_server.len()));
            self.to_client.truncate(dice.length(self.to_client.len().saturating_sub(1)));
        }
    }

    fn step_client(&mut self, asker: Asker<'_>, now: Timestamp, dice: &mut Dice) -> Event {
        if self.is_cut {
            self.wire.clear();
        } else {
            self.to_server.append(&mut self.wire);
        }
        let Some(step) = self.client.take() else { return Event::Stuck };
        let waits_since = self.waits_since.take().unwrap_or(now);
        let step = match step {
            ClientStep::Read(reading) if !self.to_client.is_empty() => {
                let octets = take_some(&mut self.to_client, dice);
                reading.feed(&octets, now, &mut self.wire)
            }
            ClientStep::Read(reading) if self.is_over() => reading.lost("connection reset"),
            ClientStep::Read(reading) => {
                let until = waits_since.plus(reading.patience(now));
                if until > now {
                    self.client = Some(ClientStep::Read(reading));
                    self.waits_since = Some(waits_since);
                    return Event::Stuck;
                }
                reading.timed_out()
            }
            ClientStep::Send(sending) if !self.to_client.is_empty() && dice.strikes(300) => {
                let octets = take_some(&mut self.to_client, dice);
                sending.feed(&octets, now)
            }
            ClientStep::Send(sending) if self.is_over() => sending.lost("broken pipe"),
            ClientStep::Send(sending) if self.to_server.len() > WIRE_BYTES_MAX => {
                let until = waits_since.plus(sending.patience(now));
                if until > now {
                    self.client = Some(ClientStep::Send(sending));
                    self.waits_since = Some(waits_since);
                    return Event::Stuck;
                }
                sending.timed_out()
            }
            ClientStep::Send(sending) => sending.more(now, &mut self.wire),
            ClientStep::Ask(mut asking, question) => {
                // What arrives while sinks think is read before anything leaves.
                asking.feed(&core::mem::take(&mut self.to_client));
                asking.decided(asker(*question, dice), now, &mut self.wire)
            }
            ClientStep::StartTls(upgrading) => upgrading.not_secured("no TLS is played here"),
            ClientStep::Idle(idle) => {
                self.idle = Some(idle);
                return Event::Free;
            }
            ClientStep::Sent(sent, reported) => {
                self.reported = Some(reported);
                return Event::Sent(sent);
            }
            ClientStep::Close(closed) => {
                if !self.is_cut {
                    self.to_server.append(&mut self.wire);
                }
                return Event::Closed(closed);
            }
        };
        self.client = Some(step);
        Event::Moved
    }

    // Nothing more will come from the server.
    fn is_over(&self) -> bool {
        self.to_client.is_empty() && (self.is_cut || self.server.is_none())
    }

    // Whether anything moved.
    fn step_server(&mut self, acceptor: &mut dyn Acceptor, now: Timestamp, dice: &mut Dice) -> bool {
        if self.is_silent && !self.is_cut {
            return false;
        }
        let Some(step) = self.server.take() else { return false };
        let outbox = &mut self.outbox;
        let (step, has_moved) = match step {
            Step::Read(session) => {
                let end = self.to_server.windows(2).position(|pair| pair == b"\r\n");
                match end {
                    Some(end) => {
                        let line: Vec<u8> = self.to_server.drain(..end + 2).collect();
                        let line = line.get(..end).unwrap_or_default();
                        (session.line(line, now, acceptor.interest(), outbox), true)
                    }
                    None if self.is_cut => (session.peer_closed(now), true),
                    None => (Step::Read(session), false),
                }
            }
            Step::Receive(receiving) => self.receive(receiving, now, dice),
            // Nobody in these worlds encrypts.
            Step::StartTls(securing) => (securing.failed(now), true),
            Step::Verify(verifying, _) => {
                let verified = match dice.below(20) {
                    0 => Verified::Wrong,
                    1 => Verified::Unavailable,
                    _ => Verified::Right,
                };
                if verified == Verified::Right {
                    acceptor.logged_in();
                }
                (verifying.verified(verified, now, outbox), true)
            }
            Step::Input(awaiting, wanted) => self.input(awaiting, wanted, acceptor, now),
            Step::Ask(paused, question) => (paused.resume(acceptor.decide(*question, dice), now, outbox), true),
            Step::Examine(examining) => (examining.examined(&[]), true),
            Step::Store(storing, message, disposition) => {
                let step = match acceptor.store(message, disposition) {
                    Ok(proof) => storing.stored(&proof, now, outbox),
                    Err(reply) => storing.not_stored(reply, now, outbox),
                };
                (step, true)
            }
            Step::Close(ended) => {
                self.flush(acceptor);
                ended.notice().into_iter().for_each(|notice| acceptor.tell(notice));
                return true;
            }
        };
        self.server = Some(step);
        self.flush(acceptor);
        has_moved
    }

    fn receive(&mut self, mut receiving: Receiving, now: Timestamp, dice: &mut Dice) -> (Step, bool) {
        if receiving.is_new() {
            self.draft.clear();
        }
        if self.to_server.is_empty() && receiving.wants() != Wants::Octets(0) {
            return if self.is_cut { (receiving.peer_closed(now), true) } else { (Step::Receive(receiving), false) };
        }
        let len = dice.length(self.to_server.len());
        let fed = receiving.feed(self.to_server.get(..len).unwrap_or_default(), &mut self.draft);
        self.to_server.drain(..fed.consumed);
        if fed.is_paused {
            return (receiving.pause(now), true);
        }
        if !fed.is_end {
            return (Step::Receive(receiving), true);
        }
        let content = (receiving.is_last() && !receiving.is_refused()).then(|| {
            let octets = Bytes::from(core::mem::take(&mut self.draft));
            Content { len: octets.len() as u64, octets: Arc::new(octets) }
        });
        (receiving.finish(content, now, &mut self.outbox), true)
    }

    // What a command waits for besides its line.
    fn input(&mut self, awaiting: Awaiting, wanted: Wanted, acceptor: &dyn Acceptor, now: Timestamp) -> (Step, bool) {
        let (len, behind) = match wanted {
            Wanted::Line { .. } => (self.to_server.windows(2).position(|pair| pair == b"\r\n"), 2),
            Wanted::Octets(octets) => {
                (usize::try_from(octets).ok().filter(|octets| *octets <= self.to_server.len()), 0)
            }
        };
        let Some(len) = len else {
            return if self.is_cut {
                (awaiting.peer_closed(now), true)
            } else {
                (Step::Input(awaiting, wanted), false)
            };
        };
        let input: Vec<u8> = self.to_server.drain(..len + behind).take(len).collect();
        (awaiting.input(&input, now, acceptor.interest(), &mut self.outbox), true)
    }

    fn flush(&mut self, acceptor: &mut dyn Acceptor) {
        let octets = self.outbox.take_bytes();
        if !self.is_cut {
            self.to_client.extend_from_slice(&octets);
        }
        self.outbox.notices.drain(..).for_each(|notice| acceptor.tell(notice));
        self.outbox.refusals.clear();
    }
}

// A part of what is on the wire, as TCP would cut it.
fn take_some(wire: &mut Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let len = if dice.strikes(500) { wire.len() } else { dice.length(wire.len()) };
    wire.drain(..len).collect()
}
