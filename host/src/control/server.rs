//! The server's end of the control socket.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::net::UnixListener;

use crate::control::queue::{self, LookupError};
use crate::control::report::{Complaint, RegistryState};
use crate::control::{ChangeError, ServerState};

/// Callers that wait to be accepted; each is a person or a script.
const BACKLOG: i32 = 64;

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another server answers there.
    #[error("cannot make the control socket {}: another server runs on this spool", .0.display())]
    InUse(PathBuf),
    /// The system refused.
    #[error("cannot make the control socket {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes the socket, with mode 0600 from the moment that it can be reached.
///
/// # Errors
/// Another server answers there, or the system refused.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let io = |source| SocketError::Io { path: path.to_owned(), source };
    // A server that was killed leaves its socket behind; only a living one answers.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(SocketError::InUse(path.to_owned()));
    }
    // The mode is set before the socket has a name (Linux hands it on to the file); bound under another name and
    // renamed when its mode is right, it is private on systems that do not do so, but for a moment.
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(io)?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).map_err(|error| io(error.into()))?;
    socket.set_nonblocking(true).map_err(io)?;
    socket.bind(&SockAddr::unix(&new).map_err(io)?).map_err(io)?;
    socket.listen(BACKLOG).map_err(io)?;
    let listener = UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into()).map_err(io)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(io)?;
    fs::rename(&new, path).map_err(io)?;
    Ok(listener)
}

/// Answers until `shutdown` is over, then takes the socket away.
///
/// # Errors
/// The socket failed.
pub async fn serve(
    listener: UnixListener,
    path: PathBuf,
    server: Arc<dyn ServerState>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), SocketError> {
    let served = axum::serve(listener, router(server)).with_graceful_shutdown(shutdown).await;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the control socket {} could not be removed", path.display());
        }
        Ok(()) | Err(_) => {}
    }
    served.map_err(|source| SocketError::Io { path, source })
}

fn router(server: Arc<dyn ServerState>) -> Router {
    Router::new()
        .route("/v1/registry", get(registry))
        .route("/v1/queue", get(list))
        .route("/v1/queue/{id}", get(message))
        .route("/v1/queue/{id}/content", get(content))
        .route("/v1/queue/{id}/release", post(release))
        .route("/v1/queue/{id}/delete", post(delete))
        .route("/v1/spool/pin", post(pin))
        .with_state(server)
}

type Shared = State<Arc<dyn ServerState>>;

async fn registry(State(server): Shared) -> Response {
    json(StatusCode::OK, &RegistryState::of(server.as_ref()))
}

async fn list(State(server): Shared) -> Response {
    blocking(move || json(StatusCode::OK, &queue::rows(server.spool()))).await
}

async fn message(State(server): Shared, UrlPath(id): UrlPath<String>) -> Response {
    blocking(move || answer(queue::message(server.spool(), &id), |message| json(StatusCode::OK, &message))).await
}

async fn content(State(server): Shared, UrlPath(id): UrlPath<String>) -> Response {
    let as_message = |octets| ([(header::CONTENT_TYPE, "message/rfc822")], octets).into_response();
    blocking(move || answer(queue::content(server.spool(), &id), as_message)).await
}

/// How long files that a backup copies are kept; it asks again long before. One that was killed holds up the
/// cleaning of the spool for no longer.
pub(crate) const PIN_TIME: Duration = Duration::from_secs(300);

// Names the files of this moment and keeps them for a while.
async fn pin(State(server): Shared) -> Response {
    let pinned = tokio::task::spawn_blocking(move || server.spool().pin()).await;
    match pinned.map_err(io::Error::other).flatten() {
        Ok(pin) => {
            let answer = json(StatusCode::OK, &pin.files());
            tokio::spawn(async move {
                tokio::time::sleep(PIN_TIME).await;
                drop(pin);
            });
            answer
        }
        Err(error) => complaint(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot list the spool: {error}")),
    }
}

// The spool reads files; the threads that serve clients must not wait for them.
async fn blocking(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    let failed = |error: tokio::task::JoinError| complaint(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}

fn answer<T>(result: Result<T, LookupError>, with: impl FnOnce(T) -> Response) -> Response {
    let status = match &result {
        Ok(_) | Err(LookupError::Storage { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
        Err(LookupError::NoId(_)) => StatusCode::BAD_REQUEST,
        Err(LookupError::Unknown(_)) => StatusCode::NOT_FOUND,
    };
    match result {
        Ok(value) => with(value),
        Err(error) => complaint(status, error.to_string()),
    }
}

async fn release(State(server): Shared, UrlPath(id): UrlPath<String>) -> Response {
    match queue::parse_id(&id) {
        Ok(id) => changed(server.release(id).await),
        Err(error) => complaint(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

async fn delete(State(server): Shared, UrlPath(id): UrlPath<String>) -> Response {
    match queue::parse_id(&id) {
        Ok(id) => changed(server.delete(id).await),
        Err(error) => complaint(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

fn changed(result: Result<(), ChangeError>) -> Response {
    let status = match &result {
        Ok(()) => return json(StatusCode::OK, &serde_json::json!({})),
        Err(ChangeError::Unknown(_)) => StatusCode::NOT_FOUND,
        Err(ChangeError::Busy(_)) => StatusCode::CONFLICT,
        Err(ChangeError::Storage { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    complaint(status, result.err().map(|error| error.to_string()).unwrap_or_default())
}

fn complaint(status: StatusCode, error: String) -> Response {
    json(status, &Complaint { error })
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;
