//! The library's findings in the words of RFC 8601.

use std::collections::BTreeMap;

use basin_core::mail::authres::signature_start;
use basin_core::mail::{AuthMethod, AuthResult, Message};
use mail_auth::common::crypto::Algorithm;
use mail_auth::dkim::DkimError;
use mail_auth::dmarc::Policy;
use mail_auth::{ArcOutput, DkimOutput, DkimResult, DmarcOutput, DmarcResult, Error, SpfOutput, SpfResult};

use super::{Content, sender};

fn result(method: AuthMethod, outcome: &'static str, domain: &str, reason: String) -> AuthResult {
    let domain = domain.to_ascii_lowercase();
    AuthResult { method, outcome, domain, properties: BTreeMap::new(), reason }
}

/// Of a message without a header block.
pub(super) fn nothing() -> Content {
    let none = |method| vec![result(method, "none", "", "the message has no header".to_owned())];
    Content { dkim: Vec::new(), dmarc: none(AuthMethod::Dmarc), arc: none(AuthMethod::Arc) }
}

pub(super) fn spf(found: &SpfOutput, message: &Message) -> AuthResult {
    let (outcome, reason) = match found.result() {
        SpfResult::Pass => ("pass", "the domain permits this client"),
        SpfResult::Fail => ("fail", "the domain forbids this client"),
        SpfResult::SoftFail => ("softfail", "the domain doubts this client"),
        SpfResult::Neutral => ("neutral", "the domain says nothing about this client"),
        SpfResult::TempError => ("temperror", "a name server did not answer"),
        SpfResult::PermError => ("permerror", "the domain's record cannot be understood"),
        SpfResult::None => ("none", "the domain has no record"),
    };
    let result = result(AuthMethod::Spf, outcome, found.domain(), reason.to_owned());
    with_identity(result, message)
}

// RFC 8601 §2.7.2: the identity that was checked.
fn with_identity(mut result: AuthResult, message: &Message) -> AuthResult {
    let (sender, helo) = (sender(message), message.arrival.helo.clone().unwrap_or_default());
    if sender.is_empty() {
        result.properties.insert("smtp.helo", helo);
    } else {
        result.properties.insert("smtp.mailfrom", sender);
    }
    result
}

/// Of a message without a signature.
pub(super) fn unsigned() -> AuthResult {
    result(AuthMethod::Dkim, "none", "", "the message has no signature".to_owned())
}

/// Of a method that had no answer.
pub(super) fn unanswered(method: AuthMethod, reason: String, message: &Message) -> AuthResult {
    let result = result(method, "temperror", "", reason);
    if method == AuthMethod::Spf { with_identity(result, message) } else { result }
}

fn signature_outcome(found: &DkimResult) -> (&'static str, String) {
    match found {
        DkimResult::Pass => ("pass", "the signature is right".to_owned()),
        // RFC 8601 §2.7.1: a body that was changed is a signature that failed, whatever could be said of its key.
        DkimResult::Neutral(error @ Error::Dkim(DkimError::FailedBodyHashMatch)) => ("fail", error.to_string()),
        DkimResult::Neutral(error) => ("neutral", error.to_string()),
        DkimResult::Fail(error) => ("fail", error.to_string()),
        DkimResult::PermError(error) => ("permerror", error.to_string()),
        DkimResult::TempError(error) => ("temperror", error.to_string()),
        DkimResult::None => ("none", "there is none".to_owned()),
    }
}

pub(super) fn dkim(found: &DkimOutput<'_>) -> AuthResult {
    let (outcome, reason) = signature_outcome(found.result());
    let Some(signature) = found.signature() else { return result(AuthMethod::Dkim, outcome, "", reason) };
    let mut result = result(AuthMethod::Dkim, outcome, &signature.d, reason);
    let properties = &mut result.properties;
    properties.insert("header.d", signature.d.to_ascii_lowercase());
    properties.insert("header.s", signature.s.clone());
    let identity = if signature.i.is_empty() { format!("@{}", signature.d) } else { signature.i.clone() };
    properties.insert("header.i", identity);
    properties.insert("header.a", algorithm(signature.a).to_owned());
    properties.insert("header.b", signature_start(&signature.b));
    result
}

fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RsaSha1 => "rsa-sha1",
        Algorithm::RsaSha256 => "rsa-sha256",
        Algorithm::Ed25519Sha256 => "ed25519-sha256",
    }
}

pub(super) fn dmarc(found: &DmarcOutput) -> AuthResult {
    let (outcome, reason) = match found.result() {
        DmarcResult::Pass => ("pass", "a domain that is proved speaks for the author's".to_owned()),
        DmarcResult::Fail(error) => ("fail", error.to_string()),
        DmarcResult::TempError(error) => ("temperror", error.to_string()),
        DmarcResult::PermError(error) => ("permerror", error.to_string()),
        DmarcResult::None => ("none", "the author's domain has no policy".to_owned()),
    };
    let mut result = result(AuthMethod::Dmarc, outcome, found.domain(), reason);
    let policy = match found.policy() {
        Policy::Quarantine => "quarantine",
        Policy::Reject => "reject",
        Policy::None | Policy::Unspecified => "none",
    };
    result.properties.insert("header.from", found.domain().to_ascii_lowercase());
    if outcome != "none" {
        result.properties.insert("policy.dmarc", policy.to_owned());
    }
    result
}

pub(super) fn arc(found: &ArcOutput<'_>) -> AuthResult {
    let (outcome, reason) = signature_outcome(found.result());
    let last = found.sets().last();
    let domain = last.map_or("", |set| set.seal.header.d.as_str());
    // RFC 8617 §4.4 knows pass, fail and none; that nobody answered is not the chain's doing.
    let outcome = match outcome {
        "neutral" | "permerror" => "fail",
        outcome => outcome,
    };
    let mut result = result(AuthMethod::Arc, outcome, domain, reason);
    if let Some(set) = last {
        result.properties.insert("header.d", set.seal.header.d.to_ascii_lowercase());
        result.properties.insert("header.s", set.seal.header.s.clone());
    }
    result
}

/// Of a chain that is longer than anybody should verify.
pub(super) fn long_chain(sets_max: usize) -> AuthResult {
    result(AuthMethod::Arc, "policy", "", format!("a chain of more than {sets_max} sets is not verified"))
}
