//! What happens to a stored message from outside its stages: results of a visit, the schedule, an operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::machine::{End, Transport, TransportPolicy, Work};
use super::submission::{EXPIRED, Whose, expired, given_up};
use crate::event::EventSet;
use crate::mail::{BySink, Handover, Last, Message, Outcome, Recipient, RecipientId, Resolution};
use crate::reply::{Class, Reply};
use crate::time::Timestamp;
use crate::transport::{Destination, Stage, State};

/// What came of carrying a message to a destination once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended; the same attempt applied again changes nothing.
    pub at: Timestamp,
    /// Name of the server that answered; `None` where none was reached.
    pub host: Option<String>,
    /// Each recipient's result: taken, or the refusal. A 4yz reply is tried again, a 5yz one is final.
    pub results: Vec<(RecipientId, Result<Relayed, Reply>)>,
    /// Those whose refusal is a sink's word.
    pub by_sinks: BTreeMap<RecipientId, BySink>,
    /// Where no server was reached: the time that `Schedule::close` gave.
    pub again: Option<Timestamp>,
}

/// A recipient that another server took over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relayed {
    /// Its reply.
    pub reply: Reply,
    /// Whether it offers DSN and was told the parameters of RFC 3461.
    pub is_dsn_passed: bool,
}

/// Which recipients of a message are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// All that are not final.
    Everybody,
    /// Those of them at that destination.
    At(Destination),
    /// Those of them in the list.
    These(Vec<RecipientId>),
}

/// What happens to a stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An attempt is over.
    Sent(Attempt),
    /// Time is up, or an operator says so: these recipients fail, with what the destination said last.
    Expire(Whom, Option<Reply>),
    /// The schedule says that the sender is to be told: these recipients' mail is late.
    TellDelay(Whom, Option<Reply>),
    /// It goes nowhere until it is released; why.
    Hold(String),
    /// It goes on, bad mail included; what waits is tried now.
    Release,
    /// These recipients go there from now on: a domain, `[host]:port`, or where their address says.
    Reroute(Whom, Option<String>),
    /// It is removed, and nobody is told.
    Delete,
    /// A later message of the same sink took its place: it is removed.
    Supersede,
    /// It goes through the sinks that are bound now again, all of them, and so do the recipients who wait.
    Rerun,
}

impl Transport {
    /// Takes up a message to which something happened; `random` spreads the next attempts.
    ///
    /// Applying what was applied before has no further effect, so whatever a crash cuts off is repeated.
    pub fn change(
        policy: Arc<TransportPolicy>,
        message: Message,
        state: State,
        interest: EventSet,
        change: Change,
        now: Timestamp,
        random: u64,
    ) -> Work {
        let mut transport = Self::new(policy, message, state, interest);
        transport.pending = Some((change, random));
        transport.go_on(now)
    }

    pub(super) fn apply(mut self, now: Timestamp) -> Work {
        let Some((change, random)) = self.pending.take() else { return self.go_on(now) };
        match change {
            Change::Sent(attempt) => self.sent(&attempt, random),
            Change::Expire(whom, last) => self.expire(&whom, last.as_ref(), now),
            Change::TellDelay(whom, last) => self.tell_delay(&whom, last, now),
            Change::Hold(reason) => self.hold(reason),
            Change::Release => self.let_go(now),
            Change::Reroute(whom, way) => self.reroute(&whom, way.as_deref(), now),
            Change::Rerun => self.rerun(),
            Change::Delete => return Work::Remove(Box::new(self.message), End::Deleted),
            Change::Supersede => return Work::Remove(Box::new(self.message), End::Superseded),
        }
        if !self.is_changed {
            return self.go_on(now);
        }
        if self.is_over() && !matches!(self.state.stage, Stage::Discarded) {
            // Even a message that is held: nothing is left that could be held.
            self.state.stage = Stage::Delivery;
        }
        self.settle(now)
    }

