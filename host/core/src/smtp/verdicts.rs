//! What sinks said of each recipient at the end of the text, and what the client hears of it.

use std::sync::Arc;

use crate::mail::{Message, Outcome, Recipient, RecipientId};
use crate::reply::{Class, Reply};
use crate::smtp::carry_out::{Answer, refusal_of_sink};
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
    /// With PRDR: the RCPTs that wait for a reply each (`Transaction::prdr`).
    pub(super) prdr: Option<Vec<Option<RecipientId>>>,
}

/// What becomes of a message whose recipients have been judged one by one.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// It is stored for those who are left, after these replies.
    Taken(Vec<Reply>),
    /// It is not, and the last of these is the answer to it.
    Refused(Vec<Reply>, Reply),
    /// It is not, until it comes for one recipient.
    OneByOne,
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
        let Arrived { mut message, original, reply, disposition, prdr } = arrived;
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
        match judge(&mut message, prdr.as_deref(), self.facts.vouched.auth.is_some()) {
            Judged::Taken(replies) => {
                let storing = Storing::new(self, message.id.clone(), replies, reply);
                Examining::before(storing, message, disposition, original)
            }
            Judged::Refused(replies, reply) => {
                replies.iter().for_each(|reply| self.send(reply, CONTENT, now, outbox));
                self.refuse_message(reply, false, is_fault, now, outbox)
            }
            Judged::OneByOne => {
                self.is_one_by_one = true;
                self.refuse_message(one_by_one(), false, is_fault, now, outbox)
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

fn judge(message: &mut Message, prdr: Option<&[Option<RecipientId>]>, is_authenticated: bool) -> Judged {
    let refusals: Vec<_> = message.envelope.recipients.iter().map(refusal).collect();
    let refused: Vec<&Reply> = refusals.iter().flatten().collect();
    let Some(first) = refused.first() else { return Judged::Taken(Vec::new()) };
    let is_all = refused.len() == refusals.len();
    // A client that hears 4yz sends to all of them again, so one who may still get it counts for more.
    let last = refused.iter().find(|reply| reply.class() == Class::Transient).unwrap_or(first);
    if let Some(heard) = prdr {
        let replies = prdr_replies(&message.envelope.recipients, heard);
        if is_all {
            return Judged::Refused(replies, (*last).clone());
        }
        // The client keeps those that it was told of. Those that sinks added it never named.
        let envelope = Arc::make_mut(&mut message.envelope);
        envelope.recipients.retain(|recipient| refusal(recipient).is_none());
        return Judged::Taken(replies);
    }
    if is_all {
        return Judged::Refused(Vec::new(), (*last).clone());
    }
    // Who is put off waits in the queue here, and for who failed there is a sender who can be told. That of a
    // stranger may be forged.
    let is_any_failed = refused.iter().any(|reply| reply.class() == Class::Permanent);
    if is_any_failed && !is_authenticated { Judged::OneByOne } else { Judged::Taken(Vec::new()) }
}

// draft-hall-prdr §4.5: 353, then a reply for each RCPT that was taken, in their order; the usual one follows. The client
// counts: one too few and it waits for ever, one too many and it is the answer to something else. So it is the commands
// that are gone through, not the recipients: one may have been named twice, and sinks add some and take some away.
fn prdr_replies(recipients: &[Recipient], heard: &[Option<RecipientId>]) -> Vec<Reply> {
    let mut replies = vec![Reply::new(353, None, "a reply for each recipient follows")];
    for id in heard {
        let recipient = recipients.iter().find(|recipient| Some(recipient.id) == *id);
        let taken = || match recipient {
            Some(recipient) => Reply::with(250, 1, 5, format!("<{}> accepted", recipient.address)),
            None => Reply::with(250, 1, 5, "accepted"),
        };
        replies.push(recipient.and_then(refusal).unwrap_or_else(taken));
    }
    replies
}

fn one_by_one() -> Reply {
    Reply::with(451, 5, 3, "the recipients differ about this message: send it to one at a time")
}
