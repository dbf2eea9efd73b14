//! `transport`: destinations, hops that a sink chooses, and lines of the tracking log.

use core::net::IpAddr;

use basin_core::addr::check_domain;
use basin_core::event::{DestinationFacts, Grant, TrackFacts};
use basin_core::transport::{Hop, HopTarget, HostPort, TlsDemand};
use wasmtime::component::Resource;

use super::{Destination, ErrorValue, NextHop, Refused, TrackRecord, invalid};
use crate::Named;
use crate::bindings::basin::sink::transport::{Host, HostDestination, HostNextHop, HostTrackRecord};
use crate::bindings::basin::sink::types::{Datetime, Endpoint, Reply};
use crate::convert;
use crate::ended::Ended;
use crate::state::State;

/// Hops that one call makes; a verdict takes 16 of them.
const HOPS_MADE_MAX: usize = 64;

/// The hops that a call has made, until the verdict takes them.
#[derive(Debug, Default)]
pub(crate) struct Hops(Vec<Option<Hop>>);

impl Host for State {}

impl HostNextHop for State {
    fn mx(&mut self, domain: String) -> Result<Resource<NextHop>, Refused> {
        self.taken(&domain);
        self.may_route()?;
        check_domain(&domain).map_err(invalid)?;
        self.hop(HopTarget::Mx(domain.to_ascii_lowercase()))
    }

    fn host(&mut self, name: String, port: u16) -> Result<Resource<NextHop>, Refused> {
        self.taken(&name);
        self.may_route()?;
        if port == 0 {
            return Err(invalid("a server listens on port 1 to 65535"));
        }
        let host = host_name(&name)?;
        self.hop(HopTarget::Host(HostPort { host, port }))
    }

    fn lmtp(&mut self, name: String) -> Result<Resource<NextHop>, Refused> {
        self.taken(&name);
        self.may_route()?;
        self.named(Named::Lmtp, &name)?;
        self.hop(HopTarget::Lmtp(name))
    }

    // There is no answer to say `denied` in; without the grant no verdict takes it.
    fn local(&mut self) -> wasmtime::Result<Resource<NextHop>> {
        match self.hop(HopTarget::Local) {
            Ok(hop) => Ok(hop),
            Err(Refused::End(error)) => Err(error),
            Err(Refused::Answer(_)) => Err(Ended::quota(too_many_hops()).into()),
        }
    }

    fn set_tls(&mut self, hop: Resource<NextHop>, level: String) -> Result<(), Refused> {
        self.taken(&level);
        let demand = match level.as_str() {
            "none" => TlsDemand::Never,
            "opportunistic" => TlsDemand::Opportunistic,
            "required" => TlsDemand::Required,
            "verified" => TlsDemand::Verified,
            _ => return Err(invalid("TLS is none, opportunistic, required or verified")),
        };
        self.hop_mut(&hop)?.tls = Some(demand);
        Ok(())
    }

    fn set_credentials(&mut self, hop: Resource<NextHop>, name: String) -> Result<(), Refused> {
        self.taken(&name);
        self.may_route()?;
        let there = self.hop_mut(&hop)?.next.clone();
        if !self.host.may_log_in(&name, &there) {
            return Err(ErrorValue::NotFound.into());
        }
        self.hop_mut(&hop)?.credentials = Some(name);
        Ok(())
    }

    fn set_source(&mut self, hop: Resource<NextHop>, name: String) -> Result<(), Refused> {
        self.taken(&name);
        self.may_route()?;
        self.named(Named::Source, &name)?;
        self.hop_mut(&hop)?.source = Some(name);
        Ok(())
    }

    fn drop(&mut self, hop: Resource<NextHop>) -> wasmtime::Result<()> {
        if let Ok(number) = self.number(&hop) {
            self.take_hop(number);
        }
        Ok(())
    }
}

impl HostDestination for State {
    fn domain(&mut self, destination: Resource<Destination>) -> wasmtime::Result<String> {
        let domain = self.destination(&destination)?.domain.clone();
        self.give(domain)
    }

    fn failures(&mut self, destination: Resource<Destination>) -> wasmtime::Result<Vec<(String, Reply)>> {
        let failures = self.destination(&destination)?.failures.iter();
        let failures = failures.map(|(hop, reply)| (hop.clone(), convert::reply_to_sink(reply))).collect::<Vec<_>>();
        self.give(failures)
    }

