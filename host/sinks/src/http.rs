//! HTTP for sinks: `wasi:http`, to the addresses that are granted and to no other.
//!
//! The host opens the connection, with TLS where the address says so, and follows no redirect: where one leads is
//! for the sink to ask again, and for its grants to allow. Names are resolved by the server, and what they resolve to
//! is checked, so that no name leads into the server's own network.

use core::future::Future;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use basin_core::event::{HttpAddress, HttpTarget, SinkEntry};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tracing::warn;
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};

use crate::{ServiceError, SinkHost};

/// Requests of one call. A scanner takes one, a redirect or a second look another.
const REQUESTS_MAX: usize = 10;

/// Octets of one request's body; the largest message, and what is told beside it.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Octets of one answer's body.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Octets of an answer's header.
const ANSWER_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Fields of an answer's header.
const ANSWER_FIELDS_MAX: usize = 128;

/// Memory of one list of header fields that a sink makes.
const FIELDS_BYTES_MAX: usize = 64 * 1024;

/// A connection to a server, encrypted or not.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, as the host hands it over.
pub type HttpStream = Box<dyn Duplex>;

/// What WASI keeps of HTTP for one call.
pub(crate) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks {
    sink: Arc<SinkEntry>,
    host: Arc<dyn SinkHost>,
    patience: Duration,
    requests: usize,
}

impl Http {
    /// `patience` bounds each request until its answer begins.
    pub(crate) fn new(sink: Arc<SinkEntry>, host: Arc<dyn SinkHost>, patience: Duration) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS_BYTES_MAX);
        Self { context, hooks: Hooks { sink, host, patience, requests: 0 } }
    }

    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { hooks: &mut self.hooks, table, ctx: &mut self.context }
    }
}

/// An answer, and what moves its octets until it is read.
type Answer = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        self.requests += 1;
        if self.requests > REQUESTS_MAX {
            return Box::new(async { Err(Error::ConnectionLimitReached) });
        }
        let granted = match self.granted(request.uri()) {
            Ok(granted) => granted,
            Err(error) => return Box::new(async { Err(error) }),
        };
        let (host, patience) = (self.host.clone(), self.patience);
        Box::new(async move {
            let asking = ask(host, granted, request);
            tokio::time::timeout(patience, asking).await.unwrap_or(Err(Error::HttpResponseTimeout))
        })
    }
}

/// A request that a grant allows.
struct Granted {
    is_https: bool,
    host: String,
    port: u16,
    may_be_inner: bool,
}

impl Hooks {
    fn granted(&self, uri: &Uri) -> Result<Granted, Error> {
        let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let is_https = uri.scheme_str() == Some("https");
        let target = HttpTarget { is_https, host, port: uri.port_u16(), path };
        let mut allowing = self.sink.grants.http().filter(|address| address.allows(&target)).peekable();
        if allowing.peek().is_none() {
            let (sink, port) = (&self.sink.name, target.connected_port());
            let why = format!("it wanted HTTP with {host} port {port} without a grant (--grant http=HOST gives it)");
            warn!(target: "basin::audit", sink, why, "denied");
            return Err(Error::HttpRequestDenied);
        }
        Ok(Granted {
            is_https,
            host: host.to_owned(),
            port: target.connected_port(),
            may_be_inner: allowing.any(HttpAddress::is_literal),
        })
    }
}

async fn ask(host: Arc<dyn SinkHost>, granted: Granted, request: Request<WasiBody>) -> Result<Answer, Error> {
    let Granted { is_https, host: name, port, may_be_inner } = granted;
    let stream = host.connect(&name, port, is_https, may_be_inner).await.map_err(unreached)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(ANSWER_HEADER_BYTES_MAX).max_headers(ANSWER_FIELDS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // The connection ends with the answer's reader, and with the call.
    let mut moving = JoinSet::new();
    moving.spawn(connection);
    let (mut parts, body) = request.into_parts();
    // Scheme and authority belong into a request to a proxy alone (RFC 9112 §3.2.1).
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = Uri::try_from(path).map_err(|_| Error::HttpRequestUriInvalid)?;
    let answer = sender.send_request(Request::from_parts(parts, Limited::new(body, REQUEST_BYTES_MAX))).await?;
    let moved = async move {
        // Whoever reads the answer is told of a broken connection there.
        drop(moving.join_next().await);
        Ok(())
    };
    Ok((answer.map(limited), Box::new(moved)))
}

fn limited(body: Incoming) -> WasiBody {
    let failed = |error: Box<dyn core::error::Error + Send + Sync>| match error.downcast::<hyper::Error>() {
        Ok(error) => Error::Hyper(*error),
        Err(error) if error.is::<LengthLimitError>() => Error::HttpResponseBodySize(Some(ANSWER_BYTES_MAX as u64)),
        Err(error) => Error::InternalError(Some(error.to_string())),
    };
    Limited::new(body, ANSWER_BYTES_MAX).map_err(failed).boxed_unsync()
}

fn unreached(error: ServiceError) -> Error {
    match error {
        ServiceError::NotFound => Error::DestinationNotFound,
        ServiceError::Invalid(_) => Error::DestinationIpProhibited,
        ServiceError::Limit(_) => Error::ConnectionLimitReached,
        ServiceError::Unavailable(why) => Error::Connect(io::Error::other(why)),
    }
}
