//! A client's session in a test.

use super::ask::raises;
use crate::log::Level;
use crate::raw::{World, inbound, outbound, transport};
use crate::{
    Command, CommandVerdict, ConnectVerdict, Datetime, Destination, DnsVerdict, Endpoint, OutCommand, OutSession,
    OutVerdict, Reply,
};
use std::time::Duration;

/// A session in a test: who the client is, what the operator set, and what the sink did.
///
/// It begins with a client at 192.0.2.1, at the listener "default", on a server that takes mail for
/// basin.example.
#[derive(Debug, Clone, Default)]
pub struct Session {
    pub(super) world: World,
}

/// What a test sets before an event.
impl Session {
    /// A new session.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets a key of the sink's configuration.
    pub fn set_config(&mut self, key: &str, value: &str) -> &mut Self {
        self.world.config.insert(key.to_owned(), value.to_owned());
        self
    }
    /// Sets the name of the sink.
    pub fn set_sink(&mut self, name: &str) -> &mut Self {
        self.world.call.sink = name.to_owned();
        self
    }
    /// Sets the name of the binding.
    pub fn set_binding(&mut self, name: &str) -> &mut Self {
        self.world.call.binding = name.to_owned();
        self
    }
    /// Sets the time of the events.
    pub fn set_now(&mut self, now: Datetime) -> &mut Self {
        self.world.call.now = Some(now);
        self
    }
    /// Says how often the event was raised before.
    pub fn set_raised(&mut self, times: u32) -> &mut Self {
        self.world.call.raised = times;
        self
    }
    /// Sets the name of the listener.
    pub fn set_listener(&mut self, name: &str) -> &mut Self {
        self.world.session.listener = name.to_owned();
        self
    }
    /// Sets the client's address and, where it has one, its name.
    pub fn set_client(&mut self, address: &str, name: Option<&str>) -> &mut Self {
        self.world.session.client = Some(Endpoint { address: address.to_owned(), port: 40_000 });
        self.world.session.client_name = name.map(str::to_owned);
        self
    }
    /// Says that the client greeted with EHLO and this name.
    pub fn set_helo(&mut self, domain: &str) -> &mut Self {
        self.world.session.helo = Some(domain.to_owned());
        self.world.session.is_esmtp = true;
        self
    }
    /// Says who the client has proved to be, and by which mechanism.
    pub fn set_auth(&mut self, user: &str, mechanism: &str) -> &mut Self {
        self.world.session.auth = Some((user.to_owned(), mechanism.to_owned()));
        self
    }
    /// Says that the connection has TLS.
    pub fn set_tls(&mut self, version: &str, cipher: &str, client_subject: Option<&str>) -> &mut Self {
        self.world.session.tls_version = Some(version.to_owned());
        self.world.session.tls_cipher = Some(cipher.to_owned());
        self.world.session.tls_client_subject = client_subject.map(str::to_owned);
        self
    }
    /// Says how many messages and how many protocol errors there were before.
    pub fn set_counts(&mut self, messages: u32, errors: u32) -> &mut Self {
        self.world.session.message_count = messages;
        self.world.session.error_count = errors;
        self
    }
    /// Sets a property of the session.
    pub fn set_session_property(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.world.session.properties.insert(name.to_owned(), value.as_ref().to_vec());
        self
    }
    /// Sets what the server will answer if nobody objects.
    pub fn set_response(&mut self, reply: Reply) -> &mut Self {
        self.world.call.native = Some(reply.clone());
        self.world.call.response = Some(reply);
        self
    }
    /// Adds a domain that the server takes mail for.
    pub fn add_local_domain(&mut self, domain: &str) -> &mut Self {
        self.world.local_domains.push(domain.to_owned());
        self
    }
    /// Adds an address that the server knows.
    pub fn add_local_address(&mut self, address: &str) -> &mut Self {
        self.world.local_addresses.push(address.to_owned());
        self
    }
    /// Sets the host of the remote server and the lines of its answer to EHLO, for the outbound events.
    pub fn set_remote(&mut self, host: &str, extensions: &[&str]) -> &mut Self {
        self.world.out.host = host.to_owned();
        self.world.out.extensions = extensions.iter().map(|&line| line.to_owned()).collect();
        self
    }
    /// Sets the reply to what the sink sent first.
    pub fn set_previous_reply(&mut self, reply: Reply) -> &mut Self {
        self.world.out.previous = Some(reply);
        self
    }
    /// Sets the hops that failed before, newest first.
    pub fn set_failures(&mut self, failures: &[(&str, Reply)]) -> &mut Self {
        self.world.failures = failures.iter().map(|(hop, reply)| ((*hop).to_owned(), reply.clone())).collect();
        self
    }
}

