//! The course of a visit: which servers are tried, and what each end of a connection means for the rest.

use core::net::SocketAddr;
use std::sync::Arc;

use basin_core::event::OutSession;
use basin_core::mail::BySink;
use basin_core::reply::{Class, Reply};
use basin_core::smtp::client::{ClientPolicy, Closed, Credentials, Hearing, Outgoing, TlsFacts, Why};
use basin_core::transport::{HostAddress, HostPort, NextHop, Route, TlsDemand};
use tokio::time::Instant;

use crate::connect::{Place, UNIX_PREFIX, is_own};
use crate::converse::Conversation;
use crate::dns::{Exchanger, Exchangers};
use crate::tls;
use crate::tls_policy::{DestinationPolicy, Handshake, Outcome, TlsPlan};
use crate::visit::Outbound;
use crate::wire::{Stream, Wire};
use crate::{Feed, HopAttempt, HopFacts, Visit};

/// A server that is about to be tried.
struct Stop {
    name: String,
    places: Vec<Place>,
    /// `None` for a socket on this machine, where there is nobody to hide from.
    plan: Option<TlsPlan>,
}

/// What follows the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The visit is over.
    Finish,
    /// The same address once more, as before.
    Again,
    /// The same address once more, in plain text.
    AgainInPlainText,
    /// The next address, or the next server.
    Elsewhere,
}

// What a sink answers in place of DNS. Nothing proves it, so a policy of the domain holds for its names as for those
// of DNS, and a certificate has to be for the name that the sink gave.
fn given(domain: &str, hosts: Vec<HostAddress>) -> Exchangers {
    let hosts = hosts.into_iter().filter(|host| !host.addresses.is_empty()).map(|host| Exchanger {
        name: host.name.trim_end_matches('.').to_ascii_lowercase(),
        preference: 0,
        addresses: Ok(host.addresses),
        is_secure: false,
        canonical: None,
    });
    Exchangers { domain: domain.to_ascii_lowercase(), hosts: hosts.collect(), is_secure: false, is_implicit: false }
}

/// A visit on its way.
pub(crate) struct Course<'a, F> {
    way: &'a Outbound,
    route: &'a Route,
    feed: &'a mut F,
    hops: Vec<HopAttempt>,
    in_hand: Option<Outgoing>,
    failure: Option<Reply>,
    /// The sink that would have no session.
    dropped_by: Option<BySink>,
    was_ready: bool,
    /// The first message says that it needs no TLS.
    is_relaxed: bool,
    last: HopFacts,
    reach: Instant,
    end: Instant,
}

impl<'a, F: Feed> Course<'a, F> {
    /// Begins a visit.
    pub(crate) fn new(way: &'a Outbound, route: &'a Route, feed: &'a mut F) -> Self {
        let (start, limits) = (Instant::now(), &way.options.limits);
        Self {
            way,
            route,
            feed,
            hops: Vec::new(),
            in_hand: None,
            failure: None,
            dropped_by: None,
            was_ready: false,
            is_relaxed: false,
            last: HopFacts::default(),
            reach: start + limits.reach,
            end: start + limits.visit,
        }
    }

    /// Tries servers until one of them has taken part to the end.
    pub(crate) async fn tour(&mut self) {
        self.is_relaxed = self.route.tls != TlsDemand::Never && self.feed.begins_without_tls().await;
        match &self.route.next {
            NextHop::Hosts(hosts) => {
                for host in hosts.iter().take(self.way.options.limits.hosts_max) {
                    let stop = self.hop(host).await;
                    if self.try_stop(&host.host, stop).await {
                        return;
                    }
                }
            }
            NextHop::Mx(domain) => match self.feed.hosts(domain).await {
                Ok(Some(hosts)) => self.tour_exchangers(given(domain, hosts)).await,
                Ok(None) => match self.way.resolver.exchangers(domain, self.way.random()).await {
                    Ok(exchangers) => self.tour_exchangers(exchangers).await,
                    Err(failure) => self.note(failure.reply),
                },
                Err(reply) => self.note(reply),
            },
        }
    }

