//! A filter at work.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::filter::{Condition, Field, Filter, Test, WAITING};
use super::pack::{Key, Packed, PackedRecipient};
use super::row::{Row, Standing, Waits};
use super::texts::{TextId, Texts};
use crate::event::rule::Glob;
use crate::time::Timestamp;
use crate::transport::{Destination, RouteTable};

/// A message that a query selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The message.
    pub row: Row,
    /// Which of the row's recipients the conditions chose, by their place there; `None` is the whole message.
    pub recipients: Option<Vec<usize>>,
}

/// Destinations where mail does not go now: they are down, or an operator holds them.
pub type Closed = HashSet<Destination>;

/// A filter that is being applied at a moment, with the routes that are in force.
///
/// What it finds out about a shared text (does this domain fit, where does it lead) it remembers, so that a
/// million rows cost a few thousand comparisons of patterns.
#[derive(Debug)]
pub struct Query {
    filter: Filter,
    now: i64,
    routes: Arc<RouteTable>,
    /// For each condition and each shared text whether it fits.
    memos: Vec<Vec<Memo>>,
    destinations: HashMap<TextId, Arc<str>>,
    closed: Arc<Closed>,
    generation: u64,
    scratch: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Memo {
    #[default]
    Unknown,
    Fits,
    FitsNot,
}

impl Query {
    /// Begins to apply a filter.
    pub fn new(filter: Filter, routes: Arc<RouteTable>, now: Timestamp) -> Self {
        let memos = filter.conditions.iter().map(|_| Vec::new()).collect();
        Self {
            filter: routed(filter, &routes),
            now: now.seconds,
            routes,
            memos,
            destinations: HashMap::new(),
            closed: Arc::default(),
            generation: 0,
            scratch: String::new(),
        }
    }

    /// The same, where mail does not go to these destinations.
    #[must_use]
    pub fn with_closed(self, closed: Arc<Closed>) -> Self {
        Self { closed, ..self }
    }

    /// The filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The moment at which ages are counted.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.now)
    }

    /// Whether a row is selected: `None` where it is not, else the recipients that were chosen.
    pub(super) fn select(&mut self, key: &Key, packed: &Packed, texts: &Texts) -> Option<Option<Vec<usize>>> {
        self.freshen(texts);
        let mut memos = core::mem::take(&mut self.memos);
        let conditions = core::mem::take(&mut self.filter.conditions);
        let selected = self.select_by(&conditions, &mut memos, (key, packed), texts);
        self.filter.conditions = conditions;
        self.memos = memos;
        selected
    }

    /// Where a text leads by the routes, for summaries and lists.
    pub(super) fn destination(&mut self, route: TextId, texts: &Texts) -> Arc<str> {
        let routes = &self.routes;
        let destination = || routes.route(texts.text(route)).destination.as_str().into();
        self.destinations.entry(route).or_insert_with(destination).clone()
    }

    /// Where a message stands, with regard to where mail goes now: what is ready to leave for nowhere waits like what
    /// was deferred.
    pub(super) fn standing(&mut self, packed: &Packed, texts: &Texts) -> Standing {
        // A message whose submission nobody hears is written as it came, so its record says that it is submitted still.
        let is_leaving = matches!(packed.standing, Standing::Submission | Standing::Ready);
        if !is_leaving || self.closed.is_empty() {
            return packed.standing;
        }
        self.freshen(texts);
        let mut is_pending = false;
        for recipient in packed.recipients().filter(|recipient| recipient.waits == Waits::Pending) {
            is_pending = true;
            let destination = self.destination(recipient.route, texts);
            if !self.closed.contains(destination.as_ref()) {
                return packed.standing;
            }
        }
        if is_pending { Standing::Deferred } else { packed.standing }
    }

    // Numbers of texts are used again; what was remembered of them is then about another text.
    fn freshen(&mut self, texts: &Texts) {
        if self.generation != texts.generation() {
            self.generation = texts.generation();
            self.memos.iter_mut().for_each(Vec::clear);
            self.destinations.clear();
        }
    }

    fn select_by(
        &mut self,
        conditions: &[Condition],
        memos: &mut [Vec<Memo>],
        (key, packed): (&Key, &Packed),
        texts: &Texts,
    ) -> Option<Option<Vec<usize>>> {
        for (condition, memo) in conditions.iter().zip(memos.iter_mut()) {
            if condition.field.chooses_recipients() {
                continue;
            }
            let fits = match &condition.test {
                Test::Number(compare, wanted) => {
                    self.number(condition.field, packed).is_some_and(|found| compare.holds(found, *wanted))
                }
                Test::Text(globs) => self.fits_text(condition.field, globs, memo, (key, packed), texts),
            };
            if fits == condition.is_negated {
                return None;
            }
        }
        if !conditions.iter().any(|condition| condition.field.chooses_recipients()) {
            return Some(None);
        }
        let mut chosen = Vec::new();
        for (place, recipient) in packed.recipients().enumerate() {
            let mut pairs = conditions.iter().zip(memos.iter_mut());
            if pairs.all(|(condition, memo)| self.chooses(condition, memo, &recipient, packed, texts)) {
                chosen.push(place);
            }
        }
        (!chosen.is_empty()).then_some(Some(chosen))
    }

