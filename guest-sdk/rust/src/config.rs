//! What the operator set for this sink (`--set`, `--secret`), as text and as typed values.
//!
//! A value that cannot be understood is an error and not the default: a filter with a mistyped limit must not
//! run with another one.

use crate::Error;
use std::str::FromStr;
use std::time::Duration;

/// The text under a key.
pub fn get(key: &str) -> Option<String> {
    crate::raw::config::get(key)
}

/// The text under a key, or this.
pub fn get_or(key: &str, default: &str) -> String {
    get(key).unwrap_or_else(|| default.to_owned())
}

/// The keys that are set.
pub fn keys() -> Vec<String> {
    crate::raw::config::keys()
}

/// The value under a key, of any type that can be read from text.
pub fn parse<T: FromStr>(key: &str) -> Result<Option<T>, Error> {
    read(key, "a value of its type", |text| text.trim().parse().ok())
}

/// A yes or no: `true`, `yes`, `on`, `1`, or `false`, `no`, `off`, `0`.
pub fn flag(key: &str) -> Result<Option<bool>, Error> {
    read(key, "yes or no", |text| match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    })
}

/// A number of octets with its unit: `10MiB`, `64 KiB`, `1500B`, or without one.
pub fn octets(key: &str) -> Result<Option<u64>, Error> {
    read(key, "a size such as 10MiB", parse_octets)
}

/// A time with its unit: `30s`, `250ms`, `5m`, `2h`, `1d`.
pub fn duration(key: &str) -> Result<Option<Duration>, Error> {
    read(key, "a time such as 30s", parse_duration)
}

/// The entries of a list with commas, without the spaces around them; empty ones are left out.
pub fn list(key: &str) -> Option<Vec<String>> {
    let text = get(key)?;
    Some(text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
}

fn read<T>(key: &str, wanted: &str, understand: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
    get(key)
        .map(|text| {
            understand(&text).ok_or_else(|| Error::Invalid(format!("configuration {key} = {text:?} is not {wanted}")))
        })
        .transpose()
}

/// Splits a number from the unit behind it.
fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim().to_ascii_lowercase()))
}

fn parse_octets(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    number.checked_mul(match unit.as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    number
        .checked_mul(match unit.as_str() {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        })
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_with_their_units() {
        assert_eq!(parse_octets("10MiB"), Some(10 << 20));
        assert_eq!(parse_octets(" 64 KiB "), Some(64 << 10));
        assert_eq!(parse_octets("1500"), Some(1500));
        assert_eq!(parse_octets("10 parsecs"), None);
        assert_eq!(parse_octets("99999999999GiB"), None);
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("30"), None);
    }
}
