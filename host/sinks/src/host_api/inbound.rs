//! `inbound`: the client's session and command.

use std::sync::Arc;

use basin_core::event::{self, EventKind, Grant, SessionFacts};
use basin_core::mail::{Auth, Scope};
use wasmtime::component::Resource;

use super::recipient::{address_of, bag_error};
use super::{Command, ErrorValue, Refused, Session, invalid};
use crate::bindings::basin::sink::inbound::{Host, HostCommand, HostSession};
use crate::bindings::basin::sink::types::{Datetime, Endpoint};
use crate::convert;
use crate::ended::Ended;
use crate::state::State;

/// Longest value of an ESMTP parameter, in octets; the line that carries it has 2,048.
const PARAMETER_BYTES_MAX: usize = 1_024;

/// Longest name of a user, in octets; that of an address, which most are.
const USER_BYTES_MAX: usize = 320;

/// Longest name of a mechanism of AUTH (RFC 4422 §3.1).
const MECHANISM_BYTES_MAX: usize = 20;

impl Host for State {}

impl HostSession for State {
    fn id(&mut self, session: Resource<Session>) -> wasmtime::Result<String> {
        self.session_of(&session)?.id.clone().pass(self)
    }

    fn listener(&mut self, session: Resource<Session>) -> wasmtime::Result<String> {
        self.session_of(&session)?.listener.clone().pass(self)
    }

    fn client(&mut self, session: Resource<Session>) -> wasmtime::Result<Endpoint> {
        Ok(convert::endpoint(self.session_of(&session)?.client))
    }

    fn client_name(&mut self, session: Resource<Session>) -> wasmtime::Result<Option<String>> {
        self.session_of(&session)?.vouched.client_name.clone().pass(self)
    }

    fn server(&mut self, session: Resource<Session>) -> wasmtime::Result<Endpoint> {
        Ok(convert::endpoint(self.session_of(&session)?.server))
    }

    fn started(&mut self, session: Resource<Session>) -> wasmtime::Result<Datetime> {
        Ok(convert::datetime(self.session_of(&session)?.started))
    }

    fn helo_domain(&mut self, session: Resource<Session>) -> wasmtime::Result<Option<String>> {
        self.session_of(&session)?.helo.clone().pass(self)
    }

    fn is_esmtp(&mut self, session: Resource<Session>) -> wasmtime::Result<bool> {
        Ok(self.session_of(&session)?.is_esmtp)
    }

    fn tls_version(&mut self, session: Resource<Session>) -> wasmtime::Result<Option<String>> {
        self.session_of(&session)?.vouched.tls.as_ref().map(|tls| tls.version.clone()).pass(self)
    }

    fn tls_cipher(&mut self, session: Resource<Session>) -> wasmtime::Result<Option<String>> {
        self.session_of(&session)?.vouched.tls.as_ref().map(|tls| tls.cipher.clone()).pass(self)
    }

    fn tls_client_subject(&mut self, session: Resource<Session>) -> wasmtime::Result<Option<String>> {
        self.session_of(&session)?.vouched.tls.as_ref().and_then(|tls| tls.client_subject.clone()).pass(self)
    }

    fn auth_user(&mut self, session: Resource<Session>) -> wasmtime::Result<Option<String>> {
        self.session_of(&session)?.vouched.auth.as_ref().map(|auth| auth.user.clone()).pass(self)
    }

    fn auth_mechanism(&mut self, session: Resource<Session>) -> wasmtime::Result<Option<String>> {
        self.session_of(&session)?.vouched.auth.as_ref().map(|auth| auth.mechanism.clone()).pass(self)
    }

    fn set_authenticated(
        &mut self,
        session: Resource<Session>,
        user: String,
        mechanism: String,
    ) -> Result<(), Refused> {
        self.live(&session)?;
        self.taken(&user);
        self.taken(&mechanism);
        let is_auth = matches!(self.event(), EventKind::OnInboundCommand | EventKind::OnInboundInput)
            && self.overlay.command.as_deref().is_some_and(|command| command.keyword == "AUTH");
        if !is_auth {
            return Err(ErrorValue::ReadOnly.into());
        }
        self.edit(Grant::Authenticate)?;
        let auth = identity(user, &mechanism)?;
        self.identified(&auth.user, &auth.mechanism);
        self.overlay.authenticated = Some(auth);
        Ok(())
    }