    /// Reports the message that nobody took, and sums up.
    pub(crate) async fn finish(mut self) -> Visit {
        let silence = || Reply::with(451, 4, 1, "no server could be tried");
        if let Some(outgoing) = self.in_hand.take() {
            let reply = self.failure.take().unwrap_or_else(silence);
            self.feed.done(outgoing.failed(&reply).by(self.dropped_by.as_ref()), &self.last).await;
        }
        // Where a server was ready, every message that was taken has its own result, and nothing else failed.
        let failure = if self.was_ready { None } else { Some(self.failure.unwrap_or_else(silence)) };
        Visit { hops: self.hops, failure, dropped_by: self.dropped_by }
    }

    async fn tour_exchangers(&mut self, exchangers: Exchangers) {
        let policy = if self.is_relaxed {
            DestinationPolicy::relaxed_domain(self.route.tls, &exchangers)
        } else {
            self.way.policies.destination(self.route.tls, &exchangers).await
        };
        for exchanger in exchangers.hosts.into_iter().take(self.way.options.limits.hosts_max) {
            let name = exchanger.name.clone();
            let stop = self.exchanger(&policy, exchanger, self.way.options.mx_port).await;
            if self.try_stop(&name, stop).await {
                return;
            }
        }
    }

    async fn hop(&self, host: &HostPort) -> Result<Stop, Reply> {
        if let Some(path) = host.host.strip_prefix(UNIX_PREFIX) {
            if self.route.is_tls_implicit || self.route.tls > TlsDemand::Opportunistic {
                return Err(Reply::with(451, 7, 4, "TLS is demanded, and a socket of this machine has none"));
            }
            let places = vec![Place::Unix(path.to_owned())];
            return Ok(Stop { name: host.host.clone(), places, plan: None });
        }
        let exchanger = self.way.resolver.host(&host.host).await;
        // A connection that begins with TLS has it, whatever else the route says.
        let demand = if self.route.is_tls_implicit { self.route.tls.max(TlsDemand::Required) } else { self.route.tls };
        let policy = DestinationPolicy::of_hop(demand);
        let policy = if self.is_relaxed { policy.relaxed() } else { policy };
        self.exchanger(&policy, exchanger, host.port).await
    }

    async fn exchanger(&self, policy: &DestinationPolicy, exchanger: Exchanger, port: u16) -> Result<Stop, Reply> {
        let plan = self.way.policies.plan(policy, &exchanger, port).await.map_err(|failure| failure.reply)?;
        let addresses = exchanger.addresses.map_err(|failure| failure.reply)?;
        let places = addresses.into_iter().take(self.way.options.limits.addresses_per_host_max);
        let places = places.map(|ip| Place::Net(SocketAddr::new(ip, port))).collect();
        Ok(Stop { name: exchanger.name, places, plan: Some(plan) })
    }

    // Tries the addresses of a server. Whether the visit is over with it.
    async fn try_stop(&mut self, name: &str, stop: Result<Stop, Reply>) -> bool {
        match stop {
            Err(reply) => self.failed_hop(name, None, Instant::now(), reply),
            Ok(stop) => {
                for place in &stop.places {
                    if self.is_out_of_time() || self.try_place(&stop, place).await {
                        return true;
                    }
                }
            }
        }
        self.is_out_of_time()
    }

    // Tries one address, more than once where there is a reason to. Whether the visit is over with it.
    async fn try_place(&mut self, stop: &Stop, place: &Place) -> bool {
        let mut is_plain = !stop.plan.as_ref().is_some_and(TlsPlan::wants_tls);
        loop {
            match self.call(stop, place, is_plain).await {
                Next::Finish => return true,
                Next::Again if self.is_out_of_time() => return true,
                Next::Again => {}
                Next::AgainInPlainText => is_plain = true,
                Next::Elsewhere => return false,
            }
        }
    }

