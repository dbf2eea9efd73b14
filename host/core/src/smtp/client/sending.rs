//! The content on its way, and the replies to its end.

use core::time::Duration;
use std::collections::VecDeque;

use crate::event::{EventKind, OutState};
use crate::limits::CONTENT_SLICE_BYTES;
use crate::mail::{BySink, RecipientId};
use crate::reply::{Class, Reply};
use crate::smtp::client::asking::Asking;
use crate::smtp::client::hearing::{Heard, Refusal};
use crate::smtp::client::live::{Live, fault_reply, odd, put_line, violation};
use crate::smtp::client::outgoing::{ContentReader, Outgoing};
use crate::smtp::client::sent::Why;
use crate::smtp::client::step::{Awaits, ClientStep, Reading, shutting_down};
use crate::smtp::client::stuffing::{BadLineEnd, DotStuffer, LineCheck};
use crate::smtp::client::transaction::Envelope;
use crate::time::Timestamp;
use crate::transport::Protocol;

/// A connection over which content leaves.
///
/// Each call of [`Sending::more`] says that everything it gave before has been written out. That is how the
/// machine knows whether a reply can be one to the end of the content.
#[derive(Debug)]
pub struct Sending {
    live: Box<Live>,
    stream: Box<Stream>,
}

/// Content and how far it is.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) envelope: Box<Envelope>,
    content: ContentReader,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Text { stuffer: DotStuffer, is_end_given: bool },
    Chunks(Chunks),
}

#[derive(Debug, Default)]
struct Chunks {
    check: LineCheck,
    /// Octets of the chunk that was announced and have not been given yet.
    left: u64,
    is_open: bool,
    is_last: bool,
    /// Chunks that left whole and have no reply.
    unanswered: u32,
}

impl Sending {
    pub(super) fn new(live: Box<Live>, envelope: Box<Envelope>) -> Self {
        let way = if envelope.plan().is_chunked {
            Way::Chunks(Chunks::default())
        } else {
            Way::Text { stuffer: DotStuffer::default(), is_end_given: false }
        };
        let content = envelope.outgoing().content();
        Self { live, stream: Box::new(Stream { envelope, content, way }) }
    }

    /// How long the shell may take to write out what it was given.
    pub fn patience(&self, now: Timestamp) -> Duration {
        self.live.patience(self.live.policy.timeouts.block, Some(self.stream.envelope.ends), now)
    }

    /// Appends the next slice of content to `wire`; what the call before gave has been written out whole.
    pub fn more(self, now: Timestamp, wire: &mut Vec<u8>) -> ClientStep {
        let Self { mut live, mut stream } = self;
        live.waits_since = now;
        if now >= stream.envelope.ends && !stream.is_end_given() {
            return Self { live, stream }.timed_out();
        }
        let start = wire.len();
        let given = match &mut stream.way {
            Way::Text { is_end_given: true, .. } => return stream.end(live, 0),
            Way::Text { stuffer, is_end_given } => give_text(&mut stream.content, stuffer, is_end_given, wire),
            Way::Chunks(chunks) => {
                if chunks.is_given_whole() {
                    chunks.is_open = false;
                    if chunks.is_last {
                        let before_last = chunks.unanswered;
                        return stream.end(live, before_last);
                    }
                    chunks.unanswered = chunks.unanswered.saturating_add(1);
                }
                if !chunks.is_open && chunks.unanswered >= in_flight(&live) {
                    return ClientStep::Read(Reading { live, awaits: Awaits::Chunk(stream) });
                }
                let is_binary = stream.envelope.plan().is_binary;
                chunks.give(&mut stream.content, live.policy.chunk_bytes, is_binary, wire)
            }
        };
        match given {
            Ok(()) => ClientStep::Send(Self { live, stream }),
            Err(reply) => {
                // What would have left is taken back; without its end, what left before is no message.
                wire.truncate(start);
                stream.envelope.refuse_all(&Refusal::of(&reply));
                stream.envelope.end(Why::Content, &reply, false)
            }
        }
    }

