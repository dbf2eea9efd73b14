//! The text of a message while it arrives, by DATA or in chunks, and what sinks are asked about it meanwhile.

use std::sync::Arc;

use bytes::Bytes;

use crate::limits::{HEADER_BLOCK_BYTES_MAX, TEXT_LINE_BYTES_MAX};
use crate::mail::HeaderBlock;
use crate::reply::Reply;
use crate::smtp::assemble::{begins_with_white_space, header_end};
use crate::smtp::chunk::ChunkDecoder;
use crate::smtp::data::{DataDecoder, Faults, Fed, TextLimits};
use crate::smtp::receiving::Wants;
use crate::smtp::storing::Disposition;
use crate::time::Timestamp;

/// What is known of a text that arrives. Between two chunks it lies in its transaction.
#[derive(Debug)]
pub(super) struct Incoming {
    decoder: Decoder,
    headers: Headers,
    size: SizeLimit,
    /// When its first octet was waited for.
    pub(super) started: Timestamp,
    /// Whether any of it was read.
    pub(super) is_begun: bool,
    /// What it is refused with, whatever comes.
    pub(super) failed: Option<Failed>,
    /// Sinks at `on-end-of-headers` decided what becomes of it.
    pub(super) disposition: Option<Disposition>,
    /// The header block as they left it, where they changed it.
    pub(super) edited: Option<Arc<HeaderBlock>>,
    /// What they want the client to hear once it is taken.
    pub(super) response: Option<Reply>,
    /// Lines that they add to that.
    pub(super) appended: Vec<String>,
}

/// A refusal that waits for the end of the text.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) reply: Reply,
    pub(super) must_close: bool,
    /// A sink said that it is a protocol error.
    pub(super) is_fault: bool,
}

impl Failed {
    pub(super) fn with(reply: Reply) -> Self {
        Self { reply, must_close: false, is_fault: false }
    }
}

#[derive(Debug)]
enum Decoder {
    Data(DataDecoder),
    Chunks(ChunkDecoder),
}

/// The header block, as far as sinks want to see it before the rest.
#[derive(Debug)]
enum Headers {
    /// Nobody asks for it, or it was shown.
    Done,
    /// Its octets so far.
    Gathering(Vec<u8>),
    /// It is here and was not shown yet.
    Complete(Arc<HeaderBlock>),
}

/// The size that sinks may lift.
#[derive(Debug, Clone, Copy)]
enum SizeLimit {
    Fixed,
    /// Beyond so many octets they are asked.
    Open(u64),
}

/// What sinks are to be asked before more text is read.
#[derive(Debug, Clone)]
pub(super) enum Due {
    /// `on-end-of-headers`, with this block.
    Headers(Arc<HeaderBlock>),
    /// `on-max-msg-size`.
    Size,
}

/// How a text is received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Octets at which sinks are asked, or that are the end of it.
    pub(super) bytes_max: u64,
    /// Octets that no sink can lift, where somebody is bound to `on-max-msg-size`.
    pub(super) hard_max: Option<u64>,
    /// Somebody is bound to `on-end-of-headers`.
    pub(super) shows_headers: bool,
    pub(super) is_binary: bool,
    pub(super) is_chunked: bool,
}

impl Incoming {
    pub(super) fn new(terms: Terms, now: Timestamp) -> Self {
        let hard_max = terms.hard_max.filter(|hard_max| *hard_max > terms.bytes_max);
        let message_bytes_max = hard_max.unwrap_or(terms.bytes_max);
        let limits = TextLimits { message_bytes_max, line_bytes_max: TEXT_LINE_BYTES_MAX };
        Self {
            decoder: if terms.is_chunked {
                Decoder::Chunks(ChunkDecoder::new(limits, terms.is_binary))
            } else {
                Decoder::Data(DataDecoder::new(limits))
            },
            headers: if terms.shows_headers { Headers::Gathering(Vec::new()) } else { Headers::Done },
            size: hard_max.map_or(SizeLimit::Fixed, |_| SizeLimit::Open(terms.bytes_max)),
            started: now,
            is_begun: false,
            failed: None,
            disposition: None,
            edited: None,
            response: None,
            appended: Vec::new(),
        }
    }

    /// A chunk follows.
    pub(super) fn begin_chunk(&mut self, octets: u64, is_last: bool) {
        if let Decoder::Chunks(decoder) = &mut self.decoder {
            decoder.begin(octets, is_last);
        }
    }

    pub(super) fn wants(&self) -> Wants {
        match &self.decoder {
            Decoder::Data(_) => Wants::ToDot,
            Decoder::Chunks(decoder) => Wants::Octets(decoder.left()),
        }
    }

