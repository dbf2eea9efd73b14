//! Property bags: small values that sinks attach to a session, a message or a recipient.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{PROPERTIES_BYTES_MAX, PROPERTIES_MAX, PROPERTY_NAME_BYTES_MAX, PROPERTY_VALUE_BYTES_MAX};

/// Prefix of the names that every sink sees; all others are private to the sink that set them.
const SHARED_PREFIX: &str = "shared.";

/// Whose view of a bag it is: the name of a sink.
///
/// Private names are stored as `SINK/NAME`. Sink names never contain a slash, so no sink can name the
/// property of another.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a>(pub &'a str);

/// Why a property was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BagError {
    /// Empty, longer than 128 octets, or with an octet that is not printable ASCII, or with a slash.
    #[error("a property name has 1 to {PROPERTY_NAME_BYTES_MAX} printable ASCII characters and no slash")]
    Name,
    /// The value is over its limit.
    #[error("a property value has at most {PROPERTY_VALUE_BYTES_MAX} octets")]
    Value,
    /// The bag is full.
    #[error("a property bag has at most {PROPERTIES_MAX} names and {PROPERTIES_BYTES_MAX} octets")]
    Full,
}

/// Named values with limits on their number and size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bag(BTreeMap<String, Vec<u8>>);

impl Bag {
    /// The value of a name as this sink sees it.
    pub fn value(&self, scope: Scope<'_>, name: &str) -> Option<&[u8]> {
        self.0.get(&key(scope, name)).map(Vec::as_slice)
    }

    /// Sets a value.
    ///
    /// # Errors
    /// The name, the value or the bag breaks its limit; nothing changed then.
    pub fn set(&mut self, scope: Scope<'_>, name: &str, value: Vec<u8>) -> Result<(), BagError> {
        let is_name = (1..=PROPERTY_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'/');
        if !is_name {
            return Err(BagError::Name);
        }
        if value.len() > PROPERTY_VALUE_BYTES_MAX {
            return Err(BagError::Value);
        }
        let key = key(scope, name);
        let replaced = self.0.get(&key).map_or(0, |old| old.len() + key.len());
        let is_full = replaced == 0 && self.0.len() >= PROPERTIES_MAX;
        if is_full || self.bytes() - replaced + key.len() + value.len() > PROPERTIES_BYTES_MAX {
            return Err(BagError::Full);
        }
        self.0.insert(key, value);
        Ok(())
    }

    /// Removes a value and says whether there was one.
    pub fn remove(&mut self, scope: Scope<'_>, name: &str) -> bool {
        self.0.remove(&key(scope, name)).is_some()
    }

    /// Names that this sink sees: its own and the shared ones.
    pub fn names(&self, scope: Scope<'_>) -> Vec<String> {
        let own = format!("{}/", scope.0);
        let visible = |key: &String| match key.strip_prefix(&own) {
            Some(name) => Some(name.to_owned()),
            None => key.starts_with(SHARED_PREFIX).then(|| key.clone()),
        };
        self.0.keys().filter_map(visible).collect()
    }

    /// Octets of all names and values.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn key(scope: Scope<'_>, name: &str) -> String {
    if name.starts_with(SHARED_PREFIX) { name.to_owned() } else { format!("{}/{name}", scope.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_sees_its_own_and_the_shared_names() {
        let mut bag = Bag::default();
        bag.set(Scope("a"), "mine", vec![1]).expect("fits");
        bag.set(Scope("a"), "shared.score", vec![2]).expect("fits");
        assert_eq!(bag.value(Scope("b"), "mine"), None);
        assert_eq!(bag.value(Scope("b"), "shared.score"), Some(&[2][..]));
        assert_eq!(bag.names(Scope("a")), ["mine", "shared.score"]);
        assert_eq!(bag.names(Scope("b")), ["shared.score"]);
    }

    #[test]
    fn limits_refuse_and_change_nothing() {
        let mut bag = Bag::default();
        assert_eq!(bag.set(Scope("a"), "", vec![]), Err(BagError::Name));
        assert_eq!(bag.set(Scope("a"), "b/c", vec![]), Err(BagError::Name));
        assert_eq!(bag.set(Scope("a"), "n", vec![0; PROPERTY_VALUE_BYTES_MAX + 1]), Err(BagError::Value));
        for index in 0..PROPERTIES_MAX {
            bag.set(Scope("a"), &index.to_string(), vec![0]).expect("fits");
        }
        assert_eq!(bag.set(Scope("a"), "one-more", vec![]), Err(BagError::Full));
        assert_eq!(bag.set(Scope("a"), "0", vec![9]), Ok(()), "replacing needs no new place");
    }
}
