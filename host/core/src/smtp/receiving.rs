//! A session that receives message text.

use core::time::Duration;

use crate::mail::{Content, MessageId};
use crate::reply::Reply;
use crate::smtp::carry_out::Answer;
use crate::smtp::data::Fed;
use crate::smtp::incoming::{Failed, Incoming};
use crate::smtp::intent::Tally;
use crate::smtp::live::{EndReason, Live, Transaction};
use crate::smtp::outbox::Outbox;
use crate::smtp::session::Step;
use crate::time::Timestamp;

/// A session that receives message text: all of it after DATA, a chunk of it after BDAT.
///
/// The text is read to its end whatever is wrong with it: what stands in it must never be taken for commands. It
/// is refused at the dot, or at the end of the chunk.
///
/// The shell keeps one draft for a message. It begins one where [`Receiving::is_new`] says so, writes what
/// [`Receiving::feed`] gives, drops it where [`Receiving::is_refused`] says so, and finishes it at the end where
/// [`Receiving::is_last`] says so. Between chunks [`Session::keeps_draft`](crate::smtp::Session::keeps_draft) says
/// whether it is still of use.
#[derive(Debug)]
pub struct Receiving {
    live: Box<Live>,
    what: What,
}

/// What a session that receives text is to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Text of DATA, up to its dot.
    ToDot,
    /// So many octets of a chunk; where there are none, [`Receiving::feed`] is called with nothing and without a
    /// wait.
    Octets(u64),
}

/// A message whose text arrives.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) transaction: Transaction,
    pub(super) incoming: Box<Incoming>,
}

#[derive(Debug)]
enum What {
    Message(Box<Text>),
    /// A chunk that nobody wants, and the answer to it (RFC 3030 §2: its octets are read and dropped first).
    Nothing {
        id: Option<MessageId>,
        left: u64,
        reply: Reply,
        tally: Tally,
        line: Vec<u8>,
    },
}

impl Receiving {
    pub(super) fn of(live: Box<Live>, text: Box<Text>) -> Self {
        Self { live, what: What::Message(text) }
    }

    fn skipping(live: Box<Live>, left: u64, reply: Reply, tally: Tally, line: &[u8]) -> Self {
        let id = live.transaction.as_ref().map(|transaction| transaction.message.id.clone());
        Self { live, what: What::Nothing { id, left, reply, tally, line: line.to_vec() } }
    }

    /// What to give next to [`Receiving::feed`].
    pub fn wants(&self) -> Wants {
        match &self.what {
            What::Message(text) => text.incoming.wants(),
            What::Nothing { left, .. } => Wants::Octets(*left),
        }
    }

    /// Whether nothing of the message was read yet, so that the shell begins a draft.
    pub fn is_new(&self) -> bool {
        match &self.what {
            What::Message(text) => !text.incoming.is_begun,
            What::Nothing { .. } => false,
        }
    }

    /// Whether the end that comes next is that of the message; the draft is finished then.
    pub fn is_last(&self) -> bool {
        match &self.what {
            What::Message(text) => text.incoming.is_last(),
            What::Nothing { .. } => false,
        }
    }

    /// Reads octets of the wire and appends the text in them to `text`, for the draft.
    ///
    /// Octets after the end are not consumed: they are the next commands. Where the text is paused, the shell calls
    /// [`Receiving::pause`] and feeds the rest to the `Receiving` that it gets back.
    pub fn feed(&mut self, input: &[u8], text: &mut Vec<u8>) -> Fed {
        match &mut self.what {
            What::Message(message) => message.incoming.feed(input, text),
            What::Nothing { left, .. } => {
                let consumed = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left = left.saturating_sub(consumed as u64);
                Fed { consumed, is_end: *left == 0, is_paused: false }
            }
        }
    }