    /// Takes octets that came while content left.
    ///
    /// A refusal counts: the rest need not leave, and the connection is closed, because only its end would make
    /// the server listen to commands again. A 2yz reply to content that has not left is a lie.
    pub fn feed(self, mut input: &[u8], now: Timestamp) -> ClientStep {
        let Self { mut live, mut stream } = self;
        loop {
            let reply = match live.reader.read(&mut input) {
                Ok(None) => return ClientStep::Send(Self { live, stream }),
                Ok(Some(reply)) => reply,
                Err(fault) => return stream.break_off(Why::Violation, &fault_reply(fault)),
            };
            live.waits_since = now;
            match reply.class() {
                Class::Transient | Class::Permanent if reply.code() == 421 => {
                    return stream.break_off(Why::ServiceClosing, &reply);
                }
                Class::Transient | Class::Permanent if live.hears(EventKind::OnServerResponse) => {
                    live.begins_to_wait(now);
                    let reading = Reading { live, awaits: Awaits::Cut(stream) };
                    // What came behind it answers nothing, because nothing is said any more.
                    return Asking::about_reply(reading, reply, 0, &[], now);
                }
                Class::Transient | Class::Permanent => return stream.cut_off(&Heard::of(reply)),
                Class::Success if stream.due() > 0 => stream.answered(),
                Class::Success | Class::Continue => {
                    return stream.break_off(Why::Violation, &odd(&reply, "content that has not left"));
                }
            }
        }
    }

    /// The other server did not take what was given in [`Sending::patience`].
    pub fn timed_out(self) -> ClientStep {
        let reply = Reply::with(451, 4, 2, "the next server did not take the content in time");
        self.stream.break_off(Why::TimedOut, &reply)
    }

    /// The connection broke; `what` is the error for people.
    pub fn lost(self, what: &str) -> ClientStep {
        let reply = Reply::with(451, 4, 2, format!("the connection was lost in the content: {what}"));
        self.stream.break_off(Why::Lost, &reply)
    }

    /// This server stops.
    pub fn shut_down(self) -> ClientStep {
        self.stream.break_off(Why::ShutDown, &shutting_down())
    }
}

/// The line that announces the first chunk of a message.
pub(super) fn first_chunk_line(outgoing: &Outgoing, chunk_bytes: u64) -> String {
    chunk_line(outgoing.size().min(chunk_bytes.max(1)), outgoing.size() <= chunk_bytes.max(1))
}

fn chunk_line(octets: u64, is_last: bool) -> String {
    format!("BDAT {octets}{}", if is_last { " LAST" } else { "" })
}

impl Stream {
    // Everything has left.
    fn end(self, live: Box<Live>, chunk_replies: u32) -> ClientStep {
        let is_lmtp = live.policy.protocol == Protocol::Lmtp;
        let takers = if is_lmtp { self.envelope.accepted() } else { VecDeque::new() };
        let is_chunked = self.envelope.plan().is_chunked;
        let ending = Ending { envelope: self.envelope, chunk_replies, takers, is_lmtp, is_chunked, is_lone_dot: false };
        if !live.reader.is_between() {
            // A reply that began before the end cannot be one to it.
            return ending.break_off(Why::Violation, &violation("it replied before the end of the content"));
        }
        ClientStep::Read(Reading { live, awaits: Awaits::End(Box::new(ending)) })
    }

    /// A sink ends the connection over a reply.
    pub(super) fn dropped(self, heard: &Heard) -> ClientStep {
        self.break_off_by(Why::Dropped, &heard.judged, heard.dropper())
    }

    /// The connection is over before the machine knows that the end left.
    pub(super) fn break_off(self, why: Why, reply: &Reply) -> ClientStep {
        self.break_off_by(why, reply, None)
    }

    fn break_off_by(mut self, why: Why, reply: &Reply, by: Option<BySink>) -> ClientStep {
        if !self.is_end_given() {
            return self.envelope.end(why, reply, false);
        }
        // The shell may have written the end out before it learned that something is wrong.
        self.envelope.refuse_accepted(&Refusal { reply: interrupted(reply), by });
        self.envelope.end(why, reply, true)
    }

    fn is_end_given(&self) -> bool {
        match &self.way {
            Way::Text { is_end_given, .. } => *is_end_given,
            Way::Chunks(chunks) => chunks.is_last && chunks.left == 0,
        }
    }

    /// Chunks that may be answered.
    pub(super) fn due(&self) -> usize {
        match &self.way {
            Way::Text { .. } => 0,
            Way::Chunks(chunks) => usize::try_from(chunks.unanswered).unwrap_or(usize::MAX),
        }
    }

