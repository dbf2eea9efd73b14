//! A row as it lies in memory.

use super::row::{Row, RowRecipient, Standing, Waits};
use super::texts::{TextId, Texts};
use crate::mail::MessageId;
use crate::time::Timestamp;

/// "No time" among seconds.
const NO_TIME: i64 = i64::MIN;

/// An id in 24 octets that sort as its text does: messages list from the oldest.
///
/// Ids that this server makes are two numbers, the time first; what stands behind them (a notification's) is a
/// shared text. Ids of another form, which only a foreign spool has, come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    time: u64,
    random: u64,
    suffix: TextId,
}

/// Digits of the time and of the random number in an id.
const TIME_DIGITS: usize = 14;
const RANDOM_DIGITS: usize = 16;

/// The time of a foreign id; a real one has 56 bits.
const FOREIGN: u64 = u64::MAX;

/// The parts of an id: time, random number, and the text that is left.
pub(super) fn split(id: &MessageId) -> (u64, u64, &str) {
    let text = id.as_str();
    let number = |digits: &str| {
        // Capital digits would be another id of the same numbers.
        let is_lower = digits.bytes().all(|octet| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet));
        is_lower.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    let own = || {
        let (time, rest) = text.split_at_checked(TIME_DIGITS)?;
        let (random, suffix) = rest.strip_prefix('-')?.split_at_checked(RANDOM_DIGITS)?;
        Some((number(time)?, number(random)?, suffix))
    };
    own().unwrap_or((FOREIGN, 0, text))
}

impl Key {
    pub(super) fn new((time, random, _): (u64, u64, &str), suffix: TextId) -> Self {
        Self { time, random, suffix }
    }

    /// The first key of those numbers, whatever stands behind them.
    pub(super) fn first((time, random, _): (u64, u64, &str)) -> Self {
        Self { time, random, suffix: 0 }
    }

    pub(super) fn suffix(&self) -> TextId {
        self.suffix
    }

    pub(super) fn write(&self, texts: &Texts, out: &mut String) {
        use core::fmt::Write as _;
        if self.time != FOREIGN {
            // Writing to a string cannot fail.
            write!(out, "{:014x}-{:016x}", self.time, self.random).unwrap_or_default();
        }
        out.push_str(texts.text(self.suffix));
    }
}

/// A row in some hundred octets: numbers, shared texts by number, and one block with sender and recipients.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) size: u64,
    pub(super) arrived: i64,
    next_attempt: i64,
    pub(super) attempts: u32,
    pub(super) recipient_count: u32,
    pub(super) origin: TextId,
    pub(super) reason: TextId,
    sender_domain: TextId,
    pub(super) priority: i16,
    pub(super) standing: Standing,
    sender_local_len: u8,
    block: Box<[u8]>,
}

/// A recipient in a packed row.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackedRecipient<'a> {
    pub(super) local: &'a str,
    pub(super) domain: TextId,
    /// What it is routed by: the domain or what stands in place of it.
    pub(super) route: TextId,
    pub(super) waits: Waits,
    pub(super) reply: TextId,
}

/// How a recipient lies in the block: local part, its length, and three numbers.
const RECIPIENT_FRAME_BYTES: usize = 2 + 3 * size_of::<TextId>();

impl Packed {
    pub(super) fn new(row: &Row, texts: &mut Texts) -> Self {
        let sender = short(&row.sender_local);
        let mut block = Vec::with_capacity(packed_bytes(row));
        block.extend_from_slice(sender.as_bytes());
        for recipient in &row.recipients {
            let domain = texts.take(&recipient.domain);
            let route = recipient.route.as_ref().map_or(0, |route| texts.take(route));
            let reply = recipient.reply.as_ref().map_or(0, |reply| texts.take_reply(reply));
            let local = short(&recipient.local);
            block.push(waits_octet(recipient.waits));
            block.push(u8::try_from(local.len()).unwrap_or(u8::MAX));
            [domain, route, reply].iter().for_each(|number| block.extend_from_slice(&number.to_le_bytes()));
            block.extend_from_slice(local.as_bytes());
        }
        Self {
            size: row.size,
            arrived: row.arrived.seconds,
            next_attempt: row.next_attempt.map_or(NO_TIME, |at| at.seconds),
            attempts: row.attempts,
            recipient_count: row.recipient_count,
            origin: texts.take(&row.origin),
            reason: row.reason.as_ref().map_or(0, |reason| texts.take_reply(reason)),
            sender_domain: texts.take(&row.sender_domain),
            priority: i16::try_from(row.priority.clamp(i16::MIN.into(), i16::MAX.into())).unwrap_or_default(),
            standing: row.standing,
            sender_local_len: u8::try_from(sender.len()).unwrap_or(u8::MAX),
            block: block.into_boxed_slice(),
        }
    }

