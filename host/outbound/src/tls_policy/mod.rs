//! What a connection has to prove before a message goes over it, and what is said where it does not.
//!
//! A route demands something; DANE (RFC 7672) may demand more, and where it says nothing, MTA-STS (RFC 8461) may.

mod outcome;
#[cfg(test)]
mod tests;
mod verify;

use core::fmt;
use std::sync::Arc;

use basin_core::reply::Reply;
use basin_core::transport::TlsDemand;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use crate::dane::{self, Tlsa, TlsaRecord};
use crate::dns::{Exchanger, Exchangers, Resolver, RouteFailure, refusal};
use crate::mta_sts::{Found, Mode, MtaSts, Policy};
use crate::tls_report::{Failure, Kind, PolicyFacts, TlsReports};
pub(crate) use outcome::Outcome;
use verify::{Verdict, Verifier};

/// Servers whose TLS sessions are kept to be resumed, those that must be verified by an authority: some kilobytes each.
const SESSIONS_MAX: usize = 1_024;

/// Finds out what connections have to prove.
pub struct TlsPolicies {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    by_authority: Option<Arc<ClientConfig>>,
    dane: Option<Resolver>,
    mta_sts: Option<Arc<MtaSts>>,
    reports: Option<Arc<TlsReports>>,
}

/// What is known of a destination as a whole, for one visit.
#[derive(Debug, Clone)]
pub struct DestinationPolicy {
    demand: TlsDemand,
    /// The domain; none for servers that the configuration names.
    domain: Option<String>,
    /// Whether nobody could forge the list of servers: DNSSEC, or the operator wrote it.
    is_list_proved: bool,
    mta_sts: Option<Arc<Policy>>,
    /// Whether what the domain demands does not matter.
    is_relaxed: bool,
}

/// What the connection to one exchanger has to prove, and why.
#[derive(Clone)]
pub struct TlsPlan {
    need: Need,
    host: String,
    name: Option<ServerName<'static>>,
    is_list_proved: bool,
    policy: PolicyFacts,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    by_authority: Option<Arc<ClientConfig>>,
}

/// What is needed, the least first.
#[derive(Debug, Clone)]
enum Need {
    /// Plain text.
    Never,
    /// TLS if it works.
    Opportunistic,
    /// TLS with any certificate.
    Required,
    /// A certificate that a trusted authority gave to the server's name.
    Authority,
    /// A certificate that a TLSA record names.
    Dane {
        /// The usable ones.
        records: Vec<TlsaRecord>,
        /// Names that the certificate may have.
        names: Vec<ServerName<'static>>,
    },
}

impl Need {
    fn is_proof(&self) -> bool {
        matches!(self, Self::Authority | Self::Dane { .. })
    }
}

/// What a connection has proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proved {
    /// Nothing: plain text.
    Nothing,
    /// TLS with somebody.
    Encrypted,
    /// TLS with a server whose certificate a trusted authority gave to its name; and that the name is the right
    /// one is more than the word of unsigned MX records (RFC 8689 §4.2.1).
    Authority,
    /// TLS with a server whose certificate its TLSA records name.
    Dane,
}

/// How to shake hands by a plan. One for each connection: it keeps what the certificate proved.
pub struct Handshake {
    /// The configuration to connect with.
    pub config: Arc<ClientConfig>,
    /// The name sent to the server (SNI).
    pub name: ServerName<'static>,
    is_list_proved: bool,
    verdict: Arc<Verdict>,
}

impl Handshake {
    /// What the certificate proved; to be asked when the handshake is done.
    pub fn proved(&self) -> Proved {
        match self.verdict.get() {
            Some(Ok(Proved::Authority)) if !self.is_list_proved => Proved::Encrypted,
            Some(Ok(proved)) => proved,
            Some(Err(_)) | None => Proved::Encrypted,
        }
    }

    /// What is wrong with the certificate, though the plan needs nothing of it.
    pub fn flaw(&self) -> Option<rustls::Error> {
        self.verdict.get()?.err()
    }
}

impl TlsPolicies {
    /// Makes one that knows routes alone; `roots` are the authorities that it trusts.
    pub fn new(roots: Arc<RootCertStore>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let by_authority = by_authority(&roots, &provider);
        Self { roots, provider, by_authority, dane: None, mta_sts: None, reports: None }
    }

    /// Adds DANE; it has no effect where the resolver does not validate.
    #[must_use]
    pub fn with_dane(self, resolver: Resolver) -> Self {
        Self { dane: Some(resolver), ..self }
    }

    /// Adds MTA-STS.
    #[must_use]
    pub fn with_mta_sts(self, mta_sts: Arc<MtaSts>) -> Self {
        Self { mta_sts: Some(mta_sts), ..self }
    }

