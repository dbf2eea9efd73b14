//! What sinks keep, and what the records of messages say of it.

use std::collections::BTreeSet;

use basin_core::mail::{Message, properties::Scope};

use crate::sinks::{COUNT, FIRED, SEEN, SINKS, TIMES, timer_uid};
use crate::tables::SinkTables;

/// A sink, and the event at which it set something, as the properties of messages have it.
type Set = (String, String);

/// Which values there have to be, and which there may be.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// Records on disk say so.
    recorded: BTreeSet<Set>,
    /// What they came with left, or was never written.
    unknown: BTreeSet<Set>,
}

fn sets(message: &Message) -> impl Iterator<Item = Set> {
    let of_sink = |sink: &str| {
        let names = message.properties.names(Scope(sink)).into_iter();
        names.map(move |name| (sink.to_owned(), name)).collect::<Vec<_>>()
    };
    SINKS.into_iter().flat_map(of_sink)
}

impl Values {
    /// A record that is on disk.
    pub(crate) fn record(&mut self, message: &Message) {
        self.recorded.extend(sets(message));
    }

    /// A message that leaves without another record, or never came to be: its sinks may remember it.
    pub(crate) fn leave(&mut self, message: &Message) {
        self.unknown.extend(sets(message));
    }

    /// The event of that key was cut off and is not raised again, because its message is gone.
    pub(crate) fn abandon(&mut self, key: &str) {
        self.unknown.extend(SINKS.map(|sink| (sink.to_owned(), key.replace('/', "."))));
    }

    /// After the end: what is remembered twice, or of nothing, or not at all.
    pub(crate) fn close(&self, tables: &SinkTables) -> Option<String> {
        let mut kept = BTreeSet::new();
        for sink in SINKS {
            let seen = tables.of(sink).filter_map(|(key, _)| key.strip_prefix(SEEN));
            let seen: BTreeSet<Set> = seen.map(|key| (sink.to_owned(), key.replace('/', "."))).collect();
            let count = tables.get(sink, COUNT);
            let count = count.map(|octets| String::from_utf8_lossy(&octets).into_owned());
            if count.as_deref().unwrap_or("0") != (seen.len() + tables.surplus(sink)).to_string() {
                return Some(format!("{sink} counted {count:?} of {} events", seen.len()));
            }
            kept.extend(seen);
        }
        if let Some(lost) = self.recorded.difference(&kept).next() {
            return Some(format!("{lost:?} is recorded and not remembered"));
        }
        let mut unfounded = kept.difference(&self.recorded).filter(|set| !self.unknown.contains(*set));
        unfounded.next().map(|set| format!("{set:?} is remembered and came to nothing"))
    }
}

/// What timers sent and what they remember of it: each call that is written has its message, and no other set out.
pub(super) fn close_timers(tables: &SinkTables, ended: &BTreeSet<String>) -> Option<String> {
    let mut sent = BTreeSet::new();
    for sink in SINKS {
        let fired: Vec<&str> = tables.of(sink).filter_map(|(key, _)| key.strip_prefix(FIRED)).collect();
        let times = tables.get(sink, TIMES).map(|octets| String::from_utf8_lossy(&octets).into_owned());
        if times.as_deref().unwrap_or("0") != fired.len().to_string() {
            return Some(format!("{sink} was called {times:?} times by timers and knows {}", fired.len()));
        }
        sent.extend(fired.into_iter().map(|key| timer_uid(sink, key)));
    }
    if let Some(lost) = sent.iter().find(|uid| !ended.contains(*uid)) {
        return Some(format!("{lost} was sent by a timer that remembers it, and never set out"));
    }
    let mut unknown = ended.iter().filter(|uid| uid.starts_with("t.") && !sent.contains(*uid));
    unknown.next().map(|uid| format!("{uid} set out, and its timer does not remember it"))
}
