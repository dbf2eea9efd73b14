//! Lists, summaries and what changes, out of the index.

use std::collections::BTreeMap;

use basin_core::mail::MessageId;
use basin_core::queue::index::{
    AGE_BOUNDS, Change, Filter, FilterError, Group, GroupBy, Query, RowRecipient, Selected, Standing, Tally, Waits,
};
use basin_core::time::Timestamp;
use basin_core::transport::RouteTable;
use serde::{Deserialize, Serialize};

use super::destinations::{self, ClosedRows, DestinationRow};
use crate::control::QueueState;
use crate::control::report::{moment, moment_or_none};

/// Most messages of one page; the caller asks for the next one.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// Recipients that a row names; a person sees the others with `basin queue show`.
const RECIPIENTS_SHOWN: usize = 10;

/// Most groups of one summary that are sent.
const GROUPS_SENT_MAX: usize = 10_000;

/// What is to be listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListRequest {
    /// The filter; empty is everything.
    #[serde(default)]
    pub filter: String,
    /// The page begins behind this message.
    #[serde(default)]
    pub after: Option<MessageId>,
    /// Most messages of the page.
    pub limit: usize,
}

/// A page of the list, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Messages.
    pub rows: Vec<Row>,
    /// The next page begins behind this message; `None` at the end.
    pub next: Option<MessageId>,
    /// Whether the server has read its whole queue since it started.
    pub is_complete: bool,
}

/// A line of `basin queue list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Identity.
    pub id: MessageId,
    /// Reverse path; empty for the null sender.
    pub sender: String,
    /// The first few recipients that are not final and that the filter chose.
    pub recipients: Vec<RecipientRow>,
    /// How many of those there are.
    pub waiting_count: usize,
    /// How many recipients there are altogether.
    pub recipient_count: u32,
    /// Where it goes by the routes in force.
    pub destinations: Vec<String>,
    /// Octets.
    pub size: u64,
    /// When it came.
    #[serde(with = "moment")]
    pub arrived: Timestamp,
    /// Where it stands.
    pub state: Standing,
    /// Those of them where mail does not go now; it waits for them.
    #[serde(default)]
    pub waits_for: Vec<DestinationRow>,
    /// Nothing happens to it before this time: the next attempt, or the next probe of where all of it goes.
    #[serde(with = "moment_or_none")]
    pub next_attempt: Option<Timestamp>,
    /// Delivery attempts so far.
    pub attempts: u32,
    /// Higher ones leave earlier; 0 is normal.
    pub priority: i32,
    /// `smtp`, `pickup`, `notification` or `sink:NAME`.
    pub origin: String,
    /// Why it waits: the reason of the whole message, else the first reply of a recipient.
    pub reason: Option<String>,
}

/// A recipient in such a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientRow {
    /// Address.
    pub address: String,
    /// What it waits for.
    pub waits: Waits,
    /// Last reply, or why it is held.
    pub reply: Option<String>,
}

impl Row {
    fn of(selected: Selected, routes: &RouteTable, closed: &ClosedRows, now: Timestamp) -> Self {
        let Selected { row, recipients } = selected;
        let is_chosen = |place: usize| recipients.as_ref().is_none_or(|chosen| chosen.contains(&place));
        let chosen = || row.recipients.iter().enumerate().filter(|(place, _)| is_chosen(*place)).map(|(_, one)| one);
        let destinations = destinations(chosen(), routes);
        // Where a sink has put it off before its delivery, it waits for no destination.
        let is_put_off = row.reason.is_some() && row.standing.is_waiting();
        let waits_for = if is_put_off { Vec::new() } else { closed.among(&destinations) };
        let is_any_open = is_put_off || waits_for.len() < destinations.len();
        let probe = waits_for.iter().filter_map(|row| row.next_probe).min().filter(|_| !is_any_open);
        let shown = chosen().take(RECIPIENTS_SHOWN).map(|one| RecipientRow {
            address: one.address(),
            waits: one.waits,
            reply: one.reply.clone(),
        });
        Self {
            sender: row.sender(),
            recipients: shown.collect(),
            waiting_count: chosen().count(),
            recipient_count: row.recipient_count,
            destinations,
            waits_for,
            size: row.size,
            arrived: row.arrived,
            state: row.standing,
            next_attempt: row.next_attempt.max(probe).filter(|at| *at > now),
            attempts: row.attempts,
            priority: row.priority,
            origin: row.origin.clone(),
            reason: row.why().map(str::to_owned),
            id: row.id,
        }
    }
}