    /// The verb that a refusal answers which comes while content leaves.
    pub(super) fn keyword(&self) -> &'static str {
        match &self.way {
            Way::Text { .. } => ".",
            Way::Chunks(_) => "BDAT",
        }
    }

    /// Takes a refusal that came while content left. The rest does not leave, and neither does anything else.
    pub(super) fn cut_off(mut self, heard: &Heard) -> ClientStep {
        self.envelope.refuse_accepted(&heard.refusal());
        self.envelope.end(Why::Refused, &heard.judged, false)
    }

    fn answered(&mut self) {
        if let Way::Chunks(chunks) = &mut self.way {
            chunks.unanswered = chunks.unanswered.saturating_sub(1);
        }
    }

    /// Takes the reply to a chunk while no other is on its way.
    pub(super) fn reply(mut self: Box<Self>, mut live: Box<Live>, heard: &Heard) -> ClientStep {
        let reply = &heard.judged;
        match reply.class() {
            Class::Success => {
                self.answered();
                ClientStep::Send(Sending { live, stream: self })
            }
            Class::Continue => self.break_off(Why::Violation, &odd(reply, "BDAT")),
            Class::Transient | Class::Permanent => {
                self.envelope.refuse_accepted(&heard.refusal());
                if self.due() > 1 {
                    // The replies to the chunks behind it say nothing, and are not waited for.
                    return self.envelope.end(Why::Refused, reply, false);
                }
                // RFC 3030 §2: after a refusal only RSET makes the state known.
                live.needs_reset = true;
                self.envelope.conclude(live)
            }
        }
    }
}

impl Chunks {
    fn is_given_whole(&self) -> bool {
        self.is_open && self.left == 0
    }

    // Announces a chunk where none is open, and appends a slice of it.
    fn give(
        &mut self,
        content: &mut ContentReader,
        chunk_bytes: u64,
        is_binary: bool,
        wire: &mut Vec<u8>,
    ) -> Result<(), Reply> {
        if !self.is_open {
            let rest = content.rest();
            self.left = rest.min(chunk_bytes.max(1));
            self.is_last = self.left == rest;
            self.is_open = true;
            put_line(wire, &chunk_line(self.left, self.is_last));
        }
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(CONTENT_SLICE_BYTES);
        let slice = content.next(len).map_err(|_| unreadable())?;
        self.left = self.left.saturating_sub(slice.len() as u64);
        if !is_binary {
            self.check.check(&slice).map_err(bad_line_end)?;
            if self.is_last && self.left == 0 {
                self.check.finish().map_err(bad_line_end)?;
            }
        }
        wire.extend_from_slice(&slice);
        Ok(())
    }
}

fn give_text(
    content: &mut ContentReader,
    stuffer: &mut DotStuffer,
    is_end_given: &mut bool,
    wire: &mut Vec<u8>,
) -> Result<(), Reply> {
    let slice = content.next(CONTENT_SLICE_BYTES).map_err(|_| unreadable())?;
    stuffer.push(&slice, wire).map_err(bad_line_end)?;
    if content.rest() == 0 {
        stuffer.finish(wire).map_err(bad_line_end)?;
        *is_end_given = true;
    }
    Ok(())
}

fn in_flight(live: &Live) -> u32 {
    // Whoever may judge a chunk judges it before the next.
    let may_follow = live.offered.has_pipelining && !live.is_judged("BDAT");
    if may_follow { live.policy.chunks_in_flight.max(1) } else { 1 }
}

/// A transaction whose content has left.
#[derive(Debug)]
pub(super) struct Ending {
    envelope: Box<Envelope>,
    /// Replies to chunks before the last.
    chunk_replies: u32,
    /// In LMTP, who still waits for a reply, in order (RFC 2033 §4.2).
    takers: VecDeque<usize>,
    is_lmtp: bool,
    is_chunked: bool,
    /// The content is a lone dot that nobody gets.
    is_lone_dot: bool,
}

impl Ending {
    pub(super) fn lone_dot(envelope: Box<Envelope>) -> Self {
        Self {
            envelope,
            chunk_replies: 0,
            takers: VecDeque::new(),
            is_lmtp: false,
            is_chunked: false,
            is_lone_dot: true,
        }
    }

    /// Replies that may come.
    pub(super) fn due(&self) -> usize {
        let last = if self.is_lmtp { self.takers.len() } else { 1 };
        last.saturating_add(usize::try_from(self.chunk_replies).unwrap_or(usize::MAX))
    }

