//! The end of the log: the segment that records are appended to.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::error::SpoolFault;
use crate::index::Segment;
use crate::record::Encoded;
use crate::segment::{SEGMENT_HEADER_BYTES, encode_header};
use crate::shared::Shared;
use crate::statistics::Counters;
use crate::storage::StorageFile;

/// The segment that is written to.
struct Active {
    number: u64,
    file: Arc<dyn StorageFile>,
    mark: u64,
    // Octets that are whole records; what is behind them is nobody's.
    len: u64,
}

/// Where a group of records went.
pub(crate) struct Written {
    pub(crate) segment: u64,
    /// Offset of each record.
    pub(crate) offsets: Vec<u64>,
}

/// Appends records and makes them durable.
pub(crate) struct Log {
    shared: Arc<Shared>,
    active: Option<Active>,
    next: u64,
}

impl Log {
    pub(crate) fn new(shared: Arc<Shared>, next: u64) -> Self {
        Self { shared, active: None, next }
    }

    /// The number of the segment that is written to, or the next.
    pub(crate) fn newest(&self) -> u64 {
        self.active.as_ref().map_or(self.next, |active| active.number)
    }

    /// Whether there is a segment that records go to.
    pub(crate) fn has_active(&self) -> bool {
        self.active.is_some()
    }

    /// Whether records go to that segment.
    pub(crate) fn is_active(&self, number: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.number == number)
    }

    /// Whether `more` octets still fit into the segment that is written to.
    pub(crate) fn has_room(&self, more: u64) -> bool {
        self.active.as_ref().is_none_or(|active| {
            active.len == SEGMENT_HEADER_BYTES as u64 || active.len + more <= self.shared.options.segment_bytes
        })
    }

    /// Ends the segment that is written to; the next record begins another.
    pub(crate) fn roll(&mut self) {
        self.active = None;
    }

    /// Begins a segment where there is none, so that its header is durable before any record is.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        if self.active.is_some() {
            return Ok(());
        }
        // A number is never used twice, not even when the file could not be made: it may be there after all.
        let number = self.next;
        self.next += 1;
        let storage = &self.shared.storage;
        let path = self.shared.layout.segment(number);
        let file = storage.create(&path)?;
        let mark = storage.random();
        let begin = || {
            file.write_at(0, &mut [IoSlice::new(&encode_header(number, mark))])?;
            file.sync_data()?;
            storage.sync_dir(&self.shared.layout.segments)
        };
        Counters::add(&self.shared.counters.syncs, 2);
        if let Err(error) = begin() {
            // An empty segment that stays behind is removed by the next start.
            drop(storage.remove(&path));
            return Err(error);
        }
        let len = SEGMENT_HEADER_BYTES as u64;
        self.shared.index().segments.insert(number, Segment::new(Arc::clone(&file)));
        self.active = Some(Active { number, file, mark, len });
        Ok(())
    }

    /// Appends a group of records in one write. After an error none of them is in the log.
    pub(crate) fn append(&mut self, records: &mut [&mut Encoded]) -> Result<Written, SpoolFault> {
        self.begin().map_err(|error| SpoolFault::of("begin a segment", &error))?;
        let Some(active) = &mut self.active else { return Err(SpoolFault::Closed) };
        let mut offsets = Vec::with_capacity(records.len());
        let mut end = active.len;
        for record in records.iter_mut() {
            record.seal(active.mark);
            offsets.push(end);
            end += record.len();
        }
        let mut parts: Vec<IoSlice<'_>> = records.iter().flat_map(|record| record.parts()).collect();
        parts.retain(|part| !part.is_empty());
        if let Err(error) = active.file.write_at(active.len, &mut parts) {
            let fault = SpoolFault::of(format!("write segment {}", active.number), &error);
            let is_cut = active.file.set_len(active.len).is_ok();
            // A full disk harms nothing that is there. After anything else the file is not trusted any more.
            if !(is_cut && matches!(fault, SpoolFault::Full(_))) {
                self.active = None;
            }
            return Err(fault);
        }
        let written = Written { segment: active.number, offsets };
        Counters::add(&self.shared.counters.bytes, end - active.len);
        active.len = end;
        Ok(written)
    }

    /// Makes everything appended durable. After an error the segment is left, cut back to `good` octets.
    ///
    /// The sync is not tried again: Linux reports a failed write-back once and then forgets that the pages
    /// were never written, so a second success would mean nothing.
    pub(crate) fn sync(&mut self, good: u64) -> Result<(), SpoolFault> {
        let Some(active) = &self.active else { return Ok(()) };
        Counters::add(&self.shared.counters.syncs, 1);
        let Err(error) = active.file.sync_data() else { return Ok(()) };
        let fault = SpoolFault::of(format!("sync segment {}", active.number), &error);
        // Should the cut fail, messages that nobody was promised may come up at the next start: a duplicate
        // at worst, since their senders were told to try again.
        drop(active.file.set_len(good));
        self.active = None;
        Err(fault)
    }

    /// Octets of the segment that is written to.
    pub(crate) fn len(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.len)
    }
}