/// Where recipients' mail goes by the routes in force, each place once.
pub(super) fn destinations<'a>(recipients: impl Iterator<Item = &'a RowRecipient>, routes: &RouteTable) -> Vec<String> {
    let mut destinations: Vec<String> =
        recipients.map(|one| routes.route(one.routed_by()).destination.as_str().to_owned()).collect();
    destinations.sort_unstable();
    destinations.dedup();
    destinations
}

/// A page of what a filter selects.
///
/// # Errors
/// The filter is none.
pub fn list(state: &(impl QueueState + ?Sized), request: &ListRequest) -> Result<Page, FilterError> {
    let limit = request.limit.clamp(1, PAGE_ROWS_MAX);
    let routes = state.routes();
    let (closed, now) = (ClosedRows::of(state), state.now());
    let mut query = Query::new(Filter::parse(&request.filter)?, routes.clone(), now).with_closed(closed.names());
    let (mut found, next) = select(state, &mut query, request.after.clone(), limit);
    let next = if found.len() > limit { found.get(limit - 1).map(|last| last.row.id.clone()) } else { next };
    found.truncate(limit);
    let rows = found.into_iter().map(|selected| Row::of(selected, &routes, &closed, now)).collect();
    Ok(Page { rows, next, is_complete: state.index().is_filled() })
}

/// What a query selects behind a message, until there are enough; where to go on.
pub(super) fn select(
    state: &(impl QueueState + ?Sized),
    query: &mut Query,
    mut after: Option<MessageId>,
    enough: usize,
) -> (Vec<Selected>, Option<MessageId>) {
    let mut found = Vec::new();
    if let Some(mut ids) = query.filter().ids() {
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| after.as_ref().is_none_or(|after| id > after));
        found.extend(ids.iter().filter_map(|id| state.index().select(query, id)));
        return (found, None);
    }
    loop {
        let slice = state.index().scan(query, after.as_ref());
        found.extend(slice.found);
        after = slice.next;
        if after.is_none() || found.len() >= enough {
            return (found, after);
        }
        // Whoever waits for the index has it first.
        std::thread::yield_now();
    }
}

/// What is to be summed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryRequest {
    /// The filter; empty is everything.
    #[serde(default)]
    pub filter: String,
    /// The word of a grouping.
    pub by: String,
    /// Most groups.
    pub limit: usize,
}

/// A summary, the largest group first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// When.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// What messages are put together by.
    pub by: String,
    /// All of them.
    pub total: GroupView,
    /// The groups.
    pub groups: Vec<GroupView>,
    /// How many groups there are.
    pub group_count: usize,
    /// Upper bounds of all classes of age but the last, in seconds.
    pub age_bounds: Vec<i64>,
    /// Destinations where mail does not go now, and all of them where messages are put together by destination.
    pub destinations: Vec<DestinationRow>,
    /// Whether the server has read its whole queue since it started.
    pub is_complete: bool,
}

/// A group of a summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// What they have in common; empty for the total.
    pub name: String,
    /// Messages.
    pub messages: u64,
    /// Recipients that wait.
    pub recipients: u64,
    /// Octets.
    pub octets: u64,
    /// When the oldest came.
    #[serde(with = "moment_or_none")]
    pub oldest: Option<Timestamp>,
    /// Messages by age.
    pub ages: Vec<u64>,
}

