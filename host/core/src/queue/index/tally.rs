//! Summaries: how many messages, how old, how large, by what they have in common.

use core::fmt;
use std::collections::HashMap;

use super::pack::Packed;
use super::query::Query;
use super::texts::{TextId, Texts};
use crate::time::Timestamp;

/// Upper bounds of the age classes, in seconds: 5 minutes, an hour, six hours, a day; what is older is the last.
pub const AGE_BOUNDS: [i64; 4] = [300, 3_600, 6 * 3_600, 24 * 3_600];

/// Most groups of one summary. A person reads the first twenty; a sender in each message is what fills it.
const GROUPS_MAX: usize = 100_000;

/// The group of what came when there were too many.
const OTHERS: &str = "(others)";

/// What messages are put together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// Domains of the recipients who wait; a message counts in each of them once.
    Domain,
    /// Where the mail goes by the routes in force.
    Destination,
    /// Reverse paths.
    Sender,
    /// Domains of the reverse paths.
    SenderDomain,
    /// Where the messages stand.
    State,
    /// What the other side said last, or why a message is held.
    Reply,
    /// How the messages came.
    Origin,
}

impl GroupBy {
    /// Every word.
    pub const ALL: [Self; 7] =
        [Self::Domain, Self::Destination, Self::Sender, Self::SenderDomain, Self::State, Self::Reply, Self::Origin];

    /// The word that the command line has.
    pub fn word(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Destination => "destination",
            Self::Sender => "sender",
            Self::SenderDomain => "sender-domain",
            Self::State => "state",
            Self::Reply => "reply",
            Self::Origin => "origin",
        }
    }

    /// The grouping of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.word() == word)
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is known of the messages of one group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Messages.
    pub messages: u64,
    /// Recipients of theirs that wait.
    pub recipients: u64,
    /// Octets of the messages.
    pub octets: u64,
    /// When the oldest came.
    pub oldest: Option<Timestamp>,
    /// Messages by age, in the classes of [`AGE_BOUNDS`].
    pub ages: [u64; AGE_BOUNDS.len() + 1],
}

impl Group {
    fn add(&mut self, packed: &Packed, recipients: u64, now: i64) {
        self.messages += 1;
        self.recipients += recipients;
        self.octets = self.octets.saturating_add(packed.size);
        let arrived = Timestamp::from_seconds(packed.arrived);
        self.oldest = Some(self.oldest.map_or(arrived, |oldest| oldest.min(arrived)));
        let age = now.saturating_sub(packed.arrived);
        let class = AGE_BOUNDS.iter().take_while(|bound| age > **bound).count();
        if let Some(count) = self.ages.get_mut(class) {
            *count += 1;
        }
    }
}

/// A summary while it is being made, slice by slice.
#[derive(Debug)]
pub struct Tally {
    by: GroupBy,
    total: Group,
    groups: HashMap<String, Group>,
}

impl Tally {
    /// Begins a summary.
    pub fn new(by: GroupBy) -> Self {
        Self { by, total: Group::default(), groups: HashMap::new() }
    }

    /// Everything together.
    pub fn total(&self) -> &Group {
        &self.total
    }

    /// The groups, the largest first.
    pub fn groups(self) -> Vec<(String, Group)> {
        let mut groups: Vec<_> = self.groups.into_iter().collect();
        groups.sort_by(|(a, one), (b, other)| other.messages.cmp(&one.messages).then_with(|| a.cmp(b)));
        groups
    }

    pub(super) fn count(&mut self, packed: &Packed, chosen: Option<&[usize]>, query: &mut Query, texts: &Texts) {
        let now = query.now().seconds;
        let is_chosen = |place: usize| chosen.is_none_or(|chosen| chosen.contains(&place));
        let waiting = || packed.recipients().enumerate().filter(|(place, _)| is_chosen(*place)).map(|(_, one)| one);
        let all = waiting().count() as u64;
        self.total.add(packed, all, now);
        match self.by {
            GroupBy::Domain => {
                shares(waiting().map(|one| one.domain))
                    .for_each(|(domain, share)| self.group(texts.text(domain)).add(packed, share, now));
            }
            GroupBy::Destination => {
                shares(waiting().map(|one| one.route)).for_each(|(route, share)| {
                    let destination = query.destination(route, texts);
                    self.group(&destination).add(packed, share, now);
                });
            }
            GroupBy::Reply => {
                let reply = |reply| if reply == 0 { packed.reason } else { reply };
                shares(waiting().map(|one| reply(one.reply)))
                    .for_each(|(reply, share)| self.group(texts.text(reply)).add(packed, share, now));
            }
            GroupBy::Sender => {
                let (local, domain) = packed.sender();
                let sender = match texts.text(domain) {
                    "" => format!("<{local}>"),
                    domain => format!("{local}@{domain}"),
                };
                self.group(&sender).add(packed, all, now);
            }
            GroupBy::SenderDomain => {
                let (_, domain) = packed.sender();
                let domain = texts.text(domain);
                self.group(if domain.is_empty() { "<>" } else { domain }).add(packed, all, now);
            }
            GroupBy::State => self.group(query.standing(packed, texts).word()).add(packed, all, now),
            GroupBy::Origin => self.group(texts.text(packed.origin)).add(packed, all, now),
        }
    }

    fn group(&mut self, name: &str) -> &mut Group {
        let name = if self.groups.len() < GROUPS_MAX || self.groups.contains_key(name) { name } else { OTHERS };
        if !self.groups.contains_key(name) {
            self.groups.insert(name.to_owned(), Group::default());
        }
        self.groups.entry(name.to_owned()).or_default()
    }
}

/// Each number once, with how often it came.
fn shares(numbers: impl Iterator<Item = TextId>) -> impl Iterator<Item = (TextId, u64)> {
    let mut shares: Vec<(TextId, u64)> = Vec::new();
    for number in numbers {
        match shares.iter_mut().find(|(known, _)| *known == number) {
            Some((_, count)) => *count += 1,
            None => shares.push((number, 1)),
        }
    }
    shares.into_iter()
}
