//! Certificates by authorities: who must prove its name, and who merely may.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Verifies the certificate of one server in one handshake, and keeps what it came to.
#[derive(Debug)]
pub(crate) struct ByAuthority {
    /// `None` where nobody is trusted.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    is_demanded: bool,
    has_vouched: AtomicBool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ByAuthority {
    /// Makes a verifier. Where no proof is demanded, every certificate will do: encryption with whomever beats
    /// plain text for everybody (RFC 7435 §3), and the proof is only kept for the record.
    pub(crate) fn new(roots: &Arc<RootCertStore>, is_demanded: bool) -> Arc<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let authorities = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider).build().ok();
        Arc::new(Self { authorities, is_demanded, has_vouched: AtomicBool::new(false), algorithms })
    }

    /// Whether an authority vouched for the name of the server.
    pub(crate) fn has_vouched(&self) -> bool {
        self.has_vouched.load(Ordering::Acquire)
    }
}

impl ServerCertVerifier for ByAuthority {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = match &self.authorities {
            Some(authorities) => authorities.verify_server_cert(end, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match verified {
            Ok(verified) => {
                self.has_vouched.store(true, Ordering::Release);
                Ok(verified)
            }
            Err(error) if self.is_demanded => Err(error),
            Err(_) => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A configuration that leaves every judgement of the server to `verifier`.
pub(crate) fn config(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    // A verifier serves one handshake, and a session of another's could not be taken up again.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}
