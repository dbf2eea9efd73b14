//! Stretches of a message, which recipients of it are shown, and how long it is tried.

use core::time::Duration;

use basin_core::event::{EventKind, Grant};
use basin_core::mail::{Expiry, Message, RecipientId};
use basin_core::time::Timestamp;

use super::part::CHUNK_BYTES_MAX;
use super::{Refused, invalid};
use crate::bindings::basin::sink::types::Datetime;
use crate::convert;
use crate::ended::Ended;
use crate::state::State;

/// Longest time that a sink can have a message tried.
const GIVE_UP_MAX: Duration = Duration::from_secs(60 * 24 * 3_600);

/// Longest key of `set-supersede-key`, in octets; it stands in the spool and in memory for each message.
const SUPERSEDE_KEY_BYTES_MAX: usize = 256;

impl State {
    /// The recipients that the event shows of the message that the host call is about: of a message that is routed,
    /// those of the destination.
    pub(super) fn listed(&mut self) -> wasmtime::Result<Vec<RecipientId>> {
        self.read(Grant::ReadEnvelope, "the recipients")?;
        let of_destination = self.occasion.destination.as_deref().filter(|_| self.event() == EventKind::OnRoute);
        let is_shown = |id: &RecipientId| of_destination.is_none_or(|facts| facts.recipients.contains(id));
        Ok(self.message()?.envelope.recipients.iter().map(|recipient| recipient.id).filter(is_shown).collect())
    }

    /// Sizes tell little; whoever may read anything may know them.
    pub(super) fn read_any(&mut self, what: &str) -> wasmtime::Result<()> {
        if self.has(Grant::ReadHeaders) || self.has(Grant::ReadBody) {
            return Ok(());
        }
        self.read(Grant::ReadEnvelope, what)
    }
}

/// A place in a list, as a sink names it.
pub(super) fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// A stretch of the body.
pub(super) fn body_chunk(message: &Message, offset: u64, len: u32) -> Result<Vec<u8>, Ended> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    message.body.read(offset, len).map_err(|why| Ended::host(format!("cannot read the body: {why}")))
}

/// A stretch of header block, separator and body as one.
pub(super) fn chunk_of(message: &Message, offset: u64, len: u32) -> Result<Vec<u8>, Ended> {
    let len = len.min(CHUNK_BYTES_MAX);
    let body_at = (message.header.len() + message.separator().len()) as u64;
    if offset >= body_at {
        return body_chunk(message, offset - body_at, len);
    }
    let mut octets = message.header.to_bytes();
    octets.extend_from_slice(message.separator());
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
    let mut chunk = octets.split_off(start);
    chunk.truncate(usize::try_from(len).unwrap_or(usize::MAX));
    let rest = len.saturating_sub(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
    if rest > 0 {
        chunk.extend(body_chunk(message, 0, rest)?);
    }
    Ok(chunk)
}

/// How long a message is tried, as a sink says.
pub(super) fn expiry(now: Timestamp, delay: Datetime, give_up: Datetime) -> Result<Expiry, Refused> {
    let moment = |at| convert::timestamp(at).ok_or_else(|| invalid("nanoseconds are 0 to 999,999,999"));
    let (notify_delay, give_up) = (moment(delay)?, moment(give_up)?);
    if notify_delay > give_up || notify_delay < now {
        return Err(invalid("the sender is told of a delay before the message is given up, and both are to come"));
    }
    if give_up.since(now) > GIVE_UP_MAX {
        return Err(invalid("a message is tried for at most 60 days"));
    }
    Ok(Expiry { notify_delay, give_up })
}

/// Whether a text can be the key of `set-supersede-key`.
pub(super) fn check_supersede_key(key: &str) -> Result<(), Refused> {
    if (1..=SUPERSEDE_KEY_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control) {
        return Ok(());
    }
    Err(invalid(format!("a key has 1 to {SUPERSEDE_KEY_BYTES_MAX} octets and no control characters")))
}
