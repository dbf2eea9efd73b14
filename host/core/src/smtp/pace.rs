//! How fast text comes.

use core::time::Duration;

use crate::limits::DATA_RATE_WINDOW;

/// Octets of a text, and the time that was waited for them.
///
/// Only waiting counts: what sinks and disks take is no fault of the client's. Looked at once in each window, so a
/// client may stand still for a moment, and pays for it within the minute.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    octets: u64,
    waited: Duration,
}

impl Pace {
    /// Counts what came after a wait; says whether that is less than so many octets in a second.
    pub(super) fn is_below(&mut self, rate: u64, octets: usize, waited: Duration) -> bool {
        self.octets = self.octets.saturating_add(octets as u64);
        self.waited = self.waited.saturating_add(waited);
        if self.waited < DATA_RATE_WINDOW {
            return false;
        }
        let Self { octets, waited } = core::mem::take(self);
        octets < rate.saturating_mul(waited.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_below(rate: u64, pieces: &[(usize, u64)]) -> bool {
        let mut pace = Pace::default();
        pieces.iter().any(|(octets, seconds)| pace.is_below(rate, *octets, Duration::from_secs(*seconds)))
    }

    #[test]
    fn an_octet_a_second_is_too_slow_and_a_rest_between_two_pieces_is_not() {
        assert!(is_below(10, &[(1, 1); 60]));
        assert!(!is_below(10, &[(1, 1); 59]), "nobody is judged before the minute is over");
        assert!(!is_below(10, &[(10, 1); 600]));
        assert!(!is_below(10, &[(400, 1), (1, 30), (400, 29), (600, 60)]));
        assert!(is_below(10, &[(10_000, 60), (500, 60)]), "what came before the minute does not count");
        assert!(!is_below(0, &[(0, 600)]));
        assert!(is_below(10, &[(5, 3_000)]), "however long the wait");
    }
}
