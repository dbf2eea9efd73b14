//! The index of the queue while the server runs.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basin_core::mail::{Message, MessageId};
use basin_core::queue::index::{Change, Index, Query, Row, Selected, Slice, Tally};
use basin_core::transport::State;
use basin_spool::Spool;

/// Rows that are looked at under one lock. A thousandth of a second at most, so that no worker waits longer to
/// note what it did.
const SLICE_ROWS: usize = 2_000;

/// Rows that are put in under one lock while the spool is read at the start.
const FILL_ROWS: usize = 500;

/// The index that the workers feed and the control socket asks. Cloning is cheap.
#[derive(Clone, Default)]
pub struct LiveIndex {
    state: Arc<Mutex<Feed>>,
}

#[derive(Default)]
struct Feed {
    index: Index,
    /// What came, changed or left while the spool is read; the record that is read may be older. `None` when
    /// everything was read.
    touched: Option<HashSet<MessageId>>,
}

impl LiveIndex {
    /// An index that knows nothing yet of what the spool has; see [`LiveIndex::fill`].
    pub fn unfilled() -> Self {
        let feed = Feed { index: Index::default(), touched: Some(HashSet::new()) };
        Self { state: Arc::new(Mutex::new(feed)) }
    }

    /// Notes a message as it is on disk now.
    pub fn put(&self, message: &Message, state: &State) {
        // The texts are made before the lock is taken.
        let row = Row::of(message, state);
        let mut feed = self.lock();
        if let Some(touched) = &mut feed.touched {
            touched.insert(row.id.clone());
        }
        feed.index.put(&row);
    }

    /// Notes that a message is gone.
    pub fn remove(&self, id: &MessageId) {
        let mut feed = self.lock();
        if let Some(touched) = &mut feed.touched {
            touched.insert(id.clone());
        }
        feed.index.remove(id);
    }

    /// Reads everything that the spool has, once. Blocks for as long as that takes.
    pub fn fill(&self, spool: &Spool) {
        let mut filling = self.filling();
        spool.scan(|scanned| match scanned {
            Ok(one) => filling.put(
                Row::of_parts(&one.id, &one.arrival, &one.envelope, &one.state, one.size)
                    .with(one.priority, one.deliver_after),
            ),
            Err(unreadable) => filling.put(Row::damaged(unreadable.id, 0, unreadable.fault.to_string())),
        });
        filling.end();
    }

    /// Begins to take in everything that the spool has, beside the work.
    pub(super) fn filling(&self) -> Filling {
        Filling { index: self.clone(), rows: Vec::with_capacity(FILL_ROWS) }
    }

    /// Whether everything that the spool has is in.
    pub fn is_filled(&self) -> bool {
        self.lock().touched.is_none()
    }

    /// Messages that are known, and their octets.
    pub fn size(&self) -> (usize, u64) {
        let feed = self.lock();
        (feed.index.len(), feed.index.octets())
    }

    /// Whether a message is known.
    pub fn contains(&self, id: &MessageId) -> bool {
        self.lock().index.contains(id)
    }

    /// A message, where a query selects it.
    pub fn select(&self, query: &mut Query, id: &MessageId) -> Option<Selected> {
        self.lock().index.select(query, id)
    }

    /// The row of a message.
    pub fn row(&self, id: &MessageId) -> Option<Row> {
        self.lock().index.row(id)
    }

    /// The next slice of what a query selects.
    pub fn scan(&self, query: &mut Query, after: Option<&MessageId>) -> Slice<Selected> {
        self.lock().index.scan(query, after, SLICE_ROWS)
    }

    /// Counts the next slice; where the one after it begins.
    pub fn tally(&self, query: &mut Query, after: Option<&MessageId>, tally: &mut Tally) -> Option<MessageId> {
        self.lock().index.tally(query, after, SLICE_ROWS, tally).next
    }

    /// What happened since the change of that number, and the number of the next.
    pub fn changes(&self, since: u64) -> (Vec<(MessageId, Change)>, u64) {
        self.lock().index.changes(since)
    }

    // No method of the index panics, so what it holds is whole.
    fn lock(&self) -> MutexGuard<'_, Feed> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of the spool on their way into the index, some at a time.
pub(super) struct Filling {
    index: LiveIndex,
    rows: Vec<Row>,
}

impl Filling {
    /// A message as its record was read.
    pub(super) fn put(&mut self, row: Row) {
        self.rows.push(row);
        if self.rows.len() >= FILL_ROWS {
            self.take_in();
        }
    }

    /// Everything was read.
    pub(super) fn end(mut self) {
        self.take_in();
        self.index.lock().touched = None;
    }

    fn take_in(&mut self) {
        let mut feed = self.index.lock();
        let Feed { index, touched } = &mut *feed;
        let is_touched = |row: &Row| touched.as_ref().is_some_and(|touched| touched.contains(&row.id));
        self.rows.drain(..).filter(|row| !is_touched(row)).for_each(|row| index.put(&row));
    }
}