    fn sent(&mut self, attempt: &Attempt, random: u64) {
        self.has_begun();
        let end = self.end_of_life();
        let recipients = &mut Arc::make_mut(&mut self.message.envelope).recipients;
        // Not by order: a clock that was set back must not make what came of an attempt void.
        let is_new = |recipient: &Recipient| !recipient.outcome.is_final() && last_at(recipient) != Some(attempt.at);
        // All of them wait equally long, so that one transaction serves them next time too.
        let named = recipients.iter().filter(|r| is_new(r) && attempt.results.iter().any(|(id, _)| *id == r.id));
        let Some(tries) = named.map(|recipient| recipient.outcome.attempts().saturating_add(1)).max() else { return };
        let wait = || attempt.at.plus(self.policy.retry_remote.wait(tries, random));
        let until = attempt.again.unwrap_or_else(wait);
        for recipient in recipients.iter_mut().filter(|recipient| is_new(recipient)) {
            let Some((_, result)) = attempt.results.iter().find(|(id, _)| *id == recipient.id) else { continue };
            let by = attempt.by_sinks.get(&recipient.id).cloned();
            let last = Some(Last { at: attempt.at, host: attempt.host.clone(), by });
            let outcome = match result {
                Ok(relayed) => Outcome::Delivered {
                    at: attempt.at,
                    to: Handover::Relayed {
                        host: attempt.host.clone(),
                        reply: relayed.reply.shortened(),
                        is_dsn_passed: relayed.is_dsn_passed,
                    },
                },
                Err(reply) if reply.class() == Class::Permanent => Outcome::Failed { reply: reply.shortened(), last },
                // An operator held it meanwhile: so it stays.
                Err(_) if matches!(recipient.outcome, Outcome::Held { .. }) => continue,
                Err(reply) if attempt.at >= end => {
                    let reply = expired(&reply.shortened(), Whose::of(last.as_ref()));
                    Outcome::Failed { reply, last: last.map(Last::reworded) }
                }
                Err(reply) => Outcome::Deferred {
                    until,
                    reply: reply.shortened(),
                    attempts: recipient.outcome.attempts().saturating_add(1),
                    last,
                },
            };
            recipient.outcome = outcome;
            self.is_changed = true;
        }
        self.hops_failed(attempt);
        self.count_moment();
    }

    // The schedule had it, so its delivery has begun. Where nobody listened to its submission that stage was not
    // written.
    fn has_begun(&mut self) {
        if self.state.stage.is_before_delivery() {
            self.state.enter(Stage::Delivery);
        }
    }

    /// Fails those recipients because their time is over, or an operator says so.
    pub(super) fn expire(&mut self, whom: &Whom, last: Option<&Reply>, now: Timestamp) {
        // The schedule may say so of jobs that were changed since; an operator says so at any time.
        let is_by_time = matches!(whom, Whom::At(_));
        if is_by_time {
            if now < self.end_of_life() {
                return;
            }
            self.has_begun();
        }
        for id in self.those(whom) {
            let Some(recipient) = Arc::make_mut(&mut self.message.envelope).recipient_mut(id) else { continue };
            let (own, attempt) = match core::mem::take(&mut recipient.outcome) {
                Outcome::Deferred { reply, last, .. } => (Some(reply), last),
                Outcome::Pending | Outcome::Held { .. } | Outcome::Delivered { .. } | Outcome::Failed { .. } => {
                    (None, None)
                }
            };
            let answer = last.cloned().or(own).map(|reply| reply.shortened());
            let reply = match &answer {
                _ if !is_by_time => given_up(answer.as_ref()),
                // The reply of the destination is nobody else's.
                Some(answer) if last.is_some() => expired(answer, Whose::Server),
                Some(answer) => expired(answer, Whose::of(attempt.as_ref())),
                None => never_tried(),
            };
            recipient.outcome = Outcome::Failed { reply, last: attempt.map(Last::reworded) };
            self.is_changed = true;
        }
        self.count_moment();
    }

    fn tell_delay(&mut self, whom: &Whom, last: Option<Reply>, now: Timestamp) {
        self.has_begun();
        for id in self.those(whom) {
            let wants = self.message.envelope.recipient(id).is_some_and(|recipient| self.wants_delay(recipient));
            let recipient = Arc::make_mut(&mut self.message.envelope).recipient_mut(id);
            let Some(recipient) = recipient.filter(|_| wants) else { continue };
            recipient.outcome = match (core::mem::take(&mut recipient.outcome), &last) {
                (Outcome::Deferred { until, attempts, last: attempt, .. }, Some(reply)) => {
                    Outcome::Deferred { until, reply: reply.shortened(), attempts, last: attempt.map(Last::reworded) }
                }
                // Its destination was tried with other messages alone.
                (Outcome::Pending, reply) => {
                    Outcome::deferred(now, reply.as_ref().map_or_else(not_yet, Reply::shortened))
                }
                (outcome, _) => outcome,
            };
            self.state.delayed.push(id);
            self.is_changed = true;
        }
        self.count_moment();
    }