    fn message_count(&mut self, session: Resource<Session>) -> wasmtime::Result<u32> {
        Ok(self.session_of(&session)?.messages)
    }

    fn error_count(&mut self, session: Resource<Session>) -> wasmtime::Result<u32> {
        Ok(self.session_of(&session)?.errors)
    }

    fn property(&mut self, session: Resource<Session>, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.live(&session)?;
        self.taken(&name);
        let value = self.overlay.session_bag.value(Scope(&self.sink.name), &name).map(<[u8]>::to_vec);
        self.give(value)
    }

    fn set_property(&mut self, session: Resource<Session>, name: String, value: Vec<u8>) -> Result<(), Refused> {
        self.live(&session)?;
        self.taken(&name);
        self.taken(&value);
        self.writable()?;
        let bag = Arc::make_mut(&mut self.overlay.session_bag);
        bag.set(Scope(&self.sink.name), &name, value).map_err(bag_error)
    }

    fn set_banner(&mut self, session: Resource<Session>, text: String) -> Result<(), Refused> {
        self.live(&session)?;
        self.taken(&text);
        if self.event() != EventKind::OnConnect {
            return Err(ErrorValue::ReadOnly.into());
        }
        self.edit(Grant::Reply)?;
        if text.is_empty() || text.bytes().any(|octet| !(b' '..=b'~').contains(&octet)) {
            return Err(invalid("a banner is one line of printable ASCII"));
        }
        self.overlay.banner = Some(convert::reply_line(&text));
        Ok(())
    }

    fn end_reason(&mut self, session: Resource<Session>) -> wasmtime::Result<Option<String>> {
        self.session_of(&session)?.end_reason.map(str::to_owned).pass(self)
    }

    fn drop(&mut self, _: Resource<Session>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostCommand for State {
    fn keyword(&mut self, command: Resource<Command>) -> wasmtime::Result<String> {
        self.command_of(&command)?.keyword.clone().pass(self)
    }

    fn argument(&mut self, command: Resource<Command>) -> wasmtime::Result<String> {
        self.live(&command)?;
        self.readable_command("the argument of the command")?;
        self.command_shown()?.0.pass(self)
    }

    fn line(&mut self, command: Resource<Command>) -> wasmtime::Result<Vec<u8>> {
        self.live(&command)?;
        self.readable_command("the line of the command")?;
        self.command_shown()?.1.pass(self)
    }

    fn path(&mut self, command: Resource<Command>) -> wasmtime::Result<Option<String>> {
        self.readable_command("the path of the command")?;
        self.command_of(&command)?.path.clone().pass(self)
    }

    fn set_path(&mut self, command: Resource<Command>, address: String) -> Result<(), Refused> {
        self.taken(&address);
        self.edit(Grant::EditEnvelope)?;
        let command = self.command_of(&command)?;
        if command.path.is_none() {
            return Err(ErrorValue::NotFound.into());
        }
        // Only MAIL knows the null path (RFC 5321 §4.5.5).
        if !(address.is_empty() && command.keyword == "MAIL") {
            let is_utf8 = match (command.keyword.as_str(), &self.overlay.message) {
                ("RCPT", Some(message)) => message.is_smtputf8(),
                _ => command.parameters.contains_key("SMTPUTF8"),
            };
            address_of(&address, is_utf8)?;
        }
        self.command_mut()?.path = Some(address);
        Ok(())
    }

    fn parameter(&mut self, command: Resource<Command>, keyword: String) -> wasmtime::Result<Option<String>> {
        self.taken(&keyword);
        self.readable_command("the parameters of the command")?;
        self.command_of(&command)?.parameters.get(&keyword.to_ascii_uppercase()).cloned().pass(self)
    }

    fn set_parameter(
        &mut self,
        command: Resource<Command>,
        keyword: String,
        value: Option<String>,
    ) -> Result<(), Refused> {
        self.taken(&keyword);
        self.taken(&value);
        self.edit(Grant::EditEnvelope)?;
        let keyword = parameter_keyword(&keyword)?;
        if let Some(value) = &value {
            check_parameter(value)?;
        }
        if !matches!(self.command_of(&command)?.keyword.as_str(), "MAIL" | "RCPT") {
            return Err(ErrorValue::NotFound.into());
        }
        let parameters = &mut self.command_mut()?.parameters;
        match value {
            Some(value) => parameters.insert(keyword, value),
            None => parameters.remove(&keyword),
        };
        Ok(())
    }

    fn drop(&mut self, _: Resource<Command>) -> wasmtime::Result<()> {
        Ok(())
    }
}

// A name ends up in header fields, logs and rules; a mechanism is 1 to 20 characters (RFC 4422 §3.1).
fn identity(user: String, mechanism: &str) -> Result<Auth, Refused> {
    if user.is_empty() || user.len() > USER_BYTES_MAX || user.chars().any(char::is_control) {
        return Err(invalid(format!("a user has 1 to {USER_BYTES_MAX} octets and no control characters")));
    }
    let mechanism = mechanism.to_ascii_uppercase();
    let is_word = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    if !(1..=MECHANISM_BYTES_MAX).contains(&mechanism.len()) || !mechanism.bytes().all(is_word) {
        return Err(invalid(format!("a mechanism has 1 to {MECHANISM_BYTES_MAX} of A-Z, 0-9, - and _")));
    }
    Ok(Auth { user, mechanism })
}

/// The keyword of an ESMTP parameter in upper case (RFC 5321 §4.1.2, `esmtp-keyword`).
pub(super) fn parameter_keyword(keyword: &str) -> Result<String, Refused> {
    let mut octets = keyword.bytes();
    let is_first = octets.next().is_some_and(|octet| octet.is_ascii_alphanumeric());
    if keyword.len() <= 64 && is_first && octets.all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') {
        return Ok(keyword.to_ascii_uppercase());
    }
    Err(invalid("a parameter keyword has letters, digits and hyphens"))
}

/// Checks the value of an ESMTP parameter (RFC 5321 §4.1.2, `esmtp-value`); empty stands for none.
pub(super) fn check_parameter(value: &str) -> Result<(), Refused> {
    if value.len() <= PARAMETER_BYTES_MAX && value.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'=') {
        return Ok(());
    }
    Err(invalid(format!("a parameter value has at most {PARAMETER_BYTES_MAX} printable characters and no \"=\"")))
}

