//! The client's session, its command and the occasion of the call.

use super::world::world;
use crate::bindings::basin::sink::types::{Datetime, Endpoint};

pub(crate) fn now() -> Datetime {
    world(|world| world.now())
}

pub(crate) fn local_endpoint() -> Endpoint {
    Endpoint { address: "192.0.2.25".into(), port: 25 }
}

pub(crate) mod inbound {
    use super::super::envelope::{check_address, parameter, set_parameter};
    use super::super::world::{Access, world};
    use crate::bindings::basin::sink::types::{Datetime, Endpoint, Error};

    #[derive(Debug)]
    pub(crate) struct Session;

    #[derive(Debug)]
    pub(crate) struct Command;

    impl Session {
        pub(crate) fn id(&self) -> String {
            "session-1".into()
        }
        pub(crate) fn listener(&self) -> String {
            world(|world| world.session.listener.clone())
        }
        pub(crate) fn client(&self) -> Endpoint {
            world(|world| world.session.client.clone()).expect("every test session has a client")
        }
        pub(crate) fn client_name(&self) -> Option<String> {
            world(|world| world.session.client_name.clone())
        }
        pub(crate) fn server(&self) -> Endpoint {
            super::local_endpoint()
        }
        pub(crate) fn started(&self) -> Datetime {
            super::now()
        }
        pub(crate) fn helo_domain(&self) -> Option<String> {
            world(|world| world.session.helo.clone())
        }
        pub(crate) fn is_esmtp(&self) -> bool {
            world(|world| world.session.is_esmtp)
        }
        pub(crate) fn tls_version(&self) -> Option<String> {
            world(|world| world.session.tls_version.clone())
        }
        pub(crate) fn tls_cipher(&self) -> Option<String> {
            world(|world| world.session.tls_cipher.clone())
        }
        pub(crate) fn tls_client_subject(&self) -> Option<String> {
            world(|world| world.session.tls_client_subject.clone())
        }
        pub(crate) fn auth_user(&self) -> Option<String> {
            world(|world| Some(world.session.auth.as_ref()?.0.clone()))
        }
        pub(crate) fn auth_mechanism(&self) -> Option<String> {
            world(|world| Some(world.session.auth.as_ref()?.1.clone()))
        }
        pub(crate) fn set_authenticated(&self, user: &str, mechanism: &str) -> Result<(), Error> {
            world(|world| {
                if world.access != Access::NoBody || world.command.keyword != "AUTH" {
                    return Err(Error::ReadOnly);
                }
                world.session.auth = Some((user.to_owned(), mechanism.to_owned()));
                Ok(())
            })
        }
        pub(crate) fn message_count(&self) -> u32 {
            world(|world| world.session.message_count)
        }
        pub(crate) fn error_count(&self) -> u32 {
            world(|world| world.session.error_count)
        }
        pub(crate) fn property(&self, name: &str) -> Option<Vec<u8>> {
            world(|world| world.session.properties.get(name).cloned())
        }
        pub(crate) fn set_property(&self, name: &str, value: &[u8]) -> Result<(), Error> {
            world(|world| world.session.properties.insert(name.to_owned(), value.to_vec()));
            Ok(())
        }
        pub(crate) fn set_banner(&self, text: &str) -> Result<(), Error> {
            if text.contains(|c: char| c.is_control()) {
                return Err(Error::Invalid("banner with a control character".into()));
            }
            world(|world| world.session.banner = Some(text.to_owned()));
            Ok(())
        }
        pub(crate) fn end_reason(&self) -> Option<String> {
            world(|world| world.session.end_reason.clone())
        }
    }

    impl Command {
        pub(crate) fn keyword(&self) -> String {
            world(|world| world.command.keyword.clone())
        }
        pub(crate) fn argument(&self) -> String {
            world(|world| world.command.argument.clone())
        }
        pub(crate) fn line(&self) -> Vec<u8> {
            world(|world| world.command.line.clone())
        }
        pub(crate) fn path(&self) -> Option<String> {
            world(|world| world.command.path.clone())
        }
        pub(crate) fn set_path(&self, address: &str) -> Result<(), Error> {
            if !address.is_empty() {
                check_address(address)?;
            }
            world(|world| match &mut world.command.path {
                Some(path) => {
                    *path = address.to_owned();
                    Ok(())
                }
                None => Err(Error::NotFound),
            })
        }
        pub(crate) fn parameter(&self, keyword: &str) -> Option<String> {
            world(|world| parameter(&world.command.parameters, keyword))
        }
        pub(crate) fn set_parameter(&self, keyword: &str, value: Option<&str>) -> Result<(), Error> {
            world(|world| set_parameter(&mut world.command.parameters, keyword, value))
        }
    }
}

pub(crate) mod types {
    use super::super::world::world;
    use crate::bindings::basin::sink::types::{Datetime, Error, Reply};

    #[derive(Debug)]
    pub(crate) struct Call;

    /// What the server refuses in the text of a reply (RFC 5321 §4.2).
    fn check_text(lines: &[String]) -> Result<(), Error> {
        if lines.iter().any(|line| line.contains(['\r', '\n', '\0'])) {
            return Err(Error::Invalid("reply text with CR, LF or NUL".into()));
        }
        Ok(())
    }

    impl Call {
        pub(crate) fn binding(&self) -> String {
            world(|world| world.call.binding.clone())
        }
        pub(crate) fn sink(&self) -> String {
            world(|world| world.call.sink.clone())
        }
        pub(crate) fn now(&self) -> Datetime {
            super::now()
        }
        pub(crate) fn raised(&self) -> u32 {
            world(|world| world.call.raised)
        }
        pub(crate) fn idempotency_key(&self) -> String {
            world(|world| format!("{}:{}", world.call.sink, world.call.binding))
        }
        pub(crate) fn native_response(&self) -> Option<Reply> {
            world(|world| world.call.native.clone())
        }
        pub(crate) fn response(&self) -> Option<Reply> {
            world(|world| world.call.response.clone())
        }
        pub(crate) fn append_response(&self, text: &str) -> Result<(), Error> {
            check_text(&[text.to_owned()])?;
            world(|world| match &mut world.call.response {
                Some(reply) => {
                    reply.lines.push(text.to_owned());
                    Ok(())
                }
                None => Err(Error::NotFound),
            })
        }
        pub(crate) fn set_response(&self, to: &Reply) -> Result<(), Error> {
            check_text(&to.lines)?;
            world(|world| match &mut world.call.response {
                Some(reply) if reply.code / 100 == to.code / 100 => {
                    *reply = to.clone();
                    Ok(())
                }
                Some(_) => Err(Error::Invalid("reply code of another class".into())),
                None => Err(Error::NotFound),
            })
        }
        pub(crate) fn delay_response(&self, milliseconds: u32) -> Result<(), Error> {
            world(|world| world.call.delay_ms = world.call.delay_ms.saturating_add(milliseconds));
            Ok(())
        }
        pub(crate) fn set_protocol_error(&self) {
            world(|world| world.call.protocol_errors += 1);
        }
    }
}
