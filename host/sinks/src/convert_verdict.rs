//! Verdicts as sinks say them, made verdicts of the core.

use core::net::IpAddr;

use basin_core::addr::Address;
use basin_core::event::{FailureKind, Later, OutState, Verdict};
use basin_core::limits::SINK_RECIPIENTS_ADDED_MAX;
use basin_core::reply::Reply;
use basin_core::transport::HostAddress;

use crate::bindings::basin::sink::{inbound, outbound, transport, types};
use crate::convert::{later_from_sink, reply_from_sink};
use crate::ended::Ended;
use crate::host_api::host_name;
use crate::state::State;
use crate::text;

/// Longest text of `hold` and `bad-mail`, in octets; it goes into logs and the queue's listing.
const REASON_BYTES_MAX: usize = 512;

/// Most hops of a destination, hosts of a domain and addresses of a host (`wit/transport.wit`).
const HOPS_MAX: usize = 16;

/// A verdict as a sink said it, made a verdict of the core.
pub(crate) trait IntoVerdict {
    /// The verdict; what cannot be one ends the call.
    fn into_verdict(self, state: &mut State) -> Result<Verdict, Ended>;
}

impl IntoVerdict for () {
    fn into_verdict(self, _: &mut State) -> Result<Verdict, Ended> {
        Ok(Verdict::Next)
    }
}