/// Passes a value to the sink; reads better behind a chain than around it.
trait Pass: super::weight::Weight + Sized {
    fn pass(self, state: &mut State) -> wasmtime::Result<Self> {
        state.give(self)
    }
}

impl<T: super::weight::Weight> Pass for T {}

impl State {
    fn session(&self) -> wasmtime::Result<&SessionFacts> {
        self.occasion.session.as_deref().ok_or_else(|| Ended::host("there is no session at this event").into())
    }

    fn session_of(&self, handle: &Resource<Session>) -> wasmtime::Result<&SessionFacts> {
        self.live(handle)?;
        self.session()
    }

    fn command_of(&self, handle: &Resource<Command>) -> wasmtime::Result<&event::Command> {
        self.live(handle)?;
        self.command()
    }

    fn command(&self) -> wasmtime::Result<&event::Command> {
        self.overlay.command.as_deref().ok_or_else(|| Ended::host("there is no command at this event").into())
    }

    fn command_mut(&mut self) -> wasmtime::Result<&mut event::Command> {
        let command = self.overlay.command.as_mut().ok_or_else(|| Ended::host("there is no command at this event"))?;
        Ok(Arc::make_mut(command))
    }

    // These verbs carry addresses; what others carry is for everyone that the rule of the binding lets see the verb.
    fn readable_command(&mut self, what: &str) -> wasmtime::Result<()> {
        match self.command()?.keyword.as_str() {
            "MAIL" | "RCPT" | "VRFY" | "EXPN" => self.read(Grant::ReadEnvelope, what),
            _ => Ok(()),
        }
    }

    // Argument and line of a command. Of AUTH everything behind the mechanism may be a password (RFC 4954 §4, initial
    // response), and is left out without the grant.
    fn command_shown(&self) -> wasmtime::Result<(String, Vec<u8>)> {
        let command = self.command()?;
        if command.keyword != "AUTH" || self.has(Grant::Authenticate) {
            return Ok((command.argument.clone(), command.line.clone()));
        }
        let mechanism = command.argument.split_ascii_whitespace().next().unwrap_or_default();
        Ok((mechanism.to_owned(), format!("AUTH {mechanism}").into_bytes()))
    }
}