    fn drop(&mut self, _: Resource<Destination>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostTrackRecord for State {
    fn kind(&mut self, record: Resource<TrackRecord>) -> wasmtime::Result<String> {
        let kind = self.track(&record)?.kind.clone();
        self.give(kind)
    }

    fn at(&mut self, record: Resource<TrackRecord>) -> wasmtime::Result<Datetime> {
        Ok(convert::datetime(self.track(&record)?.at))
    }

    fn message_id(&mut self, record: Resource<TrackRecord>) -> wasmtime::Result<String> {
        let id = self.track(&record)?.message_id.clone();
        self.give(id)
    }

    fn sender(&mut self, record: Resource<TrackRecord>) -> wasmtime::Result<String> {
        self.read(Grant::ReadEnvelope, "the sender")?;
        let sender = self.track(&record)?.sender.clone();
        self.give(sender)
    }

    fn recipient(&mut self, record: Resource<TrackRecord>) -> wasmtime::Result<Option<String>> {
        self.read(Grant::ReadEnvelope, "the recipient")?;
        let recipient = self.track(&record)?.recipient.clone();
        self.give(recipient)
    }

    fn remote(&mut self, record: Resource<TrackRecord>) -> wasmtime::Result<Option<Endpoint>> {
        Ok(self.track(&record)?.remote.map(convert::endpoint))
    }

    fn reply(&mut self, record: Resource<TrackRecord>) -> wasmtime::Result<Option<Reply>> {
        let reply = self.track(&record)?.reply.as_ref().map(convert::reply_to_sink);
        self.give(reply)
    }

    fn size(&mut self, record: Resource<TrackRecord>) -> wasmtime::Result<u64> {
        Ok(self.track(&record)?.size)
    }

    fn elapsed_ms(&mut self, record: Resource<TrackRecord>) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.track(&record)?.elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    fn drop(&mut self, _: Resource<TrackRecord>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// A host by name or address, as hops and answers to `on-dns-resolve` name it; addresses without brackets.
pub(crate) fn host_name(name: &str) -> Result<String, Refused> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let bare = bare.strip_prefix("IPv6:").unwrap_or(bare);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    check_domain(name).map_err(invalid)?;
    Ok(name.to_ascii_lowercase())
}

fn too_many_hops() -> String {
    format!("a call makes at most {HOPS_MADE_MAX} hops")
}

impl State {
    /// The hop behind a handle, out of the call's hands.
    pub(crate) fn take_hop(&mut self, number: u32) -> Option<Hop> {
        self.hops.0.get_mut(usize::try_from(number).ok()?)?.take()
    }

    fn may_route(&mut self) -> Result<(), Refused> {
        self.service(Grant::Route)
    }

    fn named(&self, what: Named, name: &str) -> Result<(), Refused> {
        if self.host.has_name(what, name) { Ok(()) } else { Err(ErrorValue::NotFound.into()) }
    }

    fn hop(&mut self, next: HopTarget) -> Result<Resource<NextHop>, Refused> {
        if self.hops.0.len() >= HOPS_MADE_MAX {
            return Err(ErrorValue::Limit(too_many_hops()).into());
        }
        let handle = self.handle(u32::try_from(self.hops.0.len()).unwrap_or(u32::MAX))?;
        self.hops.0.push(Some(Hop::to(next)));
        Ok(handle)
    }

    fn hop_mut(&mut self, hop: &Resource<NextHop>) -> Result<&mut Hop, Refused> {
        let place = usize::try_from(self.number(hop)?).unwrap_or(usize::MAX);
        Ok(self.hops.0.get_mut(place).and_then(Option::as_mut).ok_or(ErrorValue::NotFound)?)
    }

    fn destination(&self, destination: &Resource<Destination>) -> wasmtime::Result<&DestinationFacts> {
        self.live(destination)?;
        let facts = self.occasion.destination.as_deref();
        facts.ok_or_else(|| Ended::host("there is no destination at this event").into())
    }

    fn track(&self, record: &Resource<TrackRecord>) -> wasmtime::Result<&TrackFacts> {
        self.live(record)?;
        self.occasion.track.as_deref().ok_or_else(|| Ended::host("there is no tracking record at this event").into())
    }
}
