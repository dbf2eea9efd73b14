//! The parts of a message: each is a piece of the body, found once, whatever the boundaries say.

use basin_core::mail::HeaderBlock;
use bytes::Bytes;

use crate::view::{parts, words};

/// Deepest path of a part; the view refuses a message that nests deeper than 32.
const PATH_NUMBERS_MAX: usize = 34;

/// Cuts octets at the first empty line and looks at both sides of it.
pub(super) fn run(octets: &[u8]) {
    let at = octets.windows(4).position(|four| four == b"\r\n\r\n").map_or(octets.len(), |at| at + 2);
    let (header, body) = octets.split_at(at);
    let body = body.strip_prefix(b"\r\n").unwrap_or(body);
    let Ok(block) = HeaderBlock::parse(&Bytes::copy_from_slice(header)) else { return };
    for field in block.fields() {
        // Octets that are not UTF-8 stand in it as U+FFFD, which has three; so the value counts, not the field.
        let value = field.value();
        let shown = words(&value);
        // Each octet of a word is at most one character of another character set.
        assert!(shown.len() <= 4 * value.len() + 8, "a value grows by decoding: {shown:?}");
    }
    let Some(found) = parts(&block, body) else { return };
    assert_eq!(parts(&block, body).as_ref(), Some(&found), "the same message has the same parts");
    assert!(!found.is_empty(), "a message has a part at least");
    let mut paths = Vec::new();
    for part in &found {
        let end = part.start.saturating_add(part.len);
        assert!(end <= body.len(), "a part lies in the body: {part:?} of {}", body.len());
        let numbers: Vec<_> = part.path.split('.').collect();
        assert!(numbers.len() <= PATH_NUMBERS_MAX, "{part:?}");
        assert!(numbers.iter().all(|number| number.parse::<u32>().is_ok_and(|number| number > 0)), "{part:?}");
        assert!(part.decoded.len() <= part.len, "content shrinks by decoding: {part:?}");
        paths.push(&part.path);
    }
    let count = paths.len();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), count, "each part has a path of its own");
}
