//! Sizes and durations as people write them: `64MiB`, `250ms`.

use std::time::Duration;

/// Reads a size: a whole number and `B`, `KiB`, `MiB` or `GiB`; without a unit it is octets.
///
/// # Errors
/// Says what forms there are.
pub fn size(text: &str) -> Result<u64, String> {
    let form = || format!("{text:?} is no size; write a whole number and B, KiB, MiB or GiB, as in \"64MiB\"");
    let (number, unit) = split(text).ok_or_else(form)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return Err(form()),
    };
    number.checked_mul(factor).ok_or_else(form)
}

/// Reads a duration: a whole number and `ms`, `s`, `m` or `h`. A bare number is refused, because nobody
/// remembers its unit.
///
/// # Errors
/// Says what forms there are.
pub fn duration(text: &str) -> Result<Duration, String> {
    let form = || format!("{text:?} is no duration; write a whole number and ms, s, m or h, as in \"250ms\"");
    let (number, unit) = split(text).ok_or_else(form)?;
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(form()),
    };
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(form)
}

/// Writes a size in the largest unit that keeps it whole.
pub fn show_size(octets: u64) -> String {
    for (unit, factor) in [("GiB", 1024 * 1024 * 1024), ("MiB", 1024 * 1024), ("KiB", 1024)] {
        if octets >= factor && octets.is_multiple_of(factor) {
            return format!("{}{unit}", octets / factor);
        }
    }
    format!("{octets}B")
}

/// Writes a duration of whole milliseconds in the largest unit that keeps it whole.
pub fn show_duration(milliseconds: u64) -> String {
    for (unit, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds >= factor && milliseconds.is_multiple_of(factor) {
            return format!("{}{unit}", milliseconds / factor);
        }
    }
    format!("{milliseconds}ms")
}

// The number may have underscores, as TOML has them.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.replace('_', "").parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for octets in [0, 1, 1024, 64 << 20, 3 << 30, 1025] {
            assert_eq!(size(&show_size(octets)), Ok(octets));
        }
        for milliseconds in [0, 1, 250, 1_000, 90_000, 7_200_000] {
            assert_eq!(duration(&show_duration(milliseconds)), Ok(Duration::from_millis(milliseconds)));
        }
    }

    #[test]
    fn a_quantity_without_form_says_what_forms_there_are() {
        for bad in ["", "MiB", "64MB", "-1", "1.5MiB", "99999999999GiB"] {
            assert!(size(bad).is_err_and(|text| text.contains("64MiB")), "{bad}");
        }
        for bad in ["", "250", "1d", "fast"] {
            assert!(duration(bad).is_err_and(|text| text.contains("250ms")), "{bad}");
        }
    }
}
