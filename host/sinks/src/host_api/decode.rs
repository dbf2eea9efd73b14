//! Transfer encodings of parts.

use basin_core::mail::Field;

/// How the octets of a part are written (RFC 2045 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// 7bit, 8bit, binary and what nobody knows: as it stands.
    Identity,
    /// Three octets in four characters.
    Base64,
    /// `=XX`.
    QuotedPrintable,
}

impl Encoding {
    /// What Content-Transfer-Encoding says.
    pub(super) fn of(field: &Field) -> Self {
        let value = field.value();
        let word = value.split([';', ' ', '(']).next().unwrap_or_default();
        if word.eq_ignore_ascii_case("base64") {
            Self::Base64
        } else if word.eq_ignore_ascii_case("quoted-printable") {
            Self::QuotedPrintable
        } else {
            Self::Identity
        }
    }
}

/// Decodes the content of a part. What is not in the alphabet is passed over, so that broken encoding hides
/// nothing from a scanner that a mail program would show.
pub(super) fn decode(encoding: Encoding, octets: Vec<u8>) -> Vec<u8> {
    match encoding {
        Encoding::Identity => octets,
        Encoding::Base64 => base64(&octets),
        Encoding::QuotedPrintable => quoted_printable(&octets),
    }
}

fn base64(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for &octet in octets {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            // Padding ends a run; some senders join several.
            b'=' => {
                (bits, count) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.extend((bits >> count).to_le_bytes().first());
        }
    }
    out
}

fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'=' {
            out.push(octet);
            continue;
        }
        let hex = |octet: Option<&u8>| octet.and_then(|octet| char::from(*octet).to_digit(16));
        match (hex(after.first()), hex(after.get(1))) {
            (Some(high), Some(low)) => {
                out.extend(u8::try_from(high * 16 + low));
                rest = after.get(2..).unwrap_or_default();
            }
            // A soft line end: white space, then the end of the line (RFC 2045 §6.7).
            _ => {
                let blank = after.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
                let end = after.get(blank..).unwrap_or_default();
                match end.strip_prefix(b"\r\n").or_else(|| end.strip_prefix(b"\n")) {
                    Some(next) => rest = next,
                    None => out.push(octet),
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_passes_over_what_is_broken() {
        assert_eq!(decode(Encoding::Base64, b"aGVs\r\nbG8*=".to_vec()), b"hello");
        assert_eq!(decode(Encoding::Base64, b"aGVsbG8=aGVsbG8=".to_vec()), b"hellohello");
        assert_eq!(decode(Encoding::QuotedPrintable, b"a=3Db= \t\r\nc=ZZ=".to_vec()), b"a=bc=ZZ=");
    }
}