impl IntoVerdict for inbound::ConnectVerdict {
    fn into_verdict(self, _: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::SkipRemaining => Verdict::SkipRemaining,
            Self::Refuse(with) => Verdict::Refuse(reply(with)?),
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for inbound::CommandVerdict {
    fn into_verdict(self, _: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::SkipRemaining => Verdict::SkipRemaining,
            Self::Accept => Verdict::Accept,
            Self::Consume(with) => Verdict::Consume(reply(with)?),
            Self::Refuse(with) => Verdict::Refuse(reply(with)?),
            Self::DropSession(with) => Verdict::DropSession(reply(with)?),
            Self::AwaitInput(with) => Verdict::AwaitInput(reply(with)?),
            Self::AwaitOctets((with, octets)) => Verdict::AwaitOctets(reply(with)?, octets),
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for inbound::DataVerdict {
    fn into_verdict(self, _: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::SkipRemaining => Verdict::SkipRemaining,
            Self::Refuse(with) => Verdict::Refuse(reply(with)?),
            Self::DropSession(with) => Verdict::DropSession(reply(with)?),
            Self::Discard => Verdict::Discard,
            Self::Hold(why) => Verdict::Hold(text::line(&why, REASON_BYTES_MAX)),
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for inbound::SizeVerdict {
    fn into_verdict(self, _: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::WaiveUpTo(octets) => Verdict::WaiveUpTo(octets),
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for inbound::MessageVerdict {
    fn into_verdict(self, _: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::SkipRemaining => Verdict::SkipRemaining,
            Self::Refuse(with) => Verdict::Refuse(reply(with)?),
            Self::Defer(until) => Verdict::Defer(later(until)?),
            Self::Discard => Verdict::Discard,
            Self::Hold(why) => Verdict::Hold(text::line(&why, REASON_BYTES_MAX)),
            Self::BadMail(why) => Verdict::BadMail(text::line(&why, REASON_BYTES_MAX)),
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for transport::Resolution {
    fn into_verdict(self, state: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::Resolved => Verdict::Resolved,
            Self::Expand(addresses) => Verdict::Expand(expanded(state, &addresses)?),
            Self::Unknown(with) => Verdict::Refuse(reply(with)?),
            Self::Defer(until) => Verdict::Defer(later(until)?),
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for transport::RouteVerdict {
    fn into_verdict(self, state: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::SkipRemaining => Verdict::SkipRemaining,
            Self::UseHops(hops) => {
                if !(1..=HOPS_MAX).contains(&hops.len()) {
                    return Err(refused(format!("it named {} hops; a destination has 1 to {HOPS_MAX}", hops.len())));
                }
                let taken = hops.iter().map(|hop| Ok(state.take_hop(state.number(hop)?)));
                let taken = taken.collect::<Result<Option<Vec<_>>, Ended>>()?;
                Verdict::Hops(taken.ok_or_else(|| refused("it named a hop that is none".to_owned()))?)
            }
            Self::Fail(with) => Verdict::Refuse(reply(with)?),
            Self::Defer(until) => Verdict::Defer(later(until)?),
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for transport::DnsVerdict {
    fn into_verdict(self, state: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::UseHosts(hosts) => Verdict::Hosts(known_hosts(state, &hosts)?),
            Self::Fail(with) => Verdict::Refuse(reply(with)?),
            Self::Defer(until) => Verdict::Defer(later(until)?),
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for transport::Delivery {
    fn into_verdict(self, _: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::Delivered => Verdict::Delivered,
            Self::Fail(with) => Verdict::Refuse(reply(with)?),
            Self::Defer(until) => Verdict::Defer(later(until)?),
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for transport::NotificationVerdict {
    fn into_verdict(self, _: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::Suppress => Verdict::Suppress,
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for outbound::OutVerdict {
    fn into_verdict(self, state: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::SkipRemaining => Verdict::SkipRemaining,
            Self::SendFirst(line) => {
                state.taken(&line);
                Verdict::SendFirst(line)
            }
            Self::SendBlob(octets) => {
                state.taken(&octets);
                Verdict::SendBlob(octets)
            }
            Self::SkipRecipient(with) => Verdict::SkipRecipient(reply(with)?),
            Self::SkipMessage(with) => Verdict::SkipMessage(reply(with)?),
            Self::DropSession => Verdict::DropSession(hung_up()),
            Self::Special(_) => return Err(special()),
        })
    }
}

impl IntoVerdict for outbound::ResponseVerdict {
    fn into_verdict(self, _: &mut State) -> Result<Verdict, Ended> {
        Ok(match self {
            Self::Next => Verdict::Next,
            Self::SkipRemaining => Verdict::SkipRemaining,
            Self::TreatAs(with) => Verdict::TreatAs(reply(with)?),
            Self::ChangeState(state) => Verdict::ChangeState(match state {
                outbound::OutState::SessionStart => OutState::SessionStart,
                outbound::OutState::MessageStart => OutState::MessageStart,
                outbound::OutState::PerRecipient => OutState::PerRecipient,
                outbound::OutState::Data => OutState::Data,
                outbound::OutState::SessionEnd => OutState::SessionEnd,
            }),
            Self::DropSession => Verdict::DropSession(hung_up()),
            Self::Special(_) => return Err(special()),
        })
    }
}

// Each of these is asked about in turn; a list that is no list of addresses is a fault of the sink, and nothing of it
// is taken.
fn expanded(state: &mut State, addresses: &[String]) -> Result<Vec<Address>, Ended> {
    if addresses.len() > SINK_RECIPIENTS_ADDED_MAX {
        let (count, most) = (addresses.len(), SINK_RECIPIENTS_ADDED_MAX);
        return Err(refused(format!("it expanded a recipient to {count} addresses, the limit is {most}")));
    }
    let parse = |text: &String| {
        state.taken(text);
        Address::parse_utf8(text).map_err(|why| refused(format!("it expanded a recipient to no address: {why}")))
    };
    addresses.iter().map(parse).collect()
}

fn known_hosts(state: &mut State, hosts: &[transport::HostAddress]) -> Result<Vec<HostAddress>, Ended> {
    if !(1..=HOPS_MAX).contains(&hosts.len()) || hosts.iter().any(|host| host.addresses.len() > HOPS_MAX) {
        return Err(refused(format!("a domain has 1 to {HOPS_MAX} hosts with at most {HOPS_MAX} addresses each")));
    }
    let address = |text: &String| {
        text.parse::<IpAddr>().map_err(|_| refused(format!("{:?} is no address of a host", text::line(text, 64))))
    };
    let mut known = Vec::new();
    for host in hosts {
        state.taken(&host.name);
        state.taken(&host.addresses);
        let name =
            host_name(&host.name).map_err(|_| refused(format!("{:?} is no host", text::line(&host.name, 64))))?;
        known.push(HostAddress { name, addresses: host.addresses.iter().map(address).collect::<Result<_, _>>()? });
    }
    Ok(known)
}

fn reply(reply: types::Reply) -> Result<Reply, Ended> {
    reply_from_sink(reply).map_err(refused)
}

fn later(until: types::Later) -> Result<Later, Ended> {
    later_from_sink(until).map_err(refused)
}

// What is not done is tried again.
fn hung_up() -> Reply {
    Reply::with(451, 7, 1, "a filter of this server ended the session")
}

fn refused(why: String) -> Ended {
    Ended::new(FailureKind::Verdict, why)
}

fn special() -> Ended {
    refused("the verdict `special` is reserved for later versions".to_owned())
}
