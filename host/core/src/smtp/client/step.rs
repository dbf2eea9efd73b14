//! The states of a connection, as the shell holds them.

use core::time::Duration;
use std::sync::Arc;

use crate::event::Question;
use crate::mail::BySink;
use crate::reply::Reply;
use crate::smtp::client::asking::Asking;
use crate::smtp::client::greeting;
use crate::smtp::client::live::{Live, close};
use crate::smtp::client::login::Login;
use crate::smtp::client::offered::Offered;
use crate::smtp::client::outgoing::Outgoing;
use crate::smtp::client::own::{Owned, farewell, goodbye};
use crate::smtp::client::policy::{ClientPolicy, TlsFacts};
use crate::smtp::client::sending::{Ending, Sending, Stream};
use crate::smtp::client::sent::{Closed, Sent, Why};
use crate::smtp::client::settling::Settling;
use crate::smtp::client::transaction::{self, Envelope};
use crate::time::Timestamp;

/// What a connection wants next, and the state that goes on from there. Whatever it is, what stands in `wire`
/// leaves first.
#[derive(Debug)]
pub enum ClientStep {
    /// Wait for octets, at most [`Reading::patience`], and call [`Reading::feed`].
    Read(Reading),
    /// Do the handshake, then call [`Upgrading::secured`] or [`Upgrading::not_secured`].
    StartTls(Upgrading),
    /// Nothing is in hand: call [`Idle::transact`] or [`Idle::quit`].
    Idle(Idle),
    /// Content leaves: call [`Sending::more`] for the next slice.
    Send(Sending),
    /// Record the results, then call [`Reported::go_on`].
    Sent(Sent, Reported),
    /// Ask the sinks, at most [`Asking::patience`], and call [`Asking::decided`] or [`Asking::timed_out`]; only where
    /// [`ClientPolicy::hearing`] says that somebody is bound. `wire` need not leave before.
    Ask(Asking, Box<Question>),
    /// Close the connection.
    Close(Closed),
}

/// Begins with a connection that was just opened; `tls` where it began with the connection (RFC 8314).
pub fn start(policy: Arc<ClientPolicy>, tls: Option<TlsFacts>, now: Timestamp) -> ClientStep {
    ClientStep::Read(Reading { live: Box::new(Live::new(policy, tls, now)), awaits: Awaits::Greeting })
}

/// A connection that waits for a reply.
#[derive(Debug)]
pub struct Reading {
    pub(super) live: Box<Live>,
    pub(super) awaits: Awaits,
}

/// What a reply is awaited to.
#[derive(Debug)]
pub(super) enum Awaits {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Login(Login),
    /// Something that a sink sent before a command.
    Own(Box<Owned>),
    /// The NOOP behind octets of a sink.
    Settling(Box<Settling>),
    Envelope(Box<Envelope>),
    Chunk(Box<Stream>),
    /// Nothing: the content was refused before it had left whole, and sinks are asked about that.
    Cut(Box<Stream>),
    End(Box<Ending>),
    Quit,
}

impl Awaits {
    // Replies that may come now. What comes beyond them cannot be an answer.
    fn due(&self) -> usize {
        match self {
            Self::Greeting | Self::Ehlo | Self::Helo | Self::StartTls | Self::Login(_) | Self::Quit => 1,
            Self::Own(_) | Self::Settling(_) => 1,
            Self::Cut(_) => 0,
            Self::Envelope(envelope) => envelope.due(),
            Self::Chunk(stream) => stream.due(),
            Self::End(ending) => ending.due(),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Greeting => "the connection",
            Self::Ehlo => "EHLO",
            Self::Helo => "HELO",
            Self::StartTls => "STARTTLS",
            Self::Login(_) => "AUTH",
            Self::Own(_) => "what a filter of this server sent",
            Self::Settling(_) => "NOOP",
            Self::Envelope(envelope) => envelope.awaited(),
            Self::Chunk(_) => "BDAT",
            Self::Cut(_) | Self::End(_) => "the end of the content",
            Self::Quit => "QUIT",
        }
    }
}

impl Reading {
    /// How long the shell waits for octets. Octets that end no reply make it no longer.
    pub fn patience(&self, now: Timestamp) -> Duration {
        let timeouts = &self.live.policy.timeouts;
        let (limit, end) = match &self.awaits {
            Awaits::Greeting => (timeouts.greeting, None),
            Awaits::Ehlo | Awaits::Helo | Awaits::StartTls | Awaits::Login(_) => (timeouts.command, None),
            Awaits::Own(owned) => (timeouts.command, owned.owner().ends()),
            Awaits::Settling(settling) => (timeouts.command, settling.owner().ends()),
            Awaits::Envelope(envelope) if envelope.awaits_data() => (timeouts.data, Some(envelope.ends)),
            Awaits::Envelope(envelope) => (timeouts.command, Some(envelope.ends)),
            Awaits::Chunk(stream) | Awaits::Cut(stream) => (timeouts.block, Some(stream.envelope.ends)),
            Awaits::End(_) => (timeouts.end, None),
            Awaits::Quit => (timeouts.quit, None),
        };
        self.live.patience(limit, end, now)
    }

    /// Whether the whole content has left, so that the message may be the other server's already. Who gives up now
    /// sends it twice (RFC 5321 §4.5.3.2.6).
    pub fn is_past_content(&self) -> bool {
        matches!(self.awaits, Awaits::End(_))
    }

