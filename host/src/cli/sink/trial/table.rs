//! The table of the sink in `basin sink test`: empty at first, in memory, and gone with the command.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use basin_core::event::tables::ENTRY_OVERHEAD_BYTES;
use basin_sinks::ServiceError;

/// The sums that calls have made, which are there at once.
///
/// What a call sets otherwise takes effect with its other edits; those are shown and come to nothing. The clock stands
/// still, so that nothing ends.
#[derive(Debug, Default)]
pub(super) struct OfflineTable {
    sums: Mutex<BTreeMap<String, i64>>,
}

impl OfflineTable {
    pub(super) fn value(&self, key: &str) -> Option<Arc<[u8]>> {
        self.with(|sums| sums.get(key).map(|sum| sum.to_string().into_bytes().into()))
    }

    pub(super) fn keys(&self, prefix: &str, after: Option<&str>, at_most: usize) -> Vec<String> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        self.with(|sums| {
            let found = sums.range::<str, _>((start, Bound::Unbounded)).map(|(key, _)| key);
            found.take_while(|key| key.starts_with(prefix)).take(at_most).cloned().collect()
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        let weight = |(key, sum): (&String, &i64)| (key.len() + sum.to_string().len()) as u64 + ENTRY_OVERHEAD_BYTES;
        self.with(|sums| sums.iter().map(weight).sum())
    }

    pub(super) fn increment(&self, key: &str, by: i64) -> Result<i64, ServiceError> {
        self.with(|sums| {
            let sum = sums.get(key).copied().unwrap_or_default().checked_add(by);
            let sum = sum.ok_or_else(|| ServiceError::Invalid("the sum does not fit".to_owned()))?;
            sums.insert(key.to_owned(), sum);
            Ok(sum)
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<String, i64>) -> T) -> T {
        act(&mut self.sums.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_there_at_once_and_have_no_more_than_a_number_holds() {
        let table = OfflineTable::default();
        assert_eq!((table.value("n"), table.bytes()), (None, 0));
        assert_eq!((table.increment("n", 7), table.increment("n", -10)), (Ok(7), Ok(-3)));
        assert_eq!(table.value("n").as_deref(), Some(&b"-3"[..]));
        assert_eq!(table.bytes(), 3 + ENTRY_OVERHEAD_BYTES);
        assert!(matches!(table.increment("n", i64::MIN), Err(ServiceError::Invalid(_))));
        assert_eq!(table.value("n").as_deref(), Some(&b"-3"[..]), "it stays as it was");
    }

    #[test]
    fn keys_are_listed_by_prefix_from_one_on() {
        let table = OfflineTable::default();
        for key in ["a", "seen/1", "seen/2", "seen/3", "young/1"] {
            table.increment(key, 1).expect("small numbers");
        }
        assert_eq!(table.keys("seen/", None, 9), ["seen/1", "seen/2", "seen/3"]);
        assert_eq!(table.keys("seen/", Some("seen/1"), 1), ["seen/2"]);
        assert_eq!(table.keys("seen/", Some("a"), 1), ["seen/1"]);
        assert_eq!(table.keys("", None, 9).len(), 5);
    }
}
