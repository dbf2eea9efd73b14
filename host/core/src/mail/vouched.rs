//! What this server itself knows of a client, or of where a message comes from.

use serde::{Deserialize, Serialize};

/// What this server itself knows of a client beyond its own word, while the session lasts and with a message from its
/// arrival on; and of a message that no client brought, where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Vouched {
    /// Name that the client's address resolves to and back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// What TLS came to; `None` on a plain connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFacts>,
    /// Who the client proved to be with AUTH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Name of the file in the pickup directory that the message was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pickup_file: Option<String>,
    /// The message is this server's own notification, and tells that something failed.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_failure_report: bool,
}

impl Vouched {
    /// Whether there is nothing in it, so that it need not be written down.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What TLS came to on a client's connection; the shell knows it after the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TlsFacts {
    /// Version, as in "TLSv1.3".
    pub version: String,
    /// Cipher suite by its IANA name.
    pub cipher: String,
    /// Subject of the client's certificate, where it showed one that verifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_subject: Option<String>,
    /// Name of the server that the client asked for (SNI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// Who a client proved to be, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    /// The user.
    pub user: String,
    /// The mechanism, in upper case.
    pub mechanism: String,
}
