//! The session in which the server is the client.

use super::world::world;
use crate::bindings::basin::sink::types::{Endpoint, Error, Reply};

#[derive(Debug)]
pub(crate) struct OutSession;

#[derive(Debug)]
pub(crate) struct OutCommand;

#[derive(Debug)]
pub(crate) struct ServerResponse;

fn verb(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_ascii_uppercase()
}

/// The extension that a parameter of MAIL or RCPT belongs to.
fn extension_of(keyword: &str) -> &str {
    match keyword {
        "BODY" => "8BITMIME",
        "RET" | "ENVID" | "NOTIFY" | "ORCPT" => "DSN",
        other => other,
    }
}

impl OutSession {
    pub(crate) fn id(&self) -> String {
        "out-1".into()
    }
    pub(crate) fn host(&self) -> String {
        world(|world| world.out.host.clone())
    }
    pub(crate) fn remote(&self) -> Endpoint {
        Endpoint { address: "203.0.113.25".into(), port: 25 }
    }
    pub(crate) fn local(&self) -> Endpoint {
        Endpoint { address: "192.0.2.25".into(), port: 40_025 }
    }
    pub(crate) fn attempt(&self) -> u32 {
        world(|world| world.out.attempt)
    }
    pub(crate) fn banner(&self) -> String {
        world(|world| world.out.banner.clone())
    }
    pub(crate) fn extensions(&self) -> Vec<String> {
        world(|world| world.out.extensions.clone())
    }
    pub(crate) fn tls_version(&self) -> Option<String> {
        None
    }
    pub(crate) fn property(&self, name: &str) -> Option<Vec<u8>> {
        world(|world| world.out.properties.get(name).cloned())
    }
    pub(crate) fn set_property(&self, name: &str, value: &[u8]) -> Result<(), Error> {
        world(|world| world.out.properties.insert(name.to_owned(), value.to_vec()));
        Ok(())
    }
}

impl OutCommand {
    pub(crate) fn keyword(&self) -> String {
        verb(&self.native_line())
    }
    pub(crate) fn line(&self) -> String {
        world(|world| world.out.line.clone())
    }
    pub(crate) fn native_line(&self) -> String {
        world(|world| world.out.native_line.clone())
    }
    pub(crate) fn set_line(&self, line: &str) -> Result<(), Error> {
        if line.contains(['\r', '\n', '\0']) {
            return Err(Error::Invalid("command line with CR, LF or NUL".into()));
        }
        // A standard verb out of turn would put the dialogue out of step.
        if verb(line) != self.keyword() {
            return Err(Error::Invalid("command line with another verb".into()));
        }
        world(|world| world.out.line = line.to_owned());
        Ok(())
    }
    pub(crate) fn append_parameter(&self, parameter: &str) -> Result<(), Error> {
        let keyword = parameter.split('=').next().unwrap_or_default().to_ascii_uppercase();
        let extension = extension_of(&keyword);
        let offers = |line: &String| verb(line) == extension;
        if !world(|world| world.out.extensions.iter().any(offers)) {
            return Err(Error::Invalid(format!("the remote server does not offer {extension}")));
        }
        self.set_line(&format!("{} {parameter}", self.line()))
    }
    pub(crate) fn previous_reply(&self) -> Option<Reply> {
        world(|world| world.out.previous.clone())
    }
}

impl ServerResponse {
    pub(crate) fn keyword(&self) -> String {
        verb(&self.line())
    }
    pub(crate) fn line(&self) -> String {
        world(|world| world.out.line.clone())
    }
    pub(crate) fn reply(&self) -> Reply {
        world(|world| world.out.response.clone()).expect("on-server-response is raised with a reply")
    }
    pub(crate) fn is_pipelined(&self) -> bool {
        false
    }
}
