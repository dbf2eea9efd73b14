//! The handshake with a client.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use basin_core::mail::TlsFacts;
use basin_core::smtp::{Channel, Secured};
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::TlsError;
use super::certificate::{Certificate, subject};

/// Label and length of the binding `tls-exporter` (RFC 9266 §2).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
const EXPORTER_BYTES: usize = 32;

/// What a listener shows its clients, and what it wants to see.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

/// Certificates that clients show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Who vouches for them.
    pub authorities: PathBuf,
    /// Whether a client without one is turned away.
    pub is_required: bool,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({} certificates)", self.certificates.0.len())
    }
}

impl ServerTls {
    /// Sets TLS up; the first certificate is shown where the client names no server, or one that none is for.
    ///
    /// # Errors
    /// There is no certificate, or the authorities for those of clients cannot be read.
    pub fn new(certificates: Vec<Arc<Certificate>>, clients: Option<&ClientCertificates>) -> Result<Self, TlsError> {
        if certificates.is_empty() {
            return Err(TlsError::Setup("there is no certificate".to_owned()));
        }
        let certificates = Arc::new(Certificates(certificates));
        let provider = Arc::new(aws_lc_rs::default_provider());
        // TLS 1.2 and 1.3: what is older is not in the library (RFC 8996).
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| TlsError::Setup(error.to_string()))?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(authorities(&clients.authorities)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if clients.is_required { verifier } else { verifier.allow_unauthenticated() };
                let failed = |error: rustls::server::VerifierBuilderError| TlsError::Setup(error.to_string());
                builder.with_client_cert_verifier(verifier.build().map_err(failed)?)
            }
        };
        let config = builder.with_cert_resolver(certificates.clone());
        Ok(Self { config: Arc::new(config), certificates })
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// What the client sends is no TLS, or the two have nothing in common.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(Box<TlsStream<TcpStream>>, Secured)> {
        let stream = Box::pin(TlsAcceptor::from(self.config.clone()).accept(stream)).await?;
        let secured = self.secured(stream.get_ref().1);
        Ok((Box::new(stream), secured))
    }

    fn secured(&self, connection: &ServerConnection) -> Secured {
        let server_name = connection.server_name().map(str::to_owned);
        let version = connection.protocol_version();
        // A client is one where it showed a certificate that verifies; rustls ends the handshake over any other.
        let own = connection.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
        let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("?");
        let facts = TlsFacts {
            version: version.and_then(|version| version.as_str()).unwrap_or("TLS").replace('_', "."),
            // rustls writes the protocol into the names of TLS 1.3; IANA does not.
            cipher: cipher.replacen("TLS13_", "TLS_", 1),
            client_subject: own.and_then(subject),
            server_name: server_name.clone(),
        };
        // Of TLS 1.2 only with the extended master secret (RFC 9266 §3), of which the library does not tell.
        let exporter = (version == Some(ProtocolVersion::TLSv1_3)).then(|| {
            let exported = connection.export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, Some(b""));
            exported.ok().map(|octets: [u8; EXPORTER_BYTES]| octets.to_vec())
        });
        let server_end_point = self.certificates.only_for(server_name.as_deref());
        let server_end_point = server_end_point.and_then(|certificate| certificate.end_point.clone());
        Secured { facts, channel: Channel { exporter: exporter.flatten(), server_end_point } }
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let failed = |cause: String| TlsError::Authorities { file: file.to_owned(), cause };
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(failed("it has no certificate; PEM is expected".to_owned())) } else { Ok(roots) }
}

/// The certificates of a listener; one at least.
#[derive(Debug)]
struct Certificates(Vec<Arc<Certificate>>);

impl Certificates {
    // Those that suit a name, the best first: those for it, or, where there is none, the first of all.
    fn suitable<'a>(&'a self, name: Option<&'a str>) -> impl Iterator<Item = &'a Arc<Certificate>> {
        let named = self.0.iter().filter(move |certificate| name.is_some_and(|name| certificate.is_for(name)));
        let is_none_named = name.is_none_or(|name| !self.0.iter().any(|certificate| certificate.is_for(name)));
        named.chain(self.0.first().filter(|_| is_none_named))
    }

    // The certificate that was shown, where there was no choice.
    fn only_for<'a>(&'a self, name: Option<&'a str>) -> Option<&'a Arc<Certificate>> {
        let mut suitable = self.suitable(name);
        suitable.next().filter(|_| suitable.next().is_none())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // An RSA and an ECDSA certificate may stand side by side for one name.
        let is_usable = |it: &&Arc<Certificate>| it.key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.suitable(hello.server_name()).find(is_usable).map(|certificate| certificate.key.clone())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