    // One connection, from its first packet to its last.
    async fn call(&mut self, stop: &Stop, place: &Place, is_plain: bool) -> Next {
        let start = Instant::now();
        let options = &self.way.options;
        let mut policy = match self.policy(stop, place, is_plain) {
            Ok(policy) => policy,
            Err(reply) => {
                self.failed_hop(&stop.name, Some(place), start, reply);
                return Next::Elsewhere;
            }
        };
        let patience = options.limits.connect.min(self.bound().saturating_duration_since(start));
        let (stream, local, tls) = match self.connect(stop, place, is_plain, patience).await {
            Ok(connected) => connected,
            Err(reply) => {
                self.failed_hop(&stop.name, Some(place), start, reply);
                return Next::Elsewhere;
            }
        };
        policy.hearing = self.hearing(stop, place, local).await;
        let (source, reach) = (local.map(|local| local.ip()), self.bound());
        let mut conversation = Conversation {
            wire: Some(Wire::new(stream)),
            hands: if is_plain { None } else { stop.plan.as_ref().and_then(TlsPlan::handshake) },
            shown: &self.way.shown,
            handshake_patience: options.limits.handshake,
            feed: &mut *self.feed,
            in_hand: self.in_hand.take(),
            // What follows may need more than a relaxed connection. A limit of none at all would be a visit without end.
            messages_max: if self.is_relaxed { 1 } else { self.route.limits.messages_per_connection.max(1) },
            reach,
            end: self.end,
            end_patience: options.timeouts.end,
            facts: HopFacts { host: stop.name.clone(), address: place.address(), source, tls },
            out: Vec::new(),
            messages: 0,
            completed: 0,
            is_ready: false,
            handshake_error: None,
            is_relaxed: self.is_relaxed,
            unfit: None,
        };
        let mut closed = conversation.run(policy).await;
        let Conversation { in_hand, facts, messages, completed, is_ready, handshake_error, hands, unfit, .. } =
            conversation;
        self.was_ready |= is_ready;
        self.in_hand = in_hand.or_else(|| closed.unsent.clone());
        let may_be_plain = handshake_error.is_some() && stop.plan.as_ref().is_some_and(|plan| !plan.needs_tls());
        let outcome = match (handshake_error, &facts.tls) {
            (Some(error), _) => Some(Outcome::Failed(error)),
            (None, Some(_)) => Some(Outcome::Secured(hands.as_ref().and_then(Handshake::flaw))),
            (None, None) => (is_ready || closed.why == Why::Tls).then_some(Outcome::NotOffered),
        };
        // The attempt in plain text follows one that was noted.
        if let (Some(plan), Some(outcome), false) = (&stop.plan, outcome, is_plain) {
            // RFC 8460 counts what came of a domain's policy; nothing does where it is not obeyed. Reports about TLS say
            // `TLS-Required: No` themselves, so no report causes another.
            if !self.is_relaxed {
                self.way.policies.note_outcome(plan, facts.source, &outcome);
            }
            closed.reply = plan.explain(&outcome).filter(|_| closed.why == Why::Tls).unwrap_or(closed.reply);
        }
        self.hops.push(HopAttempt {
            host: facts.host.clone(),
            address: facts.address,
            source: facts.source,
            tls: facts.tls.clone(),
            error: unfit.clone().or_else(|| (closed.why != Why::Quit).then(|| closed.reply.clone())),
            by: closed.by.as_deref().cloned().filter(|_| unfit.is_none()),
            messages,
            took: start.elapsed(),
        });
        self.last = facts;
        self.next(closed, unfit, completed, may_be_plain)
    }

    // What sinks hear of a connection.
    async fn hearing(&mut self, stop: &Stop, place: &Place, local: Option<SocketAddr>) -> Option<Arc<Hearing>> {
        let session = OutSession { id: String::new(), host: stop.name.clone(), remote: place.address(), local };
        self.feed.hearing(session).await.map(Arc::new)
    }

