//! The part of a notification that gives the original back: its header block, or all of it.

use crate::mail::{HeaderBlock, Message};

/// Octets of the original's header block that are returned; whole fields, real blocks stay under it.
const HEADER_RETURNED_BYTES_MAX: usize = 64 * 1024;

/// Longest line that is returned, CR LF excluded (RFC 5322 §2.1.1).
pub(super) const LINE_BYTES_MAX: usize = 998;

/// What is returned.
pub(super) struct Returned {
    pub(super) octets: Vec<u8>,
    pub(super) is_whole: bool,
    /// Whether the original was one of RFC 6531, whose header may be UTF-8.
    is_international: bool,
}

impl Returned {
    /// The header block, or with `bytes_max` the whole message where it has no more octets than that and no line
    /// that a server need not accept.
    pub(super) fn of(original: &Message, bytes_max: Option<u64>) -> Self {
        let is_international = original.envelope.parameters.contains_key("SMTPUTF8");
        let whole = bytes_max.filter(|max| original.size() <= *max).and_then(|_| whole(original));
        let is_whole = whole.is_some();
        Self { octets: whole.unwrap_or_else(|| returned_header(&original.header)), is_whole, is_international }
    }

    pub(super) fn is_ascii(&self) -> bool {
        self.octets.is_ascii()
    }

    /// RFC 3462 §2 and, where the original is international, RFC 6533 §6.
    pub(super) fn content_type(&self) -> &'static str {
        let is_global = self.is_international && core::str::from_utf8(&self.octets).is_ok() && !self.is_ascii();
        match (self.is_whole, is_global) {
            (true, true) => "message/global",
            (true, false) => "message/rfc822",
            (false, true) => "message/global-headers",
            (false, false) => "text/rfc822-headers",
        }
    }
}

fn whole(original: &Message) -> Option<Vec<u8>> {
    let mut octets = original.header.to_bytes();
    octets.extend_from_slice(original.separator());
    // A body that cannot be read now is not worth more than the notification without it.
    octets.extend(original.body.read(0, usize::try_from(original.body.len()).ok()?).ok()?);
    let is_line = |line: &[u8]| line.len() <= LINE_BYTES_MAX + 1 && !line.contains(&0);
    octets.split(|octet| *octet == b'\n').all(is_line).then_some(octets)
}

// Whole fields up to the limit; one with a line that no server need accept is left out.
fn returned_header(header: &HeaderBlock) -> Vec<u8> {
    let mut out = Vec::new();
    for field in header.fields() {
        let raw = field.raw();
        let is_short = raw.split(|&octet| octet == b'\n').all(|line| line.len() <= LINE_BYTES_MAX + 1);
        if !is_short || raw.contains(&0) {
            continue;
        }
        if out.len() + raw.len() > HEADER_RETURNED_BYTES_MAX {
            break;
        }
        out.extend_from_slice(raw);
        if !raw.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}
