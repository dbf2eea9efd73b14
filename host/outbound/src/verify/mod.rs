//! What SPF, DKIM, DMARC and ARC say of a message (RFC 7208, RFC 6376, RFC 7489, RFC 8617).
//!
//! The work is done once for each message, whoever asks how often. What a message can cost is bounded: signatures,
//! sets of a chain and the time of all questions have limits here, look-ups of SPF those of RFC 7208 §4.6.4 in the
//! library.

mod results;
#[cfg(test)]
mod tests;

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use basin_core::addr::Address;
use basin_core::mail::{AuthMethod, AuthResult, Message};
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{AuthenticatedMessage, MessageAuthenticator, SpfOutput};
use thiserror::Error;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use crate::dns::Resolver;
use crate::sign::hash_bodies;

/// Most DKIM signatures of one message that are verified, the first ones. Each costs a question to a name server of
/// the sender's choice.
const SIGNATURES_MAX: usize = 5;

/// Most sets of an ARC chain that are verified. Chains of real mail have one or two.
const SETS_MAX: usize = 10;

/// Longest that the questions for one message may take together.
const QUESTIONS_TIME: Duration = Duration::from_secs(20);

/// Messages whose results are kept. Those that are being taken ask at the same time or soon after one another.
const KNOWN_MAX: usize = 1_024;

/// Why nothing can be said of a message now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// Name servers did not answer in time.
    #[error("name servers did not answer in time")]
    Late,
    /// The body cannot be read.
    #[error("cannot read the message: {0}")]
    Body(String),
}

/// Verifies messages with the resolver of the way out, and keeps what it found.
pub struct Verifier {
    authenticator: MessageAuthenticator,
    host_name: String,
    known: Mutex<VecDeque<(Key, Arc<Findings>)>>,
}

/// What results belong to. The addresses can change while a message is received, its content cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: String,
    sender: String,
    helo: Option<String>,
}

impl Key {
    fn of(message: &Message) -> Self {
        Self { id: message.id.as_str().to_owned(), sender: sender(message), helo: message.arrival.helo.clone() }
    }
}

/// What was found about a message so far.
#[derive(Default)]
struct Findings {
    /// The methods that somebody asked for; one brings others along.
    asked: Mutex<BTreeSet<AuthMethod>>,
    spf: OnceCell<Option<SpfOutput>>,
    content: OnceCell<Content>,
}

/// What the content proves.
#[derive(Debug, Default)]
struct Content {
    dkim: Vec<AuthResult>,
    dmarc: Vec<AuthResult>,
    arc: Vec<AuthResult>,
}

impl Verifier {
    /// Verifies with a resolver and what it knows; `host_name` is this server, for macros of SPF.
    pub fn new(resolver: &Resolver, host_name: &str) -> Self {
        Self { authenticator: resolver.authenticator(), host_name: host_name.to_owned(), known: Mutex::default() }
    }

    /// What a method says of a message. Nothing for SPF where no client sent it; for DKIM one result for each
    /// signature, else one.
    ///
    /// # Errors
    /// See [`VerifyError`]; another attempt may help. What name servers failed to say about one record is no
    /// error: the result is "temperror".
    pub async fn verify(&self, message: &Message, method: AuthMethod) -> Result<Vec<AuthResult>, VerifyError> {
        let findings = self.findings(message);
        findings.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(method);
        let finding = async {
            let spf = findings.spf.get_or_init(|| self.spf(message)).await;
            if method == AuthMethod::Spf {
                return Ok(spf.iter().map(|found| results::spf(found, message)).collect());
            }
            let content = findings.content.get_or_try_init(|| self.content(message, spf.as_ref())).await?;
            Ok(match method {
                AuthMethod::Dkim => content.dkim.clone(),
                AuthMethod::Dmarc => content.dmarc.clone(),
                AuthMethod::Arc | AuthMethod::Spf => content.arc.clone(),
            })
        };
        tokio::time::timeout(QUESTIONS_TIME, finding).await.unwrap_or(Err(VerifyError::Late))
    }

