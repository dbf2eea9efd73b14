//! What stands in a certificate (RFC 5280 §4.1): names, times, subject, and how it is signed.
//!
//! Nothing here proves anything: the TLS library verifies. Only what this server says of certificates is read.

use basin_core::time::Timestamp;

// Tags of DER (X.690 §8.1.2).
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `version` of a certificate.
const VERSION: u8 = 0xa0;
/// `extensions` of a certificate.
const EXTENSIONS: u8 = 0xa3;
/// `dNSName` of a subject alternative name.
const DNS_NAME: u8 = 0x82;

const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Attributes of a name with their short forms (RFC 4514 §3), and the one of mail addresses (RFC 2985).
const ATTRIBUTES: &[(&[u8], &str)] = &[
    (COMMON_NAME, "CN"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "emailAddress"),
];

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    /// Names of servers, in lower case.
    pub(super) names: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// The subject as one line.
    pub(super) subject: String,
    /// The identifier of the signature's algorithm, as DER has it.
    pub(super) signature: Vec<u8>,
}

impl Contents {
    /// Reads a certificate; `None` where it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut whole = Reader(Reader(der).value(SEQUENCE)?);
        let mut fields = Reader(whole.value(SEQUENCE)?);
        let signature = Reader(whole.value(SEQUENCE)?).value(OID)?.to_vec();
        fields.optional(VERSION);
        fields.value(INTEGER)?;
        fields.value(SEQUENCE)?;
        fields.value(SEQUENCE)?;
        let mut validity = Reader(fields.value(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = attributes(fields.value(SEQUENCE)?)?;
        fields.value(SEQUENCE)?;
        let mut names = Vec::new();
        while let Some((tag, value)) = fields.next() {
            if tag == EXTENSIONS {
                names = alternative_names(value).unwrap_or_default();
            }
        }
        // RFC 6125 §6.4.4: the common name counts where there is nothing else; a pair made by hand may have no more.
        if names.is_empty() {
            let common = subject.iter().filter(|(kind, _)| *kind == COMMON_NAME);
            names.extend(common.map(|(_, value)| value.to_ascii_lowercase()));
        }
        Some(Self { names, not_before, not_after, subject: line(&subject), signature })
    }
}

/// Values one behind the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let len = match first {
            0..=0x7f => usize::from(first),
            // The long form; a certificate is far smaller than three octets of length can say.
            0x81..=0x83 => {
                let mut len = 0;
                for _ in 0..first & 0x0f {
                    let (&octet, more) = rest.split_first()?;
                    len = len << 8 | usize::from(octet);
                    rest = more;
                }
                len
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    fn optional(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }

    // RFC 5280 §4.1.2.5: YYMMDDHHMMSSZ up to 2049, YYYYMMDDHHMMSSZ from then on.
    fn time(&mut self) -> Option<Timestamp> {
        let (tag, value) = self.next()?;
        let text = core::str::from_utf8(value).ok()?;
        let text = match tag {
            UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
            UTC_TIME => format!("19{text}"),
            GENERALIZED_TIME => text.to_owned(),
            _ => return None,
        };
        let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
        let days = days(part(0, 4)?, part(4, 6)?, part(6, 8)?);
        let seconds = (part(8, 10)? * 60 + part(10, 12)?) * 60 + part(12, 14)?;
        Some(Timestamp::from_seconds(days * 86_400 + seconds))
    }
}

// Days since 1970 in the Gregorian calendar, also of the year 9999, which stands for "no end" (RFC 5280 §4.1.2.5). The
// year is taken to begin in March, so that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    365 * year + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day - 1 - 719_468
}

fn attributes(name: &[u8]) -> Option<Vec<(&[u8], String)>> {
    let mut found = Vec::new();
    let mut sets = Reader(name);
    while !sets.0.is_empty() {
        let mut set = Reader(sets.value(SET)?);
        while !set.0.is_empty() {
            let mut attribute = Reader(set.value(SEQUENCE)?);
            let kind = attribute.value(OID)?;
            let (_, value) = attribute.next()?;
            found.push((kind, String::from_utf8_lossy(value).into_owned()));
        }
    }
    Some(found)
}

// In the order of the certificate; characters that separate are marked (RFC 4514 §2.4).
fn line(subject: &[(&[u8], String)]) -> String {
    let one = |(kind, value): &(&[u8], String)| {
        let known = ATTRIBUTES.iter().find(|(oid, _)| oid == kind);
        let mut text = format!("{}=", known.map_or("?", |(_, short)| short));
        for character in value.chars() {
            if matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') {
                text.push('\\');
            }
            text.push(character);
        }
        text
    };
    subject.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut extensions = Reader(Reader(extensions).value(SEQUENCE)?);
    while !extensions.0.is_empty() {
        let mut extension = Reader(extensions.value(SEQUENCE)?);
        if extension.value(OID)? != SUBJECT_ALTERNATIVE_NAME {
            continue;
        }
        // Whether it is critical may stand between; the value is last.
        let mut value = &[][..];
        while let Some((_, last)) = extension.next() {
            value = last;
        }
        let mut all = Reader(Reader(value).value(SEQUENCE)?);
        while let Some((tag, name)) = all.next() {
            if tag == DNS_NAME {
                names.push(String::from_utf8_lossy(name).to_ascii_lowercase());
            }
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn made(change: impl Fn(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["MX.basin.example".to_owned()]).expect("a name");
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("made").der().to_vec()
    }

    #[test]
    fn what_stands_in_a_certificate_is_read() {
        let der = made(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "Example, Ltd");
            params.distinguished_name.push(DnType::CommonName, "a.example");
            (params.not_before, params.not_after) = (date_time_ymd(1999, 12, 31), date_time_ymd(2051, 2, 3));
        });
        let read = Contents::read(&der).expect("a certificate");
        assert_eq!(read.names, ["mx.basin.example"]);
        assert_eq!(read.subject, "O=Example\\, Ltd, CN=a.example");
        assert_eq!(read.not_before.to_rfc3339(), "1999-12-31T00:00:00Z");
        assert_eq!(read.not_after.to_rfc3339(), "2051-02-03T00:00:00Z");
        // ECDSA with SHA-256.
        assert_eq!(read.signature, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]);
    }

    #[test]
    fn the_common_name_counts_where_there_is_no_other() {
        let der = made(|params| {
            params.subject_alt_names.clear();
            params.distinguished_name.push(DnType::CommonName, "A.example");
        });
        assert_eq!(Contents::read(&der).expect("a certificate").names, ["a.example"]);
    }

    #[test]
    fn no_certificate_however_cut_or_bent_makes_it_fall() {
        let der = made(|params| params.distinguished_name.push(DnType::CommonName, "a.example"));
        for end in 0..der.len() {
            assert_eq!(Contents::read(&der[..end]), None);
        }
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut bent = der.clone();
                bent[at] ^= 1 << bit;
                let _read = Contents::read(&bent);
            }
        }
    }
}
