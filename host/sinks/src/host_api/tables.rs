//! `state`: the sink's own table.

use std::collections::BTreeSet;
use std::sync::Arc;

use basin_core::event::tables::ENTRY_OVERHEAD_BYTES;
use basin_core::event::{Grant, Mode, TableValue};
use basin_core::limits::{TABLE_KEY_BYTES_MAX, TABLE_KEYS_LISTED_MAX, TABLE_VALUE_BYTES_MAX, TABLES_BYTES_MAX};

use super::{ErrorValue, Refused, invalid};
use crate::bindings::basin::sink::state::Host;
use crate::state::State;

impl Host for State {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, Refused> {
        self.table(&key)?;
        let value = self.value(&key)?.map(|octets| octets.to_vec());
        Ok(self.give(value)?)
    }

    fn set(&mut self, key: String, value: Vec<u8>, life: u32) -> Result<(), Refused> {
        self.taken(&value);
        self.table(&key)?;
        self.writable()?;
        self.put(&key, Some(self.fitting(&key, value, life)?), None)
    }

    fn swap(&mut self, key: String, expected: Option<Vec<u8>>, value: Vec<u8>, life: u32) -> Result<bool, Refused> {
        self.taken(&value);
        self.taken(&expected);
        self.table(&key)?;
        self.writable()?;
        let present = self.value(&key)?;
        if present.as_deref() != expected.as_deref() {
            return Ok(false);
        }
        self.put(&key, Some(self.fitting(&key, value, life)?), Some(present))?;
        Ok(true)
    }

    fn delete(&mut self, key: String) -> Result<(), Refused> {
        self.table(&key)?;
        self.writable()?;
        self.put(&key, None, None)
    }

    async fn increment(&mut self, key: String, by: i64, life: u32) -> Result<i64, Refused> {
        self.table(&key)?;
        self.writable()?;
        let (sink, now) = (self.sink.name.clone(), self.occasion.now);
        // On top of what the chain itself has set, the sum is the chain's too; and what a shadow adds goes with its
        // other edits.
        let is_of_chain = self.binding.mode == Mode::Shadow || self.overlay.tables.of(&sink, &key).is_some();
        if !is_of_chain {
            return self.wait_for(|host| host.table_increment(&sink, &key, by, life, now)).await;
        }
        let sum = sum(self.value(&key)?.as_deref(), by)?;
        let life = self.overlay.tables.of(&sink, &key).and_then(|edit| Some(edit.value.as_ref()?.life)).unwrap_or(life);
        self.put(&key, Some(self.fitting(&key, sum.to_string().into_bytes(), life)?), None)?;
        Ok(sum)
    }

    fn keys(&mut self, prefix: String, after: Option<String>) -> Result<Vec<String>, Refused> {
        self.taken(&prefix);
        self.taken(&after);
        self.service(Grant::State)?;
        let (sink, edits) = (self.sink.name.as_str(), &self.overlay.tables);
        // Each key that the chain has removed may stand in the place of one that is there.
        let removed = edits.keys(sink, &prefix, after.as_deref()).filter(|(_, edit)| edit.value.is_none()).count();
        let at_most = TABLE_KEYS_LISTED_MAX + removed;
        let stored = self.host.table_keys(sink, &prefix, after.as_deref(), at_most, self.occasion.now)?;
        let mut keys: BTreeSet<String> = stored.into_iter().collect();
        // A list that was cut ends where it was cut: a key of the chain behind it comes with the next one.
        let end = keys.last().cloned().filter(|_| keys.len() >= at_most);
        for (key, edit) in edits.keys(sink, &prefix, after.as_deref()) {
            if edit.value.is_none() {
                keys.remove(key);
            } else if end.as_deref().is_none_or(|end| key <= end) {
                keys.insert(key.to_owned());
            }
        }
        Ok(self.give(keys.into_iter().take(TABLE_KEYS_LISTED_MAX).collect::<Vec<_>>())?)
    }
}

impl State {
    fn table(&mut self, key: &String) -> Result<(), Refused> {
        self.taken(key);
        self.service(Grant::State)?;
        if (1..=TABLE_KEY_BYTES_MAX).contains(&key.len()) {
            return Ok(());
        }
        Err(invalid(format!("a key has 1 to {TABLE_KEY_BYTES_MAX} octets")))
    }

    /// The value as this chain sees it: its own, else the stored one.
    fn value(&self, key: &str) -> Result<Option<Arc<[u8]>>, Refused> {
        match self.overlay.tables.of(&self.sink.name, key) {
            Some(edit) => Ok(edit.value.as_ref().map(|value| value.octets.clone())),
            None => Ok(self.host.table_value(&self.sink.name, key, self.occasion.now)?),
        }
    }

    /// The value, unless it or the table with it is too large.
    fn fitting(&self, key: &str, octets: Vec<u8>, life: u32) -> Result<TableValue, Refused> {
        let limit = |what: String| Refused::from(ErrorValue::Limit(what));
        if octets.len() > TABLE_VALUE_BYTES_MAX {
            return Err(limit(format!("a value has at most {TABLE_VALUE_BYTES_MAX} octets")));
        }
        let sink = &self.sink.name;
        let weight = |key: &str, value: usize| (key.len() + value) as u64 + ENTRY_OVERHEAD_BYTES;
        let stored = self.host.table_bytes(sink)?;
        let mut used = stored + self.overlay.tables.growth(sink) + weight(key, octets.len());
        if used > TABLES_BYTES_MAX {
            // It may be that the chain replaces what is there.
            let changed: BTreeSet<&str> =
                self.overlay.tables.keys(sink, "", None).map(|(key, _)| key).chain([key]).collect();
            for key in changed {
                if let Some(value) = self.host.table_value(sink, key, self.occasion.now)? {
                    used = used.saturating_sub(weight(key, value.len()));
                }
            }
            let own = self.overlay.tables.of(sink, key).and_then(|edit| edit.value.as_ref());
            used = used.saturating_sub(own.map_or(0, |value| weight(key, value.octets.len())));
        }
        if used > TABLES_BYTES_MAX {
            return Err(limit(format!("a sink stores at most {TABLES_BYTES_MAX} octets")));
        }
        Ok(TableValue { octets: octets.into(), life })
    }

    fn put(
        &mut self,
        key: &str,
        value: Option<TableValue>,
        expected: Option<Option<Arc<[u8]>>>,
    ) -> Result<(), Refused> {
        let put = self.overlay.tables.set(&self.sink.name, key, value, expected);
        put.map_err(|error| ErrorValue::Limit(error.to_string()).into())
    }
}

fn sum(present: Option<&[u8]>, by: i64) -> Result<i64, Refused> {
    let number = match present {
        None => 0,
        Some(octets) => {
            let number = core::str::from_utf8(octets).ok().and_then(|text| text.parse::<i64>().ok());
            number.ok_or_else(|| invalid("the value is no number"))?
        }
    };
    number.checked_add(by).ok_or_else(|| invalid("the sum does not fit"))
}