    /// What every method says of a message, the same that [`Verifier::verify`] says; what is not known by then is
    /// "temperror".
    pub async fn examine(&self, message: &Message, time_max: Duration) -> Vec<AuthResult> {
        let end = Instant::now() + time_max;
        let mut all = Vec::new();
        for method in AuthMethod::ALL {
            match timeout_at(end, Box::pin(self.verify(message, method))).await.unwrap_or(Err(VerifyError::Late)) {
                Ok(results) if results.is_empty() && method == AuthMethod::Dkim => all.push(results::unsigned()),
                Ok(results) => all.extend(results),
                Err(error) => all.push(results::unanswered(method, error.to_string(), message)),
            }
        }
        all
    }

    /// What was found of a message, where anybody asked; nobody is asked for more.
    pub fn known(&self, message: &Message) -> Vec<AuthResult> {
        let key = Key::of(message);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().rev().find(|(known, _)| *known == key).map(|(_, findings)| findings.clone());
        drop(known);
        let Some(findings) = found else { return Vec::new() };
        let asked = findings.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Vec::new();
        if asked.contains(&AuthMethod::Spf) {
            all.extend(findings.spf.get().into_iter().flatten().map(|found| results::spf(found, message)));
        }
        let Some(content) = findings.content.get() else { return all };
        if asked.contains(&AuthMethod::Dkim) && content.dkim.is_empty() {
            all.push(results::unsigned());
        }
        for (method, results) in
            [(AuthMethod::Dkim, &content.dkim), (AuthMethod::Dmarc, &content.dmarc), (AuthMethod::Arc, &content.arc)]
        {
            all.extend(results.iter().filter(|_| asked.contains(&method)).cloned());
        }
        all
    }

    fn findings(&self, message: &Message) -> Arc<Findings> {
        let key = Key::of(message);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, findings)) = known.iter().rev().find(|(known, _)| *known == key) {
            return findings.clone();
        }
        if known.len() >= KNOWN_MAX {
            known.pop_front();
        }
        let findings = Arc::<Findings>::default();
        known.push_back((key, findings.clone()));
        findings
    }

    // RFC 7208 §2.4: the reverse path, and the name in HELO where it is null.
    async fn spf(&self, message: &Message) -> Option<SpfOutput> {
        let client: IpAddr = message.arrival.client?.ip().to_canonical();
        let helo = message.arrival.helo.clone().unwrap_or_default();
        let sender = sender(message);
        let asked = if sender.is_empty() {
            SpfParameters::verify_ehlo(client, &helo, &self.host_name)
        } else {
            SpfParameters::verify_mail_from(client, &helo, &self.host_name, &sender)
        };
        Some(self.authenticator.verify_spf(asked).await)
    }

    async fn content(&self, message: &Message, spf: Option<&SpfOutput>) -> Result<Content, VerifyError> {
        // Header block and empty line alone: the body is hashed in pieces.
        let raw = [message.header.to_bytes().as_slice(), b"\r\n"].concat();
        let Some(mut parsed) = AuthenticatedMessage::parse(&raw) else { return Ok(results::nothing()) };
        parsed.dkim_headers.truncate(SIGNATURES_MAX);
        parsed.errors.truncate(SIGNATURES_MAX);
        hash_bodies(&mut parsed, message.body.clone()).await.map_err(|error| VerifyError::Body(error.to_string()))?;
        let dkim = self.authenticator.verify_dkim(&parsed).await;
        let arc = if parsed.as_headers.len() > SETS_MAX {
            results::long_chain(SETS_MAX)
        } else {
            results::arc(&self.authenticator.verify_arc(&parsed).await)
        };
        let nobody = SpfOutput::new(String::new());
        let sender = sender(message);
        let domain = sender.rsplit_once('@').map(|(_, domain)| domain.to_owned());
        let domain = domain.or_else(|| message.arrival.helo.clone()).unwrap_or_default();
        let asked = DmarcParameters::new(&parsed, &dkim, &domain, spf.unwrap_or(&nobody));
        let dmarc = self.authenticator.verify_dmarc(asked).await;
        // In their order in the message; signatures that cannot be read have lost their place and come last.
        let (read, unread): (Vec<_>, Vec<_>) = dkim.iter().partition(|one| one.signature().is_some());
        let dkim = read.into_iter().chain(unread).map(results::dkim).collect();
        Ok(Content { dkim, dmarc: vec![results::dmarc(&dmarc)], arc: vec![arc] })
    }
}

fn sender(message: &Message) -> String {
    message.envelope.sender.as_ref().map(Address::to_string).unwrap_or_default()
}
