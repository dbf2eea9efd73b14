//! The stage of delivery: resolve the recipients, hand out jobs, take their outcomes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::machine::{Transport, Work};
use super::remote::Place;
use super::submission::{Whose, expired};
use super::telling::asks;
use crate::addr::Address;
use crate::limits::ANSWERS_PER_RECORD;
use crate::mail::{Handover, Last, Message, Outcome, Recipient, RecipientId};
use crate::reply::{Class, Reply};
use crate::time::Timestamp;
use crate::transport::Whom;

/// The message to one mailbox: one copy, however many of its recipients lead there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Name of the mailbox.
    pub mailbox: String,
    /// Address that led to it, the first of them where there are several.
    pub address: Address,
    /// Recipients whom this copy serves.
    pub recipients: Vec<RecipientId>,
}

/// The machine while its jobs are carried out.
#[derive(Debug)]
pub struct Delivering {
    transport: Transport,
    jobs: Vec<Job>,
    results: BTreeMap<RecipientId, Result<(), Reply>>,
}

impl Delivering {
    /// The message.
    pub fn message(&self) -> &Message {
        &self.transport.message
    }

    /// What is to be done, in any order.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Takes what came of a job: a 4yz reply is tried again, a 5yz one is final.
    pub fn record(&mut self, job: &Job, result: &Result<(), Reply>) {
        self.results.extend(job.recipients.iter().map(|id| (*id, result.clone())));
    }

    /// Takes the outcomes together; a job of which nothing was recorded is tried again. `random` spreads
    /// the next attempts.
    pub fn finish(self, now: Timestamp, random: u64) -> Work {
        let Self { mut transport, jobs, mut results } = self;
        let is_expired = now >= transport.end_of_life();
        let envelope = Arc::make_mut(&mut transport.message.envelope);
        for id in jobs.iter().flat_map(|job| &job.recipients) {
            let result = results.remove(id).unwrap_or_else(|| Err(interrupted()));
            if let Some(recipient) = envelope.recipient_mut(*id) {
                let attempts = recipient.outcome.attempts().saturating_add(1);
                let until = now.plus(transport.policy.retry_local.wait(attempts, random));
                recipient.outcome = outcome(result, now, until, attempts, is_expired);
            }
        }
        transport.tried(now)
    }
}

fn interrupted() -> Reply {
    Reply::with(451, 3, 0, "the delivery was interrupted")
}

fn outcome(result: Result<(), Reply>, now: Timestamp, until: Timestamp, attempts: u32, is_expired: bool) -> Outcome {
    let last = Some(Last { at: now, host: None, by: None });
    match result {
        Ok(()) => Outcome::Delivered { at: now, to: Handover::Mailbox },
        Err(reply) if reply.class() == Class::Permanent => Outcome::Failed { reply, last },
        Err(reply) if is_expired => Outcome::Failed { reply: expired(&reply, Whose::Server), last },
        Err(reply) => Outcome::Deferred { until, reply, attempts, last },
    }
}

impl Transport {
    pub(super) fn deliver(mut self, now: Timestamp) -> Work {
        // What is told is saved before, or a crash could leave a notification of what did not happen.
        if let Some((notification, about)) = self.notification(now).filter(|_| !self.is_changed) {
            return self.notify(notification, about, now);
        }
        if self.is_over() {
            return if self.has_judged { self.tried(now) } else { self.settle(now) };
        }
        if let Some(until) = self.message.deliver_after.filter(|until| *until > now) {
            return if self.is_changed { self.save(now) } else { Work::Wait(until) };
        }
        if self.returned_at().is_some_and(|at| at <= now) {
            // RFC 2852 §4.1, by-mode R: nobody gets it any more.
            self.expire(&Whom::Everybody, None, now);
            return self.settle(now);
        }
        self.expand_aliases(now);
        if let Some(domain) = self.unrouted(now) {
            return self.ask_the_way(domain, now);
        }
        if self.answers >= ANSWERS_PER_RECORD {
            return self.save(now);
        }
        if let Some(id) = self.unstored(now) {
            return self.ask_to_store(id, now);
        }
        let (jobs, is_anybody_unknown) = self.resolve(now);
        if !jobs.is_empty() {
            return Work::Deliver(Delivering { transport: self, jobs, results: BTreeMap::new() });
        }
        if is_anybody_unknown || self.has_judged {
            // Nobody of them is to be found here, or sinks said what becomes of them; that is an attempt too, with a
            // notification of its own.
            return self.tried(now);
        }
        self.is_changed |= self.answers > 0;
        self.rest(now)
    }

    /// After an attempt: the next one is at the earliest time that a recipient waits for.
    fn tried(mut self, now: Timestamp) -> Work {
        self.is_changed = true;
        self.has_judged = false;
        self.left_to_us.clear();
        self.state.attempts = self.state.attempts.saturating_add(1);
        self.state.not_before = self.next_attempt();
        if self.delay_notice_at().is_some_and(|at| at <= now) {
            let recipients = &self.message.envelope.recipients;
            let is_late = |recipient: &&Recipient| matches!(recipient.outcome, Outcome::Deferred { .. });
            let late = recipients.iter().filter(is_late).filter(|recipient| self.wants_delay(recipient));
            let late: Vec<_> = late.map(|recipient| recipient.id).collect();
            self.state.delayed.extend(late);
        }
        self.settle(now)
    }

