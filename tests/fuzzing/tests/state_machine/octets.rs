//! Texts and codings, said the slow way.

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 5321 §2.4: a domain has no case; quotes that need not be there mean nothing.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let plain = |address: &str| {
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        (local.trim_matches('"').to_owned(), domain.to_ascii_lowercase())
    };
    plain(one) == plain(other)
}

/// A CR without LF or an LF without CR; a CR at the end waits for what follows, where something does.
pub(crate) fn bare_line_ends(text: &[u8], is_whole: bool) -> bool {
    let next = |at: usize| text.get(at + 1).copied();
    text.iter().enumerate().any(|(at, octet)| match octet {
        b'\r' => next(at).map_or(is_whole, |next| next != b'\n'),
        b'\n' => at == 0 || text.get(at - 1) != Some(&b'\r'),
        _ => false,
    })
}

/// RFC 4648 §4, strictly: whole groups, padding at the end alone, no bits left over.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|octet| **octet == b'=').count();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let (mut octets, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for octet in text.get(..text.len() - padding)? {
        let value = ALPHABET.iter().position(|known| known == octet)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    (bits & ((1 << count) - 1) == 0).then_some(octets)
}

/// The same the other way.
pub(crate) fn to_base64(octets: &[u8]) -> String {
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = three.iter().chain(&[0; 2]).take(3).fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet));
        for at in 0..4 {
            let value = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap_or(0);
            let letter = ALPHABET.get(value).copied().unwrap_or(b'=');
            text.push(if at <= three.len() { letter.into() } else { '=' });
        }
    }
    text
}
