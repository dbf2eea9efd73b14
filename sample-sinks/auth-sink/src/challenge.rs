//! XCHALLENGE: the client proves that it knows a secret, and neither the secret nor a usable copy of the proof is on
//! the line.
//!
//! ```text
//! C: name of the user
//! S: challenge
//! C: nonce
//! S: (nothing)
//! C: HMAC-SHA-256 of "challenge:nonce:user" with the secret of the user, in hexadecimal
//! ```

use super::Step;
use crate::sasl;
use basin_sink::prelude::*;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Longest name, in octets: a mail address (RFC 5321 §4.5.3.1.3).
const NAME_OCTETS_MAX: usize = 254;
/// Shortest nonce that is more than a decoration, in octets.
const NONCE_OCTETS_MIN: usize = 8;
/// Longest nonce, in octets.
const NONCE_OCTETS_MAX: usize = 128;
/// Fewest octets of the key that challenges are made with: as strong as the proof itself.
const KEY_OCTETS_MIN: usize = 16;

/// The step after this answer. The place is what was agreed so far, field by field.
pub(crate) fn next(place: &str, answer: &[u8], call: &Call) -> Result<Step> {
    let Ok(answer) = std::str::from_utf8(answer) else { return Ok(Step::Failed("an answer that is no text")) };
    let fields: Vec<&str> = place.split('\t').filter(|field| !field.is_empty()).collect();
    match fields.as_slice() {
        [] if is_name(answer) => {
            let challenge = challenge(call)?;
            let place = format!("{answer}\t{challenge}");
            Ok(Step::Ask { challenge: challenge.into_bytes(), place })
        }
        [] => Ok(Step::Failed("a name that is none")),
        [_, _] if is_nonce(answer) => Ok(Step::Ask { challenge: Vec::new(), place: format!("{place}\t{answer}") }),
        [_, _] => Ok(Step::Failed("a nonce that is none")),
        [user, challenge, nonce] => Ok(judge(user, challenge, nonce, answer)),
        _ => Err(Failure::new(format!("{place:?} is no place of this dialogue"))),
    }
}

/// What no client can foresee and no two dialogues share, although a sink has neither a clock of its own nor
/// random numbers: the key of this call, which is never given twice, under a secret of the operator.
fn challenge(call: &Call) -> Result<String> {
    let key = config::get("challenge-key").unwrap_or_default();
    if key.len() < KEY_OCTETS_MIN {
        return Err(Failure::new(format!("challenge-key is not set, or shorter than {KEY_OCTETS_MIN} octets")));
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())?;
    mac.update(call.idempotency_key().as_bytes());
    Ok(format!("{}@{}", hex(&mac.finalize().into_bytes()), server::host_name()))
}

fn judge(user: &str, challenge: &str, nonce: &str, proof: &str) -> Step {
    let known = sasl::entry("secrets", user).filter(|secret| !secret.is_empty());
    // An unknown name takes the same way and the same time as a known one.
    let secret = known.clone().unwrap_or_else(|| challenge.to_owned());
    let Some(proof) = unhex(proof) else { return Step::Failed("a proof that is not hexadecimal") };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return Step::Failed("no key") };
    mac.update(format!("{challenge}:{nonce}:{user}").as_bytes());
    // It compares without telling by its time how much of the proof was right.
    match (mac.verify_slice(&proof), known) {
        (Ok(()), Some(_)) => Step::Proved(user.to_owned()),
        (Ok(()) | Err(_), None) => Step::Failed("an unknown user"),
        (Err(_), Some(_)) => Step::Failed("a wrong proof"),
    }
}

fn is_name(name: &str) -> bool {
    // A tab would move the borders of the place; a colon or a comma cannot stand in the table.
    (1..=NAME_OCTETS_MAX).contains(&name.len()) && !name.contains(|c: char| c.is_control() || c == ':' || c == ',')
}

fn is_nonce(nonce: &str) -> bool {
    (NONCE_OCTETS_MIN..=NONCE_OCTETS_MAX).contains(&nonce.len()) && nonce.chars().all(|c| c.is_ascii_graphic())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