    /// Asks sinks before more is read, where [`Receiving::feed`] said so.
    pub fn pause(self, now: Timestamp) -> Step {
        let Self { live, what } = self;
        match what {
            What::Message(text) => match text.incoming.due() {
                Some(due) => live.ask_about(text, due, None, now),
                None => Step::Receive(Self::of(live, text)),
            },
            What::Nothing { .. } => Step::Receive(Self { live, what }),
        }
    }

    /// The draft could not be written: the rest is read and dropped, and this is the answer at the end.
    pub fn storage_failed(&mut self, reply: Reply) {
        if let What::Message(text) = &mut self.what {
            text.incoming.fail(Failed::with(reply));
        }
    }

    /// Whether the text is refused or dropped already, so that the shell may drop its draft.
    pub fn is_refused(&self) -> bool {
        match &self.what {
            What::Message(text) => text.incoming.is_refused(),
            What::Nothing { .. } => true,
        }
    }

    /// Identity of the message, for logs; empty where there is none.
    pub fn message_id(&self) -> &str {
        match &self.what {
            What::Message(text) => text.transaction.message.id.as_str(),
            What::Nothing { id, .. } => id.as_ref().map_or("", MessageId::as_str),
        }
    }

    /// How long the shell waits for the next octets.
    pub fn patience(&self) -> Duration {
        self.live.policy.data_timeout
    }

    /// How long the rest of the text may take; the time between chunks counts.
    pub fn patience_in_all(&self, now: Timestamp) -> Duration {
        let total = self.live.policy.data_total;
        match &self.what {
            What::Message(text) => total.saturating_sub(now.since(text.incoming.started)),
            What::Nothing { .. } => total,
        }
    }

    /// Counts octets that came after a wait; says whether the client sends slower than the listener lets it. Then
    /// the shell calls [`Receiving::too_slow`].
    pub fn is_too_slow(&mut self, octets: usize, waited: Duration) -> bool {
        let rate = self.live.policy.data_rate_min;
        self.live.pace.is_below(rate, octets, waited)
    }

    /// Ends the session of a client that sends too slowly: it would hold a place, a draft and memory for hours.
    pub fn too_slow(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.live.leave(&Reply::with(421, 4, 2, "too slow; closing"), EndReason::Timeout, now, outbox)
    }

    /// The end of the text or of the chunk was read; `content` is the finished draft, `None` where there is none
    /// or the message goes on.
    pub fn finish(self, content: Option<Content>, now: Timestamp, outbox: &mut Outbox) -> Step {
        let Self { live, what } = self;
        match what {
            What::Message(text) => live.end_of_text(text, content, now, outbox),
            What::Nothing { reply, tally, line, .. } => {
                live.answer(Answer { reply, tally, line: &line, must_close: false }, now, outbox)
            }
        }
    }

    /// No octets came in [`Receiving::patience`], or the text took longer than
    /// [`Receiving::patience_in_all`].
    pub fn timed_out(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.live.time_out(now, outbox)
    }

    /// The client closed the connection, or it broke: the message was never sent (RFC 5321 §4.1.1.4).
    pub fn peer_closed(self, now: Timestamp) -> Step {
        self.live.end(EndReason::Dropped, now)
    }

    /// The server stops.
    pub fn shut_down(self, now: Timestamp, outbox: &mut Outbox) -> Step {
        self.live.shut_down(now, outbox)
    }
}

impl Live {
    /// Reads a chunk and drops it, then answers.
    ///
    /// The transaction goes with it: a message must not come out without the chunk (RFC 3030 §2 has the client
    /// send none of the others, and those that it pipelined are dropped likewise).
    pub(super) fn skip_chunk(
        mut self: Box<Self>,
        octets: u64,
        answer: Answer<'_>,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let Answer { reply, tally, line, must_close } = answer;
        self.has_failed_chunk = true;
        if must_close || octets > self.policy.hard_max() {
            // Rather than to read for hours what nobody wants.
            return self.close(reply, EndReason::Error, line, now, outbox);
        }
        let receiving = Receiving::skipping(self, octets, reply, tally, line);
        Step::Receive(receiving)
    }
}
