//! The client's session and its commands.

use crate::raw::inbound as raw;
use crate::{Datetime, Endpoint, Error};

/// A client's session.
#[derive(Debug)]
pub struct Session {
    raw: raw::Session,
}

/// A command of the client whose syntax and sequence are right and which the server has not carried out.
#[derive(Debug)]
pub struct Command {
    raw: raw::Command,
}

impl Session {
    /// Stable and unique on this server; the same that stands in its log.
    pub fn id(&self) -> String {
        self.raw.id()
    }
    /// Name of the listener that took the connection.
    pub fn listener(&self) -> String {
        self.raw.listener()
    }
    /// The client's end of the connection.
    pub fn client(&self) -> Endpoint {
        self.raw.client()
    }
    /// Name that the client's address resolves to and back, where it does.
    pub fn client_name(&self) -> Option<String> {
        self.raw.client_name()
    }
    /// This server's end of the connection.
    pub fn server(&self) -> Endpoint {
        self.raw.server()
    }
    /// When the client connected.
    pub fn started(&self) -> Datetime {
        self.raw.started()
    }
    /// Argument of the last HELO or EHLO.
    pub fn helo_domain(&self) -> Option<String> {
        self.raw.helo_domain()
    }
    /// Whether the client said EHLO.
    pub fn is_esmtp(&self) -> bool {
        self.raw.is_esmtp()
    }
    /// Version of TLS; none on a plain connection.
    pub fn tls_version(&self) -> Option<String> {
        self.raw.tls_version()
    }
    /// Cipher suite of TLS.
    pub fn tls_cipher(&self) -> Option<String> {
        self.raw.tls_cipher()
    }
    /// Subject of the client's certificate, where it showed one that verifies.
    pub fn tls_client_subject(&self) -> Option<String> {
        self.raw.tls_client_subject()
    }
    /// Who the client has proved to be.
    pub fn auth_user(&self) -> Option<String> {
        self.raw.auth_user()
    }
    /// Mechanism of AUTH by which it did.
    pub fn auth_mechanism(&self) -> Option<String> {
        self.raw.auth_mechanism()
    }
    /// Says who the client is, for sinks that implement a mechanism of AUTH. Grant `authenticate`.
    pub fn set_authenticated(&self, user: &str, mechanism: &str) -> Result<(), Error> {
        Ok(self.raw.set_authenticated(user, mechanism)?)
    }
    /// Messages accepted in this session so far.
    pub fn message_count(&self) -> u32 {
        self.raw.message_count()
    }
    /// Protocol errors of the client so far.
    pub fn error_count(&self) -> u32 {
        self.raw.error_count()
    }
    /// A property that this sink gave the session; names that begin with "shared." are seen by every sink.
    pub fn property(&self, name: &str) -> Option<Vec<u8>> {
        self.raw.property(name)
    }
    /// Sets a property, which lives as long as the session.
    pub fn set_property(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        Ok(self.raw.set_property(name, value.as_ref())?)
    }
    /// Replaces the text of the banner, at [`OnConnect`](crate::OnConnect). Grant `reply`.
    pub fn set_banner(&self, text: &str) -> Result<(), Error> {
        Ok(self.raw.set_banner(text)?)
    }
    /// Why it ended, at [`OnDisconnect`](crate::OnDisconnect): "quit", "dropped", "timeout", "error",
    /// "refused"; others may come.
    pub fn end_reason(&self) -> Option<String> {
        self.raw.end_reason()
    }
}

impl Command {
    /// The verb in upper case.
    pub fn keyword(&self) -> String {
        self.raw.keyword()
    }
    /// What follows the verb.
    pub fn argument(&self) -> String {
        self.raw.argument()
    }
    /// The line as it came, without line end.
    pub fn line(&self) -> Vec<u8> {
        self.raw.line()
    }
    /// Path of MAIL and RCPT, without angle brackets.
    pub fn path(&self) -> Option<String> {
        self.raw.path()
    }
    /// Replaces the path of MAIL or RCPT. Grant `edit-envelope`.
    pub fn set_path(&self, address: &str) -> Result<(), Error> {
        Ok(self.raw.set_path(address)?)
    }
    /// An ESMTP parameter, upper and lower case alike; "" where it has no value.
    pub fn parameter(&self, keyword: &str) -> Option<String> {
        self.raw.parameter(keyword)
    }
    /// Replaces, adds or (with `None`) removes an ESMTP parameter. Grant `edit-envelope`.
    pub fn set_parameter(&self, keyword: &str, value: Option<&str>) -> Result<(), Error> {
        Ok(self.raw.set_parameter(keyword, value)?)
    }
}

crate::glue::wraps!(Session: raw::Session, Command: raw::Command);