    /// Whether the end that comes next is that of the message.
    pub(super) fn is_last(&self) -> bool {
        match &self.decoder {
            Decoder::Data(_) => true,
            Decoder::Chunks(decoder) => decoder.is_last(),
        }
    }

    pub(super) fn is_chunked(&self) -> bool {
        matches!(self.decoder, Decoder::Chunks(_))
    }

    pub(super) fn text_len(&self) -> u64 {
        match &self.decoder {
            Decoder::Data(decoder) => decoder.text_len(),
            Decoder::Chunks(decoder) => decoder.text_len(),
        }
    }

    pub(super) fn faults(&self) -> Faults {
        match &self.decoder {
            Decoder::Data(decoder) => decoder.faults(),
            Decoder::Chunks(decoder) => decoder.faults(),
        }
    }

    /// Whether nobody will read the text: it is refused already, or dropped.
    pub(super) fn is_refused(&self) -> bool {
        self.failed.is_some() || self.faults().any() || self.is_discarded()
    }

    pub(super) fn is_discarded(&self) -> bool {
        self.disposition == Some(Disposition::Discard)
    }

    /// Puts no text out from now on.
    pub(super) fn drop_text(&mut self) {
        self.headers = Headers::Done;
        self.size = SizeLimit::Fixed;
        match &mut self.decoder {
            Decoder::Data(decoder) => decoder.drop_text(),
            Decoder::Chunks(decoder) => decoder.drop_text(),
        }
    }

    /// Refuses the text; the rest of it is read and dropped. The first refusal counts.
    pub(super) fn fail(&mut self, failed: Failed) {
        self.drop_text();
        self.failed.get_or_insert(failed);
    }

    /// Reads octets of the wire.
    pub(super) fn feed(&mut self, input: &[u8], text: &mut Vec<u8>) -> Fed {
        self.is_begun = true;
        let start = text.len();
        let fed = match &mut self.decoder {
            Decoder::Data(decoder) => decoder.feed(input, text),
            Decoder::Chunks(decoder) => decoder.feed(input, text),
        };
        self.headers.gather(text.get(start..).unwrap_or_default());
        if fed.is_end && self.is_last() {
            self.headers.end();
        }
        Fed { is_paused: !fed.is_end && self.due().is_some(), ..fed }
    }

    /// What sinks are to be asked now.
    pub(super) fn due(&self) -> Option<Due> {
        if self.is_refused() {
            return None;
        }
        match (&self.headers, self.size) {
            (Headers::Complete(block), _) => Some(Due::Headers(block.clone())),
            (Headers::Done | Headers::Gathering(_), SizeLimit::Open(bytes_max)) => {
                (self.text_len() > bytes_max).then_some(Due::Size)
            }
            (Headers::Done | Headers::Gathering(_), SizeLimit::Fixed) => None,
        }
    }

    /// The header block was shown.
    pub(super) fn headers_shown(&mut self) {
        self.headers = Headers::Done;
    }

    /// The size was decided.
    pub(super) fn limit(&mut self, message_bytes_max: u64) {
        self.size = SizeLimit::Fixed;
        match &mut self.decoder {
            Decoder::Data(decoder) => decoder.limit(message_bytes_max),
            Decoder::Chunks(decoder) => decoder.limit(message_bytes_max),
        }
    }
}

impl Headers {
    fn gather(&mut self, text: &[u8]) {
        let Self::Gathering(octets) = self else { return };
        // Room for the empty line behind a block of the largest size; a larger one is refused at the end.
        let room = (HEADER_BLOCK_BYTES_MAX + 4).saturating_sub(octets.len());
        let searched = octets.len();
        octets.extend_from_slice(text.get(..room).unwrap_or(text));
        if let Some(end) = header_end(octets, searched) {
            octets.truncate(end);
            self.complete();
        } else if octets.len() >= HEADER_BLOCK_BYTES_MAX + 4 {
            *self = Self::Done;
        }
    }

    // The text is at its end: what there is of it is the header block.
    fn end(&mut self) {
        if matches!(self, Self::Gathering(_)) {
            self.complete();
        }
    }

    fn complete(&mut self) {
        let Self::Gathering(octets) = self else { return };
        let octets = if begins_with_white_space(octets) { Vec::new() } else { core::mem::take(octets) };
        *self = match HeaderBlock::parse(&Bytes::from(octets)) {
            Ok(block) => Self::Complete(Arc::new(block)),
            Err(_) => Self::Done,
        };
    }
}
