//! What SPF, DKIM, DMARC and ARC say of a message.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

/// A way to prove who is responsible for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthMethod {
    /// The sending address is one of the domain's (RFC 7208).
    Spf,
    /// A signature of a domain (RFC 6376).
    Dkim,
    /// One of both speaks for the author's domain (RFC 7489).
    Dmarc,
    /// What the servers before found, sealed (RFC 8617).
    Arc,
}

impl AuthMethod {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::Spf, Self::Dkim, Self::Dmarc, Self::Arc];

    /// Its word in Authentication-Results (RFC 8601 §2.7) and in the contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::Spf => "spf",
            Self::Dkim => "dkim",
            Self::Dmarc => "dmarc",
            Self::Arc => "arc",
        }
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that names no method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a method is spf, dkim, dmarc or arc")]
pub struct UnknownMethod;

impl FromStr for AuthMethod {
    type Err = UnknownMethod;

    fn from_str(word: &str) -> Result<Self, UnknownMethod> {
        Self::ALL.into_iter().find(|method| method.word() == word).ok_or(UnknownMethod)
    }
}

/// One result, as an Authentication-Results field would state it (RFC 8601 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthResult {
    /// The method.
    pub method: AuthMethod,
    /// "pass", "fail", "softfail", "neutral", "none", "policy", "temperror" or "permerror" (RFC 8601 §2.7).
    pub outcome: &'static str,
    /// The domain that it is about, in lower case.
    pub domain: String,
    /// Properties by their names of RFC 8601, "header.d" say.
    pub properties: BTreeMap<&'static str, String>,
    /// Why, for a person.
    pub reason: String,
}
