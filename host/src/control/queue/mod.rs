//! The queue, for operators: the running server's, or a spool that the command line opened.

use basin_core::mail::{Arrival, Envelope, Message, MessageId};
use basin_core::queue::index::Row;
use basin_core::transport::State;
use basin_spool::Spool;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::destinations::{ClosedRows, DestinationRow};
use crate::control::QueueState;

pub mod act;
pub mod ask;
pub mod destinations;
pub mod packet;

/// Octets of the body that are read at once.
const CHUNK: usize = 256 * 1024;

/// Why a message is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LookupError {
    /// The text has not the form of an id.
    #[error("{0:?} is no message id; `basin queue list` shows them")]
    NoId(String),
    /// There is no such message.
    #[error("there is no message {0} in the queue; it may have been delivered meanwhile")]
    Unknown(MessageId),
    /// The storage failed.
    #[error("cannot read message {id}: {why}")]
    Storage {
        /// The message.
        id: MessageId,
        /// What the storage said.
        why: String,
    },
}

/// All that is known of a message but its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Identity.
    pub id: MessageId,
    /// How it came.
    pub arrival: Arrival,
    /// Who it is from and for, and what became of each recipient.
    pub envelope: Envelope,
    /// Where it stands.
    pub state: State,
    /// Destinations that it waits for and where mail does not go now.
    #[serde(default)]
    pub waits_for: Vec<DestinationRow>,
    /// Octets of header block, empty line and body.
    pub size: u64,
    /// The header block; octets that are no UTF-8 are replaced.
    pub header: String,
}

/// Reads an id.
///
/// # Errors
/// [`LookupError::NoId`].
pub fn parse_id(text: &str) -> Result<MessageId, LookupError> {
    MessageId::parse(text).ok_or_else(|| LookupError::NoId(text.to_owned()))
}

/// One message without its body.
///
/// # Errors
/// See [`LookupError`].
pub fn message(queue: &(impl QueueState + ?Sized), id: &str) -> Result<Shown, LookupError> {
    let (message, state) = load(queue.spool(), &parse_id(id)?)?;
    let row = Row::of(&message, &state);
    // Where a sink has put it off before its delivery, it waits for no destination.
    let is_put_off = row.reason.is_some() && row.standing.is_waiting();
    let destinations = ask::destinations(row.recipients.iter().filter(|_| !is_put_off), &queue.routes());
    Ok(Shown {
        waits_for: ClosedRows::of(queue).among(&destinations),
        size: message.size(),
        header: String::from_utf8_lossy(&message.header.to_bytes()).into_owned(),
        id: message.id,
        arrival: message.arrival.as_ref().clone(),
        envelope: message.envelope.as_ref().clone(),
        state,
    })
}

/// Writes into the audit log that mail was shown to somebody whom it is not for.
pub fn read_by(by: &str, message_id: &str) {
    tracing::info!(target: crate::audit::TARGET, message_id, by, "a message was read by an operator");
}

/// One message octet for octet.
///
/// # Errors
/// See [`LookupError`].
pub fn content(spool: &Spool, id: &str) -> Result<Vec<u8>, LookupError> {
    let id = parse_id(id)?;
    let (message, _) = load(spool, &id)?;
    content_of(&message)
}

fn content_of(message: &Message) -> Result<Vec<u8>, LookupError> {
    let mut octets = message.header.to_bytes();
    octets.extend_from_slice(message.separator());
    let read = message.body.for_each_chunk(CHUNK, |chunk| {
        octets.extend_from_slice(chunk);
        Ok(())
    });
    read.map_err(|error| LookupError::Storage { id: message.id.clone(), why: error.to_string() })?;
    Ok(octets)
}

/// A message and where it stands.
///
/// # Errors
/// See [`LookupError`].
pub fn load(spool: &Spool, id: &MessageId) -> Result<(Message, State), LookupError> {
    match spool.load(id) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(LookupError::Unknown(id.clone())),
        Err(fault) => Err(LookupError::Storage { id: id.clone(), why: fault.to_string() }),
    }
}