    /// Keeps results for the reports of RFC 8460.
    #[must_use]
    pub fn with_reports(self, reports: Arc<TlsReports>) -> Self {
        Self { reports: Some(reports), ..self }
    }

    /// What is known of a destination as a whole; asks for its MTA-STS policy where that has a say.
    pub async fn destination(&self, demand: TlsDemand, exchangers: &Exchangers) -> DestinationPolicy {
        let domain = exchangers.domain.clone();
        let found = match &self.mta_sts {
            Some(known) if demand != TlsDemand::Never && !domain.starts_with('[') => known.policy(&domain).await,
            Some(_) | None => Found::default(),
        };
        if let (Some(problem), Some(reports)) = (found.problem, &self.reports) {
            reports.note(&PolicyFacts::sts_unknown(&domain), "", None, Err(problem));
        }
        let domain = Some(domain);
        DestinationPolicy {
            demand,
            domain,
            is_list_proved: exchangers.is_secure,
            mta_sts: found.policy,
            is_relaxed: false,
        }
    }

    /// What the connection to an exchanger has to prove.
    ///
    /// # Errors
    /// Nobody may talk to that exchanger: its TLSA records cannot be had, or its domain's MTA-STS policy does not
    /// have it. The next one is tried.
    pub async fn plan(
        &self,
        policy: &DestinationPolicy,
        exchanger: &Exchanger,
        port: u16,
    ) -> Result<TlsPlan, RouteFailure> {
        let tlsa = match &self.dane {
            // RFC 7672 §2.2: without a proved list and proved addresses the records would prove nothing.
            Some(resolver) if policy.has_say() && policy.is_list_proved && exchanger.is_secure => {
                let found = dane::find(resolver, exchanger, port).await;
                found.inspect_err(|failure| self.note_lookup(policy, exchanger, failure))?
            }
            Some(_) | None => None,
        };
        // RFC 8461 §2: where there is DANE, MTA-STS does not undo what it says.
        let mta_sts = policy.mta_sts.as_ref().filter(|_| tlsa.is_none());
        let facts = PolicyFacts::new(policy.domain.as_deref(), tlsa.as_ref(), mta_sts.map(AsRef::as_ref));
        let mut plan = TlsPlan {
            need: need_of(policy.demand),
            host: exchanger.name.clone(),
            name: ServerName::try_from(exchanger.name.clone()).ok(),
            is_list_proved: policy.is_list_proved || policy.demand == TlsDemand::Verified,
            policy: facts,
            roots: self.roots.clone(),
            provider: self.provider.clone(),
            by_authority: self.by_authority.clone(),
        };
        if let Some(tlsa) = tlsa {
            plan.obey_dane(tlsa, policy, exchanger);
        } else if let Some(mta_sts) = mta_sts {
            let is_listed = mta_sts.covers(&exchanger.name);
            if !is_listed {
                self.note(
                    &plan,
                    None,
                    Err(Failure::new(Kind::ValidationFailure, "the exchanger is not in the policy")),
                );
            }
            if mta_sts.mode == Mode::Enforce {
                if !is_listed {
                    let (host, domain) = (&exchanger.name, policy.domain.as_deref().unwrap_or_default());
                    return Err(refusal(451, 7, 5, format!("MTA-STS: the policy of {domain} does not have {host}")));
                }
                plan.need = Need::Authority;
            }
            // What the policy lists is the right name, whoever answered the question for MX records.
            plan.is_list_proved |= is_listed;
        }
        Ok(plan)
    }

    /// Keeps the result of a connection for the domain's report; `source` is the own address.
    pub fn note(&self, plan: &TlsPlan, source: Option<core::net::IpAddr>, result: Result<(), Failure>) {
        if let Some(reports) = &self.reports {
            reports.note(&plan.policy, &plan.host, source, result);
        }
    }

    fn note_lookup(&self, policy: &DestinationPolicy, exchanger: &Exchanger, failure: &RouteFailure) {
        if let Some(reports) = &self.reports {
            let why = Failure::new(Kind::DnssecInvalid, failure.to_string());
            reports.note(&PolicyFacts::tlsa_unknown(policy.domain.as_deref()), &exchanger.name, None, Err(why));
        }
    }
}

impl DestinationPolicy {
    /// That of servers that the configuration names: they are the right ones, and no domain has a policy for them.
    pub fn of_hop(demand: TlsDemand) -> Self {
        Self { demand, domain: None, is_list_proved: true, mta_sts: None, is_relaxed: false }
    }