    /// What is waited for, for logs.
    pub fn awaited(&self) -> &'static str {
        self.awaits.word()
    }

    /// Takes octets of the other server, cut anywhere.
    pub fn feed(self, input: &[u8], now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        let due = self.awaits.due();
        self.pump(due, input, now, wire)
    }

    /// No reply came in [`Reading::patience`].
    pub fn timed_out(self) -> ClientStep {
        let reply = Reply::with(451, 4, 2, format!("no reply to {} in time", self.awaited()));
        self.break_off(Why::TimedOut, &reply)
    }

    /// The other server closed the connection, or it broke; `what` is the error for people.
    pub fn lost(self, what: &str) -> ClientStep {
        let reply =
            Reply::with(451, 4, 2, format!("the connection was lost before the reply to {}: {what}", self.awaited()));
        self.break_off(Why::Lost, &reply)
    }

    /// This server stops.
    pub fn shut_down(self) -> ClientStep {
        self.break_off(Why::ShutDown, &shutting_down())
    }
}

/// A connection whose other server waits for the handshake of TLS.
#[derive(Debug)]
pub struct Upgrading {
    pub(super) live: Box<Live>,
}

impl Upgrading {
    /// The handshake is done.
    pub fn secured(self, facts: TlsFacts, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        greeting::secured(self.live, facts, now, wire)
    }

    /// The handshake failed. The connection is of no more use; where plain text is allowed, another may be
    /// opened with [`TlsDemand::Never`](crate::transport::TlsDemand::Never).
    pub fn not_secured(self, what: &str) -> ClientStep {
        self.live.close(Why::Tls, &Reply::with(451, 7, 5, format!("TLS failed: {what}")))
    }
}

/// A connection that is open, greeted, and as safe as demanded.
#[derive(Debug)]
pub struct Idle {
    pub(super) live: Box<Live>,
}

impl Idle {
    /// Begins with a message. What the other server cannot take has its results at once.
    pub fn transact(mut self, outgoing: Outgoing, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        self.live.begins_to_wait(now);
        transaction::begin(self.live, outgoing, 1, now, wire)
    }

    /// Says goodbye.
    pub fn quit(mut self, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        self.live.begins_to_wait(now);
        goodbye(self.live, now, wire)
    }

    /// Octets arrived though nothing was asked.
    pub fn feed(mut self, input: &[u8]) -> ClientStep {
        match self.live.unasked(input) {
            Some((why, reply)) => close(why, &reply),
            None => ClientStep::Idle(self),
        }
    }

    /// The other server closed the connection, or it broke.
    pub fn lost(self, what: &str) -> ClientStep {
        close(Why::Lost, &Reply::with(451, 4, 2, format!("the connection was lost: {what}")))
    }

    /// What the other server offers.
    pub fn offered(&self) -> &Offered {
        &self.live.offered
    }

    /// What TLS came to.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.live.tls.as_ref()
    }

    /// What the other server calls itself.
    pub fn peer_name(&self) -> &str {
        &self.live.peer_name
    }
}

/// A connection whose last transaction has its results.
#[derive(Debug)]
pub struct Reported(pub(super) After);

/// What follows a transaction.
#[derive(Debug)]
pub(super) enum After {
    Close(Box<Closed>),
    /// QUIT, and the end.
    Part(Box<Live>, Box<Closed>),
    GoOn(Box<Live>, Then),
}

/// What follows where the connection lasts.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing is in hand.
    Idle,
    /// The recipients that go in another transaction, and its number.
    Transact(Box<Outgoing>, u32),
    /// The session begins again.
    Hello,
    /// The session ends.
    Goodbye,
}

impl Reported {
    /// The results are recorded.
    pub fn go_on(self, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        match self.0 {
            After::Close(closed) => ClientStep::Close(*closed),
            After::Part(mut live, closed) => {
                live.begins_to_wait(now);
                farewell(live, *closed, now, wire)
            }
            After::GoOn(mut live, then) => {
                // Recording took its time, for which the other server is not to blame.
                live.begins_to_wait(now);
                match then {
                    Then::Idle => transaction::idle(live, now, wire),
                    Then::Transact(rest, number) => transaction::begin(live, *rest, number, now, wire),
                    Then::Hello => greeting::hello(live, now, wire),
                    Then::Goodbye => goodbye(live, now, wire),
                }
            }
        }
    }

    /// See [`Closed::dropped_by`].
    pub(super) fn dropped_by(mut self, sink: BySink) -> Self {
        match &mut self.0 {
            After::Close(closed) | After::Part(_, closed) => closed.dropped_by(sink),
            After::GoOn(..) => {}
        }
        self
    }

    /// Octets came behind the last reply. What was decided stays decided.
    pub(super) fn with_input(self, input: &[u8]) -> Self {
        match self.0 {
            After::Close(closed) => Self(After::Close(closed)),
            // Whoever goes on talking hears no last words.
            After::Part(_, closed) => Self(After::Close(closed)),
            After::GoOn(mut live, then) => {
                let Some((why, reply)) = live.unasked(input) else { return Self(After::GoOn(live, then)) };
                let unsent = match then {
                    Then::Transact(outgoing, _) => Some(*outgoing),
                    Then::Hello => live.resume.take().map(|(outgoing, _)| *outgoing),
                    Then::Idle | Then::Goodbye => None,
                };
                Self(After::Close(Box::new(Closed::of(why, &reply, unsent))))
            }
        }
    }
}

pub(super) fn shutting_down() -> Reply {
    Reply::with(451, 3, 2, "this server is shutting down")
}
