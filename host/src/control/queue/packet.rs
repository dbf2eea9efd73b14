//! A message on its way from one queue to another: what is known of it, and its octets.

use std::sync::Arc;

use basin_core::mail::{Arrival, Bag, Body, Envelope, Expiry, HeaderBlock, Message, MessageId, Supersedes};
use basin_core::time::Timestamp;
use basin_core::transport::{Stage, State};
use basin_spool::Spool;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{LookupError, content_of, load, parse_id};
use crate::registry::digest;

/// The form that this version writes and reads.
const FORM: u32 = 1;

/// Why something is no exported message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PacketError {
    /// The description is not understood.
    #[error("the description is not understood: {0}")]
    Description(String),
    /// A later version wrote it.
    #[error("it has form {0}, and this basin reads form {FORM}; use the basin that wrote it")]
    Form(u32),
    /// The octets are others than those that were exported.
    #[error("message {0} is not what was exported: its length or checksum is another")]
    Content(MessageId),
}

/// Everything about a message but its octets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packet {
    /// The form of this description.
    pub form: u32,
    /// Identity; it is kept, so a message that is imported twice is there once.
    pub id: MessageId,
    /// How it came.
    pub arrival: Arrival,
    /// Who it is from and for, and what became of each recipient.
    pub envelope: Envelope,
    /// Where it stands.
    pub state: State,
    /// What sinks attached to it.
    #[serde(default, skip_serializing_if = "Bag::is_empty")]
    pub properties: Bag,
    /// Delivery priority.
    #[serde(default)]
    pub priority: i32,
    /// Not to be delivered before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_after: Option<Timestamp>,
    /// How long it is tried, where a sink said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Expiry>,
    /// What it takes the place of in the queue, where a sink said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Supersedes>,
    /// The message came without the empty line that ends a header block.
    #[serde(default)]
    pub is_header_only: bool,
    /// Octets of the header block, which the others follow.
    pub header_bytes: usize,
    /// Octets altogether.
    pub bytes: u64,
    /// SHA-256 of all octets, in hexadecimal digits.
    pub sha256: String,
}

/// What came of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Whether the message was not in the queue before.
    pub is_new: bool,
}

impl Packet {
    /// A message of a spool and its octets.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub fn export(spool: &Spool, id: &str) -> Result<(Self, Vec<u8>), LookupError> {
        let (message, state) = load(spool, &parse_id(id)?)?;
        let content = content_of(&message)?;
        let packet = Self {
            form: FORM,
            id: message.id,
            arrival: message.arrival.as_ref().clone(),
            envelope: message.envelope.as_ref().clone(),
            state,
            properties: message.properties.as_ref().clone(),
            priority: message.priority,
            deliver_after: message.deliver_after,
            expiry: message.expiry,
            supersedes: message.supersedes.clone(),
            is_header_only: message.is_header_only,
            header_bytes: message.header.len(),
            bytes: content.len() as u64,
            sha256: digest::of(&content),
        };
        Ok((packet, content))
    }

    /// The message, out of its description and its octets.
    ///
    /// # Errors
    /// See [`PacketError`].
    pub fn import(self, content: &Bytes) -> Result<(Message, State), PacketError> {
        if self.form != FORM {
            return Err(PacketError::Form(self.form));
        }
        let wrong = || PacketError::Content(self.id.clone());
        if self.bytes != content.len() as u64 || self.sha256 != digest::of(content) {
            return Err(wrong());
        }
        let mut message = Message::new(self.id.clone(), self.arrival.clone(), self.envelope.clone());
        message.is_header_only = self.is_header_only;
        let header = content.get(..self.header_bytes).ok_or_else(wrong)?;
        message.header = Arc::new(HeaderBlock::parse(&content.slice_ref(header)).map_err(|_| wrong())?);
        // A message without a body may have no empty line either.
        let separator = if self.is_header_only && content.len() == self.header_bytes { 0 } else { 2 };
        let body = content.get(self.header_bytes + separator..).ok_or_else(wrong)?;
        message.body = Body::from_bytes(content.slice_ref(body));
        message.properties = Arc::new(self.properties);
        message.priority = self.priority;
        message.deliver_after = self.deliver_after;
        message.expiry = self.expiry;
        message.supersedes = self.supersedes;
        Ok((message, self.state))
    }

    /// Undoes a hold: the message goes on at the stage that it was held at.
    pub fn release_hold(&mut self) {
        if let Stage::Held { then, .. } = &self.state.stage {
            self.state.stage = then.as_ref().clone();
        }
    }

    /// Description and octets as they go over the control socket: a line of JSON, then the octets.
    ///
    /// # Errors
    /// The description cannot be written as JSON.
    pub fn join(&self, content: &[u8]) -> serde_json::Result<Vec<u8>> {
        let mut joined = serde_json::to_vec(self)?;
        joined.push(b'\n');
        joined.extend_from_slice(content);
        Ok(joined)
    }

    /// The contrary of [`Packet::join`].
    ///
    /// # Errors
    /// The first line is no description.
    pub fn split(joined: &Bytes) -> Result<(Self, Bytes), PacketError> {
        let end = joined.iter().position(|octet| *octet == b'\n').unwrap_or(joined.len());
        let packet = Self::parse(joined.get(..end).unwrap_or_default())?;
        Ok((packet, joined.slice((end + 1).min(joined.len())..)))
    }

    /// Reads a description.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(json: &[u8]) -> Result<Self, PacketError> {
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let wrong = |error: serde_json::Error| PacketError::Description(error.to_string());
        let form: Form = serde_json::from_slice(json).map_err(wrong)?;
        if form.form != FORM {
            return Err(PacketError::Form(form.form));
        }
        serde_json::from_slice(json).map_err(wrong)
    }
}
