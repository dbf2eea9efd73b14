//! MTA-STS: domains that say over HTTPS which exchangers they have and that these prove who they are (RFC 8461).

mod policy;
mod store;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use rustls::RootCertStore;

use crate::dns::Resolver;
use crate::https::{Https, HttpsError};
use crate::tls_report::{Failure, Kind};
pub use policy::{Mode, Policy};
use store::Store;

/// Longest policy read, in octets (RFC 8461 §3.3 suggests this limit).
const POLICY_BYTES_MAX: usize = 64 * 1_024;

/// After this time a policy is fetched again though its id is the old one, so that it does not run out while the
/// domain still means it (RFC 8461 §10.2); sooner, at half its time, where it holds shorter than twice this.
const REFRESH_AFTER: Duration = Duration::from_hours(24);

/// Where policies come from and are kept.
#[derive(Debug, Clone)]
pub struct MtaStsOptions {
    /// Directory that keeps policies over a restart, one file for each domain; it is made where it is missing.
    /// Without it, who can hold back an answer at the right time can undo a policy.
    pub directory: Option<PathBuf>,
    /// Longest wait for a policy. RFC 8461 §3.3 suggests a minute.
    pub timeout: Duration,
    /// Wait after a policy could not be fetched; RFC 8461 §3.3 asks for five minutes at least.
    pub retry_after: Duration,
    /// Domains whose policies are kept.
    pub domains_max: usize,
    /// Port of the servers; RFC 8461 knows 443 and no other.
    pub port: u16,
}

impl Default for MtaStsOptions {
    fn default() -> Self {
        Self {
            directory: None,
            timeout: Duration::from_secs(20),
            retry_after: Duration::from_mins(5),
            domains_max: 10_000,
            port: 443,
        }
    }
}

/// The policies of domains, as far as they are known.
pub struct MtaSts {
    resolver: Resolver,
    https: Https,
    options: MtaStsOptions,
    store: Option<Store>,
    known: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Known>>>>,
}

/// What is known of one domain. Its lock is held while the policy is fetched, so that no visit goes by a policy
/// that another one is just learning.
#[derive(Debug, Default)]
struct Known {
    kept: Option<Kept>,
    /// Seconds of the clock before which nothing is fetched.
    fetch_from: u64,
}

/// A policy that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    id: String,
    policy: Arc<Policy>,
    /// When it was fetched, in seconds of the clock.
    fetched: u64,
}

impl Kept {
    fn age(&self, now: u64) -> Duration {
        Duration::from_secs(now.saturating_sub(self.fetched))
    }

    fn holds(&self, now: u64) -> bool {
        self.age(now) < self.policy.max_age
    }

    fn is_fresh(&self, now: u64) -> bool {
        self.age(now) < REFRESH_AFTER.min(self.policy.max_age / 2)
    }
}

/// What a domain's policy is at this moment.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The policy that holds, but none that says nothing (`mode: none`).
    pub policy: Option<Arc<Policy>>,
    /// Why it could not be had just now, where that was tried.
    pub problem: Option<Failure>,
}

