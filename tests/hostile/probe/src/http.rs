//! Requests over HTTP, straight through `wasi:http`, so that nothing in between mends what a script gets wrong.

use crate::{number, show, text};
use std::cell::Cell;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};
use wasip2::io::streams::StreamError;

/// Octets that are read at once.
const CHUNK_OCTETS: u64 = 64 * 1024;

thread_local! {
    /// Milliseconds to wait for the connection, the first octet and each next one.
    static PATIENCE: Cell<Option<u64>> = const { Cell::new(None) };
    /// An answer that outlives its call, where the instance does.
    static KEPT: Cell<Option<FutureIncomingResponse>> = const { Cell::new(None) };
}

/// Plays one line of the script, if it is one of these.
pub(crate) fn play(name: &str, arguments: &[&str]) -> Option<String> {
    match name {
        // http|METHOD|URL|Name: value~Name: value|body
        "http" => Some(told(exchange(arguments).and_then(read))),
        "http-many" => {
            let (count, rest) = arguments.split_first().expect("a count");
            let count: usize = count.parse().expect("a number");
            show((0..count).filter(|_| exchange(rest).and_then(read).is_ok()).count())
        }
        "http-fill" => Some(told(fill(arguments[0], number(arguments, 1)).and_then(read))),
        "http-status" => Some(match exchange(arguments) {
            Ok(answer) => format!("ok {}", answer.status()),
            Err(why) => why,
        }),
        "http-patience" => show(PATIENCE.set(Some(number(arguments, 0)))),
        "http-leave" => Some(match start(arguments).and_then(|request| send(request, b"")) {
            Ok(answer) => {
                KEPT.set(Some(answer));
                "left".to_owned()
            }
            Err(why) => why,
        }),
        "http-field" => Some(
            match Fields::new()
                .set(&arguments[0].replace('~', "\r\n"), &[arguments[1].replace('~', "\r\n").into_bytes()])
            {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("{error:?}"),
            },
        ),
        "http-requests" => {
            let made = (0..number(arguments, 0)).map(|_| OutgoingRequest::new(Fields::new())).collect::<Vec<_>>();
            show(made.len())
        }
        _ => None,
    }
}

fn told(answer: Result<String, String>) -> String {
    answer.unwrap_or_else(|why| why)
}

fn code(code: ErrorCode) -> String {
    format!("failed {code:?}")
}

fn start(arguments: &[&str]) -> Result<OutgoingRequest, String> {
    let lines = arguments.get(2).copied().unwrap_or_default().split('~').filter_map(|line| line.split_once(": "));
    let fields: Vec<_> = lines.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
    let request = OutgoingRequest::new(Fields::from_list(&fields).map_err(|error| format!("fields {error:?}"))?);
    let (scheme, rest) = arguments[1].split_once("://").expect("a scheme");
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let method = match arguments[0] {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    };
    let bad = |what: &str| format!("bad {what}");
    request.set_method(&method).map_err(|()| bad("method"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| bad("scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| bad("authority"))?;
    request.set_path_with_query(Some(path)).map_err(|()| bad("path"))?;
    Ok(request)
}

fn options() -> Option<RequestOptions> {
    let nanoseconds = PATIENCE.get().map(|milliseconds| milliseconds * 1_000_000);
    let options = RequestOptions::new();
    options.set_first_byte_timeout(nanoseconds).ok()?;
    options.set_between_bytes_timeout(nanoseconds).ok()?;
    Some(options)
}

fn send(request: OutgoingRequest, content: &[u8]) -> Result<FutureIncomingResponse, String> {
    let body = request.body().map_err(|()| "no body".to_owned())?;
    let answer = outgoing_handler::handle(request, options()).map_err(code)?;
    let stream = body.write().map_err(|()| "no stream".to_owned())?;
    for chunk in content.chunks(4_096) {
        // Whoever closes early has answered early.
        if stream.blocking_write_and_flush(chunk).is_err() {
            return Ok(answer);
        }
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(code)?;
    Ok(answer)
}

fn fill(url: &str, octets: usize) -> Result<IncomingResponse, String> {
    wait(send(start(&["POST", url])?, &vec![b'x'; octets])?)
}

fn exchange(arguments: &[&str]) -> Result<IncomingResponse, String> {
    wait(send(start(arguments)?, arguments.get(3).copied().unwrap_or_default().as_bytes())?)
}

fn wait(answer: FutureIncomingResponse) -> Result<IncomingResponse, String> {
    loop {
        match answer.get() {
            Some(answer) => return answer.map_err(|()| "taken".to_owned())?.map_err(code),
            None => answer.subscribe().block(),
        }
    }
}

/// Status, a field that tests look at, and the body or its length.
fn read(answer: IncomingResponse) -> Result<String, String> {
    let status = answer.status();
    let location = answer.headers().get("location").first().cloned().map(text).unwrap_or_default();
    let content = answer.consume().map_err(|()| "consumed".to_owned())?;
    let stream = content.stream().map_err(|()| "streamed".to_owned())?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_OCTETS) {
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(format!("{status} broken after {} octets: {}", body.len(), error.to_debug_string()));
            }
        }
    }
    Ok(format!("ok {status} {location}[{}]", text(body)))
}