/// What the sink did.
impl Session {
    /// The native answer as the sink left it.
    #[must_use]
    pub fn response(&self) -> Option<Reply> {
        self.world.call.response.clone()
    }
    /// How long the server is to wait before it answers.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.world.call.delay_ms.into())
    }
    /// How many protocol errors the sink counted.
    #[must_use]
    pub fn protocol_errors(&self) -> u32 {
        self.world.call.protocol_errors
    }
    /// The banner that the sink set.
    #[must_use]
    pub fn banner(&self) -> Option<&str> {
        self.world.session.banner.as_deref()
    }
    /// Who the sink said the client is, or the test.
    #[must_use]
    pub fn auth_user(&self) -> Option<&str> {
        self.world.session.auth.as_ref().map(|(user, _)| user.as_str())
    }
    /// A property of the session.
    #[must_use]
    pub fn session_property(&self, name: &str) -> Option<&[u8]> {
        self.world.session.properties.get(name).map(Vec::as_slice)
    }
    /// Path of the last command, as the sink left it.
    #[must_use]
    pub fn command_path(&self) -> Option<&str> {
        self.world.command.path.as_deref()
    }
    /// The line of the last outbound command, as the sink left it.
    #[must_use]
    pub fn sent_line(&self) -> &str {
        &self.world.out.line
    }
    /// A counter of the sink.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.world.counters.get(name).copied().unwrap_or_default()
    }
    /// The values that the sink entered into a distribution.
    #[must_use]
    pub fn observations(&self, name: &str) -> &[f64] {
        self.world.observations.get(name).map_or(&[], Vec::as_slice)
    }
    /// The lines that the sink logged.
    #[must_use]
    pub fn log(&self) -> &[(Level, String)] {
        &self.world.log
    }
}

/// The events of a session.
impl Session {
    raises! {
        /// Raises [`OnConnect`](crate::OnConnect).
        connect, try_connect: OnConnect::on_connect() -> ConnectVerdict,
        ReadOnly, |_world| {}, [&session()];
        /// Raises [`OnAuthenticated`](crate::OnAuthenticated).
        authenticated, try_authenticated: OnAuthenticated::on_authenticated() -> CommandVerdict,
        ReadOnly, |_world| {}, [&session()];
        /// Raises [`OnInboundCommand`](crate::OnInboundCommand) for this line, before there is a message.
        command, try_command: OnInboundCommand::on_inbound_command(line: &str) -> CommandVerdict,
        NoBody, |world| { set_command(world, line); }, [&session(), None, &the_command()];
        /// Raises [`OnInboundInput`](crate::OnInboundInput) for this input to the last command.
        input, try_input: OnInboundInput::on_inbound_input(octets: &[u8]) -> CommandVerdict,
        NoBody, |_world| {}, [&session(), None, &the_command(), octets];
        /// Raises [`OnReject`](crate::OnReject) for this line.
        reject, try_reject: OnReject::on_reject(line: &[u8]) -> (),
        ReadOnly, |_world| {}, [&session(), line];
        /// Raises [`OnDisconnect`](crate::OnDisconnect) with this reason.
        disconnect, try_disconnect: OnDisconnect::on_disconnect(reason: &str) -> (),
        ReadOnly, |world| { world.session.end_reason = Some(reason.to_owned()); }, [&session()];
        /// Raises [`OnTimer`](crate::OnTimer).
        timer, try_timer: OnTimer::on_timer() -> (), ReadOnly, |_world| {}, [];
        /// Raises [`OnDnsResolve`](crate::OnDnsResolve) for this domain.
        dns_resolve, try_dns_resolve: OnDnsResolve::on_dns_resolve(domain: &str) -> DnsVerdict,
        ReadOnly, |world| { world.destination = domain.to_owned(); }, [&Destination::from_raw(transport::Destination)];
        /// Raises [`OnSessionStart`](crate::OnSessionStart) before this line.
        session_start, try_session_start: OnSessionStart::on_session_start(line: &str) -> OutVerdict,
        ReadOnly, |world| { set_out_line(world, line); }, [&out_session(), &out_command()];
        /// Raises [`OnSessionEnd`](crate::OnSessionEnd) before this line.
        session_end, try_session_end: OnSessionEnd::on_session_end(line: &str) -> OutVerdict,
        ReadOnly, |world| { set_out_line(world, line); }, [&out_session(), &out_command()];
    }
}

pub(super) fn session() -> crate::Session {
    crate::Session::from_raw(inbound::Session)
}

pub(super) fn the_command() -> Command {
    Command::from_raw(inbound::Command)
}

pub(super) fn out_session() -> OutSession {
    OutSession::from_raw(outbound::OutSession)
}

pub(super) fn out_command() -> OutCommand {
    OutCommand::from_raw(outbound::OutCommand)
}

pub(super) fn set_out_line(world: &mut World, line: &str) {
    world.out.native_line = line.to_owned();
    world.out.line = line.to_owned();
}

/// Takes a command line apart as far as a sink sees it (RFC 5321 §4.1.2, without source routes).
pub(super) fn set_command(world: &mut World, line: &str) {
    let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
    let command = &mut world.command;
    command.line = line.as_bytes().to_vec();
    command.keyword = verb.to_ascii_uppercase();
    command.argument = argument.to_owned();
    command.path = None;
    command.parameters.clear();
    let path = argument.split_once(":<").and_then(|(_, rest)| rest.split_once('>'));
    if let (true, Some((path, rest))) = (matches!(command.keyword.as_str(), "MAIL" | "RCPT"), path) {
        command.path = Some(path.to_owned());
        let words = rest.split(' ').filter(|word| !word.is_empty());
        command.parameters = words
            .map(|word| word.split_once('=').unwrap_or((word, "")))
            .map(|(keyword, value)| (keyword.to_ascii_uppercase(), value.to_owned()))
            .collect();
    }
}