    fn number(&self, field: Field, packed: &Packed) -> Option<i64> {
        match field {
            Field::Age => Some(self.now.saturating_sub(packed.arrived)),
            Field::Next => packed.next_attempt().map(|at| at.saturating_sub(self.now).max(0)),
            Field::Size => i64::try_from(packed.size).ok(),
            Field::Attempts => Some(packed.attempts.into()),
            Field::Priority => Some(packed.priority.into()),
            Field::Recipients => Some(packed.recipient_count.into()),
            Field::Id
            | Field::Sender
            | Field::Recipient
            | Field::Domain
            | Field::Destination
            | Field::State
            | Field::Reply
            | Field::Origin => None,
        }
    }

    fn fits_text(
        &mut self,
        field: Field,
        globs: &[Glob],
        memo: &mut Vec<Memo>,
        (key, packed): (&Key, &Packed),
        texts: &Texts,
    ) -> bool {
        self.scratch.clear();
        match field {
            Field::State => {
                let standing = self.standing(packed, texts);
                return fits(globs, standing.word()) || standing.is_waiting() && is_waiting_meant(globs);
            }
            Field::Origin => return remembered(memo, packed.origin, || fits(globs, texts.text(packed.origin))),
            Field::Sender => {
                let (local, domain) = packed.sender();
                address(local, texts.text(domain), &mut self.scratch);
            }
            Field::Id => key.write(texts, &mut self.scratch),
            Field::Recipient
            | Field::Domain
            | Field::Destination
            | Field::Reply
            | Field::Age
            | Field::Next
            | Field::Size
            | Field::Attempts
            | Field::Priority
            | Field::Recipients => return false,
        }
        fits(globs, &self.scratch)
    }

    fn chooses(
        &mut self,
        condition: &Condition,
        memo: &mut Vec<Memo>,
        recipient: &PackedRecipient<'_>,
        packed: &Packed,
        texts: &Texts,
    ) -> bool {
        let Test::Text(globs) = &condition.test else { return true };
        let fits = match condition.field {
            Field::Recipient => {
                self.scratch.clear();
                address(recipient.local, texts.text(recipient.domain), &mut self.scratch);
                fits(globs, &self.scratch)
            }
            Field::Domain => remembered(memo, recipient.domain, || fits(globs, texts.text(recipient.domain))),
            Field::Destination => {
                remembered(memo, recipient.route, || fits(globs, &self.destination(recipient.route, texts)))
            }
            Field::Reply => {
                let reply = if recipient.reply == 0 { packed.reason } else { recipient.reply };
                remembered(memo, reply, || fits(globs, texts.text(reply)))
            }
            Field::Id
            | Field::Sender
            | Field::State
            | Field::Origin
            | Field::Age
            | Field::Next
            | Field::Size
            | Field::Attempts
            | Field::Priority
            | Field::Recipients => return true,
        };
        fits != condition.is_negated
    }
}

// A domain stands for the first server of its route here as everywhere: nobody who writes to an address knows
// `[host]:port`.
fn routed(mut filter: Filter, routes: &RouteTable) -> Filter {
    for condition in filter.conditions.iter_mut().filter(|condition| condition.field == Field::Destination) {
        let meant: Vec<Glob> = condition.meant(routes).map(|(_, meant)| Glob::new(meant.as_str())).collect();
        if let Test::Text(globs) = &mut condition.test {
            globs.extend(meant);
        }
    }
    filter
}

fn is_waiting_meant(globs: &[Glob]) -> bool {
    globs.iter().any(|glob| glob.literal() == Some(WAITING))
}

fn fits(globs: &[Glob], text: &str) -> bool {
    globs.iter().any(|glob| glob.is_match(text))
}

fn address(local: &str, domain: &str, out: &mut String) {
    out.push_str(local);
    if !domain.is_empty() {
        out.push('@');
        out.push_str(domain);
    }
}

fn remembered(memo: &mut Vec<Memo>, number: TextId, find_out: impl FnOnce() -> bool) -> bool {
    let Ok(place) = usize::try_from(number) else { return find_out() };
    if memo.len() <= place {
        memo.resize(place + 1, Memo::Unknown);
    }
    let Some(slot) = memo.get_mut(place) else { return find_out() };
    if *slot == Memo::Unknown {
        *slot = if find_out() { Memo::Fits } else { Memo::FitsNot };
    }
    *slot == Memo::Fits
}
