//! The command line's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::control::report::Complaint;
use crate::control::socket_path;

/// Longest wait for an answer. A slice of changes waits for many syncs of the spool and for messages that are
/// being worked on, and a disk may be slow.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);

/// Largest answer, in octets: a message of the largest size and a long queue fit, a runaway server does not
/// fill the memory of its client.
const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Longest name of a user that goes into the log, in octets; useradd allows 32.
const USER_BYTES_MAX: usize = 64;

/// Field of a request that says who asks.
pub(crate) const OPERATOR_HEADER: &str = "basin-operator";

/// Why the server did not answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No server runs on this spool. The caller goes to the files themselves.
    #[error("no server runs on this spool (nobody answers at {})", .0.display())]
    NotRunning(PathBuf),
    /// The socket belongs to somebody else.
    #[error("cannot ask the server at {}: permission denied; run as its user, as in `sudo -u basin basin ...`", .0.display())]
    Denied(PathBuf),
    /// The server said no; its words.
    #[error("{0}")]
    Refused(String),
    /// The connection failed or the answer makes no sense.
    #[error("cannot ask the server at {}: {why}", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// What happened.
        why: String,
    },
}

/// Who gives commands, for the log: the user of this process, or the one that became root with sudo.
pub fn operator() -> String {
    let named = |variable| std::env::var(variable).ok().filter(|name| is_name(name));
    let user = named("SUDO_USER").or_else(|| named("USER"));
    user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= USER_BYTES_MAX && text.bytes().all(|octet| octet.is_ascii_graphic())
}

/// Asks the server of one spool directory.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// Names the spool directory; nothing is asked yet.
    pub fn new(spool: &Path) -> Self {
        Self { path: socket_path(spool) }
    }

    /// Gets a value.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, ClientError> {
        self.parse(&self.octets(Method::GET, url, Bytes::new())?)
    }

    /// Gets octets.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get_octets(&self, url: &str) -> Result<Bytes, ClientError> {
        self.octets(Method::GET, url, Bytes::new())
    }

    /// Whether a server runs.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] where none does; see [`ClientError`] for the others.
    pub fn ping(&self) -> Result<(), ClientError> {
        self.octets(Method::GET, "/v1/registry", Bytes::new()).map(drop)
    }

    /// Asks a question that is a value itself, or for a change.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post<T: DeserializeOwned>(&self, url: &str, question: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(question).map_err(|error| self.failed(error.to_string()))?;
        self.post_octets(url, body.into())
    }

    /// Hands octets over.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post_octets<T: DeserializeOwned>(&self, url: &str, octets: Bytes) -> Result<T, ClientError> {
        self.parse(&self.octets(Method::POST, url, octets)?)
    }

    /// Asks for a change that has an answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post_for<T: DeserializeOwned>(&self, url: &str) -> Result<T, ClientError> {
        self.parse(&self.octets(Method::POST, url, Bytes::new())?)
    }

    fn parse<T: DeserializeOwned>(&self, octets: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(octets).map_err(|error| self.failed(format!("its answer is not understood: {error}")))
    }

    fn failed(&self, why: impl Into<String>) -> ClientError {
        ClientError::Failed { path: self.path.clone(), why: why.into() }
    }

    // A server that is gone leaves its socket behind, and nobody answers there.
    fn unreachable(&self, error: &io::Error) -> ClientError {
        let is = |kind| error.kind() == kind;
        if is(io::ErrorKind::NotFound) || is(io::ErrorKind::ConnectionRefused) {
            ClientError::NotRunning(self.path.clone())
        } else if is(io::ErrorKind::PermissionDenied) {
            ClientError::Denied(self.path.clone())
        } else {
            self.failed(error.to_string())
        }
    }

    fn octets(&self, method: Method, url: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.failed(error.to_string()))?;
        let asked = async { tokio::time::timeout(ANSWER_WAIT_MAX, self.ask(method, url, body)).await };
        runtime
            .block_on(asked)
            .unwrap_or_else(|_| Err(self.failed(format!("no answer within {} s", ANSWER_WAIT_MAX.as_secs()))))
    }

    async fn ask(&self, method: Method, url: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| self.unreachable(&error))?;
        let failed = |error: hyper::Error| self.failed(error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let connection = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(url).header("host", "basin");
        let request = request.header(OPERATOR_HEADER, operator()).body(Full::new(body));
        let request = request.map_err(|error| self.failed(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let octets = body.map_err(|error| self.failed(error.to_string()))?.to_bytes();
        connection.abort();
        if status.is_success() {
            return Ok(octets);
        }
        match serde_json::from_slice::<Complaint>(&octets) {
            Ok(complaint) => Err(ClientError::Refused(complaint.error)),
            Err(_) => Err(self.failed(format!("it answered {status}"))),
        }
    }
}
