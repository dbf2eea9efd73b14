//! Which way each recipient goes: to a mailbox here, or to another server.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::machine::{Transport, TransportPolicy};
use super::routing::way_of;
use crate::addr::Address;
use crate::limits::EXPIRY_GRACE;
use crate::mail::{Envelope, Message, Outcome, Recipient, RecipientId, Resolution};
use crate::queue::Job;
use crate::time::Timestamp;
use crate::transport::{Destination, Hop, HopTarget, Lookup, Route};

/// Where a recipient is.
#[derive(Debug)]
pub(super) enum Place<'a> {
    /// In that mailbox.
    Mailbox(&'a str),
    /// Behind this alias.
    Alias(Address),
    /// At another server.
    Elsewhere(Arc<Route>),
    /// Here, but nobody.
    Unknown,
}

impl Place<'_> {
    fn elsewhere(self) -> Option<Arc<Route>> {
        match self {
            Self::Elsewhere(route) => Some(route),
            Self::Mailbox(_) | Self::Alias(_) | Self::Unknown => None,
        }
    }
}

impl TransportPolicy {
    pub(super) fn place(&self, envelope: &Envelope, recipient: &Recipient) -> Place<'_> {
        let here = |address: &Address| match self.directory.lookup(address) {
            Lookup::Mailbox(name) => Some(Place::Mailbox(name)),
            // A sink says that it stands for nobody else.
            Lookup::Alias(_) if recipient.resolution == Resolution::Final => Some(Place::Unknown),
            Lookup::Alias(_) => Some(Place::Alias(address.clone())),
            Lookup::Unknown => Some(Place::Unknown),
            Lookup::NotLocal => None,
        };
        let address = &recipient.address;
        match way_of(envelope, recipient).and_then(|way| way.hops.first()) {
            Some(Hop { next: HopTarget::Local, .. }) => return here(address).unwrap_or(Place::Unknown),
            // A server that the configuration no longer names is passed over.
            Some(hop) => {
                if let Some(route) = self.routes.of_hop(hop) {
                    return Place::Elsewhere(route);
                }
            }
            None => {}
        }
        match &recipient.route_domain {
            Some(way) if !self.directory.is_local_domain(way) => Place::Elsewhere(self.routes.by_way_of(way)),
            // A local domain to route by means the mailbox of that name there.
            Some(way) => {
                let there = Address::parse(&format!("{}@{way}", address.local()));
                there.ok().and_then(|there| here(&there)).unwrap_or(Place::Unknown)
            }
            None => here(address)
                .unwrap_or_else(|| Place::Elsewhere(self.routes.route(&address.ascii_domain().unwrap_or_default()))),
        }
    }

    /// The recipients of a message who go to that destination and have not come to an end: what a lease of the
    /// schedule is for.
    ///
    /// Those whose own time has not come yet are among them: one transaction serves all.
    pub fn outgoing(&self, message: &Message, destination: &Destination) -> Vec<RecipientId> {
        self.recipients_at(&message.envelope, destination).map(|recipient| recipient.id).collect()
    }

    /// The same as whole recipients.
    pub fn recipients_at<'a>(
        &'a self,
        envelope: &'a Envelope,
        destination: &'a Destination,
    ) -> impl Iterator<Item = &'a Recipient> {
        let is_there = |recipient: &&Recipient| matches!(self.place(envelope, recipient), Place::Elsewhere(route) if route.destination == *destination);
        envelope.recipients.iter().filter(|recipient| is_open(recipient)).filter(is_there)
    }
}

/// Whether something is still to be done for a recipient.
pub(super) fn is_open(recipient: &Recipient) -> bool {
    match recipient.outcome {
        Outcome::Pending | Outcome::Deferred { .. } => true,
        Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::Held { .. } => false,
    }
}

impl Transport {
    /// The jobs for other servers, and the earliest time at which a mailbox here is tried again.
    pub(super) fn jobs(&self, now: Timestamp) -> (Vec<Job>, Option<Timestamp>) {
        let mut jobs: BTreeMap<Destination, Job> = BTreeMap::new();
        let mut again: Option<Timestamp> = None;
        for recipient in self.message.envelope.recipients.iter().filter(|recipient| is_open(recipient)) {
            let due = match &recipient.outcome {
                Outcome::Deferred { until, .. } => *until,
                Outcome::Pending | Outcome::Delivered { .. } | Outcome::Failed { .. } | Outcome::Held { .. } => {
                    self.since()
                }
            };
            let place = self.policy.place(&self.message.envelope, recipient);
            let Some(route) = place.elsewhere().filter(|_| !self.needs_a_way(recipient)) else {
                again = Some(again.map_or(due, |before| before.min(due)));
                continue;
            };
            let job = jobs.entry(route.destination.clone()).or_insert_with(|| self.job(&route.destination, due, now));
            job.recipients += 1;
            job.due = job.due.min(due);
            if self.wants_delay(recipient) {
                job.tell_delay = self.delay_notice_at();
            }
        }
        (jobs.into_values().collect(), again)
    }

    fn job(&self, destination: &Destination, due: Timestamp, now: Timestamp) -> Job {
        let end = self.end_of_life();
        Job {
            message: self.message.id.clone(),
            destination: destination.clone(),
            sender: self.turn().into(),
            priority: self.message.priority,
            size: self.message.size(),
            recipients: 0,
            due,
            tell_delay: None,
            // After a restart or a long hold it may be past its time and not have been tried once.
            // Not so one whose sender wants it back by then.
            expires: if end > now || self.returned_at() == Some(end) { end } else { now.plus(EXPIRY_GRACE) },
        }
    }

    // Whose turn it is: a person or a list, not each of the return addresses that a list makes for its members
    // (the tag after "+" or "=").
    fn turn(&self) -> String {
        let Some(sender) = &self.message.envelope.sender else { return String::new() };
        let local = sender.local_unquoted();
        let name = local.split(['+', '=']).next().unwrap_or_default();
        format!("{name}@{}", sender.domain().unwrap_or_default()).to_ascii_lowercase()
    }
}