    fn hold(&mut self, reason: String) {
        if self.state.stage.is_under_way() {
            let then = Box::new(core::mem::take(&mut self.state.stage));
            self.state.stage = Stage::Held { reason, then };
            self.is_changed = true;
        }
    }

    // What was held goes on at the stage it was held for; bad mail is taken for good; every recipient that is
    // held or waits is tried again. Recipients that are delivered or failed stay so.
    fn let_go(&mut self, now: Timestamp) {
        let stage = core::mem::take(&mut self.state.stage);
        self.state.stage = match stage {
            Stage::Held { then, .. } => *then,
            Stage::Bad { .. } => self.state.resumes.take().unwrap_or(Stage::Delivery),
            Stage::Submission
            | Stage::PreCategorize
            | Stage::Categorize
            | Stage::PostCategorize
            | Stage::Route
            | Stage::Delivery
            | Stage::Discarded => stage,
        };
        self.state.not_before = None;
        self.state.put_off = None;
        self.state.raised = 0;
        for recipient in &mut Arc::make_mut(&mut self.message.envelope).recipients {
            match &mut recipient.outcome {
                Outcome::Held { .. } => recipient.outcome = Outcome::Pending,
                Outcome::Deferred { until, attempts, .. } => {
                    // An attempt before its time says nothing of how long to wait after it: it is not counted.
                    *attempts = attempts.saturating_sub(u32::from(*until > now));
                    *until = (*until).min(now);
                }
                Outcome::Pending | Outcome::Delivered { .. } | Outcome::Failed { .. } => {}
            }
        }
        self.is_changed = true;
    }

    // What is final stays so; whatever sinks made of the others is theirs to make again.
    fn rerun(&mut self) {
        if self.state.stage == Stage::Discarded {
            return;
        }
        self.state.enter(Stage::Submission);
        self.state.rounds = self.state.rounds.saturating_add(1);
        let envelope = Arc::make_mut(&mut self.message.envelope);
        envelope.ways.clear();
        for recipient in envelope.recipients.iter_mut().filter(|recipient| !recipient.outcome.is_final()) {
            recipient.outcome = Outcome::Pending;
            recipient.resolution = Resolution::Open;
            recipient.via.clear();
        }
        self.is_changed = true;
    }

    fn reroute(&mut self, whom: &Whom, way: Option<&str>, now: Timestamp) {
        for id in self.those(whom) {
            let Some(recipient) = Arc::make_mut(&mut self.message.envelope).recipient_mut(id) else { continue };
            if recipient.route_domain.as_deref() == way {
                continue;
            }
            recipient.route_domain = way.map(str::to_owned);
            if let Outcome::Deferred { until, .. } = &mut recipient.outcome {
                *until = (*until).min(now);
            }
            self.is_changed = true;
        }
    }

    // Who is meant, of those that have not come to an end.
    fn those(&self, whom: &Whom) -> Vec<RecipientId> {
        let recipients = &self.message.envelope.recipients;
        let open = recipients.iter().filter(|recipient| !recipient.outcome.is_final()).map(|recipient| recipient.id);
        match whom {
            Whom::Everybody => open.collect(),
            Whom::At(destination) => self.policy.outgoing(&self.message, destination),
            Whom::These(ids) => open.filter(|id| ids.contains(id)).collect(),
        }
    }

    // Each moment at which outcomes change has a number.
    fn count_moment(&mut self) {
        self.state.attempts = self.state.attempts.saturating_add(u32::from(self.is_changed));
        self.state.not_before = self.next_attempt();
    }
}

fn last_at(recipient: &Recipient) -> Option<Timestamp> {
    match &recipient.outcome {
        Outcome::Deferred { last, .. } | Outcome::Failed { last, .. } => last.as_ref().map(|last| last.at),
        Outcome::Pending | Outcome::Delivered { .. } | Outcome::Held { .. } => None,
    }
}

fn never_tried() -> Reply {
    Reply::with(550, 4, 7, EXPIRED)
}

fn not_yet() -> Reply {
    Reply::with(451, 4, 1, "no server has taken it yet")
}
