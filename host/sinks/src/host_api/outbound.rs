//! `outbound`: what a sink sees and changes in a session in which this server is the client.

use std::sync::Arc;

use basin_core::event::{self, Grant, OutFacts, ResponseFacts};
use basin_core::mail::Scope;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use wasmtime::component::Resource;

use super::recipient::bag_error;
use super::{OutCommand, OutSession, Refused, ServerResponse, invalid};
use crate::bindings::basin::sink::outbound::{Host, HostOutCommand, HostOutSession, HostServerResponse};
use crate::bindings::basin::sink::types::{Endpoint, Reply};
use crate::convert;
use crate::ended::Ended;
use crate::state::State;

/// What is shown for a socket of this machine, which has a path and no address.
const LOCAL_SOCKET: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Host for State {}

impl HostOutSession for State {
    fn id(&mut self, session: Resource<OutSession>) -> wasmtime::Result<String> {
        let id = self.out_facts(&session)?.session.id.clone();
        self.give(id)
    }

    fn host(&mut self, session: Resource<OutSession>) -> wasmtime::Result<String> {
        let host = self.out_facts(&session)?.session.host.clone();
        self.give(host)
    }

    fn remote(&mut self, session: Resource<OutSession>) -> wasmtime::Result<Endpoint> {
        Ok(convert::endpoint(self.out_facts(&session)?.session.remote.unwrap_or(LOCAL_SOCKET)))
    }

    fn local(&mut self, session: Resource<OutSession>) -> wasmtime::Result<Endpoint> {
        Ok(convert::endpoint(self.out_facts(&session)?.session.local.unwrap_or(LOCAL_SOCKET)))
    }

    fn attempt(&mut self, session: Resource<OutSession>) -> wasmtime::Result<u32> {
        Ok(self.out_facts(&session)?.attempt)
    }

    fn banner(&mut self, session: Resource<OutSession>) -> wasmtime::Result<String> {
        let banner = self.out_facts(&session)?.banner.clone();
        self.give(banner)
    }

    fn extensions(&mut self, session: Resource<OutSession>) -> wasmtime::Result<Vec<String>> {
        let extensions = self.out_facts(&session)?.extensions.clone();
        self.give(extensions)
    }

    fn tls_version(&mut self, session: Resource<OutSession>) -> wasmtime::Result<Option<String>> {
        let version = self.out_facts(&session)?.tls.clone();
        self.give(version)
    }

    fn property(&mut self, session: Resource<OutSession>, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.live(&session)?;
        self.taken(&name);
        let value = self.overlay.session_bag.value(Scope(&self.sink.name), &name).map(<[u8]>::to_vec);
        self.give(value)
    }

    fn set_property(&mut self, session: Resource<OutSession>, name: String, value: Vec<u8>) -> Result<(), Refused> {
        self.live(&session)?;
        self.taken(&name);
        self.taken(&value);
        self.writable()?;
        let bag = Arc::make_mut(&mut self.overlay.session_bag);
        bag.set(Scope(&self.sink.name), &name, value).map_err(bag_error)
    }

    fn drop(&mut self, _: Resource<OutSession>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostOutCommand for State {
    fn keyword(&mut self, command: Resource<OutCommand>) -> wasmtime::Result<String> {
        let keyword = self.out_command(&command)?.keyword();
        self.give(keyword)
    }

    fn line(&mut self, command: Resource<OutCommand>) -> wasmtime::Result<String> {
        self.read(Grant::ReadEnvelope, "the line of a command")?;
        let line = self.out_command(&command)?.line().to_owned();
        self.give(line)
    }

    fn native_line(&mut self, command: Resource<OutCommand>) -> wasmtime::Result<String> {
        self.read(Grant::ReadEnvelope, "the line of a command")?;
        let line = self.out_command(&command)?.native_line().to_owned();
        self.give(line)
    }

    fn set_line(&mut self, command: Resource<OutCommand>, line: String) -> Result<(), Refused> {
        self.taken(&line);
        self.edit(Grant::Outbound)?;
        self.out_command_mut(&command)?.set_line(&line).map_err(invalid)
    }

    fn append_parameter(&mut self, command: Resource<OutCommand>, parameter: String) -> Result<(), Refused> {
        self.taken(&parameter);
        self.edit(Grant::Outbound)?;
        self.out_command_mut(&command)?.append_parameter(&parameter).map_err(invalid)
    }

    fn previous_reply(&mut self, command: Resource<OutCommand>) -> wasmtime::Result<Option<Reply>> {
        self.live(&command)?;
        let facts = self.occasion.outbound.as_deref();
        let reply = facts.and_then(|facts| facts.previous_reply(&self.binding.name)).map(convert::reply_to_sink);
        self.give(reply)
    }

    fn drop(&mut self, _: Resource<OutCommand>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostServerResponse for State {
    fn keyword(&mut self, response: Resource<ServerResponse>) -> wasmtime::Result<String> {
        let keyword = self.response(&response)?.keyword.clone();
        self.give(keyword)
    }

    fn line(&mut self, response: Resource<ServerResponse>) -> wasmtime::Result<String> {
        self.read(Grant::ReadEnvelope, "the line of a command")?;
        let line = self.response(&response)?.line.clone();
        self.give(line)
    }

    fn reply(&mut self, response: Resource<ServerResponse>) -> wasmtime::Result<Reply> {
        let reply = convert::reply_to_sink(&self.response(&response)?.reply);
        self.give(reply)
    }

    fn is_pipelined(&mut self, response: Resource<ServerResponse>) -> wasmtime::Result<bool> {
        Ok(self.response(&response)?.is_pipelined)
    }

    fn drop(&mut self, _: Resource<ServerResponse>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl State {
    fn out_facts(&self, session: &Resource<OutSession>) -> wasmtime::Result<&OutFacts> {
        self.live(session)?;
        let facts = self.occasion.outbound.as_deref();
        facts.ok_or_else(|| Ended::host("there is no session with another server at this event").into())
    }

    fn out_command(&self, command: &Resource<OutCommand>) -> wasmtime::Result<&event::OutCommand> {
        self.live(command)?;
        self.overlay.out_command.as_ref().ok_or_else(|| Ended::host("there is no command at this event").into())
    }

    fn out_command_mut(&mut self, command: &Resource<OutCommand>) -> wasmtime::Result<&mut event::OutCommand> {
        self.live(command)?;
        self.overlay.out_command.as_mut().ok_or_else(|| Ended::host("there is no command at this event").into())
    }

    fn response(&self, response: &Resource<ServerResponse>) -> wasmtime::Result<&ResponseFacts> {
        self.live(response)?;
        self.occasion.response.as_deref().ok_or_else(|| Ended::host("nobody answered at this event").into())
    }
}
