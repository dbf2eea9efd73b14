//! Requests over HTTP to the hosts that the binding grants (`http=HOST`). Feature `http`.
//!
//! A request goes through the server, which looks at the grant, resolves the name and keeps sinks away from
//! private networks that nobody granted. The wait counts against the time for waiting of the call, not the sink's
//! own. A body is read and sent in chunks, so that a message of any size fits a small memory.
//!
//! ```
//! use basin_sink::http::Request;
//! use basin_sink::prelude::*;
//!
//! fn scan(message: &Message) -> Result<bool> {
//!     let mut content = message.content();
//!     let size = content.size();
//!     let answer = Request::post("http://scanner.example:8080/scan", &mut content, size)
//!         .header("Queue-Id", &message.id())
//!         .send()?;
//!     Ok(answer.is_success() && answer.text().contains("clean"))
//! }
//! # let _ = scan;
//! ```

use crate::Error;
use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

#[cfg(not(target_family = "wasm"))]
use crate::raw::http as wire;
#[cfg(target_family = "wasm")]
mod wire;

/// Octets of an answer that are read where the sink names no other limit: what a scanner has to say is far shorter,
/// and a call's memory is not the remote server's to fill.
const ANSWER_OCTETS_MAX: u64 = 1024 * 1024;

/// Time for each of: the connection, the first octet of the answer, and each next one.
///
/// The call's own limit of waiting is what bounds the sum.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request in the making.
pub struct Request<'b> {
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Box<dyn Read + 'b>,
    pub(crate) patience: Duration,
    pub(crate) octets_max: u64,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// An address taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address<'u> {
    pub(crate) is_https: bool,
    pub(crate) authority: &'u str,
    pub(crate) path: &'u str,
}

impl<'b> Request<'b> {
    /// A request without a body.
    #[must_use]
    pub fn get(url: &str) -> Self {
        Self::new("GET", url, Box::new(io::empty()))
    }

    /// A request with a body of so many octets.
    #[must_use]
    pub fn post(url: &str, body: impl Read + 'b, octets: u64) -> Self {
        // A stated length and not chunks: some servers of one purpose take no other body (RFC 9112 §6.2).
        Self::new("POST", url, Box::new(body)).header("Content-Length", &octets.to_string())
    }

    fn new(method: &'static str, url: &str, body: Box<dyn Read + 'b>) -> Self {
        let (headers, url) = (Vec::new(), url.to_owned());
        Self { method, url, headers, body, patience: PATIENCE, octets_max: ANSWER_OCTETS_MAX }
    }

    /// Adds a field to the header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How long to wait for the connection, for the first octet of the answer and for each next one; 10 seconds
    /// where nothing is said.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The longest body of an answer that is of use, in octets; 1 MiB where nothing is said.
    #[must_use]
    pub fn answer_octets_max(mut self, octets: u64) -> Self {
        self.octets_max = octets;
        self
    }

    /// Sends it and waits for the whole answer.
    ///
    /// [`Error::Denied`] where the host is not granted, [`Error::Invalid`] for an address or a field that is none,
    /// [`Error::Limit`] for a longer answer than allowed, [`Error::Unavailable`] for whatever happened on the way.
    /// An answer such as 500 is an answer and no error.
    pub fn send(mut self) -> Result<Answer, Error> {
        let url = std::mem::take(&mut self.url);
        let address = Address::parse(&url)
            .ok_or_else(|| Error::Invalid(format!("{url:?} is no address such as http://host:port/path")))?;
        wire::exchange(&mut self, address)
    }
}

impl Answer {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first field of that name, upper and lower case alike.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let field = self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text; octets that are not UTF-8 come as U+FFFD.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl<'u> Address<'u> {
    /// Scheme, authority and path of an absolute address. What it cannot be is told by the server, which looks at
    /// the authority when it compares it with the grants.
    fn parse(url: &'u str) -> Option<Self> {
        let (is_https, rest) = match url.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let is_plain = !authority.is_empty() && !authority.contains(['@', '?', '#', ' ']);
        (is_plain && url.chars().all(|c| c.is_ascii_graphic())).then_some(Self { is_https, authority, path })
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let address = Address::parse("http://[::1]:11333/checkv2?a=b");
        assert_eq!(address, Some(Address { is_https: false, authority: "[::1]:11333", path: "/checkv2?a=b" }));
        let address = Address::parse("https://scanner.example");
        assert_eq!(address, Some(Address { is_https: true, authority: "scanner.example", path: "/" }));
    }

    #[test]
    fn what_is_no_address_is_none() {
        for bad in
            ["scanner.example", "ftp://a/", "http://", "http:///path", "http://a@b/", "http://a/b c", "http://a/\r\n"]
        {
            assert_eq!(Address::parse(bad), None, "{bad:?}");
        }
    }
}
