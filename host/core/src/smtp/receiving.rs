//! A session that receives message text.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;

use crate::event::{EventKind, Overlay};
use crate::limits::{HEADER_BLOCK_BYTES_MAX, RECEIVED_FIELDS_MAX, TEXT_LINE_BYTES_MAX};
use crate::mail::{Body, Content, HeaderBlock, Message, MessageId, trace};
use crate::reply::Reply;
use crate::smtp::carry_out::Answer;
use crate::smtp::data::{DataDecoder, Faults, Fed, TextLimits};
use crate::smtp::intent::{Tally, too_large};
use crate::smtp::live::{EndReason, Live, Transaction};
use crate::smtp::outbox::Outbox;
use crate::smtp::paused::{Paused, Waiting};
use crate::smtp::session::Step;
use crate::smtp::storing::{Disposition, Storing};
use crate::time::Timestamp;

/// Octets read at first to find the end of the header block; most blocks are shorter.
const HEADER_READ_BYTES: usize = 8 * 1024;

/// A session that receives message text.
///
/// The text is read to its end whatever is wrong with it: what stands in it must never be taken for
/// commands. It is refused at the dot.
#[derive(Debug)]
pub struct Receiving {
    live: Box<Live>,
    transaction: Transaction,
    decoder: DataDecoder,
    failed: Option<Reply>,
}

impl Receiving {
    pub(super) fn new(live: Box<Live>, transaction: Transaction) -> Self {
        let limits =
            TextLimits { message_bytes_max: live.policy.message_bytes_max, line_bytes_max: TEXT_LINE_BYTES_MAX };
        Self { live, transaction, decoder: DataDecoder::new(limits), failed: None }
    }

    /// Reads octets of the wire and appends the text in them to `text`, for the draft.
    ///
    /// Octets after the end are not consumed: they are the next commands.
    pub fn feed(&mut self, input: &[u8], text: &mut Vec<u8>) -> Fed {
        self.decoder.feed(input, text)
    }

    /// The draft could not be written: the rest is read and dropped, and this is the answer at the dot.
    pub fn storage_failed(&mut self, reply: Reply) {
        self.decoder.drop_text();
        self.failed.get_or_insert(reply);
    }

    /// Whether the text is refused already, so that the shell may drop its draft.
    pub fn is_refused(&self) -> bool {
        self.failed.is_some() || self.decoder.faults().any()
    }

    /// Identity of the message, for logs.
    pub fn message_id(&self) -> &MessageId {
        &self.transaction.message.id
    }

    /// How long the shell waits for the next octets.
    pub fn patience(&self) -> Duration {
        self.live.policy.data_timeout
    }

    /// How long the whole text may take.
    pub fn patience_in_all(&self) -> Duration {
        self.live.policy.data_total
    }

