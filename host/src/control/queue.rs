//! What of the queue is shown, out of a spool: the running server's or one that the command line opened.

use basin_core::mail::{Arrival, Envelope, Message, MessageId};
use basin_core::time::Timestamp;
use basin_core::transport::State;
use basin_spool::{Spool, Summary};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::control::report::{moment, moment_or_none};

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

/// A line of `basin queue list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Identity.
    pub id: MessageId,
    /// Reverse path; empty for the null sender.
    pub sender: String,
    /// The first few recipients.
    pub recipients: Vec<String>,
    /// How many there are.
    pub recipient_count: usize,
    /// Octets.
    pub size: u64,
    /// When it came.
    #[serde(with = "moment")]
    pub arrived: Timestamp,
    /// `submission`, `delivery`, `held`, `bad` or `damaged`.
    pub stage: String,
    /// Nothing happens to it before this time.
    #[serde(with = "moment_or_none")]
    pub not_before: Option<Timestamp>,
    /// Delivery attempts so far.
    pub attempts: u32,
    /// Why it waits.
    pub reason: Option<String>,
}

impl From<Summary> for Row {
    fn from(summary: Summary) -> Self {
        Self {
            sender: summary.sender.map(|sender| sender.to_string()).unwrap_or_default(),
            recipients: summary.recipients.iter().map(ToString::to_string).collect(),
            id: summary.id,
            recipient_count: summary.recipient_count,
            size: summary.size,
            arrived: summary.arrived,
            stage: summary.stage.to_owned(),
            not_before: summary.not_before,
            attempts: summary.attempts,
            reason: summary.reason,
        }
    }
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
    /// Octets of header block, empty line and body.
    pub size: u64,
    /// The header block; octets that are no UTF-8 are replaced.
    pub header: String,
}

/// The queue, oldest first.
pub fn rows(spool: &Spool) -> Vec<Row> {
    let mut rows: Vec<Row> = spool.list().into_iter().map(Row::from).collect();
    rows.sort_by(|a, b| (a.arrived, &a.id).cmp(&(b.arrived, &b.id)));
    rows
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
pub fn message(spool: &Spool, id: &str) -> Result<Shown, LookupError> {
    let (message, state) = load(spool, &parse_id(id)?)?;
    Ok(Shown {
        size: message.size(),
        header: String::from_utf8_lossy(&message.header.to_bytes()).into_owned(),
        id: message.id,
        arrival: message.arrival.as_ref().clone(),
        envelope: message.envelope.as_ref().clone(),
        state,
    })
}

/// One message octet for octet.
///
/// # Errors
/// See [`LookupError`].
pub fn content(spool: &Spool, id: &str) -> Result<Vec<u8>, LookupError> {
    let id = parse_id(id)?;
    let (message, _) = load(spool, &id)?;
    let mut octets = message.header.to_bytes();
    octets.extend_from_slice(message.separator());
    let read = message.body.for_each_chunk(CHUNK, |chunk| {
        octets.extend_from_slice(chunk);
        Ok(())
    });
    read.map_err(|error| LookupError::Storage { id, why: error.to_string() })?;
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