    /// Gives the shared texts back.
    pub(super) fn forget(&self, texts: &mut Texts) {
        for recipient in self.stored() {
            [recipient.domain, recipient.route, recipient.reply].iter().for_each(|number| texts.give_back(*number));
        }
        [self.origin, self.reason, self.sender_domain].iter().for_each(|number| texts.give_back(*number));
    }

    pub(super) fn next_attempt(&self) -> Option<i64> {
        Some(self.next_attempt).filter(|at| *at != NO_TIME)
    }

    /// Local part and domain of the reverse path; both empty for the null sender.
    pub(super) fn sender(&self) -> (&str, TextId) {
        let local = self.block.get(..usize::from(self.sender_local_len)).unwrap_or_default();
        (core::str::from_utf8(local).unwrap_or_default(), self.sender_domain)
    }

    pub(super) fn recipients(&self) -> impl Iterator<Item = PackedRecipient<'_>> {
        self.stored().map(|stored| PackedRecipient {
            route: if stored.route == 0 { stored.domain } else { stored.route },
            ..stored
        })
    }

    pub(super) fn row(&self, id: MessageId, texts: &Texts) -> Row {
        let some = |number: TextId| (number != 0).then(|| texts.text(number).to_owned());
        let (sender_local, sender_domain) = self.sender();
        let recipients = self.stored().map(|stored| RowRecipient {
            local: stored.local.to_owned(),
            domain: texts.text(stored.domain).to_owned(),
            route: some(stored.route),
            waits: stored.waits,
            reply: some(stored.reply),
        });
        Row {
            id,
            sender_local: sender_local.to_owned(),
            sender_domain: texts.text(sender_domain).to_owned(),
            recipients: recipients.collect(),
            recipient_count: self.recipient_count,
            size: self.size,
            arrived: Timestamp::from_seconds(self.arrived),
            standing: self.standing,
            attempts: self.attempts,
            next_attempt: self.next_attempt().map(Timestamp::from_seconds),
            priority: self.priority.into(),
            origin: texts.text(self.origin).to_owned(),
            reason: some(self.reason),
        }
    }

    // A route of 0 is the domain.
    fn stored(&self) -> impl Iterator<Item = PackedRecipient<'_>> {
        let mut rest = self.block.get(usize::from(self.sender_local_len)..).unwrap_or_default();
        core::iter::from_fn(move || {
            let (frame, after) = rest.split_at_checked(RECIPIENT_FRAME_BYTES)?;
            let (&[waits, len], numbers) = frame.split_first_chunk()?;
            let (words, _) = numbers.as_chunks::<4>();
            let &[domain, route, reply] = words else { return None };
            let [domain, route, reply] = [domain, route, reply].map(TextId::from_le_bytes);
            let (local, after) = after.split_at_checked(usize::from(len))?;
            rest = after;
            let local = core::str::from_utf8(local).unwrap_or_default();
            Some(PackedRecipient { local, domain, route, waits: waits_of(waits), reply })
        })
    }
}

fn packed_bytes(row: &Row) -> usize {
    let locals: usize = row.recipients.iter().map(|recipient| recipient.local.len()).sum();
    short(&row.sender_local).len() + locals + row.recipients.len() * RECIPIENT_FRAME_BYTES
}

// RFC 5321 allows 64 octets; 255 is what the frame can say.
fn short(local: &str) -> &str {
    local.get(..local.floor_char_boundary(usize::from(u8::MAX))).unwrap_or(local)
}

fn waits_octet(waits: Waits) -> u8 {
    match waits {
        Waits::Pending => 0,
        Waits::Deferred => 1,
        Waits::Held => 2,
    }
}

fn waits_of(octet: u8) -> Waits {
    match octet {
        0 => Waits::Pending,
        1 => Waits::Deferred,
        _ => Waits::Held,
    }
}