impl MtaSts {
    /// Makes one, and reads the policies that were kept.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn new(resolver: Resolver, roots: Arc<RootCertStore>, options: MtaStsOptions) -> io::Result<Self> {
        let https = Https::new(resolver.clone(), roots, options.timeout)?;
        let store = options.directory.clone().map(Store::new);
        let kept = store.as_ref().map_or(Ok(Vec::new()), |store| store.load(options.domains_max, now()))?;
        let known = |kept| Arc::new(tokio::sync::Mutex::new(Known { kept: Some(kept), fetch_from: 0 }));
        let known = kept.into_iter().map(|(domain, kept)| (domain, known(kept))).collect();
        Ok(Self { resolver, https, options, store, known: Mutex::new(known) })
    }

    /// The policy of a domain, given in ASCII and lower case.
    ///
    /// What is known holds for its time, whatever the name servers and the web server say or do not say
    /// (RFC 8461 §5.1): only a new policy replaces it.
    pub async fn policy(&self, domain: &str) -> Found {
        let id = self.id(domain).await;
        let Some(known) = self.known(domain, id.is_some()) else { return Found::default() };
        let mut known = known.lock().await;
        let mut problem = None;
        let is_current = |kept: &Kept, id: &str| kept.id == id && kept.is_fresh(now());
        if let Some(id) = id
            && !known.kept.as_ref().is_some_and(|kept| is_current(kept, &id))
            && now() >= known.fetch_from
        {
            match self.fetch(domain).await {
                Ok(policy) => {
                    self.learn(domain, &mut known, Kept { id, policy: Arc::new(policy), fetched: now() }).await
                }
                Err(failure) => {
                    known.fetch_from = now() + self.options.retry_after.as_secs();
                    problem = Some(failure);
                }
            }
        }
        let kept = known.kept.as_ref().filter(|kept| kept.holds(now()) && kept.policy.mode != Mode::None);
        Found { policy: kept.map(|kept| kept.policy.clone()), problem }
    }

    async fn learn(&self, domain: &str, known: &mut Known, kept: Kept) {
        known.kept = Some(kept.clone());
        let Some(store) = self.store.clone() else { return };
        let domain_of_file = domain.to_owned();
        let saved = tokio::task::spawn_blocking(move || store.save(&domain_of_file, &kept)).await;
        if let Err(error) = saved.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!(%domain, %error, "cannot keep the MTA-STS policy over a restart");
        }
    }

    // No answer counts as no record: then what is known holds.
    async fn id(&self, domain: &str) -> Option<String> {
        let records = self.resolver.texts(&format!("_mta-sts.{domain}")).await.ok()?;
        policy::id_of(&records)
    }

    fn known(&self, domain: &str, may_add: bool) -> Option<Arc<tokio::sync::Mutex<Known>>> {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(domain) {
            return Some(known.clone());
        }
        if !may_add {
            return None;
        }
        if all.len() >= self.options.domains_max {
            // What does not hold any more goes first; then some other one, which is still on disk.
            let now = now();
            all.retain(|_, known| {
                known.try_lock().is_ok_and(|known| known.kept.as_ref().is_some_and(|it| it.holds(now)))
            });
            let other = all.keys().next().filter(|_| all.len() >= self.options.domains_max).cloned();
            other.and_then(|other| all.remove(&other));
        }
        Some(all.entry(domain.to_owned()).or_default().clone())
    }

    async fn fetch(&self, domain: &str) -> Result<Policy, Failure> {
        let host = format!("mta-sts.{domain}");
        let failed = |why: String| Failure::new(Kind::StsPolicyFetchError, why);
        let request = Request::get("/.well-known/mta-sts.txt")
            .header(HOST, &host)
            .header(USER_AGENT, "basin")
            .body(Full::new(Bytes::new()))
            .map_err(|error| failed(error.to_string()))?;
        let answer = self.https.ask(&host, self.options.port, request, POLICY_BYTES_MAX).await;
        let answer = answer.map_err(|error| match &error {
            HttpsError::Certificate { .. } => Failure::new(Kind::StsWebpkiInvalid, error.to_string()),
            HttpsError::Unreachable { .. } | HttpsError::Answer { .. } | HttpsError::TimedOut { .. } => {
                failed(error.to_string())
            }
        })?;
        // RFC 8461 §3.3: 200 and nothing else; a redirect is an error.
        if answer.status != StatusCode::OK {
            return Err(failed(format!("{host} answers {}", answer.status)));
        }
        let invalid = |why: &str| Failure::new(Kind::StsPolicyInvalid, format!("{host}: {why}"));
        if answer.content_type.split(';').next().map(str::trim) != Some("text/plain") {
            return Err(invalid("the policy is not text/plain"));
        }
        let text = core::str::from_utf8(&answer.body).map_err(|_| invalid("the policy is no text"))?;
        Policy::parse(text).ok_or_else(|| invalid("the policy is none that is understood"))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
