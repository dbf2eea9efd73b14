//! The end of a text or a chunk, and what sinks say while it arrives.

use std::sync::Arc;

use crate::event::{EventKind, Overlay, Verdict, beyond_the_session};
use crate::mail::{Content, HeaderBlock, Message};
use crate::reply::Reply;
use crate::smtp::assemble::{assemble, cannot_store, with_received};
use crate::smtp::carry_out::{Answer, out_of_order, refusal_of_sink};
use crate::smtp::data::Faults;
use crate::smtp::disagreement::Named;
use crate::smtp::incoming::{Due, Failed, Incoming, Terms};
use crate::smtp::intent::{Tally, no_recipients, too_large};
use crate::smtp::live::{Live, Transaction};
use crate::smtp::outbox::{CONTENT, Outbox};
use crate::smtp::pace::Pace;
use crate::smtp::paused::{Paused, Waiting};
use crate::smtp::receiving::{Receiving, Text};
use crate::smtp::session::Step;
use crate::smtp::storing::Disposition;
use crate::smtp::verdicts::Arrived;
use crate::time::Timestamp;

/// A text that came to its end before sinks were asked about it, and its draft.
#[derive(Debug)]
pub(super) struct Finished(Option<Content>);

impl Live {
    /// The go-ahead to DATA was given.
    pub(super) fn receive_text(mut self: Box<Self>, transaction: Transaction, now: Timestamp) -> Step {
        self.pace = Pace::default();
        let incoming = Box::new(Incoming::new(self.terms(&transaction, false), now));
        Step::Receive(Receiving::of(self, Box::new(Text { transaction, incoming })))
    }

    /// BDAT was taken: its octets follow.
    pub(super) fn receive_chunk(
        mut self: Box<Self>,
        octets: u64,
        is_last: bool,
        line: &[u8],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let refuse = |reply| Answer { reply, tally: Tally::Work, line, must_close: false };
        // BDAT has an intent only where there are recipients; sinks may have taken them away since.
        let is_for_somebody = |transaction: &Transaction| !transaction.message.envelope.recipients.is_empty();
        let Some(mut transaction) = self.transaction.take().filter(is_for_somebody) else {
            return self.skip_chunk(octets, refuse(no_recipients()), now, outbox);
        };
        if octets > self.policy.hard_max() {
            return self.skip_chunk(octets, refuse(too_large()), now, outbox);
        }
        let mut incoming = match transaction.incoming.take() {
            Some(incoming) => incoming,
            None => {
                self.pace = Pace::default();
                Box::new(Incoming::new(self.terms(&transaction, true), now))
            }
        };
        incoming.begin_chunk(octets, is_last);
        Step::Receive(Receiving::of(self, Box::new(Text { transaction, incoming })))
    }

    fn terms(&self, transaction: &Transaction, is_chunked: bool) -> Terms {
        let hard_max = self.policy.hard_max();
        Terms {
            bytes_max: transaction.waived.unwrap_or(self.policy.message_bytes_max),
            hard_max: (transaction.waived.is_none() && self.interest.has(EventKind::OnMaxMsgSize)).then_some(hard_max),
            shows_headers: self.interest.has(EventKind::OnEndOfHeaders),
            is_binary: transaction.is_binary(),
            is_chunked,
        }
    }

    /// Raises `on-end-of-headers` or `on-max-msg-size`.
    pub(super) fn ask_about(
        mut self: Box<Self>,
        mut text: Box<Text>,
        due: Due,
        ended: Option<Finished>,
        now: Timestamp,
    ) -> Step {
        let due = match due {
            // Nobody sees what only claims to be a finding of this server.
            Due::Headers(block) => Due::Headers(self.without_forged_results(block)),
            Due::Size => Due::Size,
        };
        let (event, native) = match &due {
            Due::Headers(block) => {
                text.transaction.message.header = block.clone();
                (EventKind::OnEndOfHeaders, queued(&text.transaction.message))
            }
            Due::Size => (EventKind::OnMaxMsgSize, too_large()),
        };
        let message = Some(text.transaction.message.clone());
        let size = match &due {
            Due::Headers(_) => None,
            Due::Size => self.size_in_question(text.incoming.text_len()),
        };
        let overlay = Overlay { message, size, session_bag: self.bag.clone(), ..Overlay::default() };
        let question = self.question(event, Some(native), overlay, now);
        Step::Ask(Paused { live: self, waiting: Waiting::Text { text, due, ended } }, Box::new(question))
    }

