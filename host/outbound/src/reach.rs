//! Connections to servers that sinks name, none of them inside the server's own networks unless named by address.

use core::net::IpAddr;
use core::time::Duration;
use std::sync::Arc;

use basin_core::event::http_address::is_inner;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Outbound;
use crate::dns::QueryError;

/// Longest wait for one address to take a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Addresses that are tried.
const ADDRESSES_MAX: usize = 4;

/// A connection that is ready to be spoken over.
pub enum Reached {
    /// As it is.
    Plain(TcpStream),
    /// Over TLS; the certificate belongs to the name.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The name does not exist.
    #[error("the name does not exist")]
    NoName,
    /// All its addresses are in networks that a name may not lead to.
    #[error("{0} is an address of an inner network; name it by address to allow it")]
    Inner(IpAddr),
    /// It cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

impl Outbound {
    /// Connects to a host, given by name or address. `may_be_inner` is whether somebody who may has named that very
    /// address; what a name resolves to is checked here and connected to here, so it cannot change in between.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn reach(&self, host: &str, port: u16, is_tls: bool, may_be_inner: bool) -> Result<Reached, ReachError> {
        let unreachable = |why: String| ReachError::Unreachable(why);
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.resolver().addresses_of(host).await.map_err(|error| match error {
                QueryError::NoName | QueryError::NotAName => ReachError::NoName,
                QueryError::Failed(why) => ReachError::Unreachable(why),
            })?,
        };
        let is_allowed = |address: &&IpAddr| may_be_inner || !is_inner(**address);
        let allowed: Vec<_> = found.iter().filter(is_allowed).take(ADDRESSES_MAX).collect();
        if let ([], Some(inner)) = (allowed.as_slice(), found.first()) {
            return Err(ReachError::Inner(*inner));
        }
        let mut last = format!("{host} has no address");
        for address in allowed {
            match tokio::time::timeout(CONNECT_TIME, TcpStream::connect((*address, port))).await {
                Ok(Ok(stream)) => return self.over(stream, host, is_tls).await.map_err(unreachable),
                Ok(Err(error)) => last = format!("cannot connect to {address} port {port}: {error}"),
                Err(_) => last = format!("{address} port {port} did not answer within {CONNECT_TIME:?}"),
            }
        }
        Err(unreachable(last))
    }

    async fn over(&self, stream: TcpStream, host: &str, is_tls: bool) -> Result<Reached, String> {
        if !is_tls {
            return Ok(Reached::Plain(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let versions = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let config = versions.with_root_certificates(self.roots().clone()).with_no_client_auth();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = connecting.await.map_err(|error| format!("TLS with {host} failed: {error}"))?;
        Ok(Reached::Tls(Box::new(stream)))
    }
}

#[cfg(test)]
mod tests {
    use basin_test_dns::{TestDns, Zone};
    use tokio::net::TcpListener;

    use super::*;
    use crate::OutboundOptions;
    use crate::dns::DnsOptions;

    #[tokio::test]
    async fn a_name_never_leads_inside_and_an_address_does_where_it_is_named() {
        let zone = "inner.example A 127.0.0.1\nmeta.example A 169.254.169.254\nmixed.example A 10.0.0.1";
        let dns = TestDns::start(Zone::parse(zone).expect("a zone")).await.expect("a server");
        let dns = DnsOptions { servers: vec![dns.address()], retries: 0, ..DnsOptions::default() };
        let way = Outbound::new(OutboundOptions { dns, ..OutboundOptions::default() }).expect("a way out");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        for host in ["inner.example", "meta.example", "mixed.example", "127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let refused = way.reach(host, port, false, false).await;
            assert!(matches!(refused, Err(ReachError::Inner(_))), "{host}");
        }
        assert!(matches!(way.reach("127.0.0.1", port, false, true).await, Ok(Reached::Plain(_))));
        assert!(matches!(way.reach("none.example", port, false, false).await, Err(ReachError::NoName)));
    }
}
