//! The rows of the schedule, compact: a million of them must fit beside the mail that is worked on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::mail::MessageId;
use crate::queue::Job;
use crate::time::Timestamp;

/// Milliseconds since 1970: what is enough for a wait, in half the octets of a [`Timestamp`].
pub(super) type Millis = i64;

/// Later than every time.
pub(super) const NEVER: Millis = Millis::MAX;

/// Rounded up, so that nothing begins before its time.
pub(super) fn millis_after(time: Timestamp) -> Millis {
    let part = i64::from(time.nanoseconds.div_ceil(1_000_000));
    time.seconds.saturating_mul(1_000).saturating_add(part)
}

/// Rounded down: what the clock says has passed.
pub(super) fn millis(now: Timestamp) -> Millis {
    now.seconds.saturating_mul(1_000).saturating_add(i64::from(now.nanoseconds / 1_000_000))
}

pub(super) fn timestamp(millis: Millis) -> Timestamp {
    let nanoseconds = u32::try_from(millis.rem_euclid(1_000)).unwrap_or(0) * 1_000_000;
    Timestamp { seconds: millis.div_euclid(1_000), nanoseconds }
}

/// The id of a message in 24 octets, where it has the form that this server makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Made(u64, u64),
    Other(MessageId),
}

impl Key {
    pub(super) fn of(id: &MessageId) -> Self {
        let number = |text: &str, len: usize| {
            let is_hex = text.len() == len && text.bytes().all(|octet| b"0123456789abcdef".contains(&octet));
            if is_hex { u64::from_str_radix(text, 16).ok() } else { None }
        };
        let made =
            id.as_str().split_once('-').and_then(|(time, random)| Some((number(time, 14)?, number(random, 16)?)));
        made.map_or_else(|| Self::Other(id.clone()), |(time, random)| Self::Made(time, random))
    }

    pub(super) fn id(&self) -> Option<MessageId> {
        match self {
            Self::Made(time, random) => MessageId::parse(&format!("{time:014x}-{random:016x}")),
            Self::Other(id) => Some(id.clone()),
        }
    }
}

/// On which list a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    No,
    /// It waits for its time.
    Waiting,
    /// It waits for a connection.
    Ready,
}

/// A job.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) due: Millis,
    pub(super) tell: Millis,
    pub(super) expires: Millis,
    pub(super) place: u32,
    pub(super) sender: u32,
    /// 0 leaves first.
    pub(super) rank: u8,
    pub(super) listed: Listed,
    pub(super) is_leased: bool,
    /// It was taken out while it was in hand.
    pub(super) is_gone: bool,
}

impl Row {
    /// Whether it is neither on a list nor in hand.
    pub(super) fn is_free(&self) -> bool {
        self.listed == Listed::No && !self.is_leased
    }
}

/// Ranks: one for each priority of RFC 6710.
pub(super) const RANKS: u8 = 19;

/// The rank of a priority; what is outside of -9 to 9 counts as the nearest.
pub(super) fn rank(priority: i32) -> u8 {
    u8::try_from(9 - priority.clamp(-9, 9)).unwrap_or(RANKS - 1)
}

/// Names by number, kept while something uses them.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<(Arc<str>, u32)>,
    free: Vec<u32>,
}

impl Names {
    pub(super) fn take(&mut self, name: &Arc<str>) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            if let Some((_, uses)) = self.names.get_mut(*number as usize) {
                *uses += 1;
            }
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| next_number(self.names.len()));
        put_at(&mut self.names, number, (name.clone(), 1));
        self.numbers.insert(name.clone(), number);
        number
    }

    pub(super) fn give_back(&mut self, number: u32) {
        let Some((name, uses)) = self.names.get_mut(number as usize) else { return };
        *uses -= 1;
        if *uses == 0 {
            self.numbers.remove(name);
            *name = Arc::default();
            self.free.push(number);
        }
    }
}

/// The number that a list of that length gives next. Four milliards of rows never fit into memory.
pub(super) fn next_number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

