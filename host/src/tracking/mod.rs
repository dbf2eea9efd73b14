//! The tracking log: one line of JSON for each step of each message, kept for weeks.
//!
//! It answers "what became of it?" long after a message has left the spool. [`step`] says what a line has,
//! [`crate::journal`] how the lines get on disk, [`search`] how they are found again.

pub mod search;
pub mod step;
mod tell;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, OnceLock};

use basin_core::mail::{Message, MessageId};
use basin_core::time::Timestamp;

pub use step::{By, Line, Notified, Operation, Step};
pub use tell::Teller;

use serde::Serialize;

use crate::journal::writer::Writer;
use crate::journal::{JournalOptions, Kind};

const KIND: Kind = Kind { name: "tracking", lost: marker };

/// The handle that the rest of the server tells its steps. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Tracking {
    // None where nothing is tracked.
    writer: Option<Arc<Writer>>,
    /// Whoever tells sinks of it; there is none before the server has them.
    teller: Arc<OnceLock<Teller>>,
}

impl Tracking {
    /// A log that forgets everything.
    pub fn off() -> Self {
        Self::default()
    }

    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn start(options: JournalOptions) -> io::Result<Self> {
        Ok(Self { writer: Some(Arc::new(Writer::start(options, KIND, crate::clock::now)?)), teller: Arc::default() })
    }

    /// Has sinks told of each step from now on, whether or not it is written down. Only the first one is taken.
    pub fn tell(&self, teller: Teller) {
        // The server has one, made where its parts are wired together.
        self.teller.set(teller).ok();
    }

    /// Takes down a step of a message. Never blocks on the disk.
    pub fn note(&self, id: &MessageId, step: &Step<'_>) {
        self.note_text(id.as_str(), step);
    }

    /// As [`Tracking::note`], for those who have the id as text.
    pub fn note_text(&self, id: &str, step: &Step<'_>) {
        if let Some(writer) = &self.writer {
            writer.push(&encode(crate::clock::now(), id, step));
        }
        if let Some(teller) = self.teller.get() {
            teller.hear(id, step);
        }
    }

    /// A message leaves the index of the queue, and steps of it are still to be told.
    pub fn leaves(&self, id: &MessageId) {
        if let Some(teller) = self.teller.get().filter(|teller| teller.is_heard()) {
            teller.remember(id.as_str());
        }
    }

    /// Takes down that a message was accepted: its receipt exists. `parent` is the message that it is about.
    pub fn received(&self, message: &Message, parent: Option<&MessageId>) {
        // Made only where somebody wants it: it costs a look at the header block.
        if self.writer.is_some() || self.teller.get().is_some_and(Teller::is_heard) {
            self.note(&message.id, &Step::received(message, parent));
        }
    }

    /// Lines that were dropped since the start.
    pub fn lost(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.lost())
    }

    /// Waits until all that was noted before is written, or dropped. Blocks.
    pub fn flush(&self) {
        if let Some(writer) = &self.writer {
            writer.flush();
        }
    }

    /// Writes what is there, makes it durable and ends the thread. What comes later is dropped. Blocks.
    pub fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close();
        }
    }
}

/// A line on its way out; [`Line`] is the same on its way in.
#[derive(Serialize)]
struct Written<'a> {
    at: String,
    id: &'a str,
    #[serde(flatten)]
    step: &'a Step<'a>,
}

fn encode(at: Timestamp, id: &str, step: &Step<'_>) -> Vec<u8> {
    let mut octets = Vec::with_capacity(512);
    // Writing to memory does not fail, and no key of a line is anything but text.
    if serde_json::to_writer(&mut octets, &Written { at: show_time(at), id, step }).is_err() {
        octets.clear();
    }
    octets.push(b'\n');
    octets
}

fn marker(at: Timestamp, missing: u64, why: &str) -> Vec<u8> {
    encode(at, "", &Step::Lost { lines: missing, why: why.into() })
}

/// `2026-11-22T02:56:00.123456Z`: RFC 3339 with microseconds.
pub(crate) fn show_time(at: Timestamp) -> String {
    let seconds = at.to_rfc3339();
    let seconds = seconds.strip_suffix('Z').unwrap_or(&seconds);
    format!("{seconds}.{:06}Z", at.nanoseconds / 1_000)
}

/// Reads what [`show_time`] wrote, or any date-time of RFC 3339.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let Some((seconds, rest)) = text.split_once('.') else { return Timestamp::parse_rfc3339(text) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, zone) = rest.split_at(digits);
    let at = Timestamp::parse_rfc3339(&format!("{seconds}{zone}"))?;
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(Timestamp { nanoseconds, ..at })
}
