//! The stage of delivery: resolve the recipients, hand out jobs, take their outcomes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::machine::{Transport, Work};
use super::submission::expired;
use crate::addr::Address;
use crate::mail::{Handover, Message, Outcome, Recipient, RecipientId};
use crate::reply::{Class, Reply};
use crate::time::Timestamp;
use crate::transport::Lookup;

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
        transport.state.attempts = transport.state.attempts.saturating_add(1);
        let until = now.plus(transport.policy.retry_local.wait(transport.state.attempts, random));
        let is_expired = now >= transport.end_of_life();
        let envelope = Arc::make_mut(&mut transport.message.envelope);
        for id in jobs.iter().flat_map(|job| &job.recipients) {
            let result = results.remove(id).unwrap_or_else(|| Err(interrupted()));
            if let Some(recipient) = envelope.recipient_mut(*id) {
                recipient.outcome = outcome(result, now, until, is_expired);
            }
        }
        transport.tried(now)
    }
}

fn interrupted() -> Reply {
    Reply::with(451, 3, 0, "the delivery was interrupted")
}

fn outcome(result: Result<(), Reply>, now: Timestamp, until: Timestamp, is_expired: bool) -> Outcome {
    match result {
        Ok(()) => Outcome::Delivered { at: now, to: Handover::Mailbox },
        Err(reply) if reply.class() == Class::Permanent => Outcome::failed(reply),
        Err(reply) if is_expired => Outcome::failed(expired(&reply)),
        Err(reply) => Outcome::deferred(until, reply),
    }
}

impl Transport {
    pub(super) fn deliver(mut self, now: Timestamp) -> Work {
        if let Some((notification, about)) = self.notification(now) {
            return self.notify(notification, about);
        }
        if self.is_over() {
            return self.remove();
        }
        let later = [self.state.not_before, self.message.deliver_after];
        if let Some(until) = later.into_iter().flatten().max().filter(|until| *until > now) {
            return Work::Wait(until);
        }
        let due = self.due(now);
        if due.is_empty() {
            return self.rest();
        }
        self.expand_aliases(&due);
        let jobs = self.resolve(now);
        if jobs.is_empty() {
            // Nobody of them is to be found here; that is an attempt too, with a notification of its own.
            self.state.attempts = self.state.attempts.saturating_add(1);
            return self.tried(now);
        }
        Work::Deliver(Delivering { transport: self, jobs, results: BTreeMap::new() })
    }

    /// After an attempt: the next one is at the earliest time that a recipient waits for.
    fn tried(mut self, now: Timestamp) -> Work {
        self.state.not_before = self.next_attempt();
        self.settle(now)
    }

    fn due(&self, now: Timestamp) -> Vec<RecipientId> {
        let recipients = self.message.envelope.recipients.iter();
        recipients.filter(|recipient| is_due(recipient, now)).map(|recipient| recipient.id).collect()
    }

    fn next_attempt(&self) -> Option<Timestamp> {
        let waits = self.message.envelope.recipients.iter().filter_map(|recipient| match &recipient.outcome {
            Outcome::Deferred { until, .. } => Some(*until),
            Outcome::Pending | Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::Held { .. } => None,
        });
        waits.min()
    }

    // Nobody is due and somebody is not final: either somebody waits for a time, or all who are left are held.
    fn rest(self) -> Work {
        if let Some(until) = self.next_attempt() {
            return Work::Wait(until);
        }
        let held = self.message.envelope.recipients.iter().find_map(|recipient| match &recipient.outcome {
            Outcome::Held { reason } => Some(format!("<{}>: {reason}", recipient.address)),
            Outcome::Pending | Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::Deferred { .. } => None,
        });
        Work::Park(held.unwrap_or_else(|| "no recipient can be tried".to_owned()))
    }

    // The recipients that an alias stands for take its place, so that each has its own outcome and a retry
    // goes to those alone who do not have the message yet.
    fn expand_aliases(&mut self, due: &[RecipientId]) {
        let directory = self.policy.directory.clone();
        for id in due {
            let Some(alias) = self.message.envelope.recipient(*id) else { continue };
            if !matches!(directory.lookup(&alias.address), Lookup::Alias(_)) {
                continue;
            }
            let alias = alias.clone();
            let envelope = Arc::make_mut(&mut self.message.envelope);
            let targets = directory.expand(&alias.address);
            if targets.is_empty() {
                continue;
            }
            envelope.remove(alias.id);
            for (address, _) in targets {
                // One who is on the list already gets the message anyhow.
                let added = envelope.add(address, alias.original.clone());
                if let Some(recipient) = added.and_then(|id| envelope.recipient_mut(id)) {
                    recipient.notify.clone_from(&alias.notify);
                    recipient.properties.clone_from(&alias.properties);
                }
            }
        }
    }

    fn resolve(&mut self, now: Timestamp) -> Vec<Job> {
        let directory = self.policy.directory.clone();
        let mut jobs: BTreeMap<&str, Job> = BTreeMap::new();
        for recipient in &mut Arc::make_mut(&mut self.message.envelope).recipients {
            if !is_due(recipient, now) {
                continue;
            }
            if recipient.route_domain.as_deref().is_some_and(|domain| !directory.is_local_domain(domain)) {
                recipient.outcome = Outcome::Held { reason: not_local() };
                continue;
            }
            match directory.lookup(&recipient.address) {
                Lookup::Mailbox(name) => {
                    let new =
                        || Job { mailbox: name.to_owned(), address: recipient.address.clone(), recipients: Vec::new() };
                    jobs.entry(name).or_insert_with(new).recipients.push(recipient.id);
                }
                Lookup::NotLocal => recipient.outcome = Outcome::Held { reason: not_local() },
                Lookup::Alias(_) | Lookup::Unknown => recipient.outcome = Outcome::failed(unknown()),
            }
        }
        jobs.into_values().collect()
    }
}

fn is_due(recipient: &Recipient, now: Timestamp) -> bool {
    match &recipient.outcome {
        Outcome::Pending => true,
        Outcome::Deferred { until, .. } => *until <= now,
        Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::Held { .. } => false,
    }
}

fn not_local() -> String {
    "its domain is not local, and this version of basin delivers to local mailboxes only".to_owned()
}

// RCPT refuses unknown users; one that is unknown here was taken off the tables since, or a sink named it.
fn unknown() -> Reply {
    Reply::with(550, 1, 1, "there is no such user here")
}