impl GroupView {
    fn of(name: String, group: &Group) -> Self {
        let Group { messages, recipients, octets, oldest, ages } = group.clone();
        Self { name, messages, recipients, octets, oldest, ages: ages.to_vec() }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The filter is none.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Nothing is put together by that.
    #[error("there is no summary by {0:?}; there are {words}", words = words())]
    By(String),
}

fn words() -> String {
    GroupBy::ALL.map(GroupBy::word).join(", ")
}

/// Sums up what a filter selects.
///
/// # Errors
/// See [`AskError`].
pub fn summary(state: &(impl QueueState + ?Sized), request: &SummaryRequest) -> Result<Summary, AskError> {
    let by = GroupBy::parse(&request.by).ok_or_else(|| AskError::By(request.by.clone()))?;
    let closed = ClosedRows::of(state).names();
    let mut query = Query::new(Filter::parse(&request.filter)?, state.routes(), state.now()).with_closed(closed);
    let mut tally = Tally::new(by);
    let mut after = None;
    loop {
        after = state.index().tally(&mut query, after.as_ref(), &mut tally);
        if after.is_none() {
            break;
        }
        std::thread::yield_now();
    }
    let total = GroupView::of(String::new(), tally.total());
    let groups = tally.groups();
    let group_count = groups.len();
    let shown = groups.iter().take(request.limit.min(GROUPS_SENT_MAX));
    Ok(Summary {
        at: state.now(),
        by: request.by.clone(),
        total,
        groups: shown.map(|(name, group)| GroupView::of(name.clone(), group)).collect(),
        group_count,
        destinations: destinations::rows(state, by == GroupBy::Destination, request.limit.min(GROUPS_SENT_MAX)),
        age_bounds: AGE_BOUNDS.to_vec(),
        is_complete: state.index().is_filled(),
    })
}

/// What happened to messages since a caller asked last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The changes, in their order; a message that changed several times is named once, where it did last.
    pub changes: Vec<ChangeRow>,
    /// The number to ask with the next time.
    pub next: u64,
    /// Changes that are not known any more.
    pub missed: u64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// The message.
    pub id: MessageId,
    /// `came`, `changed` or `left`.
    pub change: String,
    /// How it is now; `None` where it is not in the queue.
    pub row: Option<Row>,
}

/// What happened since the change of that number; `u64::MAX` asks for no change, only for the next number.
pub fn changes(state: &(impl QueueState + ?Sized), since: u64) -> Changes {
    let (changes, next) = state.index().changes(since);
    let (routes, closed, now) = (state.routes(), ClosedRows::of(state), state.now());
    let mut query = Query::new(Filter::default(), routes.clone(), now).with_closed(closed.names());
    let missed = if since == u64::MAX { 0 } else { (next - since.min(next)).saturating_sub(changes.len() as u64) };
    let mut last: BTreeMap<MessageId, (usize, Change)> = BTreeMap::new();
    for (place, (id, change)) in changes.into_iter().enumerate() {
        // What came and changed at once is new to the caller.
        let word = match last.get(&id) {
            Some((_, Change::Came)) if change == Change::Changed => Change::Came,
            Some(_) | None => change,
        };
        last.insert(id, (place, word));
    }
    let mut ordered: Vec<_> = last.into_iter().collect();
    ordered.sort_unstable_by_key(|(_, (place, _))| *place);
    let rows = ordered.into_iter().map(|(id, (_, change))| {
        let row = state.index().select(&mut query, &id).map(|selected| Row::of(selected, &routes, &closed, now));
        let change = match change {
            Change::Came => "came",
            Change::Changed => "changed",
            Change::Left => "left",
        };
        ChangeRow { id, change: change.to_owned(), row }
    });
    Changes { changes: rows.collect(), next, missed }
}
