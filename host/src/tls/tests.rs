use std::fs;

use rustls::ClientConfig;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::Validity;
use crate::tls::make::{SelfSigned, self_signed};
use basin_core::time::Timestamp;

fn pair(folder: &TempDir, name: &str) -> Certificate {
    let made = self_signed(&[name.to_owned(), format!("*.{name}")], 2020, 30).expect("made");
    let (chain, key) = (folder.path().join(format!("{name}.pem")), folder.path().join(format!("{name}.key")));
    fs::write(&chain, made.certificate).expect("written");
    fs::write(&key, made.key).expect("written");
    Certificate::read(&chain, &key).expect("a pair")
}

// What a handshake comes to at the server, and the certificate that the client sees.
async fn shake(tls: &ServerTls, name: &str, client: ClientConfig) -> io::Result<(Secured, Vec<u8>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connecting = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(client)).connect(name, stream).await
    });
    let (stream, _) = listener.accept().await?;
    let accepted = tls.accept(stream).await;
    let client = connecting.await.expect("no panic");
    let (_, secured) = accepted?;
    let client = client?;
    let shown = client.get_ref().1.peer_certificates().expect("the server shows one");
    let mut exported = [0; EXPORTER_BYTES];
    client.get_ref().1.export_keying_material(&mut exported, EXPORTER_LABEL, Some(b"")).expect("exported");
    if let Some(own) = &secured.channel.exporter {
        assert_eq!(own, &exported, "both ends have the same binding");
    }
    Ok((secured, shown[0].to_vec()))
}

fn client() -> ClientConfig {
    basin_outbound::client_config(None).expect("a client of anybody")
}

fn client_with(made: &SelfSigned) -> ClientConfig {
    let chain = vec![CertificateDer::from_pem_slice(made.certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).expect("PEM");
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).expect("a pair");
    let mut client = client();
    client.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    client
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (pair(&folder, "mx.basin.example"), pair(&folder, "basin.test"));
    let own = |certificate: &Certificate| certificate.key.cert[0].to_vec();
    let (first_der, second_der) = (own(&first), own(&second));
    let tls = ServerTls::new(vec![Arc::new(first), Arc::new(second)], None).expect("set up");
    for (asked, shown) in [
        ("mx.basin.example", &first_der),
        ("BASIN.test", &second_der),
        ("a.basin.test", &second_der),
        ("a.b.basin.test", &first_der),
        ("elsewhere.example", &first_der),
    ] {
        let (secured, seen) = shake(&tls, asked, client()).await.expect("a handshake");
        assert!(seen == *shown, "{asked}");
        assert_eq!(secured.facts.version, "TLSv1.3");
        assert!(secured.facts.cipher.starts_with("TLS_"), "{}", secured.facts.cipher);
        assert_eq!(secured.facts.server_name.expect("it names one"), asked.to_ascii_lowercase());
        assert_eq!(secured.channel.server_end_point.expect("ECDSA with SHA-256").len(), 32);
        assert_eq!(secured.facts.client_subject, None);
    }
}

#[tokio::test]
async fn clients_show_certificates_where_they_are_asked_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Arc::new(pair(&folder, "mx.basin.example"));
    let made = self_signed(&["client.example".to_owned()], 2020, 30).expect("made");
    let authorities = folder.path().join("clients.pem");
    fs::write(&authorities, &made.certificate).expect("written");
    for is_required in [false, true] {
        let clients = ClientCertificates { authorities: authorities.clone(), is_required };
        let tls = ServerTls::new(vec![server.clone()], Some(&clients)).expect("set up");
        let (secured, _) = shake(&tls, "mx.basin.example", client_with(&made)).await.expect("a handshake");
        assert!(secured.facts.client_subject.expect("it showed one").contains("client.example"));
        let without = shake(&tls, "mx.basin.example", client()).await;
        assert_eq!(without.is_err(), is_required);
    }
}

#[test]
fn what_is_wrong_with_a_pair_is_said_with_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    drop((pair(&folder, "one.example"), pair(&folder, "two.example")));
    fs::write(file("empty.pem"), "").expect("written");
    let error = |chain: &str, key: &str| Certificate::read(&file(chain), &file(key)).expect_err("wrong").to_string();
    assert!(error("one.example.pem", "two.example.key").contains("it is not the key of the certificate in"));
    assert!(error("empty.pem", "one.example.key").contains("empty.pem"));
    assert!(error("one.example.pem", "none.key").contains("none.key"));
    assert!(error("one.example.key", "one.example.key").contains("cannot use the certificate"));
}

#[test]
fn a_certificate_says_when_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = pair(&folder, "one.example");
    assert_eq!(certificate.names(), ["one.example", "*.one.example"]);
    let at = |text: &str| certificate.validity(Timestamp::parse_rfc3339(text).expect("a time"));
    assert!(matches!(at("2019-12-31T00:00:00Z"), Validity::NotYet(_)));
    assert_eq!(at("2026-01-01T00:00:00Z"), Validity::Valid);
    assert!(matches!(at("2049-12-25T00:00:00Z"), Validity::ExpiresSoon(_)));
    assert!(matches!(at("2050-01-02T00:00:00Z"), Validity::Expired(_)));
}
