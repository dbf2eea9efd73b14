//! The way out: visits of the server under test to its peers.

use std::sync::Arc;

use basin_core::queue::{Another, Lease, Visit, VisitEnd};
use basin_core::reply::Reply;
use basin_core::smtp::client::{Accepted, ClientPolicy, Outgoing, Sent};
use basin_core::transport::{Attempt, Change, NextHop, Relayed};

use super::{CALM, Visiting, World};
use crate::dice::Dice;
use crate::ledger::uid;
use crate::link::{Event, Link};
use crate::peer::Played;

impl World {
    pub(super) fn begin_visit(&mut self, visit: Visit, lease: Lease) {
        self.ledger.counts.visits += 1;
        let NextHop::Mx(domain) = &visit.route().next else {
            return self.ledger.find("a route that nobody configured".into());
        };
        let found = self.peers.iter().position(|peer| peer.domain == *domain);
        if let Some(reply) = self.node.asked_for_hosts(domain, self.now, &mut self.dice) {
            return self.not_reached(visit, lease, reply);
        }
        let peer = found.filter(|peer| self.peers.get(*peer).is_some_and(|peer| peer.is_up(self.now)));
        let Some(peer) = peer else {
            let reply = Reply::with(451, 4, 1, "connection timed out");
            return self.not_reached(visit, lease, reply);
        };
        let Some(played) = self.peers.get(peer) else { return };
        let acceptor = Played { peer: played, ledger: &mut self.ledger };
        let weather = if self.now >= self.calm_from { CALM } else { self.weather };
        let mut policy = ClientPolicy::clone(&self.client_policy);
        policy.hearing = self.node.sinks.hearing(self.dice.next());
        let link = Link::new(&Arc::new(policy), &played.policy, &acceptor, weather, self.now, &mut self.dice);
        self.visits.push(Visiting { visit, peer, link, lease: Some(lease), is_reached: false, later: None });
    }

    pub(super) fn not_reached(&mut self, visit: Visit, lease: Lease, reply: Reply) {
        let again = self.node.schedule.close(visit, VisitEnd::Failed(reply.clone()), self.now, self.dice.next());
        let results = self.recipients(&lease).into_iter().map(|id| (id, Err(reply.clone()))).collect();
        let attempt = Attempt { at: self.now, host: None, results, by_sinks: Default::default(), again };
        self.apply(lease, Change::Sent(attempt), Vec::new());
    }

    pub(super) fn recipients(&mut self, lease: &Lease) -> Vec<u32> {
        let loaded = self.node.load(lease.message(), self.now);
        loaded.map(|(message, _)| self.node.policy.outgoing(&message, lease.destination())).unwrap_or_default()
    }

    pub(super) fn step_visit(&mut self) -> bool {
        let mut order: Vec<usize> = (0..self.visits.len()).collect();
        let first = usize::try_from(self.dice.below(order.len() as u64)).unwrap_or(0);
        let count = order.len();
        order.rotate_left(first.min(count));
        for place in order {
            let Some(visiting) = self.visits.get_mut(place) else { continue };
            if visiting.later.is_some_and(|later| later > self.now) {
                continue;
            }
            visiting.later = None;
            let Some(peer) = self.peers.get(visiting.peer) else { continue };
            let mut played = Played { peer, ledger: &mut self.ledger };
            let sinks = &mut self.node.sinks;
            let mut asker = |question, dice: &mut Dice| sinks.decide(question, dice);
            let event = visiting.link.step(&mut played, &mut asker, self.now, &mut self.dice);
            if matches!(event, Event::Stuck) {
                continue;
            }
            let visiting = self.visits.swap_remove(place);
            if let Some(visiting) = self.went_on(visiting, event) {
                self.visits.push(visiting);
            }
            return true;
        }
        false
    }

