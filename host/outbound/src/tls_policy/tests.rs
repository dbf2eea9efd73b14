use super::*;

use std::io;

use basin_test_dns::{TestDns, Zone};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::dns::{DnsOptions, Dnssec};

const HOST: &str = "mx.example.org";

/// An authority, and certificates that it gave.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate with its key, and those sent with it.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn gives(&self, name: &str, is_expired: bool) -> Shown {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        if is_expired {
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        Shown { chain: vec![certificate, self.certificate.clone()], key }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("an authority");
        Arc::new(roots)
    }
}

fn hash(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A resolver over a signed zone with one exchanger and those TLSA records.
async fn resolver(lines: &str) -> (TestDns, Resolver) {
    let text = format!("!signed\nexample.org MX 10 {HOST}\n{HOST} A 192.0.2.1\n{lines}");
    let zone = Zone::parse(&text).expect("a zone");
    let anchor = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(anchor.path(), zone.trust_anchor().expect("a signed zone")).expect("a file");
    let dns = TestDns::start(zone).await.expect("a server");
    let options = DnsOptions {
        servers: vec![dns.address()],
        dnssec: Dnssec::Validate { anchor: Some(anchor.path().to_owned()) },
        ..DnsOptions::default()
    };
    (dns, Resolver::new(options).expect("a resolver"))
}

async fn plan_of(roots: Arc<RootCertStore>, demand: TlsDemand, lines: &str) -> Result<TlsPlan, String> {
    let (_dns, resolver) = resolver(lines).await;
    let policies = TlsPolicies::new(roots).with_dane(resolver.clone());
    let exchangers = resolver.exchangers("example.org", 1).await.expect("exchangers");
    let policy = policies.destination(demand, &exchangers).await;
    policies.plan(&policy, &exchangers.hosts[0], 25).await.map_err(|failure| failure.to_string())
}

/// Shakes hands with a server that shows that certificate.
async fn shake(plan: &TlsPlan, shown: &Shown) -> io::Result<Proved> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_no_client_auth();
    let config = builder.with_single_cert(shown.chain.clone(), shown.key.clone_key()).expect("a configuration");
    let (near, far) = tokio::io::duplex(64 * 1_024);
    let hands = plan.handshake().expect("a name for TLS");
    let server = TlsAcceptor::from(Arc::new(config)).accept(far);
    let client = TlsConnector::from(hands.config.clone()).connect(hands.name.clone(), near);
    let (client, _) = tokio::join!(client, server);
    client.map(|_| hands.proved())
}

async fn is_refused(plan: &TlsPlan, shown: &Shown) -> bool {
    shake(plan, shown).await.is_err()
}

#[tokio::test]
async fn opportunistic_tls_takes_any_certificate_and_notes_what_it_proves() {
    let (good, other) = (Authority::new(), Authority::new());
    let plan = plan_of(good.roots(), TlsDemand::Opportunistic, "").await.expect("a plan");
    assert!(plan.wants_tls() && !plan.needs_tls());
    assert_eq!(shake(&plan, &good.gives(HOST, false)).await.expect("TLS"), Proved::Authority);
    for shown in [other.gives(HOST, false), good.gives("else.example", false), good.gives(HOST, true)] {
        assert_eq!(shake(&plan, &shown).await.expect("TLS"), Proved::Encrypted);
    }
    let never = plan_of(good.roots(), TlsDemand::Never, "").await.expect("a plan");
    assert!(!never.wants_tls());
}

#[tokio::test]
async fn the_name_of_an_exchanger_that_anybody_could_have_named_proves_nothing() {
    let authority = Authority::new();
    let (_dns, resolver) = resolver(&format!("!unsigned example.org\n!unsigned {HOST}")).await;
    let policies = TlsPolicies::new(authority.roots()).with_dane(resolver.clone());
    let exchangers = resolver.exchangers("example.org", 1).await.expect("exchangers");
    let policy = policies.destination(TlsDemand::Opportunistic, &exchangers).await;
    let plan = policies.plan(&policy, &exchangers.hosts[0], 25).await.expect("a plan");
    assert_eq!(shake(&plan, &authority.gives(HOST, false)).await.expect("TLS"), Proved::Encrypted);
}

#[tokio::test]
async fn verified_tls_takes_the_right_name_from_the_right_authority() {
    let (good, other) = (Authority::new(), Authority::new());
    let plan = plan_of(good.roots(), TlsDemand::Verified, "").await.expect("a plan");
    assert!(plan.needs_tls());
    assert_eq!(shake(&plan, &good.gives(HOST, false)).await.expect("TLS"), Proved::Authority);
    assert!(is_refused(&plan, &other.gives(HOST, false)).await);
    assert!(is_refused(&plan, &good.gives("else.example", false)).await);
    assert!(is_refused(&plan, &good.gives(HOST, true)).await);
    let nobody = plan_of(Arc::new(RootCertStore::empty()), TlsDemand::Verified, "").await.expect("a plan");
    assert!(is_refused(&nobody, &good.gives(HOST, false)).await);
    assert_eq!(nobody.not_offered().code(), 451);
}

