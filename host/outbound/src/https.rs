//! One request to a web server, with hard limits: for policies (RFC 8461) and reports (RFC 8460).

use core::time::Duration;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::dns::Resolver;

/// Longest header of an answer, in octets; the least that hyper takes.
const ANSWER_HEADER_BYTES_MAX: usize = 8_192;

/// Header fields of an answer.
const ANSWER_FIELDS_MAX: usize = 64;

/// Who answers a request, and the patience with it.
#[derive(Clone)]
pub(crate) struct Https {
    resolver: Resolver,
    config: Arc<ClientConfig>,
    patience: Duration,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpsError {
    /// The server cannot be found or reached.
    #[error("cannot reach {host}: {why}")]
    Unreachable {
        /// The server.
        host: String,
        /// Why not.
        why: String,
    },
    /// Its certificate is not one that a trusted authority gave to its name.
    #[error("the certificate of {host} is not valid: {why}")]
    Certificate {
        /// The server.
        host: String,
        /// Why not.
        why: String,
    },
    /// What it says is no HTTP, or more than is read.
    #[error("{host} does not answer properly: {why}")]
    Answer {
        /// The server.
        host: String,
        /// Why not.
        why: String,
    },
    /// It took too long.
    #[error("{host} did not answer within {patience:?}")]
    TimedOut {
        /// The server.
        host: String,
        /// How long it had.
        patience: Duration,
    },
}

impl Https {
    pub(crate) fn new(resolver: Resolver, roots: Arc<RootCertStore>, patience: Duration) -> io::Result<Self> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let versions = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let config = Arc::new(versions.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { resolver, config, patience })
    }

    /// Sends a request and reads an answer of at most that many octets. No redirect is followed (RFC 8461 §3.3).
    pub(crate) async fn ask(
        &self,
        host: &str,
        port: u16,
        request: Request<Full<Bytes>>,
        body_bytes_max: usize,
    ) -> Result<Answer, HttpsError> {
        let asking = Box::pin(self.ask_without_end(host, port, request, body_bytes_max));
        match tokio::time::timeout(self.patience, asking).await {
            Ok(result) => result,
            Err(_) => Err(HttpsError::TimedOut { host: host.to_owned(), patience: self.patience }),
        }
    }

    async fn ask_without_end(
        &self,
        host: &str,
        port: u16,
        request: Request<Full<Bytes>>,
        body_bytes_max: usize,
    ) -> Result<Answer, HttpsError> {
        let unreachable = |why: String| HttpsError::Unreachable { host: host.to_owned(), why };
        let improper = |why: String| HttpsError::Answer { host: host.to_owned(), why };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| unreachable(error.to_string()))?;
        let stream = self.connect(host, port).await?;
        let connecting = TlsConnector::from(self.config.clone()).connect(name, stream).await;
        let stream = connecting.map_err(|error| {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            if let Some(rustls::Error::InvalidCertificate(why)) = tls {
                return HttpsError::Certificate { host: host.to_owned(), why: why.to_string() };
            }
            unreachable(error.to_string())
        })?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(ANSWER_HEADER_BYTES_MAX).max_headers(ANSWER_FIELDS_MAX);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| improper(error.to_string()))?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| improper(error.to_string()))?;
            let status = answer.status();
            let value = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let content_type = value.unwrap_or_default().to_ascii_lowercase();
            let body = Limited::new(answer.into_body(), body_bytes_max).collect().await;
            let body = body.map_err(|error| improper(error.to_string()))?.to_bytes();
            Ok(Answer { status, content_type, body })
        };
        tokio::pin!(exchange);
        let mut connection = core::pin::pin!(connection);
        // The connection moves the octets; it may end before the answer is read out of its buffer.
        tokio::select! {
            answer = &mut exchange => answer,
            result = &mut connection => match result {
                Ok(()) => exchange.await,
                Err(error) => Err(improper(error.to_string())),
            },
        }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, HttpsError> {
        let unreachable = |why: String| HttpsError::Unreachable { host: host.to_owned(), why };
        let found = self.resolver.host(host).await;
        let addresses = found.addresses.map_err(|failure| unreachable(failure.to_string()))?;
        let mut last = "it has no address".to_owned();
        for address in addresses {
            match TcpStream::connect((address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error.to_string(),
            }
        }
        Err(unreachable(last))
    }
}
