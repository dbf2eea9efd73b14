//! The session in which this server is the client.

use crate::raw::outbound as raw;
use crate::{Endpoint, Error, Reply};

/// A session in which this server is the client.
#[derive(Debug)]
pub struct OutSession {
    raw: raw::OutSession,
}

/// A command that this server is about to send.
#[derive(Debug)]
pub struct OutCommand {
    raw: raw::OutCommand,
}

/// A reply of the remote server.
#[derive(Debug)]
pub struct ServerResponse {
    raw: raw::ServerResponse,
}

impl OutSession {
    /// Stable and unique on this server; the same that stands in its log.
    pub fn id(&self) -> String {
        self.raw.id()
    }
    /// Host name that was looked up.
    pub fn host(&self) -> String {
        self.raw.host()
    }
    /// The remote end of the connection.
    pub fn remote(&self) -> Endpoint {
        self.raw.remote()
    }
    /// This server's end of the connection.
    pub fn local(&self) -> Endpoint {
        self.raw.local()
    }
    /// Which attempt for this message this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.raw.attempt()
    }
    /// Text of the remote server's banner.
    pub fn banner(&self) -> String {
        self.raw.banner()
    }
    /// EHLO keywords of the remote server with their arguments; none before EHLO.
    pub fn extensions(&self) -> Vec<String> {
        self.raw.extensions()
    }
    /// The arguments of an EHLO keyword ("" without any), where the remote server offers it.
    pub fn extension(&self, keyword: &str) -> Option<String> {
        self.extensions().into_iter().find_map(|line| {
            let (word, arguments) = line.split_once(' ').unwrap_or((&line, ""));
            word.eq_ignore_ascii_case(keyword).then(|| arguments.to_owned())
        })
    }
    /// Version of TLS; none on a plain connection.
    pub fn tls_version(&self) -> Option<String> {
        self.raw.tls_version()
    }
    /// A property that this sink gave the session.
    pub fn property(&self, name: &str) -> Option<Vec<u8>> {
        self.raw.property(name)
    }
    /// Sets a property, which lives as long as the session.
    pub fn set_property(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        Ok(self.raw.set_property(name, value.as_ref())?)
    }
}

impl OutCommand {
    /// The verb in upper case.
    pub fn keyword(&self) -> String {
        self.raw.keyword()
    }
    /// The line as earlier sinks left it.
    pub fn line(&self) -> String {
        self.raw.line()
    }
    /// The line that the server made.
    pub fn native_line(&self) -> String {
        self.raw.native_line()
    }
    /// Replaces the line. Grant `outbound`.
    pub fn set_line(&self, line: &str) -> Result<(), Error> {
        Ok(self.raw.set_line(line)?)
    }
    /// Adds an ESMTP parameter. Grant `outbound`.
    pub fn append_parameter(&self, parameter: &str) -> Result<(), Error> {
        Ok(self.raw.append_parameter(parameter)?)
    }
    /// Reply to what this sink sent first at this same event; none the first time.
    pub fn previous_reply(&self) -> Option<Reply> {
        self.raw.previous_reply()
    }
}

impl ServerResponse {
    /// Verb that it answers, in upper case.
    pub fn keyword(&self) -> String {
        self.raw.keyword()
    }
    /// Command line that it answers.
    pub fn line(&self) -> String {
        self.raw.line()
    }
    /// The reply.
    pub fn reply(&self) -> Reply {
        self.raw.reply()
    }
    /// Whether further commands were sent before it came.
    pub fn is_pipelined(&self) -> bool {
        self.raw.is_pipelined()
    }
}

crate::glue::wraps!(OutSession: raw::OutSession, OutCommand: raw::OutCommand, ServerResponse: raw::ServerResponse);
