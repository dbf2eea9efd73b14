//! Which mail is signed, with which keys.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use basin_core::mail::{Field, FieldError, Message};
use basin_core::time::Timestamp;
use mail_auth::MessageAuthenticator;
use thiserror::Error;

use super::arc::{ArcIdentity, Sealed};
use super::author;
use super::body::{self, Way};
use super::dkim::DkimIdentity;
use super::lookup::{self, KnownKeys};

/// Why a message was not signed although it should be. Another attempt may succeed.
#[derive(Debug, Error)]
pub enum SignError {
    /// The body cannot be read.
    #[error("cannot read the body: {0}")]
    Body(#[from] io::Error),
    /// The cryptographic library failed.
    #[error("cannot sign: {0}")]
    Crypto(String),
    /// The signature is no field.
    #[error("cannot write the signature: {0}")]
    Field(FieldError),
    /// The server is ending.
    #[error("the signing was interrupted")]
    Interrupted,
}

/// How a message came to this server, as far as signatures care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Somebody handed it in who may send through this server, or it was made here. It gets the signatures of its
    /// author's domain.
    Submitted,
    /// It came from anybody. Whoever wrote our domain into its From field, we do not vouch for it; it gets an ARC seal.
    Foreign,
}

/// What a message gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signed {
    /// Fields for the top of the header block, in order; none where there is nothing to sign with.
    pub fields: Vec<Field>,
    /// Who signed, as `SELECTOR._domainkey.DOMAIN`.
    pub by: Vec<String>,
    /// What was found about the ARC chain (`none`, `pass`, `fail`), or why there is no seal.
    pub chain: Option<&'static str>,
}

/// All keys, and who they sign for.
#[derive(Default)]
pub struct Signer {
    by_domain: BTreeMap<String, Vec<Arc<DkimIdentity>>>,
    arc: Option<ArcIdentity>,
    servers: Vec<SocketAddr>,
    /// Made by the first message that wants it: it has to be made within the runtime.
    verifier: OnceLock<Option<MessageAuthenticator>>,
    known: KnownKeys,
}

impl Signer {
    /// Makes a signer. `servers` are asked for the keys of others where there is an ARC identity; without any,
    /// those of `/etc/resolv.conf`.
    pub fn new(dkim: Vec<DkimIdentity>, arc: Option<ArcIdentity>, servers: Vec<SocketAddr>) -> Self {
        let mut by_domain: BTreeMap<String, Vec<Arc<DkimIdentity>>> = BTreeMap::new();
        for identity in dkim {
            by_domain.entry(identity.domain.clone()).or_default().push(Arc::new(identity));
        }
        Self { by_domain, arc, servers, verifier: OnceLock::new(), known: KnownKeys::default() }
    }

    /// Whether there is nothing to sign with.
    pub fn is_idle(&self) -> bool {
        self.by_domain.is_empty() && self.arc.is_none()
    }

    /// Signs a message as it stands: no octet of header or body may change after it.
    ///
    /// # Errors
    /// See [`SignError`]; nothing was signed then.
    pub async fn sign(&self, message: Message, standing: Standing, now: Timestamp) -> Result<Signed, SignError> {
        match (standing, &self.arc) {
            (Standing::Submitted, _) => self.sign_dkim(message, now).await,
            (Standing::Foreign, Some(identity)) => self.seal(identity, message).await,
            (Standing::Foreign, None) => Ok(Signed::default()),
        }
    }

    // Every key of the first domain that has one signs.
    pub(super) fn identities(&self, message: &Message) -> &[Arc<DkimIdentity>] {
        if self.by_domain.is_empty() {
            return &[];
        }
        let keys = |domain: &String| self.keys_of(domain);
        author::domains(message).iter().map(keys).find(|keys| !keys.is_empty()).unwrap_or_default()
    }

    fn keys_of(&self, domain: &str) -> &[Arc<DkimIdentity>] {
        if let Some(keys) = self.by_domain.get(domain) {
            return keys;
        }
        let mut above = domain;
        while let Some((_, parent)) = above.split_once('.') {
            let keys = self.by_domain.get(parent).filter(|keys| keys.iter().all(|key| key.covers_subdomains));
            if let Some(keys) = keys {
                return keys;
            }
            above = parent;
        }
        &[]
    }

    async fn sign_dkim(&self, message: Message, now: Timestamp) -> Result<Signed, SignError> {
        let identities = self.identities(&message).to_vec();
        if identities.is_empty() {
            return Ok(Signed::default());
        }
        // Reading, hashing and RSA take milliseconds at least and seconds at most: not on a thread that others wait for.
        let signing = tokio::task::spawn_blocking(move || sign_blocking(&identities, &message, now));
        signing.await.map_err(|_| SignError::Interrupted)?
    }

    async fn seal(&self, identity: &ArcIdentity, message: Message) -> Result<Signed, SignError> {
        let Some(verifier) = self.verifier.get_or_init(|| lookup::resolver(&self.servers).map(MessageAuthenticator))
        else {
            return Ok(Signed { chain: Some("no name server is known"), ..Signed::default() });
        };
        let sealed = identity.seal(message, verifier, &self.known).await?;
        Ok(match sealed {
            Sealed::Fields(fields, chain) => {
                let by = vec![super::record_name(&identity.domain, &identity.selector)];
                Signed { fields, by, chain: Some(chain) }
            }
            Sealed::Nothing(why) => Signed { chain: Some(why), ..Signed::default() },
        })
    }
}

fn sign_blocking(identities: &[Arc<DkimIdentity>], message: &Message, now: Timestamp) -> Result<Signed, SignError> {
    let mut ways: Vec<Way> = identities.iter().map(|identity| identity.way()).collect();
    ways.dedup();
    let hashes = body::hashes(&message.body, &ways)?;
    let mut signed = Signed::default();
    for identity in identities {
        let hash = hashes.iter().find(|(way, _)| *way == identity.way()).map(|(_, hash)| hash.as_slice());
        signed.fields.push(identity.sign(&message.header, hash.unwrap_or_default(), now)?);
        signed.by.push(super::record_name(&identity.domain, &identity.selector));
    }
    Ok(signed)
}
