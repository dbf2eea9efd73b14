//! Connections to servers that sinks name, none of them inside the server's own networks unless named by address.

use core::net::IpAddr;
use core::time::Duration;
use std::sync::Arc;

use basin_core::event::http_address::is_inner;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
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
                Ok(Ok(stream)) if is_tls => return over(stream, host, self.roots().clone()).await.map_err(unreachable),
                Ok(Ok(stream)) => return Ok(Reached::Plain(stream)),
                Ok(Err(error)) => last = format!("cannot connect to {address} port {port}: {error}"),
                Err(_) => last = format!("{address} port {port} did not answer within {CONNECT_TIME:?}"),
            }
        }
        Err(unreachable(last))
    }
}

async fn over(stream: TcpStream, host: &str, roots: Arc<RootCertStore>) -> Result<Reached, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let versions = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let config = versions.with_root_certificates(roots).with_no_client_auth();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = connecting.await.map_err(|error| format!("TLS with {host} failed: {error}"))?;
    Ok(Reached::Tls(Box::new(stream)))
}

#[cfg(test)]
mod tests {
    use basin_test_dns::{TestDns, Zone};
    use tokio::net::TcpListener;

    use super::*;
    use crate::OutboundOptions;
    use crate::dns::DnsOptions;
    use crate::web_tests::Web;

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

    #[tokio::test]
    async fn of_many_addresses_only_outer_ones_are_tried() {
        // Nobody is at the outer one, which is not of this machine and cannot be reached from a test.
        let zone = "two.example A 127.0.0.1\ntwo.example AAAA 2001:4::1\ntwo.example AAAA ::ffff:127.0.0.1";
        let dns = TestDns::start(Zone::parse(zone).expect("a zone")).await.expect("a server");
        let dns = DnsOptions { servers: vec![dns.address()], retries: 0, ..DnsOptions::default() };
        let way = Outbound::new(OutboundOptions { dns, ..OutboundOptions::default() }).expect("a way out");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        assert!(matches!(way.reach("two.example", port, false, false).await, Err(ReachError::Inner(_))));
    }

    #[tokio::test]
    async fn over_tls_the_certificate_is_of_that_name_and_of_a_known_authority() {
        let web = Web::start("scan.example").await;
        let with = async |name: &str, roots: &Arc<RootCertStore>| {
            let stream = TcpStream::connect(web.address).await.expect("a connection");
            over(stream, name, roots.clone()).await.map(drop)
        };
        assert_eq!(with("scan.example", &web.roots).await, Ok(()));
        let unknown = with("scan.example", &Arc::new(RootCertStore::empty())).await.expect_err("nobody vouches for it");
        assert!(unknown.contains("UnknownIssuer"), "{unknown}");
        let misnamed = with("other.example", &web.roots).await.expect_err("it is for another name");
        assert!(misnamed.contains("not valid for name"), "{misnamed}");
    }
}
