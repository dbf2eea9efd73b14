//! The loop that drives the client's side of a dialogue over one connection.

use core::time::Duration;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use basin_core::event::Question;
use basin_core::reply::Reply;
use basin_core::smtp::client::{
    self, Asking, ClientPolicy, ClientStep, Closed, Idle, Outgoing, Reading, Sending, TlsFacts, Upgrading, Why,
};
use basin_core::time::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::tls::{self, Shown};
use crate::tls_policy::Handshake;
use crate::wire::{Input, Wire};
use crate::{Feed, HopFacts, is_tls_optional};

/// How long the last words of a dialogue may take to leave; nobody waits for an answer to them.
const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(1);

/// One connection, and what is needed to use it.
pub(crate) struct Conversation<'a, F> {
    /// The connection; `None` once a handshake failed.
    pub(crate) wire: Option<Wire>,
    /// How to shake hands where the dialogue comes to that.
    pub(crate) hands: Option<Handshake>,
    /// What this server shows in a handshake.
    pub(crate) shown: &'a Shown,
    /// Wait for the handshake.
    pub(crate) handshake_patience: Duration,
    /// Where messages come from.
    pub(crate) feed: &'a mut F,
    /// The message to begin with.
    pub(crate) in_hand: Option<Outgoing>,
    /// Messages that this connection may carry.
    pub(crate) messages_max: u32,
    /// When the server must be ready for mail.
    pub(crate) reach: Instant,
    /// When everything must be over, but for the reply to content that has left.
    pub(crate) end: Instant,
    /// How much longer that reply may take.
    pub(crate) end_patience: Duration,
    /// The connection, for the reports.
    pub(crate) facts: HopFacts,
    /// Octets that are to leave.
    pub(crate) out: Vec<u8>,
    /// Messages that this connection was given.
    pub(crate) messages: u32,
    /// Messages of which every recipient has its result.
    pub(crate) completed: u32,
    /// Whether the server was ready for mail.
    pub(crate) is_ready: bool,
    /// How the handshake failed.
    pub(crate) handshake_error: Option<io::Error>,
    /// Whether it proves less than the destination demands, for a message that says so.
    pub(crate) is_relaxed: bool,
    /// Why the message in hand cannot go over this connection, though over another it may.
    pub(crate) unfit: Option<Reply>,
}

