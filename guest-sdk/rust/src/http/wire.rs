//! The way of a request through `wasi:http`.

use super::{Address, Answer, Request};
use crate::Error;
use std::io::Read;
use std::time::Duration;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::{OutputStream, StreamError};

/// Octets that go over the boundary in one call.
const CHUNK_OCTETS: usize = 64 * 1024;

/// Sends the request and reads the answer.
pub(super) fn exchange(request: &mut Request<'_>, address: Address<'_>) -> Result<Answer, Error> {
    let outgoing = outgoing(request, address)?;
    let body = outgoing.body().map_err(|()| Error::Other("a request has one body".to_owned()))?;
    let options = Some(options(request.patience));
    let answer = outgoing_handler::handle(outgoing, options).map_err(|code| refused(&code, address))?;
    send(body, &mut request.body)?;
    let answer = wait(&answer, address)?;
    read(answer, request.octets_max)
}

fn outgoing(request: &Request<'_>, address: Address<'_>) -> Result<OutgoingRequest, Error> {
    let fields: Vec<(String, Vec<u8>)> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let fields = Fields::from_list(&fields).map_err(|error| Error::Invalid(format!("header of a request: {error}")))?;
    let outgoing = OutgoingRequest::new(fields);
    let method = if request.method == "GET" { Method::Get } else { Method::Post };
    let scheme = if address.is_https { Scheme::Https } else { Scheme::Http };
    outgoing
        .set_method(&method)
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(address.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(address.path)))
        .map_err(|()| Error::Invalid(format!("{}{} is no address of a server", address.authority, address.path)))?;
    Ok(outgoing)
}

fn options(patience: Duration) -> RequestOptions {
    let nanoseconds = Some(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
    let options = RequestOptions::new();
    // A host that knows no such limit says so, and the limit of the whole call is left.
    let _known: [Result<(), ()>; 3] = [
        options.set_connect_timeout(nanoseconds),
        options.set_first_byte_timeout(nanoseconds),
        options.set_between_bytes_timeout(nanoseconds),
    ];
    options
}

/// Sends the body. A server that has heard enough answers and closes; its answer is worth more than the rest.
fn send(body: OutgoingBody, content: &mut dyn Read) -> Result<(), Error> {
    let stream = body.write().map_err(|()| Error::Other("a body is written once".to_owned()))?;
    let mut chunk = vec![0; CHUNK_OCTETS];
    loop {
        let count = content.read(&mut chunk).map_err(|error| Error::Unavailable(error.to_string()))?;
        if count == 0 {
            break;
        }
        if !write(&stream, chunk.get(..count).unwrap_or_default()) {
            return Ok(());
        }
    }
    // Whatever is left in the stream goes out with the end of the body; a failure shows in the answer.
    drop(stream);
    match OutgoingBody::finish(body, None) {
        Ok(()) => Ok(()),
        Err(code) => Err(Error::Unavailable(code.to_string())),
    }
}

/// Whether the other end took it all.
fn write(stream: &OutputStream, mut octets: &[u8]) -> bool {
    while !octets.is_empty() {
        let room = match stream.check_write() {
            Ok(room) => usize::try_from(room).unwrap_or(usize::MAX),
            Err(_) => return false,
        };
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, rest) = octets.split_at(room.min(octets.len()));
        if stream.write(now).is_err() {
            return false;
        }
        octets = rest;
    }
    stream.blocking_flush().is_ok()
}

fn wait(answer: &FutureIncomingResponse, address: Address<'_>) -> Result<IncomingResponse, Error> {
    loop {
        match answer.get() {
            Some(Ok(Ok(answer))) => return Ok(answer),
            Some(Ok(Err(code))) => return Err(refused(&code, address)),
            Some(Err(())) => return Err(Error::Other("an answer is taken once".to_owned())),
            None => answer.subscribe().block(),
        }
    }
}

fn read(answer: IncomingResponse, octets_max: u64) -> Result<Answer, Error> {
    let status = answer.status();
    let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
    let headers = answer.headers().entries().into_iter().map(|(name, value)| (name, text(value))).collect();
    let content = answer.consume().map_err(|()| Error::Other("a body is read once".to_owned()))?;
    let body = read_body(&content, octets_max)?;
    drop(content);
    Ok(Answer { status, headers, body })
}

fn read_body(content: &IncomingBody, octets_max: u64) -> Result<Vec<u8>, Error> {
    let stream = content.stream().map_err(|()| Error::Other("a body is read once".to_owned()))?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_OCTETS as u64) {
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(body),
            Err(StreamError::LastOperationFailed(error)) => return Err(Error::Unavailable(error.to_debug_string())),
        }
        if body.len() as u64 > octets_max {
            return Err(Error::Limit(format!("an answer of {octets_max} octets")));
        }
    }
}

/// Why there is no answer.
fn refused(code: &ErrorCode, address: Address<'_>) -> Error {
    match code {
        ErrorCode::HttpRequestDenied => Error::Denied(format!("http={}", address.authority)),
        code => Error::Unavailable(format!("{}: {code}", address.authority)),
    }
}
