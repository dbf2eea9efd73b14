//! How long to wait after an attempt that failed.

use core::time::Duration;

/// How far jitter moves a wait, in thousandths of it, so that what failed together is not tried together.
const JITTER_THOUSANDTHS: u64 = 100;

/// The waits between attempts: the first ones one by one, then twice the one before, up to the longest.
///
/// RFC 5321 §4.5.4.1 wants at least 30 minutes between attempts in general and allows more of them in the
/// first hour, in which most failures heal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Waits after the first attempts.
    pub first_waits: Vec<Duration>,
    /// The longest wait.
    pub wait_max: Duration,
}

impl RetryPolicy {
    /// For a mailbox here: what fails is a full disk or a lock, which often heals within minutes.
    pub fn local() -> Self {
        Self::minutes(&[1, 2, 5, 10, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30], 60)
    }

    /// For a message to another server. Five minutes are what greylisting wants at most servers.
    pub fn remote() -> Self {
        Self::minutes(&[5, 10, 20, 30, 60], 120)
    }

    /// For a destination that cannot be reached at all; one probe stands for all that waits there.
    pub fn unreachable() -> Self {
        Self::minutes(&[5, 10, 20, 30], 60)
    }

    fn minutes(first: &[u64], longest: u64) -> Self {
        let wait = |minutes: u64| Duration::from_secs(minutes * 60);
        Self { first_waits: first.iter().copied().map(wait).collect(), wait_max: wait(longest) }
    }

    /// How long to wait after attempt number `attempt`, the first of which is 1; `random` moves it by up to a
    /// tenth.
    pub fn wait(&self, attempt: u32, random: u64) -> Duration {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = self.first_waits.get(index).copied().unwrap_or_else(|| {
            let last = self.first_waits.last().copied().unwrap_or(self.wait_max);
            let doublings = u32::try_from(index.saturating_sub(self.first_waits.len())).unwrap_or(u32::MAX);
            let factor = 2_u32.checked_pow(doublings.saturating_add(1)).unwrap_or(u32::MAX);
            last.saturating_mul(factor)
        });
        // Nothing is tried again at once, whatever was configured.
        let milliseconds = u64::try_from(wait.min(self.wait_max).as_millis()).unwrap_or(u64::MAX).max(1_000);
        let thousandths = 1_000 - JITTER_THOUSANDTHS + random % (2 * JITTER_THOUSANDTHS + 1);
        Duration::from_millis(milliseconds.saturating_mul(thousandths) / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The middle of the jitter is no jitter.
    const MIDDLE: u64 = JITTER_THOUSANDTHS;

    fn minutes(policy: &RetryPolicy, attempts: core::ops::RangeInclusive<u32>) -> Vec<u64> {
        attempts.map(|attempt| policy.wait(attempt, MIDDLE).as_secs() / 60).collect()
    }

    #[test]
    fn waits_grow_to_the_longest_and_never_shrink() {
        let local = minutes(&RetryPolicy::local(), 1..=20);
        assert_eq!((local.get(..7), local.last()), (Some(&[1, 2, 5, 10, 30, 30, 30][..]), Some(&60)));
        assert_eq!(minutes(&RetryPolicy::remote(), 1..=7), [5, 10, 20, 30, 60, 120, 120]);
        for policy in [RetryPolicy::local(), RetryPolicy::remote(), RetryPolicy::unreachable()] {
            assert!(minutes(&policy, 1..=200).is_sorted());
            assert_eq!(policy.wait(u32::MAX, MIDDLE), policy.wait_max);
            assert_eq!(policy.wait(0, MIDDLE), policy.wait(1, MIDDLE));
        }
    }

    #[test]
    fn a_policy_without_first_waits_waits_as_long_as_it_may_and_never_not_at_all() {
        let bare = RetryPolicy { first_waits: Vec::new(), wait_max: Duration::from_secs(600) };
        assert_eq!(bare.wait(1, MIDDLE).as_secs(), 600);
        let none = RetryPolicy { first_waits: vec![Duration::ZERO], wait_max: Duration::ZERO };
        assert!(none.wait(1, 0) > Duration::ZERO);
    }

    #[test]
    fn jitter_moves_a_wait_by_a_tenth_at_most() {
        for random in 0..1_000 {
            let wait = RetryPolicy::local().wait(4, random).as_millis();
            assert!((540_000..=660_000).contains(&wait), "{wait}");
        }
        assert_eq!(RetryPolicy::local().wait(4, 0).as_millis(), 540_000);
        assert_eq!(RetryPolicy::local().wait(4, 2 * MIDDLE).as_millis(), 660_000);
    }
}
