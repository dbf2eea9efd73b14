//! Whose turn it is: higher priorities first, but nobody is passed over for ever.

use super::rows::RANKS;

/// How often a rank that could go is passed over by higher ones before it has a turn all the same.
pub(super) const PASSED_OVER_MAX: u8 = 16;

/// The turns among ranks, and within each of them.
///
/// A destination has one for its senders, the schedule one for its destinations. Ranks that were never
/// seen take no memory.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<Turn>);

#[derive(Debug)]
struct Turn {
    rank: u8,
    passed_over: u8,
    /// Who of this rank went last.
    last: u32,
}

impl Turns {
    /// The rank that goes next out of those that could; `next_from` has the first of them that is not below the
    /// one asked for.
    pub(super) fn choose(&mut self, next_from: impl Fn(u8) -> Option<u8>) -> Option<u8> {
        let mut present = Vec::new();
        let mut from = 0;
        while let Some(rank) = next_from(from).filter(|rank| *rank < RANKS) {
            present.push(rank);
            from = rank + 1;
        }
        // The lowest of those that waited too long waited longest.
        let starved = present.iter().copied().rfind(|rank| self.passed_over(*rank) >= PASSED_OVER_MAX);
        let chosen = starved.or_else(|| present.first().copied())?;
        for rank in present.into_iter().filter(|rank| *rank > chosen) {
            self.update(rank, |turn| turn.passed_over = turn.passed_over.saturating_add(1));
        }
        self.update(chosen, |turn| turn.passed_over = 0);
        Some(chosen)
    }

    /// Who of a rank went last.
    pub(super) fn last(&self, rank: u8) -> u32 {
        self.turn(rank).map_or(u32::MAX, |turn| turn.last)
    }

    /// Notes who of a rank goes now.
    pub(super) fn went(&mut self, rank: u8, who: u32) {
        self.update(rank, |turn| turn.last = who);
    }

    fn passed_over(&self, rank: u8) -> u8 {
        self.turn(rank).map_or(0, |turn| turn.passed_over)
    }

    fn turn(&self, rank: u8) -> Option<&Turn> {
        self.0.iter().find(|turn| turn.rank == rank)
    }

    fn update(&mut self, rank: u8, change: impl FnOnce(&mut Turn)) {
        match self.0.iter_mut().find(|turn| turn.rank == rank) {
            Some(turn) => change(turn),
            None => {
                let mut turn = Turn { rank, passed_over: 0, last: u32::MAX };
                change(&mut turn);
                self.0.push(turn);
            }
        }
    }
}
