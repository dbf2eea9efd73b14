//! How often somebody may do something.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::time::Timestamp;

/// So many in so much time, all of them at once where somebody likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; 1 at least.
    pub count: u32,
    /// In how much time.
    pub per: Duration,
}

impl Rate {
    /// So many in a minute.
    pub const fn per_minute(count: u32) -> Self {
        Self { count, per: Duration::from_secs(60) }
    }

    // What one costs: the time in which it comes back.
    fn cost(self, amount: u32) -> Duration {
        let each = self.per.checked_div(self.count.max(1)).unwrap_or(self.per);
        each.saturating_mul(amount)
    }
}

/// A token bucket for each of many clients, in bounded memory.
///
/// A bucket is one time: when it will be full again (the virtual scheduling form of the leaky bucket, ITU-T I.371).
/// A full bucket need not be kept. There are two generations of buckets: where the younger is full, it becomes the
/// older, and what the older one held is forgotten. So somebody is forgotten only after as many others as a
/// generation holds have come; an attacker with that many addresses is not held up by any table.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    /// Most buckets of a generation.
    generation_max: usize,
    young: BTreeMap<K, Timestamp>,
    old: BTreeMap<K, Timestamp>,
}

impl<K: Ord> Buckets<K> {
    /// Makes buckets that are all full; at most twice `generation_max` are kept.
    pub fn new(rate: Rate, generation_max: usize) -> Self {
        Self { rate, generation_max: generation_max.max(1), young: BTreeMap::new(), old: BTreeMap::new() }
    }

    /// Takes so many out of a bucket where they are in it; says whether they were. What is refused costs nothing.
    pub fn take(&mut self, key: K, amount: u32, now: Timestamp) -> bool {
        let full = self.spent_until(&key, now).plus(self.rate.cost(amount));
        let is_in_it = full.since(now) <= self.rate.per;
        if is_in_it {
            self.put(key, full);
        }
        is_in_it
    }

    /// Whether there is at least one in a bucket.
    pub fn has_one(&mut self, key: &K, now: Timestamp) -> bool {
        self.spent_until(key, now).plus(self.rate.cost(1)).since(now) <= self.rate.per
    }

    /// How many buckets are kept.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // A time in the past is a full bucket. One further away than the rate allows was written before the clock was
    // set back; it counts as an empty one from now on, or it would be one until the clock is there again.
    fn spent_until(&mut self, key: &K, now: Timestamp) -> Timestamp {
        let Some(kept) = self.young.get_mut(key).or_else(|| self.old.get_mut(key)) else { return now };
        *kept = (*kept).min(now.plus(self.rate.per));
        (*kept).max(now)
    }

    fn put(&mut self, key: K, full: Timestamp) {
        self.old.remove(&key);
        if self.young.len() >= self.generation_max && !self.young.contains_key(&key) {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(key, full);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEN: Rate = Rate { count: 10, per: Duration::from_secs(60) };

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_000).plus(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_burst_is_let_through_and_then_as_many_as_come_back() {
        let mut buckets = Buckets::new(TEN, 100);
        assert_eq!((0..20).filter(|_| buckets.take("a", 1, at(0))).count(), 10);
        assert!(!buckets.take("a", 1, at(5_999)));
        assert!(buckets.take("a", 1, at(6_000)));
        assert!(!buckets.has_one(&"a", at(6_000)));
        assert!(buckets.take("b", 10, at(6_000)), "others have buckets of their own");
        assert!(!buckets.take("b", 11, at(600_000)), "more than fit into a bucket are never in it");
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out_for_longer_than_the_time_of_the_rate() {
        let mut buckets = Buckets::new(TEN, 100);
        assert!(buckets.take("a", 10, at(10_000_000)));
        assert!(!buckets.take("a", 1, at(0)));
        assert!(buckets.take("c", 10, at(10_000_000)));
        assert!(!buckets.has_one(&"c", at(0)));
        let mut again = Buckets::new(TEN, 100);
        assert!(again.take("a", 1, at(10_000_000)));
        assert!(again.take("a", 1, at(0)) || again.take("a", 1, at(60_000)));
    }

    #[test]
    fn memory_is_bounded_and_who_comes_often_is_remembered() {
        let mut buckets = Buckets::new(TEN, 8);
        assert!(buckets.take(0, 10, at(0)));
        for other in 1..100 {
            assert!(buckets.take(other, 10, at(0)));
            assert!(!buckets.has_one(&other, at(0)));
            assert!(buckets.len() <= 16);
        }
        assert!(buckets.has_one(&0, at(0)), "forgotten after a hundred others");
    }

    proptest! {
        // Whatever the times: no more than the bucket holds and what comes back in between.
        #[test]
        fn no_window_lets_more_through_than_the_rate(
            gaps in prop::collection::vec(0..20_000u64, 1..80),
            amounts in prop::collection::vec(1..4u32, 80),
        ) {
            let mut buckets = Buckets::new(TEN, 4);
            let (mut now, mut taken) = (0, Vec::new());
            for (gap, amount) in gaps.into_iter().zip(amounts) {
                now += gap;
                if buckets.take((), amount, at(now)) {
                    taken.push((now, u64::from(amount)));
                }
            }
            for (index, (start, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (time, amount) in &taken[index..] {
                    sum += amount;
                    // One comes back every six seconds.
                    prop_assert!(sum <= 10 + (time - start) / 6_000, "{taken:?}");
                }
            }
        }

        #[test]
        fn who_keeps_to_the_rate_is_never_refused(extra in prop::collection::vec(0..9_000u64, 1..80)) {
            let mut buckets = Buckets::new(TEN, 4);
            let mut now = 0;
            for more in extra {
                now += 6_000 + more;
                prop_assert!(buckets.take((), 1, at(now)));
            }
        }
    }
}
