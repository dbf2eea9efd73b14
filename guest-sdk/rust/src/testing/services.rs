//! What a test says of the services of the server: time, state, DNS, message authentication, HTTP.

use super::Session;
use crate::Datetime;
use crate::raw::{AuthState, StateValue};
use std::time::Duration;

#[cfg(feature = "http")]
pub use crate::raw::http::SentRequest;

/// A result of message authentication that a test gives; made for [`Session::add_auth_result`].
#[derive(Debug, Clone)]
pub struct AuthResult {
    pub(super) state: AuthState,
}

impl AuthResult {
    /// A result of that method ("spf", "dkim", "dmarc", "arc") with that outcome, about that domain.
    #[must_use]
    pub fn new(method: &str, outcome: &str, domain: &str) -> Self {
        let (method, outcome, domain) = (method.to_owned(), outcome.to_owned(), domain.to_owned());
        Self { state: AuthState { method, outcome, domain, properties: Vec::new() } }
    }
    /// The same result with a property by its RFC 8601 name ("policy.dmarc").
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.state.properties.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Time and state.
impl Session {
    /// Lets that time pass: values of the sink's state whose life is over are gone.
    pub fn advance(&mut self, time: Duration) -> &mut Self {
        let now = self.now();
        self.set_now(now.plus(time))
    }
    /// The time of the events.
    #[must_use]
    pub fn now(&self) -> Datetime {
        self.world.now()
    }
    /// Sets a value of the sink's state, for ever.
    pub fn set_state(&mut self, key: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.world.set_state(key, StateValue { octets: value.as_ref().to_vec(), ends: None });
        self
    }
    /// A value of the sink's state whose life is not over.
    #[must_use]
    pub fn state(&self, key: &str) -> Option<&[u8]> {
        let now = self.now();
        self.world.state.get(key).filter(|value| value.is_alive(now)).map(|value| value.octets.as_slice())
    }
    /// The keys of the sink's state whose life is not over, sorted.
    #[must_use]
    pub fn state_keys(&self) -> Vec<&str> {
        let now = self.now();
        self.world.state.iter().filter(|(_, value)| value.is_alive(now)).map(|(key, _)| key.as_str()).collect()
    }
}

/// DNS. A name without a record does not exist.
impl Session {
    /// Gives a host these addresses.
    pub fn set_dns_addresses(&mut self, name: &str, addresses: &[&str]) -> &mut Self {
        self.world.zone.addresses.insert(name.to_ascii_lowercase(), owned(addresses));
        self
    }
    /// Gives a domain these exchangers.
    pub fn set_dns_mx(&mut self, domain: &str, exchangers: &[(u16, &str)]) -> &mut Self {
        let exchangers = exchangers.iter().map(|&(preference, host)| (preference, host.to_owned())).collect();
        self.world.zone.mx.insert(domain.to_ascii_lowercase(), exchangers);
        self
    }
    /// Gives a name these texts.
    pub fn set_dns_txt(&mut self, name: &str, texts: &[&str]) -> &mut Self {
        self.world.zone.txt.insert(name.to_ascii_lowercase(), owned(texts));
        self
    }
    /// Gives an address these names.
    pub fn set_dns_ptr(&mut self, address: &str, names: &[&str]) -> &mut Self {
        self.world.zone.ptr.insert(address.to_ascii_lowercase(), owned(names));
        self
    }
    /// Says that no server answers for that name.
    pub fn set_dns_failure(&mut self, name: &str) -> &mut Self {
        self.world.zone.failing.insert(name.to_ascii_lowercase());
        self
    }
    /// The names and addresses that sinks asked about, in order.
    #[must_use]
    pub fn dns_questions(&self) -> &[String] {
        &self.world.zone.asked
    }
}

/// Message authentication. A method without a result has the outcome "none".
impl Session {
    /// Adds a result.
    pub fn add_auth_result(&mut self, result: AuthResult) -> &mut Self {
        self.world.auth_results.push(result.state);
        self
    }
    /// Says that the server cannot find out: every method answers
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub fn set_auth_unavailable(&mut self) -> &mut Self {
        self.world.auth_unavailable = true;
        self
    }
}

/// HTTP. A server without an answer cannot be reached.
#[cfg(feature = "http")]
impl Session {
    /// Gives an address ("http://scanner.example:8080/scan") this answer.
    pub fn set_http_answer(&mut self, url: &str, status: u16, body: impl AsRef<[u8]>) -> &mut Self {
        let answer = crate::http::Answer { status, headers: Vec::new(), body: body.as_ref().to_vec() };
        self.world.answers.insert(url.to_owned(), answer);
        self
    }
    /// The requests that sinks sent, in order; those of calls that failed, too.
    #[must_use]
    pub fn http_requests(&self) -> &[SentRequest] {
        &self.world.requests
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