    fn went_on(&mut self, mut visiting: Visiting, event: Event) -> Option<Visiting> {
        match event {
            Event::Moved | Event::Stuck => {}
            Event::Free => self.next_message(&mut visiting),
            Event::Sent(sent) => {
                if !visiting.is_reached {
                    visiting.is_reached = true;
                    self.node.schedule.reached(&visiting.visit, self.now);
                }
                self.record(&mut visiting, &sent);
                visiting.link.go_on(self.now);
            }
            Event::Closed(closed) => {
                let Visiting { visit, peer, link, lease, is_reached, .. } = visiting;
                if let Some(peer) = self.peers.get(peer) {
                    let mut played = Played { peer, ledger: &mut self.ledger };
                    link.drain(&mut played, self.now, &mut self.dice);
                }
                self.ledger.counts.broken += u64::from(lease.is_some());
                match (lease, is_reached) {
                    (Some(lease), false) => self.not_reached(visit, lease, closed.reply),
                    (Some(lease), true) => {
                        let _ = self.node.schedule.close(visit, VisitEnd::Reached, self.now, self.dice.next());
                        let unsent = closed.unsent.map(|outgoing| outgoing.failed(&closed.reply).results);
                        let results = unsent.unwrap_or_default().into_iter();
                        let results = results.map(|(id, result)| (id, result.map(relayed))).collect();
                        let attempt = Attempt {
                            at: self.now,
                            host: Some("mx".into()),
                            results,
                            by_sinks: Default::default(),
                            again: None,
                        };
                        self.apply(lease, Change::Sent(attempt), Vec::new());
                    }
                    (None, _) => {
                        let _ = self.node.schedule.close(visit, VisitEnd::Reached, self.now, self.dice.next());
                    }
                }
                return None;
            }
        }
        Some(visiting)
    }

    // The connection is free: the job that it was opened for, or what the schedule has for it.
    fn next_message(&mut self, visiting: &mut Visiting) {
        if visiting.lease.is_none() {
            match self.node.schedule.another(&visiting.visit, self.now) {
                Another::Job(lease) => visiting.lease = Some(lease),
                Another::Later(at) => {
                    visiting.later = Some(at);
                    return visiting.link.stay();
                }
                Another::Close => return visiting.link.quit(self.now),
            }
        }
        let outgoing = visiting.lease.as_ref().and_then(|lease| {
            let (message, _) = self.node.load(lease.message(), self.now)?;
            let recipients = self.node.policy.outgoing(&message, lease.destination());
            (!recipients.is_empty()).then(|| Outgoing::of(&message, &recipients))
        });
        match outgoing {
            Some(outgoing) => visiting.link.transact(outgoing, self.now),
            None => {
                // It came to its end meanwhile, or cannot be read now: it is taken up again from the disk.
                if let Some(lease) = visiting.lease.take() {
                    let id = lease.message().clone();
                    self.node.start(&id, &mut self.ledger, self.now, &mut self.dice);
                    self.node.finish(lease, self.now);
                }
                visiting.link.stay();
            }
        }
    }

    fn record(&mut self, visiting: &mut Visiting, sent: &Sent) {
        self.ledger.tell(|| format!("  {sent:?}"));
        let Some(lease) = visiting.lease.take() else {
            return self.ledger.find("results without a job".into());
        };
        let mut delivered = Vec::new();
        if let Some((message, _)) = self.node.load(lease.message(), self.now) {
            let uid = uid(&message);
            let taken = sent.results.iter().filter(|(_, result)| result.is_ok());
            for recipient in taken.filter_map(|(id, _)| message.envelope.recipient(*id)) {
                delivered.push((uid.clone(), recipient.address.to_string()));
            }
        }
        let results = sent.results.iter().map(|(id, result)| (*id, result.clone().map(relayed))).collect();
        let attempt =
            Attempt { at: self.now, host: Some("mx".into()), results, by_sinks: Default::default(), again: None };
        if sent.is_complete {
            self.apply(lease, Change::Sent(attempt), delivered);
        } else {
            let id = lease.message().clone();
            let change = Change::Sent(attempt);
            self.node.change(&id, change, delivered, &mut self.ledger, self.now, &mut self.dice);
            visiting.lease = Some(lease);
        }
    }
}

fn relayed(accepted: Accepted) -> Relayed {
    Relayed { reply: accepted.reply, is_dsn_passed: accepted.is_dsn_passed }
}