    /// Goes on with a text after sinks were asked about it.
    pub(super) fn resume_text(
        self: Box<Self>,
        mut text: Box<Text>,
        due: Due,
        ended: Option<Finished>,
        (verdict, overlay): (Verdict, Overlay),
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        match due {
            Due::Headers(shown) => text.headers_decided(&shown, verdict, overlay),
            Due::Size => {
                let limit = self.policy.message_bytes_max;
                let waived = if let Verdict::WaiveUpTo(octets) = verdict { octets } else { limit };
                let message_bytes_max = waived.clamp(limit, self.policy.hard_max());
                text.incoming.limit(message_bytes_max);
            }
        }
        match ended {
            Some(Finished(content)) => self.end_of_text(text, content, now, outbox),
            None => Step::Receive(Receiving::of(self, text)),
        }
    }

    /// The end of a text or a chunk was read.
    pub(super) fn end_of_text(
        mut self: Box<Self>,
        text: Box<Text>,
        content: Option<Content>,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        if let Some(due) = text.incoming.due() {
            return self.ask_about(text, due, Some(Finished(content)), now);
        }
        let Text { mut transaction, incoming } = *text;
        let (is_last, is_chunked) = (incoming.is_last(), incoming.is_chunked());
        // The answer to the last of a message goes at once: the sooner, the fewer clients send the message again
        // (RFC 1047).
        outbox.flush_now |= is_last;
        let line = CONTENT;
        if let Some((failed, tally)) = refusal(&incoming) {
            self.has_failed_chunk = is_chunked && !is_last;
            let answer = Answer { reply: failed.reply, tally, line, must_close: failed.must_close };
            return self.answer(answer, now, outbox);
        }
        if !is_last {
            let reply = Reply::with(250, 0, 0, format!("{} octets received", incoming.text_len()));
            transaction.incoming = Some(incoming);
            self.transaction = Some(transaction);
            return self.answer(Answer { reply, tally: Tally::Work, line, must_close: false }, now, outbox);
        }
        self.commands += 1;
        let named = core::mem::take(&mut transaction.named);
        match self.message_of(transaction, &incoming, content.as_ref(), now) {
            Ok((message, original)) => self.message_arrived(message, original, named, *incoming, now, outbox),
            Err(reply) => self.answer(Answer { reply, tally: Tally::Work, line, must_close: false }, now, outbox),
        }
    }

    fn message_of(
        &self,
        transaction: Transaction,
        incoming: &Incoming,
        content: Option<&Content>,
        now: Timestamp,
    ) -> Result<(Message, Arc<Message>), Reply> {
        if incoming.is_discarded() {
            // Nobody will read the body of what is dropped; its header was shown to whoever dropped it.
            let header = transaction.message.header.clone();
            let message = with_received(self, transaction.message, header, now)?;
            return Ok((message.clone(), Arc::new(message)));
        }
        let content = content.filter(|content| content.len == incoming.text_len()).ok_or_else(cannot_store)?;
        assemble(self, transaction.message, content, incoming.edited.clone(), now)
    }

    // The whole message is here: sinks are asked about it, or it is stored.
    fn message_arrived(
        mut self: Box<Self>,
        message: Message,
        original: Arc<Message>,
        named: Named,
        incoming: Incoming,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let Incoming { disposition, response, appended, is_begun: _, .. } = incoming;
        let mut reply = response.unwrap_or_else(|| queued(&message));
        appended.into_iter().for_each(|line| reply.push_line(line));
        let disposition = disposition.unwrap_or(Disposition::Accept);
        let arrived = Arrived { message, original, reply, disposition, named };
        if arrived.disposition == Disposition::Discard || !self.interest.has(EventKind::OnEndOfData) {
            return self.take_message_in(arrived, false, now, outbox);
        }
        let (message, original) = (Some(arrived.message.clone()), Some(arrived.original.clone()));
        let overlay = Overlay { message, arrived: original, session_bag: self.bag.clone(), ..Overlay::default() };
        let question = self.question(EventKind::OnEndOfData, Some(arrived.reply.clone()), overlay, now);
        Step::Ask(Paused { live: self, waiting: Waiting::EndOfData(Box::new(arrived)) }, Box::new(question))
    }
}

