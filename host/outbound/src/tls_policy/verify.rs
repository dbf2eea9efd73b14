//! The look at a server's certificate: what it proves is noted, and only where more is needed does TLS fail.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{Need, Proved};
use crate::dane;

/// What a certificate came to.
#[derive(Debug, Default)]
pub(super) struct Verdict(Mutex<Option<Result<Proved, Error>>>);

impl Verdict {
    pub(super) fn get(&self) -> Option<Result<Proved, Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, result: Result<Proved, Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }
}

/// Checks one server's certificate by one plan.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) need: Need,
    /// The name that an authority must have vouched for.
    pub(super) name: ServerName<'static>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) verdict: Arc<Verdict>,
}

impl Verifier {
    fn check(
        &self,
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Proved, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if let Need::Dane { records, names } = &self.need {
            dane::check(records, names, server, others, now, algorithms)?;
            return Ok(Proved::Dane);
        }
        if self.roots.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let parsed = ParsedCertificate::try_from(server)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, others, now, algorithms.all)?;
        verify_server_name(&parsed, &self.name)?;
        Ok(Proved::Authority)
    }

    /// A handshake's signature shows that the server has its certificate's key. Where any certificate will do,
    /// one that cannot even be parsed proves nothing, and the connection is as good as any with an unknown.
    fn signed(&self, result: Result<HandshakeSignatureValid, Error>) -> Result<HandshakeSignatureValid, Error> {
        match result {
            Err(error) if !self.need.is_proof() => {
                self.verdict.set(Err(error));
                Ok(HandshakeSignatureValid::assertion())
            }
            result => result,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result = self.check(end_entity, intermediates, now);
        self.verdict.set(result.clone());
        match result {
            Err(error) if self.need.is_proof() => Err(error),
            Ok(_) | Err(_) => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