#[tokio::test]
async fn dane_takes_the_servers_own_certificate_whatever_its_name_and_date() {
    let (authority, nobody) = (Authority::new(), Arc::new(RootCertStore::empty()));
    let shown = authority.gives("else.example", true);
    let record = format!("_25._tcp.{HOST} TLSA 3 0 1 {}", hash(&shown.chain[0]));
    let plan = plan_of(nobody, TlsDemand::Opportunistic, &record).await.expect("a plan");
    assert!(plan.needs_tls());
    assert_eq!(shake(&plan, &shown).await.expect("TLS"), Proved::Dane);
    assert!(is_refused(&plan, &authority.gives(HOST, false)).await);
    assert!(plan.not_offered().to_string().contains("DANE of example.org"));
}

#[tokio::test]
async fn dane_takes_what_a_named_authority_gave_to_the_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let whole: String = authority.certificate.iter().map(|octet| format!("{octet:02x}")).collect();
    for record in [format!("2 0 1 {}", hash(&authority.certificate)), format!("2 0 0 {whole}")] {
        let record = format!("_25._tcp.{HOST} TLSA {record}");
        let plan = plan_of(other.roots(), TlsDemand::Verified, &record).await.expect("a plan");
        assert_eq!(shake(&plan, &authority.gives(HOST, false)).await.expect("TLS"), Proved::Dane);
        assert_eq!(shake(&plan, &authority.gives("example.org", false)).await.expect("TLS"), Proved::Dane);
        assert!(is_refused(&plan, &authority.gives("else.example", false)).await);
        assert!(is_refused(&plan, &authority.gives(HOST, true)).await);
        assert!(is_refused(&plan, &other.gives(HOST, false)).await);
    }
}

#[tokio::test]
async fn dane_by_public_key_and_by_the_end_of_an_alias() {
    let authority = Authority::new();
    let shown = authority.gives("else.example", false);
    let parsed = rustls::server::ParsedCertificate::try_from(&shown.chain[0]).expect("a certificate");
    let digest = sha2::Sha512::digest(parsed.subject_public_key_info());
    let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    let lines = format!(
        "aliased.example MX 1 www.example.net
        www.example.net CNAME real.example.net
        real.example.net A 192.0.2.7
        _25._tcp.real.example.net TLSA 3 1 2 {digest}"
    );
    let (_dns, resolver) = resolver(&lines).await;
    let policies = TlsPolicies::new(authority.roots()).with_dane(resolver.clone());
    let exchangers = resolver.exchangers("aliased.example", 1).await.expect("exchangers");
    let policy = policies.destination(TlsDemand::Opportunistic, &exchangers).await;
    let plan = policies.plan(&policy, &exchangers.hosts[0], 25).await.expect("a plan");
    assert_eq!(plan.handshake().map(|hands| hands.name), ServerName::try_from("real.example.net").ok());
    assert_eq!(shake(&plan, &shown).await.expect("TLS"), Proved::Dane);
}

#[tokio::test]
async fn records_that_cannot_be_used_still_need_tls() {
    let authority = Authority::new();
    let lines = format!("_25._tcp.{HOST} TLSA 1 0 1 00\n_25._tcp.{HOST} TLSA 3 1 1 00\n_25._tcp.{HOST} TLSA 3 9 1 00");
    let plan = plan_of(authority.roots(), TlsDemand::Opportunistic, &lines).await.expect("a plan");
    assert!(plan.needs_tls());
    assert_eq!(shake(&plan, &Authority::new().gives("else.example", true)).await.expect("TLS"), Proved::Encrypted);
}

#[tokio::test]
async fn forged_or_missing_answers_for_tlsa_keep_mail_away_from_the_server() {
    let authority = Authority::new();
    let forged = format!("_25._tcp.{HOST} TLSA 3 0 1 {}\n!bogus _25._tcp.{HOST}", "00".repeat(32));
    for lines in [forged, format!("!servfail _25._tcp.{HOST}")] {
        let refused = plan_of(authority.roots(), TlsDemand::Opportunistic, &lines).await.expect_err("no plan");
        assert!(refused.starts_with("451 4.7.5 DANE"), "{refused}");
        assert!(plan_of(authority.roots(), TlsDemand::Never, &lines).await.is_ok());
    }
}

#[tokio::test]
async fn records_of_an_unsigned_zone_say_nothing() {
    let authority = Authority::new();
    let lines = format!("!unsigned {HOST}\n_25._tcp.{HOST} TLSA 3 0 1 {}", "00".repeat(32));
    let plan = plan_of(authority.roots(), TlsDemand::Opportunistic, &lines).await.expect("a plan");
    assert!(!plan.needs_tls());
}
