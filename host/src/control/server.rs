//! The server's end of the control socket.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::net::UnixListener;

use crate::audit::TARGET;
use crate::control::ServerState;
use crate::control::client::OPERATOR_HEADER;
use crate::control::queue::act::ActRequest;
use crate::control::queue::ask::{self, ListRequest, SummaryRequest};
use crate::control::queue::destinations::{self, HoldRequest};
use crate::control::queue::packet::{Imported, Packet};
use crate::control::queue::{self, LookupError};
use crate::control::report::{Complaint, RegistryState, RunRequest};
use crate::control::sink_state::{self, StateRequest};

/// Callers that wait to be accepted; each is a person or a script.
const BACKLOG: i32 = 64;

/// Largest question, in octets: a filter with thousands of ids fits.
const QUESTION_BYTES_MAX: usize = 1024 * 1024;

/// Largest message that is imported, with its description, in octets. The same user could fill the memory of
/// this process in other ways; the limit is against mistakes.
const IMPORT_BYTES_MAX: usize = 512 * 1024 * 1024;

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
        .route("/v1/registry/look", post(look))
        .route("/v1/sink/state", post(sink_state))
        .route("/v1/sink/run", post(run_timer))
        .route("/v1/queue/list", post(list))
        .route("/v1/queue/summary", post(summary))
        .route("/v1/queue/act", post(act))
        .route("/v1/queue/hold-destination", post(hold_destination))
        .route("/v1/queue/import", post(import))
        .route("/v1/queue/changes/{since}", get(changes))
        .route("/v1/queue/{id}", get(message))
        .route("/v1/queue/{id}/content", get(content))
        .route("/v1/queue/{id}/export", get(export))
        .route("/v1/spool/pin", post(pin))
        .with_state(server)
}

type Shared = State<Arc<dyn ServerState>>;

async fn registry(State(server): Shared) -> Response {
    json(StatusCode::OK, &RegistryState::of(server.as_ref()))
}

// Looks at the registry on disk now, and answers with what is in force then.
async fn look(server: Shared) -> Response {
    if server.look_at_registry().await {
        return registry(server).await;
    }
    complaint(StatusCode::SERVICE_UNAVAILABLE, "the registry is no longer watched; restart the server".to_owned())
}

async fn sink_state(State(server): Shared, headers: HeaderMap, body: Body) -> Response {
    let request = match question::<StateRequest>(body).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    match sink_state::carry_out(server.tables(), request, &operator(&headers)).await {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(error) => complaint(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

async fn run_timer(State(server): Shared, headers: HeaderMap, body: Body) -> Response {
    match question::<RunRequest>(body).await {
        Ok(request) => {
            let (binding, by) = (request.binding.as_str(), operator(&headers));
            tracing::info!(target: TARGET, binding, by, "a timer was run by an operator");
            asked(server.run_timer(binding).await)
        }
        Err(response) => response,
    }
}

async fn list(State(server): Shared, body: Body) -> Response {
    match question::<ListRequest>(body).await {
        Ok(request) => blocking(move || asked(ask::list(server.as_ref(), &request))).await,
        Err(response) => response,
    }
}

async fn summary(State(server): Shared, body: Body) -> Response {
    match question::<SummaryRequest>(body).await {
        Ok(request) => blocking(move || asked(ask::summary(server.as_ref(), &request))).await,
        Err(response) => response,
    }
}

async fn changes(State(server): Shared, UrlPath(since): UrlPath<u64>) -> Response {
    json(StatusCode::OK, &ask::changes(server.as_ref(), since))
}

async fn act(State(server): Shared, headers: HeaderMap, body: Body) -> Response {
    match question::<ActRequest>(body).await {
        Ok(request) => asked(queue::act::act(server, request, &operator(&headers)).await),
        Err(response) => response,
    }
}

async fn hold_destination(State(server): Shared, headers: HeaderMap, body: Body) -> Response {
    match question::<HoldRequest>(body).await {
        Ok(request) => {
            let by = operator(&headers);
            blocking(move || asked(destinations::hold(server.as_ref(), &request, &by))).await
        }
        Err(response) => response,
    }
}

async fn import(State(server): Shared, headers: HeaderMap, body: Body) -> Response {
    let body = match axum::body::to_bytes(body, IMPORT_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return complaint(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let parsed = Packet::split(&body).and_then(|(packet, content)| packet.import(&content));
    let (message, state) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return complaint(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match server.import(message, state, &operator(&headers)).await {
        Ok(is_new) => json(StatusCode::OK, &Imported { is_new }),
        Err(fault) => complaint(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()),
    }
}

// Whoever can open the socket is the server's user or root, so that a name is taken as it is given.
fn operator(headers: &HeaderMap) -> String {
    let named = headers.get(OPERATOR_HEADER).and_then(|name| name.to_str().ok()).filter(|name| !name.is_empty());
    named.unwrap_or("somebody").to_owned()
}

async fn export(State(server): Shared, headers: HeaderMap, UrlPath(id): UrlPath<String>) -> Response {
    queue::read_by(&operator(&headers), &id);
    let as_octets = |octets| ([(header::CONTENT_TYPE, "application/octet-stream")], octets).into_response();
    let exported = move || match Packet::export(server.spool(), &id).map(|(packet, content)| packet.join(&content)) {
        Ok(Ok(octets)) => as_octets(octets),
        Ok(Err(error)) => complaint(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        Err(error) => answer::<()>(Err(error), |()| StatusCode::OK.into_response()),
    };
    blocking(exported).await
}

async fn question<T: DeserializeOwned>(body: Body) -> Result<T, Response> {
    let bad = |error: String| complaint(StatusCode::BAD_REQUEST, error);
    let body = axum::body::to_bytes(body, QUESTION_BYTES_MAX).await.map_err(|error| bad(error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| bad(format!("the question is not understood: {error}")))
}

fn asked<T: Serialize, E: core::fmt::Display>(result: Result<T, E>) -> Response {
    match result {
        Ok(value) => json(StatusCode::OK, &value),
        Err(error) => complaint(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

async fn message(State(server): Shared, UrlPath(id): UrlPath<String>) -> Response {
    blocking(move || answer(queue::message(server.as_ref(), &id), |message| json(StatusCode::OK, &message))).await
}

async fn content(State(server): Shared, headers: HeaderMap, UrlPath(id): UrlPath<String>) -> Response {
    queue::read_by(&operator(&headers), &id);
    let as_message = |octets| ([(header::CONTENT_TYPE, "message/rfc822")], octets).into_response();
    blocking(move || answer(queue::content(server.spool(), &id), as_message)).await
}

/// How long files that a backup copies are kept; it asks again long before. One that was killed holds up the
/// cleaning of the spool for no longer.
pub(crate) const PIN_TIME: Duration = Duration::from_secs(300);

// Names the files of this moment and keeps them for a while.
async fn pin(State(server): Shared, headers: HeaderMap) -> Response {
    tracing::info!(target: TARGET, by = operator(&headers), "the spool is copied by an operator");
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
