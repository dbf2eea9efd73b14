//! HTTP for sinks: `wasi:http`, to the addresses that are granted and to no other.
//!
//! The host opens the connection, with TLS where the address says so, and follows no redirect: where one leads is
//! for the sink to ask again, and for its grants to allow. Names are resolved by the server, and what they resolve to
//! is checked, so that no name leads into the server's own network. What a sink writes into a request cannot end
//! its header or its body early: fields of the connection are the host's, and `Host` is what was granted.

use core::error::Error as _;
use core::future::Future;
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use basin_core::event::{HttpAddress, HttpTarget, SinkEntry};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};

use crate::timely::Timely;
use crate::{ServiceError, SinkHost};

/// Requests of one call. A scanner takes one, a redirect or a second look another.
const REQUESTS_MAX: u32 = 10;

/// Octets of one request's body; the largest message, and what is told beside it.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Octets that a request's stream takes at once; bounds what waits in the host.
const REQUEST_CHUNK_BYTES: usize = 64 * 1024;

/// Octets of one answer's body.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Octets of an answer's header. It is looked at between two reads, so what is refused may be up to twice as long.
const ANSWER_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Fields of an answer's header.
const ANSWER_FIELDS_MAX: usize = 128;

/// Memory of one list of header fields that a sink makes.
const FIELDS_BYTES_MAX: usize = 64 * 1024;

/// How much longer a connection lasts than the time for its answer, so that the reader hears that the time is over.
const GRACE: Duration = Duration::from_millis(500);

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
    /// What is left of the time for waiting.
    patience: Duration,
    requests: u32,
    /// Requests that nobody has paid for yet.
    unpaid: u32,
    denials: Denials,
}

/// Why requests were denied, until the call counts them; some are found out while it waits.
#[derive(Clone, Default)]
struct Denials(Arc<Mutex<Vec<String>>>);

impl Denials {
    fn add(&self, why: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(why);
    }

    fn take(&self) -> Vec<String> {
        core::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Http {
    pub(crate) fn new(sink: Arc<SinkEntry>, host: Arc<dyn SinkHost>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS_BYTES_MAX);
        let patience = Duration::ZERO;
        Self { context, hooks: Hooks { sink, host, patience, requests: 0, unpaid: 0, denials: Denials::default() } }
    }

    /// `patience` is what the call may still wait: a request, its answer's last octet included, has no more.
    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable, patience: Duration) -> WasiHttpCtxView<'a> {
        self.hooks.patience = patience;
        WasiHttpCtxView { hooks: &mut self.hooks, table, ctx: &mut self.context }
    }

    /// Why requests were denied since it was last asked.
    pub(crate) fn denials(&self) -> Vec<String> {
        self.hooks.denials.take()
    }

    /// Requests since it was last asked.
    pub(crate) fn unpaid(&mut self) -> u32 {
        core::mem::take(&mut self.hooks.unpaid)
    }
}

/// An answer, and what moves its octets until it is read.
type Answer = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        self.requests = self.requests.saturating_add(1);
        self.unpaid = self.unpaid.saturating_add(1);
        if self.requests > REQUESTS_MAX {
            return Box::new(async { Err(Error::ConnectionLimitReached) });
        }
        if self.patience.is_zero() {
            return Box::new(async { Err(Error::HttpResponseTimeout) });
        }
        let granted = match self.granted(&request) {
            Ok(granted) => granted,
            Err(error) => return Box::new(async { Err(error) }),
        };
        let errand = Errand {
            granted,
            until: Instant::now() + self.patience,
            options: options.unwrap_or_default(),
            denials: self.denials.clone(),
        };
        Box::new(ask(self.host.clone(), errand, request))
    }

    // What was sent meanwhile waits in the host, a piece for each request.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        REQUEST_CHUNK_BYTES
    }

    // The sink is told; the server's log is not for other servers to write.
    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        ErrorCode::InternalError(Some(error.to_string()))
    }
}

/// A request that a grant allows.
struct Granted {
    is_https: bool,
    host: String,
    port: u16,
    may_be_inner: bool,
}