    /// The same for a message that says `TLS-Required: No`. RFC 8689 §5: DANE and MTA-STS are not obeyed for it; what the
    /// operator demands is.
    #[must_use]
    pub fn relaxed(self) -> Self {
        Self { mta_sts: None, is_relaxed: true, ..self }
    }

    /// That of a domain for such a message: nobody is asked what the domain demands.
    pub fn relaxed_domain(demand: TlsDemand, exchangers: &Exchangers) -> Self {
        let domain = Some(exchangers.domain.clone());
        Self { domain, is_list_proved: exchangers.is_secure, ..Self::of_hop(demand) }.relaxed()
    }

    // Whether DANE is asked.
    fn has_say(&self) -> bool {
        self.demand != TlsDemand::Never && !self.is_relaxed
    }
}

// One for all servers that an authority must vouch for, so that their sessions can be resumed: every session in it was
// verified. Where less is needed, or where TLSA records have the say, a handshake has to be looked at for itself.
fn by_authority(roots: &Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Option<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().ok()?;
    let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    Some(Arc::new(config))
}

fn need_of(demand: TlsDemand) -> Need {
    match demand {
        TlsDemand::Never => Need::Never,
        TlsDemand::Opportunistic => Need::Opportunistic,
        TlsDemand::Required => Need::Required,
        TlsDemand::Verified => Need::Authority,
    }
}

impl TlsPlan {
    fn obey_dane(&mut self, tlsa: Tlsa, policy: &DestinationPolicy, exchanger: &Exchanger) {
        if tlsa.usable.is_empty() {
            // RFC 7672 §2.2: the domain wants TLS and says in no word that is understood with whom.
            if matches!(self.need, Need::Opportunistic) {
                self.need = Need::Required;
            }
            return;
        }
        // RFC 7672 §3.2.2: the base domain, the exchanger's name and the domain itself.
        let names = [Some(tlsa.base.as_str()), Some(exchanger.name.as_str()), policy.domain.as_deref()];
        let names = names.into_iter().flatten().filter_map(|name| ServerName::try_from(name.to_owned()).ok());
        let names: Vec<_> = names.collect();
        // RFC 7672 §8.1: the base domain is the name sent to the server.
        self.name = names.first().cloned();
        self.need = Need::Dane { records: tlsa.usable, names };
    }

    /// Whether TLS is begun where the server offers it.
    pub fn wants_tls(&self) -> bool {
        !matches!(self.need, Need::Never)
    }

    /// Whether nothing goes in plain text.
    pub fn needs_tls(&self) -> bool {
        matches!(self.need, Need::Required | Need::Authority | Need::Dane { .. })
    }

    /// How to shake hands; `None` where the name of the server cannot be used in TLS.
    pub fn handshake(&self) -> Option<Handshake> {
        let name = self.name.clone()?;
        let verdict = Arc::new(Verdict::default());
        if let (Need::Authority, Some(config)) = (&self.need, self.by_authority.clone()) {
            // Nothing less than that proof completes a handshake with it, neither now nor when it is resumed.
            verdict.set(Ok(Proved::Authority));
            return Some(Handshake { config, name, is_list_proved: self.is_list_proved, verdict });
        }
        let verifier = Verifier {
            need: self.need.clone(),
            name: name.clone(),
            roots: self.roots.clone(),
            provider: self.provider.clone(),
            verdict: verdict.clone(),
        };
        let versions = ClientConfig::builder_with_provider(self.provider.clone()).with_safe_default_protocol_versions();
        let builder = versions.ok()?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = builder.with_no_client_auth();
        // The verifier serves one handshake: a resumed session shows no certificate, and so would prove nothing by this plan.
        config.resumption = Resumption::disabled();
        Some(Handshake { config: Arc::new(config), name, is_list_proved: self.is_list_proved, verdict })
    }

    /// What the sender is told where the server does not offer TLS though the plan needs it.
    pub fn not_offered(&self) -> Reply {
        Reply::with(451, 7, 4, format!("{} needs TLS, and {} does not offer it", self.reason(), self.host))
    }

    /// What the sender is told where the handshake failed though the plan needs it.
    pub fn failed(&self, error: &std::io::Error) -> Reply {
        Reply::with(451, 7, 5, format!("TLS with {} failed, and {} needs it: {error}", self.host, self.reason()))
    }

    /// Who needs TLS, for people.
    fn reason(&self) -> String {
        self.policy.reason().unwrap_or_else(|| "the route".to_owned())
    }
}

impl fmt::Debug for TlsPlan {
    // The authorities are some hundred kilobytes of text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPlan").field("need", &self.need).field("host", &self.host).finish_non_exhaustive()
    }
}
