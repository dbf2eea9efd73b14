//! Servers that a sink asks over HTTP: each address has the answer that the test gave it.

use super::world::world;
use crate::Error;
use crate::http::{Address, Answer, Request};
use std::io::Read as _;

/// A request that a sink has sent, in a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentRequest {
    /// "GET" or "POST".
    pub method: String,
    /// Where it went.
    pub url: String,
    /// Fields of its header, in order.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl SentRequest {
    /// Every field of that name, upper and lower case alike.
    #[must_use]
    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        let fields = self.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }
}

/// Notes the request and gives the answer of that address; without one the server cannot be reached.
pub(crate) fn exchange(request: &mut Request<'_>, address: Address<'_>) -> Result<Answer, Error> {
    let mut body = Vec::new();
    request.body.read_to_end(&mut body).map_err(|error| Error::Unavailable(error.to_string()))?;
    if request
        .headers
        .iter()
        .any(|(name, value)| name.is_empty() || format!("{name}{value}").contains(['\r', '\n', '\0']))
    {
        return Err(Error::Invalid("header of a request".to_owned()));
    }
    let scheme = if address.is_https { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", address.authority, address.path);
    let (method, headers) = (request.method.to_owned(), request.headers.clone());
    world(|world| {
        world.requests.push(SentRequest { method, url: url.clone(), headers, body });
        match world.answers.get(&url) {
            Some(answer) if answer.body.len() as u64 > request.octets_max => {
                Err(Error::Limit(format!("an answer of {} octets", request.octets_max)))
            }
            Some(answer) => Ok(answer.clone()),
            None => Err(Error::Unavailable(format!("{}: connection refused", address.authority))),
        }
    })
}