impl<F: Feed> Conversation<'_, F> {
    /// Talks until the connection is over.
    pub(crate) async fn run(&mut self, policy: ClientPolicy) -> Closed {
        let mut step = client::start(Arc::new(policy), self.facts.tls.clone(), now());
        loop {
            step = match step {
                ClientStep::Read(reading) => self.read(reading).await,
                ClientStep::StartTls(upgrading) => self.start_tls(upgrading).await,
                ClientStep::Idle(idle) => self.idle(idle).await,
                ClientStep::Send(sending) => self.send(sending).await,
                ClientStep::Sent(sent, reported) => {
                    self.completed += u32::from(sent.is_complete);
                    self.feed.done(sent, &self.facts).await;
                    reported.go_on(now(), &mut self.out)
                }
                ClientStep::Ask(asking, question) => self.ask(asking, *question).await,
                ClientStep::Close(mut closed) => {
                    self.close().await;
                    if closed.why == Why::Dropped {
                        // It is a word of this server's sinks, even where nobody knows which of them.
                        closed.by.get_or_insert_default();
                    }
                    return closed;
                }
            };
        }
    }

    async fn read(&mut self, reading: Reading) -> ClientStep {
        let patience = reading.patience(now());
        let deadline = match reading.is_past_content() {
            true => (Instant::now() + patience).min(self.end + self.end_patience),
            false => self.until(patience),
        };
        match self.exchange(deadline).await {
            Input::Octets(octets) => reading.feed(&octets, now(), &mut self.out),
            Input::TimedOut => reading.timed_out(),
            Input::Ended(why) => reading.lost(&why),
        }
    }

    async fn ask(&mut self, mut asking: Asking, question: Question) -> ClientStep {
        let deadline = self.until(asking.patience(now()));
        let Ok(decision) = timeout_at(deadline, self.feed.ask(question)).await else {
            return asking.timed_out(now(), &mut self.out);
        };
        // What was said meanwhile answers nothing that leaves from now on; an end is met where the next reply is read.
        if let Some(Input::Octets(octets)) = self.arrived().await {
            asking.feed(&octets);
        }
        // A session that begins again may read the message once more.
        self.aside(|out| asking.decided(decision, now(), out)).await
    }

    async fn start_tls(&mut self, upgrading: Upgrading) -> ClientStep {
        let stream = self.wire.take().and_then(Wire::into_tcp);
        let (Some(stream), Some(hands)) = (stream, &self.hands) else {
            let error = "this connection cannot have TLS, or its server's name none";
            self.handshake_error = Some(io::Error::other(error));
            return upgrading.not_secured(error);
        };
        let patience = self.until(self.handshake_patience).saturating_duration_since(Instant::now());
        match tls::shake(stream, hands, self.shown, patience).await {
            Ok((stream, facts)) => {
                self.wire = Some(Wire::new(stream));
                self.facts.tls = Some(facts.clone());
                upgrading.secured(facts, now(), &mut self.out)
            }
            Err(error) => {
                let step = upgrading.not_secured(&error.to_string());
                self.handshake_error = Some(error);
                step
            }
        }
    }

    async fn idle(&mut self, idle: Idle) -> ClientStep {
        self.is_ready = true;
        let is_over = self.messages >= self.messages_max || Instant::now() >= self.end;
        let outgoing = match self.in_hand.take() {
            Some(outgoing) => Some(outgoing),
            None if is_over => None,
            None => self.feed.next().await,
        };
        // Between two messages a server may have hung up, or said 421. The message is not to blame.
        match (self.arrived().await, outgoing) {
            (Some(Input::Octets(octets)), outgoing) => {
                self.in_hand = outgoing;
                idle.feed(&octets)
            }
            (Some(Input::Ended(why)), outgoing) => {
                self.in_hand = outgoing;
                idle.lost(&why)
            }
            (None | Some(Input::TimedOut), Some(outgoing)) => {
                self.unfit = unfit(&outgoing, &idle, self.is_relaxed);
                if self.unfit.is_some() {
                    self.in_hand = Some(outgoing);
                    return idle.quit(now(), &mut self.out);
                }
                self.messages += 1;
                // It reads the whole body where nobody said what octets are in it.
                self.aside(|out| idle.transact(outgoing, now(), out)).await
            }
            (None | Some(Input::TimedOut), None) => idle.quit(now(), &mut self.out),
        }
    }

    async fn send(&mut self, sending: Sending) -> ClientStep {
        // Whatever a server says before a slice leaves is no answer to it: it may tell why it takes no more, and
        // it must not pass for the answer to an end that is still here.
        if !self.out.is_empty() {
            let step = match self.arrived().await {
                None | Some(Input::TimedOut) => ClientStep::Send(sending),
                Some(Input::Octets(octets)) => sending.feed(&octets, now()),
                Some(Input::Ended(why)) => sending.lost(&why),
            };
            let ClientStep::Send(sending) = step else {
                self.out.clear();
                return step;
            };
            return self.send_slice(sending).await;
        }
        self.aside(|out| sending.more(now(), out)).await
    }

    async fn send_slice(&mut self, sending: Sending) -> ClientStep {
        let deadline = self.until(sending.patience(now()));
        let written = self.write(deadline).await;
        if let Err(error) = written {
            // A server that hangs up often says why before.
            let step = match self.arrived().await {
                Some(Input::Octets(octets)) => sending.feed(&octets, now()),
                _ => ClientStep::Send(sending),
            };
            let ClientStep::Send(sending) = step else { return step };
            return if error.kind() == io::ErrorKind::TimedOut {
                sending.timed_out()
            } else {
                sending.lost(&format!("the connection broke: {error}"))
            };
        }
        // What came while the slice could not leave came before its end.
        match self.wire.as_mut().map(Wire::take_early) {
            Some(early) if !early.is_empty() => sending.feed(&early, now()),
            _ => ClientStep::Send(sending),
        }
    }

    async fn close(&mut self) {
        // A server that does not take the last words loses nothing by it.
        drop(self.write(Instant::now() + LAST_WORDS_PATIENCE).await);
        if let Some(wire) = self.wire.take() {
            wire.close().await;
        }
    }

    // What has come without being waited for.
    async fn arrived(&mut self) -> Option<Input> {
        match &mut self.wire {
            Some(wire) => wire.arrived().await,
            None => None,
        }
    }

    // The earlier of the dialogue's own deadline and those of the visit.
    fn until(&self, patience: Duration) -> Instant {
        let bound = if self.is_ready { self.end } else { self.reach };
        bound.min(Instant::now() + patience)
    }

    async fn write(&mut self, deadline: Instant) -> io::Result<()> {
        let written = match &mut self.wire {
            _ if self.out.is_empty() => Ok(()),
            Some(wire) => wire.write(&self.out, deadline).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        self.out.clear();
        written
    }

    async fn exchange(&mut self, deadline: Instant) -> Input {
        let written = self.write(deadline).await;
        let Some(wire) = &mut self.wire else { return Input::Ended("there is no connection".to_owned()) };
        match written {
            Ok(()) => wire.read(deadline).await,
            // A server that hangs up often says why before.
            Err(error) => match wire.arrived().await {
                Some(input @ Input::Octets(_)) => input,
                _ if error.kind() == io::ErrorKind::TimedOut => Input::TimedOut,
                _ => Input::Ended(format!("the connection broke: {error}")),
            },
        }
    }

    // Takes a step that may read the message from the disk, where it delays nobody else.
    async fn aside(&mut self, step: impl FnOnce(&mut Vec<u8>) -> ClientStep + Send + 'static) -> ClientStep {
        let mut out = core::mem::take(&mut self.out);
        let stepping = tokio::task::spawn_blocking(move || {
            let step = step(&mut out);
            (step, out)
        });
        match stepping.await {
            Ok((step, out)) => {
                self.out = out;
                step
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Why a message must not go to that server, where another of the destination may be fit.
fn unfit(outgoing: &Outgoing, idle: &Idle, is_relaxed: bool) -> Option<Reply> {
    // RFC 8689 §4.2.1: a server that cannot pass the rule on is passed over; the client refuses it, too.
    let is_proven = idle.tls().is_some_and(TlsFacts::is_verified);
    if !outgoing.is_protected_by(is_proven, idle.offered()) {
        return Some(Reply::with(550, 7, 30, "REQUIRETLS: the next server offers no proven way on"));
    }
    // The message that the connection was made for may be gone by now.
    (is_relaxed && !is_tls_optional(outgoing))
        .then(|| Reply::with(451, 7, 5, "the connection was made for mail that needs no TLS"))
}

/// The time, for the dialogue: it counts on from the first call, whatever becomes of the system's clock.
fn now() -> Timestamp {
    static FIRST: OnceLock<(Instant, Timestamp)> = OnceLock::new();
    let (start, time) = FIRST.get_or_init(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), Timestamp::default().plus(since))
    });
    time.plus(start.elapsed())
}
