//! Certificates of the tests.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use basin_outbound::{ClientCertificate, OutboundOptions, TrustStore};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::Digest;
use tempfile::TempDir;

/// The name that servers of the tests have: routes name them by address.
pub(crate) const NAME: &str = "127.0.0.1";

/// A certificate authority, trusted by whoever reads its file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    folder: TempDir,
}

impl Authority {
    /// Makes one.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Self { issuer: Issuer::new(params, key), certificate: certificate.der().clone(), folder };
        authority.file("authority.pem", &certificate.pem());
        authority
    }

    /// Options that trust it.
    pub(crate) fn trusted(&self, options: OutboundOptions) -> OutboundOptions {
        OutboundOptions { trust: TrustStore::Files(vec![self.folder.path().join("authority.pem")]), ..options }
    }

    /// A server with a good certificate for that name.
    pub(crate) fn server(&self, name: &str) -> Arc<ServerConfig> {
        self.signed(CertificateParams::new(vec![name.to_owned()]).expect("a name"))
    }

    /// A server whose certificate is over.
    pub(crate) fn expired_server(&self) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.signed(params)
    }

    /// A server that takes nobody without a certificate of this authority.
    pub(crate) fn demanding_server(&self) -> Arc<ServerConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("an authority");
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            aws_lc_rs::default_provider().into(),
        );
        let (chain, key) = self.pair(CertificateParams::new(vec![NAME.to_owned()]).expect("a name"));
        let builder = builder().with_client_cert_verifier(verifier.build().expect("roots"));
        Arc::new(builder.with_single_cert(chain, key).expect("a pair"))
    }

    /// A certificate for this server to show, in files.
    pub(crate) fn client(&self) -> ClientCertificate {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["out.example".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let chain = self.file("client.pem", &certificate.pem());
        ClientCertificate { chain, key: self.file("client.key", &key.serialize_pem()) }
    }

    fn signed(&self, params: CertificateParams) -> Arc<ServerConfig> {
        let (chain, key) = self.pair(params);
        Arc::new(builder().with_no_client_auth().with_single_cert(chain, key).expect("a pair"))
    }

    fn pair(&self, params: CertificateParams) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
        path
    }
}

/// A server whose certificate nobody vouches for.
pub(crate) fn self_signed() -> Arc<ServerConfig> {
    pinned().0
}

/// Such a server, and the data of the TLSA record that names its key.
pub(crate) fn pinned() -> (Arc<ServerConfig>, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    // The authority of the tests has the default name, and must not seem to have signed this.
    params.distinguished_name.push(DnType::CommonName, "nobody");
    let chain = vec![params.self_signed(&key).expect("signed").der().clone()];
    let digest = sha2::Sha256::digest(key.subject_public_key_info());
    let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let server = builder().with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    (Arc::new(server), format!("3 1 1 {digest}"))
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
}
