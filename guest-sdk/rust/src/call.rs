//! The occasion of a call.

use crate::raw::types as raw;
use crate::{Datetime, Error, Reply};
use std::time::Duration;

/// The occasion of a call: the last argument of every event.
#[derive(Debug)]
pub struct Call {
    raw: raw::Call,
}

impl Call {
    /// Name of the binding.
    pub fn binding(&self) -> String {
        self.raw.binding()
    }
    /// Name of the sink.
    pub fn sink(&self) -> String {
        self.raw.sink()
    }
    /// Time of the event, the same throughout the call.
    pub fn now(&self) -> Datetime {
        self.raw.now()
    }
    /// How often this event was raised for this thing before: a crash, a retry or a deferral repeats it.
    pub fn raised(&self) -> u32 {
        self.raw.raised()
    }
    /// The same for every repetition; for sinks that act on the outside world.
    pub fn idempotency_key(&self) -> String {
        self.raw.idempotency_key()
    }
    /// What the server will answer if nobody objects, where somebody waits for an answer.
    pub fn native_response(&self) -> Option<Reply> {
        self.raw.native_response()
    }
    /// The answer as earlier sinks left it.
    pub fn response(&self) -> Option<Reply> {
        self.raw.response()
    }
    /// Adds a line to the native answer; on EHLO this publishes a keyword. Grant `reply`.
    pub fn append_response(&self, text: &str) -> Result<(), Error> {
        Ok(self.raw.append_response(text)?)
    }
    /// Replaces the text and, within the same class, the code of the native answer. Grant `reply`.
    pub fn set_response(&self, to: &Reply) -> Result<(), Error> {
        Ok(self.raw.set_response(to)?)
    }
    /// Has the server wait before it answers (a tarpit); the wait is outside the sink's own deadline.
    pub fn delay_response(&self, delay: Duration) -> Result<(), Error> {
        Ok(self.raw.delay_response(u32::try_from(delay.as_millis()).unwrap_or(u32::MAX))?)
    }
    /// Counts the command as a protocol error of the client.
    pub fn set_protocol_error(&self) {
        self.raw.set_protocol_error();
    }
}

crate::glue::wraps!(Call: raw::Call);
