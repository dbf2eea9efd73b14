//! The view of a message's parts that sinks are given, built from its source: the crate that it belongs to needs the
//! engine of sinks, and a fuzzer does not.

#![allow(dead_code, unreachable_pub, reason = "sinks use more of it than a target does")]

#[path = "../../../host/sinks/src/host_api/decode.rs"]
mod decode;
#[path = "../../../host/sinks/src/host_api/field.rs"]
mod field;
#[path = "../../../host/sinks/src/host_api/mime.rs"]
mod mime;

use basin_core::mail::HeaderBlock;

/// A part as a target looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) path: String,
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// Its content without its transfer encoding.
    pub(crate) decoded: Vec<u8>,
}

/// The parts of a message, where it has a view of them.
pub(crate) fn parts(header: &HeaderBlock, body: &[u8]) -> Option<Vec<Part>> {
    let entries = mime::parts(header, body).ok()?;
    let part = |it: mime::Entry| {
        let content = body.get(it.start..it.start.saturating_add(it.len)).unwrap_or_default();
        let decoded = decode::decode(it.encoding, content.to_vec());
        Part { path: it.path, start: it.start, len: it.len, decoded }
    };
    Some(entries.into_iter().map(part).collect())
}

/// A text with its encoded words decoded, as fields are shown.
pub(crate) fn words(text: &str) -> String {
    mime::decoded_words(text)
}