    /// The verb that the next reply answers, as sinks see it.
    pub(super) fn keyword(&self) -> &'static str {
        if self.chunk_replies > 0 { "BDAT" } else { "." }
    }

    /// The message.
    pub(super) fn outgoing(&self) -> &Outgoing {
        self.envelope.outgoing()
    }

    /// The recipient that the next reply is about, in LMTP.
    pub(super) fn answered_recipient(&self) -> Option<RecipientId> {
        let place = self.takers.front().filter(|_| self.chunk_replies == 0)?;
        self.envelope.outgoing().recipients.get(*place).map(|recipient| recipient.id)
    }

    /// Goes on from elsewhere when the transaction is over.
    pub(super) fn leave_for(&mut self, state: OutState) {
        self.envelope.leave_for(state);
    }

    pub(super) fn reply(mut self: Box<Self>, mut live: Box<Live>, heard: &Heard) -> ClientStep {
        let reply = &heard.judged;
        let is_refusal = reply.is_refusal();
        if reply.class() == Class::Continue {
            return self.break_off(Why::Violation, &odd(reply, "the end of the content"));
        }
        if self.is_lone_dot {
            return self.envelope.conclude(live);
        }
        if self.chunk_replies > 0 {
            if is_refusal {
                // The last chunk has left. Where a sink alone refuses one before it, the server goes on to take the message.
                let may_be_delivered = !heard.real.is_refusal();
                self.envelope.refuse_accepted(&heard.refusal());
                return self.envelope.end(Why::Refused, reply, may_be_delivered);
            }
            self.chunk_replies -= 1;
            return ClientStep::Read(Reading { live, awaits: Awaits::End(self) });
        }
        if is_refusal && !heard.real.is_refusal() {
            self.envelope.doubt();
        }
        self.answered(heard);
        if !self.takers.is_empty() {
            return ClientStep::Read(Reading { live, awaits: Awaits::End(self) });
        }
        live.needs_reset = self.is_chunked && heard.real.is_refusal();
        self.envelope.conclude(live)
    }

    fn answered(&mut self, heard: &Heard) {
        let place = self.takers.pop_front();
        if heard.judged.is_refusal() {
            match place {
                Some(place) => self.envelope.refuse_one(place, heard.refusal()),
                None => self.envelope.refuse_accepted(&heard.refusal()),
            }
            return;
        }
        // Who took it has said so in words of its own, whatever a sink puts in their place.
        let accepted = self.envelope.taken(&heard.real);
        match place {
            Some(place) => self.envelope.decide_one(place, Ok(accepted)),
            None => self.envelope.take_accepted(&accepted),
        }
    }

    /// A sink ends the connection over a reply. Who was taken is taken; the others are tried again.
    pub(super) fn dropped(mut self, heard: &Heard) -> ClientStep {
        let Heard { real, judged: why, .. } = heard;
        if self.chunk_replies > 0 || self.is_lone_dot || real.class() == Class::Continue {
            return self.break_off_by(Why::Dropped, why, heard.dropper());
        }
        if real.is_refusal() {
            self.answered(heard);
        } else {
            self.answered(&Heard::of(real.clone()));
        }
        let is_open = !self.takers.is_empty();
        self.envelope.refuse_accepted(&Refusal { reply: interrupted(why), by: heard.dropper() });
        self.envelope.end(Why::Dropped, why, is_open)
    }

    /// The connection is over and the reply is not here. Nobody counts as taken; who has no reply is tried again.
    pub(super) fn break_off(self, why: Why, reply: &Reply) -> ClientStep {
        self.break_off_by(why, reply, None)
    }

    fn break_off_by(mut self, why: Why, reply: &Reply, by: Option<BySink>) -> ClientStep {
        // 421 in place of the reply says that the message was not taken.
        let may_be_delivered = !self.is_lone_dot && why != Why::ServiceClosing;
        let result = if why == Why::ServiceClosing { reply.shortened() } else { interrupted(reply) };
        self.envelope.refuse_accepted(&Refusal { reply: result, by });
        self.envelope.end(why, reply, may_be_delivered)
    }
}

// RFC 1047: what to think of a message whose end left and whose reply did not come.
fn interrupted(reply: &Reply) -> Reply {
    let text = reply.lines().first().map(String::as_str).unwrap_or_default();
    Reply::new(451, reply.enhanced(), format!("{text}; the message may have been taken")).shortened()
}

fn unreadable() -> Reply {
    Reply::with(451, 3, 0, "the message cannot be read here")
}

fn bad_line_end(_: BadLineEnd) -> Reply {
    Reply::with(550, 6, 0, "the content has a bare CR or LF or a NUL, which must not leave")
}
