//! What another server offers in its answer to EHLO.

use crate::limits::REMOTE_MECHANISMS_MAX;
use crate::reply::Reply;
use crate::smtp::client::policy::Mechanism;

/// The extensions that a server offers and this one knows. Everything else in the answer is dropped as it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offered {
    /// It answered EHLO or LHLO, not only HELO.
    pub is_esmtp: bool,
    /// RFC 2920.
    pub has_pipelining: bool,
    /// RFC 1870.
    pub has_size: bool,
    /// The largest message that it takes, in octets, where it says one.
    pub size_max: Option<u64>,
    /// RFC 6152.
    pub has_8bitmime: bool,
    /// RFC 6531.
    pub has_smtputf8: bool,
    /// RFC 3030.
    pub has_chunking: bool,
    /// RFC 3030; of use with CHUNKING alone.
    pub has_binarymime: bool,
    /// RFC 3461.
    pub has_dsn: bool,
    /// RFC 8689.
    pub has_requiretls: bool,
    /// RFC 6710.
    pub has_mt_priority: bool,
    /// RFC 2852.
    pub has_deliverby: bool,
    /// RFC 3207.
    pub has_starttls: bool,
    /// Ways to log in that this server knows too (RFC 4954).
    pub mechanisms: Vec<Mechanism>,
    /// Most recipients of one transaction (RFC 9422).
    pub recipients_max: Option<usize>,
    /// Most transactions of one session (RFC 9422).
    pub mails_max: Option<u32>,
    /// Most domains among the recipients of one transaction (RFC 9422).
    pub domains_max: Option<usize>,
}

impl Offered {
    /// Reads the answer to EHLO (RFC 5321 §4.1.1.1); its first line is the greeting.
    pub(super) fn read(reply: &Reply) -> Self {
        let mut offered = Self { is_esmtp: true, ..Self::default() };
        for line in reply.lines().iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => offered.has_pipelining = true,
                "SIZE" => {
                    offered.has_size = true;
                    offered.size_max = words.next().and_then(parse_size);
                }
                "8BITMIME" => offered.has_8bitmime = true,
                "SMTPUTF8" => offered.has_smtputf8 = true,
                "CHUNKING" => offered.has_chunking = true,
                "BINARYMIME" => offered.has_binarymime = true,
                "DSN" => offered.has_dsn = true,
                "REQUIRETLS" => offered.has_requiretls = true,
                "MT-PRIORITY" => offered.has_mt_priority = true,
                "DELIVERBY" => offered.has_deliverby = true,
                "STARTTLS" => offered.has_starttls = true,
                "AUTH" => offered.read_mechanisms(words),
                "LIMITS" => offered.read_limits(words),
                _ => {}
            }
        }
        offered
    }

    fn read_mechanisms<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words.take(REMOTE_MECHANISMS_MAX) {
            let known = [Mechanism::Plain, Mechanism::Login, Mechanism::XOAuth2];
            let known = known.into_iter().find(|mechanism| word.eq_ignore_ascii_case(mechanism.name()));
            self.mechanisms.extend(known.filter(|mechanism| !self.mechanisms.contains(mechanism)));
        }
    }

    // RFC 9422 §3: name=value, unknown names are skipped, and so is what has no value of one to six digits.
    fn read_limits<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let is_number = (1..=6).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
            let Some(number) = value.parse::<u32>().ok().filter(|number| is_number && *number > 0) else { continue };
            match name.to_ascii_uppercase().as_str() {
                "RCPTMAX" => self.recipients_max = usize::try_from(number).ok(),
                "MAILMAX" => self.mails_max = Some(number),
                "RCPTDOMAINMAX" => self.domains_max = usize::try_from(number).ok(),
                _ => {}
            }
        }
    }
}

// RFC 1870 §4: no number, and 0, say that there is no fixed limit. Twenty digits can pass 64 bits; a limit that
// large is none.
fn parse_size(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|size| is_number && *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(lines: &[&str]) -> Offered {
        let lines = lines.iter().map(|line| (*line).to_owned());
        Offered::read(&Reply::multi_line(250, None, core::iter::once("SIZE".to_owned()).chain(lines).collect()))
    }

    #[test]
    fn keywords_have_no_case_and_unknown_ones_are_skipped() {
        let read = offered(&["size 100", "Pipelining", "X-OWN a b", "", " ", "AUTH plain CRAM-MD5 PLAIN login"]);
        let mechanisms = vec![Mechanism::Plain, Mechanism::Login];
        let expected = Offered {
            is_esmtp: true,
            has_pipelining: true,
            has_size: true,
            size_max: Some(100),
            mechanisms,
            ..Offered::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn a_size_without_a_number_is_no_limit() {
        for line in ["SIZE", "SIZE 0", "SIZE x", "SIZE +5", "SIZE 99999999999999999999"] {
            let read = offered(&[line]);
            assert!(read.has_size && read.size_max.is_none(), "{line}");
        }
    }

    #[test]
    fn limits_are_one_to_six_digits_and_not_zero() {
        let read = offered(&["LIMITS RCPTMAX=7 mailmax=1000000 RCPTDOMAINMAX=0 X=1 RCPTMAX= Y"]);
        assert_eq!((read.recipients_max, read.mails_max, read.domains_max), (Some(7), None, None));
    }
}