impl Text {
    // What sinks said of the header block. A refusal waits for the end of the text or of the chunk.
    fn headers_decided(&mut self, shown: &Arc<HeaderBlock>, verdict: Verdict, overlay: Overlay) {
        let Self { transaction, incoming } = self;
        incoming.headers_shown();
        let is_fault = overlay.is_protocol_error;
        let disposition = match verdict {
            Verdict::Next | Verdict::SkipRemaining => Ok(None),
            Verdict::Hold(reason) => Ok(Some(Disposition::Hold(reason))),
            Verdict::Discard => Ok(Some(Disposition::Discard)),
            Verdict::Refuse(reply) => Err((refusal_of_sink(reply), false)),
            Verdict::DropSession(reply) => Err((refusal_of_sink(reply), true)),
            Verdict::Defer(later) => Err((refusal_of_sink(later.reply), false)),
            Verdict::Accept
            | Verdict::Consume(_)
            | Verdict::AwaitInput(_)
            | Verdict::AwaitOctets(..)
            | Verdict::BadMail(_)
            | Verdict::WaiveUpTo(_)
            | beyond_the_session!() => Err((out_of_order(), false)),
        };
        match disposition {
            Ok(disposition) => {
                if let Some(message) = overlay.message {
                    incoming.edited = (!Arc::ptr_eq(&message.header, shown)).then(|| message.header.clone());
                    transaction.message = message;
                }
                let native = queued(&transaction.message);
                incoming.response = overlay.response.map(|response| success_of_sink(&response, &native));
                incoming.appended = overlay.appended;
                let is_discarded = disposition == Some(Disposition::Discard);
                incoming.disposition = disposition;
                if is_discarded {
                    incoming.drop_text();
                }
            }
            Err((reply, must_close)) => incoming.fail(Failed { reply, must_close, is_fault }),
        }
    }
}

/// What the client hears of a message that is stored.
fn queued(message: &Message) -> Reply {
    Reply::with(250, 0, 0, format!("queued as {}", message.id))
}

/// The native success with a sink's text. Clients look for 250 here and for nothing else.
pub(super) fn success_of_sink(wanted: &Reply, native: &Reply) -> Reply {
    if wanted.is_refusal() || wanted.class() != native.class() {
        return native.clone();
    }
    Reply::multi_line(native.code(), wanted.enhanced().or(native.enhanced()), wanted.lines().to_vec())
}

fn refusal(incoming: &Incoming) -> Option<(Failed, Tally)> {
    if let Some((reply, tally)) = text_refusal(incoming.faults()) {
        return Some((Failed::with(reply), tally));
    }
    let Failed { reply, must_close, is_fault } = incoming.failed.as_ref()?;
    let failed = Failed { reply: reply.clone(), must_close: *must_close, is_fault: *is_fault };
    Some((failed, if *is_fault { Tally::Fault } else { Tally::Work }))
}

// Why the text is refused, and how that counts. Bare line ends come first: who sends them is misled about
// where the text ends, whatever else is wrong with it.
fn text_refusal(faults: Faults) -> Option<(Reply, Tally)> {
    let refused = |code, subject, detail, text: &str| Reply::with(code, subject, detail, text);
    if faults.has_bare_line_end {
        return Some((refused(550, 6, 11, "the message has a bare CR or LF; lines end with CR LF"), Tally::Fault));
    }
    if faults.has_nul {
        return Some((refused(550, 6, 11, "the message has a NUL"), Tally::Fault));
    }
    if faults.is_too_large {
        return Some((too_large(), Tally::Work));
    }
    faults.has_long_line.then(|| (refused(554, 6, 0, "the message has a line over 1048576 octets"), Tally::Work))
}
