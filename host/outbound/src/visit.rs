//! The way out, and one visit over it.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use basin_core::transport::Route;
use rustls::RootCertStore;
use thiserror::Error;

use crate::course::Course;
use crate::dns::{DnsSetupError, Resolver};
use crate::mta_sts::MtaSts;
use crate::tls::{self, Shown};
use crate::tls_policy::TlsPolicies;
use crate::verify::Verifier;
use crate::{Feed, OutboundOptions, Visit};

/// Why there is no way out.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// The trusted authorities, the client certificate or its key cannot be used.
    #[error("cannot {doing}: {cause}")]
    Tls {
        /// What was being done to what.
        doing: String,
        /// Why it failed.
        cause: String,
    },
    /// Names cannot be looked up.
    #[error(transparent)]
    Dns(#[from] DnsSetupError),
}

/// The way out of this server. One value serves all visits at a time.
pub struct Outbound {
    pub(crate) options: OutboundOptions,
    pub(crate) resolver: Resolver,
    verifier: Verifier,
    roots: Arc<RootCertStore>,
    pub(crate) policies: TlsPolicies,
    pub(crate) shown: Shown,
    random: AtomicU64,
}

impl Outbound {
    /// Reads certificates and keys, and makes the resolver.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub fn new(options: OutboundOptions) -> Result<Self, OutboundError> {
        let resolver = Resolver::new(options.dns.clone())?;
        let roots = Arc::new(tls::roots(&options.trust)?);
        let mut policies = TlsPolicies::new(roots.clone());
        if options.is_dane {
            policies = policies.with_dane(resolver.clone());
        }
        if let Some(mta_sts) = options.mta_sts.clone() {
            let failed = |error: std::io::Error| OutboundError::Tls {
                doing: "set up the fetching of MTA-STS policies".to_owned(),
                cause: error.to_string(),
            };
            let known = MtaSts::new(resolver.clone(), roots.clone(), mta_sts).map_err(failed)?;
            policies = policies.with_mta_sts(Arc::new(known));
        }
        if let Some(reports) = options.reports.clone() {
            policies = policies.with_reports(reports);
        }
        let shown = Shown(options.client_certificate.as_ref().map(tls::client_auth).transpose()?);
        let random = AtomicU64::new(options.random);
        let verifier = Verifier::new(&resolver, &options.host_name);
        Ok(Self { options, resolver, verifier, roots, policies, shown, random })
    }

    /// Who is asked for names; whoever sends reports asks the same.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// What is proved of messages that come.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Whether addresses to connect from have that name.
    pub fn has_source(&self, name: &str) -> bool {
        self.options.sources.contains_key(name)
    }

    /// The authorities that are trusted.
    pub fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// Visits one destination: tries its servers in order until one is ready for mail, and hands it messages
    /// out of the feed until there are none, or the limits of the route or of the visit are met.
    ///
    /// It ends within [`crate::VisitLimits::visit`], the wait for one reply to content that has left, and what the feed
    /// itself takes, whatever the servers do.
    pub async fn visit(&self, route: &Route, feed: &mut impl Feed) -> Visit {
        let mut course = Course::new(self, route, feed);
        Box::pin(course.tour()).await;
        course.finish().await
    }

    // SplitMix64: each visit gets another order of equal exchangers out of one seed.
    pub(crate) fn random(&self) -> u64 {
        let mut mixed = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