impl Granted {
    /// The field of a request that names the server (RFC 9110 §7.2).
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_https { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

/// A request on its way.
struct Errand {
    granted: Granted,
    /// When all of it has to be over.
    until: Instant,
    /// Shorter times that the sink asks for.
    options: RequestOptions,
    denials: Denials,
}

impl Hooks {
    fn granted<T>(&self, request: &Request<T>) -> Result<Granted, Error> {
        let uri = request.uri();
        // A tunnel would be a way past the grant (RFC 9110 §9.3.6).
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        // Names and passwords have no place there (RFC 9110 §4.2.4), and readers differ in which part is the host.
        let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
        let host = uri.host().filter(|_| !has_user).ok_or(Error::HttpRequestUriInvalid)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let is_https = uri.scheme_str() == Some("https");
        let target = HttpTarget { is_https, host, port: uri.port_u16(), path };
        let port = target.connected_port();
        let mut allowing = self.sink.grants.http().filter(|address| address.allows(&target)).peekable();
        if allowing.peek().is_none() {
            self.denials.add(format!(
                "it wanted HTTP with {host} port {port} without the grant (--grant http={host}:{port} gives it)"
            ));
            return Err(Error::HttpRequestDenied);
        }
        let may_be_inner = allowing.any(HttpAddress::is_literal);
        Ok(Granted { is_https, host: host.to_ascii_lowercase(), port, may_be_inner })
    }
}

async fn ask(host: Arc<dyn SinkHost>, errand: Errand, request: Request<WasiBody>) -> Result<Answer, Error> {
    let Errand { granted, until, options, denials } = errand;
    let connecting = host.connect(&granted.host, granted.port, granted.is_https, granted.may_be_inner);
    let stream = within(until, options.connect_timeout, connecting)
        .await
        .ok_or(Error::ConnectionTimeout)?
        .map_err(|error| unreached(error, &granted, &denials))?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(ANSWER_HEADER_BYTES_MAX).max_headers(ANSWER_FIELDS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // The connection ends with the answer's reader, and with the call.
    let mut moving = JoinSet::new();
    moving.spawn(connection);
    let asking = sender.send_request(addressed(request, &granted)?);
    let answer = within(until, options.first_byte_timeout, asking).await.ok_or(Error::HttpResponseTimeout)?;
    let answer = answer.map_err(unsent)?;
    let moved = async move {
        // Whoever reads the answer is told of a broken connection there; an instance that is kept must not keep one.
        drop(timeout_at(until + GRACE, moving.join_next()).await);
        Ok(())
    };
    let between = options.between_bytes_timeout;
    Ok((answer.map(|body| limited(body, until, between)), Box::new(moved)))
}

/// What is there in time.
async fn within<T>(until: Instant, patience: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match patience {
        Some(patience) => timeout(patience, timeout_at(until, work)).await.ok()?.ok(),
        None => timeout_at(until, work).await.ok(),
    }
}

/// The request as it goes over the wire.
fn addressed(request: Request<WasiBody>, granted: &Granted) -> Result<Request<Limited<WasiBody>>, Error> {
    let (mut parts, body) = request.into_parts();
    // Scheme and authority belong into a request to a proxy alone (RFC 9112 §3.2.1).
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = Uri::try_from(path).map_err(|_| Error::HttpRequestUriInvalid)?;
    let authority = HeaderValue::try_from(granted.authority()).map_err(|_| Error::HttpRequestUriInvalid)?;
    parts.headers.insert(HOST, authority);
    Ok(Request::from_parts(parts, Limited::new(body, REQUEST_BYTES_MAX)))
}

fn limited(body: Incoming, until: Instant, between: Option<Duration>) -> WasiBody {
    let failed = |error: Box<dyn core::error::Error + Send + Sync>| match error.downcast::<hyper::Error>() {
        Ok(error) => Error::Hyper(*error),
        Err(error) if error.is::<LengthLimitError>() => Error::HttpResponseBodySize(Some(ANSWER_BYTES_MAX as u64)),
        Err(error) => Error::InternalError(Some(error.to_string())),
    };
    Timely::new(Limited::new(body, ANSWER_BYTES_MAX).map_err(failed), until, between).boxed_unsync()
}

fn unsent(error: hyper::Error) -> Error {
    let is_too_long = error.source().is_some_and(|source| source.is::<LengthLimitError>());
    if is_too_long { Error::HttpRequestBodySize(Some(REQUEST_BYTES_MAX as u64)) } else { Error::Hyper(error) }
}

fn unreached(error: ServiceError, granted: &Granted, denials: &Denials) -> Error {
    match error {
        ServiceError::NotFound => Error::DestinationNotFound,
        ServiceError::Invalid(why) => {
            denials.add(format!("it wanted HTTP with {}: {why}", granted.host));
            Error::DestinationIpProhibited
        }
        ServiceError::Limit(_) => Error::ConnectionLimitReached,
        // Of the codes that there are, this one has room for the reason.
        ServiceError::Unavailable(why) => Error::InternalError(Some(why)),
    }
}
