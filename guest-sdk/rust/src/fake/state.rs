//! The sink's table, with the lives of its values by the clock of the test.

use super::session::now;
use super::world::{StateValue, world};
use crate::bindings::basin::sink::types::{Datetime, Error};
use std::ops::Bound;
use std::time::Duration;

/// Longest value, in octets.
const VALUE_OCTETS_MAX: usize = 64 * 1024;
/// Longest key, in octets.
const KEY_OCTETS_MAX: usize = 256;
/// Keys that one call lists at most.
const KEYS_MAX: usize = 1000;

pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(present(key)?.map(|value| value.octets))
}

pub(crate) fn set(key: &str, value: &[u8], life: u32) -> Result<(), Error> {
    check_key(key)?;
    if value.len() > VALUE_OCTETS_MAX {
        return Err(Error::Limit("state value of 64 KiB".into()));
    }
    let value = StateValue { octets: value.to_vec(), ends: end_of(life) };
    world(|world| world.state.insert(key.to_owned(), value));
    Ok(())
}

pub(crate) fn swap(key: &str, expected: Option<&[u8]>, value: &[u8], life: u32) -> Result<bool, Error> {
    if get(key)?.as_deref() != expected {
        return Ok(false);
    }
    set(key, value, life).map(|()| true)
}

pub(crate) fn delete(key: &str) -> Result<(), Error> {
    check_key(key)?;
    world(|world| world.state.remove(key));
    Ok(())
}

/// Counts at once, whatever becomes of the call: the sum goes into the table that a refusal leaves behind, too.
pub(crate) fn increment(key: &str, by: i64, life: u32) -> Result<i64, Error> {
    let before = present(key)?;
    let ends = before.as_ref().map_or_else(|| end_of(life), |value| value.ends);
    let text = before.map_or_else(|| "0".to_owned(), |value| String::from_utf8_lossy(&value.octets).into_owned());
    let number: i64 = text.parse().map_err(|_| Error::Invalid(format!("state {key:?} is not a number")))?;
    let sum = number.checked_add(by).ok_or_else(|| Error::Invalid("sum out of range".into()))?;
    let value = StateValue { octets: sum.to_string().into_bytes(), ends };
    world(|world| {
        world.counted.insert(key.to_owned(), value.clone());
        world.state.insert(key.to_owned(), value);
    });
    Ok(sum)
}

pub(crate) fn keys(prefix: &str, after: Option<&str>) -> Result<Vec<String>, Error> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let now = now();
    Ok(world(|world| {
        let values = world.state.range::<str, _>((from, Bound::Unbounded));
        let keys = values.filter(|(_, value)| value.is_alive(now)).map(|(key, _)| key);
        keys.filter(|key| key.starts_with(prefix)).take(KEYS_MAX).cloned().collect()
    }))
}

fn present(key: &str) -> Result<Option<StateValue>, Error> {
    check_key(key)?;
    let now = now();
    Ok(world(|world| world.state.get(key).filter(|value| value.is_alive(now)).cloned()))
}

fn check_key(key: &str) -> Result<(), Error> {
    if (1..=KEY_OCTETS_MAX).contains(&key.len()) {
        Ok(())
    } else {
        Err(Error::Invalid(format!("a key has 1 to {KEY_OCTETS_MAX} octets, this one has {}", key.len())))
    }
}

/// When a value that is set now ends; a life of 0 has no end.
fn end_of(life: u32) -> Option<Datetime> {
    (life > 0).then(|| now().plus(Duration::from_secs(life.into())))
}
