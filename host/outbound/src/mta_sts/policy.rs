//! What a domain says in its record and in its policy (RFC 8461 §3).

use core::time::Duration;

/// Longest time that a policy holds, in seconds: RFC 8461 §3.2 knows no longer one than a year.
const MAX_AGE_SECONDS: u64 = 31_557_600;

/// Patterns of a policy that are read. More exchangers than this are not tried either.
const PATTERNS_MAX: usize = 100;

/// Longest id (RFC 8461 §3.1).
const ID_BYTES_MAX: usize = 32;

/// What is done where a server does not keep to the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It gets no mail.
    Enforce,
    /// It is reported.
    Testing,
    /// Nothing: the domain takes its policy back.
    None,
}

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        [Self::Enforce, Self::Testing, Self::None].into_iter().find(|mode| mode.as_str() == text)
    }

    /// As it stands in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

/// A domain's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What is done.
    pub mode: Mode,
    /// Names of its exchangers, in lower case; `*.` stands for one label.
    pub patterns: Vec<String>,
    /// How long it holds.
    pub max_age: Duration,
    /// Its lines, for reports.
    pub lines: Vec<String>,
}

impl Policy {
    /// Reads a policy (RFC 8461 §3.2); `None` where it is none that is understood. Fields that are not known are
    /// passed over, and the first of two of a kind counts.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.trim().is_empty());
        let fields: Vec<_> =
            lines.by_ref().take(2 * PATTERNS_MAX).map(|line| line.split_once(':')).collect::<Option<_>>()?;
        let values = |name: &'static str| {
            fields.iter().filter(move |(key, _)| key.trim() == name).map(|(_, value)| value.trim())
        };
        values("version").next().filter(|version| *version == "STSv1")?;
        let mode = Mode::parse(values("mode").next()?)?;
        let age = values("max_age").next()?;
        let seconds: u64 = age.parse().ok().filter(|_| age.bytes().all(|octet| octet.is_ascii_digit()))?;
        let patterns: Vec<_> =
            values("mx").take(PATTERNS_MAX).map(|mx| mx.trim_end_matches('.').to_ascii_lowercase()).collect();
        if patterns.is_empty() && mode != Mode::None {
            return None;
        }
        let max_age = Duration::from_secs(seconds.min(MAX_AGE_SECONDS));
        let lines = fields.iter().map(|(key, value)| format!("{}: {}", key.trim(), value.trim())).collect();
        Some(Self { mode, patterns, max_age, lines })
    }

    /// Whether an exchanger's name is one of the policy's (RFC 8461 §4.1): `*.` covers exactly one label.
    pub fn covers(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.patterns.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => *pattern == name,
        })
    }

    /// The policy as it is kept.
    pub(super) fn to_text(&self) -> String {
        self.lines.join("\n")
    }
}

/// Finds the id in a domain's `_mta-sts` TXT records (RFC 8461 §3.1): there is one record of that kind, or none
/// that counts.
pub(super) fn id_of(records: &[String]) -> Option<String> {
    let mut ours = records.iter().filter_map(|record| {
        let rest = record.trim().strip_prefix("v=STSv1")?.trim_start();
        rest.strip_prefix(';')
    });
    let (fields, None) = (ours.next()?, ours.next()) else { return None };
    let mut pairs = fields.split(';').filter_map(|pair| pair.split_once('='));
    let id = pairs.find(|(key, _)| key.trim() == "id").map(|(_, id)| id.trim())?;
    let is_id = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "version: STSv1\r\nmode: enforce\r\nmx: Mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";

    #[test]
    fn a_policy_is_read_and_comes_back_from_its_own_lines() {
        let policy = Policy::parse(TEXT).expect("a policy");
        assert_eq!((policy.mode, policy.max_age), (Mode::Enforce, Duration::from_secs(604_800)));
        assert_eq!(policy.patterns, ["mail.example.com", "*.example.net"]);
        assert_eq!(Policy::parse(&policy.to_text()), Some(policy));
        let unknown = TEXT.replace("mode", "new_field: 1\nmode");
        assert!(Policy::parse(&unknown).is_some());
    }

    #[test]
    fn what_is_no_policy_is_none() {
        for (part, other) in [
            ("STSv1", "STSv2"),
            ("mode: enforce", "mode: maybe"),
            ("mode: enforce\r\n", ""),
            ("max_age: 604800", "max_age: +5"),
            ("max_age: 604800", "max_age: -5"),
            ("max_age: 604800", "<html>"),
            ("mx: Mail.example.com\r\nmx: *.example.net\r\n", ""),
        ] {
            assert_eq!(Policy::parse(&TEXT.replace(part, other)), None, "{other}");
        }
    }

    #[test]
    fn a_policy_holds_a_year_at_most() {
        let policy = Policy::parse(&TEXT.replace("604800", "99999999999")).expect("a policy");
        assert_eq!(policy.max_age, Duration::from_secs(MAX_AGE_SECONDS));
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let policy = Policy::parse(TEXT).expect("a policy");
        for name in ["mail.example.com", "MAIL.example.com.", "a.example.net"] {
            assert!(policy.covers(name), "{name}");
        }
        for name in ["example.net", "a.b.example.net", ".example.net", "a.example.com", "mail.example.com.evil.org"] {
            assert!(!policy.covers(name), "{name}");
        }
    }

    #[test]
    fn the_id_is_that_of_the_one_record() {
        let id = |records: &[&str]| id_of(&records.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]), Some("20160831085700Z".to_owned()));
        assert_eq!(id(&["other", "v=STSv1;x=y; id=1"]), Some("1".to_owned()));
        for bad in [
            &["v=STSv1; id=1", "v=STSv1; id=2"][..],
            &["v=STSv1"],
            &["v=STSv1; id="],
            &["v=STSv1; id=a-b"],
            &["id=1; v=STSv1"],
            &["v=STSv1; id=123456789012345678901234567890123"],
        ] {
            assert_eq!(id(bad), None, "{bad:?}");
        }
    }
}