    // What follows the end of a connection that carried so many messages to their results.
    fn next(&mut self, closed: Closed, unfit: Option<Reply>, completed: u32, may_be_plain: bool) -> Next {
        if let Some(reply) = unfit {
            self.note(reply);
            return Next::Elsewhere;
        }
        let is_waiting = self.in_hand.is_some();
        match closed.why {
            Why::Tls if may_be_plain => return Next::AgainInPlainText,
            Why::Quit | Why::ShutDown => {}
            // Where a sink will have no session, another server would only meet the same sink.
            Why::Dropped => {
                self.dropped_by = closed.by.map(|by| *by);
                self.failure = Some(closed.reply);
                return Next::Finish;
            }
            // The message itself cannot be sent; no other server makes it better.
            Why::Content if is_waiting => {
                self.failure = Some(closed.reply);
                return Next::Finish;
            }
            Why::LimitReached
            | Why::Refused
            | Why::ServiceClosing
            | Why::Lost
            | Why::TimedOut
            | Why::Violation
            | Why::Tls
            | Why::Login
            | Why::Content => self.note(closed.reply),
        }
        // A connection that served other messages before it broke says nothing about the one in hand: it gets
        // another one, and as that must serve a message before there is a third, this ends.
        match (is_waiting, self.was_ready) {
            (true, _) if completed > 0 => Next::Again,
            (true, _) | (false, false) => Next::Elsewhere,
            (false, true) => Next::Finish,
        }
    }

    async fn connect(
        &self,
        stop: &Stop,
        place: &Place,
        is_plain: bool,
        patience: core::time::Duration,
    ) -> Result<(Stream, Option<SocketAddr>, Option<TlsFacts>), Reply> {
        let options = &self.way.options;
        let stream = place.connect(options.sources_of(self.route), patience).await?;
        let stream = match stream {
            Stream::Tcp(stream) => stream,
            other @ (Stream::Unix(_) | Stream::Tls(_)) => return Ok((other, None, None)),
        };
        let source = stream.local_addr().ok();
        let plan = stop.plan.as_ref().filter(|_| self.route.is_tls_implicit && !is_plain);
        let Some(plan) = plan else { return Ok((Stream::Tcp(stream), source, None)) };
        let hands =
            plan.handshake().ok_or_else(|| Reply::with(451, 7, 5, "the server's name cannot be used in TLS"))?;
        match tls::shake(stream, &hands, &self.way.shown, options.limits.handshake).await {
            Ok((stream, facts)) => Ok((stream, source, Some(facts))),
            Err(error) => Err(plan.failed(&error)),
        }
    }

    fn policy(&self, stop: &Stop, place: &Place, is_plain: bool) -> Result<ClientPolicy, Reply> {
        let options = &self.way.options;
        if place.address().is_some_and(|address| is_own(address, &options.listeners)) {
            let text = format!("{} is this server itself: mail loops back to it", stop.name);
            return Err(Reply::with(554, 4, 6, text));
        }
        let mut policy = ClientPolicy::new(options.host_name.clone());
        policy.protocol = self.route.protocol;
        policy.timeouts = options.timeouts.clone();
        policy.chunking = options.chunking;
        policy.tls = match &stop.plan {
            Some(plan) if plan.needs_tls() => self.route.tls.max(TlsDemand::Required),
            Some(_) if !is_plain => TlsDemand::Opportunistic,
            Some(_) | None => TlsDemand::Never,
        };
        policy.credentials = match &self.route.credentials {
            None => None,
            Some(name) => match options.credentials.get(name) {
                // Whatever was allowed, a password in plain text goes to nobody but this machine itself.
                Some(known) => Some(Credentials {
                    may_go_unencrypted: known.may_go_unencrypted && place.is_on_this_machine(),
                    ..known.clone()
                }),
                None => return Err(Reply::with(451, 7, 8, format!("there are no credentials of the name {name}"))),
            },
        };
        Ok(policy)
    }

    fn failed_hop(&mut self, host: &str, place: Option<&Place>, start: Instant, reply: Reply) {
        self.hops.push(HopAttempt {
            host: host.to_owned(),
            address: place.and_then(Place::address),
            source: None,
            tls: None,
            error: Some(reply.clone()),
            by: None,
            messages: 0,
            took: start.elapsed(),
        });
        self.note(reply);
    }

    // Keeps the last reply, but a permanent one only as long as no other server gave hope.
    fn note(&mut self, reply: Reply) {
        let had_hope = self.failure.as_ref().is_some_and(|kept| kept.class() != Class::Permanent);
        if !had_hope || reply.class() != Class::Permanent {
            self.failure = Some(reply);
        }
    }

    fn bound(&self) -> Instant {
        if self.was_ready { self.end } else { self.reach.min(self.end) }
    }

    fn is_out_of_time(&self) -> bool {
        Instant::now() >= self.bound()
    }
}