pub(super) fn put_at<T>(list: &mut Vec<T>, number: u32, value: T) {
    match list.get_mut(number as usize) {
        Some(place) => *place = value,
        None => list.push(value),
    }
}

/// A place in the list of what is due: destination, rank, sender, time, row.
pub(super) type Ready = (u32, u8, u32, Millis, u32);

/// All rows, and the orders in which they are looked for.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Option<Row>>,
    free: Vec<u32>,
    senders: Names,
    by_message: BTreeMap<(Key, u32), u32>,
    pub(super) ready: BTreeSet<Ready>,
    pub(super) waiting: BTreeSet<(Millis, u32)>,
    pub(super) deadlines: BTreeSet<(Millis, u32)>,
    pub(super) leased: usize,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.by_message.len()
    }

    pub(super) fn get(&self, row: u32) -> Option<&Row> {
        self.rows.get(row as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, row: u32) -> Option<&mut Row> {
        self.rows.get_mut(row as usize)?.as_mut()
    }

    /// Rows of a message and their destinations.
    pub(super) fn of(&self, key: &Key) -> Vec<(u32, u32)> {
        let range = (key.clone(), 0)..=(key.clone(), u32::MAX);
        self.by_message.range(range).map(|((_, place), row)| (*place, *row)).collect()
    }

    /// Adds a row that is on no list yet.
    pub(super) fn add(&mut self, key: Key, place: u32, job: &Job) -> u32 {
        let row = Row {
            key: key.clone(),
            due: 0,
            tell: NEVER,
            expires: NEVER,
            place,
            sender: self.senders.take(&job.sender),
            rank: 0,
            listed: Listed::No,
            is_leased: false,
            is_gone: false,
        };
        let number = self.free.pop().unwrap_or_else(|| next_number(self.rows.len()));
        put_at(&mut self.rows, number, Some(row));
        self.by_message.insert((key, place), number);
        self.set(number, job);
        number
    }

    /// Takes over what a job says. The row is on no list.
    pub(super) fn set(&mut self, number: u32, job: &Job) {
        let sender = self.senders.take(&job.sender);
        let Some(row) = self.rows.get_mut(number as usize).and_then(Option::as_mut) else { return };
        let before = core::mem::replace(&mut row.sender, sender);
        row.due = millis_after(job.due);
        row.tell = job.tell_delay.map_or(NEVER, millis_after);
        row.expires = millis_after(job.expires);
        row.rank = rank(job.priority);
        row.is_gone = false;
        self.senders.give_back(before);
    }

    /// Forgets a row that is on no list.
    pub(super) fn remove(&mut self, number: u32) {
        let Some(row) = self.rows.get_mut(number as usize).and_then(Option::take) else { return };
        self.senders.give_back(row.sender);
        self.by_message.remove(&(row.key, row.place));
        self.free.push(number);
    }

    /// Puts a row on the lists where it belongs and says whether it waits for a connection now.
    pub(super) fn list(&mut self, number: u32, now: Millis) -> bool {
        let Some(row) = self.rows.get_mut(number as usize).and_then(Option::as_mut) else { return false };
        let is_ready = row.due <= now;
        if is_ready {
            self.ready.insert((row.place, row.rank, row.sender, row.due, number));
            row.listed = Listed::Ready;
        } else {
            self.waiting.insert((row.due, number));
            row.listed = Listed::Waiting;
        }
        self.deadlines.insert((row.tell.min(row.expires), number));
        is_ready
    }

    /// Takes a row off its lists and says whether it waited for a connection.
    pub(super) fn unlist(&mut self, number: u32) -> bool {
        let Some(row) = self.rows.get_mut(number as usize).and_then(Option::as_mut) else { return false };
        let listed = core::mem::replace(&mut row.listed, Listed::No);
        match listed {
            Listed::No => return false,
            Listed::Waiting => self.waiting.remove(&(row.due, number)),
            Listed::Ready => self.ready.remove(&(row.place, row.rank, row.sender, row.due, number)),
        };
        self.deadlines.remove(&(row.tell.min(row.expires), number));
        listed == Listed::Ready
    }
}
