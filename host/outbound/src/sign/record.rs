//! The record that publishes a key (RFC 6376 §3.6.1): written for DNS, and compared with what DNS says.

use basin_core::base64;
use thiserror::Error;

use super::key::{KeyKind, SigningKey};

/// Where the record of a selector stands.
pub fn record_name(domain: &str, selector: &str) -> String {
    format!("{selector}._domainkey.{domain}")
}

/// The text of the record. DNS has it as one TXT record of several strings of at most 255 octets, put together without
/// anything between them (RFC 6376 §3.6.2.2).
pub fn record_text(key: &SigningKey) -> String {
    let kind = match key.kind() {
        KeyKind::Rsa(_) => "rsa",
        KeyKind::Ed25519 => "ed25519",
    };
    format!("v=DKIM1; k={kind}; p={}", base64::encode(key.public()))
}

/// What makes a published record useless for a key, or doubtful.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordProblem {
    /// It is no DKIM record.
    #[error("the record has no `p=` or another version than DKIM1")]
    NoKey,
    /// The key was taken back: `p=` is empty.
    #[error("the record takes the key back: `p=` is empty (RFC 6376 §3.6.1)")]
    Revoked,
    /// Another key is published.
    #[error("another key is published")]
    OtherKey,
    /// `k=` says another kind.
    #[error("`k=` says {0:?}, which is not the kind of this key")]
    Kind(String),
    /// `h=` leaves out SHA-256.
    #[error("`h=` does not allow sha256")]
    Hash,
    /// `s=` leaves out mail.
    #[error("`s=` does not allow mail")]
    Service,
    /// `t=y`: receivers may treat signed mail as if it were not signed.
    #[error("`t=y` says that the domain is testing; receivers may ignore the signature")]
    Testing,
}

impl RecordProblem {
    /// Whether signatures are verified in spite of it.
    pub fn is_warning(&self) -> bool {
        *self == Self::Testing
    }
}

/// The record of a selector as DNS has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKey {
    tags: Vec<(String, String)>,
}

impl PublishedKey {
    /// Reads a record. White space means nothing within `p=`.
    pub fn parse(text: &str) -> Self {
        let tag = |part: &str| {
            let (name, value) = part.split_once('=')?;
            let value: String = value.split_ascii_whitespace().collect();
            Some((name.trim().to_ascii_lowercase(), value))
        };
        Self { tags: text.split(';').filter_map(tag).collect() }
    }

    /// Compares with a key. Empty where receivers will verify its signatures.
    pub fn problems(&self, key: &SigningKey) -> Vec<RecordProblem> {
        let has_version = self.tag("v").is_none_or(|version| version == "DKIM1");
        let Some(published) = self.tag("p").filter(|_| has_version) else { return vec![RecordProblem::NoKey] };
        if published.is_empty() {
            return vec![RecordProblem::Revoked];
        }
        let mut problems = Vec::new();
        let kind = match key.kind() {
            KeyKind::Rsa(_) => "rsa",
            KeyKind::Ed25519 => "ed25519",
        };
        let said = self.tag("k").unwrap_or("rsa");
        if said != kind {
            problems.push(RecordProblem::Kind(said.to_owned()));
        } else if published != base64::encode(key.public()) {
            problems.push(RecordProblem::OtherKey);
        }
        let lists = |tag: &str, wanted: &[&str]| {
            self.tag(tag).is_none_or(|list| list.split(':').any(|word| wanted.contains(&word)))
        };
        if !lists("h", &["sha256"]) {
            problems.push(RecordProblem::Hash);
        }
        if !lists("s", &["*", "email"]) {
            problems.push(RecordProblem::Service);
        }
        if self.tag("t").is_some_and(|flags| flags.split(':').any(|flag| flag == "y")) {
            problems.push(RecordProblem::Testing);
        }
        problems
    }

    fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|(tag, _)| tag == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::generate;

    fn key() -> SigningKey {
        let pem = generate(KeyKind::Ed25519).expect("a key");
        SigningKey::from_pem(pem.as_bytes()).expect("usable")
    }

    #[test]
    fn the_record_that_is_written_is_the_record_that_is_wanted() {
        let key = key();
        assert_eq!(PublishedKey::parse(&record_text(&key)).problems(&key), []);
        let spaced = record_text(&key).replace("; ", " ;\t").replace("p=", "p = ");
        assert_eq!(PublishedKey::parse(&spaced).problems(&key), []);
    }

    #[test]
    fn what_receivers_would_stumble_over_is_found() {
        let (key, other) = (key(), key());
        let said = |text: String| PublishedKey::parse(&text).problems(&key);
        assert_eq!(said(record_text(&other)), [RecordProblem::OtherKey]);
        assert_eq!(said("v=DKIM1; k=ed25519; p=".into()), [RecordProblem::Revoked]);
        assert_eq!(said("v=spf1 -all".into()), [RecordProblem::NoKey]);
        let bare = record_text(&key).replace("k=ed25519; ", "");
        assert_eq!(said(bare), [RecordProblem::Kind("rsa".into())]);
        let odd = format!("{}; h=sha1; s=other; t=s:y", record_text(&key));
        assert_eq!(said(odd), [RecordProblem::Hash, RecordProblem::Service, RecordProblem::Testing]);
    }
}
