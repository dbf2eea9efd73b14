//! A web server for the tests of policies and reports: it says what it was told to, over TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The server; it runs until it is dropped.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    /// The authority that vouches for it.
    pub(crate) roots: Arc<RootCertStore>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Vec<u8>>,
    asked: Mutex<Vec<Vec<u8>>>,
}

impl Web {
    /// Starts a server with a certificate for that name.
    pub(crate) async fn start(name: &str) -> Self {
        let authority_key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).expect("a certificate").der().clone();
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate").der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(authority).expect("an authority");

        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = builder.with_single_cert(vec![certificate], key).expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { answer: Mutex::default(), asked: Mutex::default() });
        let task = tokio::spawn(serve(listener, acceptor, shared.clone()));
        Self { address, roots: Arc::new(roots), shared, task }
    }

    /// What it answers from now on, as it goes over the wire.
    pub(crate) fn set(&self, answer: impl Into<Vec<u8>>) {
        *self.shared.answer.lock().expect("a lock") = answer.into();
    }

    /// What it was asked, header and body.
    pub(crate) fn asked(&self) -> Vec<Vec<u8>> {
        self.shared.asked.lock().expect("a lock").clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        tokio::spawn(async move { drop(one(stream, acceptor, &shared).await) });
    }
}

async fn one(stream: TcpStream, acceptor: TlsAcceptor, shared: &Shared) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut question = Vec::new();
    loop {
        let end = question.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let header = String::from_utf8_lossy(&question).to_ascii_lowercase();
        let length = header.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        if end.is_some_and(|end| question.len() >= end + length.unwrap_or(0)) {
            break;
        }
        if stream.read_buf(&mut question).await? == 0 {
            return Ok(());
        }
    }
    shared.asked.lock().expect("a lock").push(question);
    let answer = shared.answer.lock().expect("a lock").clone();
    stream.write_all(&answer).await?;
    stream.shutdown().await
}
