//! SASL on the lines of SMTP: base64 there and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use basin_sink::prelude::*;

/// A challenge as the text of a 334.
pub(crate) fn encoded(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// An answer of the client.
pub(crate) fn decoded(line: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(line).ok()
}

/// An answer within the command, where "=" is an empty one (RFC 4954 §4).
pub(crate) fn initial(text: &str) -> Option<Vec<u8>> {
    if text == "=" { Some(Vec::new()) } else { decoded(text.as_bytes()) }
}

/// What stands for that name in a table of the configuration: `name:value`, with commas or line ends between them.
pub(crate) fn entry(key: &str, name: &str) -> Option<String> {
    entries(key).into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// All of a table.
pub(crate) fn entries(key: &str) -> Vec<(String, String)> {
    let table = config::get(key).unwrap_or_default();
    let entries = table.split([',', '\n']).filter_map(|entry| entry.trim().split_once(':'));
    entries.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}
