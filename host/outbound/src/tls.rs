//! TLS: whom to trust, what to show, and the handshake.

use core::fmt;
use core::time::Duration;
use std::io;
use std::path::Path;
use std::sync::Arc;

use basin_core::smtp::client::{TlsFacts, TlsProof};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::options::{ClientCertificate, TrustStore};
use crate::tls_policy::{Handshake, Proved};
use crate::visit::OutboundError;
use crate::wire::Stream;

/// Reads the authorities.
///
/// # Errors
/// A file cannot be read or has no certificate. The system's own store may be empty: then nothing can be
/// verified, and whatever needs no verification still works.
pub(crate) fn roots(trust: &TrustStore) -> Result<RootCertStore, OutboundError> {
    let mut roots = RootCertStore::empty();
    match trust {
        TrustStore::System => {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "a file of the system's certificate authorities cannot be read");
            }
            roots.add_parsable_certificates(found.certs);
        }
        TrustStore::Files(files) => {
            for file in files {
                let failed = failed("read the certificate authorities in", file);
                let (added, _) = roots.add_parsable_certificates(certificates(file).map_err(&failed)?);
                if added == 0 {
                    return Err(failed("it has no certificate".into()));
                }
            }
        }
    }
    Ok(roots)
}

/// How an operator's own connection shakes hands: with a server that one of these authorities vouches for, or with
/// whoever answers where there is `None`.
///
/// # Errors
/// A file cannot be read or has no certificate.
pub fn client_config(trust: Option<&TrustStore>) -> Result<ClientConfig, OutboundError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder =
        builder.map_err(|error| OutboundError::Tls { doing: "set up TLS".to_owned(), cause: error.to_string() })?;
    Ok(match trust {
        Some(trust) => builder.with_root_certificates(roots(trust)?).with_no_client_auth(),
        None => {
            let anybody = Arc::new(Anybody(provider));
            builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
        }
    })
}

/// Takes whatever certificate a server shows, so long as the server has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Reads the certificate that this server shows.
///
/// # Errors
/// A file cannot be read, or the key does not belong to the certificate.
pub(crate) fn client_auth(shown: &ClientCertificate) -> Result<Arc<dyn ResolvesClientCert>, OutboundError> {
    let chain = certificates(&shown.chain).map_err(failed("read the certificate in", &shown.chain))?;
    let failed = failed("use the key in", &shown.key);
    let key = PrivateKeyDer::from_pem_file(&shown.key).map_err(|error| failed(error.to_string()))?;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    Ok(Arc::new(SingleCertAndKey::from(certified.map_err(|error| failed(error.to_string()))?)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error: rustls_pki_types::pem::Error| error.to_string())
}

fn failed(doing: &str, file: &Path) -> impl Fn(String) -> OutboundError {
    let doing = format!("{doing} {}", file.display());
    move |cause| OutboundError::Tls { doing: doing.clone(), cause }
}

/// What this server shows in a handshake, where it is asked.
#[derive(Clone, Default)]
pub(crate) struct Shown(pub(crate) Option<Arc<dyn ResolvesClientCert>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a certificate" } else { "nothing" })
    }
}

/// Shakes hands.
///
/// # Errors
/// The server's certificate does not prove what it has to, what it says is no TLS, or it takes too long.
pub(crate) async fn shake(
    stream: TcpStream,
    hands: &Handshake,
    shown: &Shown,
    patience: Duration,
) -> io::Result<(Stream, TlsFacts)> {
    let config = match &shown.0 {
        None => hands.config.clone(),
        Some(resolver) => {
            let mut config: ClientConfig = hands.config.as_ref().clone();
            config.client_auth_cert_resolver = resolver.clone();
            Arc::new(config)
        }
    };
    let connecting = TlsConnector::from(config).connect(hands.name.clone(), stream);
    let stream = timeout(patience, connecting).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no handshake within {} s", patience.as_secs())))
    })?;
    let session = stream.get_ref().1;
    let facts = TlsFacts {
        version: session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS").replace('_', "."),
        cipher: session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("?").to_owned(),
        proof: match hands.proved() {
            Proved::Nothing | Proved::Encrypted => TlsProof::None,
            Proved::Authority => TlsProof::Authority,
            Proved::Dane => TlsProof::Dane,
        },
    };
    Ok((Stream::Tls(Box::new(stream)), facts))
}
