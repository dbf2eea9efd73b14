//! What the sender of a stored message is told, and what it was told already.

use super::machine::Transport;
use crate::mail::{DeliverBy, Handover, Late, Message, Origin, Outcome, Recipient, RecipientId, dsn};
use crate::time::Timestamp;

/// Whom a notification is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct About {
    /// Those who have come to their end.
    finals: Vec<RecipientId>,
    /// Those who still wait.
    delays: Vec<RecipientId>,
}

impl About {
    pub(super) fn is_empty(&self) -> bool {
        self.finals.is_empty() && self.delays.is_empty()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = RecipientId> {
        self.finals.iter().chain(&self.delays).copied()
    }
}

impl Transport {
    /// Whether there is anybody to tell: a notification is never about another, nor for the null sender
    /// (RFC 5321 §4.5.5, §6.1).
    pub(super) fn has_sender(&self) -> bool {
        self.message.envelope.sender.is_some() && self.message.arrival.origin != Origin::Notification
    }

    /// Recipients about whom there is something to tell that was not told yet, in their order.
    pub(super) fn to_tell(&self) -> About {
        if !self.has_sender() {
            return About::default();
        }
        let state = &self.state;
        let recipients = &self.message.envelope.recipients;
        let has_deadline = DeliverBy::of(&self.message).is_some();
        let is_final = |r: &&Recipient| is_end_wanted(r, has_deadline) && !state.notified.contains(&r.id);
        let is_delay = |r: &&Recipient| {
            let waits = matches!(r.outcome, Outcome::Deferred { .. });
            waits && state.delayed.contains(&r.id) && !state.delay_told.contains(&r.id)
        };
        About {
            finals: recipients.iter().filter(is_final).map(|r| r.id).collect(),
            delays: recipients.iter().filter(is_delay).map(|r| r.id).collect(),
        }
    }

    /// The notification about what is saved and not told yet, all of one moment in one; `None` where there is
    /// nothing to tell or nobody to tell it to.
    pub(super) fn notification(&self, now: Timestamp) -> Option<(Message, About)> {
        let about = self.to_tell();
        let recipients: Vec<&Recipient> = about.ids().filter_map(|id| self.message.envelope.recipient(id)).collect();
        if recipients.is_empty() {
            return None;
        }
        let maker = dsn::Maker {
            id: self.notification_id(),
            host_name: &self.policy.host_name,
            now,
            will_retry_until: self.end_of_life(),
            returned_bytes_max: self.policy.returned_bytes_max,
        };
        Some((maker.report(&self.message, &recipients)?, about))
    }

    /// The notification is on disk.
    pub(super) fn told(&mut self, about: About) {
        self.state.notifications = self.state.next_notification().saturating_add(1);
        self.state.notified.extend(about.finals);
        self.state.delay_told.extend(about.delays);
        self.is_changed = true;
    }

    /// Whether the sender is still to be told that a recipient's mail is late.
    pub(super) fn wants_delay(&self, recipient: &Recipient) -> bool {
        // RFC 3461 §4.1: without NOTIFY a delay may be told; with it only where it says DELAY.
        let is_wanted = recipient.notify.is_empty() || asks(recipient, "DELAY");
        let is_open = !recipient.outcome.is_final() && !matches!(recipient.outcome, Outcome::Held { .. });
        is_wanted && is_open && self.has_sender() && !self.state.delayed.contains(&recipient.id)
    }

    /// When the sender is told of recipients who are still waiting then.
    pub(super) fn delay_notice_at(&self) -> Option<Timestamp> {
        // RFC 2852 §4.1, by-mode N: at the time that the sender named, and at no other.
        let named = DeliverBy::of(&self.message).filter(|(by, _)| by.late == Late::Notify);
        let usual = || self.policy.delay_notice.map(|after| self.since().plus(after));
        let by_sink = self.message.expiry.map(|expiry| expiry.notify_delay);
        named.map(|(_, deadline)| deadline).or(by_sink).or_else(usual)
    }
}

/// Whether the sender wants to know of the end of this recipient (RFC 3461 §4.1, §5.2, §6).
fn is_end_wanted(recipient: &Recipient, has_deadline: bool) -> bool {
    match &recipient.outcome {
        // Without NOTIFY failures are told, with it only where it says FAILURE.
        Outcome::Failed { .. } => recipient.notify.is_empty() || asks(recipient, "FAILURE"),
        Outcome::Delivered { to: Handover::Relayed { is_dsn_passed: true, .. }, .. } => false,
        // RFC 2852 §4.2: who named a time learns that the message went to where nobody knows of it.
        Outcome::Delivered { to: Handover::Relayed { .. }, .. } if has_deadline => {
            recipient.notify.is_empty() || asks(recipient, "SUCCESS")
        }
        Outcome::Delivered { .. } => asks(recipient, "SUCCESS"),
        Outcome::Pending | Outcome::Deferred { .. } | Outcome::Held { .. } => false,
    }
}

pub(super) fn asks(recipient: &Recipient, word: &str) -> bool {
    recipient.notify.iter().any(|asked| asked.eq_ignore_ascii_case(word))
}
