//! The audit log: who let whom do what, and who tried to do more.
//!
//! Whatever is logged under [`TARGET`] goes into a journal of its own, besides the usual log and whatever level that
//! has: what operators did. The command line writes its changes of the registry into the same files itself ([`append`]),
//! so that they stand there when no server runs. What clients and sinks do, under [`TRAFFIC`], goes into another in the
//! folder `traffic`: they decide how much it is, and must not be able to wash away what the operators did.

pub mod changes;
mod layer;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use basin_core::time::Timestamp;
use serde_json::{Map, Value};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use layer::AuditLayer;

use crate::control::client::operator;
use crate::journal::files::Files;
use crate::journal::writer::Writer;
use crate::journal::{JournalOptions, Kind};
use crate::tracking::show_time;

/// What is logged under this name goes into the audit log.
pub const TARGET: &str = "basin::audit";

/// What is logged under this name goes into the part that is for clients and sinks.
pub const TRAFFIC: &str = "basin::audit::traffic";

/// As [`TRAFFIC`], for what the usual log has already, in other words.
pub const TRAFFIC_ALONE: &str = "basin::audit::traffic::alone";

const TRAFFIC_FOLDER: &str = "traffic";

const KIND: Kind = Kind { name: "audit", lost };

/// Octets of a value that are written; whoever knocks at the door decides what some of them say.
const VALUE_BYTES_MAX: usize = 1_024;

/// The audit log of a running server. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Audit {
    // None where none is kept.
    writers: Option<Writers>,
}

/// One for operators, one for clients and sinks.
#[derive(Clone)]
struct Writers {
    deeds: Arc<Writer>,
    traffic: Arc<Writer>,
}

impl Audit {
    /// Starts the thread that writes; without options nothing is kept.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn start(options: Option<JournalOptions>) -> io::Result<Self> {
        let start = |options| Writer::start(options, KIND, crate::clock::now).map(Arc::new);
        let both = |options: JournalOptions| {
            let (deeds, traffic) = parts(options);
            Ok::<_, io::Error>(Writers { deeds: start(deeds)?, traffic: start(traffic)? })
        };
        Ok(Self { writers: options.map(both).transpose()? })
    }

    /// A log that forgets everything.
    pub fn off() -> Self {
        Self::default()
    }

    /// Takes what this process logs, which has no other log.
    pub fn listen(&self) {
        let layer = self.layer().map(|layer| layer.with_filter(Self::filter()));
        // Somebody listens already where a test calls two commands.
        tracing_subscriber::registry().with(layer).try_init().ok();
    }

    /// What the layer has to hear: no lower than what is logged there, because a level beyond costs each line of a sink
    /// the making of its text.
    pub fn filter() -> Targets {
        Targets::new().with_target(TARGET, tracing::Level::INFO)
    }

    /// What hands lines on from the log; `None` where none are kept.
    pub fn layer(&self) -> Option<AuditLayer> {
        self.writers.clone().map(AuditLayer::new)
    }

    /// Lines that were dropped since the start.
    pub fn lost(&self) -> u64 {
        self.writers.as_ref().map_or(0, |writers| writers.deeds.lost() + writers.traffic.lost())
    }

    /// Writes what is there, makes it durable and ends the thread. What comes later is dropped. Blocks.
    pub fn close(&self) {
        if let Some(Writers { deeds, traffic }) = &self.writers {
            deeds.close();
            traffic.close();
        }
    }
}

// Each has half of the octets.
fn parts(options: JournalOptions) -> (JournalOptions, JournalOptions) {
    let deeds = JournalOptions { total_bytes_max: options.total_bytes_max / 2, ..options };
    let traffic = JournalOptions { directory: deeds.directory.join(TRAFFIC_FOLDER), ..deeds.clone() };
    (deeds, traffic)
}

/// Writes what somebody did who is not the server, and makes it durable. Blocks.
///
/// # Errors
/// The disk refused, or has no room that is not kept for mail.
pub fn append(options: &JournalOptions, by: &str, done: Vec<Fact>) -> io::Result<()> {
    let now = crate::clock::now();
    let mut octets = Vec::new();
    for Fact { what, mut fields } in done {
        fields.insert("by".to_owned(), by.into());
        // The name is what the environment says; this is what the system does.
        fields.insert("uid".to_owned(), rustix::process::getuid().as_raw().into());
        octets.extend(line(now, what, fields));
    }
    if octets.is_empty() {
        return Ok(());
    }
    let mut files = Files::open(parts(options.clone()).0)?;
    files.append(&octets, now)?;
    files.sync()
}

/// As [`append`], by whoever runs the command line. What was done holds, whatever becomes of its line; one that cannot be
/// written is told on standard error.
pub fn note(options: Option<&JournalOptions>, done: Vec<Fact>) {
    let Some(options) = options else { return };
    if let Err(error) = append(options, &operator(), done) {
        let place = options.directory.display();
        eprintln!("basin: it is done, and not in the audit log: cannot write to {place}: {error}");
    }
}

/// Something that belongs into the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What was done, in a few words.
    pub what: &'static str,
    /// To what, and how.
    pub fields: Map<String, Value>,
}

impl Fact {
    /// A fact about which nothing is said yet.
    pub fn new(what: &'static str) -> Self {
        Self { what, fields: Map::new() }
    }

    /// The same with another field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }
}

// Time and deed come first, for people who read the file itself.
fn line(at: Timestamp, what: &str, fields: Map<String, Value>) -> Vec<u8> {
    let mut all = Map::new();
    all.insert("at".to_owned(), show_time(at).into());
    all.insert("what".to_owned(), what.into());
    for (name, value) in fields {
        let value = match value {
            Value::String(text) => Value::String(cut(&text)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value,
        };
        all.entry(name).or_insert(value);
    }
    // Keys are text and values come from JSON, so that writing to memory does not fail.
    let mut octets = serde_json::to_vec(&all).unwrap_or_default();
    octets.push(b'\n');
    octets
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(VALUE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

fn lost(at: Timestamp, lines: u64, why: &str) -> Vec<u8> {
    let Fact { what, fields } = Fact::new("lines lost").with("lines", lines).with("why", why);
    line(at, what, fields)
}