    pub(super) fn next_attempt(&self) -> Option<Timestamp> {
        let waits = self.message.envelope.recipients.iter().filter_map(|recipient| match &recipient.outcome {
            Outcome::Deferred { until, .. } => Some(*until),
            Outcome::Pending | Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::Held { .. } => None,
        });
        waits.min()
    }

    // No mailbox here is due and somebody is not final: he is elsewhere, or waits for a time, or is held.
    fn rest(self, now: Timestamp) -> Work {
        if self.is_changed {
            return self.save(now);
        }
        let (jobs, again) = self.jobs(now);
        if !jobs.is_empty() {
            if self.is_unsigned() {
                return self.sign();
            }
            return Work::Queue { message: self.message.id, jobs, again };
        }
        if let Some(until) = again {
            return Work::Wait(until);
        }
        self.park()
    }

    /// Nothing can be done before an operator looks at a recipient.
    pub(super) fn park(self) -> Work {
        let held = self.message.envelope.recipients.iter().find_map(|recipient| match &recipient.outcome {
            Outcome::Held { reason } => Some(format!("<{}>: {reason}", recipient.address)),
            Outcome::Pending | Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::Deferred { .. } => None,
        });
        Work::Park(held.unwrap_or_else(|| "no recipient can be tried".to_owned()))
    }

    // The recipients that an alias stands for take its place, so that each has its own outcome and a retry
    // goes to those alone who do not have the message yet.
    pub(super) fn expand_aliases(&mut self, now: Timestamp) {
        let policy = self.policy.clone();
        let envelope = self.message.envelope.clone();
        let alias = |recipient: &Recipient| match policy.place(&envelope, recipient) {
            Place::Alias(address) => Some((recipient.clone(), address)),
            Place::Mailbox(_) | Place::Elsewhere(_) | Place::Unknown => None,
        };
        let due = envelope.recipients.iter().filter(|recipient| is_due(recipient, now));
        let aliases: Vec<_> = due.filter_map(alias).collect();
        for (alias, address) in aliases {
            let envelope = Arc::make_mut(&mut self.message.envelope);
            let targets = policy.directory.expand(&address);
            if targets.is_empty() {
                continue;
            }
            self.is_changed = true;
            // RFC 3461 §5.2.7.3: who asked for success learns that it was expanded, and of each recipient no more
            // than what else was asked for.
            let is_list = targets.len() > 1 && asks(&alias, "SUCCESS");
            let notify = if is_list { without_success(&alias.notify) } else { alias.notify.clone() };
            match envelope.recipient_mut(alias.id) {
                Some(kept) if is_list => kept.outcome = Outcome::Delivered { at: now, to: Handover::Expanded },
                _ => drop(envelope.remove(alias.id)),
            }
            for (address, _) in targets {
                // One who is on the list already gets the message anyhow.
                let added = envelope.add(address, alias.original.clone());
                if let Some(recipient) = added.and_then(|id| envelope.recipient_mut(id)) {
                    recipient.notify.clone_from(&notify);
                    recipient.properties.clone_from(&alias.properties);
                }
            }
        }
    }

    // The jobs for mailboxes here, and whether somebody turned out to be unknown.
    fn resolve(&mut self, now: Timestamp) -> (Vec<Job>, bool) {
        let policy = self.policy.clone();
        let mut jobs: BTreeMap<&str, Job> = BTreeMap::new();
        let mut unknown_ids = Vec::new();
        for recipient in self.message.envelope.recipients.iter().filter(|recipient| is_due(recipient, now)) {
            match policy.place(&self.message.envelope, recipient) {
                Place::Mailbox(name) => {
                    let new =
                        || Job { mailbox: name.to_owned(), address: recipient.address.clone(), recipients: Vec::new() };
                    jobs.entry(name).or_insert_with(new).recipients.push(recipient.id);
                }
                Place::Elsewhere(_) => {}
                Place::Alias(_) | Place::Unknown => unknown_ids.push(recipient.id),
            }
        }
        // The envelope is shared with whoever has the message too, so it is not touched without need.
        if !unknown_ids.is_empty() {
            let envelope = Arc::make_mut(&mut self.message.envelope);
            for id in &unknown_ids {
                if let Some(recipient) = envelope.recipient_mut(*id) {
                    recipient.outcome = Outcome::failed(unknown());
                }
            }
        }
        (jobs.into_values().collect(), !unknown_ids.is_empty())
    }
}

pub(super) fn is_due(recipient: &Recipient, now: Timestamp) -> bool {
    match &recipient.outcome {
        Outcome::Pending => true,
        Outcome::Deferred { until, .. } => *until <= now,
        Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::Held { .. } => false,
    }
}

pub(super) fn without_success(notify: &[String]) -> Vec<String> {
    let rest: Vec<_> = notify.iter().filter(|word| !word.eq_ignore_ascii_case("SUCCESS")).cloned().collect();
    // An empty list would be the default, which asks for failures.
    if rest.is_empty() { vec!["NEVER".to_owned()] } else { rest }
}

// RCPT refuses unknown users; one that is unknown here was taken off the tables since, or a sink named it.
fn unknown() -> Reply {
    Reply::with(550, 1, 1, "there is no such user here")
}
