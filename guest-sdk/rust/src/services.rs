//! What the server does for a sink besides the message: metrics, facts, state, DNS, message authentication.

/// Counters and distributions under the sink's name, on the server's metrics page.
pub mod metrics {
    /// Adds one to a counter.
    pub fn count(name: &str) {
        add(name, 1);
    }
    /// Adds to a counter.
    pub fn add(name: &str, by: u64) {
        crate::raw::metrics::add(name, by);
    }
    /// Enters a value into a distribution.
    pub fn observe(name: &str, value: f64) {
        crate::raw::metrics::observe(name, value);
    }
}

/// Facts about the server.
pub mod server {
    /// The name by which the server greets.
    pub fn host_name() -> String {
        crate::raw::server::host_name()
    }
    /// The version of the server.
    pub fn version() -> String {
        crate::raw::server::version()
    }
    /// Whether this server is the final destination of that domain.
    pub fn is_local_domain(domain: &str) -> bool {
        crate::raw::server::is_local_domain(domain)
    }
    /// Whether this server knows that address.
    pub fn is_local_address(address: &str) -> bool {
        crate::raw::server::is_local_address(address)
    }
}

/// A table of the sink's own that outlives calls, upgrades and restarts. Grant `state`.
///
/// [`set`](state::set), [`swap`](state::swap) and [`delete`](state::delete) take effect with the edits of the
/// call; [`increment`](state::increment) at once. A value has at most 64 KiB, the table 16 MiB.
pub mod state {
    use crate::Error;
    use std::time::Duration;

    /// Seconds as the contract counts them; no life is for ever.
    fn seconds(life: Option<Duration>) -> u32 {
        // A life below a second must not turn into "for ever", which is what zero says.
        life.map_or(0, |life| u32::try_from(life.as_secs()).unwrap_or(u32::MAX).max(1))
    }

    /// The value under a key.
    pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(crate::raw::state::get(key)?)
    }
    /// Sets a value, for so long or for ever.
    pub fn set(key: &str, value: impl AsRef<[u8]>, life: Option<Duration>) -> Result<(), Error> {
        Ok(crate::raw::state::set(key, value.as_ref(), seconds(life))?)
    }
    /// Sets a value where the present one is the expected one; false otherwise.
    pub fn swap(
        key: &str,
        expected: Option<&[u8]>,
        value: impl AsRef<[u8]>,
        life: Option<Duration>,
    ) -> Result<bool, Error> {
        Ok(crate::raw::state::swap(key, expected, value.as_ref(), seconds(life))?)
    }
    /// Removes a key.
    pub fn delete(key: &str) -> Result<(), Error> {
        Ok(crate::raw::state::delete(key)?)
    }
    /// Adds to a number (0 where there is none) and returns the sum, in one step.
    pub fn increment(key: &str, by: i64, life: Option<Duration>) -> Result<i64, Error> {
        Ok(crate::raw::state::increment(key, by, seconds(life))?)
    }
    /// At most 1000 keys with that prefix, after that key.
    pub fn keys(prefix: &str, after: Option<&str>) -> Result<Vec<String>, Error> {
        Ok(crate::raw::state::keys(prefix, after)?)
    }
}

/// Answers of the server's resolver and its cache. Grant `dns`.
pub mod dns {
    use crate::Error;

    /// IPv4 and IPv6 addresses of a host.
    pub fn addresses(name: &str) -> Result<Vec<String>, Error> {
        Ok(crate::raw::dns::addresses(name)?)
    }
    /// Preference and host of each MX record.
    pub fn mx(domain: &str) -> Result<Vec<(u16, String)>, Error> {
        Ok(crate::raw::dns::mx(domain)?)
    }
    /// TXT records, the strings of each joined.
    pub fn txt(name: &str) -> Result<Vec<String>, Error> {
        Ok(crate::raw::dns::txt(name)?)
    }
    /// Names of an address.
    pub fn ptr(address: &str) -> Result<Vec<String>, Error> {
        Ok(crate::raw::dns::ptr(address)?)
    }
}

/// SPF, DKIM, DMARC and ARC, which the server verifies once for each message. Grant `message-auth`.
pub mod message_auth {
    use crate::raw::message_auth as raw;
    use crate::{Error, Message};

    /// One result of a method.
    #[derive(Debug)]
    pub struct AuthResult {
        raw: raw::AuthResult,
    }

    impl AuthResult {
        /// "spf", "dkim", "dmarc" or "arc".
        pub fn method(&self) -> String {
            self.raw.method()
        }
        /// A word of RFC 8601: "pass", "fail", "softfail", "neutral", "none", "temperror", "permerror".
        pub fn outcome(&self) -> String {
            self.raw.outcome()
        }
        /// The domain that the result is about.
        pub fn domain(&self) -> String {
            self.raw.domain()
        }
        /// A property by its RFC 8601 name ("header.s", "policy.dmarc").
        pub fn property(&self, name: &str) -> Option<String> {
            self.raw.property(name)
        }
        /// Why, for a person.
        pub fn reason(&self) -> String {
            self.raw.reason()
        }
    }

    /// Verifies the message by that method.
    pub fn verify(message: &Message, method: &str) -> Result<Vec<AuthResult>, Error> {
        Ok(raw::verify(&message.raw, method)?.into_iter().map(|raw| AuthResult { raw }).collect())
    }
}
