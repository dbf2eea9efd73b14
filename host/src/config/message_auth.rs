//! What is stated of messages that come, and whose statements are believed.

use core::time::Duration;

use basin_core::mail::Authority;
use basin_core::network::Network;
use basin_core::smtp::{AuthCheck, MessageAuthPolicy};

use super::checked::Config;
use super::raw::write_time;

/// `[message-auth]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageAuth {
    /// The name that results are stated under.
    pub authserv_id: String,
    /// What is found out and stated.
    pub check: AuthCheck,
    /// Longest that a message waits for it.
    pub time_max: Duration,
    /// Servers of the same administration.
    pub trusted: Vec<Network>,
}

impl MessageAuth {
    /// What it is, for `basin check`.
    pub(super) fn describe(&self) -> String {
        let what = match self.check {
            AuthCheck::Off => "none is stated".to_owned(),
            AuthCheck::OnDemand => "stated are those that sinks ask for".to_owned(),
            AuthCheck::Always => format!("all are stated, found within {}", write_time(self.time_max)),
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

    /// The section as sessions go by it.
    pub fn message_auth_policy(&self) -> MessageAuthPolicy {
        let MessageAuth { check, time_max, trusted, .. } = self.message_auth.clone();
        MessageAuthPolicy { authority: self.authority(), check, time_max, trusted }
    }
}
