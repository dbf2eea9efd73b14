//! What sinks said of each recipient at the end of the text, and what the client hears of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::mail::{Message, Outcome, Recipient, RecipientId};
use crate::reply::{Class, Reply};
use crate::smtp::carry_out::{Answer, refusal_of_sink};
use crate::smtp::disagreement::{Disagreement, Named};
use crate::smtp::examining::Examining;
use crate::smtp::intent::{Tally, no_recipients};
use crate::smtp::live::Live;
use crate::smtp::outbox::{CONTENT, Outbox};
use crate::smtp::session::Step;
use crate::smtp::storing::{Disposition, Storing};
use crate::time::Timestamp;

/// A whole message, and what becomes of it if nobody objects.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) message: Message,
    /// As it came, before any sink and this server changed it.
    pub(super) original: Arc<Message>,
    /// The answer once the message is stored.
    pub(super) reply: Reply,
    pub(super) disposition: Disposition,
    /// The recipients that the client named.
    pub(super) named: Named,
}

/// What becomes of a message whose recipients have been judged one by one.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// It is stored for those who are left, after these replies.
    Taken(Vec<Reply>),
    /// It is not, and the last of these is the answer to it.
    Refused(Vec<Reply>, Reply),
    /// It is not, until it comes for those who agree; these are failed.
    Apart(BTreeSet<RecipientId>),
}

impl Live {
    /// Stores a message, unless there is nobody left whom it is for.
    pub(super) fn take_message_in(
        mut self: Box<Self>,
        arrived: Arrived,
        is_fault: bool,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let Arrived { mut message, original, reply, disposition, named } = arrived;
        if disposition == Disposition::Discard {
            // Nobody will read the body of what is dropped.
            message.body = crate::mail::Body::from_bytes("");
            let storing = Storing::new(self, message.id.clone(), Vec::new(), reply);
            return Step::Store(storing, message, disposition);
        }
        // Sinks may take recipients away, but 250 to a message for nobody would lose it without a word.
        if message.envelope.recipients.is_empty() {
            return self.refuse_message(no_recipients(), false, is_fault, now, outbox);
        }
        match judge(&mut message, &named, self.facts.vouched.auth.is_some()) {
            Judged::Taken(replies) => {
                let storing = Storing::new(self, message.id.clone(), replies, reply);
                Examining::before(storing, message, disposition, original)
            }
            Judged::Refused(replies, reply) => {
                replies.iter().for_each(|reply| self.send(reply, CONTENT, now, outbox));
                self.refuse_message(reply, false, is_fault, now, outbox)
            }
            Judged::Apart(failed) => {
                let found = Disagreement::new(self.facts.client.ip(), &named, &failed, self.apart.as_ref());
                outbox.disagreements.push(found.clone());
                self.apart = Some(found);
                self.refuse_message(apart(), false, is_fault, now, outbox)
            }
        }
    }

    /// Refuses a message whose text was read.
    pub(super) fn refuse_message(
        self: Box<Self>,
        reply: Reply,
        must_close: bool,
        is_fault: bool,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Step {
        let tally = if is_fault { Tally::Fault } else { Tally::Work };
        outbox.flush_now = true;
        self.answer(Answer { reply, tally, line: CONTENT, must_close }, now, outbox)
    }
}

// A recipient that sinks failed or put off; one that they hold is taken.
fn refusal(recipient: &Recipient) -> Option<Reply> {
    match &recipient.outcome {
        Outcome::Failed { reply, .. } | Outcome::Deferred { reply, .. } => Some(refusal_of_sink(reply.clone())),
        Outcome::Pending | Outcome::Delivered { .. } | Outcome::Held { .. } => None,
    }
}

fn judge(message: &mut Message, named: &Named, is_authenticated: bool) -> Judged {
    let refusals: Vec<_> = message.envelope.recipients.iter().map(refusal).collect();
    let Some(last) = worst(&refusals) else { return Judged::Taken(Vec::new()) };
    let is_all = refusals.iter().all(Option::is_some);
    if named.is_prdr {
        let replies = prdr_replies(&message.envelope.recipients, named);
        if is_all {
            return Judged::Refused(replies, last);
        }
        // The client keeps those that it was told of. Those that sinks added it never named.
        let envelope = Arc::make_mut(&mut message.envelope);
        envelope.recipients.retain(|recipient| refusal(recipient).is_none());
        return Judged::Taken(replies);
    }
    if is_all {
        return Judged::Refused(Vec::new(), last);
    }
    // Who is put off waits in the queue here, and for who failed there is a sender who can be told.
    if is_authenticated { Judged::Taken(Vec::new()) } else { judge_for_a_stranger(message, named) }
}

// The sender of a stranger may be forged, so nobody is told anything afterwards: the answer must hold for all whom the
// client named. Whom sinks added it cannot send to apart, so they have no say in it.
fn judge_for_a_stranger(message: &mut Message, named: &Named) -> Judged {
    let ids = named.ids();
    let is_failed = |recipient: &Recipient| refusal(recipient).is_some_and(|it| it.class() == Class::Permanent);
    let envelope = std::sync::Arc::make_mut(&mut message.envelope);
    let own: Vec<_> = envelope.recipients.iter().filter(|recipient| ids.contains(&recipient.id)).collect();
    let failed: BTreeSet<_> = own.iter().filter(|recipient| is_failed(recipient)).map(|it| it.id).collect();
    if failed.is_empty() {
        envelope.recipients.retain(|recipient| !is_failed(recipient));
        return if envelope.recipients.is_empty() {
            Judged::Refused(Vec::new(), no_recipients())
        } else {
            Judged::Taken(Vec::new())
        };
    }
    let refusals: Vec<_> = own.iter().map(|recipient| refusal(recipient)).collect();
    match worst(&refusals) {
        Some(last) if refusals.iter().all(Option::is_some) => Judged::Refused(Vec::new(), last),
        Some(_) | None => Judged::Apart(failed),
    }
}

// A client that hears 4yz sends to all of them again, so one who may still get it counts for more.
fn worst(refusals: &[Option<Reply>]) -> Option<Reply> {
    let transient = refusals.iter().flatten().find(|reply| reply.class() == Class::Transient);
    transient.or_else(|| refusals.iter().flatten().next()).cloned()
}

// draft-hall-prdr §4.5: 353, then a reply for each RCPT that was taken, in their order; the usual one follows. The client
// counts: one too few and it waits for ever, one too many and it is the answer to something else. So it is the commands
// that are gone through, not the recipients: one may have been named twice, and sinks add some and take some away.
fn prdr_replies(recipients: &[Recipient], named: &Named) -> Vec<Reply> {
    let mut replies = vec![Reply::new(353, None, "a reply for each recipient follows")];
    for (id, _) in &named.recipients {
        let recipient = recipients.iter().find(|recipient| Some(recipient.id) == *id);
        let taken = || match recipient {
            Some(recipient) => Reply::with(250, 1, 5, format!("<{}> accepted", recipient.address)),
            None => Reply::with(250, 1, 5, "accepted"),
        };
        replies.push(recipient.and_then(refusal).unwrap_or_else(taken));
    }
    replies
}

fn apart() -> Reply {
    Reply::with(451, 5, 3, "the recipients differ about this message: send it again, some are taken apart then")
}
