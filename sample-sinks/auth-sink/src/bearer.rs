//! OAUTHBEARER (RFC 7628) and its forerunner XOAUTH2: the client shows a token.
//!
//! Who a token belongs to is in the configuration, by its SHA-256. A real identity provider would be asked with
//! HTTP or would have signed the token; only `owner_of` would be another.

use super::Step;
use crate::sasl;
use sha2::{Digest as _, Sha256};

/// Place of a client that was told why its token is of no use, and owes an empty answer.
const TOLD: &str = "told";

/// How the two mechanisms differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `n,a=user,` then fields that end with ^A.
    Rfc7628,
    /// The user is a field like the token.
    XOAuth2,
}

/// What a client shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) token: &'a str,
}

/// The step after this answer.
pub(crate) fn next(place: &str, answer: &[u8], form: Form) -> Step {
    if place == TOLD {
        return Step::Failed("a token that nobody here has");
    }
    let shown = std::str::from_utf8(answer).ok().and_then(|answer| form.read(answer));
    let Some(shown) = shown else { return Step::Failed("no token in the answer") };
    match owner_of(shown.token) {
        Some(owner) if shown.user.is_none_or(|user| user == owner) => Step::Proved(owner),
        // The failure is told in a challenge, which the client answers before it sees the 535 (RFC 7628 §3.2.3).
        Some(_) | None => Step::Ask { challenge: form.refusal().into(), place: TOLD.to_owned() },
    }
}

fn owner_of(token: &str) -> Option<String> {
    let digest: String = Sha256::digest(token.as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect();
    let owner = sasl::entries("tokens").into_iter().find(|(_, known)| known.eq_ignore_ascii_case(&digest));
    owner.map(|(owner, _)| owner)
}

impl Form {
    /// User and token of the answer.
    pub(crate) fn read(self, answer: &str) -> Option<Shown<'_>> {
        let (user, fields) = match self {
            Self::Rfc7628 => {
                let (header, fields) = answer.split_once('\x01')?;
                // RFC 5801 §4: no channel binding, perhaps a name, with a comma behind each.
                let name = header.strip_prefix("n,")?.strip_suffix(',')?;
                if name.is_empty() { (None, fields) } else { (Some(name.strip_prefix("a=")?), fields) }
            }
            Self::XOAuth2 => (Some(field(answer, "user=")?), answer),
        };
        let (scheme, token) = field(fields, "auth=")?.split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(Shown { user, token })
    }

    fn refusal(self) -> &'static str {
        match self {
            Self::Rfc7628 => r#"{"status":"invalid_token"}"#,
            Self::XOAuth2 => r#"{"status":"401","schemes":"bearer"}"#,
        }
    }
}

fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    fields.split('\x01').find_map(|field| field.strip_prefix(name))
}
