//! ARC seals (RFC 8617): what this server found when it took mail from elsewhere that it now passes on.

use core::time::Duration;
use std::sync::Arc;

use basin_core::mail::{Field, HeaderBlock, Message};
use bytes::Bytes;
use mail_auth::arc::ArcSealer;
use mail_auth::common::crypto::HashAlgorithm;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::{AuthenticatedMessage, AuthenticationResults, DkimResult, MessageAuthenticator, Parameters};

use super::body::{self, Way};
use super::dkim::HeaderList;
use super::key::SigningKey;
use super::lookup::KnownKeys;
use super::signer::SignError;

/// Most DKIM signatures of one message that are verified; further ones are as if they were not there. Each costs a
/// question to a name server of the sender's choice.
const SIGNATURES_MAX: usize = 5;

/// Longest that the questions of one message may take together.
const QUESTIONS_TIME: Duration = Duration::from_secs(20);

/// Who seals, and how.
#[derive(Debug, Clone)]
pub struct ArcIdentity {
    /// The sealing domain, `d=`, in lower case.
    pub domain: String,
    /// The selector, `s=`.
    pub selector: String,
    /// The key.
    pub key: Arc<SigningKey>,
    /// What is signed beside the seals of others.
    pub headers: HeaderList,
    /// What this server calls itself in its findings.
    pub authority: String,
}

/// What came of an attempt to seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sealed {
    /// These fields belong at the top; the word is the state of the chain that came: none, pass or fail.
    Fields(Vec<Field>, &'static str),
    /// No seal, and why; the message goes as it came.
    Nothing(&'static str),
}

impl ArcIdentity {
    /// Verifies what came and seals it. Reads the body once, on a thread for that.
    pub(super) async fn seal(
        &self,
        message: Message,
        verifier: &MessageAuthenticator,
        known: &KnownKeys,
    ) -> Result<Sealed, SignError> {
        // Header block and empty line alone: the body is hashed in pieces.
        let raw = [message.header.to_bytes().as_slice(), b"\r\n"].concat();
        let Some(mut parsed) = AuthenticatedMessage::parse(&raw) else {
            return Ok(Sealed::Nothing("it has no header"));
        };
        parsed.dkim_headers.truncate(SIGNATURES_MAX);
        hash(&mut parsed, message.body).await?;
        let verified = tokio::time::timeout(QUESTIONS_TIME, async {
            let parameters = || Parameters::new(&parsed).with_txt_cache(known);
            let dkim = verifier.verify_dkim(parameters()).await;
            (dkim, verifier.verify_arc(parameters()).await)
        });
        let Ok((dkim, arc)) = verified.await else { return Ok(Sealed::Nothing("name servers did not answer in time")) };
        let chain = match arc.result() {
            DkimResult::None => "none",
            DkimResult::Pass => "pass",
            DkimResult::Fail(_) | DkimResult::Neutral(_) | DkimResult::PermError(_) => "fail",
            // A seal cannot be taken back: who cannot look says nothing (RFC 8617 §5.2 has no word for it).
            DkimResult::TempError(_) => return Ok(Sealed::Nothing("the keys of the chain could not be looked up")),
        };
        if !arc.can_be_sealed() {
            return Ok(Sealed::Nothing("the chain was broken before it came here"));
        }
        // RFC 8617 §5.2: a chain whose sets cannot even be put in order is not continued.
        if chain == "fail" && arc.sets().is_empty() {
            return Ok(Sealed::Nothing("the chain cannot be read"));
        }
        let mut findings = AuthenticationResults::new(&self.authority).with_dkim_results(&dkim, parsed.from());
        if let Some(client) = message.arrival.client.filter(|_| chain != "none") {
            findings = findings.with_arc_result(&arc, client.ip().to_canonical());
        }
        let key: &SigningKey = &self.key;
        let sealer = ArcSealer::from_key(key).domain(&self.domain).selector(&self.selector);
        let sealer = sealer.headers(self.headers.with_seals().into_iter().chain(["DKIM-Signature".to_owned()]));
        let set = sealer.seal(&parsed, &findings, &arc).map_err(|error| SignError::Crypto(error.to_string()))?;
        let text = set.to_header();
        let block = HeaderBlock::parse(&Bytes::from(text.into_bytes())).map_err(SignError::Field)?;
        Ok(Sealed::Fields(block.fields().to_vec(), chain))
    }
}

/// Puts the hashes of the body where the library would have those of what it was given. It takes no signature with
/// `l=` (its strict mode), so every hash is of the whole body.
pub(crate) async fn hash(parsed: &mut AuthenticatedMessage<'_>, body: basin_core::mail::Body) -> Result<(), SignError> {
    let own = (mail_auth::dkim::Canonicalization::Relaxed, HashAlgorithm::Sha256);
    let mut ways: Vec<Way> = vec![own];
    for (canonicalization, algorithm, ..) in &parsed.body_hashes {
        if !ways.contains(&(*canonicalization, *algorithm)) {
            ways.push((*canonicalization, *algorithm));
        }
    }
    let hashing = tokio::task::spawn_blocking(move || body::hashes(&body, &ways));
    let hashes = hashing.await.map_err(|_| SignError::Interrupted)??;
    parsed.body_hashes = hashes
        .into_iter()
        .map(|((canonicalization, algorithm), hash)| (canonicalization, algorithm, 0, hash))
        .collect();
    Ok(())
}
