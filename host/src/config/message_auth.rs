//! What is stated of messages that come, and whose statements are believed.

use core::time::Duration;

use basin_core::mail::Authority;
use basin_core::network::Network;
use basin_core::smtp::{AuthCheck, MessageAuthPolicy};

use super::checked::Config;
use super::listener::Listener;
use super::raw::write_time;

/// `[message-auth]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageAuth {
    /// The name that results are stated under.
    pub authserv_id: String,
    /// What is found out and stated; `None` where nothing is written and each listener has what fits it.
    pub check: Option<AuthCheck>,
    /// Longest that a message waits for it.
    pub time_max: Duration,
    /// Servers of the same administration.
    pub trusted: Vec<Network>,
}

impl MessageAuth {
    /// What it is, for `basin check`.
    pub(super) fn describe(&self) -> String {
        let what = match self.check {
            Some(AuthCheck::Off) => "none is stated".to_owned(),
            Some(AuthCheck::OnDemand) => "stated are those that sinks ask for".to_owned(),
            Some(AuthCheck::Strangers) => {
                format!("all are stated of strangers' mail, found within {}", write_time(self.time_max))
            }
            Some(AuthCheck::Always) => format!("all are stated, found within {}", write_time(self.time_max)),
            None => format!(
                "all are stated of strangers' mail that others than this machine send, found within {}",
                write_time(self.time_max)
            ),
        };
        let trusted: Vec<String> = self.trusted.iter().map(ToString::to_string).collect();
        let trusted = if trusted.is_empty() { "nobody".to_owned() } else { trusted.join(", ") };
        format!("results      as {}: {what}; those of {trusted} are believed\n", self.authserv_id)
    }
}

impl Config {
    /// The names that nobody else states results under: the one of the section, and those that clients know this
    /// server by.
    pub fn authority(&self) -> Authority {
        let hosts = self.listeners.iter().filter_map(|listener| listener.host_name.as_deref());
        Authority::new(&self.message_auth.authserv_id).known_as(hosts.chain([self.host_name.as_str()]))
    }

    /// The section as sessions of a listener go by it.
    pub fn message_auth_policy(&self, listener: &Listener) -> MessageAuthPolicy {
        let MessageAuth { check, time_max, trusted, .. } = self.message_auth.clone();
        // Who can be reached by this machine alone, or takes mail of its own users alone, has no strangers, and asks
        // name servers nothing. Behind a proxy there is everybody.
        let has_strangers = !listener.address.ip().is_loopback() || !listener.proxies.is_empty();
        let usual = if has_strangers && !listener.is_submission { AuthCheck::Strangers } else { AuthCheck::OnDemand };
        MessageAuthPolicy { authority: self.authority(), check: check.unwrap_or(usual), time_max, trusted }
    }
}