    /// The end of the text was read; `content` is the finished draft, `None` where there is none.
    pub fn finish(self, content: Option<Content>, now: Timestamp, outbox: &mut Outbox) -> Step {
        // Nobody waits for more than one such answer; the sooner it goes, the fewer clients send the message
        // again (RFC 1047).
        outbox.flush_now = true;
        let Self { mut live, transaction, decoder, failed } = self;
        let fault = text_refusal(decoder.faults());
        let tally = fault.as_ref().map_or(Tally::Work, |(_, tally)| *tally);
        let assembled = match fault.map(|(reply, _)| reply).or(failed) {
            Some(reply) => Err(reply),
            None => match content.filter(|content| content.len == decoder.text_len()) {
                Some(content) => assemble(&live, transaction.message, &content, now),
                None => Err(cannot_store()),
            },
        };
        let message = match assembled {
            Ok(message) => message,
            Err(reply) => {
                return live.answer(Answer { reply, tally, line: b".", must_close: false }, now, outbox);
            }
        };
        live.commands += 1;
        let reply = Reply::with(250, 0, 0, format!("queued as {}", message.id));
        if !live.interest.has(EventKind::OnEndOfData) {
            let storing = Storing::new(live, message.id.clone(), reply);
            return Step::Store(storing, message, Disposition::Accept);
        }
        let overlay = Overlay { message: Some(message.clone()), session_bag: live.bag.clone(), ..Overlay::default() };
        let question = live.question(EventKind::OnEndOfData, Some(reply.clone()), overlay, now);
        Step::Ask(Paused { live, waiting: Waiting::EndOfData { message, reply } }, Box::new(question))
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

// Makes the message out of its text: header block with our Received field on top, and body.
fn assemble(live: &Live, mut message: Message, content: &Content, now: Timestamp) -> Result<Message, Reply> {
    let (block, is_header_only) = read_header(content)?;
    // The empty line belongs to neither part.
    let body_start = if is_header_only { content.len } else { (block.len() as u64 + 2).min(content.len) };
    // White space at the very start continues a field that is not there, and would continue ours: no client
    // writes in our name. Such a text has no header block, as in Postfix.
    let has_header = !matches!(block.first(), Some(b' ' | b'\t'));
    let (block, body_start) = if has_header { (block, body_start) } else { (Bytes::new(), 0) };
    let header_too_large = |_| Reply::with(552, 3, 4, "the header block is larger than this server takes");
    let mut header = HeaderBlock::parse(&block).map_err(header_too_large)?;
    if trace::hops(&header) > RECEIVED_FIELDS_MAX {
        return Err(Reply::with(554, 4, 6, "too many hops: the message goes in a circle"));
    }
    let only_recipient = match message.envelope.recipients.as_slice() {
        [recipient] => Some(&recipient.address),
        _ => None,
    };
    let field = trace::received(&message.arrival, &live.policy.host_name, &message.id, only_recipient, now)
        .map_err(|_| cannot_store())?;
    // RFC 5321 §4.4: on top, and nothing else is touched.
    header.insert(0, field).map_err(header_too_large)?;
    message.header = Arc::new(header);
    message.body = Body::window(content.octets.clone(), body_start, content.len - body_start);
    message.is_header_only = is_header_only && has_header;
    Ok(message)
}

// The octets before the first empty line, and whether they are all there is: without that line there is no body
// (RFC 5322 §2.1).
fn read_header(content: &Content) -> Result<(Bytes, bool), Reply> {
    let whole = usize::try_from(content.len).unwrap_or(usize::MAX);
    let mut octets: Vec<u8> = Vec::new();
    let mut wanted = HEADER_READ_BYTES;
    loop {
        // Room for the empty line behind a block of the largest size.
        let len = wanted.min(whole).min(HEADER_BLOCK_BYTES_MAX + 4);
        let searched = octets.len().saturating_sub(3);
        read_up_to(content, &mut octets, len)?;
        if octets.starts_with(b"\r\n") {
            return Ok((Bytes::new(), false));
        }
        if let Some(at) = memmem::find(octets.get(searched..).unwrap_or_default(), b"\r\n\r\n") {
            // A copy, so that the block does not keep the whole buffer alive.
            let block = Bytes::copy_from_slice(octets.get(..searched + at + 2).unwrap_or_default());
            return Ok((block, false));
        }
        if len == whole || len < wanted {
            return Ok((octets.into(), true));
        }
        wanted *= 4;
    }
}

fn read_up_to(content: &Content, octets: &mut Vec<u8>, len: usize) -> Result<(), Reply> {
    let mut filled = octets.len();
    octets.resize(len, 0);
    while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match content.octets.read_at(filled as u64, rest) {
            Ok(count) if count > 0 => filled += count,
            // The reason is in the storage's own log; the client can only try again.
            Ok(_) | Err(_) => return Err(cannot_store()),
        }
    }
    Ok(())
}

fn cannot_store() -> Reply {
    Reply::with(451, 3, 0, "the message could not be stored, try again later")
}
