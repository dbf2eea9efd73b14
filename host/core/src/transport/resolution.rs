//! The stage of on-categorize: what each recipient stands for, as sinks say, then as the tables of the server do.

use std::sync::Arc;

use super::asking::Concern;
use super::delivery::{is_due, without_success};
use super::machine::{Transport, Work};
use super::telling::asks;
use crate::addr::Address;
use crate::event::{Decision, EventKind, Occasion, Verdict};
use crate::limits::{ANSWERS_PER_RECORD, EXPANSION_ADDRESSES_MAX, EXPANSION_DEPTH_MAX};
use crate::mail::{Handover, Outcome, Recipient, RecipientId, Resolution};
use crate::reply::Reply;
use crate::time::Timestamp;

impl Transport {
    pub(super) fn resolve_all(mut self, now: Timestamp) -> Work {
        if self.answers >= ANSWERS_PER_RECORD {
            return self.save(now);
        }
        let is_asked = |recipient: &&Recipient| recipient.resolution == Resolution::Open && is_due(recipient, now);
        let open = self
            .message
            .envelope
            .recipients
            .iter()
            .find(is_asked)
            .filter(|_| self.interest.has(EventKind::OnCategorize));
        if let Some(recipient) = open {
            let id = recipient.id;
            let occasion = Occasion {
                recipient: Some(id),
                raised: recipient.outcome.attempts(),
                ..self.occasion(EventKind::OnCategorize, &id.to_string(), now)
            };
            let message = self.message.clone();
            return self.ask(Concern::Resolution(id), occasion, message);
        }
        self.expand_aliases(now);
        self.wait_for_the_late(now)
    }

    // A recipient that is put off or held before it is known what it stands for waits on its own: the others go on
    // without it, and it goes the same way as they do, the sinks that look at the whole message included.
    fn wait_for_the_late(mut self, now: Timestamp) -> Work {
        let recipients = &self.message.envelope.recipients;
        let is_late = |recipient: &&Recipient| {
            recipient.resolution == Resolution::Open && !recipient.outcome.is_final() && !is_due(recipient, now)
        };
        let late: Vec<RecipientId> = recipients.iter().filter(is_late).map(|recipient| recipient.id).collect();
        if late.is_empty() {
            return self.advance(now);
        }
        if late.len() < recipients.len() {
            self.part_with(&late, EventKind::OnCategorize, now);
            return self.advance(now);
        }
        if self.is_changed {
            return self.save(now);
        }
        match self.next_attempt() {
            Some(until) => Work::Wait(until),
            None => self.park(),
        }
    }

    pub(super) fn resolved(mut self, id: RecipientId, mut decision: Decision, now: Timestamp) -> Work {
        self.take_effects(Some(id), &mut decision);
        let Some(recipient) = self.message.envelope.recipient(id).cloned() else { return self.go_on(now) };
        if let Verdict::Expand(addresses) = &decision.verdict {
            self.expand(&recipient, addresses, now);
        } else if decision.verdict == Verdict::Resolved {
            self.set_resolution(id, Resolution::Final);
        } else if !self.is_decided(&[id], EventKind::OnCategorize, &decision, now) {
            self.set_resolution(id, Resolution::Tables);
        }
        self.go_on(now)
    }

    fn set_resolution(&mut self, id: RecipientId, resolution: Resolution) {
        if let Some(recipient) = Arc::make_mut(&mut self.message.envelope).recipient_mut(id) {
            recipient.resolution = resolution;
        }
    }

    // RFC 5321 §3.9: an alias or list. The envelope's sender stays: a list that takes the errors is a sink that
    // changes the sender, or that submits messages of its own.
    fn expand(&mut self, recipient: &Recipient, addresses: &[Address], now: Timestamp) {
        let is_itself = |address: &&Address| address.is_same(&recipient.address);
        let is_before = |address: &&Address| recipient.via.iter().any(|before| before.is_same(address));
        let keeps_itself = addresses.iter().any(|address| is_itself(&address));
        let others: Vec<&Address> = addresses.iter().filter(|address| !is_itself(address)).collect();
        let (circular, new): (Vec<&Address>, Vec<&Address>) =
            others.into_iter().partition(|address| is_before(address));
        if new.is_empty() && !keeps_itself && !circular.is_empty() {
            return self.set_outcome(recipient.id, Outcome::failed(circle()));
        }
        let known = self.message.envelope.recipients.len() + self.state.expanded.len();
        if !new.is_empty()
            && (recipient.via.len() >= EXPANSION_DEPTH_MAX || known + new.len() > EXPANSION_ADDRESSES_MAX)
        {
            return self.set_outcome(recipient.id, Outcome::failed(too_large()));
        }
        self.is_changed = true;
        self.has_judged = true;
        // RFC 3461 §5.2.7.3: who asked for success learns that it was expanded, and of each recipient no more than
        // what else was asked for.
        let is_list = addresses.len() > 1 && asks(recipient, "SUCCESS");
        let notify = if is_list { without_success(&recipient.notify) } else { recipient.notify.clone() };
        let envelope = Arc::make_mut(&mut self.message.envelope);
        if keeps_itself {
            // It names itself to keep a copy; the tables know where that goes.
            if let Some(kept) = envelope.recipient_mut(recipient.id) {
                kept.resolution = Resolution::Tables;
                kept.outcome = Outcome::Pending;
            }
        } else {
            match envelope.recipient_mut(recipient.id) {
                Some(kept) if is_list => kept.outcome = Outcome::Delivered { at: now, to: Handover::Expanded },
                _ => drop(envelope.remove(recipient.id)),
            }
            self.state.expanded.insert(key(&recipient.address));
        }
        let mut via = recipient.via.clone();
        via.push(recipient.address.clone());
        for address in new {
            // What was made into others already is not made into them again; who is on the list gets it anyhow.
            if self.state.expanded.contains(&key(address)) {
                continue;
            }
            let added = envelope.add(address.clone(), recipient.original.clone());
            if let Some(added) = added.and_then(|id| envelope.recipient_mut(id)) {
                added.notify.clone_from(&notify);
                added.properties.clone_from(&recipient.properties);
                added.via.clone_from(&via);
            }
        }
    }
}

// Addresses are the same here as they are on the list of recipients.
fn key(address: &Address) -> String {
    format!("{}@{}", address.local_key(), address.ascii_domain().unwrap_or_default().to_ascii_lowercase())
}

fn circle() -> Reply {
    Reply::with(550, 4, 6, "the address leads back to itself")
}

// RFC 3463 §3.3: X.2.4 is a problem of mailing list expansion.
fn too_large() -> Reply {
    Reply::with(550, 2, 4, "the address stands for more, or over more steps, than this server follows")
}
